"""What Fd tells about files: FileStat and DirEntry.  Loaded when first used."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from rawsys.fd import _numbers as n

_STATX = struct.Struct("<IIQIIIHxxQQQQqIxxxxqIxxxxqIxxxxqIxxxxIIIIQ")
_DIRENT = struct.Struct("<QqHB")


class FileStat(NamedTuple):
    """The attributes of a file, as `statx(2)` gives them.  Sizes are bytes, times are nanoseconds since 1970 (UTC)."""

    mode: int
    """Type and permission bits together, as `os.stat` has them in st_mode."""
    inode: int
    """Number of the file in its file system."""
    device: int
    """Number of the file system's device, as in st_dev."""
    links: int
    """Names that the file has."""
    uid: int
    """User that owns the file."""
    gid: int
    """Group that owns the file."""
    size: int
    """Bytes up to the end of the file."""
    allocated: int
    """Bytes that the file takes on the disk, in steps of 512."""
    block_size: int
    """Bytes that are best moved at once."""
    rdev: int
    """Number of the device that a device file stands for."""
    atime_ns: int
    """Last read."""
    mtime_ns: int
    """Last change of the content."""
    ctime_ns: int
    """Last change of content or attributes."""
    btime_ns: int | None
    """Birth of the file; None where the file system does not keep it."""
    mount_id: int
    """Number of the mount, as in /proc/self/mountinfo; 0 before Linux 5.8."""
    attributes: int
    """STATX_ATTR bits that are set."""
    attributes_mask: int
    """STATX_ATTR bits that the file system knows."""
    mask: int
    """STATX bits: which fields the kernel filled in."""

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.mode & n.S_IFMT == n.S_IFDIR

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode & n.S_IFMT == n.S_IFREG

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link (of an open one: O_PATH | O_NOFOLLOW)."""
        return self.mode & n.S_IFMT == n.S_IFLNK


def file_stat(memory: bytes | bytearray | memoryview, offset: int = 0) -> FileStat:
    """The FileStat of a ``struct statx`` at `offset` (bytes) in memory."""
    (mask, block_size, attributes, links, uid, gid, mode, inode, size, blocks, known,
     atime, atime_ns, btime, btime_ns, ctime, ctime_ns, mtime, mtime_ns,
     rdev_major, rdev_minor, major, minor, mount_id) = _STATX.unpack_from(memory, offset)  # fmt: skip
    return FileStat(
        mode=mode,
        inode=inode,
        device=os.makedev(major, minor),
        links=links,
        uid=uid,
        gid=gid,
        size=size,
        allocated=blocks * 512,
        block_size=block_size,
        rdev=os.makedev(rdev_major, rdev_minor),
        atime_ns=atime * 1_000_000_000 + atime_ns,
        mtime_ns=mtime * 1_000_000_000 + mtime_ns,
        ctime_ns=ctime * 1_000_000_000 + ctime_ns,
        btime_ns=btime * 1_000_000_000 + btime_ns if mask & n.STATX_BTIME else None,
        mount_id=mount_id if mask & n.STATX_MNT_ID else 0,
        attributes=attributes,
        attributes_mask=known,
        mask=mask,
    )


class DirEntry(NamedTuple):
    """One name in a directory, as `getdents(2)` gives it."""

    name: str
    """The name; bytes that are not UTF-8 are surrogates, as everywhere in Python (os.fsencode undoes it)."""
    inode: int
    """Number of the file; of a mount point, that of the directory below the mount."""
    type: int
    """A DT constant; DT_UNKNOWN (0) where the file system does not say: then only `stat` tells."""

    def is_dir(self) -> bool:
        """Whether the entry itself (not what a link leads to) is a directory."""
        return self.type == n.DT_DIR

    def is_file(self) -> bool:
        """Whether the entry itself is a regular file."""
        return self.type == n.DT_REG

    def is_symlink(self) -> bool:
        """Whether the entry is a symbolic link."""
        return self.type == n.DT_LNK


def dir_entries(memory: bytes) -> Iterator[DirEntry]:
    """The entries of records of ``struct linux_dirent64``, without "." and ".."."""
    place = 0
    while place < len(memory):
        inode, _, size, kind = _DIRENT.unpack_from(memory, place)
        name = memory[place + _DIRENT.size : memory.index(0, place + _DIRENT.size)]
        if name not in (b".", b".."):
            yield DirEntry(os.fsdecode(name), inode, kind)
        place += size
