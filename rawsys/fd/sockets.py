"""Descriptors that travel over a Unix socket."""

from __future__ import annotations

from struct import pack, unpack_from

from rawsys import syscalls
from rawsys._native.buffers import Pinned
from rawsys._native.handle import FdIO
from rawsys.fd import _numbers as n
from rawsys.fd._calls import Number, again, counted, discard, own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from typing_extensions import Buffer

    from rawsys._types import Descriptor

_HEADER = 16  # struct cmsghdr: size_t cmsg_len, int cmsg_level, int cmsg_type; then the data, from 8 to 8 bytes
_OTHERS = 512
"""Room for what a socket may put before the descriptors: credentials, a pidfd, a security label."""


class Sockets(FdIO):
    """sendmsg and recvmsg with SCM_RIGHTS."""

    __slots__ = ()

    def send_fds(self, data: Buffer, fds: Iterable[Descriptor]) -> int:
        """`sendmsg(2)`: send bytes, and with the first of them copies of descriptors (SCM_RIGHTS), over a Unix socket.

        At least one byte has to go with them, at most 253 descriptors.  Gives the number of bytes taken, which on a
        stream may be short; the descriptors are on their way then.  They stay open and owned here.

        Raises ValueError without data, BlockingIOError, OSError (EPIPE, EBADF, ETOOMANYREFS, EINVAL for too many).
        """
        numbers: list[Number] = []
        content = Pinned([data])
        try:
            for fd in fds:
                numbers.append(Number(fd))
            if numbers and not content.place(0)[1]:
                raise ValueError("send_fds: descriptors travel with data; send at least one byte")
            control = _rights([number.value for number in numbers])
            with _Message(content, control) as message:
                return again(syscalls.sendmsg, self, message.header, n.MSG_NOSIGNAL)
        finally:
            content.release()
            for number in numbers:
                number.release()

    def recv_fds(self, n_bytes: int, max_fds: int) -> tuple[bytes, list[Self]]:
        """`recvmsg(2)`: up to `n_bytes` of data, and up to `max_fds` descriptors with owners, from a Unix socket.

        b"" is the end.  They are close-on-exec from the start.  A stream gives no bytes from beyond those that the next
        descriptors came with.

        Raises BlockingIOError; OSError (EMSGSIZE) when more descriptors came than `max_fds` or than this process may
        have open: then all are closed, and the data is lost.

        Safety: what arrives is whatever the other side chose to send; look at `stat()` before trusting it.
        """
        memory = bytearray(counted(n_bytes, "n_bytes"))
        control = bytearray(_HEADER + 4 * counted(max_fds, "max_fds") + _OTHERS)
        content = Pinned([memory], writable=True)
        owners: list[Self] = []
        try:
            with _Message(content, control) as message:
                length = again(syscalls.recvmsg, self, message.header, n.MSG_CMSG_CLOEXEC)
            arrived = list(_arrived(control, n.SCM_RIGHTS))
            count = sum(map(len, arrived))
            if message.flags() & n.MSG_CTRUNC or count > max_fds:
                raise _lost(count, max_fds)
            for numbers in arrived:
                owners += own(type(self), numbers)
        except BaseException:
            for owner in owners:
                owner.close()
            for numbers in _arrived(control, n.SCM_RIGHTS):
                discard(numbers)
            raise
        finally:
            content.release()
            for numbers in _arrived(control, n.SCM_PIDFD):  # of SO_PASSPIDFD, which nobody asked for here
                discard(numbers)
        return bytes(memory[:length]), owners


class _Message:
    """A ``struct msghdr`` over pinned memory; the kernel writes the lengths and flags of what came into it."""

    __slots__ = ("_pins", "header")

    def __init__(self, content: Pinned, control: bytearray) -> None:
        self._pins = Pinned([content.vector, control])
        vector, control_address = (
            self._pins.place(0)[0],
            self._pins.place(1)[0] if control else 0,
        )
        self.header = bytearray(pack("QIxxxxQQQQixxxx", 0, 0, vector, 1, control_address, len(control), 0))

    def flags(self) -> int:
        """MSG constants about what came."""
        return int.from_bytes(self.header[48:52], "little")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pins.release()


def _rights(numbers: list[int]) -> bytearray:
    """The control message that carries descriptors, or nothing for none."""
    if not numbers:
        return bytearray()
    return bytearray(
        pack(
            f"Qii{len(numbers)}i",
            _HEADER + 4 * len(numbers),
            n.SOL_SOCKET,
            n.SCM_RIGHTS,
            *numbers,
        )
    )


def _arrived(control: bytearray, kind: int) -> Iterator[memoryview]:
    """Where the numbers of descriptors lie in what recvmsg left; zeros are the end."""
    place = 0
    while place + _HEADER <= len(control):
        length, level, type_ = unpack_from("Qii", control, place)
        if length < _HEADER:
            return
        if level == n.SOL_SOCKET and type_ == kind:
            yield memoryview(control)[place + _HEADER : min(place + length, len(control))].cast("i")
        place += (length + 7) & ~7


def _lost(count: int, max_fds: int) -> OSError:
    error = OSError(n.EMSGSIZE, "descriptors that were sent are lost")
    limit = f"at most {max_fds} {'was' if max_fds == 1 else 'were'} asked for, or no more may be open (RLIMIT_NOFILE)"
    error.add_note(f"recvmsg: {count} had arrived and were closed; {limit}")
    return error
