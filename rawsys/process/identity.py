"""Who a thread is, and what its process is to others: ids, capabilities, session, group, subreaper, death signal."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

from rawsys import raw, syscalls
from rawsys.fd._calls import again
from rawsys.process import _numbers as n

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rawsys.constants import Signal

_VERSION_3 = 0x20080522


class Credentials(NamedTuple):
    """All that the kernel keeps of who a thread is; the sets are frozensets of capability numbers (CAP constants)."""

    uid: int
    """The real user: who started it."""
    euid: int
    """The effective user: whose rights it has."""
    suid: int
    """The saved user: whose rights it may take again."""
    fsuid: int
    """The user whose rights it has with files."""
    gid: int
    """The real group."""
    egid: int
    """The effective group."""
    sgid: int
    """The saved group."""
    fsgid: int
    """The group whose rights it has with files."""
    groups: tuple[int, ...]
    """The supplementary groups."""
    effective: frozenset[int]
    """Capabilities in force."""
    permitted: frozenset[int]
    """Capabilities that may be put in force."""
    inheritable: frozenset[int]
    """Capabilities that an exec may keep."""
    bounding: frozenset[int]
    """Capabilities that an exec can give at most."""
    ambient: frozenset[int]
    """Capabilities that an exec of an ordinary program keeps."""
    securebits: int
    """SECBIT constants: what root is not."""
    no_new_privs: bool
    """Whether an exec gives no new rights any more."""


def credentials() -> Credentials:
    """The credentials of the calling thread; the kernel keeps them for each thread.

    Ids, supplementary groups, capabilities, securebits (SECBIT constants) and no_new_privs.
    """
    uids, gids = _three(syscalls.getresuid), _three(syscalls.getresgid)
    effective, permitted, inheritable = _capabilities()
    return Credentials(
        *uids,
        raw.setfsuid(-1) & 0xFFFFFFFF,  # changes nothing: -1 is no id
        *gids,
        raw.setfsgid(-1) & 0xFFFFFFFF,
        _groups(),
        effective,
        permitted,
        inheritable,
        _set_by(n.PR_CAPBSET_READ),
        _set_by(n.PR_CAP_AMBIENT, n.PR_CAP_AMBIENT_IS_SET),
        _get(n.PR_GET_SECUREBITS),
        bool(_get(n.PR_GET_NO_NEW_PRIVS)),
    )


def _three(call: Callable[[bytearray, bytearray, bytearray], None]) -> tuple[int, int, int]:
    ids = bytearray(4), bytearray(4), bytearray(4)
    call(*ids)
    first, second, third = (int.from_bytes(each, "little") for each in ids)
    return first, second, third


def _groups() -> tuple[int, ...]:
    count = syscalls.getgroups(0, None)
    memory = bytearray(4 * count)
    return tuple(memoryview(memory).cast("I")[: syscalls.getgroups(count, memory)]) if count else ()


def _capabilities() -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    data = bytearray(24)
    syscalls.capget(bytearray(pack("Ii", _VERSION_3, 0)), data)
    words = memoryview(data).cast("I")
    first, second, third = (_numbers(words[i] | words[i + 3] << 32) for i in range(3))
    return first, second, third


def _numbers(mask: int) -> frozenset[int]:
    return frozenset(number for number in range(64) if mask >> number & 1)


def _set_by(option: int, *first: int) -> frozenset[int]:
    """The numbers for which a prctl answers 1; it refuses those that the kernel does not know."""
    return frozenset(number for number in range(64) if raw.prctl(option, *(*first, number, 0, 0, 0)[:4]) == 1)


def _get(option: int) -> int:
    return again(syscalls.prctl, option, 0, 0, 0, 0)


# ---- session and group: of the process ----


def session(pid: int = 0) -> int:
    """`getsid(2)`: the session of a process, 0 for this one: the number of its leader.

    Raises ProcessLookupError.
    """
    return syscalls.getsid(pid)


def new_session() -> int:
    """`setsid(2)`: make this process the leader of a new session and a new group, without a terminal; its number.

    Raises PermissionError when it leads a process group already.
    """
    return syscalls.setsid()


def process_group(pid: int = 0) -> int:
    """`getpgid(2)`: the process group of a process, 0 for this one.

    Raises ProcessLookupError.
    """
    return syscalls.getpgid(pid)


def set_process_group(group: int = 0, pid: int = 0) -> None:
    """`setpgid(2)`: put a process (0: this one, or a child before its exec) into a group of its session; 0: a new one.

    Raises PermissionError for a session leader and another session, OSError (EACCES) for a child after exec.
    """
    syscalls.setpgid(pid, group)


def subreaper() -> bool:
    """`prctl(2)`, PR_GET_CHILD_SUBREAPER: whether this process gets the orphans among its descendants."""
    memory = bytearray(4)
    again(syscalls.prctl, n.PR_GET_CHILD_SUBREAPER, memory, 0, 0, 0)
    return any(memory)


def set_subreaper(on: bool) -> None:
    """`prctl(2)`, PR_SET_CHILD_SUBREAPER: orphans among the descendants become children of this process, to be reaped.

    It belongs to the whole process, outlives exec, and is not inherited by children.
    """
    again(syscalls.prctl, n.PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


# ---- of the thread ----


def parent_death_signal() -> Signal | None:
    """`prctl(2)`, PR_GET_PDEATHSIG: what this process gets, by this thread's doing, when its parent ends; None for nothing.

    The kernel keeps it for the calling thread alone; the parent's end is that of the thread there that started us.
    """
    from rawsys.constants import Signal

    memory = bytearray(4)
    again(syscalls.prctl, n.PR_GET_PDEATHSIG, memory, 0, 0, 0)
    number = int.from_bytes(memory, "little")
    return Signal(number) if number else None


def set_parent_death_signal(signal: int | None) -> None:
    """`prctl(2)`, PR_SET_PDEATHSIG: have this signal sent to this process when its parent ends; None for none.

    The kernel keeps it for the calling thread alone, and the parent's end is that of the *thread* there that started us.
    It is cleared in a forked child, when credentials change, and at the exec of a set-id program.  When the parent is gone
    already it never comes: compare `os.getppid()` afterwards.

    Raises OSError (EINVAL) for what is no signal.
    """
    again(syscalls.prctl, n.PR_SET_PDEATHSIG, int(signal or 0), 0, 0, 0)
