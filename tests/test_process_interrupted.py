"""A signal handler may raise behind any call of ours: no child and no descriptor is lost for it."""

from __future__ import annotations

import asyncio
import dis
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support import children, in_child

import rawsys
from rawsys import PIPE, Command, Pid
from rawsys.errors import ClosedError
from rawsys.process import strays

_OURS = tuple(str(Path(rawsys.__file__).parent / part) for part in ("process", "command", "fd"))


class Interrupted(Exception):
    """What the handler raises."""


class Handler:
    """Raises as a signal handler of Python's would: where a function begins, and where a call has returned."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.called: set[FrameType] = set()

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "call":
            if not frame.f_code.co_filename.startswith(_OURS):
                return None
            frame.f_trace_opcodes = True
            self._may_raise()
        elif event == "opcode":
            if frame in self.called:
                self.called.remove(frame)
                self._may_raise()
            if dis.opname[frame.f_code.co_code[frame.f_lasti]] in ("CALL", "CALL_FUNCTION_EX", "CALL_KW"):
                self.called.add(frame)
        elif event == "exception":
            self.called.discard(frame)
        return self

    def _may_raise(self) -> None:
        if signal.SIGALRM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            return
        self.left -= 1
        if self.left == 0:
            sys.settrace(None)
            raise Interrupted


def _run() -> None:
    Command("true", stdin=PIPE, stderr=PIPE).run()


def _with() -> None:
    with Command("true", stdout=PIPE).spawn():
        pass


def _output() -> None:
    Command("cat").output(input=b"x")


def _let_go() -> None:
    Command("true").spawn().close()
    strays.drain()


def _forget() -> None:
    Command("true", stdout=PIPE).spawn()


def _fork() -> None:
    Pid.fork(os._exit, 0).wait()


def _descriptors() -> int:
    gc.collect()
    while strays.kept:
        strays.drain()
        os.sched_yield()
    return len(os.listdir("/proc/self/fd"))


def _everywhere(action: Callable[[], None]) -> list[str]:
    """Interrupt it behind its first call, its second, and so on; what was wrong afterwards."""
    warnings.simplefilter("ignore", ResourceWarning)
    sys.unraisablehook = lambda _: None  # pytest's keeps what it was told, and with it the frames and all in them
    gc.freeze()  # what the tests before have left is not looked through each time
    action()
    before, wrong, at, done = _descriptors(), list[str](), 0, False
    while not done:
        at += 1
        handler = Handler(at)
        sys.settrace(handler)
        try:
            action()
            done = handler.left > 0  # else it has raised in a finaliser, where Python prints it and goes on
        except Interrupted:
            pass
        finally:
            sys.settrace(None)
        handler.called.clear()  # the frames hold what was in them
        if _descriptors() != before or children():
            wrong.append(f"at {at}: {_descriptors() - before} descriptors, {len(children())} children")
            break
    return wrong or ([] if at > 10 else [f"only {at} places"])


@pytest.mark.parametrize("action", [_run, _with, _output, _let_go, _forget, _fork], ids=lambda action: action.__name__)
def test_nothing_is_lost(action: Callable[[], None]) -> None:
    """Behind whichever call a handler raises, every child is reaped in the end, and no descriptor stays open."""
    assert in_child(_everywhere, action, deadline=60) == []


def test_close_under_a_wait() -> None:
    """A child is let go also while something waits for it: its number is gone at once, and the waiter is told at its end."""

    async def main() -> None:
        child = Command("cat", stdin=PIPE).spawn()
        waiting = asyncio.create_task(child.wait_async())
        await asyncio.sleep(0)
        child.close()
        assert child.closed and repr(child) == f"<Child {child.pid} closed>"
        with pytest.raises(ClosedError):
            await waiting

    asyncio.run(main())
    while strays.kept:
        strays.drain()
        os.sched_yield()
