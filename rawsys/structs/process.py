"""Processes and threads: creation, limits, accounts, scheduling, futexes, memory maps, the machine."""

import ctypes

from rawsys.structs._base import KernelStruct
from rawsys.structs._bitsets import BitSet
from rawsys.structs._layout import (
    TYPE_CHECKING,
    Numbers,
    array_of,
    fdu32,
    fdu64,
    i32,
    i64,
    layout,
    ptr,
    u32,
    u64,
)
from rawsys.structs.times import timeval

if TYPE_CHECKING:
    from typing import Any, Self

__all__ = [
    "clone_args",
    "cpu_set",
    "futex_waitv",
    "kcmp_epoll_slot",
    "pidfd_info",
    "rlimit",
    "robust_list",
    "robust_list_head",
    "rseq",
    "rseq_cs",
    "rusage",
    "sched_attr",
    "sched_param",
]


@layout
class clone_args(KernelStruct):
    """What to make: `clone3(2)`. `pidfd`, `child_tid`, `parent_tid`, `stack`, `tls` and `set_tid` are addresses."""

    SINCE = "5.3"
    SIZE_VER0 = 64
    """5.3: up to `tls`"""
    SIZE_VER1 = 80
    """5.5: `set_tid`, `set_tid_size`"""
    SIZE_VER2 = 88
    """5.7: `cgroup`"""

    flags: u64
    pidfd: ptr
    child_tid: ptr
    parent_tid: ptr
    exit_signal: u64
    stack: ptr
    stack_size: u64
    tls: ptr
    set_tid: ptr
    set_tid_size: u64
    cgroup: fdu64


@layout
class rlimit(KernelStruct):
    """A resource limit: `prlimit64(2)`, `getrlimit(2)`, `setrlimit(2)`. RLIM_INFINITY is 2**64-1. Also `rlimit64`."""

    rlim_cur: u64
    rlim_max: u64


@layout
class rusage(KernelStruct):
    """What was used: `getrusage(2)`, `wait4(2)`, `waitid(2)`. `ru_maxrss` is in KiB."""

    ru_utime: timeval
    ru_stime: timeval
    ru_maxrss: i64
    ru_ixrss: i64
    ru_idrss: i64
    ru_isrss: i64
    ru_minflt: i64
    ru_majflt: i64
    ru_nswap: i64
    ru_inblock: i64
    ru_oublock: i64
    ru_msgsnd: i64
    ru_msgrcv: i64
    ru_nsignals: i64
    ru_nvcsw: i64
    ru_nivcsw: i64


@layout
class sched_param(KernelStruct):
    """A real-time priority: `sched_setscheduler(2)`, `sched_setparam(2)`, `sched_getparam(2)`."""

    sched_priority: i32


@layout
class sched_attr(KernelStruct):
    """Policy and attributes of a thread: `sched_setattr(2)` (set `size`), `sched_getattr(2)`. Times are in ns."""

    SINCE = "3.14"
    SIZE_VER0 = 48
    """3.14"""
    SIZE_VER1 = 56
    """5.3: `sched_util_min`, `sched_util_max`"""

    size: u32
    sched_policy: u32
    sched_flags: u64
    sched_nice: i32
    sched_priority: u32
    sched_runtime: u64
    sched_deadline: u64
    sched_period: u64
    sched_util_min: u32
    sched_util_max: u32


@layout
class cpu_set(BitSet):
    """A set of 1024 processors: `sched_setaffinity(2)`, `sched_getaffinity(2)`; `cpu_set([0, 2])`.

    `sched_getaffinity` answers with the number of bytes that it filled.
    """

    _words: Numbers = array_of(u64, 16)


@layout
class futex_waitv(KernelStruct):
    """One futex of several: `futex_waitv(2)`, `futex_requeue(2)` (two). `uaddr` is an address."""

    SINCE = "5.16"

    val: u64
    uaddr: ptr
    flags: u32
    _reserved: u32


@layout
class robust_list(KernelStruct):
    """A link of a list of robust futexes. `next` is an address."""

    SINCE = "2.6.17"

    next: ptr


@layout
class robust_list_head(KernelStruct):
    """The head of a thread's list of robust futexes: `set_robust_list(2)`. `get_robust_list(2)` gives its address."""

    SINCE = "2.6.17"

    list: robust_list
    futex_offset: i64
    list_op_pending: ptr


@layout
class rseq_cs(KernelStruct):
    """A critical section of restartable sequences; `rseq.rseq_cs` holds its address. Aligned to 32 bytes."""

    SINCE = "4.18"

    version: u32
    flags: u32
    start_ip: u64
    post_commit_offset: u64
    abort_ip: u64


@layout
class rseq(KernelStruct):
    """A thread's area for restartable sequences: `rseq(2)`. Make it with `aligned()`.

    Safety: the kernel writes into it until it is unregistered; libc normally has registered its own.
    `node_id` and `mm_cid` are from 6.3 (AT_RSEQ_FEATURE_SIZE tells how much the kernel fills).
    """

    SINCE = "4.18"
    SIZE_VER0 = 32

    cpu_id_start: u32
    cpu_id: u32
    rseq_cs: ptr
    flags: u32
    node_id: u32
    mm_cid: u32
    _end: u32

    @classmethod
    def aligned(cls, **fields: "Any") -> "Self":
        """One at an address that is a multiple of 32, as the kernel demands."""
        space = (ctypes.c_char * (cls.sizeof() + 31))()
        made = cls.from_buffer(space, -ctypes.addressof(space) % 32)
        made.__init__(**fields)  # type: ignore[misc]  # of an instance: it was made in place
        return made


@layout
class kcmp_epoll_slot(KernelStruct):
    """A target of an epoll: `kcmp(2)` with KCMP_EPOLL_TFD."""

    SINCE = "4.13"

    efd: fdu32
    tfd: fdu32
    toff: u32


@layout
class pidfd_info(KernelStruct):
    """What a pidfd tells: `ioctl(2)` with PIDFD_GET_INFO. Set in `mask` what is wanted; it comes back as what is.

    `exit_code` is a wait status and counts when `mask` has PIDFD_INFO_EXIT (6.15).
    """

    SINCE = "6.13"
    SIZE_VER0 = 64
    """6.13; 6.15 made the last field `exit_code`"""
    SIZE_VER1 = 72
    """6.16: `coredump_mask`"""

    mask: u64
    cgroupid: u64
    pid: u32
    tgid: u32
    ppid: u32
    ruid: u32
    rgid: u32
    euid: u32
    egid: u32
    suid: u32
    sgid: u32
    fsuid: u32
    fsgid: u32
    exit_code: i32
    coredump_mask: u32
    _spare1: u32
