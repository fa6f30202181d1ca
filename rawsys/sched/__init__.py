"""Scheduling of threads: which CPUs, which policy, how nice, under which name.

The kernel keeps all of this for each thread. Every function takes a `tid`, 0 for the calling thread; a process number
means the first thread of that process, and the others of it stay as they are. New threads and children inherit::

    before = affinity()
    holds = set_affinity({0, 1})           # what the kernel made of it: CPUs outside the cpuset are left out
    set_policy(SCHED_BATCH)
    set_attr(util_max=512)

`cpus()` tells which CPUs there are, which of them this process may use, and how they lie to each other.
"""

from __future__ import annotations

import os
from operator import index
from typing import NamedTuple

from rawsys import constants, raw, structs, syscalls
from rawsys.errors import os_error
from rawsys.sched._cpus import Cache, Cpu, Cpus, cpus, parse_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Cache",
    "Cpu",
    "Cpus",
    "Policy",
    "affinity",
    "attr",
    "cpus",
    "getcpu",
    "name",
    "nice",
    "parse_list",
    "policy",
    "sched_yield",
    "set_affinity",
    "set_attr",
    "set_name",
    "set_nice",
    "set_policy",
]

_MOST_CPUS = 1 << 20  # far above any kernel's NR_CPUS (8,192): a bound for the memory of a mask
_RESET = 0x40000000
_ERANGE, _EINVAL = 34, 22


class Policy(NamedTuple):
    """A scheduling policy, its real-time priority (0 for the others), and whether children fall back to the default."""

    policy: constants.Sched
    """A SCHED constant."""
    priority: int
    """1 to 99 for the real-time policies, else 0."""
    reset_on_fork: bool
    """Whether children begin with the default policy."""


# ---- affinity ----


