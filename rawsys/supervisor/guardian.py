"""The guardian: a tiny process that ends what the supervisor started, should the supervisor itself be killed.

It is this file, run by the interpreter with nothing but modules in C: no site, no Python from the disk.  It waits at the
other end of a Unix socket, over which it is handed the pidfd of each leader as soon as there is one, and told when the
group is gone.  When the socket ends, its peer is dead or done: it kills each group that it still holds, and its cgroup,
and then what has the supervisor's mark in its environment.

Messages (SOCK_SEQPACKET): ``=KEY CGROUP`` from a leader itself, with its pidfd (or its number, before Linux 6.5), which the
kernel attaches; ``+KEY GROUP CGROUP`` with a pidfd from the supervisor, when another guardian was there before; ``-KEY KEY ...``.
"""

import _signal  # type: ignore[import-not-found]  # of the interpreter itself: typeshed knows signal only
import _socket
import posix
import sys

WHOLE_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
RIGHTS, CREDENTIALS, PIDFD = 1, 2, 4  # what comes with a message


def end_group(pidfd: int, group: int) -> None:
    """Kill all members of a group: through the pidfd, which reaches this group or nobody."""
    try:
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL, None, WHOLE_GROUP)
    except ProcessLookupError:
        pass
    except OSError:  # EINVAL: Linux before 6.9; EBADF: its leader was gone before it could be held
        end_members(group)


def end_members(group: int) -> None:
    """The same by one look at /proc: each member held by a pidfd, and looked at once more, before it is killed."""
    for name in posix.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            member = posix.pidfd_open(int(name))
        except OSError:
            continue
        try:
            if posix.getpgid(int(name)) == group:
                _signal.pidfd_send_signal(member, _signal.SIGKILL)
        except OSError:
            pass  # it is gone
        finally:
            posix.close(member)


def end_cgroup(path: str) -> None:
    """Kill all that is in a cgroup and below."""
    try:
        fd = posix.open(path + "/cgroup.kill", posix.O_WRONLY | posix.O_CLOEXEC)
    except OSError:
        return
    try:
        posix.write(fd, b"1")
    finally:
        posix.close(fd)


def end_marked(mark: bytes) -> None:
    """Kill all that was started with a mark in its environment, until there is nothing more.

    What is in a group that we know of is dead by now.  This is for what is in a session of its own, and for what was started
    while there was no guardian.
    """
    killed: set[int] = set()
    for _ in range(100):
        found = kill_marked(mark)
        if found <= killed:
            return
        killed |= found


def kill_marked(mark: bytes) -> set[int]:
    """One look at /proc; the numbers of those that were killed."""
    found = set()
    for name in posix.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            held = posix.pidfd_open(int(name))
        except OSError:
            continue
        try:
            if mark in b"\0" + environment(name):
                _signal.pidfd_send_signal(held, _signal.SIGKILL)
                found.add(int(name))
        except OSError:
            pass  # it is gone, or not ours to look at
        finally:
            posix.close(held)
    return found


def environment(name: str) -> bytes:
    """The environment that a process was started with."""
    fd = posix.open(f"/proc/{name}/environ", posix.O_RDONLY | posix.O_CLOEXEC)
    found = b""
    try:
        while part := posix.read(fd, 1 << 16):
            found += part
    finally:
        posix.close(fd)
    return found


class Sender:
    """Who sent a message, and the descriptor that came with it: all of them ours to close."""

    def __init__(self, control: list[tuple[int, int, bytes]]) -> None:
        self.number, self.pidfd, self.given = 0, -1, -1
        for _, kind, data in control:
            number = int.from_bytes(data[:4], "little", signed=True)
            if kind == PIDFD:
                self.pidfd = number
            elif kind == RIGHTS:
                self.given = number
            elif kind == CREDENTIALS:
                self.number = number

    def take_pidfd(self) -> int:
        """A pidfd of the sender, from now on the caller's; -1 for one that is gone: then its number has to do."""
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd < 0:
            try:
                pidfd = posix.pidfd_open(self.number)
            except OSError:
                pidfd = -1
        return pidfd

    def close(self) -> None:
        """Close what nobody took."""
        for fd in (self.pidfd, self.given):
            if fd >= 0:
                posix.close(fd)


def watch(number: int) -> dict[str, tuple[int, int, str]]:
    """Receive until the other end is closed; what is still held then, by key: pidfd, group, cgroup."""
    held: dict[str, tuple[int, int, str]] = {}
    peer = _socket.socket(fileno=number)
    room = _socket.CMSG_SPACE(12) + 2 * _socket.CMSG_SPACE(4)
    while True:
        try:
            data, control, _, _ = peer.recvmsg(8192, room)
        except OSError:
            return held
        if not data:
            return held
        sender = Sender(control)
        take(held, data.decode("utf-8", "surrogateescape"), sender)
        sender.close()


def take(held: dict[str, tuple[int, int, str]], text: str, sender: Sender) -> None:
    """Take note of one message."""
    key, _, rest = text[1:].partition(" ")
    for gone in text[1:].split(" ") if text[0] == "-" else (key,):  # a new group takes the place of the one before
        pidfd, _, _ = held.pop(gone, (-1, 0, ""))
        if pidfd >= 0:
            posix.close(pidfd)
    if text[0] == "=":
        held[key] = sender.take_pidfd(), sender.number, rest
    elif text[0] == "+":
        group, _, cgroup = rest.partition(" ")
        held[key] = sender.given, int(group), cgroup
        sender.given = -1


def main() -> None:
    """Wait for the end of the peer, and end what it left."""
    for pidfd, group, cgroup in watch(3).values():
        end_group(pidfd, group)
        if cgroup:
            end_cgroup(cgroup)
    end_marked(b"\0RAWSYS_MARK=" + sys.argv[1].encode() + b":")


if __name__ == "__main__":
    main()
