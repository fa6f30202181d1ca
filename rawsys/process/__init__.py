"""Processes: `fork`, `Pid` (a process held by its pidfd), `ExitStatus`, limits and credentials.

To start a program, see `rawsys.command`.
"""

from __future__ import annotations

from rawsys.process.fork import fork
from rawsys.process.pid import Pid
from rawsys.process.status import ExitStatus, Usage
from rawsys.process.waiting import wait_all, wait_any

__all__ = ["ExitStatus", "Pid", "Usage", "fork", "wait_all", "wait_any"]
