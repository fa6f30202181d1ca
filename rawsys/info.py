"""What this kernel offers: each call that is newer than the oldest supported kernel, probed once, harmlessly."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rawsys import raw
from rawsys.table import TABLE, Entry

_OLDEST = (5, 15)
_ENOSYS = -38


class Feature(NamedTuple):
    """One thing that depends on the kernel."""

    name: str
    since: str
    present: bool | None
    """None where it cannot be asked without an effect."""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


# Arguments with which a call fails at once on a kernel that has it, before it does anything.
_BAD: dict[str, int] = {"fd": -1, "dirfd": -1, "pid": -1, "size": 0, "flags": -1, "signal": -1, "mode": 0}


def _probe(entry: Entry) -> bool | None:
    """Whether the kernel knows the call: anything but ENOSYS.  None for a call without arguments that can be wrong."""
    if entry.status == "refused" or not any(a.kind in ("fd", "dirfd", "flags", "size") for a in entry.arguments):
        return None
    words = [None if a.direction else _BAD.get(a.kind, 0) for a in entry.arguments]
    if entry.name == "clone3":
        words[0], words[1] = bytes(8), 0  # type: ignore[call-overload]  # a structure that is too short
    return bool(getattr(raw, entry.name)(*words) != _ENOSYS)


def features() -> Iterator[Feature]:
    """The calls that came after Linux 5.15, and whether this kernel has them."""
    for entry in TABLE:
        if entry.since and _version(entry.since) > _OLDEST:
            yield Feature(entry.name, entry.since, _probe(entry))


def system() -> dict[str, str]:
    """The machine and the versions that matter in a bug report."""
    uname = os.uname()
    return {
        "kernel": f"{uname.sysname} {uname.release}",
        "machine": uname.machine,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "executable": sys.executable,
        "processors": str(len(os.sched_getaffinity(0))),
    }


def report(show: Callable[[str], None]) -> None:
    """Print both, one line each."""
    for name, value in system().items():
        show(f"{name:11} {value}")
    show("")
    show("calls newer than Linux 5.15:")
    words = {True: "yes", False: "no", None: "not asked"}
    for feature in features():
        show(f"  {feature.name:24} since {feature.since:5} {words[feature.present]}")
