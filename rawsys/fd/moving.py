"""Moving bytes: more than one buffer, all of something, or from one descriptor to another inside the kernel."""

from __future__ import annotations

from itertools import islice

from rawsys import raw, syscalls
from rawsys._native.buffers import Pinned
from rawsys._native.handle import FdIO
from rawsys.fd import _numbers as n
from rawsys.fd._calls import again, counted, so_far, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Buffer

    from rawsys._types import Descriptor

_CHUNK = 1 << 16
_LARGEST_CHUNK = 1 << 24


class Moving(FdIO):
    """Reading and writing beyond the five calls of FdIO."""

    __slots__ = ()

    def readv(self, buffers: Iterable[Buffer]) -> int:
        """`readv(2)`: fill writable buffers one after the other; the number of bytes that came, 0 at the end.

        May come short.  The kernel looks at the first 1,024 buffers; the others stay as they are.
        """
        return _vectored(self, syscalls.readv, buffers, writable=True)

    def writev(self, buffers: Iterable[Buffer]) -> int:
        """`writev(2)`: write buffers one after the other, as one piece; the number of bytes taken, which may be short.

        The kernel looks at the first 1,024 buffers.
        """
        return _vectored(self, syscalls.writev, buffers, writable=False)

    def read_all(self, limit: int | None = None) -> bytes:
        """`read(2)` until the end of the file, or until there are `limit` bytes: then there may be more.

        Where the descriptor is non-blocking, it gives what is there now; the end shows when the next call gives b"".

        Raises BlockingIOError where nothing is there at all and the descriptor is non-blocking.
        """
        left = n.MOST if limit is None else counted(limit, "limit")
        chunks: list[bytes] = []
        size = _bytes_ahead(self)
        while left:
            try:
                chunk = self.read(min(size, left, n.MOST))
            except BlockingIOError:
                if not chunks:
                    raise
                break
            if not chunk:
                break
            chunks.append(chunk)
            if limit is not None:
                left -= len(chunk)
            size = min(2 * size, _LARGEST_CHUNK) if len(chunk) == size else _CHUNK
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def write_all(self, data: Buffer) -> None:
        """`write(2)` until everything is written.

        Raises OSError; its `characters_written` says how many bytes were taken before.  So does a non-blocking
        descriptor that takes no more now (BlockingIOError).
        """
        done = 0
        try:
            done = self.write(data)
            size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
            if done < size:
                with memoryview(data) as items, items.cast("B") as view:
                    while done < size:
                        done += _write_some(self, view[done:])
        except OSError as error:
            so_far(error, done)
            raise

    def send_file(self, to: Descriptor, n_bytes: int, offset: int | None = None) -> int:
        """`sendfile(2)`: copy up to `n_bytes` of this file to any descriptor; fewer came when the file ended.

        Begins at `offset` (bytes) and leaves the position alone, or without it at the position, and moves that.

        Raises OSError; its `characters_written` says how many bytes were copied before.  So does a non-blocking `to`
        that takes no more now (BlockingIOError).
        """
        place = None if offset is None else _offset(offset)
        return _until(n_bytes, lambda count: syscalls.sendfile(to, self, place, count))

    def copy_range(
        self,
        to: Descriptor,
        n_bytes: int,
        *,
        offset: int | None = None,
        to_offset: int | None = None,
    ) -> int:
        """`copy_file_range(2)`: copy up to `n_bytes` of this file to another one; fewer came when the file ended.

        File systems that can do so share the blocks.  Without an offset (bytes) a side begins at its position, which
        moves.  Files of /proc and /sys, whose size is not known before, copy as empty: use `send_file` or `read_all`.

        Raises OSError (EXDEV between most file systems, EINVAL for an overlap or what is not a regular file); its
        `characters_written` says how many bytes were copied before.
        """
        place = None if offset is None else _offset(offset)
        target = None if to_offset is None else _offset(to_offset)
        return _until(
            n_bytes,
            lambda count: syscalls.copy_file_range(self, place, to, target, count, 0),
        )

    def splice(
        self,
        to: Descriptor,
        n_bytes: int,
        *,
        offset: int | None = None,
        to_offset: int | None = None,
        flags: int = 0,
    ) -> int:
        """`splice(2)`: move up to `n_bytes` between a pipe and another descriptor without copying; 0 at the end.

        One of the two has to be a pipe.  One call: it moves what is there, like `read`.  An offset (bytes) is for the
        side that is no pipe, whose position it leaves alone.  `flags`: SPLICE_F_MOVE, SPLICE_F_NONBLOCK, SPLICE_F_MORE.

        Raises BlockingIOError where nothing can be moved now and one side is non-blocking; OSError (EINVAL without a
        pipe, ESPIPE for an offset of a pipe).
        """
        place = None if offset is None else _offset(offset)
        target = None if to_offset is None else _offset(to_offset)
        return again(
            syscalls.splice,
            self,
            place,
            to,
            target,
            min(counted(n_bytes, "n_bytes"), n.MOST),
            flags,
        )


def _offset(value: int) -> bytearray:
    """A ``loff_t`` in memory, which the kernel moves on."""
    return bytearray(whole(value, "an offset").to_bytes(8, "little", signed=True))


def _write_some(fd: FdIO, rest: memoryview) -> int:
    """One more write of several; what takes 0 of some bytes would be asked for ever."""
    with rest:
        taken = fd.write(rest)
    if not taken:
        raise OSError(n.EIO, "the descriptor takes no bytes, and says nothing of an error")
    return taken


def _until(n_bytes: int, call: Callable[[int], int]) -> int:
    """Copy until the count is reached or the source ends; the kernel moves at most 0x7ffff000 bytes in a call."""
    done = 0
    total = counted(n_bytes, "n_bytes")
    while True:
        try:
            moved = again(call, min(total - done, n.MOST))
        except OSError as error:
            so_far(error, done)
            raise
        done += moved
        if not moved or done >= total:
            return done


def _bytes_ahead(fd: FdIO) -> int:
    """How many bytes a regular file has from its position on, or the usual chunk: a hint, so that one read does it."""
    memory = bytearray(144)  # struct stat: st_size is at byte 48
    position = raw.lseek(fd, 0, n.SEEK_CUR)
    if position < 0 or raw.fstat(fd, memory):
        return _CHUNK
    ahead = int.from_bytes(memory[48:56], "little", signed=True) - position
    return ahead if ahead > 0 else _CHUNK


def _vectored(
    fd: FdIO,
    call: Callable[[FdIO, bytes, int], int],
    buffers: Iterable[Buffer],
    writable: bool,
) -> int:
    """readv or writev: an array of ``struct iovec`` over pinned memory."""
    pins = Pinned(islice(buffers, n.MOST_BUFFERS), writable)
    try:
        return again(call, fd, pins.vector, pins.count)
    finally:
        pins.release()
