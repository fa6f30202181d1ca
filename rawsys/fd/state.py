"""What a descriptor is set to, and whether it is ready."""

from __future__ import annotations

from rawsys import raw
from rawsys._native.handle import FdIO
from rawsys._timeouts import Deadline
from rawsys.fd import _numbers as n
from rawsys.fd._calls import Number, fail

_NO_SIGNAL_SET = 8  # the kernel's size of a mask that is not given


class State(FdIO):
    """Properties of a descriptor, and waiting for it."""

    __slots__ = ()

    @property
    def cloexec(self) -> bool:
        """`fcntl(2)` F_GETFD: whether the descriptor is closed in a program that this process executes.

        True from the start.  Setting it False is how a child is made to inherit the descriptor, under this number.
        """
        return bool(_fcntl(self, n.F_GETFD, 0) & n.FD_CLOEXEC)

    @cloexec.setter
    def cloexec(self, on: bool) -> None:
        _fcntl(self, n.F_SETFD, n.FD_CLOEXEC if on else 0)

    @property
    def nonblocking(self) -> bool:
        """`fcntl(2)` O_NONBLOCK: whether calls raise BlockingIOError instead of waiting.

        It belongs to the open file: duplicates, and processes that have it too (a terminal!), get it as well.
        """
        return bool(_fcntl(self, n.F_GETFL, 0) & n.O_NONBLOCK)

    @nonblocking.setter
    def nonblocking(self, on: bool) -> None:
        flags = _fcntl(self, n.F_GETFL, 0)
        _fcntl(self, n.F_SETFL, flags | n.O_NONBLOCK if on else flags & ~n.O_NONBLOCK)

    @property
    def flags(self) -> int:
        """`fcntl(2)` F_GETFL: access mode and status flags of the open file, O constants."""
        return _fcntl(self, n.F_GETFL, 0)

    @property
    def pipe_size(self) -> int:
        """`fcntl(2)` F_GETPIPE_SZ: bytes that the pipe holds; setting it may give more than was asked.

        Raises OSError: EBADF for what is no pipe; when set, EBUSY where more is in it, EPERM above the user's limit.
        """
        return _fcntl(self, n.F_GETPIPE_SZ, 0)

    @pipe_size.setter
    def pipe_size(self, size: int) -> None:
        _fcntl(self, n.F_SETPIPE_SZ, size)

    @property
    def seals(self) -> int:
        """`fcntl(2)` F_GET_SEALS: what can no longer be done to a memfd, F_SEAL constants; EINVAL for other files."""
        return _fcntl(self, n.F_GET_SEALS, 0)

    def add_seals(self, seals: int) -> None:
        """`fcntl(2)` F_ADD_SEALS: forbid something for ever (F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, ...).

        Raises OSError: EPERM where it cannot be sealed (any more), EBUSY for F_SEAL_WRITE while it is mapped writable.
        """
        _fcntl(self, n.F_ADD_SEALS, seals)

    def isatty(self) -> bool:
        """`ioctl(2)` TCGETS: whether it is a terminal."""
        answer = raw.ioctl(self, n.TCGETS, bytearray(64))
        if answer == -n.EBADF:
            fail("ioctl", (self, n.TCGETS, None), answer)
        return answer == 0

    def wait_readable(self, timeout: float | None = None) -> bool:
        """`ppoll(2)`: wait until a read would not wait; False when `timeout` (seconds, None for ever) is over.

        The end of the file, an error and a hang-up count as ready: the read tells them.  Files and directories are
        always ready.  Retried after signals, with the time that is left.
        """
        return _ready(self, n.POLLIN, timeout)

    def wait_writable(self, timeout: float | None = None) -> bool:
        """`ppoll(2)`: wait until a write of some bytes would not wait; False when `timeout` (seconds) is over.

        An error and a hang-up count as ready: the write tells them.  Retried after signals, with the time that is left.
        """
        return _ready(self, n.POLLOUT, timeout)

    async def wait_async(self) -> None:
        """`wait_readable` under asyncio: the event loop goes on meanwhile.  Several tasks may wait for one descriptor."""
        from rawsys.fd._asyncio import ready

        await ready(self)


def _fcntl(fd: FdIO, command: int, argument: int) -> int:
    answer = raw.fcntl(fd, command, argument)
    if answer < 0:
        fail("fcntl", (fd, command, argument), answer)
    return answer


def _ready(fd: FdIO, events: int, timeout: float | None) -> bool:
    deadline = Deadline(timeout)
    number = Number(fd)
    memory = bytearray(number.value.to_bytes(4, "little") + events.to_bytes(4, "little"))  # struct pollfd
    try:
        while True:
            left = deadline.timespec()
            answer = raw.ppoll(
                memory,
                1,
                None if left is None else bytearray(left),
                None,
                _NO_SIGNAL_SET,
            )
            if answer != -n.EINTR:
                break
    finally:
        number.release()
    if answer < 0:
        fail("ppoll", (memory, 1, left, None, _NO_SIGNAL_SET), answer)
    if answer and memory[6] & n.POLLNVAL:  # a borrowed number that its owner has closed
        fail("fcntl", (fd, n.F_GETFD, 0), -n.EBADF)
    return answer > 0
