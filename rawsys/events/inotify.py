"""Inotify: what happens to files and directories."""

from __future__ import annotations

import os
from collections import deque
from struct import unpack_from
from typing import NamedTuple

from rawsys import raw, syscalls
from rawsys._native.handle import FdIO
from rawsys._timeouts import Deadline
from rawsys.events import _numbers as n
from rawsys.fd._calls import fail
from rawsys.fd.state import _ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from rawsys.constants import InFlags

    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_HEADER = 16  # struct inotify_event: int wd; u32 mask, cookie, len; then the name, padded with zeros
_ROOM = 1 << 16


class InotifyEvent(NamedTuple):
    """One thing that happened."""

    watch: int
    """The number that `watch` gave; -1 where events were lost (IN_Q_OVERFLOW)."""
    mask: InFlags
    """What happened: IN constants, with IN_ISDIR where it happened to a directory."""
    cookie: int
    """The same number in the two events of a renaming, else 0."""
    name: str
    """The name in the directory that is watched; empty where the watched path itself is meant."""
    path: str
    """The path as it was watched (a watched directory that is renamed keeps its old one here), with the name."""


class Inotify(FdIO):
    """`inotify(7)`: tells what happens to the files and directories that are watched.

    ``watch(path, mask)`` adds one; `get`, `get_nowait` and iteration (over what is there now) give the events in order.
    One read takes all that is there: after `fileno()` was readable, get until there is nothing.

    Raises OSError (EMFILE) at the limit of instances a user.
    """

    __slots__ = ("__weakref__", "_paths", "_queue")

    _paths: dict[int, str]
    _queue: deque[InotifyEvent]

    def __new__(cls) -> Self:
        """One that watches nothing."""
        flags = n.IN_CLOEXEC | n.IN_NONBLOCK
        number = raw.inotify_init1(flags)
        if number < 0:
            fail("inotify_init1", (flags,), number)
        made = cls._fresh(number)
        made._paths = {}
        made._queue = deque()
        return made

    def watch(self, path: Path, mask: int) -> int:
        """`inotify_add_watch(2)`: tell what `mask` (IN constants) names of a file, or of what is in a directory.

        Gives the number that its events carry.  Watching the same file again changes its mask, under the same number.

        Raises OSError: FileNotFoundError, PermissionError, ENOSPC at the user's limit of watches; EINVAL for no event.
        """
        shown = os.fsdecode(path)  # refuses an int, which the call would take for an address
        number = syscalls.inotify_add_watch(self, path, mask)
        self._paths[number] = shown
        return number

    def unwatch(self, watch: int) -> None:
        """`inotify_rm_watch(2)`: watch it no more; an event with IN_IGNORED is the last of it.  OSError (EINVAL) if unknown."""
        syscalls.inotify_rm_watch(self, watch)

    def get_nowait(self) -> InotifyEvent | None:
        """The next event, or None."""
        while True:
            if not self._queue or self.closed:
                try:
                    self._decode(self.read(_ROOM))
                except BlockingIOError:
                    return None
            try:
                return self._queue.popleft()
            except IndexError:  # another thread was quicker
                pass

    def get(self, timeout: float | None = None) -> InotifyEvent:
        """The next event; waits for one.

        `timeout` in seconds; None waits for ever, 0 not at all.  Raises TimeoutError, ClosedError.
        """
        deadline = Deadline(timeout)
        while (event := self.get_nowait()) is None:
            left = deadline.left_ns()
            if not _ready(self, 1, None if left is None else left / 1e9) and not left:
                raise TimeoutError(f"no event of {self!r} came within {timeout} seconds")
        return event

    def _decode(self, data: bytes) -> None:
        from rawsys import constants

        flags, at = constants.family("IN"), 0
        while at < len(data):
            watch, mask, cookie, length = unpack_from("iIII", data, at)
            at += _HEADER
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            place = self._paths.get(watch, "")
            if mask & n.IN_IGNORED:
                self._paths.pop(watch, None)
            path = os.path.join(place, name) if name else place
            self._queue.append(InotifyEvent(watch, flags(mask), cookie, name, path))  # type: ignore[arg-type]  # of that family

    def __iter__(self) -> Self:
        self.fileno()
        return self

    def __next__(self) -> InotifyEvent:
        event = self.get_nowait()
        if event is None:
            raise StopIteration
        return event

    async def wait_async(self) -> None:
        """Wait, under asyncio, until there is an event; `get_nowait` takes it."""
        if not self._queue or self.closed:
            from rawsys.fd._asyncio import ready

            await ready(self)

    async def get_async(self) -> InotifyEvent:
        """The next event, under asyncio."""
        while (event := self.get_nowait()) is None:
            await self.wait_async()
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> InotifyEvent:
        return await self.get_async()
