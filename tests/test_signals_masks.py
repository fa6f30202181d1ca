"""Signals without handlers: the mask, what is pending, waiting, SignalFd, alternate stacks, timers, sending."""

from __future__ import annotations

import asyncio
import copy
import ctypes
import functools
import itertools
import os
import pickle
import resource
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from signal_places import everywhere, put_back
from support import ChildFailed, in_child, until_blocked

import rawsys
from rawsys import Fd, raw
from rawsys.constants import CLOCK_REALTIME, SIGALRM, SIGCHLD, SIGHUP, SIGRTMIN, SIGTERM, SIGUSR1, SIGUSR2
from rawsys.errors import BusyError, ClosedError
from rawsys.signals import (
    SignalCounter,
    SignalFd,
    SignalFlag,
    SignalInfo,
    SignalQueue,
    SignalSet,
    TimerSignal,
    alternate_stack,
    blocked,
    pending,
    raise_signal,
    sigqueue,
    sigsuspend,
    sigwait,
    tgkill,
    unblocked,
)

RT = SIGRTMIN + 1


def kernel_mask() -> int:
    """SigBlk of this thread, with every bit."""
    with open("/proc/thread-self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk"))


# ---- the mask ----


@everywhere
def test_blocked_and_unblocked_nest() -> None:
    """Each guard puts back exactly the mask before it; one argument may be a signal, a name or a set; none is all."""
    before = kernel_mask()
    with blocked(SIGUSR1, "SIGUSR2"):
        assert kernel_mask() == before | 1 << 9 | 1 << 11
        with unblocked(SignalSet([SIGUSR1])):
            assert kernel_mask() == before | 1 << 11
            with blocked():
                assert kernel_mask() == ~(1 << 8 | 1 << 18 | 3 << 31) & (1 << 64) - 1
            assert kernel_mask() == before | 1 << 11
        assert kernel_mask() == before | 1 << 9 | 1 << 11
    assert kernel_mask() == before


@everywhere
def test_a_guard_tells_the_mask_of_before() -> None:
    """`before` is what leaving puts back, and a child can be given it; outside there is none."""
    guard = blocked(SIGUSR1)
    with blocked(SIGUSR2), guard:
        assert guard.before.mask == kernel_mask() & ~(1 << 9)
        assert SIGUSR2 in guard.before
        shown = rawsys.Command("grep", "SigBlk", "/proc/self/status", signal_mask=guard.before).output(text=True).stdout
        assert int(shown.split()[1], 16) == guard.before.mask
    with pytest.raises(RuntimeError, match="not entered"):
        _ = guard.before


@everywhere
def test_libcs_own_are_never_blocked() -> None:
    """Case 82: 32 and 33 are refused by name, and left open by every way to block everything."""
    for number in (32, 33):
        for use in (blocked, unblocked, sigwait, SignalFd, sigsuspend):
            with pytest.raises(ValueError, match="libc"):
                use(number)
    with blocked():
        assert not kernel_mask() & 3 << 31
    with blocked(~SignalSet()):
        assert not kernel_mask() & 3 << 31
    with SignalCounter(SIGUSR1):
        assert not kernel_mask() & 3 << 31


@everywhere
def test_setresgid_of_another_thread_ends() -> None:
    """Case 82: while this thread blocks all signals, libc's setresgid in another one, which signals it, ends."""

    def test() -> bool:
        done = threading.Event()

        def change() -> None:
            os.setresgid(-1, -1, -1)
            done.set()

        with blocked():
            thread = threading.Thread(target=change)
            thread.start()
            thread.join(20)
        return done.is_set()

    assert in_child(test, deadline=30)


