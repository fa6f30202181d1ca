"""What both drawings of an address space have in common: its parts, the objects in them, the gaps between."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from rawsys.proc.regions import Region

_FAR = 1 << 30
_RESERVED = 1 << 20

WORDS = {
    "text": "code", "rodata": "constants", "data": "data", "bss": "BSS", "heap": "heap", "stack": "stack",
    "thread_stack": "thread's stack", "anon": "anonymous", "file": "file", "shared": "shared", "vdso": "vDSO", "vvar": "vDSO's data",
    "vsyscall": "vsyscall", "guard": "no access",
}  # fmt: skip


class Object(NamedTuple):
    """Neighbouring regions of one file, or of the same kind."""

    name: str
    """What to call it."""
    regions: tuple[Region, ...]
    """In the order of their addresses."""

    @property
    def start(self) -> int:
        """First address."""
        return self.regions[0].start

    @property
    def end(self) -> int:
        """Behind the last one."""
        return self.regions[-1].end

    @property
    def size(self) -> int:
        """Bytes that are mapped and not without access."""
        return sum(region.size for region in self.regions if region.kind != "guard") or self.end - self.start


class Gap(NamedTuple):
    """Addresses between two objects of a part."""

    start: int
    """First address."""
    end: int
    """Behind the last one."""
    reserved: bool
    """Mapped without access; else free."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class Part(NamedTuple):
    """A stretch of addresses that belongs together."""

    title: str
    """stack, mapped memory, heap, program, ..."""
    items: tuple[Object | Gap, ...]
    """From low addresses to high ones; it begins and ends with an Object."""

    @property
    def objects(self) -> tuple[Object, ...]:
        """Without the gaps."""
        return tuple(item for item in self.items if isinstance(item, Object))

    @property
    def start(self) -> int:
        """First address."""
        return self.items[0].start

    @property
    def end(self) -> int:
        """Behind the last one."""
        return self.items[-1].end


def parts(regions: Sequence[Region]) -> list[Part]:
    """The parts of an address space, from high addresses to low ones."""
    made: list[list[Object | Gap]] = []
    previous: Object | None = None
    end = 0
    for thing in _objects(regions):
        if _reserved(thing):
            continue
        apart = previous is None or thing.start - end > _FAR or _family(thing) != _family(previous)
        if apart or previous is None:
            made.append([])
        elif thing.start > end:
            reserved = any(
                region.start >= end and region.end <= thing.start and region.kind == "guard" for region in regions
            )
            made[-1].append(Gap(end, thing.start, reserved))
        made[-1].append(thing)
        previous, end = thing, thing.end
    found = [Part(_title(items, regions), tuple(items)) for items in made]
    return found[::-1]


def _objects(regions: Sequence[Region]) -> list[Object]:
    groups: list[list[Region]] = []
    for region in regions:
        if groups and _belongs(groups[-1], region):
            groups[-1].append(region)
        else:
            groups.append([region])
    return [Object(_name(group[0]), tuple(group)) for group in groups]


def _belongs(group: list[Region], region: Region) -> bool:
    first, last = group[0], group[-1]
    if last.end != region.start:
        return False
    if region.inode:
        return (region.device, region.inode) == (first.device, first.inode)
    return region.kind == "bss" or (region.kind == last.kind == "vvar")


def _name(region: Region) -> str:
    if region.path.startswith("/"):
        return os.path.basename(region.path) + (" (deleted)" if region.deleted else "")
    if region.kind in ("anon", "shared") and region.path:
        return region.path
    return WORDS[region.kind]


def _reserved(thing: Object) -> bool:
    return all(region.kind == "guard" for region in thing.regions)


def _family(thing: Object) -> str:
    kind = thing.regions[0].kind
    return kind if kind in ("heap", "stack", "vsyscall") else ""


def _title(items: list[Object | Gap], regions: Sequence[Region]) -> str:
    first = items[0]
    family = _family(first) if isinstance(first, Object) else ""
    if family:
        return family
    lowest = next(region for region in regions if region.kind != "guard")
    return "program" if first.start == lowest.start and lowest.inode else "mapped memory"


def bytes_text(size: float) -> str:
    """A size as a person reads it: 4 KiB, 1.5 MiB, 127 TiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if size < 1024 or unit == "EiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 10 or size == int(size) else f"{size:.1f} {unit}"


def printable(name: str) -> str:
    """A name without what would break a line, a terminal or XML."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
