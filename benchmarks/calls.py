"""Single calls: the doors, Handle and Fd against the same calls of CPython."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns

import _cffi_backend

import rawsys
from benchmarks.harness import Setting, Sides, Topic, limit, peer
from benchmarks.limits import Memory, c_limit
from rawsys import Fd, raw, syscalls
from rawsys.bench import AT_FDCWD, Side, loop

TOPIC = Topic("calls", "single calls against CPython's own")

OPEN = os.O_RDONLY | os.O_CLOEXEC


def _null(setting: Setting, flags: int = os.O_WRONLY) -> Fd:
    return setting.enter_context(Fd.open(os.devnull, flags))


def _file(setting: Setting) -> Fd:
    """4096 bytes in memory."""
    file = setting.enter_context(Fd.memfd("bench"))
    file.write_all(bytes(4096))
    return file


@TOPIC.row("raw_getpid()")
def getpid(setting: Setting) -> Sides:
    """The naked instruction, no argument."""
    bare = limit(lambda: c_limit("call0(SYS_getpid);"))
    return Sides(loop("f()", f=rawsys.raw_getpid), [peer("os.getpid()", loop("f()", f=os.getpid), "<= 1.05"), bare])


@TOPIC.row("raw.getppid()")
def getppid(setting: Setting) -> Sides:
    """A numbered call without arguments."""
    bare = limit(lambda: c_limit("call0(SYS_getppid);"))
    return Sides(loop("f()", f=raw.getppid), [peer("os.getppid()", loop("f()", f=os.getppid), "<= 1.05"), bare])


@TOPIC.row("raw.lseek")
def lseek(setting: Setting) -> Sides:
    """Three ints, GIL released on both sides."""
    fd = _file(setting).fileno()
    theirs = peer("os.lseek", loop("f(fd, 0, 0)", f=os.lseek, fd=fd), "<= 0.95")
    return Sides(
        loop("f(fd, 0, 0)", f=raw.lseek, fd=fd), [theirs, limit(lambda: c_limit("call3(SYS_lseek, a[0], 0, 0);", [fd]))]
    )


def _write(fd: int, ours: int | Fd) -> Sides:
    data, memory = b"x" * 64, Memory(64)
    theirs = peer("os.write", loop("f(fd, data)", f=os.write, fd=fd, data=data), "<= 1.05")
    bare = limit(lambda: c_limit("call3(SYS_write, a[0], a[1], 64);", [fd, memory.address], memory))
    return Sides(loop("f(fd, data)", f=rawsys.raw_write, fd=ours, data=data), [theirs, bare])


@TOPIC.row("raw_write of 64 bytes, int")
def write_int(setting: Setting) -> Sides:
    """Bytes to /dev/null, where the kernel does least."""
    fd = _null(setting).fileno()
    return _write(fd, fd)


@TOPIC.row("raw_write of 64 bytes, Fd")
def write_fd(setting: Setting) -> Sides:
    """The same with an owner, whose calls in flight are counted."""
    fd = _null(setting)
    return _write(fd.fileno(), fd)


@TOPIC.row("raw.pread64 into a buffer")
def pread64(setting: Setting) -> Sides:
    """64 bytes into memory that is there already; the peer's list is there already too."""
    fd, buffer, memory = _file(setting).fileno(), bytearray(64), Memory(64)
    theirs = peer("os.preadv", loop("f(fd, buffers, 0)", f=os.preadv, fd=fd, buffers=[buffer]), "<= 0.9")
    bare = limit(lambda: c_limit("call4(SYS_pread64, a[0], a[1], 64, 0);", [fd, memory.address], memory))
    return Sides(loop("f(fd, buffer, 64, 0)", f=raw.pread64, fd=fd, buffer=buffer), [theirs, bare])


