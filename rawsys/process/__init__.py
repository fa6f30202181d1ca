"""Processes: `fork`, `Pid` (a process held by its pidfd), `ExitStatus`, limits and credentials.

To start a program, see `rawsys.command`.
"""

from __future__ import annotations

from rawsys.process.forking import fork
from rawsys.process.pid import Pid
from rawsys.process.status import ExitStatus, Usage
from rawsys.process.waiting import wait_all, wait_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.process.identity import (
        Credentials,
        credentials,
        new_session,
        parent_death_signal,
        process_group,
        session,
        set_parent_death_signal,
        set_process_group,
        set_subreaper,
        subreaper,
    )
    from rawsys.process.limits import Limit, rlimit, set_rlimit

_LATE = {
    **dict.fromkeys(("Limit", "rlimit", "set_rlimit"), "limits"),
    **dict.fromkeys(
        (
            "Credentials", "credentials", "new_session", "parent_death_signal", "process_group", "session",
            "set_parent_death_signal", "set_process_group", "set_subreaper", "subreaper",
        ),
        "identity",
    ),
}  # fmt: skip

__all__ = [
    "Credentials",
    "ExitStatus",
    "Limit",
    "Pid",
    "Usage",
    "credentials",
    "fork",
    "new_session",
    "parent_death_signal",
    "process_group",
    "rlimit",
    "session",
    "set_parent_death_signal",
    "set_process_group",
    "set_rlimit",
    "set_subreaper",
    "subreaper",
    "wait_all",
    "wait_any",
]


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module 'rawsys.process' has no attribute {name!r}", name=name)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"rawsys.process.{_LATE[name]}"), name)
    return value
