"""Sending signals with a value, to a thread, to oneself."""

from __future__ import annotations

from rawsys import raw
from rawsys.constants import Signal
from rawsys.signals.masks import fail
from rawsys.signals.sets import SignalSet

__all__ = ["raise_signal", "sigqueue", "tgkill"]

_SI_QUEUE = -1


def _number(signal: Signal | int | str) -> int:
    (number,) = SignalSet([signal])
    return int(number)


def _probe_or_number(signal: Signal | int | str) -> int:
    return 0 if type(signal) is int and signal == 0 else _number(signal)


def siginfo(signal: int, value: int) -> bytes:
    """The kernel's siginfo for a signal with a value from this process."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a value is an int, not {type(value).__name__}")
    if not -(1 << 63) <= value < 1 << 64:
        raise OverflowError(f"a value has 64 bits, got {value}")
    head = b"".join(
        n.to_bytes(4, "little", signed=n < 0) for n in (signal, 0, _SI_QUEUE, 0, raw.getpid(), raw.getuid())
    )
    return (head + (value & (1 << 64) - 1).to_bytes(8, "little")).ljust(128, b"\0")


def sigqueue(pid: int, signal: Signal | int | str, value: int = 0) -> None:
    """`sigqueue(3)`: send a signal to a process, with a value of 64 bits; 0 as the signal only asks whether it is there.

    A C receiver reads the low 32 bits as ``sival_int``, or all as ``sival_ptr``.  Real-time signals queue, each with
    its value; of a standard signal that is pending already nothing is added.

    Raises BlockingIOError (EAGAIN) when as many are queued as RLIMIT_SIGPENDING allows to the receiver's user,
    PermissionError, ProcessLookupError, ValueError for 32 and 33 and what is no signal.

    Safety: a number whose process is gone may be somebody else's by now; a pidfd is not.
    """
    number = _probe_or_number(signal)
    info = siginfo(number, value)
    fail("rt_sigqueueinfo", (pid, number, info), raw.rt_sigqueueinfo(pid, number, info))


def tgkill(pid: int, tid: int, signal: Signal | int | str) -> None:
    """`tgkill(2)`: send a signal to one thread of a process; both numbers have to fit together, so none is hit by chance.

    Raises ProcessLookupError, PermissionError, BlockingIOError as `sigqueue`, ValueError for 32 and 33.
    """
    number = _probe_or_number(signal)
    fail("tgkill", (pid, tid, number), raw.tgkill(pid, tid, number))


def raise_signal(signal: Signal | int | str) -> None:
    """`raise(3)`: send a signal to the calling thread; its handler has run when this returns, unless it is blocked.

    Raises ValueError for 32 and 33 and what is no signal.
    """
    number = _number(signal)
    fail("tgkill", (raw.getpid(), raw.gettid(), number), raw.tgkill(raw.getpid(), raw.gettid(), number))
