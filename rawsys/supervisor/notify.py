"""The protocol of sd_notify(3): what a service says about itself."""

from __future__ import annotations

import socket

from rawsys import raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOM = 4096
_CREDENTIALS = 12  # struct ucred: pid, uid, gid


class NotifySocket:
    """A datagram socket of one instance, in the abstract namespace: nothing is left behind on disk.

    Only what the process group of the instance sends is heard: the kernel tells who the sender is.
    """

    __slots__ = ("_socket", "address")

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("")  # the kernel picks a name that nobody has
            self.address = "@" + self._socket.getsockname()[1:].decode("ascii")
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def messages(self, group: int) -> Iterator[dict[str, str]]:
        """What has come from the members of a process group, each message as its assignments."""
        while True:
            try:
                data, control, _, _ = self._socket.recvmsg(
                    _ROOM, socket.CMSG_SPACE(_CREDENTIALS) + socket.CMSG_SPACE(64 * 4)
                )
            except BlockingIOError:
                return
            sender = 0
            for level, kind, content in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    sender = int.from_bytes(content[:4], "little")
                elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:  # FDSTORE=1: we keep none
                    for at in range(0, len(content) - 3, 4):
                        raw.close(int.from_bytes(content[at : at + 4], "little"))
            if sender and (sender == group or raw.getpgid(sender) == group):
                yield dict(line.split("=", 1) for line in data.decode("utf-8", "replace").splitlines() if "=" in line)

    def close(self) -> None:
        """Close it."""
        self._socket.close()
