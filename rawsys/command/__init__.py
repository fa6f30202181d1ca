"""Programs started as processes: `Command`, the `Child` that it gives, and where its streams go::

    status = Command("sh", "-c", "exit 3").run()
    out = Command("date").output(text=True)
    with Command("cat", stdin=PIPE, stdout=PIPE).spawn() as child: ...

A command is started as often as one likes, from any thread.
"""

from __future__ import annotations

from rawsys.command.child import Child
from rawsys.command.command import Command, Output
from rawsys.command.identity import Capabilities
from rawsys.command.stdio import INHERIT, NULL, PIPE, STDOUT

__all__ = ["INHERIT", "NULL", "PIPE", "STDOUT", "Capabilities", "Child", "Command", "Output"]
