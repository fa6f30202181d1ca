"""Reading /proc: several files of one process in one crossing, and what a failure means there."""

from __future__ import annotations

import os

from rawsys.batch import read_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class HasPid(Protocol):
        """Anything with the number of a process: `Process`, or an owner of a child."""

        @property
        def pid(self) -> int: ...

    Who = int | HasPid | None

ENOENT, ESRCH, EACCES, EPERM = 2, 3, 13, 1
GONE = (-ENOENT, -ESRCH)


def folder(who: Who) -> str:
    """``/proc/PID``; of None, this process, ``/proc/self``: which is right in every pid namespace."""
    pid = who if isinstance(who, int) else getattr(who, "pid", who)
    if pid is None:
        return "/proc/self"
    if isinstance(pid, bool) or not isinstance(pid, int):
        raise TypeError(f"a process is a number or has a pid, not {type(who).__name__}")
    return f"/proc/{pid}"


def read(base: str, *names: str) -> list[bytes | int]:
    """The files of one process in this order, in one crossing: bytes, or -errno."""
    return read_files([f"{base}/{name}" for name in names])


def failure(answer: int, path: str) -> OSError:
    """The exception for a file of a process that cannot be had; what is not there (any more) is ESRCH."""
    errno = -answer
    if answer in GONE and not _exists(path):
        errno = ESRCH
    return OSError(errno, os.strerror(errno), path)


def _exists(path: str) -> bool:
    """Whether the process of a path in /proc is there, so that only the file is missing."""
    return isinstance(read_files(["/".join(path.split("/")[:3]) + "/stat"])[0], bytes)


def content(answer: bytes | int, path: str) -> bytes:
    """The bytes, or the exception."""
    if isinstance(answer, bytes):
        return answer
    raise failure(answer, path)


def table(text: bytes) -> dict[str, str]:
    """Lines of ``Name: value`` as a dict."""
    rows = (line.partition(":") for line in os.fsdecode(text).split("\n") if ":" in line)
    return {name: value.strip(" \t") for name, _, value in rows}


def kilobytes(rows: dict[str, str], name: str) -> int:
    """A value that is told in kB, in bytes; 0 where it is missing."""
    return int((rows.get(name) or "0").split()[0]) * 1024
