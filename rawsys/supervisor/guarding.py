"""The supervisor's side of the guardian: see guardian.py."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

from rawsys import raw
from rawsys.command import NULL, Command
from rawsys.fd import Fd
from rawsys.process import rlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rawsys.command import Child
    from rawsys.events import EventLoop
    from rawsys.fd import Handle

_SEQPACKET, _NONBLOCK, _UNIX = 5, 0o4000, 1
_EPOLLOUT = 4
_NOFILE = 7


class Guard:
    """The guardian process and the socket to it."""

    def __init__(self, loop: EventLoop, died: Callable[[], None]) -> None:
        self._loop = loop
        self._died = died
        self._queue: deque[tuple[bytes, Fd | None]] = deque()
        """What the socket did not take yet; the descriptors are copies of ours."""
        self.child: Child | None = None
        self._start()

    def _start(self) -> None:
        ours, theirs = Fd.socketpair(_UNIX, _SEQPACKET)
        try:
            with theirs:
                hard = rlimit(_NOFILE).hard
                command = Command(
                    sys.executable, "-I", "-S", "-X", "utf8=0", str(Path(__file__).with_name("guardian.py")),
                    argv0="rawsys-guardian", executable=sys.executable,
                    stdin=NULL, stdout=NULL, stderr=NULL, fds={3: theirs}, cwd="/", new_session=True,
                    signal_mask=range(1, 32), rlimits={_NOFILE: (hard, hard)},
                )  # fmt: skip
                self.child = command.spawn()
        except BaseException:
            ours.close()
            raise
        ours.nonblocking = True
        self._socket = ours
        self._loop.register(self.child, self._ended)

    def _ended(self, child: Child, _: int) -> None:
        """Somebody killed the guardian: another one takes its place, and is told everything again."""
        self._loop.unregister(child)
        child.poll()
        self._forget_queue()
        self._socket.close()
        self._start()
        self._died()

    @property
    def pid(self) -> int:
        """The number of the guardian."""
        return 0 if self.child is None else self.child.pid

    def hold(self, key: str, group: int, pidfd: Handle, cgroup: str) -> None:
        """Hand a leader over."""
        self._send(f"+{key} {group} {cgroup}".encode("utf-8", "surrogateescape"), pidfd)

    def release(self, key: str) -> None:
        """Its group is gone."""
        self._send(f"-{key}".encode(), None)

    def _send(self, data: bytes, pidfd: Handle | None) -> None:
        if self._queue or not self._sent(data, pidfd):
            copy = (
                None if pidfd is None else Fd(raw.fcntl(pidfd, 1030, 0))
            )  # F_DUPFD_CLOEXEC: it may be reaped meanwhile
            if not self._queue:
                self._loop.register(self._socket, self._writable, _EPOLLOUT)
            self._queue.append((data, copy))

    def _sent(self, data: bytes, pidfd: Handle | None) -> bool:
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
        self._loop.unregister(self._socket)

    def _forget_queue(self) -> None:
        if self._queue:
            self._loop.unregister(self._socket)
        while self._queue:
            copy = self._queue.popleft()[1]
            if copy is not None:
                copy.close()

    def close(self) -> None:
        """Nothing is to be guarded any more: the guardian sees the end of the socket and ends."""
        self._forget_queue()
        self._socket.close()
        if self.child is not None:
            if self.child in self._loop:
                self._loop.unregister(self.child)
            self.child.wait()
            self.child = None
