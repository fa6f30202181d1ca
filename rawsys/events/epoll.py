"""Epoll: waiting for many descriptors at once."""

from __future__ import annotations

from struct import iter_unpack, pack

from rawsys import raw
from rawsys._native.handle import Handle
from rawsys._timeouts import Deadline
from rawsys.events import _numbers as n
from rawsys.fd._calls import Number, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from rawsys._types import Descriptor

_EVENT = 12  # struct epoll_event is packed: u32 events, u64 data
_MOST = 512
"""Events that one call takes at most; the rest is ready at the next one."""


class Epoll(Handle):
    """`epoll(7)`: waits for any of many descriptors; what is waited for are the sources themselves, not their numbers.

    A source is an Fd, a Pid or another owner, an object with `fileno()`, or an int.  An owner that is watched is in use:
    when it is closed, the descriptor is closed as soon as it is removed here.  So no event is ever told of a stranger
    that has its number.

    `fileno()` is readable while a source is ready: an Epoll can be watched by another one.  After a fork, parent and
    child share what is watched: the child should close it and make its own.

    Raises OSError (EMFILE, ENFILE, ENOMEM) where no descriptor is to be had.
    """

    __slots__ = ("__weakref__", "_events", "_next", "_tokens", "_watched")

    _events: bytearray
    _watched: dict[int, tuple[Descriptor, Number]]
    """By what stands in the kernel's event: never used twice, so that an event of one that is gone finds nobody."""
    _tokens: dict[int, int]
    _next: int

    def __new__(cls) -> Self:
        """A new one that watches nothing."""
        number = raw.epoll_create1(n.O_CLOEXEC)
        if number < 0:
            fail("epoll_create1", (n.O_CLOEXEC,), number)
        made = cls._fresh(number)
        made._watched = {}
        made._tokens = {}
        made._next = 0
        made._events = bytearray(_MOST * _EVENT)
        return made

    def __len__(self) -> int:
        """How many sources are watched."""
        return len(self._watched)

    def __contains__(self, source: Descriptor) -> bool:
        return key(source) in self._tokens

    def add(self, source: Descriptor, events: int = n.EPOLLIN) -> None:
        """`epoll_ctl(2)`: watch a source for EPOLL events; an error and a hang-up are always told.

        Level-triggered: it is told as long as it is ready, unless EPOLLET or EPOLLONESHOT is among the events.

        Raises ValueError when it is watched already; PermissionError (EPERM) for a file or directory, which is always
        ready; OSError (ELOOP, ENOSPC at the limit of the user).
        """
        known_as = key(source)
        if known_as in self._tokens:
            raise ValueError(f"{source!r} is watched already: modify() changes its events")
        number = Number(source)
        try:
            self._control(n.EPOLL_CTL_ADD, number.value, events, self._next)
        except BaseException:
            number.release()
            raise
        self._watched[self._next] = source, number
        self._tokens[known_as] = self._next
        self._next += 1

    def modify(self, source: Descriptor, events: int) -> None:
        """`epoll_ctl(2)`: watch it for other events from now on.  Raises KeyError when it is not watched."""
        token = self._token(source)
        self._control(n.EPOLL_CTL_MOD, self._watched[token][1].value, events, token)

    def remove(self, source: Descriptor) -> None:
        """`epoll_ctl(2)`: watch it no more; one that was closed meanwhile is closed now.  KeyError when it is not watched."""
        token = self._token(source)
        del self._tokens[key(source)]
        number = self._watched.pop(token)[1]
        try:
            self._control(n.EPOLL_CTL_DEL, number.value, 0, 0)
        except OSError as error:
            if error.errno not in (n.EBADF, n.ENOENT):  # a number that its user closed: the kernel has forgotten it
                raise
        finally:
            number.release()

    def _token(self, source: Descriptor) -> int:
        try:
            return self._tokens[key(source)]
        except KeyError:
            raise KeyError(f"{source!r} is not watched") from None

    def _control(self, operation: int, number: int, events: int, token: int) -> None:
        event = pack("<IQ", events, token)
        answer = raw.epoll_ctl(self, operation, number, event)
        if answer < 0:
            fail("epoll_ctl", (self, operation, number, event), answer)

    def wait(self, timeout: float | None = None, most: int = _MOST) -> list[tuple[Descriptor, int]]:
        """`epoll_wait(2)`: the sources that are ready, each with its events; waits until there is one.

        At most `most` of them are told, the others next time.  Empty when `timeout` seconds (None for ever, 0 not at
        all) are over.  Again after signals, with the time that is left; Python's handlers run then.

        Raises ValueError for a negative timeout, ClosedError.
        """
        deadline = None if timeout is None else Deadline(timeout)
        most = min(most, _MOST)
        while True:
            time = None if deadline is None else deadline.timespec()
            answer = raw.epoll_pwait2(self, self._events, most, time, None, n.SIGNAL_SET)
            if answer > 0:
                found = self._found(answer)
                if found:
                    return found
            elif answer == 0:
                return []
            elif answer != -n.EINTR:
                fail("epoll_pwait2", (self, self._events, most, time, None, n.SIGNAL_SET), answer)

    def _found(self, count: int) -> list[tuple[Descriptor, int]]:
        watched, found = self._watched, []
        for events, token in iter_unpack("<IQ", memoryview(self._events)[: count * _EVENT]):
            known = watched.get(token)
            if known is None:
                continue  # removed by another thread while this one waited
            if isinstance(known[0], Handle) and known[0].closed:
                self.remove(known[0])
                continue
            found.append((known[0], events))
        return found

    async def wait_async(self) -> None:
        """Wait, under asyncio, until a source is ready; `wait` with 0 gives it."""
        from rawsys.fd._asyncio import ready

        await ready(self)

    def close(self) -> None:
        """Watch nothing any more.  The sources are let go, and stay open unless they were closed meanwhile."""
        watched = getattr(self, "_watched", {})
        super().close()
        self._tokens = {}
        while watched:
            watched.popitem()[1][1].release()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return super().__repr__() if self.closed else f"<Epoll {self.fileno()} watching {len(self)}>"


def key(source: Descriptor) -> int:
    """An owner is known by itself, also when it is closed; anything else by its number."""
    if isinstance(source, int):
        return int(source)
    return -1 - id(source)  # below zero: no number of a descriptor
