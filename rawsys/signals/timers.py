"""Timers that send a signal to one thread."""

from __future__ import annotations

import warnings
from _thread import RLock

from rawsys import raw
from rawsys._timeouts import nanoseconds
from rawsys.constants import CLOCK_MONOTONIC, Signal
from rawsys.errors import ClosedError
from rawsys.signals.masks import fail
from rawsys.signals.sending import siginfo
from rawsys.signals.sets import SignalSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["TimerSignal"]

_SIGEV_THREAD_ID = 4
_TIMER_ABSTIME = 1
_NO_TIMER = b"\xff" * 4
_NANO = 1_000_000_000


class TimerSignal:
    """`timer_create(2)`: a timer of the kernel that sends a signal to one thread, once or again and again.

    `tid` is the thread, the calling one by default.  `value` (64 bits) comes with the signal, and so does the number of
    times it ran out before (`SignalInfo.value`, `SignalInfo.overrun`).  It does nothing until `set`.  A forked child
    does not have it: there only `close()` works.

    Raises ValueError for what is no signal, OSError (EINVAL) for a thread of another process.
    """

    __slots__ = ("__weakref__", "_id", "_lock", "_pid", "_signal", "_tid")

    def __init__(
        self, signal: Signal | int | str, value: int = 0, *, clock: int = CLOCK_MONOTONIC, tid: int | None = None
    ) -> None:
        self._id: int | None = None
        self._pid = raw.getpid()
        self._lock = RLock()  # a number that close() gives back may be another timer's in the next instruction
        (self._signal,) = SignalSet([signal])
        self._tid = _checked(raw.gettid() if tid is None else tid)
        event = siginfo(self._signal, value)[24:32] + b"".join(
            n.to_bytes(4, "little", signed=True) for n in (self._signal, _SIGEV_THREAD_ID, self._tid)
        )
        made = bytearray(_NO_TIMER)
        event = event.ljust(64, b"\0")
        try:
            fail("timer_create", (clock, event, made), raw.timer_create(clock, event, made))
        finally:  # a Python handler may raise as soon as the timer is there
            if made != _NO_TIMER:
                self._id = int.from_bytes(made, "little")

    @property
    def signal(self) -> Signal:
        """The signal it sends."""
        return self._signal

    @property
    def tid(self) -> int:
        """The thread that receives it."""
        return self._tid

    @property
    def timer_id(self) -> int:
        """The kernel's number, as in `SignalInfo.timer_id`."""
        return self._number()

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._id is None

    def _number(self) -> int:
        if self._id is None or self._pid != raw.getpid():
            raise ClosedError(f"{self!r} can no longer be used")
        return self._id

    def set(self, first: float, interval: float = 0, *, absolute: bool = False) -> None:
        """`timer_settime(2)`: run out after `first` seconds, then every `interval` seconds (0: only once).

        With `absolute`, `first` is a time of the timer's clock.  Raises ValueError for a negative number.
        """
        times = [nanoseconds(first), nanoseconds(interval)]
        if None in times:
            raise TypeError("a timer runs out at a number of seconds, not None")
        after, every = (int(t or 0) for t in times)
        self._settime(_TIMER_ABSTIME if absolute else 0, max(after, 1), every)  # 0 would disarm it

    def disarm(self) -> None:
        """Do not run out any more; `set` begins again."""
        self._settime(0, 0, 0)

    def _settime(self, flags: int, after: int, every: int) -> None:
        words = (*divmod(every, _NANO), *divmod(after, _NANO))
        new = b"".join(word.to_bytes(8, "little") for word in words)
        self._call("timer_settime", raw.timer_settime, flags, new, None)

    def _call(self, name: str, call: Callable[..., int], *arguments: object) -> int:
        self._number()  # also because a thread that is not in this forked child may have held the lock
        with self._lock:
            number = self._number()
            answer = call(number, *arguments)
        fail(name, (number, *arguments), answer)
        return answer

    @property
    def remaining(self) -> float | None:
        """`timer_gettime(2)`: seconds until it runs out next, None while it is not set."""
        now = bytearray(32)
        self._call("timer_gettime", raw.timer_gettime, now)
        seconds, rest = (int.from_bytes(now[at : at + 8], "little") for at in (16, 24))
        return seconds + rest / _NANO if seconds or rest else None

    @property
    def overrun(self) -> int:
        """`timer_getoverrun(2)`: how often it ran out beside the delivery before."""
        return self._call("timer_getoverrun", raw.timer_getoverrun)

    def close(self) -> None:
        """`timer_delete(2)`: the timer is gone, with its signal if that is still pending; doing it again does nothing."""
        if self._pid != raw.getpid():  # a fork's child never had it, and may have its own of that number
            self._id = None
            return
        with self._lock:
            number, self._id = self._id, None
            answer = 0 if number is None else raw.timer_delete(number)
        fail("timer_delete", (number,), answer)

    def __enter__(self) -> Self:
        self._number()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError(f"{self!r} cannot be copied or pickled: one owner for each resource")

    def __del__(self) -> None:
        if getattr(self, "_id", None) is None:
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"to thread {self._tid}"
        return f"<TimerSignal {self._signal.name} {state}>"


def _checked(tid: int) -> int:
    if isinstance(tid, bool) or not isinstance(tid, int):
        raise TypeError(f"a tid is an int, not {type(tid).__name__}")
    if not -(1 << 31) <= tid < 1 << 31:
        raise OverflowError(f"a tid has 32 bits, got {tid}")
    return tid
