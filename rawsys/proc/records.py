"""What `Process` tells, as records.  Sizes are bytes, times seconds, unless a field says otherwise."""

from __future__ import annotations

from typing import NamedTuple

from rawsys.signals import SignalSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.constants import Cap, Sched


class Ids(NamedTuple):
    """The four numbers of a user or group."""

    real: int
    """Who started it."""
    effective: int
    """Whose rights it has."""
    saved: int
    """Which it may take again."""
    filesystem: int
    """Whose rights it has with files."""


class Capabilities(NamedTuple):
    """The five sets of `capabilities(7)`, each in the order of the numbers."""

    inheritable: tuple[Cap, ...]
    """What may be inherited by exec."""
    permitted: tuple[Cap, ...]
    """What may be made effective."""
    effective: tuple[Cap, ...]
    """What is in force."""
    bounding: tuple[Cap, ...]
    """What exec can give at most."""
    ambient: tuple[Cap, ...]
    """What an exec of an ordinary program keeps."""


class Credentials(NamedTuple):
    """Who a process acts as.  The kernel keeps it for each thread; this is the one that was asked for."""

    uid: Ids
    """User."""
    gid: Ids
    """Group."""
    groups: tuple[int, ...]
    """Supplementary groups."""
    capabilities: Capabilities
    """What it may do of root's doings."""
    no_new_privs: bool
    """Whether exec gives no new rights any more."""
    seccomp: int
    """0 none, 1 strict, 2 filter."""


class Status(NamedTuple):
    """`proc_pid_status(5)`.  Memory is 0 for a kernel thread and a zombie."""

    name: str
    """At most 15 bytes."""
    umask: int | None
    """File mode bits that are not given; None where it is not told (a zombie)."""
    state: str
    """As in `Stat`."""
    tgid: int
    """The process that this thread belongs to."""
    pid: int
    """The thread."""
    ppid: int
    """The parent."""
    tracer: int
    """The process that traces it, 0 for none."""
    credentials: Credentials
    """User, groups, capabilities."""
    fd_slots: int
    """Places in the table of descriptors."""
    namespace_pids: tuple[int, ...]
    """Its number in each pid namespace, from that of this /proc inwards."""
    virtual_peak: int
    """The most address space that it had."""
    virtual: int
    """Address space."""
    locked: int
    """Locked in memory."""
    rss_peak: int
    """The most that was resident."""
    rss: int
    """Resident."""
    rss_anonymous: int
    """Of that, of no file."""
    rss_file: int
    """Of that, of files."""
    rss_shared: int
    """Of that, shared memory."""
    data: int
    """Private writable memory but for stacks."""
    stack: int
    """Stacks."""
    text: int
    """Code of the program."""
    libraries: int
    """Code of libraries."""
    page_tables: int
    """What the page tables take."""
    swap: int
    """Swapped out."""
    threads: int
    """Number of threads."""
    queued_signals: int
    """Signals queued for this user, all processes together."""
    queued_limit: int
    """How many may be."""
    pending: SignalSet
    """Signals that wait for this thread."""
    shared_pending: SignalSet
    """Signals that wait for the process."""
    blocked: SignalSet
    """Held back by this thread."""
    ignored: SignalSet
    """Ignored by the process."""
    caught: SignalSet
    """With a handler."""
    cpus_allowed: tuple[int, ...]
    """Processors that it may run on."""
    voluntary_switches: int
    """How often it gave up the processor to wait."""
    involuntary_switches: int
    """How often the processor was taken away."""


class Statm(NamedTuple):
    """`proc_pid_statm(5)`, in bytes."""

    virtual: int
    """Address space."""
    resident: int
    """Resident."""
    shared: int
    """Resident and of files or shared memory."""
    text: int
    """Code of the program."""
    data: int
    """Private writable memory with stacks."""


class IO(NamedTuple):
    """`proc_pid_io(5)`."""

    read_chars: int
    """Bytes that read calls gave, from wherever."""
    written_chars: int
    """Bytes that write calls took."""
    reads: int
    """Read calls."""
    writes: int
    """Write calls."""
    read_bytes: int
    """Bytes fetched from storage."""
    written_bytes: int
    """Bytes sent to storage."""
    cancelled_bytes: int
    """Bytes of that which were cut off before they got there."""


class ProcessLimit(NamedTuple):
    """One of the `getrlimit(2)` limits."""

    soft: int | None
    """In force; None for no limit."""
    hard: int | None
    """How far the process may raise it."""
    unit: str
    """bytes, seconds, files, processes, locks, signals, us, or "" for a priority."""


class OpenFile(NamedTuple):
    """One entry of the descriptor table, /proc/PID/fd and fdinfo."""

    fd: int
    """The number."""
    kind: str
    """file, directory, device, pipe, socket, memfd, deleted, or of anonymous inodes the name: eventfd, eventpoll, pidfd, ..."""
    target: str
    """The path, or what the kernel writes for it, as ``pipe:[1234]``."""
    flags: int
    """O flags of the open file; O_CLOEXEC of the descriptor."""
    position: int
    """Where the next read or write is (bytes)."""
    mount: int
    """Number of its mount, as in `mounts`."""
    details: dict[str, str]
    """What else fdinfo tells: of an eventfd the count, of a pidfd the process, ..."""


class Namespace(NamedTuple):
    """One of `namespaces(7)`."""

    kind: str
    """cgroup, ipc, mnt, net, pid, pid_for_children, time, time_for_children, user, uts."""
    inode: int
    """Equal for processes in the same one."""


class Mount(NamedTuple):
    """One line of `proc_pid_mountinfo(5)`."""

    id: int
    """Number of the mount."""
    parent: int
    """The mount that it lies on."""
    device: int
    """As st_dev of the files on it."""
    root: str
    """Which directory of the file system is mounted."""
    point: str
    """Where, seen from the process's root."""
    options: tuple[str, ...]
    """Of this mount."""
    propagation: tuple[str, ...]
    """shared:N, master:N, propagate_from:N, unbindable."""
    filesystem: str
    """Its type, as ext4 or tmpfs."""
    source: str
    """The device, or what the file system calls it."""
    super_options: tuple[str, ...]
    """Of the file system."""


class Cgroup(NamedTuple):
    """One line of `cgroups(7)`'s /proc/PID/cgroup."""

    hierarchy: int
    """0 for version 2."""
    controllers: tuple[str, ...]
    """Of version 1; empty for version 2."""
    path: str
    """The group, below where that hierarchy is mounted."""


class Scheduling(NamedTuple):
    """How the kernel shares out the processor."""

    policy: Sched
    """SCHED_OTHER and so on."""
    nice: int
    """-20 to 19."""
    rt_priority: int
    """1 to 99, 0 for none."""
    cpus_allowed: tuple[int, ...]
    """Processors that it may run on."""
    processor: int
    """The one that it last ran on."""
    run_time: float
    """Seconds on a processor (to the nanosecond), of the first thread."""
    wait_time: float
    """Seconds ready, waiting for one."""
    timeslices: int
    """How often it was put on one."""
    voluntary_switches: int
    """How often it gave it up."""
    involuntary_switches: int
    """How often it was taken away."""
