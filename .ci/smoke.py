"""A first walk through an installed rawsys: python smoke.py, from any folder but the source tree."""

from __future__ import annotations

import inspect
import os
import platform
import threading
from pathlib import Path

import rawsys
from rawsys import Fd, Program, raw, structs, syscalls
from rawsys.constants import AT_FDCWD, CLOCK_MONOTONIC, O_CLOEXEC, O_RDONLY


def main() -> None:
    """Each storey once; AssertionError or the exception itself is the failure."""
    assert rawsys.raw_getpid() == raw.getpid() == rawsys.syscall(39) == os.getpid()
    assert rawsys.raw_gettid() == threading.get_native_id()
    assert raw.close(-1) == -9
    assert str(inspect.signature(raw.openat)) == "(dfd, filename, flags, mode, /)"
    now = structs.timespec()
    syscalls.clock_gettime(CLOCK_MONOTONIC, now)
    assert now.tv_sec or now.tv_nsec
    try:
        syscalls.openat(AT_FDCWD, "/nonexistent", O_RDONLY, 0)
    except FileNotFoundError as error:
        assert error.filename == "/nonexistent"
    else:
        raise AssertionError("a missing file was opened")
    reader, writer = Fd.pipe()
    with reader, writer:
        assert rawsys.raw_write(writer, b"through") == 7
        assert reader.read(100) == b"through"
    program = Program()
    path, data = program.parameter("path"), program.buffer(4096)
    fd = program.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    size = program.read(fd, data, 4096)
    program.close(fd, always=True)
    assert program.run_each(["/proc/self/comm"], collect=size) == [Path("/proc/self/comm").read_bytes()]
    print(f"CPython {platform.python_version()}: {len(raw.__all__)} calls; raw, checked, Fd and Program work")


main()
