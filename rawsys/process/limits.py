"""Resource limits of any process."""

from __future__ import annotations

from struct import pack, unpack
from typing import NamedTuple

from rawsys import syscalls
from rawsys.fd._calls import again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import EllipsisType

_INFINITE = 2**64 - 1


class Limit(NamedTuple):
    """A resource limit; None is no limit."""

    soft: int | None
    """What the kernel enforces; the process may change it up to `hard`."""
    hard: int | None
    """What an ordinary process may only lower."""


def rlimit(resource: int, pid: int = 0) -> Limit:
    """`prlimit(2)`: a limit (an RLIMIT constant) of a process, 0 for this one, in the unit of the resource.

    Raises ProcessLookupError; PermissionError for a process of another user; OSError (EINVAL) for an unknown resource.
    """
    return _swap(resource, pid, None)


def set_rlimit(resource: int, soft: int | None, hard: int | EllipsisType | None = ..., pid: int = 0) -> Limit:
    """`prlimit(2)`: set a limit of a process, 0 for this one; gives the limit that it had.

    Without `hard` that stays as it is.  The limits belong to the whole process, all its threads.

    Raises PermissionError for raising a hard limit without CAP_SYS_RESOURCE, OSError (EINVAL) for soft above hard, and as
    `rlimit` does.
    """
    for value in (soft, hard):
        if value is not None and value is not ... and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"a limit is an int, or None for none, not {value!r}: set_rlimit(resource, soft, hard)")
    upper = rlimit(resource, pid).hard if hard is ... else hard
    return _swap(resource, pid, pack("QQ", *(_INFINITE if n is None else n for n in (soft, upper))))


def _swap(resource: int, pid: int, new: bytes | None) -> Limit:
    old = bytearray(16)
    again(syscalls.prlimit64, pid, resource, new, old)
    return Limit(*(None if number == _INFINITE else number for number in unpack("QQ", old)))
