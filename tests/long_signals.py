"""Long counts of signals, not collected by default: `python -m pytest tests/long_signals.py`.

100,000 queued real-time signals of another process arrive, in order, with their values; minutes of storms; two hundred
interpreters that end while signals come.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from support import in_child, run_python
from test_signals_storm import Storm, collection, come_and_go, fork, imports, owners, send_all, spawn, threads

import rawsys


@pytest.mark.deadline(300)
def test_a_hundred_thousand() -> None:
    """None lost, in order, each value right; Python's own handler runs a handful of times for 2,000 of them."""

    def test() -> bool:
        count = 100_000
        return send_all(count) == (list(range(count)), 0, False)

    assert in_child(test, deadline=250)

    def python_handler() -> int:
        ran: list[int] = []
        signal.signal(40, lambda *_: ran.append(1))
        signal.pthread_sigmask(signal.SIG_BLOCK, [40])
        for _ in range(2000):
            rawsys.raw_kill(os.getpid(), 40)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [40])
        return len(ran)

    assert in_child(python_handler) < 10


@pytest.mark.deadline(300)
@pytest.mark.parametrize("work", [spawn, threads, collection, imports, come_and_go, fork])
def test_long_storm(work: object) -> None:
    """Half a minute of each kind of work under a storm leaves everything alive."""
    mine = owners()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with Storm():  # it ends by itself, within the first pieces of work
            work()  # type: ignore[operator]
    for owner in mine:
        owner.close()  # type: ignore[attr-defined]


@pytest.mark.deadline(600)
def test_two_hundred_ends() -> None:
    """Interpreters end cleanly with owners alive, daemon threads and signals in flight."""
    for _ in range(200):
        done = run_python(
            """
            import os, threading, rawsys
            from rawsys.signals import *
            parent = os.getpid()
            program = rawsys.Program()
            program.write(2, b"", 0)
            keep = [SignalCounter(10), SignalFlag(10), SignalQueue(10, capacity=8), on_signal(10, program)]
            if os.fork() == 0:
                while os.getppid() == parent and rawsys.raw_kill(parent, 10) == 0: pass
                os._exit(0)
            while keep[0].count < 20: os.sched_yield()
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            threading.Thread(target=keep[1].wait, daemon=True).start()
            """,
            flags=("-X", "faulthandler", "-W", "ignore"),
        )
        assert (done.returncode, done.stderr) == (0, "")
