"""Where memory lies, drawn, and what lies at an address.  Run: python examples/6_memory.py [PICTURE.svg]."""

from __future__ import annotations

import ctypes
import sys
import textwrap

from rawsys import proc
from rawsys.memory import READ, Mapping


def drawn() -> None:
    """The whole address space of this process, high addresses first."""
    print(proc.layout().draw(80).replace("\n\n", "\n"))


def reasons() -> None:
    """Why the parts lie where they lie."""
    for sentence in proc.layout().order():
        print(textwrap.fill(sentence, 80, subsequent_indent="    "))


def what_lies_there() -> None:
    """Take an address, ask what is around it."""
    libc = ctypes.CDLL(None)
    small, large = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64 << 20)
    function = ctypes.cast(libc.getpid, ctypes.c_void_p).value
    assert function is not None
    for name, address in (
        ("64 bytes", ctypes.addressof(small)),
        ("64 MiB", ctypes.addressof(large)),
        ("a function of libc", function),
    ):
        region = proc.region_at(address)
        assert region is not None
        print(f"{name}: {address:#x}, in {region.size >> 10} KiB {region.perms} of kind {region.kind}")


def touched() -> None:
    """An address is not yet memory: the kernel gives a page when it is first used."""
    with Mapping(64 << 20, guard=True) as memory:
        print(f"mapped: 64 MiB, resident {resident(memory)} KiB")
        memory[0] = memory[4096] = 1
        print(f"after a byte in each of two pages: resident {resident(memory)} KiB")
        memory.protect(READ)
        print(f"now it may only be read: {perms(memory)}")


def resident(memory: Mapping) -> int:
    """KiB of it that are there."""
    return sum(part.rss for part in proc.smaps() if part.start <= memory.address < part.end) >> 10


def perms(memory: Mapping) -> str:
    """What may be done with it, as the kernel shows it."""
    region = proc.region_at(memory.address)
    return region.perms if region else "nothing"


def main() -> None:
    """Print all of it; with a path, make a picture too."""
    for part in (drawn, reasons, what_lies_there, touched):
        part()
        print()
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(proc.layout().svg())


if __name__ == "__main__":
    main()
