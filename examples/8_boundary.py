"""What rawsys keeps from going wrong, what it cannot, and who can.  Run: python examples/8_boundary.py."""

from __future__ import annotations

import os
from collections.abc import Callable

from rawsys import Fd, Pid, proc, raw
from rawsys.constants import RLIMIT_CORE, SECCOMP_SET_MODE_STRICT
from rawsys.errors import RawsysError
from rawsys.process import set_rlimit


def refused(what: str, action: Callable[[], object]) -> None:
    """Show that it is refused before the kernel is asked."""
    try:
        action()
    except (RawsysError, TypeError, ValueError, OverflowError) as error:
        print(f"{what}: {type(error).__name__}: {error}")
    else:
        print(f"{what}: nobody has refused it")


def contained() -> None:
    """Mistakes that end as an exception."""
    file = Fd.memfd("notes")
    with file:
        refused("a second owner", lambda: Fd(file.fileno()))
    refused("use after close", lambda: file.read(1))
    refused("a buffer that is too short", lambda: raw.read(0, bytearray(10), 4096))
    refused("memory that cannot change", lambda: raw.read(0, b"constant", 8))
    refused("a number that is too wide", lambda: raw.close(2**32 + 1))
    refused("a child in our own memory", raw.vfork)
    refused("the end of one thread", lambda: raw.exit(0))


def closed_behind_its_back() -> None:
    """A plain number promises nothing: code that knows of no owner closes what has it."""
    file = Fd.memfd("notes")
    os.close(file.fileno())
    stranger = os.memfd_create("stranger's")  # is given the number that has become free
    file.write(b"meant for the notes")
    print(f"the stranger's file has {os.fstat(stranger).st_size} bytes, written through {file}")
    file.close()
    print(f"and it was closed through it too: closing it again gives {raw.close(stranger)}")


def an_address_of_your_own() -> None:
    """An int in the place of memory is an address.  Where nothing is, the kernel says so; where something is, it writes."""
    print(f"to address 8: {raw.getcwd(8, 4096)}, which is -EFAULT")

    def overwrite() -> None:
        set_rlimit(RLIMIT_CORE, 0)
        heap = next(region for region in proc.maps() if region.kind == "heap")
        raw.munmap(heap.start, heap.size)  # the kernel does what it is told

    print(f"a child that takes its own heap away: it {Pid.fork(overwrite).wait()}")


def the_kernel_can() -> None:
    """What a program must not be able to do, the kernel has to forbid; here all calls but read, write and exit."""

    def confined() -> None:
        raw.seccomp(SECCOMP_SET_MODE_STRICT, 0, None)
        raw.unlink("precious")

    print(f"a child that was confined and tries to unlink: it {Pid.fork(confined).wait()}")


def main() -> None:
    """Print all of it."""
    for part in (contained, closed_behind_its_back, an_address_of_your_own, the_kernel_can):
        part()
        print()


if __name__ == "__main__":
    main()
