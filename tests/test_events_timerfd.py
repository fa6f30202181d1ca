"""TimerFd: when it runs out by the kernel's own clock, how often, and what is left."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import signal
import threading
import time
from typing import Any

import pytest
from support import in_child, until_blocked

from rawsys import constants, raw, structs
from rawsys.errors import ClosedError
from rawsys.events import TimerFd
from rawsys.fd import Fd

PPOLL = 271
SECOND = 1_000_000_000


def kernel(timer: TimerFd) -> dict[str, str]:
    """What /proc says of a timer: clockid, ticks, settime flags, it_value, it_interval."""
    with open(f"/proc/self/fdinfo/{timer.fileno()}") as file:
        return {name: value.strip() for name, value in (line.split(":", 1) for line in file)}


# ---- running out ----


@pytest.mark.parametrize("after", [0, 1e-9, 0.001, 0.02])
def test_not_early(after: float) -> None:
    """`get` returns when the time is over and not a nanosecond before, once."""
    with TimerFd() as timer:
        begin = time.monotonic_ns()
        timer.set(after)
        assert timer.get(10) == 1
        assert time.monotonic_ns() - begin >= after * 1e9
        assert (timer.get_nowait(), timer.remaining_ns) == (0, None)


def test_deadline_in_nanoseconds() -> None:
    """set_ns is a time of the clock: the kernel has it to the nanosecond, and one that is past is now."""
    with TimerFd() as timer:
        when = time.monotonic_ns() + 15_000_001
        timer.set_ns(when)
        assert timer.get(10) == 1
        assert when <= time.monotonic_ns() < when + 5 * SECOND
        for past in (0, 1, time.monotonic_ns()):
            timer.set_ns(past)
            assert timer.get(10) == 1
        timer.set_ns(3 * SECOND + 7, 2 * SECOND + 5)
        assert timer.get_nowait() >= 1
        assert kernel(timer)["it_interval"] == "(2, 5)"
        timer.set(1000.5, 0.25)
        assert kernel(timer)["it_interval"] == "(0, 250000000)"
        assert kernel(timer)["it_value"].startswith("(1000, ")


def test_again_and_again() -> None:
    """With an interval it counts what nobody asked about: as often as the clock says."""
    with TimerFd() as timer:
        every = 1_000_000
        first = time.monotonic_ns()
        timer.set_ns(first, every)
        seen = 0
        while seen < 20:
            seen += timer.get(10)
            assert seen <= (time.monotonic_ns() - first) // every + 1
        assert timer.remaining_ns is not None
        assert 0 < timer.remaining_ns <= every
        timer.disarm()
        assert (timer.get_nowait(), timer.remaining_ns) == (0, None)


def test_what_ran_out_unseen_is_one_number() -> None:
    """A deadline far in the past with an interval: the count is the kernel's, and the next get waits."""
    with TimerFd() as timer:
        now = time.monotonic_ns()
        timer.set_ns(now - 1000 * SECOND if now > 1000 * SECOND else 1, 10 * SECOND)
        count = timer.get(10)
        assert count >= min(now, 1000 * SECOND) // (10 * SECOND)
        assert timer.get_nowait() == 0


def test_set_again_forgets() -> None:
    """Setting and disarming forget what ran out and was not read."""
    with TimerFd() as timer:
        for forget in (timer.disarm, lambda: timer.set(1000)):
            timer.set(0)
            assert select.select([timer], [], [], 10)[0] == [timer]
            forget()
            assert timer.get_nowait() == 0
            assert not select.select([timer], [], [], 0)[0]
            with pytest.raises(TimeoutError, match="did not run out within 0"):
                timer.get(0)


def test_remaining() -> None:
    """What is left falls with the clock; None when it is not set, and after it ran out for good."""
    with TimerFd() as timer:
        assert timer.remaining_ns is None
        before = time.monotonic_ns()
        timer.set(1000)
        left, between = timer.remaining_ns, time.monotonic_ns() - before
        assert left is not None
        assert 1000 * SECOND - between <= left <= 1000 * SECOND
        timer.set(0)
        assert timer.get(10) == 1
        assert timer.remaining_ns is None


@pytest.mark.parametrize("huge", [1e12, 1e300, float("inf"), 10**30])
def test_huge_times(huge: float) -> None:
    """Longer than the kernel's clock lasts is for ever."""
    with TimerFd() as timer:
        timer.set(huge)
        assert timer.remaining_ns is not None
        assert timer.remaining_ns > 10**18
        timer.set_ns(10**30, 10**30)
        assert timer.remaining_ns > 10**18
        timer.set(0, huge)
        assert timer.get(10) == 1
        assert timer.get_nowait() == 0


def test_timeout_and_signals() -> None:
    """A get that a signal interrupts goes on, and is over after its own time, not before."""
    main = threading.main_thread().ident
    assert main
    before = bytearray(32)
    raw.rt_sigaction(signal.SIGUSR1, None, before, 8)
    ran: list[int] = []

    def send() -> None:
        until_blocked(os.getpid(), PPOLL)
        signal.pthread_kill(main, signal.SIGUSR1)

    with TimerFd() as timer:
        thread = threading.Thread(target=send)

        def handler(*_: Any) -> None:
            ran.append(1)
            timer.set(0)

        old = signal.signal(signal.SIGUSR1, handler)
        try:
            thread.start()
            assert timer.get() == 1
        finally:
            thread.join()
            signal.signal(signal.SIGUSR1, old)
            raw.rt_sigaction(signal.SIGUSR1, before, None, 8)
        assert ran == [1]
        timer.set(1000)
        begin = time.monotonic_ns()
        with pytest.raises(TimeoutError):
            timer.get(0.02)
        assert time.monotonic_ns() - begin >= 20_000_000


