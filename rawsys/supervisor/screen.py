"""Screen: the supervisor's own standard output, shared by all services that have no log file."""

from __future__ import annotations

import os
import stat

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
    """One descriptor that many sinks write to, a line at a time, and never longer than it takes without waiting."""

    __slots__ = ("_always", "_colour", "_count", "_fd", "gone", "lines")

    def __init__(self, number: int = 1) -> None:
        self._fd = Fd.borrow(number)
        kind = os.fstat(number).st_mode
        self._always = stat.S_ISREG(kind)
        """A file always takes all."""
        self._colour = self._fd.isatty() and "NO_COLOR" not in os.environ
        self._count = 0
        self.gone = False
        """Nobody reads it any more; what comes is dropped."""

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

    def write(self, data: memoryview) -> int:
        """As much as goes without waiting; gives how much that was."""
        done = 0
        while done < len(data) and (self._always or self._writable()):
            part = data[done:] if self._always else data[done : done + _ATOMIC]
            answer = raw.write(self._fd, part, len(part))
            if answer == -4:
                continue
            if answer < 0:
                self.gone = answer in (-32, -5, -9)  # EPIPE, EIO of a terminal that hung up, EBADF
                return len(data) if self.gone else done
            done += answer
        return done

    def _writable(self) -> bool:
        asked = bytearray(self._fd.fileno().to_bytes(4, "little") + _POLLOUT.to_bytes(4, "little"))
        return raw.poll(asked, 1, 0) > 0


class ScreenSink:
    """One service's share of the screen: whole lines, each with the name before it."""

    __slots__ = ("_head", "_recent", "_screen", "_tail", "_waiting")

    def __init__(self, screen: Screen, head: bytes) -> None:
        self._screen, self._head = screen, head
        self._recent = b""
        """The last of what was passed on, for those who ask later."""
        self._tail = b""
        """The begin of a line whose end has not come."""
        self._waiting = b""
        """Lines that the screen did not take yet."""

    @property
    def waiting(self) -> bool:
        """There are lines that the screen did not take yet."""
        return bool(self._waiting)

    def write(self, data: bytes | memoryview) -> int:
        """Take all, and pass on what goes; `waiting` tells whether something is left, for `flush`."""
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
            self._waiting += self._head + lines + b"\n"
            self.flush()
        return len(data)

    def flush(self) -> bool:
        """Pass on what waits; True when nothing is left."""
        if self._waiting:
            self._waiting = self._waiting[self._screen.write(memoryview(self._waiting)) :]
        return not self._waiting

    def tail(self, lines: int) -> bytes:
        """The last lines, as far as they are kept."""
        return last_lines(self._recent, lines)

    def close(self) -> None:
        """Pass on the last line, though it has no end."""
        if self._tail:
            self.write(b"\n")
        self.flush()
