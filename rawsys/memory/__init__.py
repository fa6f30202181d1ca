"""Memory that is owned: mappings, memory files, memory shared between processes, and the memory of other processes.

`Mapping` owns a range of this process's memory.  `SharedMemory` is one that other processes map too, found by a
descriptor or a name.  `memfd` makes a file in memory, which can be sealed.  `read_memory` and `write_memory` copy from and
to another process.  `auxv` tells what the kernel told this program when it began::

    with Mapping(4096, guard=True) as memory:
        memory[:5] = b"hello"

A buffer of a mapping goes wherever a buffer is taken: to calls, to `memoryview`, to atomics and locks.  While one lives,
the mapping cannot be closed, moved or deprived of rights.

Protections are ``NONE``, ``READ``, ``WRITE``, ``EXEC`` here, the ``PROT_*`` of `rawsys.constants`; advice and seals are its
``MADV_*`` and ``F_SEAL_*``.  Out of scope: /proc/PID/pagemap and userfaultfd.
"""

from __future__ import annotations

from rawsys.memory.mapping import Mapping
from rawsys.memory.remote import read_memory, read_memory_into, read_memory_vector, write_memory, write_memory_vector
from rawsys.memory.shared import SharedMemory, memfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.constants import PROT_EXEC as EXEC
    from rawsys.constants import PROT_NONE as NONE
    from rawsys.constants import PROT_READ as READ
    from rawsys.constants import PROT_WRITE as WRITE
    from rawsys.memory.auxiliary import AuxiliaryVector, auxv

__all__ = [
    "EXEC",
    "NONE",
    "READ",
    "WRITE",
    "AuxiliaryVector",
    "Mapping",
    "SharedMemory",
    "auxv",
    "memfd",
    "read_memory",
    "read_memory_into",
    "read_memory_vector",
    "write_memory",
    "write_memory_vector",
]


def __getattr__(name: str) -> object:
    value: object
    if name in ("NONE", "READ", "WRITE", "EXEC"):  # the class behind them costs milliseconds to build
        from rawsys import constants

        value = getattr(constants, f"PROT_{name}")
    elif name in ("AuxiliaryVector", "auxv"):
        from rawsys.memory import auxiliary

        value = getattr(auxiliary, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    globals()[name] = value
    return value
