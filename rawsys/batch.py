"""Many files in one crossing: the first users of Program."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from rawsys._native.program import distinct_folders, failures
from rawsys.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import overload

    from rawsys._native.program import Slot
    from rawsys.fd.records import FileStat

_AT_FDCWD = -100
_O_CLOEXEC, _O_NOFOLLOW, _O_NOCTTY = 0o2000000, 0o400000, 0o400
_NOT_ONCE = frozenset({-27, -40, -29})  # EFBIG: larger than the window; ELOOP: a link; ESPIPE: a pipe or terminal
_WINDOW = 1 << 16
_FEW = 64

# File systems on which a read that comes short has reached the end.  In /proc, /sys and the like it has not: a
# file of several pages comes in several short pieces.
_SHORT_IS_END = frozenset({
    0xEF53,  # ext2, ext3, ext4
    0x58465342,  # xfs
    0x9123683E,  # btrfs
    0x01021994,  # tmpfs
    0x794C7630,  # overlay
    0xF2F52010,  # f2fs
    0x2FC12FC1,  # zfs
    0xCA451A4E,  # bcachefs
    0xE0F5E1E2,  # erofs
    0x73717368,  # squashfs
    0x4D44,  # fat
    0x2011BAB0,  # exfat
})  # fmt: skip


def _once() -> tuple[Program, Slot]:
    """Three calls a file: enough where a short read is the end.  pread, since a pipe or terminal refuses it."""
    p = Program()
    path, data = p.parameter("path"), p.buffer(_WINDOW)
    fd = p.openat(_AT_FDCWD, path, _O_CLOEXEC | _O_NOFOLLOW | _O_NOCTTY, 0)
    step = p.pread64(fd, data, _WINDOW, 0, retry=True)
    p.close(fd, always=True)
    return p, step


def _whole() -> tuple[Program, Slot]:
    """Reads until the kernel answers 0, which is the end of anything."""
    p = Program()
    path, data = p.parameter("path"), p.buffer(_WINDOW)
    fd = p.openat(_AT_FDCWD, path, _O_CLOEXEC | _O_NOCTTY, 0)
    step = p.read(fd, data, _WINDOW, retry=True)
    p.close(fd, always=True)
    return p, step


_programs: dict[object, tuple[Program, Slot]] = {}


def _program(make: object) -> tuple[Program, Slot]:
    """Prepared once, like a statement; two threads that meet here make it twice, which does no harm."""
    if make not in _programs:
        _programs[make] = make()  # type: ignore[operator]  # make is _once or _whole
    return _programs[make]


def _folders(paths: Iterable[str | bytes | os.PathLike[str] | os.PathLike[bytes]]) -> list[str | bytes]:
    """The folder of each path, "" for the current one; str.rpartition costs a tenth of os.path.dirname."""
    try:
        return [path.rpartition("/")[0] for path in paths]  # type: ignore[union-attr, arg-type]  # most lists are all str
    except (AttributeError, TypeError):
        return [os.path.dirname(os.fsencode(path)) for path in paths]


def _plain_folders(folders: Iterable[str | bytes]) -> frozenset[str | bytes]:
    """The folders on a file system where a short read is the end: one statfs for each, in one crossing."""
    wanted = [*folders, "/"]  # the folder of "x" and of "/x" is written "": then both have to be plain
    p = Program()
    path, memory = p.parameter("path"), p.buffer(120)
    step = p.statfs(path, memory)
    answers = p.run_each([folder or "." for folder in wanted], collect=step)
    plain = {
        folder
        for folder, statfs in zip(wanted, answers, strict=True)
        if isinstance(statfs, bytes) and int.from_bytes(statfs[:8], "little") in _SHORT_IS_END
    }
    return frozenset(plain if "/" in plain else plain - {""})


def read_files(paths: Iterable[str | bytes | os.PathLike[str] | os.PathLike[bytes]]) -> list[bytes | int]:
    """`read(2)` of many whole files in one crossing: for each path its bytes, or -errno.

    Three calls a file (`openat`, `pread64`, `close`) for small regular files on a disk or in memory; as many as
    it takes for larger ones, for pipes, and in /proc and its like.  Nothing is cut: the content is all that
    there was to read.  All paths are converted before the first file is opened; other threads run meanwhile,
    and Python's signal handlers (Ctrl-C) at least every 50 ms between files.

    Raises TypeError or ValueError for something that is no path, before anything is opened.  What the kernel
    refuses is no exception but that path's -errno (-2 for a missing file).

    Safety: reading a pipe consumes it, and a device without an end never ends.  A file of /proc that is bind-mounted
    over a regular file is taken for one.
    """
    wanted = tuple(paths)
    program, step = _program(_whole)
    if len(wanted) <= _FEW:
        return program.run_each(wanted, collect=step, more=True)
    once, once_step = _program(_once)
    results = once.run_each(wanted, collect=once_step)
    again = [index for index in failures(results) if results[index] in _NOT_ONCE]
    folders: set[str | bytes] = {*(distinct_folders(wanted) or _folders(wanted))}
    if odd := folders - _plain_folders(folders):
        again += [i for i, folder in enumerate(_folders(wanted)) if folder in odd and not isinstance(results[i], int)]
    if again:
        for index, result in zip(
            again, program.run_each([wanted[i] for i in again], collect=step, more=True), strict=True
        ):
            results[index] = result
    return results


class FileStats(Sequence["FileStat | int"]):
    """What `stat_many` found: a FileStat for each path, made when it is asked for, or -errno."""

    __slots__ = ("_memory", "_outcomes")

    def __init__(self, memory: bytes, outcomes: bytes) -> None:
        self._memory = memory
        self._outcomes = memoryview(outcomes).cast("q")

    def __len__(self) -> int:
        return len(self._outcomes)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> FileStat | int: ...
        @overload
        def __getitem__(self, index: slice) -> list[FileStat | int]: ...

    def __getitem__(self, index: int | slice) -> FileStat | int | list[FileStat | int]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        from rawsys.fd.records import file_stat

        outcome = self._outcomes[index]
        place = index + len(self) if index < 0 else index
        return outcome if outcome < 0 else file_stat(self._memory, place * 256)

    def __iter__(self) -> Iterator[FileStat | int]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        failed = sum(outcome < 0 for outcome in self._outcomes)
        return f"<FileStats of {len(self)} paths, {failed} failed>"


def stat_many(
    paths: Iterable[str | bytes | os.PathLike[str] | os.PathLike[bytes]], *, follow_symlinks: bool = True
) -> FileStats:
    """`statx(2)` of many paths in one crossing: a sequence of FileStat, or -errno where one failed.

    The records stay in one piece of memory (256 bytes a path) and become objects when they are asked for.

    Raises TypeError or ValueError for something that is no path, before the first call.
    """
    p = Program()
    path, memory = p.parameter("path"), p.buffer(256)
    flags = 0 if follow_symlinks else 0x100  # AT_SYMLINK_NOFOLLOW
    step = p.statx(_AT_FDCWD, path, flags, 0xFFF | 0x1000, memory, retry=True)  # STATX_BASIC_STATS, BTIME, MNT_ID
    return FileStats(*p._run_each(paths, step.index, 3))
