"""Log: where a service's output goes; Pump: how it gets there."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from rawsys import raw
from rawsys.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from rawsys.command.environment import Text

    class Sink(Protocol):
        """What takes the lines of a log."""

        @property
        def waiting(self) -> bool:
            """It does not take more now."""

        def write(self, data: bytes | memoryview) -> int:
            """As much as goes; gives how much that was."""

        def begin(self) -> None:
            """A new run of the service begins."""

        def tail(self, lines: int) -> bytes:
            """The last lines that were written."""

        def close(self) -> None:
            """No more comes."""


CHUNK = 1 << 20
"""Bytes that are read at once, and the size that the pipe of a service that writes much is given."""
_USUAL = 1 << 16  # what a pipe holds at first
_LONGEST = 1 << 20
"""A line may go beyond the size of its file by so many bytes before it is cut."""
_TAIL = 1 << 20
"""Bytes of the end of a file in which its last lines are looked for."""
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_memory = bytearray(CHUNK)
"""One for all pumps: each writes what it read before the next one reads."""


class Log:
    """Where a service's output goes: ``Log("web.log", size=10_000_000, keep=5, prefix="{time} ")``.

    - ``file``: a path, in which `{i}` is the number of the instance; None passes the output on to the supervisor's own
      standard output, a line at a time, with the name before it.
    - ``size``: bytes after which the file is renamed to ``file.1`` and a new one begun, always between two lines (a line
      may make the file longer than this, by up to 1 MiB); None never.  ``keep``: how many old files stay.
    - ``prefix``: what stands before each line: a text, with `{time}` and `{name}` in it.  Lines that are read together
      get the same time.
    - ``stderr``: "merge" into the same; "inherit" the supervisor's; or another `Log`.

    Nothing is lost: a service that writes faster than its log takes waits.  When a file cannot be written (a full disk),
    that is told, and tried again every second, and the service waits meanwhile.

    Raises TypeError and ValueError for what cannot be right.
    """

    __slots__ = ("file", "keep", "prefix", "size", "stderr")

    def __init__(
        self,
        file: Text | None = None,
        *,
        size: int | None = 10_000_000,
        keep: int = 5,
        prefix: str = "",
        stderr: str | Log = "merge",
    ) -> None:
        if file is not None and (not file or not isinstance(file, (str, bytes, os.PathLike))):
            raise TypeError(f"the file of a log is a path, not {file!r}")
        self.file: str | None = None if file is None else os.fsdecode(file)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"the size of a log is a number of bytes from 1 on, or None, not {size!r}")
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
            raise ValueError(f"keep is a number of old files, not {keep!r}")
        if not isinstance(stderr, Log) and stderr not in ("merge", "inherit"):
            raise ValueError(f'stderr is "merge", "inherit" or another Log, not {stderr!r}')
        self.size, self.keep, self.prefix, self.stderr = size, keep, prefix, stderr
        try:
            self.prefix_for("name")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(f"the prefix {prefix!r} of a log has {{time}} and {{name}} only") from error

    def prefix_for(self, name: str) -> bytes:
        """What stands before the lines that are read now."""
        if not self.prefix:
            return b""
        stamp = ""
        if "{time" in self.prefix:
            now = time.time()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now)) + f"{now % 1:.3f}"[1:]
        return self.prefix.format(time=stamp, name=name).encode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Log):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.file, self.size, self.keep, self.prefix))

    def __repr__(self) -> str:
        return f"Log({self.file!r}, size={self.size}, keep={self.keep}, prefix={self.prefix!r}, stderr={self.stderr!r})"


def last_lines(text: bytes, count: int) -> bytes:
    """The last lines of a text."""
    if count <= 0:
        return b""
    place = len(text) - 1 if text.endswith(b"\n") else len(text)
    for _ in range(count):
        place = text.rfind(b"\n", 0, place)
        if place < 0:
            return text
    return text[place + 1 :]


class RotatedFile:
    """A file that lines are added to, and that is renamed between two lines when it is long enough."""

    __slots__ = ("_fd", "_keep", "_mid", "_path", "_size", "_written")
    waiting = False
    """A file takes all, or fails."""

    def __init__(self, path: str, size: int | None, keep: int) -> None:
        self._path, self._size, self._keep = path, size, keep
        self._fd: Fd | None = None
        self._written = 0
        self._mid = False
        """The last line in it has no end yet."""

    @property
    def path(self) -> str:
        """The file that is written now."""
        return self._path

    def write(self, data: bytes | memoryview) -> int:
        """Add as much as goes; gives how much that was.  OSError when nothing could be written."""
        done = 0
        try:
            while done < len(data):
                done += self._add(data, done)
        except OSError:
            if not done:  # else the next write raises it: what was written must not be told as if it were not
                raise
        return done

    def _add(self, data: bytes | memoryview, at: int) -> int:
        """Add what goes into this file, or go over to the next one."""
        if self._fd is None:
            self._open()
        assert self._fd is not None
        part = self._part(data, at)
        if not part:
            self._rotate()
            return 0
        count = self._fd.write(memoryview(data)[at : at + part])
        self._written += count
        self._mid = data[at + count - 1] != 10
        return count

    def _part(self, data: bytes | memoryview, at: int) -> int:
        """How much of the data goes into this file: whole lines that fit, or the rest of a line that it has begun."""
        left = len(data) - at
        if self._size is None or self._written + left <= self._size:
            return left
        if self._written == 0 and not self._mid and self._size >= left:
            return left
        text = data if isinstance(data, bytes) else bytes(data)
        room = max(self._size - self._written, 0)
        end = text.rfind(b"\n", at, at + room) + 1
        if end > at:
            return end - at
        if not self._mid and self._written:
            return 0  # not one line more fits: the next file
        end = text.find(b"\n", at) + 1 or len(text)  # a line that is longer than a file, or has begun in this one
        return min(end - at, max(self._size + _LONGEST - self._written, 0))

    def _open(self) -> None:
        self._fd = Fd.open(self._path, _APPEND, 0o644)
        self._written = self._fd.stat().size
        self._mid = self._mid and self._written > 0

    def begin(self) -> None:
        """Where somebody removed or renamed the file, a new one is begun: nobody would find what goes into the old one."""
        if self._fd is None:
            return
        with suppress(OSError):
            mine, there = self._fd.stat(), os.stat(self._path)
            if (mine.inode, mine.device) == (there.st_ino, there.st_dev):
                return
        self._fd.close()
        self._fd = None

    def _rotate(self) -> None:
        if self._fd is not None:
            self._fd.close()
            self._fd = None
        self._mid = False
        names = [self._path, *(f"{self._path}.{i}" for i in range(1, self._keep + 1))]
        if self._keep == 0:
            os.unlink(self._path)
            return
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            try:
                os.rename(newer, older)
            except FileNotFoundError:
                continue

    def tail(self, lines: int) -> bytes:
        """The last lines of the file; nothing when it cannot be read."""
        try:
            with Fd.open(self._path) as file:
                size = file.stat().size
                return last_lines(file.pread(min(size, _TAIL), max(size - _TAIL, 0)), lines)
        except OSError:
            return b""

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            self._fd.close()
            self._fd = None


class Pump:
    """A pipe that a service writes into, and what is done with what comes out of it.

    The supervisor holds both ends: the pipe stays, with what is in it, over the ends and starts of the service, and
    there is no end of file that would have to be told from an end of the service.
    """

    __slots__ = ("_big", "_log", "_midline", "_rest", "name", "read", "sink", "taps", "trouble", "write")

    def __init__(self, log: Log, name: str, sink: Sink) -> None:
        self._log, self.name = log, name
        self.sink = sink
        self._rest: bytes = b""
        """What was read and could not be written yet; nothing more is read until it is."""
        self.taps: tuple[Callable[[bytes], object], ...] = ()
        """Are told what is read, before anything is put to it."""
        self._midline = False
        self._big = False
        self.trouble: OSError | None = None
        """Why nothing can be written now."""
        self.read, self.write = Fd.pipe()
        self.read.nonblocking = True

    def fileno(self) -> int:
        """The end that is read."""
        return self.read.fileno()

    def move(self) -> int:
        """Take what is there, at most `CHUNK` bytes, to where it goes; gives how much was read.

        Raises OSError when it cannot be written: it is kept, and nothing more is read before `retry` succeeds.
        """
        if self._rest:
            self.retry()  # a part of it went; this raises what kept the other
            if self._rest:
                return 0
        count = raw.read(self.read, _memory, CHUNK)
        if count <= 0:
            return 0
        if count >= _USUAL and not self._big:
            self._grow()
        if self.taps:
            text = bytes(memoryview(_memory)[:count])
            for tap in self.taps:
                tap(text)
        self._put(self._dressed(count))
        return count

    def retry(self) -> None:
        """Try again to write what could not be written.  Raises OSError when that fails again."""
        rest, self._rest = self._rest, b""
        self._put(rest)

    @property
    def stuck(self) -> bool:
        """Something was read and could not be written yet."""
        return bool(self._rest)

    def drain(self) -> None:
        """Take what the pipe holds, as far as it can be written; OSError when it cannot.

        Not until it is empty: something that got away may write into it for ever.
        """
        left = CHUNK
        while left > 0 and ((count := self.move()) or self._rest):
            left -= count

    def _put(self, data: bytes | memoryview) -> None:
        done = 0
        try:
            done = self.sink.write(data)
            self.trouble = None
        except OSError as error:
            self.trouble = error
            raise
        finally:
            if done < len(data):
                self._rest = bytes(data[done:])

    def _dressed(self, count: int) -> bytes | memoryview:
        """What was read, with the prefix before each line."""
        stamp = self._log.prefix_for(self.name)
        if not stamp:
            return memoryview(_memory)[:count]
        text = bytes(memoryview(_memory)[:count]).replace(b"\n", b"\n" + stamp)
        if not self._midline:
            text = stamp + text
        self._midline = _memory[count - 1] != 10
        return text if self._midline else text[: len(text) - len(stamp)]

    def _grow(self) -> None:
        """It writes much: a larger pipe saves switches to it and back.  The kernel's limit for the user may refuse."""
        self._big = True
        raw.fcntl(self.read, 1031, CHUNK)  # F_SETPIPE_SZ

    def close(self) -> None:
        """Close both ends and what takes the lines."""
        self.read.close()
        self.write.close()
        self.sink.close()
