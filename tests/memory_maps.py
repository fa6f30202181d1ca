"""This process's mappings, as /proc/self/maps has them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

PAGE = mmap.PAGESIZE


class Line:
    """A line of /proc/self/maps."""

    def __init__(self, text: str) -> None:
        span, self.rights, _, _, self.inode, *name = text.split(maxsplit=5)
        self.start, self.end = (int(end, 16) for end in span.split("-"))
        self.name = name[0] if name else ""


def maps() -> Iterator[Line]:
    """This process's mappings."""
    return map(Line, Path("/proc/self/maps").read_text().splitlines())


def line_of(address: int) -> Line | None:
    """The mapping in which an address lies."""
    return next((line for line in maps() if line.start <= address < line.end), None)
