"""What belongs to the open file: position, size, attributes, locks, and the names in a directory."""

from __future__ import annotations

from functools import cache

from rawsys import syscalls
from rawsys._native.handle import FdIO
from rawsys.fd import _numbers as n
from rawsys.fd._calls import again, fail, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.fd.records import DirEntry, FileStat
    from rawsys.program import Program, Slot


class Files(FdIO):
    """Calls on files and directories."""

    __slots__ = ()

    def seek(self, offset: int, whence: int = n.SEEK_SET) -> int:
        """`lseek(2)`: move the position of the open file, which its duplicates share; gives the new one (bytes).

        `whence`: SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE.  Raises OSError (ESPIPE for pipes and sockets).
        """
        return syscalls.lseek(self, offset, whence)

    def truncate(self, size: int) -> None:
        """`ftruncate(2)`: cut the file, or lengthen it by a hole, to `size` bytes; the position stays."""
        again(syscalls.ftruncate, self, size)

    def allocate(self, offset: int, length: int, mode: int = 0) -> None:
        """`fallocate(2)`: reserve disk space for a range of bytes, so that writing there cannot run out of space.

        `mode`: FALLOC constants, for example FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, or FALLOC_FL_ZERO_RANGE.
        Raises OSError (ENOSPC; EOPNOTSUPP where the file system cannot).
        """
        again(syscalls.fallocate, self, mode, offset, length)

    def stat(self) -> FileStat:
        """`statx(2)`: the attributes of the open file, with sizes in bytes and times in nanoseconds."""
        from rawsys.fd.records import file_stat

        memory = bytearray(256)
        again(
            syscalls.statx,
            self,
            "",
            n.AT_EMPTY_PATH,
            n.STATX_BASIC_STATS | n.STATX_BTIME | n.STATX_MNT_ID,
            memory,
        )
        return file_stat(memory)

    def fsync(self) -> None:
        """`fsync(2)`: wait until content and attributes are on the disk.

        Raises OSError (EIO, ENOSPC: what was written before may be lost, and a second call will not tell it again).
        """
        again(syscalls.fsync, self)

    def fdatasync(self) -> None:
        """`fdatasync(2)`: wait until the content is on the disk, and of the attributes what is needed to read it."""
        again(syscalls.fdatasync, self)

    def lock(
        self,
        *,
        shared: bool = False,
        blocking: bool = True,
        start: int = 0,
        length: int = 0,
    ) -> None:
        """`fcntl(2)` F_OFD_SETLKW: lock a range of the file, for this open file description.

        `length` bytes from `start`, 0 for all from there on.  The lock belongs to what `open` made: duplicates and
        children share it, another `open` of the same file (in this process too) is another party.  It goes with the
        last descriptor, or by `unlock`.  Locking again changes shared to exclusive and back.  Only those who ask are
        held up: reads and writes go on.

        Raises BlockingIOError when it is not `blocking` and somebody has it, OSError (EBADF: a shared lock needs a
        readable descriptor, an exclusive one a writable).

        Safety: nobody detects a deadlock.
        """
        command = n.F_OFD_SETLKW if blocking else n.F_OFD_SETLK
        again(
            syscalls.fcntl,
            self,
            command,
            _flock(n.F_RDLCK if shared else n.F_WRLCK, start, length),
        )

    def unlock(self, *, start: int = 0, length: int = 0) -> None:
        """`fcntl(2)` F_OFD_SETLK: give a range free; `length` bytes from `start`, 0 for all from there on."""
        again(syscalls.fcntl, self, n.F_OFD_SETLK, _flock(n.F_UNLCK, start, length))

    def list_dir(self) -> list[DirEntry]:
        """`getdents64(2)`: the entries of the directory, without "." and "..", in the file system's order.

        Begins at the start each time, and moves the position of the open file.  What is made or removed meanwhile may
        or may not be there; two threads that list one Fd disturb each other.

        Raises NotADirectoryError; OSError (EBADF for one opened with O_PATH).
        """
        from rawsys.fd.records import dir_entries

        program, step = _listing()
        records = program.run_each([self], collect=step, more=True)[0]
        if isinstance(records, int):
            fail("getdents64", (self, None, _LISTING), records)
        return list(dir_entries(records))


_LISTING = 1 << 15


@cache
def _listing() -> tuple[Program, Slot]:
    """A directory from its start to its end, in one crossing."""
    from rawsys.program import Program

    p = Program()
    fd, records = p.parameter("fd"), p.buffer(_LISTING)
    p.lseek(fd, 0, n.SEEK_SET, allow=[n.ESPIPE])  # what is no directory says so better below
    return p, p.getdents64(fd, records, _LISTING, retry=True)


def _flock(kind: int, start: int, length: int) -> bytearray:
    """A ``struct flock`` from the start of the file; l_pid has to be 0 for these locks."""
    memory = bytearray(32)
    memory[0] = kind
    memory[8:16] = whole(start, "start").to_bytes(8, "little", signed=True)
    memory[16:24] = whole(length, "length").to_bytes(8, "little", signed=True)
    return memory
