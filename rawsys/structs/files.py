"""Files: their state, opening, locks, directories, handles, and the terminal's size."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import Numbers, array_of, chars, i16, i32, i64, layout, ptr, u8, u16, u32, u64

__all__ = [
    "cachestat",
    "cachestat_range",
    "f_owner_ex",
    "file_attr",
    "file_clone_range",
    "file_handle",
    "flock",
    "fsxattr",
    "linux_dirent",
    "linux_dirent64",
    "open_how",
    "stat",
    "statfs",
    "statx",
    "statx_timestamp",
    "ustat",
    "winsize",
    "xattr_args",
]


@layout
class stat(KernelStruct):
    """The state of a file as the kernel gives it (144 bytes): `stat(2)`, `fstat(2)`, `lstat(2)`, `newfstatat(2)`."""

    st_dev: u64
    st_ino: u64
    st_nlink: u64
    st_mode: u32
    st_uid: u32
    st_gid: u32
    _pad0: u32
    st_rdev: u64
    st_size: i64
    st_blksize: i64
    st_blocks: i64
    st_atime: u64
    st_atime_nsec: u64
    st_mtime: u64
    st_mtime_nsec: u64
    st_ctime: u64
    st_ctime_nsec: u64
    _unused: Numbers = array_of(i64, 3)


@layout
class statx_timestamp(KernelStruct):
    """A time in a `statx`: seconds and nanoseconds."""

    SINCE = "4.11"

    tv_sec: i64
    tv_nsec: u32
    _reserved: i32


@layout
class statx(KernelStruct):
    """The state of a file, with a mask of what was filled in: `statx(2)`. Always 256 bytes.

    Newer fields are zero, and their bit in `stx_mask` is not set, on an older kernel: `stx_mnt_id` 5.8,
    `stx_dio_*_align` 6.1, `stx_subvol` 6.10, `stx_atomic_write_*` 6.11, `stx_dio_read_offset_align` 6.14,
    `stx_atomic_write_unit_max_opt` 6.16.
    """

    SINCE = "4.11"

    stx_mask: u32
    stx_blksize: u32
    stx_attributes: u64
    stx_nlink: u32
    stx_uid: u32
    stx_gid: u32
    stx_mode: u16
    _spare0: u16
    stx_ino: u64
    stx_size: u64
    stx_blocks: u64
    stx_attributes_mask: u64
    stx_atime: statx_timestamp
    stx_btime: statx_timestamp
    stx_ctime: statx_timestamp
    stx_mtime: statx_timestamp
    stx_rdev_major: u32
    stx_rdev_minor: u32
    stx_dev_major: u32
    stx_dev_minor: u32
    stx_mnt_id: u64
    stx_dio_mem_align: u32
    stx_dio_offset_align: u32
    stx_subvol: u64
    stx_atomic_write_unit_min: u32
    stx_atomic_write_unit_max: u32
    stx_atomic_write_segments_max: u32
    stx_dio_read_offset_align: u32
    stx_atomic_write_unit_max_opt: u32
    _spare2: u32
    _spare3: Numbers = array_of(u64, 8)


@layout
class open_how(KernelStruct):
    """How to open a file: `openat2(2)`."""

    SINCE = "5.6"
    SIZE_VER0 = 24

    flags: u64
    mode: u64
    resolve: u64


@layout
class statfs(KernelStruct):
    """The state of a file system: `statfs(2)`, `fstatfs(2)`."""

    f_type: i64
    f_bsize: i64
    f_blocks: i64
    f_bfree: i64
    f_bavail: i64
    f_files: i64
    f_ffree: i64
    f_fsid: Numbers = array_of(i32, 2)
    f_namelen: i64
    f_frsize: i64
    f_flags: i64
    _spare: Numbers = array_of(i64, 4)


@layout
class ustat(KernelStruct):
    """The free space of a mounted device: `ustat(2)` (use `statfs`)."""

    f_tfree: i32
    f_tinode: u64
    f_fname: bytes = chars(6)
    f_fpack: bytes = chars(6)


@layout
class flock(KernelStruct):
    """A record lock: `fcntl(2)` with F_SETLK, F_GETLK, F_OFD_SETLK and their kin."""

    l_type: i16
    l_whence: i16
    l_start: i64
    l_len: i64
    l_pid: i32


@layout
class f_owner_ex(KernelStruct):
    """Who gets a descriptor's signals: `fcntl(2)` with F_SETOWN_EX, F_GETOWN_EX."""

    SINCE = "2.6.32"

    type: i32
    pid: i32


@layout
class linux_dirent64(KernelStruct):
    """The head of a directory entry: `getdents64(2)`; `records()` walks the buffer, the name ends at its NUL."""

    _pack_ = 1
    _layout_ = "ms"
    TAIL = "d_name"

    d_ino: u64
    d_off: i64
    d_reclen: u16
    d_type: u8

    def _record_size(self) -> int:
        return self.d_reclen


@layout
class linux_dirent(KernelStruct):
    """The head of a directory entry: `getdents(2)`; the last byte of the record is the type of the file."""

    _pack_ = 1
    _layout_ = "ms"
    TAIL = "d_name"

    d_ino: u64
    d_off: u64
    d_reclen: u16

    def _record_size(self) -> int:
        return self.d_reclen


@layout
class file_handle(KernelStruct):
    """A file's handle: `name_to_handle_at(2)`, `open_by_handle_at(2)`.

    It has room for the largest handle (MAX_HANDLE_SZ, 128): set `handle_bytes=128` before asking for one.
    """

    SINCE = "2.6.39"
    SIZE_VER0 = 8

    handle_bytes: u32
    handle_type: i32
    f_handle: Numbers = array_of(u8, 128)


@layout
class file_attr(KernelStruct):
    """The attributes that FS_IOC_FSGETXATTR knows: `file_getattr(2)`, `file_setattr(2)`."""

    SINCE = "6.17"
    SIZE_VER0 = 24

    fa_xflags: u64
    fa_extsize: u32
    fa_nextents: u32
    fa_projid: u32
    fa_cowextsize: u32


@layout
class fsxattr(KernelStruct):
    """The attributes of an open file: `ioctl(2)` with FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR."""

    SINCE = "4.5"

    fsx_xflags: u32
    fsx_extsize: u32
    fsx_nextents: u32
    fsx_projid: u32
    fsx_cowextsize: u32
    _pad: Numbers = array_of(u8, 8)


@layout
class xattr_args(KernelStruct):
    """The value of an extended attribute: `setxattrat(2)`, `getxattrat(2)`. `value` is an address."""

    SINCE = "6.13"
    SIZE_VER0 = 16

    value: ptr
    size: u32
    flags: u32


@layout
class cachestat_range(KernelStruct):
    """The part of a file that `cachestat(2)` looks at; `len=0` is to its end."""

    SINCE = "6.5"

    off: u64
    len: u64


@layout
class cachestat(KernelStruct):
    """Counts of a file's pages in the page cache: `cachestat(2)`."""

    SINCE = "6.5"

    nr_cache: u64
    nr_dirty: u64
    nr_writeback: u64
    nr_evicted: u64
    nr_recently_evicted: u64


@layout
class file_clone_range(KernelStruct):
    """A range to share between files: `ioctl(2)` with FICLONERANGE."""

    SINCE = "4.5"

    src_fd: i64
    src_offset: u64
    src_length: u64
    dest_offset: u64


@layout
class winsize(KernelStruct):
    """The size of a terminal: `ioctl(2)` with TIOCGWINSZ, TIOCSWINSZ."""

    ws_row: u16
    ws_col: u16
    ws_xpixel: u16
    ws_ypixel: u16