@everywhere
def test_mask_belongs_to_its_thread() -> None:
    """A guard that is left in another thread raises RuntimeError and changes nothing; the mask there was its own."""
    guard = blocked(SIGUSR1)
    problems: list[BaseException] = []

    def leave() -> None:
        mask = kernel_mask()
        try:
            guard.__exit__(None, None, None)
        except RuntimeError as problem:
            problems.append(problem)
        assert kernel_mask() == mask

    with guard:
        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        assert "thread" in str(problems[0])
        assert kernel_mask() & 1 << 9
        with pytest.raises(RuntimeError):
            guard.__enter__()
        assert "SIGUSR1, entered" in repr(guard)
    with guard:  # and may be used again
        assert kernel_mask() & 1 << 9


@everywhere
def test_a_forked_child_leaves_the_guards_of_its_thread() -> None:
    """To block, fork and leave in both: the child is the thread that entered, with another tid; other threads' it refuses."""
    mask, stack = kernel_mask(), bytearray(24)
    raw.sigaltstack(None, stack)

    def leave(*guards: AbstractContextManager[object]) -> tuple[int, bytes]:
        for guard in guards:
            guard.__exit__(None, None, None)
        now = bytearray(24)
        raw.sigaltstack(None, now)
        return kernel_mask(), bytes(now)

    with blocked(SIGUSR1) as outer, unblocked(SIGUSR1) as inner, alternate_stack() as own:
        assert in_child(leave, own, inner, outer) == (mask, bytes(stack))
        assert inner.before == outer.before | {SIGUSR1}
    assert kernel_mask() == mask

    foreign, entered, done = (blocked(SIGUSR1), alternate_stack()), threading.Event(), threading.Event()

    def enter() -> None:
        with foreign[0], foreign[1]:
            entered.set()
            done.wait(20)

    thread = threading.Thread(target=enter)
    thread.start()
    entered.wait(20)
    try:
        for guard in foreign:
            with pytest.raises(ChildFailed, match="belongs to thread"):
                in_child(leave, guard)
    finally:
        done.set()
        thread.join()


class Raised(Exception):
    """What a Python handler raises."""


def raise_it(*_: object) -> None:
    raise Raised


def interrupted_after(call: str, use: Callable[[], object], nth: int = 1) -> None:
    """Run `use` with a signal, whose Python handler raises, in the instant after its nth raw call of that name."""
    kernel, calls = getattr(raw, call), itertools.count(1)

    def and_then(*arguments: object) -> int:
        answer: int = kernel(*arguments)
        if next(calls) == nth:
            os.kill(os.getpid(), SIGUSR2)
        return answer

    signal.signal(SIGUSR2, raise_it)
    setattr(raw, call, and_then)
    try:
        with pytest.raises(Raised):
            use()
    finally:
        setattr(raw, call, kernel)


@everywhere
def test_a_guard_that_was_not_entered_changes_nothing() -> None:
    """A Python handler that raises as soon as `unblocked` lets its signal in: the mask is as before."""

    def test() -> None:
        signal.signal(SIGUSR1, raise_it)
        mask = kernel_mask()
        with blocked(SIGUSR1):
            guard = unblocked(SIGUSR1)
            os.kill(os.getpid(), SIGUSR1)
            with pytest.raises(Raised):
                guard.__enter__()
            assert kernel_mask() == mask | 1 << 9
            assert "entered" not in repr(guard)
            with guard:
                assert kernel_mask() == mask
        with pytest.raises(Raised), blocked(SIGUSR1):
            os.kill(os.getpid(), SIGUSR1)
        assert kernel_mask() == mask

    in_child(test)


@everywhere
def test_an_alternate_stack_that_was_not_entered_is_not_used() -> None:
    """A Python handler that raises when it has become the thread's: it is that no more before its memory goes."""

    def test() -> None:
        before, now = bytearray(24), bytearray(24)
        raw.sigaltstack(None, before)
        for nth in (1, 2):  # the call that looks, and the one that changes
            stack = alternate_stack()
            interrupted_after("sigaltstack", stack.__enter__, nth)
            raw.sigaltstack(None, now)
            assert now == before
            assert raw.mincore(stack.address, 4096, bytearray(1)) == -12  # ENOMEM: not mapped
            with SignalCounter(SIGUSR1) as counter:
                raise_signal(SIGUSR1)
                assert counter.count == 1
            with stack:
                pass

    in_child(test)