@TOPIC.row("syscalls.openat + Fd.close")
def openat_close(setting: Setting) -> Sides:
    """A checked call that gives an owner, and the owner's end."""
    path = setting.small_files(1, 1)[0]
    ours = loop("f(dirfd, path, flags, 0).close()", f=syscalls.openat, dirfd=AT_FDCWD, path=path, flags=OPEN)
    theirs = loop("close(f(path, flags))", f=os.open, close=os.close, path=path, flags=OPEN)
    name = _name(path)
    bare = limit(
        lambda: c_limit("call1(SYS_close, call4(SYS_openat, -100, a[0], a[1], 0));", [name.address, OPEN], name)
    )
    return Sides(ours, [peer("os.open + os.close", theirs, "<= 1.15"), bare])


def _name(path: str) -> Memory:
    memory = Memory(len(path) + 1)
    memory.write(path.encode())
    return memory


@TOPIC.row("Fd.read(1)")
def read(setting: Setting) -> Sides:
    """One byte of /dev/zero."""
    fd, memory = setting.enter_context(Fd.open("/dev/zero")), Memory(1)
    theirs = peer("os.read", loop("f(fd, 1)", f=os.read, fd=fd.fileno()), "<= 1.3")
    bare = limit(lambda: c_limit("call3(SYS_read, a[0], a[1], 1);", [fd.fileno(), memory.address], memory))
    return Sides(loop("f(1)", f=fd.read), [theirs, bare])


@TOPIC.row("Fd.pread(64, 0)")
def pread(setting: Setting) -> Sides:
    """64 bytes as a new bytes object."""
    file, memory = _file(setting), Memory(64)
    theirs = peer("os.pread", loop("f(fd, 64, 0)", f=os.pread, fd=file.fileno()), "<= 1.3")
    bare = limit(lambda: c_limit("call4(SYS_pread64, a[0], a[1], 64, 0);", [file.fileno(), memory.address], memory))
    return Sides(loop("f(64, 0)", f=file.pread), [theirs, bare])


@contextmanager
def computing() -> Iterator[None]:
    """Another Python thread that wants the GIL all the time."""
    running, started = [True], threading.Event()

    def compute() -> None:
        number = 0
        started.set()
        while running:
            number = (number + 1) % 1000

    thread = threading.Thread(target=compute)
    thread.start()
    started.wait()
    try:
        yield
    finally:
        running.clear()
        thread.join()


def _loops_of_100(function: Callable[[], int]) -> Side:
    """The median of many loops of 100: what a call costs between two turns of the other thread.

    A side that let go of the GIL would wait for it in each of its calls, and its median would show it.
    """
    hundred = loop("f()", 100, f=function)
    return lambda count: round(statistics.median([hundred(1) for _ in range(count)]) * count)


@TOPIC.row("raw_getpid() while another thread computes")
def getpid_beside(setting: Setting) -> Sides:
    """The GIL law: what may not block keeps the GIL."""
    setting.enter_context(computing())
    theirs = peer("os.getpid()", _loops_of_100(os.getpid), "<= 1.1")
    return Sides(_loops_of_100(rawsys.raw_getpid), [theirs], operations=100)


def _cold(statement: str) -> Side:
    """A new interpreter, from start to end, with and without the statement; the median of a few."""
    assert rawsys.__file__
    places = [str(Path(rawsys.__file__).parents[1]), str(Path(_cffi_backend.__file__).parent)]
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {places!r}\n{statement}"]

    def once() -> int:
        begin = perf_counter_ns()
        subprocess.run(command, check=True)
        return perf_counter_ns() - begin

    return lambda count: round(statistics.median([once() for _ in range(count)]) * count)


@TOPIC.row("cold import rawsys, beyond an empty interpreter", patience=0.1)
def cold_import(setting: Setting) -> Sides:
    """python -I -S: what a script waits for."""
    return Sides(
        _cold("import rawsys"), [peer("import subprocess", _cold("import subprocess"), "<= 0.6")], baseline=_cold("")
    )