# ---- the wall clock ----


def test_realtime() -> None:
    """A realtime timer is on the wall clock: its deadline is a time of time.time_ns."""
    with TimerFd(realtime=True) as wall, TimerFd() as timer:
        assert (wall.realtime, timer.realtime) == (True, False)
        assert (kernel(wall)["clockid"], kernel(timer)["clockid"]) == ("0", "1")
        when = time.time_ns() + 5_000_000
        wall.set_ns(when)
        assert wall.get(10) == 1
        assert time.time_ns() >= when
        wall.set_ns(time.time_ns() + 1000 * SECOND)
        assert wall.remaining_ns is not None
        assert 999 * SECOND < wall.remaining_ns <= 1000 * SECOND


def _step() -> None:
    """Step the wall clock by one nanosecond, which the kernel takes for a step as any other."""
    change = structs.timex()
    change.modes = int(constants.ADJ_SETOFFSET) | int(constants.ADJ_NANO)
    change.time.tv_usec = 1
    answer = raw.clock_adjtime(0, change)
    if answer < 0:
        pytest.skip(f"the wall clock cannot be set here: {os.strerror(-answer)}")


def test_cancel_on_set() -> None:
    """A step of the wall clock makes the timer readable and `get` ECANCELED, once; without the flag nothing happens."""

    def child() -> list[Any]:
        with TimerFd(realtime=True) as told, TimerFd(realtime=True) as other:
            deadline = time.time_ns() + 1000 * SECOND
            told.set_ns(deadline, cancel_on_set=True)
            other.set_ns(deadline)
            main = threading.get_native_id()
            skips: list[BaseException] = []

            def step() -> None:
                until_blocked(main, PPOLL)
                try:
                    _step()
                except BaseException as skip:
                    skips.append(skip)
                    told.set(0)

            thread = threading.Thread(target=step)
            thread.start()
            try:
                found: list[Any] = [told.get(10)]
            except OSError as error:
                found = [error.errno]
            thread.join()
            if skips:
                raise skips[0]
            found += [told.get_nowait(), other.get_nowait(), told.remaining_ns is not None]
            _step()
            assert select.select([told, other], [], [], 0)[0] == [told]
            with pytest.raises(OSError) as caught:
                told.get_nowait()
            return [*found, caught.value.errno]

    assert in_child(child) == [errno.ECANCELED, 0, 0, True, errno.ECANCELED]


# ---- the descriptor ----


def test_descriptor() -> None:
    """Non-blocking, closed on exec, and readable for select when it has run out."""
    with TimerFd() as timer, Fd.borrow(timer.fileno()) as number:
        assert number.nonblocking and number.cloexec
        assert not select.select([timer], [], [], 0)[0]
        timer.set(0)
        assert select.select([timer], [], [], 10)[0] == [timer]


def test_shared_with_a_child() -> None:
    """A forked child has the same timer: what it reads its parent does not."""
    with TimerFd() as timer:
        timer.set(0)
        assert in_child(timer.get, 10) == 1
        assert timer.get_nowait() == 0


def test_under_asyncio() -> None:
    """Several tasks await one timer; the cancelled one leaves nothing, the others are told."""

    async def main() -> int:
        with TimerFd() as timer:
            tasks = [asyncio.create_task(timer.wait_async()) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[1]
            timer.set(0.001)
            await asyncio.wait_for(asyncio.gather(tasks[0], tasks[2]), 20)
            return timer.get_nowait()

    assert asyncio.run(main()) == 1


# ---- what is refused ----


def test_wrong_arguments() -> None:
    """Each says what is wrong, and the timer stays as it was."""
    with TimerFd() as timer:
        timer.set(1000)
        for problem, attempt in (
            (ValueError, lambda: timer.set(-1)),
            (ValueError, lambda: timer.set(float("nan"))),
            (ValueError, lambda: timer.set(1, -1)),
            (TypeError, lambda: timer.set(None)),  # type: ignore[arg-type]
            (TypeError, lambda: timer.set("1")),  # type: ignore[arg-type]
            (TypeError, lambda: timer.set(True)),
            (ValueError, lambda: timer.set_ns(-1)),
            (ValueError, lambda: timer.set_ns(1, -1)),
            (TypeError, lambda: timer.set_ns(1.0)),  # type: ignore[arg-type]
            (ValueError, lambda: timer.set_ns(1, cancel_on_set=True)),
            (ValueError, lambda: timer.get(-1)),
            (TypeError, lambda: TimerFd(True)),  # type: ignore[misc]
        ):
            with pytest.raises(problem):
                attempt()
        assert timer.remaining_ns


def test_closed() -> None:
    """After close() each use is ClosedError."""
    timer = TimerFd()
    timer.close()
    for attempt in (
        lambda: timer.set(1),
        lambda: timer.set_ns(1),
        timer.disarm,
        timer.get_nowait,
        lambda: timer.get(0),
        lambda: timer.remaining_ns,
        lambda: asyncio.run(timer.wait_async()),
    ):
        with pytest.raises(ClosedError):
            attempt()
