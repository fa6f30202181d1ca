"""The short benchmarks, `rawsys bench`: a few seconds, nothing needed but the package.

A figure of one side alone says little: it moves with the machine, its load and its clock.  So the sides of a row
(ours, the standard library's) take turns: in each round each one runs a short batch, the next round begins with
another one, and a ratio is taken within a round.  The claim of a row is the median of these ratios; its quartiles say
how far it can be trusted.

The long benchmarks, with limits in C, JSON and a chart, are in the repository (``python -m benchmarks``) and use the
timing core of this module.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from resource import RUSAGE_THREAD, getrusage
from time import perf_counter_ns
from typing import NamedTuple

import rawsys

Side = Callable[[int], int]
"""One side of a row: makes its operation so many times and gives the nanoseconds that took."""

AT_FDCWD = -100


# ---- the timing core ----


def loop(statement: str, /, times: int = 1, **names: object) -> Side:
    """A side that runs a statement in a `for` loop, `times` times for each operation that is counted.

    The names become local variables, so that what surrounds the call costs the same on every side.
    """
    source = (
        f"def run(count{''.join(f', {name}={name}' for name in names)}):\n"
        f"    begin = clock()\n"
        f"    for _ in range(count * {times}):\n"
        f"{textwrap.indent(textwrap.dedent(statement).strip(), ' ' * 8)}\n"
        f"    return clock() - begin\n"
    )
    space: dict[str, Side] = {}
    exec(source, {"clock": perf_counter_ns, **names}, space)  # noqa: S102 - the statements stand in our own source
    return space["run"]


def batch(side: Side, batch_ns: int) -> int:
    """How many operations of a side take about `batch_ns`.

    The best of three: a batch that was held up would give a small number, and reading the clock would be measured.
    """
    count = 1
    while True:
        took = min(side(count) for _ in range(3))
        if took >= batch_ns / 2:
            return max(1, round(count * batch_ns / took))
        count *= 2 if took * 4 >= batch_ns else 8


def take_turns(sides: Sequence[Side], rounds: int, batch_ns: int) -> list[list[float]]:
    """Nanoseconds an operation of each side, round by round; each round begins with another side.

    A round during which the scheduler gave the processor to somebody else is made again, as long as that does not
    double the work: where batches are longer than a turn on a busy machine, all rounds count.
    """
    with no_collector():
        counts = [batch(side, batch_ns) for side in sides]
        calm: list[list[float]] = []
        table: list[list[float]] = []
        while len(calm) < rounds and len(table) < 2 * rounds:
            line = [0.0] * len(sides)
            before = preemptions()
            for turn in range(len(sides)):
                which = (len(table) + turn) % len(sides)
                line[which] = sides[which](counts[which]) / counts[which]
            table.append(line)
            if preemptions() == before:
                calm.append(line)
    return calm if len(calm) >= rounds / 2 else table


def preemptions() -> int:
    """How often this thread has lost the processor without asking."""
    return getrusage(RUSAGE_THREAD).ru_nivcsw


@contextmanager
def no_collector() -> Iterator[None]:
    """No garbage collection between the lines, as in timeit: it would fall on either side by chance."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Spread(NamedTuple):
    """A median between its quartiles."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The quartiles of one or more values, between neighbours where they fall there."""
    ordered = sorted(values)

    def at(part: float) -> float:
        place = part * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (place - below)

    return Spread(at(0.25), at(0.5), at(0.75))


def ratios(table: Sequence[Sequence[float]], peer: int, baseline: int | None = None) -> Spread:
    """Side 0 divided by side `peer` in each round, both without what the side `baseline` took in that round."""
    below = [0.0 if baseline is None else line[baseline] for line in table]
    pairs = ((line[0] - base, line[peer] - base) for line, base in zip(table, below, strict=True))
    return spread([ours / theirs if theirs > 0 else float("inf") for ours, theirs in pairs])


def in_time(ns: float) -> str:
    """Nanoseconds in the unit that is read best."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns:.1f} ns"


# ---- the rows ----


class Row(NamedTuple):
    """One line of the table: our side, the peer's, and how many operations one turn of them is."""

    name: str
    ours: Side
    peer_name: str
    peer: Side
    operations: int = 1


