"""Many calls in one crossing: Program, read_files and stat_many."""

from __future__ import annotations

import os
from time import perf_counter_ns

import rawsys
from benchmarks.harness import Setting, Sides, Topic, limit, peer
from benchmarks.limits import Memory, Strings, c_limit
from rawsys import Program, raw
from rawsys.bench import AT_FDCWD, Side, loop, read_one_by_one

TOPIC = Topic("program", "many calls in one crossing")


@TOPIC.row("run of 1,000 getpid, per call")
def getpids(setting: Setting) -> Sides:
    """The interpreter's own cost: nothing is patched, nothing converted."""
    program = Program()
    for _ in range(1000):
        program.getpid()
    bare = limit(lambda: c_limit("for (int k = 0; k < 1000; k++) call0(SYS_getpid);"), "<= 1.10", "bare loop in C")
    theirs = peer("os.getpid() loop", loop("f()", 1000, f=os.getpid), "<= 0.75")
    return Sides(loop("f()", f=program.run), [bare, theirs], operations=1000)


_READ_EACH = """
    for (long k = 0; k < a[1]; k++) {
        long fd = call4(SYS_openat, -100, ((long *)a[0])[k], O_RDONLY | O_CLOEXEC, 0);
        call3(SYS_read, fd, a[2], 65536);
        call1(SYS_close, fd);
    }
"""


def _open_files(paths: list[str]) -> Side:
    statement = """
        found = []
        for path in paths:
            with open(path, "rb") as file:
                found.append(file.read())
    """
    return loop(statement, open=open, paths=paths)


@TOPIC.row("read_files of 10,000 small files, per file", patience=0.25)
def read_files(setting: Setting) -> Sides:
    """A list of str to a list of bytes."""
    paths = setting.small_files(10_000, 200)
    strings, memory = Strings(paths), Memory(65536)
    arguments = [strings.address, len(paths), memory.address]
    bare = limit(lambda: c_limit(_READ_EACH, arguments, (strings, memory)), "<= 1.15", "openat, read, close in C")
    peers = [
        bare,
        peer("os.open, os.read, os.close loop", read_one_by_one(paths), "<= 0.85"),
        peer("with open(p, 'rb'): read()", _open_files(paths), "<= 0.40"),
    ]
    return Sides(loop("f(paths)", f=rawsys.read_files, paths=paths), peers, operations=len(paths))


_STATX_EACH = "for (long k = 0; k < a[1]; k++) call6(SYS_statx, -100, ((long *)a[0])[k], 0, 0x1fff, a[2], 0);"


def _stats(setting: Setting, statement: str, reach: str) -> Sides:
    paths = setting.small_files(10_000, 200) * setting.size(10, 1)
    strings, memory = Strings(paths), Memory(256)
    theirs = peer("os.stat loop", loop("[f(path) for path in paths]", f=os.stat, paths=paths), reach)
    arguments = [strings.address, len(paths), memory.address]
    bare = limit(lambda: c_limit(_STATX_EACH, arguments, (strings, memory)), name="statx in C")
    return Sides(loop(statement, f=rawsys.stat_many, paths=paths), [theirs, bare], operations=len(paths))


@TOPIC.row("stat_many of 100,000 paths, per path", patience=0.05)
def stat_many(setting: Setting) -> Sides:
    """The records stay in one piece of memory."""
    return _stats(setting, "f(paths)", "<= 0.6")


@TOPIC.row("the same, and every record made an object", patience=0.02)
def stat_objects(setting: Setting) -> Sides:
    """What the laziness of the row above saves."""
    return _stats(setting, "list(f(paths))", "reported")


@TOPIC.row("adding a step, getpid()")
def add_getpid(setting: Setting) -> Sides:
    """A step without arguments."""

    def side(count: int) -> int:
        program = Program()
        begin = perf_counter_ns()
        for _ in range(count):
            program.getpid()
        return perf_counter_ns() - begin

    return Sides(side)


@TOPIC.row("adding a step, read(fd, buffer, 64)")
def add_read(setting: Setting) -> Sides:
    """A step that takes an earlier answer and a buffer."""

    def side(count: int) -> int:
        program = Program()
        data = program.buffer(64)
        fd = program.openat(AT_FDCWD, "/dev/zero", 0, 0)
        begin = perf_counter_ns()
        for _ in range(count):
            program.read(fd, data, 64)
        return perf_counter_ns() - begin

    return Sides(side)


@TOPIC.row("run of one step, getpid")
def run_getpid(setting: Setting) -> Sides:
    """What a run costs beside its steps."""
    program = Program()
    program.getpid()
    return Sides(loop("f()", f=program.run), [peer("raw.getpid()", loop("f()", f=raw.getpid), "<= 2")])


@TOPIC.row("run of one step, lseek(fd, 0, 0)")
def run_lseek(setting: Setting) -> Sides:
    """The same with the GIL released, and a parameter."""
    fd = setting.enter_context(rawsys.Fd.memfd("bench")).fileno()
    program = Program()
    program.lseek(fd, program.parameter("offset"), 0)
    theirs = peer("raw.lseek", loop("f(fd, 0, 0)", f=raw.lseek, fd=fd), "<= 2")
    return Sides(loop("f(offset=0)", f=program.run), [theirs])
