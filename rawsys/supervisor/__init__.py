"""A process supervisor, built on the rest of rawsys as anybody could build one::

    s = Supervisor()
    s.add(Service("worker", ["sleep", "10"], restart=Restart("always", limit=3, window=None, retry_after=None)))
    s.on_event(print)
    sys.exit(s.run())

What an instance does in each of its states when something happens is one table (`rawsys.supervisor.table`).  The loop
turns descriptors into events, and it alone waits: pidfds, pipes, one timer.  Nothing ticks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.supervisor.change import Change, Notice
    from rawsys.supervisor.client import Client, ControlError, NoSupervisorError
    from rawsys.supervisor.config import Config, ConfigError, load
    from rawsys.supervisor.health import Probe
    from rawsys.supervisor.listening import ListenSocket
    from rawsys.supervisor.logs import Log
    from rawsys.supervisor.restart import Restart
    from rawsys.supervisor.service import Ready, Service
    from rawsys.supervisor.supervisor import Supervisor
    from rawsys.supervisor.table import TABLE, Event, State

_HOME = {
    "Change": "change", "Client": "client", "Config": "config", "ConfigError": "config", "ControlError": "client",
    "Event": "table", "ListenSocket": "listening", "Log": "logs", "NoSupervisorError": "client", "Notice": "change",
    "Probe": "health", "Ready": "service", "Restart": "restart", "Service": "service", "State": "table",
    "Supervisor": "supervisor", "TABLE": "table", "load": "config",
}  # fmt: skip

__all__ = [
    "TABLE",
    "Change",
    "Client",
    "Config",
    "ConfigError",
    "ControlError",
    "Event",
    "ListenSocket",
    "Log",
    "NoSupervisorError",
    "Notice",
    "Probe",
    "Ready",
    "Restart",
    "Service",
    "State",
    "Supervisor",
    "load",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'rawsys.supervisor' has no attribute {name!r}", name=name)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"rawsys.supervisor.{_HOME[name]}"), name)
    return value
