"""Numbers of the kernel that a Command's steps are made of, as plain ints; a test compares them with rawsys.constants."""

from __future__ import annotations

AT_FDCWD = -100
CLONE_FILES = 0x400
CLONE_NEWPID = 0x20000000
CLONE_NEWUSER = 0x10000000
CLOSE_RANGE_CLOEXEC = 4
CLOSE_RANGE_UNSHARE = 2
F_DUPFD_CLOEXEC = 1030
F_SETFD = 2
IOPRIO_WHO_PROCESS = 1
MSG_NOSIGNAL = 0x4000
O_APPEND = 0o2000
O_CLOEXEC = 0o2000000
O_CREAT = 0o100
O_DIRECTORY = 0o200000
O_NOCTTY = 0o400
O_RDONLY = 0
O_RDWR = 2
O_TRUNC = 0o1000
O_WRONLY = 1
PRIO_PROCESS = 0
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
PR_CAP_AMBIENT_RAISE = 2
PR_GET_DUMPABLE = 3
PR_SET_CHILD_SUBREAPER = 36
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NO_NEW_PRIVS = 38
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SIGPIPE = 13
SIGXFSZ = 25
SIG_SETMASK = 2
TIOCSCTTY = 0x540E

EACCES = 13
ECONNREFUSED = 111
ECONNRESET = 104
EINVAL = 22
ENODEV = 19
ENOENT = 2
ENOSYS = 38
ENOTCONN = 107
ENOTDIR = 20
EPIPE = 32
ESTALE = 116
ETIMEDOUT = 110

NAMESPACES = 0x7E020080
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME."""
ALL_FDS = 0xFFFFFFFF


class Call:
    """Numbers of system calls; those of the table, which need not be read for a spawn."""

    close = 3
    poll = 7
    rt_sigaction = 13
    rt_sigprocmask = 14
    ioctl = 16
    write = 1
    sendto = 44
    fcntl = 72
    chdir = 80
    fchdir = 81
    readlink = 89
    umask = 95
    setpgid = 109
    getppid = 110
    setsid = 112
    setgroups = 116
    setresuid = 117
    setresgid = 119
    capset = 126
    personality = 135
    setpriority = 141
    sched_setscheduler = 144
    prctl = 157
    chroot = 161
    sched_setaffinity = 203
    ioprio_set = 251
    openat = 257
    dup3 = 292
    prlimit64 = 302
    sched_setattr = 314
    execve = 59
    close_range = 436
