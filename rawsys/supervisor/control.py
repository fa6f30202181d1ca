"""The control socket: one JSON object a line, each verb answered at once.

A request is ``{"id": 1, "verb": "stop", "names": ["web*"], ...}``.  What comes back carries its id: any number of
``{"id": 1, "event": {...}}`` and other lines of progress, then one of ``{"id": 1, "result": {...}}`` and
``{"id": 1, "error": "...", "kind": "usage" | "failed"}``.  Requests of one connection go on side by side.

A peer that reads slowly is not waited for: events for it are dropped, and it is told how many (``{"id": 1, "lost": 12}``);
while answers wait for it, nothing more is read from it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from contextlib import suppress

from rawsys.supervisor.listening import forget_stale
from rawsys.supervisor.talk import Talk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rawsys.supervisor.change import Change, Notice
    from rawsys.supervisor.daemon import Daemon

_EPOLLIN = 1
_HISTORY = 1000
"""Events that are kept for those who ask later."""


class Control:
    """The socket that a supervisor listens on, at a path that only its user may open.

    Raises OSError (EADDRINUSE) when another supervisor listens there; one that is left over from a dead one is replaced.
    """

    def __init__(self, daemon: Daemon, path: str) -> None:
        self.daemon, self.path = daemon, path
        self.history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self.talks: set[Talk] = set()
        self._loop = daemon.supervisor.loop
        self._waking = False
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        forget_stale(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            self._socket.bind(path)
        except OSError as error:
            self._socket.close()
            why = os.strerror(error.errno) if error.errno else f"{error}: {len(os.fsencode(path))} bytes, 107 at most"
            raise OSError(error.errno or errno.ENAMETOOLONG, f"control socket: {why}", path) from None
        finally:
            os.umask(before)
        self._inode = os.stat(path).st_ino
        self._socket.listen(128)
        self._loop.register(self._socket, self._accept)
        daemon.supervisor.on_event(self._told)

    def _accept(self, listener: socket.socket, _: int) -> None:
        while True:
            try:
                peer, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._loop.modify(listener, 0)
                    self._loop.call_later(0.1, self._listen_again)
                return
            try:
                Talk(self, peer)
            except OSError:  # no more can be watched: it is hung up on, as it would be by a listener that is full
                peer.close()

    def _listen_again(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.modify(self._socket, _EPOLLIN)

    def _told(self, record: Change | Notice) -> None:
        event = record.as_dict()
        self.history.append(event)
        for talk in tuple(self.talks):
            talk.told(event)
        if self.talks:
            self.wake()

    def wake(self) -> None:
        """Let what waits for a state look again, after the machine has done all that follows from an event."""
        if not self._waking:
            self._waking = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        if self.daemon.supervisor.untold:  # else a result would come before the events that led to it
            self._loop.call_soon(self._step)
            return
        self._waking = False
        for talk in tuple(self.talks):
            talk.step()

    def close(self) -> None:
        """Listen no more, hang up on all, and remove the path, unless it is another one's by now."""
        for talk in tuple(self.talks):
            talk.finish()
        self._loop.unregister(self._socket)
        self._socket.close()
        with suppress(OSError):
            if os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)
