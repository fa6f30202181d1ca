"""What the kernel tells of the whole machine."""

from __future__ import annotations

import os
from typing import NamedTuple

from rawsys.batch import read_files
from rawsys.proc import _parsing as parsing
from rawsys.proc.records import Mount

__all__ = [
    "CpuTimes",
    "Load",
    "Pressure",
    "Stall",
    "SystemStat",
    "Uptime",
    "loadavg",
    "meminfo",
    "mounts",
    "pressure",
    "stat",
    "uptime",
]

_TICKS = 100


class CpuTimes(NamedTuple):
    """Seconds since the start of the machine that a processor, or all together, spent so."""

    user: float
    """In programs."""
    nice: float
    """In programs with a nice above 0."""
    system: float
    """In the kernel."""
    idle: float
    """With nothing to do."""
    iowait: float
    """With nothing to do while a disk was waited for; not reliable."""
    irq: float
    """In interrupts."""
    softirq: float
    """In their second halves."""
    steal: float
    """Taken by other virtual machines."""
    guest: float
    """In virtual machines of its own (a part of user)."""
    guest_nice: float
    """The same with a nice above 0 (a part of nice)."""


class SystemStat(NamedTuple):
    """`proc_stat(5)`."""

    cpu: CpuTimes
    """All processors together."""
    cpus: dict[int, CpuTimes]
    """Each one that is on, by its number."""
    interrupts: int
    """Since the start."""
    context_switches: int
    """Since the start."""
    boot_time: int
    """When the machine started: seconds since 1970 (UTC)."""
    forks: int
    """Processes and threads made since then."""
    running: int
    """Threads that run or are ready to."""
    blocked: int
    """Threads that wait for a disk."""


class Load(NamedTuple):
    """`proc_loadavg(5)`: threads that ran, were ready, or waited for a disk, on average."""

    one: float
    """Over the last minute."""
    five: float
    """Over five."""
    fifteen: float
    """Over fifteen."""
    running: int
    """Ready now."""
    threads: int
    """All threads."""
    last_pid: int
    """The number given out last."""


class Uptime(NamedTuple):
    """`proc_uptime(5)`, seconds."""

    up: float
    """Since the start of the machine."""
    idle: float
    """That its processors spent idle, added up."""


class Stall(NamedTuple):
    """One line of a pressure file."""

    avg10: float
    """Percent of the last 10 s that were lost."""
    avg60: float
    """Of the last 60 s."""
    avg300: float
    """Of the last 300 s."""
    total: float
    """Seconds lost since the start."""


class Pressure(NamedTuple):
    """Time lost waiting for one resource."""

    some: Stall
    """At least one task waited."""
    full: Stall | None
    """All tasks that were not idle waited."""


def _text(path: str) -> bytes:
    answer = read_files([path])[0]
    if isinstance(answer, int):
        raise OSError(-answer, os.strerror(-answer), path)
    return answer


def stat() -> SystemStat:
    """`proc_stat(5)`: processor times, switches, start of the machine."""
    rows = [line.split() for line in _text("/proc/stat").decode().splitlines()]
    cpus = {
        row[0][3:]: CpuTimes(*(int(word) / _TICKS for word in row[1:11])) for row in rows if row[0].startswith("cpu")
    }
    number = {row[0]: int(row[1]) for row in rows if not row[0].startswith("cpu")}
    return SystemStat(
        cpu=cpus.pop(""),
        cpus={int(name): times for name, times in cpus.items()},
        interrupts=number["intr"],
        context_switches=number["ctxt"],
        boot_time=number["btime"],
        forks=number["processes"],
        running=number["procs_running"],
        blocked=number["procs_blocked"],
    )


def meminfo() -> dict[str, int]:
    """`proc_meminfo(5)`: by the kernel's names, in bytes; ``HugePages_*`` are counts of pages."""
    rows = (line.partition(":") for line in _text("/proc/meminfo").decode().splitlines())
    found = {}
    for name, _, value in rows:
        words = value.split()
        found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def loadavg() -> Load:
    """`proc_loadavg(5)`: how many threads were ready, on average."""
    one, five, fifteen, threads, last = _text("/proc/loadavg").split()
    running, _, all_threads = threads.partition(b"/")
    return Load(float(one), float(five), float(fifteen), int(running), int(all_threads), int(last))


def uptime() -> Uptime:
    """`proc_uptime(5)`: seconds since the start of the machine."""
    return Uptime(*map(float, _text("/proc/uptime").split()))


def pressure() -> dict[str, Pressure]:
    """Pressure stall information by resource: cpu, memory, io (and irq); {} where the kernel does not keep it."""
    names = ("cpu", "memory", "io", "irq")
    answers = read_files([f"/proc/pressure/{name}" for name in names])
    return {
        name: _pressure(text) for name, text in zip(names, answers, strict=True) if isinstance(text, bytes) and text
    }


def _pressure(text: bytes) -> Pressure:
    lines = {line.split()[0]: dict(word.split("=") for word in line.split()[1:]) for line in text.decode().splitlines()}
    stalls = {
        name: Stall(float(row["avg10"]), float(row["avg60"]), float(row["avg300"]), int(row["total"]) / 1e6)
        for name, row in lines.items()
    }
    none = Stall(0.0, 0.0, 0.0, 0.0)
    return Pressure(stalls.get("some", none), stalls.get("full"))


def mounts() -> list[Mount]:
    """`proc_pid_mountinfo(5)` of this process: what is mounted."""
    return parsing.mounts(_text("/proc/self/mountinfo"))
