"""`Stat`: what one line of /proc/PID/stat tells of a process; shared by snapshots and `Process`."""

from __future__ import annotations

from typing import NamedTuple

from rawsys._native.proc import parse_stats

# The order is that of `order` in csrc/procstat.c.


class Stat(NamedTuple):
    """A process or thread in one line of the kernel, `proc_pid_stat(5)`.  Times are seconds, sizes bytes.

    Addresses are 0 (or 1) where the kernel does not tell them to this user.
    """

    pid: int
    """Number of the process; of a thread, its tid."""
    ppid: int
    """The parent, 0 for none."""
    name: str
    """At most 15 bytes, chosen by the process itself: any character may be in it."""
    state: str
    """R running, S sleeping, D waiting for a disk, T stopped, t traced, Z zombie, X dead, I idle (kernel thread)."""
    user_time: float
    """Processor time in its own code (seconds, in steps of 0.01)."""
    system_time: float
    """Processor time in the kernel."""
    start_time: float
    """When it started: seconds since the machine did.  With the pid it identifies a process for ever."""
    rss: int
    """Bytes of memory that are resident.  The kernel keeps this sum per processor and tells it here without collecting
    it, so it may be short by some hundred KiB; `Process.statm` and `memory_totals` have the exact one."""
    threads: int
    """Number of threads."""
    nice: int
    """-20 (gets most) to 19."""
    priority: int
    """The kernel's: 20 + nice, or -1 - the real-time priority."""
    session: int
    """The session's leader."""
    group: int
    """The process group."""
    terminal: int
    """Device number of the controlling terminal, 0 for none."""
    foreground: int
    """The process group in the foreground of that terminal, -1 for none."""
    flags: int
    """PF flags of the kernel (PF_KTHREAD is 0x200000)."""
    minor_faults: int
    """Page faults without a disk."""
    children_minor_faults: int
    """The same, of children that were waited for."""
    major_faults: int
    """Page faults for which something was read from a disk."""
    children_major_faults: int
    """The same, of children that were waited for."""
    children_user_time: float
    """Processor time of children that were waited for."""
    children_system_time: float
    """The same, in the kernel."""
    virtual: int
    """Bytes of address space."""
    rss_limit: int
    """The soft limit RLIMIT_RSS (bytes), which the kernel does not enforce."""
    exit_signal: int
    """What the parent gets when it ends."""
    processor: int
    """The processor that it last ran on."""
    rt_priority: int
    """1 to 99 under SCHED_FIFO and SCHED_RR, else 0."""
    policy: int
    """SCHED constants."""
    io_delay: float
    """Time spent waiting for disks, where the kernel accounts for it."""
    guest_time: float
    """Processor time of virtual machines that it runs."""
    children_guest_time: float
    """The same, of children that were waited for."""
    start_code: int
    """Where its program's code begins (address, as the following ones)."""
    end_code: int
    """Where its code ends."""
    start_stack: int
    """The bottom of the first thread's stack: its highest address in use when the program began."""
    start_data: int
    """Where initialised and uninitialised data begin."""
    end_data: int
    """Where they end."""
    start_brk: int
    """Where the heap begins."""
    arg_start: int
    """Where the arguments lie."""
    arg_end: int
    """Where they end."""
    env_start: int
    """Where the environment lies that it was started with."""
    env_end: int
    """Where that ends."""
    exit_code: int
    """Of a zombie: its status as in `wait(2)`."""

    @property
    def identity(self) -> tuple[int, float]:
        """Pid and start time: two processes that had the same number differ in it."""
        return self.pid, self.start_time

    @property
    def kernel_thread(self) -> bool:
        """Whether it is a thread of the kernel, without memory of its own."""
        return bool(self.flags & 0x200000)


def parse_stat(text: bytes) -> Stat:
    """The record of one line.  Raises ValueError for something else."""
    return parse_stats([text], Stat)[0]
