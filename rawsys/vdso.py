"""The clock, the processor and random bytes without a system call, by the library that the kernel maps into every process.

The functions are found by a reader of our own in the image that the auxiliary vector points to (AT_SYSINFO_EHDR).  Where
there is no image, or not this function in it, the system call is made; `way` says which of the two it is.
See `vdso(7)`.
"""

from __future__ import annotations

import sys

# ruff: noqa: F821, F822 - the built-ins are installed, not written here
from rawsys._native import handle  # noqa: F401  # the fork generation comes first
from rawsys._native.install import install

__all__ = ["address", "clock_gettime_ns", "getcpu", "getrandom", "monotonic_ns", "realtime_ns", "way"]

install(sys.modules[__name__], "vdso")

_SYMBOL = {
    "clock_gettime_ns": "__vdso_clock_gettime",
    "monotonic_ns": "__vdso_clock_gettime",
    "realtime_ns": "__vdso_clock_gettime",
    "getcpu": "__vdso_getcpu",
    "getrandom": "__vdso_getrandom",
}


def address(name: str) -> int | None:
    """Where the vDSO's function behind a function of this module lies, in [vdso]; None where it has none.

    Raises ValueError for a name that is no function of this module.
    """
    if name not in _SYMBOL:
        raise ValueError(f"{name!r} is not one of {', '.join(_SYMBOL)}")
    return _find(_SYMBOL[name], "LINUX_2.6") or None


def way(name: str) -> str:
    """How a function of this module gets its answer in this thread: "vdso", or "syscall".

    The vDSO makes the system call itself where it cannot answer: for CPU-time clocks, on a machine whose clock source
    cannot be read without privilege, and in `getrandom` while a signal handler has interrupted it.

    Raises ValueError for a name that is no function of this module.
    """
    if address(name) is None or (name == "getrandom" and not _has_state()):
        return "syscall"
    return "vdso"
