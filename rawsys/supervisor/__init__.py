"""A process supervisor, built on the rest of rawsys as anybody could build one::

    s = Supervisor()
    s.add(Service("worker", ["sleep", "10"], restart=Restart("always", limit=3, window=None, retry_after=None)))
    s.on_event(print)
    sys.exit(s.run())

What an instance does in each of its states when something happens is one table (`rawsys.supervisor.table`).  The loop
turns descriptors into events, and it alone waits: pidfds, pipes, one timer.  Nothing ticks.
"""

from __future__ import annotations

from rawsys.supervisor.change import Change, Notice
from rawsys.supervisor.logs import Log
from rawsys.supervisor.restart import Restart
from rawsys.supervisor.service import Ready, Service
from rawsys.supervisor.supervisor import Supervisor
from rawsys.supervisor.table import TABLE, Event, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.supervisor.listening import ListenSocket

__all__ = [
    "TABLE",
    "Change",
    "Event",
    "ListenSocket",
    "Log",
    "Notice",
    "Ready",
    "Restart",
    "Service",
    "State",
    "Supervisor",
]


def __getattr__(name: str) -> object:
    if name != "ListenSocket":
        raise AttributeError(f"module 'rawsys.supervisor' has no attribute {name!r}", name=name)
    from rawsys.supervisor import listening

    value = globals()[name] = listening.ListenSocket
    return value
