"""The kernel's constants that Fd uses, as plain ints: the enums of rawsys.constants cost a microsecond a sum.

A test compares each with the member of its name in rawsys.constants; those that have another form there stand below.
"""

from __future__ import annotations

AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
EFD_CLOEXEC = 0o2000000
EFD_SEMAPHORE = 1
EPOLL_CTL_ADD = 1
F_ADD_SEALS = 1033
F_DUPFD_CLOEXEC = 1030
F_GETFD = 1
F_GETFL = 3
F_GETPIPE_SZ = 1032
F_GET_SEALS = 1034
F_OFD_SETLK = 37
F_OFD_SETLKW = 38
F_RDLCK = 0
F_SETFD = 2
F_SETFL = 4
F_SETPIPE_SZ = 1031
F_UNLCK = 2
F_WRLCK = 1
FD_CLOEXEC = 1
MFD_ALLOW_SEALING = 2
MFD_CLOEXEC = 1
MSG_CMSG_CLOEXEC = 0x40000000
MSG_CTRUNC = 8
MSG_NOSIGNAL = 0x4000
O_CLOEXEC = 0o2000000
O_CREAT = 0o100
O_NONBLOCK = 0o4000
O_RDONLY = 0
O_TMPFILE = 0o20200000
POLLIN = 1
POLLNVAL = 0x20
POLLOUT = 4
SCM_PIDFD = 4
SCM_RIGHTS = 1
SEEK_CUR = 1
SEEK_SET = 0
SOL_SOCKET = 1
AF_UNIX = 1
SOCK_CLOEXEC = 0o2000000
SOCK_STREAM = 1
STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800
STATX_MNT_ID = 0x1000
S_IFDIR = 0o040000
S_IFLNK = 0o120000
S_IFMT = 0o170000
S_IFREG = 0o100000
TCGETS = 0x5401
DT_DIR = 4
DT_LNK = 10
DT_REG = 8

EBADF = 9
EINTR = 4
EIO = 5
EPERM = 1
ESPIPE = 29
EMSGSIZE = 90

MOST = 0x7FFFF000
"""Bytes that the kernel moves in one call (MAX_RW_COUNT); the rest of a larger count is left to the next call."""
MOST_BUFFERS = 1024
"""Buffers that readv and writev take in one call (UIO_MAXIOV)."""
