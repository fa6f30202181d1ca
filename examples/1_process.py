"""What a process is: its numbers, its six parts, the first lines of its map.  Run: python examples/1_process.py."""

from __future__ import annotations

import rawsys
from rawsys import Command, Fd, proc


def numbers() -> None:
    """Who this process is, and who started it."""
    me = proc.Process()
    parent = proc.Process(rawsys.raw_getppid())
    print(f"this process is {rawsys.raw_getpid()}, running {me.executable()}")
    print(f"its parent is {rawsys.raw_getppid()}, named {parent.stat().name!r}")


def six_parts() -> None:
    """What the kernel keeps for a process."""
    me = proc.Process()
    status = me.status()
    ids = status.credentials
    print(f"1 identity       pid {me.pid}, parent {status.ppid}, name {status.name!r}")
    print(f"2 address space  {len(me.maps())} regions, {status.rss // 1024**2} MiB of them in memory")
    print(f"3 threads        {status.threads}, the first one is thread {me.tasks()[0].pid}")
    print(f"4 descriptors    {len(me.fds())} open, number 0 is {me.fds()[0].target}")
    print(f"5 signals        {len(status.caught)} caught, {len(status.ignored)} ignored, {len(status.blocked)} blocked")
    print(f"6 credentials    user {ids.uid.effective}, group {ids.gid.effective}, {len(ids.groups)} more groups")


def first_lines_of_maps() -> None:
    """The address space, as the kernel writes it and as rawsys reads it."""
    with Fd.open("/proc/self/maps") as file:
        lines = file.read(4096).decode().splitlines()
    for line in lines[:4]:
        print(" ".join(line.split()))
    for region in proc.maps()[:4]:
        print(f"{region.start:x}, {region.size // 1024} KiB, {region.perms}: {region.kind}")


def a_child() -> None:
    """Another process, which knows this one as its parent."""
    child = Command("sh", "-c", "echo $PPID").output(text=True)
    print(f"a child {child.status}, and said that its parent is {child.stdout.strip()}")


def main() -> None:
    """Print all of it."""
    for part in (numbers, six_parts, first_lines_of_maps, a_child):
        part()
        print()


if __name__ == "__main__":
    main()