def mask_of(cpus: Iterable[int]) -> bytes:
    """The kernel's mask for a set of CPU numbers: whole 64-bit words, as many as it takes.

    Raises: ValueError for a negative number, OSError (EINVAL) for one that no kernel has.
    """
    bits = 0
    for cpu in cpus:
        if isinstance(cpu, bool):
            raise TypeError("a CPU is a number, not bool")
        number = index(cpu)
        if number < 0:
            raise ValueError(f"a CPU number cannot be negative, got {number}")
        if number >= _MOST_CPUS:
            raise os_error("sched_setaffinity", (0, number // 8, None), _EINVAL)
        bits |= 1 << number
    return bits.to_bytes(max(1, -(-bits.bit_length() // 64)) * 8, "little")


def _numbers(mask: bytes) -> frozenset[int]:
    bits = int.from_bytes(mask, "little")
    return frozenset(n for n in range(bits.bit_length()) if bits >> n & 1)


def affinity(tid: int = 0) -> frozenset[int]:
    """`sched_getaffinity(2)`: the CPUs that a thread may run on, however many the machine has.

    Raises: OSError (ESRCH) when there is no such thread.
    """
    size = 128
    while True:
        mask = bytearray(size)
        answer = raw.sched_getaffinity(tid, size, mask)
        if answer == -_EINVAL and size < _MOST_CPUS // 8:
            size *= 2  # the kernel knows more CPUs than these bits: it wants room for all of them
            continue
        if answer < 0:
            raise os_error("sched_getaffinity", (tid, size, None), -answer)
        return _numbers(bytes(mask[:answer]))


def set_affinity(cpus: Iterable[int], tid: int = 0) -> frozenset[int]:
    """`sched_setaffinity(2)`: the CPUs that a thread may run on; gives those that the kernel made of it.

    CPUs that are offline, do not exist or lie outside the thread's cpuset are left out without an error as long as one
    is left: compare the answer with what was asked.

    Raises: OSError: EINVAL when no CPU is left (also for an empty set), ESRCH for no such thread, EPERM for a stranger's.
    """
    mask = mask_of(cpus)
    syscalls.sched_setaffinity(tid, len(mask), mask)
    return affinity(tid)


# ---- policy and attributes ----


def policy(tid: int = 0) -> Policy:
    """`sched_getscheduler(2)`, `sched_getparam(2)`: the policy (SCHED_*) of a thread and its priority.

    Raises: OSError (ESRCH) when there is no such thread.
    """
    number = syscalls.sched_getscheduler(tid)
    parameter = structs.sched_param()
    syscalls.sched_getparam(tid, parameter)
    kind = constants.Sched(number & ~_RESET)
    return Policy(kind, parameter.sched_priority, bool(number & _RESET))


def set_policy(policy: int, priority: int = 0, tid: int = 0, *, reset_on_fork: bool = False) -> None:
    """`sched_setscheduler(2)`: the policy of a thread.

    `priority` is 1 to 99 for SCHED_FIFO and SCHED_RR and 0 for the others; SCHED_DEADLINE goes through `set_attr`.
    With `reset_on_fork` children of it start with the default policy.

    Raises: OSError: EPERM without CAP_SYS_NICE (or room in RLIMIT_RTPRIO), EINVAL for a priority the policy has not.
    """
    parameter = structs.sched_param(sched_priority=priority)
    syscalls.sched_setscheduler(tid, index(policy) | (_RESET if reset_on_fork else 0), parameter)


def attr(tid: int = 0) -> structs.sched_attr:
    """`sched_getattr(2)`: policy and all attributes of a thread (times in ns, utilisation 0 to 1024).

    Raises: OSError (ESRCH) when there is no such thread.
    """
    found = structs.sched_attr()
    syscalls.sched_getattr(tid, found, found.sizeof(), 0)
    return found


def set_attr(
    tid: int = 0,
    *,
    policy: int | None = None,
    priority: int | None = None,
    nice: int | None = None,
    runtime_ns: int | None = None,
    deadline_ns: int | None = None,
    period_ns: int | None = None,
    util_min: int | None = None,
    util_max: int | None = None,
    flags: int = 0,
) -> None:
    """`sched_setattr(2)`: change what is given; what is None stays as it is.

    SCHED_DEADLINE takes `runtime_ns` <= `deadline_ns` <= `period_ns`. `util_min` and `util_max` clamp the utilisation
    (0 to 1024, -1 for the default) that the frequency follows. `flags` are SCHED_FLAG_* beyond those that follow from
    the arguments.

    Raises: OSError: EPERM without CAP_SYS_NICE, EINVAL, EBUSY when the CPUs cannot carry the deadline, EOPNOTSUPP where
    the kernel has no clamps.
    """
    wanted = structs.sched_attr(sched_policy=policy) if policy is not None else attr(tid)
    wanted.size = structs.sched_attr.SIZE_VER0
    wanted.sched_flags |= flags
    given = {"nice": nice, "priority": priority, "runtime": runtime_ns, "deadline": deadline_ns, "period": period_ns}
    if policy is None and not any(value is not None for value in given.values()):
        wanted.sched_flags |= 0x18  # KEEP_ALL: clamps alone touch nothing else
    for field, value in given.items():
        if value is not None:
            setattr(wanted, f"sched_{field}", value)
    for field, bit, value in (("util_min", 0x20, util_min), ("util_max", 0x40, util_max)):
        if value is not None:
            wanted.size = structs.sched_attr.SIZE_VER1
            wanted.sched_flags |= bit
            setattr(wanted, f"sched_{field}", value & 0xFFFFFFFF)
    syscalls.sched_setattr(tid, wanted, 0)


# ---- nice and name ----


def nice(tid: int = 0) -> int:
    """`getpriority(2)`: the nice value of a thread, -20 (served first) to 19.

    Raises: OSError (ESRCH) when there is no such thread.
    """
    return 20 - syscalls.getpriority(0, tid)


def set_nice(value: int, tid: int = 0) -> None:
    """`setpriority(2)`: the nice value of a thread; the kernel limits it to -20..19.

    Raises: OSError: EACCES for a lower value than now without CAP_SYS_NICE (or room in RLIMIT_NICE), ESRCH.
    """
    syscalls.setpriority(0, tid, value)


def checked_name(text: str | bytes) -> bytes:
    """A thread's name as the kernel takes it.

    Raises: OSError (ERANGE) above 15 bytes, which the kernel would cut without a word; ValueError for a NUL in it.
    """
    encoded = os.fsencode(text)
    if len(encoded) > 15:
        raise OSError(_ERANGE, f"a thread's name has up to 15 bytes, {text!r} has {len(encoded)}")
    if b"\0" in encoded:
        raise ValueError(f"embedded null byte in the name {text!r}")
    return encoded


def name(tid: int = 0) -> str:
    """`prctl(2)`, PR_GET_NAME: the name of a thread, up to 15 bytes; of another one through /proc.

    Bytes that are no UTF-8 come as in file names (`os.fsdecode`); a newline in it is kept.

    Raises: OSError (ENOENT, ESRCH) when there is no such thread.
    """
    if tid in (0, raw.gettid()):
        memory = bytearray(16)
        syscalls.prctl(16, memory, 0, 0, 0)
        return os.fsdecode(bytes(memory).split(b"\0", 1)[0])
    with open(f"/proc/{index(tid)}/comm", "rb") as file:
        return os.fsdecode(file.read()[:-1])


def set_name(text: str | bytes, tid: int = 0) -> None:
    """`prctl(2)`, PR_SET_NAME: name a thread of this process, as `ps -L` and `top -H` show it.

    Raises: OSError: ERANGE above 15 bytes, EINVAL or EACCES for a thread of another process, ENOENT; ValueError for NUL.
    """
    encoded = checked_name(text)
    if tid in (0, raw.gettid()):
        syscalls.prctl(15, bytearray(encoded + b"\0"), 0, 0, 0)
        return
    with open(f"/proc/self/task/{index(tid)}/comm", "wb", buffering=0) as file:
        file.write(encoded or b"\0")


# ---- where it runs ----


def getcpu() -> tuple[int, int]:
    """`getcpu(2)`: the CPU and the NUMA node that the calling thread runs on at this moment."""
    memory = bytearray(8)
    view = memoryview(memory)
    syscalls.getcpu(view[:4], view[4:], None)
    cpu, node = view.cast("I")
    return cpu, node


def sched_yield() -> None:
    """`sched_yield(2)`: let threads of the same priority on this CPU run first; the GIL is released meanwhile."""
    syscalls.sched_yield()
