"""The supervisor's side of the guardian: see guardian.py."""

from __future__ import annotations

import os
import sys
from collections import deque
from time import monotonic

from rawsys import raw, syscalls
from rawsys.command import NULL, Command
from rawsys.fd import Fd
from rawsys.fd._calls import again
from rawsys.process import rlimit
from rawsys.supervisor.change import Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rawsys.command import Child
    from rawsys.events import EventLoop, Timer
    from rawsys.fd import Handle

_SEQPACKET, _NONBLOCK, _UNIX = 5, 0o4000, 1
_EPOLLOUT = 4
_NOFILE = 7
_SOCKET, _PASSCRED, _PASSPIDFD, _CLOEXEC = 1, 16, 76, 0o2000000
_ON = (1).to_bytes(4, "little")
_ROOM = 4096
"""Bytes of a message at most; keys are shorter by far."""
_LONGEST = 60.0
"""Seconds between two guardians at most, where the first one died soon, or could not be started."""


class Guard:
    """The guardian process and the socket to it.

    A child announces itself before it executes: from its first instruction on the guardian has its pidfd, which the
    kernel attaches to what it says.  Were the pidfd handed over by us after the start, a supervisor that is killed in
    between would leave what the child has started by then.
    """

    def __init__(
        self, loop: EventLoop, mark: str, died: Callable[[], None], report: Callable[[Notice], object]
    ) -> None:
        self._loop = loop
        self._mark = mark
        self._died = died
        self._report = report
        self._replaced = -_LONGEST
        self._delay = 0.0
        """One that dies soon after its start is replaced later and later: it does not keep us busy."""
        self._timer: Timer | None = None
        self._socket: Fd | None = None
        """It stays the same over the guardians."""
        self._listens = False
        """There is a guardian at the other end."""
        self._queue: deque[tuple[bytes, Fd | None]] = deque()
        """What the socket did not take yet; the descriptors are copies of ours."""
        self._released: dict[str, None] = {}
        """Keys of groups that are gone, which it is not told of yet."""
        self.child: Child | None = None
        self._start()

    def _start(self) -> None:
        ours, theirs = Fd.socketpair(_UNIX, _SEQPACKET)
        try:
            with theirs:
                for option in (_PASSCRED, _PASSPIDFD):  # before anything is sent; the second is of Linux 6.5
                    raw.setsockopt(theirs, _SOCKET, option, _ON, 4)
                hard = rlimit(_NOFILE).hard
                # No other argv[0]: by its own path the interpreter finds its modules, of which _socket may be a file.
                command = Command(
                    sys.executable, "-I", "-S", "-X", "utf8=0", os.path.join(os.path.dirname(__file__), "guardian.py"),
                    self._mark,
                    stdin=NULL, stdout=NULL, stderr=NULL, fds={3: theirs}, cwd="/", new_session=True,
                    signal_mask=range(1, 32), rlimits={_NOFILE: (hard, hard)},
                )  # fmt: skip
                self.child = command.spawn()
        except BaseException:
            ours.close()
            raise
        ours.nonblocking = True
        if self._socket is None:
            self._socket = ours
        else:  # the commands of services have this one
            with ours:
                again(syscalls.dup3, ours, self._socket.fileno(), _CLOEXEC)
        self._listens = True
        self._loop.register(self.child, self._ended)

    def _ended(self, child: Child, _: int) -> None:
        """Somebody killed the guardian: another one takes its place, and is told everything again."""
        self._loop.unregister(child)
        status = child.poll()
        self._let_go()
        self._report(Notice.now("guardian", f"it has {status}; another one takes its place"))
        if monotonic() - self._replaced > _LONGEST:
            self._delay = 0.0
            self._replace()
        else:
            self._later()

    def _later(self) -> None:
        self._delay = min(max(1.0, self._delay * 2), _LONGEST)
        self._timer = self._loop.call_later(self._delay, self._replace)

    def _replace(self) -> None:
        self._replaced = monotonic()
        try:
            self._start()
            self._died()
        except OSError as error:  # no process or descriptor is to be had now: the services run on meanwhile
            self._report(Notice.now("guardian", f"it cannot be started: {error}; tried again"))
            self._let_go()
            self._later()

    @property
    def pid(self) -> int:
        """The number of the guardian."""
        return 0 if self.child is None else self.child.pid

    def announcement(self, key: str, cgroup: str) -> tuple[Fd, bytes]:
        """What a child says before it executes, and over what: see `rawsys.Command`.

        When the guardian takes nothing for the moment, the start fails with EAGAIN, and is tried again later.
        """
        assert self._socket is not None
        return self._socket, f"={key} {cgroup}".encode("utf-8", "surrogateescape")

    def hold(self, key: str, group: int, pidfd: Handle, cgroup: str) -> None:
        """Hand a leader over; it takes the place of what was held by that key."""
        self.forget_release(key)
        self._send(f"+{key} {group} {cgroup}".encode("utf-8", "surrogateescape"), pidfd)

    def forget_release(self, key: str) -> None:
        """There is a new group by that key: it is not to be told that the one before is gone."""
        self._released.pop(key, None)

    def release(self, key: str) -> None:
        """Its group is gone: told with all others of this turn, for nothing can be killed through it any more."""
        if not self._released:
            self._loop.call_soon(self._tell_released)
        self._released[key] = None

    def _tell_released(self) -> None:
        keys, self._released = " ".join(self._released), {}
        while keys:
            end = len(keys) if len(keys) <= _ROOM else keys.rindex(" ", 0, _ROOM)
            self._send(f"-{keys[:end]}".encode(), None)
            keys = keys[end:].lstrip()

    def _send(self, data: bytes, pidfd: Handle | None) -> None:
        if not self._listens:
            return  # there is none now; the next one is told everything
        if self._queue or not self._sent(data, pidfd):
            assert self._socket is not None
            copy = None if pidfd is None else _copy(pidfd)  # it may be reaped meanwhile
            if not self._queue:
                self._loop.register(self._socket, self._writable, _EPOLLOUT)
            self._queue.append((data, copy))

    def _sent(self, data: bytes, pidfd: Handle | None) -> bool:
        assert self._socket is not None
        try:
            self._socket.send_fds(data, () if pidfd is None else (pidfd,))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return False  # full; or it died, which _ended is told
        except OSError as error:
            if error.errno != 109:  # ETOOMANYREFS: more descriptors are under way than the limit allows
                raise
            return False
        return True

    def _writable(self, _: Fd, __: int) -> None:
        while self._queue:
            data, copy = self._queue[0]
            if not self._sent(data, copy):
                return
            self._queue.popleft()
            if copy is not None:
                copy.close()
        assert self._socket is not None
        self._loop.unregister(self._socket)

    def _let_go(self) -> None:
        """End the guardian, before the socket: at whose end it would kill what it holds.  What it was not told is forgotten."""
        if self.child is not None:
            if self.child in self._loop:
                self._loop.unregister(self.child)
            self.child.kill()
            self.child.wait()
            self.child = None
        self._listens = False
        if self._queue and self._socket is not None:
            self._loop.unregister(self._socket)
        while self._queue:
            copy = self._queue.popleft()[1]
            if copy is not None:
                copy.close()

    def close(self) -> None:
        """Nothing is to be guarded any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._let_go()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _copy(handle: Handle) -> Fd:
    number = raw.fcntl(handle, 1030, 0)  # F_DUPFD_CLOEXEC
    if number < 0:
        raise OSError(-number, os.strerror(-number))
    return Fd(number)
