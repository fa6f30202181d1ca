"""TimerFd: a clock that can be waited for."""

from __future__ import annotations

from struct import pack, unpack

from rawsys import raw
from rawsys._native.handle import FdIO
from rawsys._timeouts import Deadline, nanoseconds
from rawsys.events import _numbers as n
from rawsys.fd._calls import counted, fail
from rawsys.fd.state import _ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_NANO = 1_000_000_000
_LONGEST = 2**63 - 1


class TimerFd(FdIO):
    """`timerfd_create(2)`: a descriptor that is readable when a time has come, once or again and again.

    Its clock is the monotonic one, that of `time.monotonic_ns`; with ``realtime=True`` it is the wall clock, that of
    `time.time_ns`, whose steps move an absolute deadline.  It is not set at first.

    Raises OSError (EMFILE, ENFILE, ENOMEM) where no descriptor is to be had.
    """

    __slots__ = ("__weakref__", "_clock")

    _clock: int

    def __new__(cls, *, realtime: bool = False) -> Self:
        """A timer that is not set."""
        clock = n.CLOCK_REALTIME if realtime else n.CLOCK_MONOTONIC
        flags = n.TFD_CLOEXEC | n.TFD_NONBLOCK
        number = raw.timerfd_create(clock, flags)
        if number < 0:
            fail("timerfd_create", (clock, flags), number)
        made = cls._fresh(number)
        made._clock = clock
        return made

    @property
    def realtime(self) -> bool:
        """True for a timer on the wall clock."""
        return self._clock == n.CLOCK_REALTIME

    def set(self, after: float, interval: float = 0) -> None:
        """Run out in `after` seconds, then every `interval` seconds (0: only once).

        Raises ValueError for a negative number or NaN, ClosedError.
        """
        first, every = nanoseconds(after), nanoseconds(interval)
        if first is None or every is None:
            raise TypeError("a timer runs out after a number of seconds, not None: disarm() stops it")
        self._settime(0, max(first, 1), every)  # 0 would disarm it

    def set_ns(self, deadline_ns: int, interval_ns: int = 0, *, cancel_on_set: bool = False) -> None:
        """`timerfd_settime(2)`: run out at a time of its clock, then every `interval_ns`; a time that is past is now.

        With `cancel_on_set` a step of the wall clock ends the wait: the descriptor is readable, and `get` or `get_nowait`
        raises OSError (ECANCELED), once.  Raises ValueError for that without `realtime`.
        """
        if cancel_on_set and not self.realtime:
            raise ValueError("cancel_on_set is for a realtime timer: nothing steps the monotonic clock")
        flags = n.TFD_TIMER_ABSTIME | (n.TFD_TIMER_CANCEL_ON_SET if cancel_on_set else 0)
        deadline = counted(deadline_ns, "deadline_ns")
        self._settime(flags, max(deadline, 1), counted(interval_ns, "interval_ns"))

    def disarm(self) -> None:
        """Do not run out any more; what ran out and was not read is forgotten."""
        self._settime(0, 0, 0)

    def _settime(self, flags: int, first: int, every: int) -> None:
        new = pack("4q", *divmod(min(every, _LONGEST), _NANO), *divmod(min(first, _LONGEST), _NANO))
        answer = raw.timerfd_settime(self, flags, new, None)
        if answer < 0:
            fail("timerfd_settime", (self, flags, new, None), answer)

    @property
    def remaining_ns(self) -> int | None:
        """`timerfd_gettime(2)`: nanoseconds until it runs out next; None while it is not set, or has run out for good."""
        now = bytearray(32)
        answer = raw.timerfd_gettime(self, now)
        if answer < 0:
            fail("timerfd_gettime", (self, now), answer)
        _, _, seconds, rest = unpack("4q", now)
        return seconds * _NANO + rest or None

    def get_nowait(self) -> int:
        """How often it ran out since it was set or last asked; 0 when it did not.  Does not wait."""
        try:
            return int.from_bytes(self.read(8), "little")
        except BlockingIOError:
            return 0

    def get(self, timeout: float | None = None) -> int:
        """Wait until it runs out; how often it did since it was set or last asked.

        Raises TimeoutError after `timeout` seconds; OSError (ECANCELED), see `set_ns`.
        """
        deadline = Deadline(timeout)
        while True:
            if count := self.get_nowait():
                return count
            left = deadline.left_ns()
            if not _ready(self, 1, None if left is None else left / _NANO) and not left:
                raise TimeoutError(f"{self!r} did not run out within {timeout} seconds")

    async def wait_async(self) -> None:
        """Wait, under asyncio, until it has run out; `get_nowait` tells how often."""
        from rawsys.fd._asyncio import ready

        await ready(self)
