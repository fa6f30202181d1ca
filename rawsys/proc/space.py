"""The address space of a process: maps(), smaps(), memory_totals(), region_at()."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right

from rawsys import raw
from rawsys._native.proc import parse_maps, parse_smaps
from rawsys.batch import read_files
from rawsys.fd import Fd
from rawsys.proc import _reading as r
from rawsys.proc._programs import mark_bss
from rawsys.proc.regions import MemoryRegion, MemoryTotals, Region
from rawsys.proc.stat import Stat, parse_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _R = TypeVar("_R", Region, MemoryRegion)

_TRIES = 100
_DELETED = " (deleted)"
_PROCMAP_QUERY = 0xC068_6611
_VSYSCALL = 0xFFFF_FFFF_FF60_0000  # the kernel lists it at the end of every address space, where no mapping can be


def maps(pid: r.Who = None) -> list[Region]:
    """`proc_pid_maps(5)`: the regions of a process (None: this one) in the order of their addresses.

    A kernel thread and a zombie have none.  In names, spaces and newlines are right, and `deleted` says whether the
    file has lost its name, which the kernel writes as a suffix that a name may have of its own.

    What the process maps meanwhile may or may not be there; the regions never overlap.  A process that executes another
    program meanwhile is read again.  `bss` may have anonymous memory at its end that the kernel has merged with it.  A
    stack of another thread is found by the thread's stack pointer, or, while that thread runs, by the guard page below.

    Raises ProcessLookupError when there is no such process (any more), PermissionError without the right to trace it.
    """
    base = r.folder(pid)
    text, process = _text(base, "maps")
    pointers, guess = _stacks(base, process)
    return _finished(parse_maps(text, Region, pointers, guess), base, text, pointers)


def smaps(pid: r.Who = None) -> list[MemoryRegion]:
    """`proc_pid_smaps(5)`: `maps` with the memory that is behind each region, in bytes.

    The kernel walks all pages for it.  Raises as `maps` does.
    """
    base = r.folder(pid)
    text, process = _text(base, "smaps")
    pointers, guess = _stacks(base, process)
    return _finished(parse_smaps(text, MemoryRegion, pointers, guess), base, text, pointers)


def memory_totals(pid: r.Who = None) -> MemoryTotals:
    """`proc_pid_smaps(5)`: the sums over all regions, in bytes, added up by the kernel.  Raises as `maps` does."""
    rows = r.table(_text(r.folder(pid), "smaps_rollup")[0])
    count = {name: r.kilobytes(rows, name) for name in rows if rows[name].endswith("kB")}

    def total(*names: str) -> int:
        return sum(count.get(name, 0) for name in names)

    return MemoryTotals(
        rss=total("Rss"),
        pss=total("Pss"),
        uss=total("Private_Clean", "Private_Dirty", "Private_Hugetlb"),
        shared=total("Shared_Clean", "Shared_Dirty"),
        anonymous=total("Anonymous"),
        swap=total("Swap"),
        swap_pss=total("SwapPss"),
        huge=total("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped"),
        hugetlb=total("Shared_Hugetlb", "Private_Hugetlb"),
        locked=total("Locked"),
    )


# ---- the text ----


def _program(process: Stat) -> tuple[float, int, int, int]:
    """What differs when the number has another process, or the process another program."""
    return process.start_time, process.start_code, process.start_stack, process.end_code


def _text(base: str, name: str) -> tuple[bytes, Stat]:
    """A file about the memory, whole.

    When the memory goes away between two pieces of the file, by exit or exec, the kernel ends it there without an
    error.  So the process is looked at before and after, and has to be the same with the same program.
    """
    for tries in range(_TRIES):
        before, text, after = r.read(base, "stat", name, "stat")
        first, last = parse_stat(r.content(before, f"{base}/stat")), parse_stat(r.content(after, f"{base}/stat"))
        if first.start_time != last.start_time:
            raise OSError(r.ESRCH, os.strerror(r.ESRCH), f"{base}/{name}")
        if _program(first) != _program(last) or (first.state not in "ZX" and last.state in "ZX"):
            os.sched_yield()
            continue
        if last.start_code == 0 and text and isinstance(text, bytes) and tries < _TRIES - 1:
            os.sched_yield()  # in the middle of exec, where there is little but a stack; that may take as long as a disk
            continue
        if text == -r.ESRCH:
            return b"", last  # no memory: a kernel thread or a zombie
        return r.content(text, f"{base}/{name}"), last
    raise OSError(11, "the process changes its program all the time", f"{base}/{name}")


# ---- stacks ----


def _stacks(base: str, process: Stat) -> tuple[bytes, bool]:
    """Stack pointers of the threads as u64 in memory, and whether one is missing since its thread runs."""
    if process.threads < 2:
        return b"", False
    try:
        with Fd.open(f"{base}/task") as folder:
            tasks = [entry.name for entry in folder.list_dir()]
    except OSError:
        return b"", True
    states = read_files([f"{base}/task/{task}/syscall" for task in tasks])
    pointers = [int(state.split()[-2], 16) for state in states if isinstance(state, bytes) and state.count(b" ") >= 2]
    return b"".join([p.to_bytes(8, "little") for p in pointers]), len(pointers) < len(tasks)


# ---- names ----


def _finished(regions: list[_R], base: str, text: bytes, pointers: bytes) -> list[_R]:
    """The regions with the names that the files really have, few of which are in doubt, and with BSS where it is."""
    if b"\\" in text or b" (deleted)" in text:
        for index, region in enumerate(regions):
            if region.path.startswith("/") and ("\\" in region.path or region.path.endswith(_DELETED)):
                path, deleted = _true_name(region, base)
                regions[index] = region._replace(path=path, deleted=deleted)
    mark_bss(regions, [int.from_bytes(pointers[i : i + 8], "little") for i in range(0, len(pointers), 8)])
    return regions


def _true_name(region: Region | MemoryRegion, base: str) -> tuple[str, bool]:
    path = region.path
    if "\\" in path:
        try:  # maps writes a newline as \012 and a backslash as itself; the link has both as they are
            path = os.readlink(f"{base}/map_files/{region.start:x}-{region.end:x}")
        except OSError:
            path = path if _is(path, region, base) else path.replace("\\012", "\n")
    if path.endswith(_DELETED) and not _is(path, region, base):
        return path[: -len(_DELETED)], True
    return path, False


def _is(path: str, region: Region | MemoryRegion, base: str) -> bool:
    """Whether the name leads to the file that is mapped; in the process's own root where it has another one.

    The inode decides where the device cannot: on btrfs and overlayfs maps tells another one than stat.
    """
    for place in (path, f"{base}/root{path}"):
        try:
            found = os.stat(place, follow_symlinks=False)
        except OSError:
            continue
        if found.st_ino == region.inode and (found.st_dev == region.device or not stat.S_ISLNK(found.st_mode)):
            return True
    return False


# ---- one address ----


def region_at(address: int, pid: r.Who = None) -> Region | None:
    """`ioctl(2)` PROCMAP_QUERY: the region in which an address lies, None where nothing is mapped.

    Before Linux 6.11 all of `maps` is read.  Where the kind depends on the neighbours (data, BSS, stacks of threads,
    files) it is read too.  Raises as `maps` does; OverflowError for what is no address.
    """
    if not 0 <= address < 1 << 64:
        raise OverflowError(f"an address has 64 bits, got {address:#x}")
    base = r.folder(pid)
    found = _query(address, base)
    if (found is None and address < _VSYSCALL) or (isinstance(found, Region) and found.kind not in ("file", "anon")):
        return found
    regions = maps(pid)
    index = bisect_right(regions, address, key=lambda region: region.start) - 1
    return regions[index] if index >= 0 and address < regions[index].end else None


def _query(address: int, base: str) -> Region | int | None:
    """The region as the kernel tells it, its kind judged without neighbours; -errno where maps has to be asked."""
    from rawsys import structs

    memory = bytearray(4096)
    query = structs.procmap_query(
        size=104, query_addr=address, vma_name_size=len(memory), vma_name_addr=structs.address_of(memory)
    )
    try:
        file = Fd.open(f"{base}/maps")
    except (FileNotFoundError, ProcessLookupError):
        return -r.ESRCH  # maps() tells a kernel thread from a process that is gone
    with file:
        answer = raw.ioctl(file, _PROCMAP_QUERY, query)
    if answer < 0:
        return None if answer == -r.ENOENT else answer
    size = query.vma_name_size
    return _from_query(query, os.fsdecode(bytes(memory[: size - 1])) if size else "", base)


def _from_query(query: structs.procmap_query, name: str, base: str) -> Region:
    letters = zip("rwxs", "---p", (1, 2, 4, 8), strict=True)
    perms = "".join(yes if query.vma_flags & bit else no for yes, no, bit in letters)
    where = f"{query.vma_start:x}-{query.vma_end:x} {perms} {query.vma_offset:x} {query.dev_major:x}:{query.dev_minor:x} {query.inode}"
    line = f"{where} {name.partition(chr(10))[0]}\n"
    region = parse_maps(os.fsencode(line), Region, b"", False)[0]
    region = region._replace(path=name)
    if name.startswith("/") and name.endswith(_DELETED) and not _is(name, region, base):
        region = region._replace(path=name[: -len(_DELETED)], deleted=True)
    return region


if TYPE_CHECKING:
    from rawsys import structs