@everywhere
def test_a_timer_that_was_not_made_is_gone() -> None:
    """A Python handler that raises when the kernel has made it: it is released, with a warning, not leaked."""

    def test() -> None:
        with pytest.warns(ResourceWarning, match="unclosed <TimerSignal"):
            interrupted_after("timer_create", lambda: TimerSignal(SIGALRM))
        with open("/proc/self/timers") as file:
            assert file.read() == ""

    in_child(test)


@everywhere
def test_pending_and_sigwait() -> None:
    """What comes while it is blocked is pending, and sigwait takes it with what came with it."""
    with blocked(SIGUSR1, RT):
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        sigqueue(os.getpid(), RT, -5)
        assert pending() & {SIGUSR1, RT} == {SIGUSR1, RT}
        info = sigwait([SIGUSR1, RT])
        assert (info.signal, info.code, info.pid) == (SIGUSR1, 0, os.getpid())
        assert isinstance(info, SignalInfo)
        assert sigwait(RT, timeout=1).value == -5
        assert not pending() & {SIGUSR1, RT}
        with pytest.raises(TimeoutError):
            sigwait(SIGUSR1, 0)
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            sigwait({SIGUSR1}, timeout=0.03)
        assert time.monotonic() - begin >= 0.03
        with pytest.raises(ValueError):
            sigwait(SIGUSR1, -1)


@everywhere
@put_back()
def test_sigwait_lets_python_handlers_run() -> None:
    """Case 96: sigwait goes on after the handler of another signal, and what that raises comes out of it."""
    ran: list[int] = []

    def handler(number: int, frame: object) -> None:
        ran.append(number)
        if len(ran) == 2:
            raise KeyError

    signal.signal(SIGUSR2, handler)
    tid = raw.gettid()

    def send() -> None:
        for _ in range(2):
            until_blocked(tid, 128)
            tgkill(os.getpid(), tid, SIGUSR2)
            while len(ran) == 0:
                os.sched_yield()

    with blocked(SIGUSR2):
        thread = threading.Thread(target=send)
        thread.start()
    with blocked(SIGUSR1), pytest.raises(KeyError):
        sigwait(SIGUSR1)
    thread.join()
    assert ran == [SIGUSR2, SIGUSR2]


@everywhere
def test_a_signal_goes_to_a_thread_that_has_it_open() -> None:
    """Case 96: blocked only where somebody waits for it, a signal of the process goes to another thread, to its handler."""
    tids: list[int] = []
    got: list[SignalInfo] = []
    read: list[SignalInfo | None] = []

    def wait() -> None:
        with blocked(SIGUSR1), SignalFd(SIGUSR1) as fd:
            tids.append(raw.gettid())
            got.append(sigwait(SIGUSR1, 20))
            read.append(fd.get_nowait())

    with SignalCounter(SIGUSR1) as counter:
        thread = threading.Thread(target=wait)
        thread.start()
        while not tids:
            os.sched_yield()
        until_blocked(tids[0], 128)
        for _ in range(20):
            rawsys.raw_kill(os.getpid(), SIGUSR1)
        assert counter.count == 20
        tgkill(os.getpid(), tids[0], SIGUSR1)
        thread.join()
        assert counter.count == 20
    assert [info.code for info in got] == [-6]  # SI_TKILL: the first that it got
    assert read == [None]


@everywhere
def test_sigsuspend_waits_with_another_mask() -> None:
    """A signal that was pending is delivered inside sigsuspend, in one step, and the mask is back afterwards."""
    with SignalCounter(SIGUSR1) as counter, blocked(SIGUSR1, SIGUSR2):
        raise_signal(SIGUSR1)
        before = kernel_mask()
        sigsuspend([SIGUSR2])
        assert counter.count == 1
        assert kernel_mask() == before