def _calls(stack: ExitStack) -> Iterator[Row]:
    """Single calls on this process and on descriptors."""
    raw, syscalls = rawsys.raw, rawsys.syscalls
    yield Row("raw_getpid()", loop("f()", f=rawsys.raw_getpid), "os.getpid()", loop("f()", f=os.getpid))
    yield Row("raw.getppid()", loop("f()", f=raw.getppid), "os.getppid()", loop("f()", f=os.getppid))
    null = stack.enter_context(syscalls.openat(AT_FDCWD, os.devnull, os.O_WRONLY | os.O_CLOEXEC, 0))
    file = stack.enter_context(rawsys.Fd(os.memfd_create("bench")))
    file.write_all(bytes(4096))
    number, data, memory = file.fileno(), b"x" * 64, bytearray(64)
    write = loop("f(fd, data)", f=os.write, fd=null.fileno(), data=data)
    yield Row(
        "raw_write(fd, 64 bytes)",
        loop("f(fd, data)", f=rawsys.raw_write, fd=null.fileno(), data=data),
        "os.write",
        write,
    )
    yield Row("raw_write(Fd, 64 bytes)", loop("f(fd, data)", f=rawsys.raw_write, fd=null, data=data), "os.write", write)
    yield Row(
        "raw.lseek", loop("f(fd, 0, 0)", f=raw.lseek, fd=number), "os.lseek", loop("f(fd, 0, 0)", f=os.lseek, fd=number)
    )
    yield Row(
        "raw.pread64 into a buffer",
        loop("f(fd, memory, 64, 0)", f=raw.pread64, fd=number, memory=memory),
        "os.preadv",
        loop("f(fd, memory, 0)", f=os.preadv, fd=number, memory=[memory]),
    )
    yield Row(
        "Fd.pread(64, 0)", loop("f(64, 0)", f=file.pread), "os.pread", loop("f(fd, 64, 0)", f=os.pread, fd=number)
    )
    yield Row(
        "syscalls.openat, Fd.close",
        loop("f(-100, path, flags, 0).close()", f=syscalls.openat, path=os.devnull, flags=os.O_CLOEXEC),
        "os.open, os.close",
        loop("g(f(path, flags))", f=os.open, g=os.close, path=os.devnull, flags=os.O_CLOEXEC),
    )


def _many(stack: ExitStack) -> Iterator[Row]:
    """Many calls in one crossing."""
    program = rawsys.Program()
    for _ in range(1000):
        program.getpid()
    yield Row(
        "Program of 1,000 getpid", loop("f()", f=program.run), "os.getpid()", loop("f()", 1000, f=os.getpid), 1000
    )
    paths = small_files(Path(stack.enter_context(tempfile.TemporaryDirectory())), 500)
    ours = loop("f(paths)", f=rawsys.read_files, paths=paths)
    yield Row("read_files of 500", ours, "os.open, read, close", read_one_by_one(paths), 500)
    ours = loop("f(paths)", f=rawsys.stat_many, paths=paths)
    yield Row("stat_many of 500", ours, "os.stat", loop("[f(path) for path in paths]", f=os.stat, paths=paths), 500)


def small_files(directory: Path, count: int) -> list[str]:
    """Files of some 100 bytes, by name."""
    paths = [str(directory / f"{number:05}") for number in range(count)]
    for path in paths:
        Path(path).write_bytes(path.encode().ljust(100, b"."))
    return paths


def read_one_by_one(paths: list[str]) -> Side:
    """The same list of bytes by three calls of `os` a file."""
    statement = """
        found = []
        for path in paths:
            fd = open(path, flags)
            found.append(read(fd, 65536))
            close(fd)
    """
    return loop(statement, open=os.open, read=os.read, close=os.close, paths=paths, flags=os.O_RDONLY | os.O_CLOEXEC)


# ---- the command ----


def bench(rounds: int, batch_ns: int = 200_000) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured."""
    yield f"{'':28}{'rawsys':>10}   {'against':<22}{'':>10}{'ratio':>7}   quartiles"
    with ExitStack() as stack:
        for topic in (_calls, _many):
            for row in topic(stack):
                table = take_turns([row.ours, row.peer], rounds, batch_ns)
                ours, theirs = (in_time(spread([line[i] for line in table]).median / row.operations) for i in (0, 1))
                low, ratio, high = ratios(table, 1)
                yield f"{row.name:28}{ours:>10}   {row.peer_name:<22}{theirs:>10}{ratio:>7.2f}   {low:.2f} {high:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """`rawsys bench`: print the table; gives the exit status."""
    import argparse

    parser = argparse.ArgumentParser(
        "rawsys bench", description="Single calls and batches against the standard library."
    )
    parser.add_argument("--rounds", type=int, default=301, metavar="N", help="rounds of each row (default: 301)")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error("--rounds: at least one")
    uname = os.uname()
    print(
        f"Python {sys.version.split()[0]}, Linux {uname.release}; time an operation, and the median of the paired ratios"
    )
    for line in bench(arguments.rounds):
        print(line, flush=True)
    return 0
