"""What the kernel tells of processes: memory, descriptors, signals, credentials; all processes at once; pictures::

    for region in proc.maps():                 # where the memory of this process lies
        print(hex(region.start), region.kind, region.path)
    proc.Process(1).credentials().uid.effective
    proc.processes()                           # one snapshot of all, in two crossings
    print(proc.layout())                       # a drawing; proc.layout().svg() for a slide

A process is given by its number, or by an object with a `pid`; None is this one.  Sizes are bytes, times seconds.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.proc import system as system
    from rawsys.proc.landmarks import Landmark as Landmark
    from rawsys.proc.landmarks import Layout as Layout
    from rawsys.proc.landmarks import layout as layout
    from rawsys.proc.process import Process as Process
    from rawsys.proc.records import *  # noqa: F403 - the topic's own __all__
    from rawsys.proc.regions import KINDS as KINDS
    from rawsys.proc.regions import Kind as Kind
    from rawsys.proc.regions import MemoryRegion as MemoryRegion
    from rawsys.proc.regions import MemoryTotals as MemoryTotals
    from rawsys.proc.regions import Region as Region
    from rawsys.proc.snapshot import Branch as Branch
    from rawsys.proc.snapshot import Snapshot as Snapshot
    from rawsys.proc.snapshot import cpu_percent as cpu_percent
    from rawsys.proc.snapshot import pids as pids
    from rawsys.proc.snapshot import process_tree as process_tree
    from rawsys.proc.snapshot import processes as processes
    from rawsys.proc.space import maps as maps
    from rawsys.proc.space import memory_totals as memory_totals
    from rawsys.proc.space import region_at as region_at
    from rawsys.proc.space import smaps as smaps
    from rawsys.proc.stat import Stat as Stat

_NAMES = {
    "landmarks": "Landmark Layout layout",
    "process": "Process",
    "records": "Capabilities Cgroup Credentials IO Ids Mount Namespace OpenFile ProcessLimit Scheduling Statm Status",
    "regions": "KINDS Kind MemoryRegion MemoryTotals Region",
    "snapshot": "Branch Snapshot cpu_percent pids process_tree processes",
    "space": "maps memory_totals region_at smaps",
    "stat": "Stat",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted([*_HOME, "system"])  # noqa: PLE0605  # the names stand in one place


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "system":
        return import_module("rawsys.proc.system")
    if name not in _HOME:
        raise AttributeError(f"module 'rawsys.proc' has no attribute {name!r}", name=name)
    value = globals()[name] = getattr(import_module(f"rawsys.proc.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
