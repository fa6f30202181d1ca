"""Where every test of signals runs: bare, beside Python's own handlers of the same signals, and under asyncio.

`@everywhere` makes one test three.  The places check after the test that what they had put there works as before: a
handler of `signal.signal` runs, `asyncio`'s callback is called, faulthandler is on, and the actions have the same bytes.
A test that is a coroutine is awaited in the loop of its place, or gets one.  `@everywhere_fresh` is the same for tests
whose subject is an interpreter of its own: `setting` is code for its beginning.

A test that runs elsewhere or nowhere of these stands with its reason in test_signals_places.py.
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
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from rawsys import raw
from rawsys.signals import SignalAction, raw_sigaction

USED = (
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGCHLD,
    signal.SIGRTMIN,
    signal.SIGRTMIN + 1,
    signal.SIGRTMIN + 2,
)
"""The signals of the tests but SIGINT, whose handler is Python's anyway, and faults: Python's handler of one never runs."""

FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)

Test = Callable[[], Coroutine[Any, Any, None] | None]


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


def bare(test: Test) -> None:
    """Nothing around it."""
    coroutine = test()
    if coroutine:
        asyncio.run(coroutine)


def beside_signal_signal(test: Test) -> None:
    """Python's handlers are installed for all signals that the tests use; they do not run inside, and do afterwards."""
    seen: list[int] = []
    with put_back():
        for number in USED:
            signal.signal(number, lambda number, frame: seen.append(number))
        before = {number: SignalAction.current(number) for number in USED}
        bare(test)
        assert {number: SignalAction.current(number) for number in USED} == before
        del seen[:]
        for number in USED:
            raw.tgkill(os.getpid(), raw.gettid(), number)
        assert sorted(seen) == sorted(USED)


def under_asyncio_with_faulthandler(test: Test) -> None:
    """In a coroutine of a loop that handles SIGUSR2 and SIGTERM itself, with a wake-up descriptor and faulthandler on."""
    enabled = faulthandler.is_enabled()
    faulthandler.enable(sys.__stderr__)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGUSR2, signal.SIGTERM)
        calls: asyncio.Queue[int] = asyncio.Queue()
        for number in numbers:
            loop.add_signal_handler(number, calls.put_nowait, number)
        before = {number: SignalAction.current(number) for number in (*USED, *FAULTS)}
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        try:
            coroutine = test()
            if coroutine:
                await coroutine
            assert {number: SignalAction.current(number) for number in (*USED, *FAULTS)} == before
            assert signal.set_wakeup_fd(wakeup) == wakeup
            await drained(calls)
            for number in numbers:
                raw.tgkill(os.getpid(), raw.gettid(), number)
                assert await asyncio.wait_for(calls.get(), 20) == number
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    try:
        with put_back():
            asyncio.run(main())
    finally:
        if not enabled:
            faulthandler.disable()


async def drained(calls: asyncio.Queue[int]) -> None:
    """Until what the loop had heard in a test (a handler of `signal.signal` writes to its wake-up descriptor) is gone.

    The mark goes the same way, behind everything else: the descriptor is a stream.
    """
    raw.tgkill(os.getpid(), raw.gettid(), signal.SIGTERM)
    raw.tgkill(os.getpid(), raw.gettid(), signal.SIGUSR2)
    heard: list[int] = []
    while heard[-2:] != [signal.SIGTERM, signal.SIGUSR2]:
        heard.append(await asyncio.wait_for(calls.get(), 20))
    await asyncio.sleep(0)
    assert calls.empty()


PLACES = (bare, beside_signal_signal, under_asyncio_with_faulthandler)


def everywhere(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a test in each of the places."""
    return places(*PLACES)(test)


def places(*chosen: Callable[[Test], object]) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Run a test in these places."""

    def decorate(test: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(test)
        def placed(*args: Any, place: Callable[[Test], object], **kwargs: Any) -> None:
            place(functools.partial(test, *args, **kwargs))

        own = inspect.signature(test)
        extra = inspect.Parameter("place", inspect.Parameter.KEYWORD_ONLY)
        placed.__signature__ = own.replace(parameters=[*own.parameters.values(), extra], return_annotation=None)  # type: ignore[attr-defined]
        return _marked(pytest.mark.parametrize("place", chosen, ids=lambda place: place.__name__)(placed), chosen)

    return decorate


def _marked(test: Callable[..., None], where: tuple[object, ...]) -> Callable[..., None]:
    test.places = len(where)  # type: ignore[attr-defined]
    return test


SETTINGS = {
    "bare": "",
    "beside_signal_signal": """
import signal
for _number in (10, 12): signal.signal(_number, lambda *_: None)
""",
    "under_asyncio_with_faulthandler": """
import asyncio, faulthandler
faulthandler.enable()
_loop = asyncio.new_event_loop()
for _number in (10, 12): _loop.add_signal_handler(_number, print, "called by the loop")
""",
}
"""For `run_python`: the loop stays open and does not run, so its wake-up descriptor is set until the very end."""


def everywhere_fresh(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with each setting of a fresh interpreter."""
    made = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)(test)
    return _marked(made, tuple(SETTINGS))
