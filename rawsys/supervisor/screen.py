"""Screen: the supervisor's own standard output, shared by all services that have no log file."""

from __future__ import annotations

import os
import stat
from collections import deque

from rawsys import raw
from rawsys.fd import Fd
from rawsys.supervisor.logs import last_lines

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_ATOMIC = 4096
"""PIPE_BUF: what poll calls writable takes that much without waiting, and whole."""
_LONGEST = 1 << 16
"""A line without end is passed on in pieces of this size."""
_RECENT = 1 << 14
"""Bytes of each service that are kept."""
_POLLOUT = 4


class Screen:
    """One descriptor that many sinks write to, whole lines in the order in which they came, and never longer than it takes
    without waiting: what it does not take waits here, and the services with it.
    """

    __slots__ = ("_always", "_colour", "_count", "_fd", "_queue", "gone")

    def __init__(self, number: int = 1) -> None:
        self._fd = Fd.borrow(number)
        self._queue: deque[memoryview] = deque()
        """Lines that it did not take yet."""
        self.gone = False
        """Nobody reads it any more; what comes is dropped."""
        try:
            kind = os.fstat(number).st_mode
        except OSError:  # a daemon may have closed it
            kind, self.gone = 0, True
        self._always = stat.S_ISREG(kind)
        """A file always takes all."""
        self._colour = not self.gone and self._fd.isatty() and "NO_COLOR" not in os.environ
        self._count = 0

    @property
    def waiting(self) -> bool:
        """There are lines that it did not take yet."""
        return bool(self._queue)

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd.fileno()

    def sink(self, name: str) -> ScreenSink:
        """A place for one service's lines, in a colour of its own on a terminal."""
        self._count += 1
        head = f"{name} | "
        if self._colour:
            head = f"\033[{_COLOURS[(self._count - 1) % len(_COLOURS)]}m{head}\033[0m"
        return ScreenSink(self, head.encode())

    def put(self, lines: bytes) -> None:
        """Pass lines on, behind those that wait."""
        if not self.gone:
            self._queue.append(memoryview(lines))
            self.flush()

    def flush(self) -> bool:
        """Pass on what goes of what waits; True when nothing is left."""
        queue = self._queue
        while queue:
            data = queue[0]
            done = self._write(data)
            if self.gone:
                queue.clear()
            elif done < len(data):
                queue[0] = data[done:]
                return False
            else:
                queue.popleft()
        return True

    def close(self) -> None:
        """Pass on all that waits, however long the reader takes."""
        asked = self._question()
        while not self.flush():
            if raw.poll(asked, 1, -1) < 0:
                os.sched_yield()  # a signal: Python's handler may raise here

    def _write(self, data: memoryview) -> int:
        """As much as goes without waiting; gives how much that was."""
        done = 0
        while done < len(data) and (self._always or self._writable()):
            part = data[done:] if self._always else data[done : done + _ATOMIC]
            answer = raw.write(self._fd, part, len(part))
            if answer == -4:
                continue
            if answer == -11:  # EAGAIN
                return done
            if answer < 0:  # EPIPE, EIO of a terminal that hung up, EBADF, a full disk: it must not stop the services
                self.gone = True
                return len(data)
            done += answer
        return done

    def _writable(self) -> bool:
        return raw.poll(self._question(), 1, 0) > 0

    def _question(self) -> bytearray:
        return bytearray(self._fd.fileno().to_bytes(4, "little") + _POLLOUT.to_bytes(4, "little"))


class ScreenSink:
    """One service's share of the screen: whole lines, each with the name before it."""

    __slots__ = ("_head", "_recent", "_screen", "_tail")

    def __init__(self, screen: Screen, head: bytes) -> None:
        self._screen, self._head = screen, head
        self._recent = b""
        """The last of what was passed on, for those who ask later."""
        self._tail = b""
        """The begin of a line whose end has not come."""

    @property
    def waiting(self) -> bool:
        """The screen does not take more now."""
        return self._screen.waiting

    def write(self, data: bytes | memoryview) -> int:
        """Take all; the screen keeps what it does not take yet, and `waiting` tells that no more should come."""
        self._recent = (self._recent + bytes(data[-_RECENT:]))[-_RECENT:]
        if self._screen.gone:
            return len(data)
        text = self._tail + bytes(data)
        end = text.rfind(b"\n") + 1
        if not end and len(text) >= _LONGEST:
            text += b"\n"
            end = len(text)
        self._tail = text[end:]
        if end:
            lines = text[: end - 1].replace(b"\n", b"\n" + self._head)
            self._screen.put(self._head + lines + b"\n")
        return len(data)

    def begin(self) -> None:
        """A new run of the service begins: nothing has to be done."""

    def tail(self, lines: int) -> bytes:
        """The last lines, as far as they are kept."""
        return last_lines(self._recent, lines)

    def close(self) -> None:
        """Pass on the last line, though it has no end."""
        if self._tail:
            self.write(b"\n")
