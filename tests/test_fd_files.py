"""Files and directories: position, size, attributes, locks, names."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import in_child, until_blocked
from test_fd_waiting import interrupted

from rawsys import constants
from rawsys.fd import Fd


def test_position_and_size() -> None:
    """seek gives the new position; truncate cuts and lengthens; allocate reserves and punches."""
    with Fd.memfd("size") as fd:
        fd.write_all(b"0123456789")
        assert (fd.seek(2), fd.seek(3, os.SEEK_CUR), fd.seek(-1, os.SEEK_END)) == (2, 5, 9)
        fd.truncate(4)
        assert fd.pread(100, 0) == b"0123"
        assert fd.seek(0, os.SEEK_CUR) == 9
        fd.truncate(1 << 40)
        assert (fd.stat().size, fd.stat().allocated) == (1 << 40, 4096)
        fd.allocate(1 << 20, 8192)
        assert fd.stat().allocated == 3 * 4096
        fd.allocate(1 << 20, 4096, constants.FALLOC_FL_PUNCH_HOLE | constants.FALLOC_FL_KEEP_SIZE)
        assert fd.stat().allocated == 2 * 4096
        attempts: list[Callable[[], object]] = [lambda: fd.truncate(-1), lambda: fd.allocate(0, 0), lambda: fd.seek(-1)]
        for attempt in attempts:
            with pytest.raises(OSError) as caught:
                attempt()
            assert caught.value.errno == errno.EINVAL
    read, write = Fd.pipe()
    with read, write, pytest.raises(OSError) as caught:
        read.seek(0)
    assert caught.value.errno == errno.ESPIPE


def test_pread_and_pwrite_leave_the_position() -> None:
    """pread and pwrite work at an offset."""
    with Fd.memfd("offsets") as fd:
        assert fd.pwrite(b"abc", 5) == 3
        assert fd.pread(10, 4) == b"\0abc"
        assert fd.seek(0, os.SEEK_CUR) == 0
        with pytest.raises(OSError):
            fd.pread(1, -1)


def test_stat_agrees_with_os_stat(tmp_path: Path) -> None:
    """Each field of stat is that of os.stat, in bytes and nanoseconds."""
    (tmp_path / "file").write_bytes(b"x" * 5000)
    (tmp_path / "link").symlink_to("file")
    os.link(tmp_path / "file", tmp_path / "hard")
    os.mkfifo(tmp_path / "fifo")
    for path, flags in (
        (tmp_path / "file", os.O_RDONLY),
        (tmp_path, os.O_RDONLY),
        (tmp_path / "link", os.O_PATH | os.O_NOFOLLOW),
        ("/dev/null", os.O_RDONLY),
        (tmp_path / "fifo", os.O_PATH),
    ):
        with Fd.open(path, flags) as fd:
            got, expected = fd.stat(), os.lstat(path)
            names = (
                "mode inode:ino device:dev links:nlink uid gid size block_size:blksize rdev atime_ns mtime_ns ctime_ns"
            )
            for name in names.split():
                ours, _, theirs = name.partition(":")
                assert getattr(got, ours) == getattr(expected, f"st_{theirs or ours}"), name
            assert got.allocated == expected.st_blocks * 512
            assert (got.is_file(), got.is_dir(), got.is_symlink()) == (
                os.path.isfile(path) and not os.path.islink(path),
                os.path.isdir(path),
                os.path.islink(path),
            )
            assert got.mask & constants.STATX_BASIC_STATS == constants.STATX_BASIC_STATS
            assert got.mount_id > 0
            assert (got.btime_ns is None) == (not got.mask & constants.STATX_BTIME)


def test_stat_of_far_times(tmp_path: Path) -> None:
    """Times before 1970 are negative nanoseconds; nanoseconds are exact."""
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", ns=(-1_500_000_001, 4_000_000_000_123_456_789))
    with Fd.open(tmp_path / "old") as fd:
        stat = fd.stat()
        assert (stat.atime_ns, stat.mtime_ns) == (os.stat(fd.fileno()).st_atime_ns, os.stat(fd.fileno()).st_mtime_ns)


def test_sync(tmp_path: Path) -> None:
    """fsync and fdatasync work on files, and say EINVAL for pipes."""
    with Fd.open(tmp_path / "file", os.O_CREAT | os.O_RDWR) as fd:
        fd.write_all(b"x")
        fd.fsync()
        fd.fdatasync()
    read, write = Fd.pipe()
    with read, write:
        for attempt in (read.fsync, write.fdatasync):
            with pytest.raises(OSError) as caught:
                attempt()
            assert caught.value.errno == errno.EINVAL


# ---- locks ----


def locked(fd: Fd, **arguments: Any) -> bool:
    """Whether the lock can be had at once; it is given back."""
    try:
        fd.lock(blocking=False, **arguments)
    except BlockingIOError:
        return False
    fd.unlock(**{k: v for k, v in arguments.items() if k != "shared"})
    return True


def test_locks_are_between_two_opens_of_one_file(tmp_path: Path) -> None:
    """Two opens in one process exclude each other; shared locks do not, and ranges that do not meet neither."""
    path = tmp_path / "lock"
    with Fd.open(path, os.O_CREAT | os.O_RDWR) as one, Fd.open(path, os.O_RDWR) as two:
        one.lock()
        assert not locked(two)
        assert not locked(two, shared=True)
        one.lock(shared=True)  # downgrade
        assert locked(two, shared=True)
        assert not locked(two)
        one.unlock()
        assert locked(two)
        one.lock(start=10, length=5)
        assert [
            locked(two, start=start, length=length) for start, length in ((0, 10), (9, 2), (14, 1), (15, 0), (0, 0))
        ] == [True, False, False, True, False]
        one.unlock(start=10, length=2)
        assert [locked(two, start=start, length=1) for start in (10, 11, 12)] == [True, True, False]


def test_locks_belong_to_the_open_file(tmp_path: Path) -> None:
    """A duplicate and a child hold the lock too, and it goes with the last of them.

    Closing another open of the file does not take it away, as it would with POSIX locks.
    """
    path = tmp_path / "lock"
    with Fd.open(path, os.O_CREAT | os.O_RDWR) as other:
        one = Fd.open(path, os.O_RDWR)
        one.lock()
        dup = one.dup()
        Fd.open(path).close()
        one.close()
        assert not locked(other)
        assert in_child(lambda: locked(other)) is False
        dup.close()
        assert locked(other)


def test_lock_needs_the_right_access(tmp_path: Path) -> None:
    """A shared lock needs a readable descriptor, an exclusive one a writable; odd ranges are the kernel's to refuse."""
    path = tmp_path / "lock"
    path.touch()
    with Fd.open(path) as reading, Fd.open(path, os.O_WRONLY) as writing:
        reading.lock(shared=True)
        attempts: list[Callable[[], object]] = [reading.lock, lambda: writing.lock(shared=True)]
        for attempt in attempts:
            with pytest.raises(OSError) as caught:
                attempt()
            assert caught.value.errno == errno.EBADF
        with pytest.raises(OSError):
            writing.lock(start=-1)
        with pytest.raises(OverflowError):
            writing.lock(start=2**63)
        with pytest.raises(TypeError):
            writing.lock(start=1.0)  # type: ignore[arg-type]


