"""What takes a signal: flag, counter, queue and Program, each served by one handler in C.

For each signal there is one handler and a list of owners; all of them see each delivery, and they may leave in any
order.  The first one saves the action that was there, the last one puts it back bit for bit, unless somebody else has
installed another meanwhile: then that one stays.  Whoever installs last receives: `signal.signal` on a signal that is
taken here ends the deliveries here (`installed` is False then), and a new owner after it takes them over again.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable

from rawsys import raw
from rawsys._native.signals import CounterCore, FlagCore, QueueCore, SignalInfo, SignalOwner, handler
from rawsys.constants import Signal
from rawsys.errors import RefusedCallError
from rawsys.signals.sets import SignalSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from rawsys.program import Program

_COUNTER, _FLAG, _QUEUE, _PROGRAM = range(4)
_NEVER = SignalSet([Signal.SIGKILL, Signal.SIGSTOP])
_LARGEST = 1 << 24


def catchable(signals: Iterable[Signal | int | str]) -> SignalSet:
    """The signals as a set that can be caught; ValueError names the one that cannot."""
    found = SignalSet(signals)
    if found & _NEVER:
        raise ValueError(f"{(found & _NEVER).names[0]} cannot be caught or ignored")
    return found


def _all(signals: tuple[Signal | int | str | Iterable[Signal | int | str], ...], what: str) -> int:
    mask = 0
    for signal in signals:
        one = isinstance(signal, (int, str)) or not isinstance(signal, Iterable)
        mask |= catchable([signal] if one else signal).mask  # type: ignore[list-item,arg-type]  # told apart above
    if not mask:
        raise ValueError(f"{what} needs at least one signal")
    return mask


class _Shown(SignalOwner):
    """What the kinds have in common in Python."""

    __slots__ = ()

    @property
    def signals(self) -> SignalSet:
        """The signals that it takes."""
        return SignalSet.from_mask(self._mask)

    def _state(self) -> str:
        return ""

    async def _watch(self) -> None:
        """Wait for news, or for the close: that makes the eventfd readable, which is ours for as long as we watch it."""
        from rawsys.fd._asyncio import ready

        await ready(self._news())
        self._news()

    def __repr__(self) -> str:
        words = [f"<{type(self).__name__} {', '.join(self.signals.names)}".rstrip()]
        words.append("closed" if self.closed else self._state())
        return " ".join(filter(None, words)) + ">"


class SignalFlag(_Shown, FlagCore):
    """A flag that is set when one of the signals comes: ``while not stop.wait(timeout=0.1): work()``.

    The flag is set in C, at once, whatever Python is doing; `bool` and `is_set` read it, and it can be read after
    `close()`.  ``restart=False`` makes the signals interrupt system calls (EINTR): where one owner of a signal wants
    that, it holds for all of them.  Otherwise a call that the kernel can restart goes on, and a call of rawsys that is
    interrupted is made again: to be woken up, wait for `fileno()` as well.

    Raises ValueError for SIGKILL, SIGSTOP, libc's own 32 and 33 and what is no signal.
    """

    __slots__ = ("__weakref__",)

    def __init__(self, *signals: Signal | int | str | Iterable[Signal | int | str], restart: bool = True) -> None:
        self._enter(_FLAG, _all(signals, "SignalFlag"), restart, None)

    def fileno(self) -> int:
        """A descriptor that is readable while the flag is set, for select, epoll and asyncio; it is not to be read.

        It is made when first asked for, and closed with this owner.  After `fork()` the child has its own under the
        same number.  It may be readable once without need where `clear()` and a signal meet.

        Raises ClosedError after close(), OSError where no descriptor is left.
        """
        return self._fileno()

    async def wait_async(self) -> None:
        """`wait` under asyncio: return when the flag is set.  Raises ClosedError, also when it is closed meanwhile."""
        while not self:
            await self._watch()

    def _state(self) -> str:
        return "set" if self else "not set"


class SignalCounter(_Shown, CounterCore):
    """Counts deliveries in C: `count`, `reset()`.

    The kernel keeps one of each standard signal pending, so twenty that come while it is blocked are one delivery;
    real-time signals are delivered each.  The count stays readable after `close()`.

    ``restart=False`` and the exceptions are those of `SignalFlag`.
    """

    __slots__ = ("__weakref__",)

    def __init__(self, *signals: Signal | int | str | Iterable[Signal | int | str], restart: bool = True) -> None:
        self._enter(_COUNTER, _all(signals, "SignalCounter"), restart, None)

    def _state(self) -> str:
        return f"count={self.count}"


class SignalQueue(_Shown, QueueCore):
    """Every delivery with what came with it: `get()`, `get_nowait()`, and iteration over what is there now.

    The handler writes into a ring of `capacity` entries; what finds it full is counted in `lost`.  Several threads may
    get; each delivery goes to one of them.

    Order: handlers of different threads run side by side, so what comes is in the kernel's order when the signals are
    open in one thread only: block them (`blocked`) before the other threads start, and open them (`unblocked`) in one.
    The kernel's order is the order of sending for real-time signals of one number, and lower numbers first among those
    that are pending together.

    After `fork()` the child has a copy of what was queued, and its own descriptor.

    Raises ValueError for a capacity below 1, and as `SignalFlag`.
    """

    __slots__ = ("__weakref__",)

    def __init__(
        self,
        *signals: Signal | int | str | Iterable[Signal | int | str],
        capacity: int = 4096,
        restart: bool = True,
    ) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int):
            raise TypeError(f"a capacity is an int, not {type(capacity).__name__}")
        if not 1 <= capacity <= _LARGEST:
            raise ValueError(f"a capacity is a number from 1 to {_LARGEST}, not {capacity}")
        self._enter(_QUEUE, _all(signals, "SignalQueue"), restart, capacity)

    @property
    def lost(self) -> int:
        """How many deliveries found the ring full; stays readable after close()."""
        return self._lost

    def fileno(self) -> int:
        """A descriptor that is readable while there is something to get, for select, epoll and asyncio.

        The handler writes to it when the ring goes from empty to not empty.  It is not to be read; see
        `SignalFlag.fileno`.
        """
        return self._fileno()

    async def get_async(self) -> SignalInfo:
        """The next delivery, under asyncio.  Raises ClosedError, also when the queue is closed meanwhile."""
        while (info := self.get_nowait()) is None:
            await self.wait_async()
        return info

    async def wait_async(self) -> None:
        """Wait, under asyncio, until there is something to get.  Raises ClosedError as `get_async`."""
        await self._watch()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SignalInfo:
        return await self.get_async()

    def _state(self) -> str:
        return f"lost={self.lost}" if self.lost else ""


class SignalProgram(_Shown):
    """A Program that runs inside the handler of a signal; made by `on_signal`."""

    __slots__ = ("__weakref__",)

    def __init__(self, signal: Signal | int | str, program: Program, restart: bool = True) -> None:
        self._enter(_PROGRAM, catchable([signal]).mask, restart, program)

    @property
    def runs(self) -> int:
        """How often it ran."""
        return self._count

    @property
    def failed(self) -> int:
        """In how many of the runs a step failed."""
        return self._failed

    @property
    def skipped(self) -> int:
        """How often it was not run, because the thread's alternate stack had no room for its frame."""
        return self._lost

    def _state(self) -> str:
        return f"runs={self.runs}"


