"""All processes at once: processes(), process_tree(), cpu_percent()."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rawsys._native.proc import parse_stats
from rawsys.proc.stat import Stat
from rawsys.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys._native.program import Slot

_AT_FDCWD, _O_CLOEXEC, _O_DIRECTORY = -100, 0o2000000, 0o200000
_LIST, _STAT = 1 << 15, 2048  # a line of stat has at most 52 numbers of 20 digits and a name
_programs: dict[str, tuple[Program, Slot]] = {}


def _lister() -> tuple[Program, Slot]:
    p = Program()
    path, entries = p.parameter("path"), p.buffer(_LIST)
    folder = p.openat(_AT_FDCWD, path, _O_DIRECTORY | _O_CLOEXEC, 0)
    step = p.getdents64(folder, entries, _LIST)
    p.close(folder, always=True)
    return p, step


def _reader() -> tuple[Program, Slot]:
    p = Program()
    path, line = p.parameter("path"), p.buffer(_STAT)
    fd = p.openat(_AT_FDCWD, path, _O_CLOEXEC, 0)
    step = p.read(fd, line, _STAT, retry=True)
    p.close(fd, always=True)
    return p, step


def _prepared(name: str) -> tuple[Program, Slot]:
    """Both programs are made once; two threads that meet here make them twice, which does no harm."""
    if name not in _programs:
        _programs[name] = _lister() if name == "list" else _reader()
    return _programs[name]


def _numbers(entries: bytes) -> Iterator[int]:
    """The process numbers among ``struct linux_dirent64``; once each, though the kernel may tell one twice."""
    seen = set()
    place = 0
    while place < len(entries):
        size = entries[place + 16] | entries[place + 17] << 8
        if 0x31 <= entries[place + 19] <= 0x39:  # a digit: everything else in /proc begins with a letter
            number = int(entries[place + 19 : entries.index(0, place + 19)])
            if number not in seen:
                seen.add(number)
                yield number
        place += size


def pids() -> list[int]:
    """`getdents64(2)` of /proc: the numbers of all processes that this user may see, in the kernel's order."""
    program, step = _prepared("list")
    entries = program.run_each(["/proc"], collect=step, more=True)[0]
    if isinstance(entries, int):
        raise OSError(-entries, os.strerror(-entries), "/proc")
    return list(_numbers(entries))


class Snapshot(list[Stat]):
    """The processes that `processes()` found, and when."""

    def __init__(self, found: Iterable[Stat], taken: float) -> None:
        super().__init__(found)
        self.taken = taken
        """Seconds of the monotonic clock."""


def processes() -> Snapshot:
    """`proc_pid_stat(5)` of every process, in the order of their numbers: a snapshot in two crossings.

    Three calls a process (`openat`, `read`, `close`), without the GIL; threads are counted, not listed.  It is no
    instant: processes that end meanwhile are left out, and those that begin may be missing.  Zombies are in it
    (`state` is "Z"), and kernel threads (`kernel_thread`), and this process.  Where /proc is mounted with hidepid, other
    users' processes are missing.

    Raises OSError when /proc cannot be listed; MemoryError.
    """
    program, step = _prepared("read")
    taken = time.monotonic()
    found = program.run_each([b"/proc/%d/stat" % number for number in pids()], collect=step)
    return Snapshot(parse_stats([line for line in found if line], Stat), taken)


class Branch(NamedTuple):
    """A process in the tree."""

    process: Stat
    """The process."""
    children: tuple[Branch, ...]
    """The processes that it is the parent of, in the order of the snapshot."""

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Stat]]:
        """This process and all below it, parents first, each with its depth."""
        stack: list[tuple[int, Branch]] = [(depth, self)]
        while stack:
            level, branch = stack.pop()
            yield level, branch.process
            stack += [(level + 1, child) for child in reversed(branch.children)]


def process_tree(snapshot: Iterable[Stat] | None = None) -> list[Branch]:
    """The processes of a snapshot (None: a new one) as trees: those whose parent is not in it.

    Brothers are in the order of the snapshot, which is that of pids unless it was sorted.  In the whole machine the roots
    are init (1) and the kernel's thread 2; in a pid namespace there are more.
    """
    found = list(processes() if snapshot is None else snapshot)
    known = {process.pid for process in found}
    below: dict[int, list[Stat]] = {}
    roots = []
    for process in found:
        if process.ppid in known and process.ppid != process.pid:
            below.setdefault(process.ppid, []).append(process)
        else:
            roots.append(process)
    return [_branch(root, below) for root in roots]


def _branch(root: Stat, below: dict[int, list[Stat]]) -> Branch:
    """Built from the leaves, without recursion: a chain of processes may be longer than Python's stack."""
    order = [root]
    for process in order:
        order += below.get(process.pid, ())
    made: dict[int, Branch] = {}
    for process in reversed(order):
        made[process.pid] = Branch(process, tuple(made[child.pid] for child in below.get(process.pid, ())))
    return made[root.pid]


def cpu_percent(before: Snapshot, after: Snapshot) -> dict[int, float]:
    """The processor time that each process used between two snapshots, in percent of one processor, by pid.

    100 is one processor all the time; a process with many threads may have more.  The kernel counts in steps of 0.01 s,
    so over a short time it is coarse.  A process that is new (or has a number that another one had) counts from its
    start; one that has ended is left out.

    Raises ValueError when `after` was not taken later than `before`.
    """
    seconds = after.taken - before.taken
    if seconds <= 0:
        raise ValueError(f"the second snapshot was not taken after the first one, but {-seconds} s earlier")
    used = {process.identity: process.user_time + process.system_time for process in before}
    return {
        process.pid: max(0.0, process.user_time + process.system_time - used.get(process.identity, 0.0)) * 100 / seconds
        for process in after
    }
