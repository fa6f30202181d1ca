"""/proc: snapshots of all processes and address spaces, against psutil and the same reads in C."""

from __future__ import annotations

import mmap
import subprocess
from collections.abc import Callable

from benchmarks.harness import Missing, Setting, Sides, Topic, limit, peer
from benchmarks.limits import Memory, Strings, c_limit
from rawsys import proc, raw
from rawsys.bench import loop
from rawsys.memory import Mapping

TOPIC = Topic("proc", "processes and their memory")

_FIELDS = ["pid", "ppid", "name", "status", "cpu_times", "create_time", "memory_info", "num_threads", "nice"]


def _psutil() -> Callable[..., object]:
    try:
        import psutil
    except ImportError:
        raise Missing("psutil is not installed") from None
    made: Callable[..., object] = psutil.Process
    return made


def _population(setting: Setting) -> None:
    """So many processes that a few hundred are there."""
    want = setting.size(500, 20) - len(proc.pids())
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(max(want, 0))]

    def end() -> None:
        for child in children:
            child.kill()
        for child in children:
            child.wait()

    setting.callback(end)


_READ_EACH = """
    long folder = call4(SYS_openat, -100, a[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    while (call3(SYS_getdents64, folder, a[2], 32768) > 0);
    call1(SYS_close, folder);
    for (long k = 0; k < a[1]; k++) {
        long fd = call4(SYS_openat, -100, ((long *)a[0])[k], O_RDONLY | O_CLOEXEC, 0);
        call3(SYS_read, fd, a[2], 2048);
        call1(SYS_close, fd);
    }
"""


@TOPIC.row("processes() of 500, per process", patience=0.25)
def processes(setting: Setting) -> Sides:
    """psutil needs three files a process for the fields that stat has in one."""
    _psutil()
    import psutil

    _population(setting)
    numbers = proc.pids()
    paths, folder, memory = Strings([f"/proc/{pid}/stat" for pid in numbers]), Strings(["/proc"]), Memory(32768)
    arguments = [paths.address, len(numbers), memory.address, _word(folder)]
    peers = [
        peer(
            "psutil.process_iter", loop("[p.info for p in f(names)]", f=psutil.process_iter, names=_FIELDS), "<= 0.15"
        ),
        limit(lambda: c_limit(_READ_EACH, arguments, (paths, folder, memory)), "<= 2.0", "the same reads in C"),
    ]
    return Sides(loop("f()", f=proc.processes), peers, operations=len(numbers))


def _word(strings: Strings) -> int:
    """The address of the only string."""
    import ctypes

    return ctypes.c_long.from_address(strings.address).value


def _many_regions(setting: Setting) -> int:
    """Make this process have 5,000 regions more: neighbours with different rights."""
    pages = setting.size(5000, 50)
    memory = setting.enter_context(Mapping(pages * 4096))
    for page in range(0, pages, 2):
        raw.mprotect(memory.address + 4096 * page, 4096, mmap.PROT_READ)
    return len(proc.maps())


@TOPIC.row("maps() of 5,000 regions, per region", patience=0.25)
def maps(setting: Setting) -> Sides:
    """psutil has no other listing than the one with the memory of each region, which the kernel has to walk for."""
    process = _psutil()()
    regions = _many_regions(setting)
    theirs = peer("psutil memory_maps(grouped=False)", loop("f(grouped=False)", f=process.memory_maps), "<= 0.10")  # type: ignore[attr-defined]
    return Sides(loop("f()", f=proc.maps), [theirs], operations=regions)


@TOPIC.row("smaps() of 5,000 regions, per region", patience=0.25)
def smaps(setting: Setting) -> Sides:
    """The same text on both sides."""
    process = _psutil()()
    regions = _many_regions(setting)
    theirs = peer("psutil memory_maps(grouped=False)", loop("f(grouped=False)", f=process.memory_maps), "<= 0.6")  # type: ignore[attr-defined]
    return Sides(loop("f()", f=proc.smaps), [theirs], operations=regions)