def _stay_until_the_end() -> None:
    """Let CPython forget the Python handlers of signals that are taken here, when the interpreter is about to end.

    It puts SIG_DFL in the place of each handler that it knows of, SIGINT's own among them, without a look at what is
    installed, and the next signal would kill a process whose owners are alive.  SIG_IGN it leaves alone.  That is the
    action for an instant; SIG_DFL would be deadly for as long.
    """
    import signal as python

    for signal in SignalSet.full() - _NEVER:
        action = bytearray(32)
        if raw.rt_sigaction(signal, None, action, 8) or int.from_bytes(action[:8], "little") != handler():
            continue
        if callable(python.getsignal(signal)):
            python.signal(signal, python.SIG_IGN)
            raw.rt_sigaction(signal, action, None, 8)


atexit.register(_stay_until_the_end)

_SETLKW = (7, 38)
"""F_SETLKW and F_OFD_SETLKW: the two commands of fcntl whose purpose is to wait."""


def _refuse_what_waits(program: Program) -> None:
    from rawsys.table import TABLE

    for index in range(len(program)):
        number, arguments, *_ = program._step(index)
        entry = TABLE[number]
        if "waits" in entry.traits or (entry.name == "fcntl" and arguments[1] in _SETLKW):
            raise RefusedCallError(
                f"step {index}, {entry.name}, waits: the interrupted thread would stand still in the handler"
            )
        if entry.name in ("execve", "execveat"):
            raise RefusedCallError(f"step {index}, {entry.name}, runs only in a child: use rawsys.raw_fork(program)")


def on_signal(signal: Signal | int | str, program: Program, *, restart: bool = True) -> SignalProgram:
    """Run a Program inside the handler of a signal, in the thread that it interrupts, before that goes on.

    The result is an owner: `close()` or `with` takes the Program out again.  Until then the Program's Fds are in use:
    closing one takes effect when this is closed.  Other owners of the signal see it as well.  What the steps answered
    is not kept; `runs`, `failed` and `skipped` count.

    For SIGSEGV, SIGBUS, SIGFPE and SIGILL it runs once: the action that was there before is back before the handler
    returns, so that the faulting instruction, which comes again, does not come here for ever.

    Safety: a step may block. A `write` to a full pipe holds the interrupted thread up until somebody reads, with
    whatever it holds (the GIL); make the pipe non-blocking where that cannot be.

    Raises ValueError for a Program with parameters, more than 64 steps or a frame (buffers and answers) of more than
    4096 bytes, or more than this thread's alternate stack has room for; RefusedCallError for a step whose purpose is to
    wait (the trait `waits` in `rawsys.table`) or an exec; ClosedError where an Fd of it is closed.
    """
    owner = SignalProgram.__new__(SignalProgram)
    if hasattr(program, "_step"):
        _refuse_what_waits(program)
    owner.__init__(signal, program, restart)  # type: ignore[misc]  # after the checks, which name on_signal's own words
    return owner


__all__ = ["SignalCounter", "SignalFlag", "SignalInfo", "SignalOwner", "SignalProgram", "SignalQueue", "on_signal"]