# ---- SignalFd ----


@everywhere
def test_signal_fd_reads_what_is_pending() -> None:
    """Blocked signals are read, decoded, in order; the descriptor is readable while there are some."""
    with blocked(SIGUSR1, RT), SignalFd(SIGUSR1, RT) as fd:
        assert fd.get_nowait() is None
        assert not select.select([fd], [], [], 0)[0]
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        for value in (1, -2):
            sigqueue(os.getpid(), RT, value)
        assert select.select([fd], [], [], 0)[0]
        info = fd.get(timeout=1)
        assert (info.signal, info.code, info.pid, info.uid, info.value) == (SIGUSR1, 0, os.getpid(), os.getuid(), None)
        assert [(i.signal, i.value, i.pid) for i in fd] == [(RT, 1, os.getpid()), (RT, -2, os.getpid())]
        with pytest.raises(TimeoutError):
            fd.get(0.02)
        with pytest.raises(TimeoutError):
            fd.get(0)
        with pytest.raises(ValueError):
            fd.get(-1)
        assert fd.signals == {SIGUSR1, RT}
        fd.update(RT)
        raise_signal(SIGUSR1)
        assert fd.get_nowait() is None
        assert sigwait(SIGUSR1, 1).signal == SIGUSR1


@everywhere
def test_signal_fd_is_an_owner() -> None:
    """It is closed once, refuses use afterwards, and its number cannot be adopted."""
    fd = SignalFd(SIGUSR1)
    number = fd.fileno()
    assert not os.get_inheritable(number)
    with pytest.raises(BusyError):
        Fd(number)
    fd.close()
    for use in (fd.get, fd.get_nowait, fd.fileno, lambda: list(fd), lambda: fd.update(SIGUSR2)):
        with pytest.raises(ClosedError):
            use()
    with pytest.warns(ResourceWarning, match="unclosed <SignalFd"):
        SignalFd(SIGUSR1)


@everywhere
def test_signal_fd_that_is_borrowed() -> None:
    """It reads, tells its signals and changes them as the owner does; what is no signalfd has none."""
    with blocked(SIGUSR1, RT), SignalFd(SIGUSR1) as fd:
        borrowed = SignalFd.borrow(fd.fileno())
        assert borrowed.signals == {SIGUSR1}
        raise_signal(SIGUSR1)
        assert borrowed.get(20).signal == SIGUSR1
        borrowed.update(RT)
        assert borrowed.signals == SignalFd.borrow(fd.fileno()).signals == {RT}
        reading, writing = Fd.pipe()
        with reading, writing, pytest.raises(ValueError, match="no signalfd"):
            _ = SignalFd.borrow(reading.fileno()).signals


@everywhere
def test_signal_fd_waits_for_another_thread() -> None:
    """get wakes up when the signal comes to the process, while all threads block it."""
    with blocked(RT), SignalFd(RT) as fd:
        tid = raw.gettid()

        def send() -> None:
            until_blocked(tid, 271)
            sigqueue(os.getpid(), RT, 9)

        thread = threading.Thread(target=send)
        thread.start()
        assert fd.get().value == 9
        thread.join()


@everywhere
async def test_signal_fd_under_asyncio() -> None:
    """`async for` and get_async wait in the loop."""
    with blocked(RT), SignalFd(RT) as fd:
        asyncio.get_running_loop().call_later(0, sigqueue, os.getpid(), RT, 1)
        values = [(await fd.get_async()).value]
        for value in (2, 3):
            sigqueue(os.getpid(), RT, value)
        async for info in fd:
            values.append(info.value)
            if len(values) == 3:
                break
        assert values == [1, 2, 3]


