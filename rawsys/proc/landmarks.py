"""layout(): the tour of a live process's address space."""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import NamedTuple

from rawsys.proc import _reading as r
from rawsys.proc import space
from rawsys.proc.regions import Region
from rawsys.proc.stat import Stat, parse_stat

_AT_BASE, _AT_ENTRY, _AT_SYSINFO_EHDR = 7, 9, 33


class Landmark(NamedTuple):
    """A known place in an address space."""

    name: str
    """What lies there."""
    address: int
    """Where."""
    region: Region | None
    """The region around it; None where nothing is mapped (any more)."""


class Layout(NamedTuple):
    """An address space with landmarks; `str` draws it, `svg` makes a picture for a slide."""

    pid: int
    """The process."""
    name: str
    """Its name."""
    landmarks: tuple[Landmark, ...]
    """Known places, in the order of the tour."""
    regions: tuple[Region, ...]
    """All regions, in the order of their addresses."""

    def order(self) -> list[str]:
        """Why the parts lie where they lie: one sentence each, from high addresses to low ones."""
        kinds = {region.kind for region in self.regions}
        said = []
        if "vsyscall" in kinds:
            said.append(
                "vsyscall: one page at the very top, at the same address in every process; a relic that only traps."
            )
        if "stack" in kinds:
            said.append(
                "Stack: the first thread's, high up. It grows down: each call puts its variables below its caller's."
            )
        said.append(
            "Mapped memory: each new mapping goes below the last one, from the stack towards the heap: "
            "the vDSO, libraries, large mallocs, stacks of other threads."
        )
        if "heap" in kinds:
            said.append("Heap: small mallocs, just above the program. It grows up, as brk() moves its end.")
        said.append(
            "Program: code, constants, initialised data, BSS, in the order of its file; at a random place if it is a PIE."
        )
        return said

    def draw(self, width: int = 80, *, colour: bool = False, whole: bool = False) -> str:
        """The address space in the terminal, high addresses first.

        Bars are to scale within each part, and the scale is told; gaps are marked with their size.  `whole` shows every
        object, else the small ones of a long part are summed up.
        """
        from rawsys.proc.drawing import draw

        return draw(self, width, colour=colour, whole=whole)

    def svg(self) -> str:
        """The address space as an SVG picture of 1280 x 720, in the light or dark colours that the reader prefers."""
        from rawsys.proc.svg import svg

        return svg(self)

    def __str__(self) -> str:
        return self.draw()


def layout(pid: r.Who = None) -> Layout:
    """The address space of a process with landmarks in it.

    Of this process (None): a variable on the stack of the calling thread, a small malloc (64 bytes) and a large one
    (1 MiB, or more where malloc has learnt to keep such blocks in the heap; never touched, given back at once), an
    initialised variable, a BSS variable, a function, and the vDSO.  In a thread other than the first, malloc takes small
    blocks from mapped memory too.

    Of another one what the kernel knows: its arguments, the beginnings of code, data and heap, the entry, the dynamic
    linker, the vDSO.

    Raises as `maps` does.
    """
    base = r.folder(pid)
    text, auxv = r.read(base, "stat", "auxv")
    process = parse_stat(r.content(text, f"{base}/stat"))
    vectors = _auxv(auxv) if isinstance(auxv, bytes) else {}
    # Malloc keeps blocks in the heap that are smaller than what was freed before; above 32 MiB it maps all.
    made = _layout(pid, process, vectors, 1 << 20)
    for size in (4 << 20, 16 << 20, 64 << 20):
        large = made.landmarks[2].region if pid is None else None
        if large is None or large.kind != "heap":
            break
        made = _layout(pid, process, vectors, size)
    return made


def _layout(pid: r.Who, process: Stat, vectors: dict[int, int], large: int) -> Layout:
    kept, places = _own(vectors, large) if pid is None else (None, _known(process, vectors))
    regions = space.maps(pid)
    del kept  # the blocks had to live until the regions were read
    marks = [Landmark(name, address, _around(regions, address)) for name, address in places if address]
    return Layout(process.pid, process.name, tuple(marks), tuple(regions))


def _own(vectors: dict[int, int], large: int) -> tuple[object, list[tuple[str, int]]]:
    from rawsys._native.proc import layout_samples

    *addresses, kept = layout_samples(large)
    names = ("a variable on the stack", "a small malloc", "a large malloc", "initialised data", "BSS", "a function")
    return kept, [*zip(names, addresses, strict=True), ("the vDSO", vectors.get(_AT_SYSINFO_EHDR, 0))]


def _known(process: Stat, vectors: dict[int, int]) -> list[tuple[str, int]]:
    return [
        ("its arguments", process.arg_start),
        ("the heap's beginning", process.start_brk),
        ("its data", process.start_data),
        ("its first instruction", vectors.get(_AT_ENTRY, 0)),
        ("its code", process.start_code),
        ("the dynamic linker", vectors.get(_AT_BASE, 0)),
        ("the vDSO", vectors.get(_AT_SYSINFO_EHDR, 0)),
    ]


def _auxv(data: bytes) -> dict[int, int]:
    return dict(struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]))


def _around(regions: list[Region], address: int) -> Region | None:
    index = bisect_right(regions, address, key=lambda region: region.start) - 1
    return regions[index] if index >= 0 and address < regions[index].end else None
