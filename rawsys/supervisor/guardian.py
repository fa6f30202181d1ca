"""The guardian: a tiny process that ends what the supervisor started, should the supervisor itself be killed.

It is this file, run by the interpreter with nothing but modules in C: no site, no Python from the disk.  It waits at the
other end of a Unix socket, over which it is handed the pidfd of each leader as soon as there is one, and told when the
group is gone.  When the socket ends, its peer is dead or done: it kills each group that it still holds, and its cgroup, and then
what has the supervisor's mark in its environment.

Messages (SOCK_SEQPACKET): ``+KEY GROUP CGROUP`` with a pidfd, ``-KEY KEY ...``.
"""

import _signal  # type: ignore[import-not-found]  # of the interpreter itself: typeshed knows signal only
import _socket
import posix
import sys

WHOLE_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9


def end_group(pidfd: int, group: int) -> None:
    """Kill all members of a group: through the pidfd, which reaches this group or nobody."""
    try:
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL, None, WHOLE_GROUP)
    except ProcessLookupError:
        pass
    except OSError:  # EINVAL: Linux before 6.9
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

    What is in a group that was handed over is dead by now.  This is for what was started in the last moment, whose leader
    may have ended before we were told of it, and for what is in a session of its own.
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


def watch(number: int) -> dict[str, tuple[int, int, str]]:
    """Receive until the other end is closed; what is still held then, by key."""
    held: dict[str, tuple[int, int, str]] = {}
    peer = _socket.socket(fileno=number)
    room = _socket.CMSG_SPACE(4)
    while True:
        try:
            data, control, _, _ = peer.recvmsg(8192, room)
        except OSError:
            return held
        if not data:
            return held
        text = data.decode("utf-8", "surrogateescape")
        key, _, rest = text[1:].partition(" ")
        for gone in text[1:].split(" ") if text[0] == "-" else (key,):  # a new group takes the place of the one before
            pidfd, _, _ = held.pop(gone, (-1, 0, ""))
            if pidfd >= 0:
                posix.close(pidfd)
        if control:
            group, _, cgroup = rest.partition(" ")
            held[key] = int.from_bytes(control[0][2][:4], "little"), int(group), cgroup


def main() -> None:
    """Wait for the end of the peer, and end what it left."""
    for pidfd, group, cgroup in watch(3).values():
        end_group(pidfd, group)
        if cgroup:
            end_cgroup(cgroup)
    end_marked(b"\0RAWSYS_MARK=" + sys.argv[1].encode() + b":")


if __name__ == "__main__":
    main()