@everywhere
def test_signal_fd_decodes_as_a_handler_does() -> None:
    """Case 96: what a SignalFd and sigwait tell of one kind of signal is what a handler's siginfo tells."""

    def timer() -> None:
        with TimerSignal(RT, value=3) as made:
            made.set(0)
            while RT not in pending():
                os.sched_yield()
            received.append(take())

    def child() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        received.append(take())
        os.waitpid(pid, 0)

    def value() -> None:
        sigqueue(os.getpid(), RT, 77)
        received.append(take())

    for number, cause in ((RT, value), (RT, timer), (SIGCHLD, child)):
        received: list[SignalInfo] = []
        with blocked(number), SignalFd(number) as fd:
            for take in (fd.get, functools.partial(sigwait, number)):  # noqa: B007 - the causes use it
                cause()
        by_fd, by_wait = received
        assert by_fd._fields == by_wait._fields
        for name in set(by_fd._fields) - {"pid", "timer_id", "utime", "stime"}:
            assert getattr(by_fd, name) == getattr(by_wait, name), name


# ---- alternate stacks ----


@everywhere
def test_alternate_stack_is_used_and_taken_back() -> None:
    """Case 85: inside, the kernel has our stack; afterwards what was there before; the memory is gone."""
    before = bytearray(24)
    raw.sigaltstack(None, before)
    with alternate_stack(100_000) as stack:
        now = bytearray(24)
        raw.sigaltstack(None, now)
        assert int.from_bytes(now[:8], "little") == stack.address
        assert int.from_bytes(now[16:], "little") == 102_400
        elsewhere = bytearray(24)
        thread = threading.Thread(target=lambda: raw.sigaltstack(None, elsewhere))
        thread.start()
        thread.join()
        assert elsewhere[8] & 2  # SS_DISABLE: it is this thread's alone
        with alternate_stack() as inner:
            assert inner.address != stack.address
        raw.sigaltstack(None, now)
        assert int.from_bytes(now[:8], "little") == stack.address
        address = stack.address
    raw.sigaltstack(None, now)
    assert now == before
    assert raw.mincore(address, 4096, bytearray(1)) == -12  # ENOMEM: not mapped


@everywhere
def test_alternate_stack_belongs_to_its_thread() -> None:
    """Left in another thread it raises RuntimeError; too small a size is ValueError."""
    with alternate_stack() as stack:
        problems: list[BaseException] = []

        def leave() -> None:
            try:
                stack.__exit__(None, None, None)
            except RuntimeError as problem:
                problems.append(problem)

        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        assert len(problems) == 1
        with pytest.raises(RuntimeError):
            stack.__enter__()
        assert "in thread" in repr(stack)
    for wrong in (0, 100, -1):
        with pytest.raises(ValueError):
            alternate_stack(wrong)
    with pytest.raises(TypeError):
        alternate_stack(1e6)  # type: ignore[arg-type]


@everywhere
def test_alternate_stack_that_is_forgotten() -> None:
    """It warns, is not the thread's stack any more and its memory is gone; of another thread it only warns."""
    before = bytearray(24)
    raw.sigaltstack(None, before)
    with pytest.warns(ResourceWarning, match="unclosed <AlternateStack .* in thread"):
        address = alternate_stack().__enter__().address
    now = bytearray(24)
    raw.sigaltstack(None, now)
    assert now == before
    assert raw.mincore(address, 4096, bytearray(1)) == -12  # ENOMEM: not mapped

    def test() -> None:
        entered, done, kept = threading.Event(), threading.Event(), [alternate_stack()]

        def enter() -> None:
            kept[0].__enter__()
            entered.set()
            done.wait(20)
            sends()

        def sends() -> None:
            with SignalCounter(SIGUSR1) as counter:
                raise_signal(SIGUSR1)
                assert counter.count == 1

        thread = threading.Thread(target=enter)
        thread.start()
        assert entered.wait(20)
        with pytest.warns(ResourceWarning, match="unclosed <AlternateStack"):
            kept.clear()
        done.set()
        thread.join()

    in_child(test)  # whose memory it keeps until it ends


