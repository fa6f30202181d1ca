"""Atomics, and locks made of them: within a process, or ``at(buffer, offset)`` between processes that share memory::

    counter = AtomicU64()                  # fetch_add(1) at the cost of a method call
    lock = Mutex()                         # with lock: ...
    lock = Mutex.at(memory, 64)            # the same between processes; a dead owner is OwnerDiedError, not a hang

Taking and releasing what nobody contends for makes no system call. Waiting releases the GIL and lets Python's signal
handlers run, which may raise (Ctrl-C). Timeouts are seconds, None for ever, 0 not at all.

Only `Mutex` knows who holds it. The others are words in memory: a thread or process that ends while it holds or waits
leaves them as they are, and what a forked child inherits of a private one is the state at the fork. Each class says what
that means for it. What lies at `at(buffer, offset)` takes `SIZE` bytes, zeroed before first use, at a multiple of 8.
"""

from __future__ import annotations

from rawsys._native.atomic import AtomicBool, AtomicI64, AtomicU32, AtomicU64
from rawsys._native.lock import Mutex
from rawsys.sync.counting import Barrier, Event, Once, Semaphore
from rawsys.sync.guarding import Condition, RWLock

__all__ = [
    "AtomicBool",
    "AtomicI64",
    "AtomicU32",
    "AtomicU64",
    "Barrier",
    "Condition",
    "Event",
    "Mutex",
    "Once",
    "RWLock",
    "Semaphore",
]
