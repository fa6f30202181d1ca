"""What the kernel says of a child in a siginfo, and what a signal with a value carries in one."""

from __future__ import annotations

import os

from rawsys.process import _numbers as n
from rawsys.process.status import ExitStatus


def ended(info: bytearray, usage: bytearray) -> ExitStatus:
    """The status in a siginfo of waitid: code at 8, number, which is below 256, at 24."""
    if info[8] == n.CLD_EXITED:
        return ExitStatus(info[24] << 8, usage)
    return ExitStatus(info[24] | (0x80 if info[8] == n.CLD_DUMPED else 0), usage)


def queued(signal: int, value: int) -> bytearray:
    """A siginfo as sigqueue makes it."""
    if not -(2**63) <= value < 2**64:
        raise OverflowError(f"a signal's value has 64 bits, {value} does not fit")
    info = bytearray(128)
    info[0:4] = int(signal).to_bytes(4, "little", signed=True)
    info[8:12] = n.SI_QUEUE.to_bytes(4, "little", signed=True)
    info[16:20] = os.getpid().to_bytes(4, "little")
    info[20:24] = os.getuid().to_bytes(4, "little")
    info[24:32] = (value % 2**64).to_bytes(8, "little")
    return info