@everywhere
def test_guards_are_not_copied() -> None:
    """A copy would put back, and unmap, a second time."""
    for guard in (blocked(SIGUSR1), unblocked(SIGUSR1), alternate_stack()):
        for use in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                use(guard)


# ---- timers ----


@everywhere
def test_timer_comes_to_its_thread() -> None:
    """The signal comes after the time, once, with value and timer, in the thread that the timer is for."""
    with SignalQueue(RT) as queue, TimerSignal(RT, value=-9) as timer:
        assert timer.remaining is None
        begin = time.monotonic()
        timer.set(0.02)
        assert 0 < (timer.remaining or 0) <= 0.02
        info = queue.get(timeout=20)
        assert time.monotonic() - begin >= 0.02
        assert (info.signal, info.code, info.value, info.timer_id, info.overrun) == (RT, -2, -9, timer.timer_id, 0)
        assert timer.remaining is None
        assert (timer.signal, timer.tid) == (RT, raw.gettid())
        with pytest.raises(TimeoutError):
            queue.get(0.03)


@everywhere
def test_timer_interval_overrun_and_disarm() -> None:
    """An interval goes on until it is disarmed; what ran out while the signal was blocked is the overrun."""
    with blocked(RT), TimerSignal(RT) as timer:
        timer.set(0.001, 0.001)
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            os.sched_yield()
        info = sigwait(RT, 20)
        assert (info.overrun or 0) > 5
        assert timer.overrun >= 5
        timer.disarm()
        assert timer.remaining is None
        if RT in pending():
            sigwait(RT)
        with pytest.raises(TimeoutError):
            sigwait(RT, 0.01)
    with blocked(RT), TimerSignal(RT, clock=CLOCK_REALTIME) as timer:
        timer.set(time.time() + 0.01, absolute=True)
        assert sigwait(RT, 20).code == -2


@everywhere
def test_timer_for_another_thread() -> None:
    """The signal comes to the thread with that number although others have it open."""
    tids: list[int] = []
    got: list[SignalInfo] = []

    def wait() -> None:
        tids.append(raw.gettid())
        got.append(sigwait(RT, 20))

    with blocked(RT):
        thread = threading.Thread(target=wait)
        thread.start()
    while not tids:
        os.sched_yield()
    until_blocked(tids[0], 128)
    with TimerSignal(RT, tid=tids[0]) as timer:
        timer.set(0)
        thread.join()
        assert got[0].timer_id == timer.timer_id


@everywhere
def test_timer_is_an_owner() -> None:
    """Closed once; refused afterwards; warns when forgotten; a fork's child has none, and does not hit its own."""
    timer = TimerSignal(SIGALRM)

    def child() -> bool:
        with pytest.raises(ClosedError):
            timer.set(1)
        own = TimerSignal(SIGALRM)
        same = own.timer_id == timer._id
        timer.close()
        own.set(1)
        own.close()
        return same

    in_child(child)
    timer.set(100)
    timer.close()
    timer.close()
    assert timer.closed
    assert "closed" in repr(timer)
    for use in (lambda: timer.set(1), timer.disarm, lambda: timer.remaining, lambda: timer.overrun, timer.__enter__):
        with pytest.raises(ClosedError):
            use()
    with pytest.warns(ResourceWarning, match="unclosed <TimerSignal SIGALRM"):
        TimerSignal(SIGALRM)
    with pytest.raises(OSError, match="Invalid argument"):
        TimerSignal(SIGALRM, tid=1)
    for tid, error in (("1", TypeError), (1.0, TypeError), (True, TypeError), (2**31, OverflowError)):
        with pytest.raises(error, match="a tid"):
            TimerSignal(SIGALRM, tid=tid)  # type: ignore[arg-type]
    for wrong in (32, 0, 65):
        with pytest.raises(ValueError):
            TimerSignal(wrong)
    with TimerSignal(SIGALRM) as timer:
        for times in ((-1,), (1, -1), (float("nan"),)):
            with pytest.raises(ValueError):
                timer.set(*times)
        with pytest.raises(TypeError):
            timer.set(None)  # type: ignore[arg-type]