def test_lock_waits_and_goes_on_after_a_signal(tmp_path: Path) -> None:
    """A blocking lock waits until the other is gone; a signal's Python handler runs, and it goes on waiting."""
    path = tmp_path / "lock"
    with Fd.open(path, os.O_CREAT | os.O_RDWR) as one, Fd.open(path, os.O_RDWR) as two:
        one.lock()
        thread = threading.Thread(target=two.lock, daemon=True)
        thread.start()
        until_blocked(thread.native_id or 0, 72)
        one.unlock()
        thread.join()
        assert not locked(one)
        with interrupted(72, two.unlock) as ran:
            one.lock()
        assert ran == ["ran"]
        assert not locked(two)


# ---- directories ----


def test_list_dir(tmp_path: Path) -> None:
    """Names, inodes and types of all entries but . and .., from the start each time."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / os.fsdecode(b"odd \xff\n name")).touch()
    with Fd.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY) as directory:
        entries = {entry.name: entry for entry in directory.list_dir()}
        for _ in range(2):
            entries = {entry.name: entry for entry in directory.list_dir()}
            assert {name: entry.type for name, entry in entries.items()} == {
                "file": constants.DT_REG,
                "folder": constants.DT_DIR,
                "link": constants.DT_LNK,
                "fifo": constants.DT_FIFO,
                "odd \udcff\n name": constants.DT_REG,
            }
        for name, entry in entries.items():
            assert entry.inode == os.lstat(tmp_path / name).st_ino
        assert (entries["file"].is_file(), entries["folder"].is_dir(), entries["link"].is_symlink()) == (
            True,
            True,
            True,
        )
        (tmp_path / "later").touch()
        assert "later" in [entry.name for entry in directory.list_dir()]


def test_list_dir_of_many(tmp_path: Path) -> None:
    """A directory that needs several calls is complete, without repetition."""
    names = {f"{number:0100}" for number in range(1000)}
    for name in names:
        (tmp_path / name).touch()
    with Fd.open(tmp_path) as directory:
        listed = [entry.name for entry in directory.list_dir()]
    assert len(listed) == 1000
    assert set(listed) == names


def test_list_dir_of_what_is_none(tmp_path: Path) -> None:
    """A file and a pipe are no directories; a directory that was removed is FileNotFoundError; an empty one is []."""
    (tmp_path / "gone").mkdir()
    read, write = Fd.pipe()
    with read, write, Fd.memfd("file") as file, Fd.open(tmp_path / "gone") as gone:
        assert gone.list_dir() == []
        (tmp_path / "gone").rmdir()
        for fd, error in ((read, NotADirectoryError), (file, NotADirectoryError), (gone, FileNotFoundError)):
            with pytest.raises(error):
                fd.list_dir()
    with Fd.open(tmp_path, os.O_PATH) as path, pytest.raises(OSError) as caught:
        path.list_dir()
    assert caught.value.errno == errno.EBADF


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=3000), max_size=12),
    cuts=st.lists(st.integers(0, 4000), max_size=12),
)
def test_what_is_written_is_read(pieces: list[bytes], cuts: list[int]) -> None:
    """Whatever way bytes are written (write, writev) and read (read, readv, readinto, pread), they are the same."""
    whole = b"".join(pieces)
    with Fd.memfd("algebra") as fd:
        half = len(pieces) // 2
        for piece in pieces[:half]:
            fd.write_all(piece)
        fd.writev(pieces[half:])
        assert fd.seek(0, os.SEEK_CUR) == len(whole)
        assert fd.pread(len(whole) + 1, 0) == whole
        fd.seek(0)
        got = b""
        for turn, cut in enumerate(cuts):
            one, two = bytearray(cut), bytearray(cut // 3)
            if turn % 3 == 0:
                got += fd.read(cut)
            elif turn % 3 == 1:
                count = fd.readv([one, two])
                got += bytes(one + two)[:count]
            else:
                got += bytes(one[: fd.readinto(one)])
        assert got + fd.read_all() == whole
