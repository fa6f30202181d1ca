"""Where every test of signals runs: bare, beside Python's own handlers of the same signals, and under asyncio.

`@everywhere` makes one test three.  The places check after the test that what they had put there works as before: a
handler of `signal.signal` runs, `asyncio`'s callback is called, faulthandler is on, and the actions have the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rawsys import raw
from rawsys.signals import SignalAction, raw_sigaction

USED = (
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGRTMIN,
    signal.SIGRTMIN + 1,
    signal.SIGRTMIN + 2,
)


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """The actions afterwards as before, to the byte: CPython leaves flags and a restorer beside SIG_DFL."""
    before = {number: SignalAction.current(number) for number in USED}
    handlers = {number: signal.getsignal(number) for number in USED}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, handlers[number])
            raw_sigaction(number, action)


def bare(test: Callable[[], object]) -> None:
    """Nothing around it."""
    test()


def beside_signal_signal(test: Callable[[], object]) -> None:
    """Python's handlers are installed for all signals that the tests use; they do not run inside, and do afterwards."""
    seen: list[int] = []
    with put_back():
        for number in USED:
            signal.signal(number, lambda number, frame: seen.append(number))
        before = {number: SignalAction.current(number) for number in USED}
        test()
        assert {number: SignalAction.current(number) for number in USED} == before
        del seen[:]
        for number in USED:
            raw.tgkill(os.getpid(), raw.gettid(), number)
        assert sorted(seen) == sorted(USED)


def under_asyncio_with_faulthandler(test: Callable[[], object]) -> None:
    """In a coroutine of a loop that handles SIGUSR2 and SIGTERM itself, with a wake-up descriptor and faulthandler on."""
    enabled = faulthandler.is_enabled()
    faulthandler.enable(sys.__stderr__)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGUSR2, signal.SIGTERM)
        came: dict[int, asyncio.Future[None]] = {number: loop.create_future() for number in numbers}
        for number in numbers:
            loop.add_signal_handler(number, came[number].set_result, None)
        faults = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
        before = {number: SignalAction.current(number) for number in (*USED, *faults)}
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        try:
            test()
            assert {number: SignalAction.current(number) for number in (*USED, *faults)} == before
            assert signal.set_wakeup_fd(wakeup) == wakeup
            for number in numbers:
                raw.tgkill(os.getpid(), raw.gettid(), number)
                await asyncio.wait_for(came[number], 20)
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    try:
        with put_back():
            asyncio.run(main())
    finally:
        if not enabled:
            faulthandler.disable()


PLACES = (bare, beside_signal_signal, under_asyncio_with_faulthandler)


def everywhere(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a test in each of the places."""

    @functools.wraps(test)
    def placed(*args: Any, place: Callable[[Callable[[], object]], None], **kwargs: Any) -> None:
        place(functools.partial(test, *args, **kwargs))

    own = inspect.signature(test)
    extra = inspect.Parameter("place", inspect.Parameter.KEYWORD_ONLY)
    placed.__signature__ = own.replace(parameters=[*own.parameters.values(), extra], return_annotation=None)  # type: ignore[attr-defined]
    return pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)(placed)
