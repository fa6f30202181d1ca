"""Which CPUs there are, and how they lie to each other, from /sys/devices/system/cpu."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

_BASE = "/sys/devices/system/cpu"
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Cache(NamedTuple):
    """A cache of a CPU; sizes in bytes, None for what the kernel does not tell."""

    level: int
    """1 for the one next to the CPU."""
    kind: str
    """``Data``, ``Instruction`` or ``Unified``."""
    size: int | None
    """Bytes."""
    line_size: int | None
    """Bytes of a line."""
    shared_with: frozenset[int]
    """The CPUs that use it, this one included."""


class Cpu(NamedTuple):
    """Where a CPU lies; None for what the kernel does not tell (an offline CPU, a container without /sys)."""

    number: int
    """As in an affinity."""
    core: int | None
    """Number of the core within its package."""
    package: int | None
    """Number of the socket."""
    node: int | None
    """NUMA node."""
    siblings: frozenset[int]
    """CPUs on the same core (hyper-threads), this one included."""
    caches: tuple[Cache, ...]
    """The caches that serve it, the nearest first."""


class Cpus(NamedTuple):
    """The CPUs of this machine: numbers that the calling thread may run on, that are online, and each one's place."""

    allowed: frozenset[int]
    """Those that the calling thread may run on."""
    online: frozenset[int]
    """Those that are there and switched on."""
    topology: dict[int, Cpu]
    """Where each one online lies, by its number."""


def parse_list(text: str) -> frozenset[int]:
    """The kernel's list format: ``"0-3,8"`` is {0, 1, 2, 3, 8}; empty is the empty set.

    Raises: ValueError for something else.
    """
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def cpus() -> Cpus:
    """The CPUs that are allowed to the calling thread, those online, and the topology of each one online.

    `allowed` is the calling thread's affinity, which the cpuset has trimmed already; it may be changed at any time.
    """
    from rawsys.sched import affinity

    allowed = affinity()
    online = _Files([f"{_BASE}/online"]).set(f"{_BASE}/online") or allowed
    return Cpus(allowed, online, _topology(sorted(online)))


class _Files:
    """Small files under /sys by path; what is not there, or cannot be read, is not in it."""

    def __init__(self, paths: list[str]) -> None:
        self._text: dict[str, str] = {}
        for path in paths:
            with suppress(OSError), open(path) as file:
                self._text[path] = file.read().strip()

    def text(self, path: str) -> str | None:
        return self._text.get(path)

    def number(self, path: str) -> int | None:
        text = self._text.get(path, "")
        return int(text) if text.lstrip("-").isdigit() else None

    def set(self, path: str) -> frozenset[int]:
        return parse_list(self._text.get(path, ""))


_PLACE = ("topology/core_id", "topology/physical_package_id", "topology/thread_siblings_list")
_CACHE = ("level", "type", "size", "coherency_line_size", "shared_cpu_list")
_MOST_CACHES = 8  # index0 to index7: an x86 has at most four or five


def _topology(numbers: list[int]) -> dict[int, Cpu]:
    paths = [f"{_BASE}/cpu{n}/{name}" for n in numbers for name in _PLACE]
    paths += [f"{_BASE}/cpu{n}/cache/index{k}/{name}" for n in numbers for k in range(_MOST_CACHES) for name in _CACHE]
    files, nodes = _Files(paths), _nodes()
    return {n: _cpu(n, files, nodes) for n in numbers}


def _cpu(number: int, files: _Files, nodes: dict[int, int]) -> Cpu:
    base = f"{_BASE}/cpu{number}"
    caches = (_cache(f"{base}/cache/index{k}", files) for k in range(_MOST_CACHES))
    return Cpu(
        number,
        files.number(f"{base}/topology/core_id"),
        files.number(f"{base}/topology/physical_package_id"),
        nodes.get(number),
        files.set(f"{base}/topology/thread_siblings_list"),
        tuple(cache for cache in caches if cache),
    )


def _cache(base: str, files: _Files) -> Cache | None:
    level = files.number(f"{base}/level")
    if level is None:
        return None
    size = files.text(f"{base}/size")
    bytes_ = int(size[:-1]) * _UNITS[size[-1]] if size and size[-1] in _UNITS else None
    shared = files.set(f"{base}/shared_cpu_list")
    return Cache(level, files.text(f"{base}/type") or "", bytes_, files.number(f"{base}/coherency_line_size"), shared)


def _nodes() -> dict[int, int]:
    """The NUMA node of each CPU; empty where the kernel was built without NUMA."""
    base = "/sys/devices/system/node"
    online = _Files([f"{base}/online"]).set(f"{base}/online")
    files = _Files([f"{base}/node{node}/cpulist" for node in online])
    return {cpu: node for node in online for cpu in files.set(f"{base}/node{node}/cpulist")}
