"""`Process`: everything that the kernel tells of one process."""

from __future__ import annotations

import os

from rawsys.batch import read_files, stat_many
from rawsys.fd import Fd
from rawsys.proc import _parsing as parsing
from rawsys.proc import _reading as r
from rawsys.proc import space
from rawsys.proc.records import (
    IO,
    Cgroup,
    Credentials,
    Mount,
    Namespace,
    OpenFile,
    ProcessLimit,
    Scheduling,
    Statm,
    Status,
)
from rawsys.proc.stat import Stat, parse_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.fd.records import FileStat
    from rawsys.proc.regions import MemoryRegion, MemoryTotals, Region

_PAGE = 4096


class Process:
    """A process, known by its number and its start time: what has the number later is another one, and is noticed.

    ``Process()`` is this process, ``Process(pid)`` any other, also by the number of one of its threads: then what the
    kernel keeps for each thread is that thread's.  It holds nothing open; every method asks the kernel anew.  A process
    that has ended but was not waited for (a zombie) still has a stat, a status and credentials.

    Two are equal when pid and start time are.

    All methods raise ProcessLookupError when the process has ended, PermissionError for what this user may not see.
    """

    __slots__ = ("_base", "pid", "start_time")

    def __init__(self, pid: r.Who = None) -> None:
        base = r.folder(pid)
        first = parse_stat(r.content(r.read(base, "stat")[0], f"{base}/stat"))
        self.pid = first.pid
        """Its number, as this /proc counts."""
        self.start_time = first.start_time
        """Seconds between the machine's start and its own."""
        self._base = f"/proc/{first.pid}"

    def _read(self, name: str, *, without_memory: bytes | None = None) -> bytes:
        """A file, whole, and surely of this process: nobody else had the number before its stat was read behind it.

        `without_memory` is what counts as the content where the kernel refuses a kernel thread's or a zombie's.
        """
        text, stat = r.read(self._base, name, "stat")
        path = f"{self._base}/{name}"
        now = parse_stat(stat) if isinstance(stat, bytes) else None
        if now is None or now.start_time != self.start_time:
            raise ProcessLookupError(r.ESRCH, os.strerror(r.ESRCH), path)
        # A zombie's files belong to root, whoever it was.
        if without_memory is not None and (text == -r.ESRCH or (text == -r.EACCES and now.state in "ZX")):
            return without_memory
        return r.content(text, path)

    def _check(self) -> None:
        self._read("stat")

    # ---- the process ----

    def is_running(self) -> bool:
        """Whether it is there and has not ended: a zombie is not running."""
        try:
            return self.stat().state not in "ZX"
        except ProcessLookupError:
            return False

    def stat(self) -> Stat:
        """`proc_pid_stat(5)`: times, memory, priorities in one record."""
        return parse_stat(self._read("stat"))

    def status(self) -> Status:
        """`proc_pid_status(5)`: memory, credentials, signal sets."""
        return parsing.status(self._read("status"))

    def statm(self) -> Statm:
        """`proc_pid_statm(5)`: sizes of the address space, in bytes."""
        size, resident, shared, text, _, data, _ = (int(word) * _PAGE for word in self._read("statm").split())
        return Statm(size, resident, shared, text, data)

    def io(self) -> IO:
        """`proc_pid_io(5)`: what it has read and written.  Needs the right to trace it."""
        return IO(*(int(value) for value in r.table(self._read("io")).values()))

    def limits(self) -> dict[str, ProcessLimit]:
        """`proc_pid_limits(5)`: by name, as ``limits()["RLIMIT_NOFILE"].soft``."""
        return parsing.limits(self._read("limits"))

    def cmdline(self) -> list[str]:
        """`proc_pid_cmdline(5)`: the arguments it was started with; [] for a kernel thread or a zombie.

        The process may have written something else there: then it is what it wrote.
        """
        text = self._read("cmdline")
        return [os.fsdecode(word) for word in text.removesuffix(b"\0").split(b"\0")] if text else []

    def environ(self) -> dict[str, str]:
        """`proc_pid_environ(5)`: the environment it was started with; later changes are not in it.

        {} for a kernel thread or a zombie.

        Needs the right to trace it.  Of a name that is there twice, the first one counts, as it does for getenv.
        """
        pairs = [
            os.fsdecode(entry).partition("=")
            for entry in self._read("environ", without_memory=b"").split(b"\0")
            if entry
        ]
        return {name: value for name, equals, value in reversed(pairs) if equals}

    def executable(self) -> str | None:
        """`proc_pid_exe(5)`: the path of its program, None for a kernel thread or a zombie."""
        return self._link("exe")

    def directory(self) -> str | None:
        """`proc_pid_cwd(5)`: its working directory, None for a zombie."""
        return self._link("cwd")

    def _link(self, name: str) -> str | None:
        try:
            target = os.readlink(f"{self._base}/{name}")
        except FileNotFoundError:
            target = None
        self._check()
        return target

    # ---- descriptors, threads, children ----

    def fds(self) -> list[OpenFile]:
        """`proc_pid_fd(5)`: its open descriptors in the order of their numbers.  Needs the right to trace it.

        In a listing of this very process the descriptor that the listing needs is left out.
        """
        with self._open("fd") as folder:
            own = folder.fileno() if self.pid == os.getpid() else -1
            numbers = sorted(number for number in self._numbers(folder) if number != own)
            infos = read_files([f"{self._base}/fdinfo/{number}" for number in numbers])
            stats = stat_many([f"{self._base}/fd/{number}" for number in numbers])
            found = []
            for number, info, stat in zip(numbers, infos, stats, strict=True):
                try:
                    target = os.readlink(f"{self._base}/fd/{number}")
                except (FileNotFoundError, ProcessLookupError):
                    continue  # closed meanwhile
                if isinstance(info, bytes):
                    found.append(parsing.open_file(number, target, _mode(stat), r.table(info)))
        self._check()
        return found

    def _open(self, name: str) -> Fd:
        self._check()
        try:
            return Fd.open(f"{self._base}/{name}")
        except FileNotFoundError:
            raise ProcessLookupError(r.ESRCH, os.strerror(r.ESRCH), f"{self._base}/{name}") from None

    @staticmethod
    def _numbers(folder: Fd) -> list[int]:
        return [int(entry.name) for entry in folder.list_dir()]

    def tasks(self) -> list[Stat]:
        """`proc_pid_task(5)`: a record of each thread, in the order of their numbers; times are the thread's own."""
        with self._open("task") as folder:
            numbers = self._numbers(folder)
        lines = read_files([f"{self._base}/task/{number}/stat" for number in numbers])
        self._check()
        return [parse_stat(line) for line in lines if isinstance(line, bytes) and line]

    def children(self, *, recursive: bool = False) -> list[Stat]:
        """The processes that it is the parent of, from one snapshot of all; with `recursive` also theirs."""
        from rawsys.proc.snapshot import process_tree

        found: list[Stat] = []
        for tree in process_tree():
            inside = -1
            for depth, process in tree.walk():
                if inside >= 0 and depth <= inside:
                    inside = -1
                if inside >= 0 and (recursive or depth == inside + 1):
                    found.append(process)
                if process.identity == (self.pid, self.start_time):
                    inside = depth
        self._check()
        return found

    # ---- where it belongs ----

    def cgroup(self) -> list[Cgroup]:
        """`cgroups(7)`: the control group in each hierarchy."""
        return parsing.cgroups(self._read("cgroup"))

    def namespaces(self) -> dict[str, Namespace]:
        """`namespaces(7)`: by kind.  Needs the right to trace it."""
        with self._open("ns") as folder:
            names = sorted(entry.name for entry in folder.list_dir())
        found = {}
        for name in names:
            try:
                target = os.readlink(f"{self._base}/ns/{name}")
            except FileNotFoundError:
                continue  # a zombie has left its namespaces
            found[name] = Namespace(name, int(target.partition("[")[2].rstrip("]")))
        self._check()
        return found

    def mounts(self) -> list[Mount]:
        """`proc_pid_mountinfo(5)`: what is mounted in its mount namespace; [] for a zombie."""
        try:
            return parsing.mounts(self._read("mountinfo"))
        except OSError as error:
            if error.errno != 22:  # EINVAL: it has no namespace any more
                raise
            return []

    def credentials(self) -> Credentials:
        """`credentials(7)`: users, groups, capabilities."""
        return parsing.credentials(r.table(self._read("status")))

    def scheduling(self) -> Scheduling:
        """`sched(7)`: policy, priorities, processors, and the time spent running and waiting."""
        from rawsys.constants import Sched

        status, schedstat, text = r.read(self._base, "status", "schedstat", "stat")
        self._check()
        stat = parse_stat(r.content(text, f"{self._base}/stat"))
        now = parsing.status(r.content(status, f"{self._base}/status"))
        run, wait, slices = map(int, schedstat.split()) if isinstance(schedstat, bytes) else (0, 0, 0)
        return Scheduling(
            policy=Sched(stat.policy),
            nice=stat.nice,
            rt_priority=stat.rt_priority,
            cpus_allowed=now.cpus_allowed,
            processor=stat.processor,
            run_time=run / 1e9,
            wait_time=wait / 1e9,
            timeslices=slices,
            voluntary_switches=now.voluntary_switches,
            involuntary_switches=now.involuntary_switches,
        )

    # ---- memory ----

    def maps(self) -> list[Region]:
        """As `rawsys.proc.maps`."""
        found = space.maps(self.pid)
        self._check()
        return found

    def smaps(self) -> list[MemoryRegion]:
        """As `rawsys.proc.smaps`."""
        found = space.smaps(self.pid)
        self._check()
        return found

    def memory_totals(self) -> MemoryTotals:
        """As `rawsys.proc.memory_totals`."""
        found = space.memory_totals(self.pid)
        self._check()
        return found

    # ---- identity ----

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Process):
            return NotImplemented
        return (self.pid, self.start_time) == (other.pid, other.start_time)

    def __hash__(self) -> int:
        return hash((self.pid, self.start_time))

    def __repr__(self) -> str:
        try:
            stat = self.stat()
        except OSError:
            return f"<Process {self.pid}: ended>"
        return f"<Process {self.pid} {stat.name!r}: {stat.state}>"


def _mode(stat: FileStat | int) -> int | None:
    return None if isinstance(stat, int) else stat.mode
