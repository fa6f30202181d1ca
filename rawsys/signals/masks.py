"""Signals without handlers: the mask of this thread, what is pending, and waiting for it."""

from __future__ import annotations

from collections.abc import Iterable

from rawsys import raw
from rawsys._native.signals import SignalInfo
from rawsys._timeouts import Deadline
from rawsys.constants import Signal
from rawsys.signals._here import Here
from rawsys.signals.sets import SignalSet

__all__ = ["blocked", "pending", "sigsuspend", "sigwait", "unblocked"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    Signals = Signal | int | str | Iterable[Signal | int | str]

_SIG_BLOCK, _SIG_UNBLOCK, _SIG_SETMASK = range(3)
_EINTR, _EAGAIN = -4, -11
_LIBC = ~(3 << 31) & (1 << 64) - 1  # all but 32 and 33


def one_set(signals: Signals) -> SignalSet:
    """The set that one argument means: a signal, or an iterable of them."""
    alone = isinstance(signals, (int, str)) or not isinstance(signals, Iterable)
    return SignalSet([signals] if alone else signals)  # type: ignore[list-item,arg-type]  # told apart above


def many(signals: tuple[Signals, ...]) -> SignalSet:
    """The union of the arguments; all signals where there are none."""
    if not signals:
        return SignalSet.full()
    found = SignalSet()
    for one in signals:
        found |= one_set(one)
    return found


def fail(name: str, arguments: tuple[object, ...], answer: int) -> None:
    """Raise the OSError for a raw call's answer, if it is one."""
    if answer < 0:
        from rawsys.errors import os_error

        raise os_error(name, arguments, -answer)


def _mask(how: int, signals: bytes | None) -> bytes:
    """Change this thread's mask, if there are signals; gives the one before, without libc's own."""
    old = bytearray(8)
    fail("rt_sigprocmask", (how, signals, old, 8), raw.rt_sigprocmask(how, signals, old, 8))
    return (int.from_bytes(old, "little") & _LIBC).to_bytes(8, "little")


class _Guard:
    """This thread's mask, changed inside ``with`` and put back after it."""

    __slots__ = ("_before", "_here", "_how", "_signals")

    _here: Here

    def __init__(self, how: int, signals: SignalSet) -> None:
        self._how, self._signals = how, signals
        self._before: bytes | None = None

    @property
    def signals(self) -> SignalSet:
        """The signals that are blocked, or open, inside."""
        return self._signals

    @property
    def before(self) -> SignalSet:
        """The mask that leaving puts back, for a child that is to have it: ``Command(..., signal_mask=guard.before)``.

        Raises RuntimeError outside ``with``.
        """
        if self._before is None:
            raise RuntimeError("this guard is not entered: there is no mask that it would put back")
        return SignalSet.from_bytes(self._before)

    def __enter__(self) -> Self:
        if self._before is not None:
            raise RuntimeError("this guard is entered already; make another one")
        self._here, signals = Here(), self._signals.to_bytes()
        before = _mask(self._how, None)
        try:
            _mask(self._how, signals)
        except BaseException:  # a Python handler's: nobody would leave what was not entered
            _mask(_SIG_SETMASK, before)
            raise
        self._before = before
        return self

    def __exit__(self, *exception: object) -> None:
        before = self._before
        if before is None:
            return
        self._here.check("the signal mask")
        self._before = None
        _mask(_SIG_SETMASK, before)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError(f"{self!r} cannot be copied or pickled: it belongs to one thread")

    def __repr__(self) -> str:
        name = "blocked" if self._how == _SIG_BLOCK else "unblocked"
        return f"<{name} {', '.join(self._signals.names) or 'nothing'}{'' if self._before is None else ', entered'}>"


def blocked(*signals: Signals) -> _Guard:
    """`sigprocmask(2)`: a guard inside which this thread does not receive the signals; all of them where none is named.

    The mask belongs to one thread: the others go on receiving, and a thread inherits the mask of the one that starts it.
    Leaving puts back exactly the mask that was there before, in the same thread (RuntimeError in another one); so it does
    in a child that this thread forks meanwhile.  A signal that comes meanwhile is delivered then, or received by
    `sigwait` and `SignalFd`.  The guard's `before` is that mask, for a child that is not to inherit this one:
    ``Command(..., signal_mask=guard.before)``.

    libc's own 32 and 33 are never blocked, SIGKILL and SIGSTOP cannot be.
    """
    return _Guard(_SIG_BLOCK, many(signals))


def unblocked(*signals: Signals) -> _Guard:
    """`sigprocmask(2)`: a guard inside which this thread does receive the signals; all of them where none is named.

    As `blocked`: one thread, and the mask of before is put back.
    """
    return _Guard(_SIG_UNBLOCK, many(signals))


def pending() -> SignalSet:
    """`sigpending(2)`: the signals that came while they were blocked, for this thread or for the whole process."""
    found = bytearray(8)
    fail("rt_sigpending", (found, 8), raw.rt_sigpending(found, 8))
    return SignalSet.from_bytes(found)


def sigwait(signals: Signals, timeout: float | None = None) -> SignalInfo:
    """`sigtimedwait(2)`: take one pending signal of a set, or wait for it; gives what came with it.

    `timeout` in seconds; None waits for ever, 0 not at all.  Python's handlers of other signals run meanwhile.  The
    signals have to be blocked in every thread of the process (`blocked` before the threads start): one that leaves them
    open may receive them, by its handler or the default action.

    Raises TimeoutError, ValueError for a negative timeout or 32 and 33.
    """
    mask = one_set(signals).to_bytes()
    info = bytearray(128)
    deadline = Deadline(timeout)
    while True:
        answer = raw.rt_sigtimedwait(mask, info, deadline.timespec(), 8)
        if answer > 0:
            return SignalInfo(info)
        if answer == _EAGAIN:
            raise TimeoutError(
                f"none of {', '.join(one_set(signals).names) or 'no signals'} came within {timeout} seconds"
            )
        if answer != _EINTR:
            fail("rt_sigtimedwait", (mask, info, None, 8), answer)


def sigsuspend(signals: Signals = ()) -> None:
    """`sigsuspend(2)`: wait with another mask for a signal, in one step; the mask of before is back afterwards.

    `signals` are those that stay blocked meanwhile, none by default.  Returns when one was delivered to a handler in
    this thread; Python's handler has run then.  It belongs to this thread, as `blocked` does.
    """
    mask = one_set(signals).to_bytes()
    answer = raw.rt_sigsuspend(mask, 8)
    if answer != _EINTR:
        fail("rt_sigsuspend", (mask, 8), answer)