@everywhere
def test_timer_is_not_closed_under_a_call() -> None:
    """close() waits for the call of another thread, whose number may be a stranger's right after; a child does not."""
    inside, go = threading.Event(), threading.Event()

    class Slow(TimerSignal):
        __slots__ = ("slow",)

        def _number(self) -> int:
            number = super()._number()
            if self.slow and raw.gettid() == setter.native_id and self._lock._is_owned():  # type: ignore[attr-defined]
                inside.set()
                assert go.wait(20)
            return number

    timer = Slow(SIGALRM)
    timer.slow = True
    problems: list[BaseException] = []

    def set_it() -> None:
        try:
            timer.set(1000)
        except BaseException as problem:
            problems.append(problem)

    setter, closer = threading.Thread(target=set_it), threading.Thread(target=timer.close)
    setter.start()
    assert inside.wait(20)

    def child() -> None:
        with pytest.raises(ClosedError):
            timer.set(1)
        timer.close()

    in_child(child)
    closer.start()
    try:
        assert closer.native_id
        until_blocked(closer.native_id, 202)
        assert not timer.closed
    finally:
        go.set()
        setter.join()
        closer.join()
    assert timer.closed
    assert not problems


# ---- sending ----


@everywhere
def test_values_arrive() -> None:
    """sigqueue's 64 bits arrive, signed."""
    with SignalQueue(RT) as queue:
        for value in (0, 1, -1, 2**31, -(2**63), 2**63 - 1):
            sigqueue(os.getpid(), RT, value)
            assert queue.get(1).value == value
        sigqueue(os.getpid(), RT, 2**64 - 1)
        assert queue.get(1).value == -1
    for wrong, error in ((2**64, OverflowError), (-(2**63) - 1, OverflowError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error):
            sigqueue(os.getpid(), RT, wrong)  # type: ignore[arg-type]


@everywhere
def test_sending_to_whom() -> None:
    """0 only asks; a process or thread that is not there is ProcessLookupError; 32 and 33 are refused."""
    sigqueue(os.getpid(), 0)
    tgkill(os.getpid(), raw.gettid(), 0)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        sigqueue(pid, SIGTERM)
    with pytest.raises(ProcessLookupError):
        tgkill(os.getpid(), pid, SIGTERM)
    for number in (32, 33, 65, -1):
        for send in (lambda n: sigqueue(os.getpid(), n), lambda n: tgkill(os.getpid(), raw.gettid(), n), raise_signal):
            with pytest.raises(ValueError):
                send(number)
    with pytest.raises(ValueError):
        raise_signal(0)


@everywhere
def test_tgkill_reaches_one_thread() -> None:
    """tgkill's signal is pending for that thread alone."""
    with blocked(SIGHUP):
        tids: list[int] = []
        go = threading.Event()
        got: list[SignalInfo] = []

        def wait() -> None:
            tids.append(raw.gettid())
            go.wait()
            got.append(sigwait(SIGHUP, 20))

        thread = threading.Thread(target=wait)
        thread.start()
        while not tids:
            os.sched_yield()
        tgkill(os.getpid(), tids[0], SIGHUP)
        assert SIGHUP not in pending()
        go.set()
        thread.join()
        assert got[0].code == -6
        assert got[0].value is None


@everywhere
def test_limit_of_queued_signals() -> None:
    """Case 88: where RLIMIT_SIGPENDING is reached, the next one is BlockingIOError (EAGAIN), and nothing is lost before."""

    def test() -> list[int | None]:
        with blocked(RT):
            resource.setrlimit(resource.RLIMIT_SIGPENDING, (4, 4)) if os.getuid() else os.setresuid(65534, 65534, 65534)
            resource.setrlimit(resource.RLIMIT_SIGPENDING, (4, 4))
            sent = 0
            with pytest.raises(BlockingIOError) as caught:
                while True:
                    sigqueue(os.getpid(), RT, sent)
                    sent += 1
            assert caught.value.errno == 11
            assert "rt_sigqueueinfo" in caught.value.__notes__[0]
            return [sigwait(RT, 0).value for _ in range(sent)]

    values = in_child(test)
    assert values == list(range(len(values)))
    assert 1 <= len(values) <= 4


@everywhere
def test_kernels_codes_cannot_be_forged() -> None:
    """Case 89: si_code of the kernel's own towards another process is EPERM."""
    ready, begun = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(SIGTERM, signal.SIG_DFL)
        os.write(begun, b"x")
        signal.pause()
        os._exit(0)
    try:
        os.read(ready, 1)
        info = bytearray(128)
        for code in (0, 128, -6):
            info[8:12] = code.to_bytes(4, "little", signed=True)
            assert raw.rt_sigqueueinfo(pid, SIGTERM, info) == -1
        sigqueue(pid, SIGTERM, 1)
    finally:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -SIGTERM
        os.close(ready)
        os.close(begun)


_SECONDS = (20).to_bytes(8, "little") + bytes(8)
_WORD = ctypes.c_int(0)


@everywhere
@pytest.mark.parametrize(
    ("number", "call"),
    [
        (7, lambda: raw.poll(bytearray(0), 0, 20_000)),
        (23, lambda: raw.select(0, None, None, None, bytearray(_SECONDS))),
        (35, lambda: raw.nanosleep(_SECONDS, None)),
        (128, lambda: raw.rt_sigtimedwait(SignalSet([SIGHUP]).to_bytes(), None, _SECONDS, 8)),
        (202, lambda: raw.futex(ctypes.addressof(_WORD), 128, 0, bytearray(_SECONDS), None, 0)),
        (230, lambda: raw.clock_nanosleep(1, 0, _SECONDS, None)),
    ],
    ids=["poll", "select", "nanosleep", "rt_sigtimedwait", "futex", "clock_nanosleep"],
)
def test_restart_list(number: int, call: Callable[[], int]) -> None:
    """Case 95: calls with a time limit are never restarted, whatever SA_RESTART says: the raw call reports EINTR."""
    tid = raw.gettid()
    with SignalFlag(SIGUSR1) as flag:

        def send() -> None:
            until_blocked(tid, number, first=ctypes.addressof(_WORD) if number == 202 else None)
            tgkill(os.getpid(), tid, SIGUSR1)

        with blocked(SIGUSR1):
            thread = threading.Thread(target=send)
            thread.start()
        assert call() == -4
        thread.join()
        assert flag


@everywhere
def test_stopped_and_continued() -> None:
    """Case 95: SIGSTOP and SIGCONT can end a call with EINTR without any handler; the waits of owners go on."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with SignalFlag(SIGUSR1) as flag, blocked(RT), SignalFd(RT) as fd:
                os.write(writing, b"x")
                values = [fd.get(20).value]
                os.write(writing, b"x")
                values.append(sigwait(RT, 20).value)
                os.write(writing, b"x")
                status = 0 if flag.wait(20) and values == [1, 2] else 2
        finally:
            os._exit(status)
    for value, (call, number) in enumerate(((271, RT), (128, RT), (202, SIGUSR1)), 1):
        os.read(reading, 1)
        until_blocked(pid, call)
        os.kill(pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        os.kill(pid, signal.SIGCONT)
        assert os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1])
        sigqueue(pid, number, value)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reading)
    os.close(writing)
