"""du(1): how much room files take, found by several threads at once, each asking for thousands of files in one crossing.

Run: python examples/du.py [-a] [-b] [-d DEPTH] [-h] [-s] [FILE]...

Sizes are those on the disk in KiB, with -b lengths in bytes, with -h in units; -a shows files too, -s only the arguments,
-d nothing deeper.  A file with several names counts once.  A path has up to 4,095 bytes; what is behind is told, not counted.
"""

from __future__ import annotations

import getopt
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from rawsys import Program, ThreadHandle, sched
from rawsys.constants import AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, STATX_BASIC_STATS

LONG = {"all": "a", "bytes": "b", "max-depth=": "d:", "human-readable": "h", "summarize": "s"}
STATX = struct.Struct("<16xI8xH2xQQQ80xII")  # links, mode, inode, size, blocks; the device in two parts
DIRENT = struct.Struct("<16xHx")  # the record's length; the name follows
Work = Callable[[list[bytes]], list[bytes | int]]

# Prepared once, and run by all threads at the same time.
listing = Program()
path, records = listing.parameter("path"), listing.buffer(1 << 15)
folder = listing.openat(AT_FDCWD, path, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0)
entries = listing.getdents64(folder, records, 1 << 15, retry=True)
listing.close(folder, always=True)
status = Program()
path, memory = status.parameter("path"), status.buffer(256)
attributes = status.statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, memory, retry=True)
list_all = partial(listing.run_each, collect=entries, more=True)  # the records of each directory, or -errno
stat_all = partial(status.run_each, collect=attributes)  # the attributes of each file, or -errno


def spread(work: Work, paths: list[bytes]) -> list[bytes | int]:
    """Done by as many threads as there are processors: a Program runs without the interpreter's lock."""
    count = min(len(sched.affinity()), len(paths) // 64 + 1)
    threads = [ThreadHandle.spawn(work, paths[n::count]) for n in range(count)]
    found: list[bytes | int] = [0] * len(paths)
    for n, thread in enumerate(threads):
        found[n::count] = thread.join()
    return found


def names(data: bytes) -> Iterator[bytes]:
    """What is in a directory, in the file system's order."""
    place = 0
    while place < len(data):
        name = data[place + DIRENT.size : data.index(0, place + DIRENT.size)]
        if name not in (b".", b".."):
            yield name
        place += DIRENT.unpack_from(data, place)[0]


@dataclass(slots=True)
class File:
    """A file or directory, with what counts for it and what is inside."""

    path: bytes
    size: int
    is_folder: bool
    identity: tuple[int, ...] | None  # where it is to be counted once
    inside: list[File] = field(default_factory=list)


def human(size: int) -> str:
    """As ``4.0K`` and ``12M``, rounded up."""
    power = next(power for power in range(9) if -(-size // 1024**power) < 1024)
    tenths = -(-size * 10 // 1024**power)
    number = f"{tenths / 10:.1f}" if power and tenths < 100 else str(-(-size // 1024**power))
    return f"{number}{' KMGTPEZY'[power].strip()}"


class Usage:
    """All is found first, level by level; then it is counted in the order in which one would walk."""

    def __init__(self, options: dict[str, str], several: bool) -> None:
        self.options, self.several = options, several
        self.depth = 0 if "-s" in options else int(options.get("-d", sys.maxsize))
        self.failed = False
        self.seen: set[tuple[int, ...] | None] = set()

    def answers(self, what: str, work: Work, paths: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """What the kernel says of each path, with its place; failures are told on stderr, and the others go on."""
        for place, (path, data) in enumerate(zip(paths, spread(work, paths), strict=True)):
            if isinstance(data, bytes):
                yield place, data
            else:
                self.failed = True
                print(f"du: cannot {what} '{os.fsdecode(path)}': {os.strerror(-data)}", file=sys.stderr)

    def find(self, paths: list[bytes], owners: list[File]) -> None:
        """Put what has these names into its owners, and all that is inside: the directories of one depth together."""
        apparent, each_one = "-b" in self.options, self.several or "-a" in self.options
        folders: list[File] = []
        for place, data in self.answers("access", stat_all, paths):
            owner, (links, mode, inode, length, blocks, *device) = owners[place], STATX.unpack_from(data)
            size, is_folder = length if apparent else blocks * 512, stat.S_ISDIR(mode)
            if each_one or is_folder or links > 1 or not owner.path:
                once = self.several or (links > 1 and not is_folder)
                owner.inside.append(File(paths[place], size, is_folder, (inode, *device) if once else None))
                folders += owner.inside[-1:] if is_folder else []
            else:
                owner.size += size  # nobody will ask for it again: most files cost no object
        paths, owners = [], []
        for place, data in self.answers("read directory", list_all, [folder.path for folder in folders]):
            start = folders[place].path.rstrip(b"/") + b"/"
            paths += [start + name for name in names(data)]
            owners += [folders[place]] * (len(paths) - len(owners))
        if paths:
            self.find(paths, owners)

    def count(self, file: File, depth: int = 0) -> int:
        """Its size with all that is inside, shown if it is to be; 0 when it was counted before."""
        if file.identity in self.seen:
            return 0
        self.seen |= {file.identity} - {None}
        total = file.size + sum([self.count(each, depth + 1) for each in file.inside])
        if depth == 0 or (depth <= self.depth and (file.is_folder or "-a" in self.options)):
            text = human(total) if "-h" in self.options else str(total if "-b" in self.options else -(-total // 1024))
            sys.stdout.buffer.write(text.encode() + b"\t" + file.path + b"\n")
        return total


def main(words: list[str]) -> int:
    """The exit status: 1 where something could not be read."""
    try:
        found, rest = getopt.gnu_getopt(words, "".join(LONG.values()), list(LONG))
        short = {f"--{long.rstrip('=')}": f"-{letter[0]}" for long, letter in LONG.items()}
        usage = Usage({short.get(name, name): value for name, value in found}, len(rest) > 1)
    except (getopt.GetoptError, ValueError) as error:
        print(f"du: {error}", file=sys.stderr)
        return 1
    top = File(b"", 0, True, None)
    usage.find([os.fsencode(word) for word in rest or ["."]], [top] * len(rest or ["."]))
    for file in top.inside:
        usage.count(file)
    return int(usage.failed)


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)  # the deepest path has 2,048 directories
    sys.exit(main(sys.argv[1:]))
