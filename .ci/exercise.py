"""A walk through the C of rawsys for memory checkers: valgrind -q --error-exitcode=99 python .ci/exercise.py

No children and no calls that valgrind does not know; every kind of argument, Programs of random shape, run_each, owners that
are closed, forgotten and warned about, and what is refused in the middle of a call.
"""

from __future__ import annotations

import array
import contextlib
import gc
import os
import random
import tempfile
import warnings

from rawsys import Fd, Program, raw, read_files, stat_many, structs, syscalls
from rawsys._native.proc import parse_maps, parse_smaps, parse_stats
from rawsys.constants import AT_FDCWD, O_CLOEXEC, O_RDONLY, RLIMIT_NOFILE
from rawsys.proc.regions import MemoryRegion, Region
from rawsys.proc.stat import Stat
from rawsys.table import TABLE

NEWEST = 433
"""The last number that valgrind knows."""

random.seed(20)


def refused() -> None:
    """Wrong arguments of every kind in every place: all pins and strings have to be given back.

    Only calls whose first argument is a descriptor, and that is -1: what is not refused after all is EBADF.
    """
    wrong = [True, 1.5, "text\0with NUL", 2**64, -(2**70), b"", object(), [], memoryview(b"abcdef")[::2], [b"a", 3]]
    for entry in TABLE:
        if (
            not entry.live
            or entry.name == "close_range"
            or entry.number > NEWEST
            or not entry.arguments
            or entry.arguments[0].kind != "fd"
        ):
            continue
        good: list[object] = [bytearray(8192) if a.direction else 0 for a in entry.arguments]
        good = [-1, *("/x" if a.kind == "path" else g for a, g in zip(entry.arguments[1:], good[1:], strict=True))]
        for place in range(1, len(good)):
            for value in wrong:
                with contextlib.suppress(TypeError, ValueError, OverflowError):
                    getattr(raw, entry.name)(*good[:place], value, *good[place + 1 :])
        with contextlib.suppress(OSError, TypeError, ValueError):
            getattr(syscalls, entry.name)(*good)


def buffers(folder: str) -> None:
    """Reads and writes through all kinds of memory."""
    with Fd.memfd("exercise") as file:
        for memory in (bytearray(64), array.array("i", range(16)), memoryview(bytearray(64)), structs.stat()):
            assert file.write(memory) > 0
            file.seek(0)
            assert raw.read(file, memory, 64) > 0
        file.readv([bytearray(3), bytearray(5)])
        file.writev([b"one", bytearray(b"two")])
        file.pread(10, 0), file.pwrite(b"x" * 1000, 5), file.read_all()
    limit = structs.rlimit()
    syscalls.prlimit64(0, RLIMIT_NOFILE, None, limit)
    for path in (folder, folder.encode(), os.path.join(folder, "missing")):
        with contextlib.suppress(OSError):
            syscalls.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0).close()


def owners() -> None:
    """Closed twice, forgotten, forgotten in a cycle, kept alive by the warning about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(20):
            Fd.pipe()
            cycle: list[object] = [Fd.eventfd(1)]
            cycle.append(cycle)
            del cycle
            gc.collect()
    assert len(caught) == 60
    del caught
    file = Fd.memfd("closed")
    file.close()
    file.close()
    with contextlib.suppress(ValueError):
        file.read(1)


def random_program(folder: str) -> None:
    """Steps that depend on steps, parameters and buffers in any order; some fail, some are not made."""
    program = Program(stop_on_error=random.random() < 0.3)
    path, size = program.parameter("path"), program.parameter("size")
    data = program.buffer(random.choice([1, 16, 4096]))
    fd = program.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    for _ in range(random.randrange(8)):
        random.choice(
            [
                lambda: program.read(fd, data, random.choice([1, size])),
                lambda: program.lseek(fd, random.randrange(9), 0, retry=True),
                lambda: program.fstat(fd, structs.stat(), label="stat"),
                lambda: program.statx(AT_FDCWD, path, 0, 0xFFF, bytearray(256), allow=(2,)),
                program.getpid,
            ]
        )()
    program.close(fd, always=True)
    for name in ("0", "missing", "1"):
        with contextlib.suppress(ValueError):
            results = program.run(path=os.path.join(folder, name), size=random.choice([1, 8, 16, 5000]))
            list(results), repr(results), program.explain()
            with contextlib.suppress(OSError):
                results.check()
    with contextlib.suppress(ValueError, TypeError):
        program.run_each([{"path": os.path.join(folder, str(i)), "size": 1} for i in range(5)])
        program.run_each([("a", 1), ("b",)])


def texts() -> None:
    """The parsers of /proc's text, on what the kernel writes, and on that cut short and changed in random places."""
    for name, parse, kind in (
        ("maps", parse_maps, Region),
        ("smaps", parse_smaps, MemoryRegion),
        ("stat", _stat, Stat),
    ):
        with open(f"/proc/self/{name}", "rb") as file:
            text = file.read()
        parse(text, kind, b"\0" * 16, True)
        for _ in range(100):
            changed = bytearray(text[random.randrange(len(text)) :][: random.randrange(500)])
            for _ in range(random.randrange(3) if changed else 0):
                changed[random.randrange(len(changed))] = random.randrange(256)
            with contextlib.suppress(ValueError):
                parse(bytes(changed), kind, b"", False)


def _stat(text: bytes, kind: type[Stat], *_: object) -> list[Stat]:
    return parse_stats([text], kind)


def main() -> None:
    """All of it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(100):
            with open(os.path.join(folder, str(i)), "wb") as file:
                file.write(b"x" * (i * 997 % 70000))
        refused()
        buffers(folder)
        owners()
        texts()
        for _ in range(100):
            random_program(folder)
        paths = [os.path.join(folder, str(i)) for i in range(101)]
        assert [len(x) if isinstance(x, bytes) else x for x in read_files(paths)] == [
            i * 997 % 70000 for i in range(100)
        ] + [-2]
        assert stat_many(paths)[100] == -2


if __name__ == "__main__":
    main()
