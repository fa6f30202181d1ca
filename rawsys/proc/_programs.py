"""Which anonymous memory behind a program's data is its BSS: the program's own header tells how far it reaches."""

from __future__ import annotations

import os
import struct

from rawsys.batch import stat_many
from rawsys.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from rawsys.proc.regions import MemoryRegion, Region

    _R = TypeVar("_R", Region, MemoryRegion)

_HEAD = 4096
_AT_FDCWD, _FLAGS = -100, 0o2000000 | 0o400 | 0o4000  # O_CLOEXEC, O_NOCTTY, O_NONBLOCK
_PT_LOAD = 1
_Key = tuple[int, int, str, int]
_spans: dict[_Key, int] = {}
_MANY = 4096


def mark_bss(regions: list[_R], stack_pointers: list[int]) -> None:
    """Make what was taken for BSS by its place anonymous memory, or a stack, where the program does not reach so far.

    Python's arenas and malloc's blocks often lie directly above a library.  Where they are merged with its BSS into one
    region, that is BSS.  A file that cannot be read is believed by the place.
    """
    found = [(index, _first(regions, index)) for index, region in enumerate(regions) if region.kind == "bss"]
    keys = [_key(first, regions[index].start) for index, first in found]
    _learn(keys)
    for (index, first), key in zip(found, keys, strict=True):
        region, span = regions[index], _spans.get(key, 0)
        if span and region.start >= first.start + span:
            stack = any(region.start <= pointer < region.end for pointer in stack_pointers)
            regions[index] = region._replace(kind="thread_stack" if stack else "anon")


def _key(first: Region | MemoryRegion, end: int) -> _Key:
    """What a header is remembered by.  An inode's number is given to a new file soon, so name and size have to be equal too."""
    return first.device, first.inode, first.path if first.offset == 0 else "", end - first.start


def _first(regions: list[_R], index: int) -> _R:
    """The lowest region of the program whose data ends below regions[index]: where its file begins."""
    last = regions[index - 1]
    low = index - 1
    for place in range(index - 1, max(index - 16, -1), -1):
        region = regions[place]
        if (region.device, region.inode) == (last.device, last.inode):
            low = place
            if region.offset == 0:
                break
    return regions[low]


def _learn(keys: list[_Key]) -> None:
    """Read the headers of programs that are not known yet, in two crossings.

    In another mount namespace the same name may lead to another file, which the inode tells.
    """
    new = {key: os.fsencode(key[2]) for key in keys if key[2] and key not in _spans}
    if not new:
        return
    if len(_spans) > _MANY:
        _spans.clear()
    p = Program()
    path, data = p.parameter("path"), p.buffer(_HEAD + 1)
    fd = p.openat(_AT_FDCWD, path, _FLAGS, 0)
    step = p.pread64(fd, data, _HEAD, 0, retry=True)
    p.close(fd, always=True)
    heads, stats = p.run_each(new.values(), collect=step), stat_many(new.values())
    for key, head, stat in zip(new, heads, stats, strict=True):
        same = not isinstance(stat, int) and stat.inode == key[1]
        _spans[key] = _span(head) if same and isinstance(head, bytes) else 0


def _span(head: bytes) -> int:
    """Bytes from the first page of an ELF file in memory to the end of its last segment; 0 where that is not told."""
    if len(head) < 64 or head[:5] != b"\x7fELF\x02":
        return 0
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    if size < 56 or table + size * count > len(head):
        return 0
    segments: list[tuple[int, ...]] = [struct.unpack_from("<IIQQQQQQ", head, table + size * i) for i in range(count)]
    loads = [(address, memory) for kind, _, _, address, _, _, memory, _ in segments if kind == _PT_LOAD]
    if not loads:
        return 0
    return max(address + memory for address, memory in loads) - (min(address for address, _ in loads) & ~4095)
