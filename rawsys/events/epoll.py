"""Epoll: waiting for many descriptors at once."""

from __future__ import annotations

from contextlib import suppress
from struct import Struct, pack
from typing import NamedTuple

from rawsys import raw
from rawsys._native.handle import Handle
from rawsys._timeouts import Deadline
from rawsys.errors import ClosedError
from rawsys.events import _numbers as n
from rawsys.fd._calls import Number, fail, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

    from rawsys._types import Descriptor

    Ready = Callable[[Any, int], object]

_EVENT = Struct("<IQ")  # struct epoll_event is packed: u32 events, u64 data
_MOST = 512
"""Events that one call takes at most; the rest is ready at the next one."""


NOW = Deadline(0)
"""For `Epoll._take`: do not wait, and look at no clock."""


class _AlwaysOpen:
    closed = False


_ALWAYS_OPEN = _AlwaysOpen()


class Watched(NamedTuple):
    """What is known of a source while it is watched."""

    source: Descriptor
    number: Number
    state: Any
    """Whose `closed` tells whether the source is closed: itself, or what is always open where it does not tell."""
    callback: Ready | None
    """What an EventLoop calls."""


class Epoll(Handle):
    """`epoll(7)`: waits for any of many descriptors; what is waited for are the sources themselves, not their numbers.

    A source is an Fd, a Pid or another owner, an object with `fileno()`, or an int.  An owner that is watched is in use:
    when it is closed, the descriptor is closed as soon as it is removed here.  So no event is ever told of a stranger
    that has its number.  Of an int or a socket only the number is known: remove it before you close it.

    `fileno()` is readable while a source is ready: an Epoll can be watched by another one.  Threads may share it: each
    event that is EPOLLONESHOT or EPOLLET is told to one of those that wait.  After a fork, parent and child share what
    is watched: the child should close it and make its own.

    Raises OSError (EMFILE, ENFILE, ENOMEM) where no descriptor is to be had.
    """

    __slots__ = ("__weakref__", "_latest", "_masks", "_next", "_rooms", "_strays", "_tokens", "_watched")

    _watched: dict[int, Watched]
    """By the token that stands in the kernel's event: never used twice, so that an event of what is gone finds nobody."""
    _masks: dict[int, int]
    """The events that are waited for, by token."""
    _tokens: dict[int, int]
    """The token of a source, by its key."""
    _latest: dict[int, int]
    """The token that the kernel has for a number."""
    _next: int
    _rooms: list[bytearray]
    """Memory for events, beside that which waiting threads have taken."""
    _strays: bool
    """Whether the kernel may know something that cannot be removed: see `_renew`."""

    def __new__(cls) -> Self:
        """A new one that watches nothing."""
        number = raw.epoll_create1(n.O_CLOEXEC)
        if number < 0:
            fail("epoll_create1", (n.O_CLOEXEC,), number)
        made = cls._fresh(number)
        made._watched, made._masks, made._tokens, made._latest = {}, {}, {}, {}
        made._next = 0
        made._rooms = []
        made._strays = False
        return made

    def __len__(self) -> int:
        """How many sources are watched."""
        return len(self._watched)

    def __contains__(self, source: Descriptor) -> bool:
        return key(source) in self._tokens

    def add(self, source: Descriptor, events: int = n.EPOLLIN) -> None:
        """`epoll_ctl(2)`: watch a source for EPOLL events; an error and a hang-up are always told.

        Level-triggered: it is told as long as it is ready, unless EPOLLET or EPOLLONESHOT is among the events.

        Raises ValueError when it is watched already; FileExistsError (EEXIST) when it is under another guise (an Fd and
        its number); PermissionError (EPERM) for a file or directory, which is always ready; OSError (ELOOP, ENOSPC at
        the limit of the user).
        """
        self._add(source, events, None)

    def _add(self, source: Descriptor, events: int, callback: Ready | None) -> None:
        known_as = key(source)
        if known_as in self._tokens:
            raise ValueError(f"{source!r} is watched already: modify() changes its events")
        number = Number(source)
        token, self._next = self._next, self._next + 1
        state = source if isinstance(getattr(source, "closed", None), int) else _ALWAYS_OPEN
        try:
            # Known before the kernel tells of it: an event of an unknown token would come again and again.
            self._watched[token] = Watched(source, number, state, callback)
            self._tokens[known_as] = token
            self._masks[token] = events
            _control(self, n.EPOLL_CTL_ADD, number.value, events, token)
            self._latest[number.value] = token
        except BaseException as error:
            if not isinstance(error, (OSError, ClosedError)):
                # A signal handler's: the kernel may know it by now, and would tell of it for ever.
                self._take_back(number.value)
            for known, its in ((self._watched, token), (self._tokens, known_as), (self._masks, token)):
                known.pop(its, None)
            number.release()
            raise

    def _take_back(self, number: int) -> None:
        if number in self._latest:  # of another guise, which the kernel would remove instead
            self._strays = True
            return
        with suppress(OSError):  # it was not there yet
            _control(self, n.EPOLL_CTL_DEL, number, 0, 0)

    def modify(self, source: Descriptor, events: int) -> None:
        """`epoll_ctl(2)`: watch it for other events from now on.  Raises KeyError when it is not watched."""
        token = self._token(source)
        _control(self, n.EPOLL_CTL_MOD, self._watched[token].number.value, events, token)
        self._masks[token] = events

    def remove(self, source: Descriptor) -> None:
        """`epoll_ctl(2)`: watch it no more; one that was closed meanwhile is closed now.  KeyError when it is not watched."""
        token = self._token(source)
        # The kernel first: were a signal handler's exception to come in between, the source is still known here, and can
        # be removed again.  The other way round its events would come for ever, and nobody could remove it.
        self._forget(self._watched[token].number.value, token)
        self._tokens.pop(key(source), None)
        self._masks.pop(token, None)
        self._watched.pop(token).number.release()

    def _forget(self, number: int, token: int) -> None:
        if self._latest.get(number) != token:
            # Its user closed it, and somebody who got its number is watched: the kernel would remove that one.
            self._strays = True
            return
        try:
            _control(self, n.EPOLL_CTL_DEL, number, 0, 0)
        except OSError as error:
            if error.errno not in (n.EBADF, n.ENOENT):  # its user closed it
                raise
            self._strays = True
        self._latest.pop(number, None)

    def _token(self, source: Descriptor) -> int:
        try:
            return self._tokens[key(source)]
        except KeyError:
            self.fileno()  # ClosedError, where that is why
            raise KeyError(f"{source!r} is not watched") from None

    def wait(self, timeout: float | None = None, most: int = _MOST) -> list[tuple[Descriptor, int]]:
        """`epoll_wait(2)`: the sources that are ready, each with its events; waits until there is one.

        At most `most` of them are told (512 in any case), the others next time.  Empty when `timeout` seconds (None for
        ever, 0 not at all) are over.  Again after signals, with the time that is left; Python's handlers run then.

        Raises ValueError for a negative timeout or `most` below 1, ClosedError.
        """
        if most < 1:
            raise ValueError(f"at most {most} events: there is no room for one")
        if most > _MOST:
            most = _MOST
        deadline = None if timeout is None else Deadline(timeout) if timeout != 0 else NOW
        while True:
            told, found = self._take(deadline, most), []
            for events, token in told:
                known = self._watched.get(token)
                if known is None or known.state.closed:
                    self._let_go(known)
                else:
                    found.append((known.source, events))
            if found or not told:
                return found

    def _take(self, deadline: Deadline | None, most: int = _MOST) -> Sequence[tuple[int, int]]:
        """Wait; the events, each with its token."""
        try:
            room = self._rooms.pop()
        except IndexError:  # other threads wait with what there was
            room = bytearray(_MOST * _EVENT.size)
        try:
            while True:
                if deadline is None or deadline is NOW:
                    answer = raw.epoll_wait(self, room, most, -1 if deadline is None else 0)
                else:
                    answer = raw.epoll_pwait2(self, room, most, deadline.timespec(), None, n.SIGNAL_SET)
                if answer == 1:
                    return (_EVENT.unpack_from(room),)
                if answer >= 0:
                    return list(_EVENT.iter_unpack(memoryview(room)[: answer * _EVENT.size]))
                if answer != -n.EINTR:
                    fail("epoll_wait", (self, room, most, -1), answer)
        finally:
            self._rooms.append(room)

    def _let_go(self, gone: Watched | None) -> None:
        """An event came of what is not watched any more (None), or of what is closed: see to it that no more do."""
        if gone is not None:
            with suppress(KeyError):  # by another thread, just now
                self.remove(gone.source)
        elif self._strays:  # else it was removed after it was told
            self._renew()

    def _renew(self) -> None:
        """Let a new epoll take the place of this one, under its number, with all that is watched.

        The kernel removes an entry by number and open file.  A number that its user has closed while a duplicate (also
        one in a forked child) holds the file open can therefore not be removed by anybody, and tells for ever: each wait
        would return at once.  An Epoll that watches this one loses sight of it here; there is no way to tell it.
        """
        with Epoll() as new:
            for token, known in list(self._watched.items()):
                try:
                    _control(new, n.EPOLL_CTL_ADD, known.number.value, self._masks.get(token, 0), token)
                except OSError as error:
                    if error.errno not in (n.EBADF, n.EEXIST, n.EPERM):  # closed, or a number that another has by now
                        raise
            number = Number(self)
            try:
                answer = raw.dup3(new, number.value, n.O_CLOEXEC)
                if answer < 0:
                    fail("dup3", (new, number.value, n.O_CLOEXEC), answer)
            finally:
                number.release()
        self._strays = False

    async def wait_async(self) -> None:
        """Wait, under asyncio, until a source is ready; `wait` with 0 gives it."""
        from rawsys.fd._asyncio import ready

        await ready(self)

    def close(self) -> None:
        """Watch nothing any more.  The sources are let go, and stay open unless they were closed meanwhile."""
        try:
            super().close()
        finally:
            for known in (self._tokens, self._masks, self._latest):
                known.clear()
            with suppress(KeyError):  # empty; asked by popitem alone, since two threads may close
                while True:
                    self._watched.popitem()[1].number.release()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return super().__repr__() if self.closed else f"<Epoll {self.fileno()} watching {len(self)}>"


def _control(epoll: Handle, operation: int, number: int, events: int, token: int) -> None:
    if not 0 <= whole(events, "events") < 1 << 32:
        raise OverflowError(f"events are EPOLL bits, 32 of them, not {events}")
    event = pack("<IQ", events, token)
    answer = raw.epoll_ctl(epoll, operation, number, event)
    if answer < 0:
        fail("epoll_ctl", (epoll, operation, number, event), answer)


def key(source: Descriptor) -> int:
    """An owner is known by itself, also when it is closed; anything else by its number."""
    if isinstance(source, int):
        return int(source)
    return -1 - id(source)  # below zero: no number of a descriptor
