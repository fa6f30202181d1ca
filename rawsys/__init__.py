"""System calls of x86-64 Linux, at the cost of the instruction, and safe by ownership.

Four storeys, each built on the ones below it::

    owned     Fd and the other owners     released once, never used after it, never a stranger's
    checked   rawsys.syscalls.NAME(...)   every call by name: OSError on failure, an Fd for a new descriptor
    raw       rawsys.raw.NAME(...)        the kernel's own answer: a value, or -errno
    shim      rawsys._shim                C, compiled at installation: the only place with inline assembly

`rawsys.table` describes every call.  Topic modules (`rawsys.constants`, `rawsys.structs`, ...) load when
first used.
"""

from __future__ import annotations

import sys

if sys.platform != "linux" or sys.maxsize != 2**63 - 1 or __import__("os").uname().machine != "x86_64":
    raise ImportError("rawsys needs Linux on x86-64 and a 64-bit Python")

try:
    from rawsys._native.install import install as _install
except ModuleNotFoundError as error:
    if error.name != "rawsys._shim":
        raise
    raise ImportError(
        f"rawsys has no compiled module in {__path__[0]}: this is the source folder; "
        "run from elsewhere after `pip install .`, or install it in place with `pip install -e .`"
    ) from None

_install(sys.modules[__name__], "top")

_MODULES = {
    "batch", "command", "constants", "errors", "events", "fd", "memory", "proc", "process", "program", "raw", "sched", "signals", "structs",
    "supervisor", "sync", "syscalls", "table", "thread", "vdso",
}  # fmt: skip
_HOME = {
    "Fd": "fd",
    "Handle": "fd",
    "Program": "program",
    "raw_sigaction": "signals",
    "read_files": "batch",
    "stat_many": "batch",
}
_HOME |= dict.fromkeys(("ExitStatus", "Pid", "fork"), "process")
_HOME |= dict.fromkeys(("AtomicBool", "AtomicI64", "AtomicU32", "AtomicU64", "Mutex"), "sync")
_HOME["ThreadHandle"] = "thread"
_HOME |= dict.fromkeys(("INHERIT", "NULL", "PIPE", "STDOUT", "Child", "Command"), "command")

__all__ = [
    "INHERIT",
    "NULL",
    "PIPE",
    "STDOUT",
    "AtomicBool",
    "AtomicI64",
    "AtomicU32",
    "AtomicU64",
    "Child",
    "Command",
    "ExitStatus",
    "Fd",
    "Handle",
    "Mutex",
    "Pid",
    "Program",
    "ThreadHandle",
    "constants",
    "errors",
    "events",
    "fork",
    "proc",
    "raw",
    "raw_close",
    "raw_exit",
    "raw_fork",
    "raw_getpid",
    "raw_getppid",
    "raw_gettid",
    "raw_kill",
    "raw_read",
    "raw_sigaction",
    "raw_write",
    "read_files",
    "sched",
    "signals",
    "stat_many",
    "structs",
    "sync",
    "syscall",
    "syscalls",
    "table",
    "thread",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"rawsys.{name}")
    if name in _HOME:
        value = globals()[name] = getattr(import_module(f"rawsys.{_HOME[name]}"), name)
        return value
    raise AttributeError(f"module 'rawsys' has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
