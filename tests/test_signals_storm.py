"""Signals without end: another process sends in a tight loop while everything else goes on."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest
from signal_places import everywhere, everywhere_fresh
from support import in_child, run_python

import rawsys
from rawsys import raw
from rawsys.constants import SIGRTMIN, SIGUSR1, SIGUSR2
from rawsys.signals import SignalCounter, SignalFlag, SignalQueue, on_signal, sigqueue

RT = SIGRTMIN + 1


LIBCS_OWN = 3 << 31  # 32 and 33


def masks_of_all_threads() -> int:
    """What any thread of this process blocks now."""
    found = 0
    for tid in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{tid}/status") as file:
            found |= next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk"))
    return found


class Storm:
    """A child that sends SIGUSR1 to this process in a tight loop, a bounded number of times.

    Without a bound a sender on another processor can leave the receiver no instruction between two deliveries, and how
    long a test takes is up to the scheduler.
    """

    def __init__(self, count: int = 10_000) -> None:
        self.count = count

    def __enter__(self) -> Storm:
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            kill = rawsys.raw_kill
            for _ in range(self.count):
                if kill(parent, SIGUSR1) or os.getppid() != parent:
                    break
            os._exit(0)
        return self

    def __exit__(self, *exception: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def owners() -> list[object]:
    program = rawsys.Program()
    fd = program.openat(-100, "/dev/null", os.O_WRONLY | os.O_CLOEXEC, 0)
    program.write(fd, b"x", 1)
    program.close(fd, always=True)
    return [SignalCounter(SIGUSR1), SignalFlag(SIGUSR1), SignalQueue(SIGUSR1, capacity=64), on_signal(SIGUSR1, program)]


@everywhere
@pytest.mark.parametrize("work", ["spawn", "threads", "collection", "imports", "owners", "fork"])
def test_storm(work: str) -> None:
    """Spawns, threads, garbage collections, imports, owners that come and go, and forks live through a storm of signals."""
    counter, flag, queue, action = mine = owners()
    for _ in range(8):
        before = counter.count  # type: ignore[attr-defined]
        with Storm():
            while counter.count == before:  # type: ignore[attr-defined]
                os.sched_yield()
            WORK[work]()
            assert not masks_of_all_threads() & LIBCS_OWN
    for owner in mine:
        owner.close()  # type: ignore[attr-defined]
    assert counter.count > 0  # type: ignore[attr-defined]
    assert flag
    assert action.failed == action.skipped == 0  # type: ignore[attr-defined]
    assert queue.lost <= counter.count  # type: ignore[attr-defined]


def spawn() -> None:
    assert subprocess.run(["/bin/true"]).returncode == 0
    assert rawsys.Command("/bin/true").run().code == 0


def threads() -> None:
    made = [threading.Thread(target=lambda: sum(range(1000))) for _ in range(20)]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()


def collection() -> None:
    cycle: list[object] = [[] for _ in range(1000)]
    cycle.append(cycle)
    del cycle
    gc.collect()


def imports() -> None:
    for name in ("colorsys", "graphlib", "chunk_that_is_not_there"):
        sys.modules.pop(name, None)
        try:
            __import__(name)
        except ImportError:
            assert "not_there" in name


def come_and_go() -> None:
    for _ in range(30):
        made = owners()
        made[2].fileno()  # type: ignore[attr-defined]
        for owner in made:
            owner.close()  # type: ignore[attr-defined]


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            sigqueue(os.getpid(), SIGUSR1)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


WORK = {
    "spawn": spawn,
    "threads": threads,
    "collection": collection,
    "imports": imports,
    "owners": come_and_go,
    "fork": fork,
}


@everywhere_fresh
def test_storm_until_the_end_of_the_interpreter(setting: str) -> None:
    """A storm goes on while interpreters end: each ends with status 0 and nothing on standard error."""
    for _ in range(6):
        done = run_python(
            setting
            + """
import os, threading, rawsys
from rawsys.signals import *
parent = os.getpid()
keep = [SignalCounter(10), SignalFlag(10), SignalQueue(10, capacity=8)]
if os.fork() == 0:
    while os.getppid() == parent and rawsys.raw_kill(parent, 10) == 0: pass
    os._exit(0)
while keep[0].count < 100: os.sched_yield()
threading.Thread(target=threading.Event().wait, daemon=True).start()
""",
            flags=("-X", "faulthandler", "-W", "ignore"),
        )
        assert (done.returncode, done.stderr) == (0, "")


def send_all(count: int) -> tuple[list[int | None], int, int]:
    """A child queues `count` real-time signals with values; what came, how many were lost, what signal.signal would have run."""
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (1000, 1000)) if os.getuid() == 0 else None
    with SignalQueue(RT, capacity=1 << 17) as queue:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            queue.close()
            value = 0
            while value < count:
                try:
                    sigqueue(parent, RT, value)
                except BlockingIOError:  # RLIMIT_SIGPENDING
                    raw.sched_yield()
                else:
                    value += 1
            os._exit(0)
        values = [queue.get(timeout=60).value for _ in range(count)]
        os.waitpid(pid, 0)
        return values, queue.lost, queue.get_nowait() is not None


@everywhere
def test_queued_real_time_signals_are_all_there() -> None:
    """20,000 from another process (100,000 in the long run): none lost, in order, each value right."""

    def test() -> bool:
        count = 20_000
        return send_all(count) == (list(range(count)), 0, False)

    assert in_child(test, deadline=50)


@everywhere
def test_waiting_in_one_thread_while_another_is_stormed() -> None:
    """A thread that waits on a flag wakes up for its signal while the main thread is stormed with another one."""
    answers: list[bool] = []
    with SignalCounter(SIGUSR1), SignalFlag(SIGUSR2) as flag, Storm():
        thread = threading.Thread(target=lambda: answers.append(flag.wait(timeout=50)))
        thread.start()
        rawsys.raw_kill(os.getpid(), SIGUSR2)
        thread.join()
    assert answers == [True]
