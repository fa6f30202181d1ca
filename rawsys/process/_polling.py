"""Waiting on descriptors by ppoll, with nanoseconds, again after each signal whose handler did not raise."""

from __future__ import annotations

from rawsys import raw
from rawsys.fd._calls import Number, fail
from rawsys.process import _numbers as n

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rawsys._timeouts import Deadline
    from rawsys._types import Descriptor


def poll(waits: Sequence[tuple[Descriptor, int]], deadline: Deadline) -> list[int]:
    """What happened on each descriptor: its POLL bits, POLLHUP and POLLERR among them; all 0 when time is up."""
    numbers = [Number(fd) for fd, _ in waits]
    try:
        memory = bytearray(8 * len(waits))
        fields = memoryview(memory).cast("i")
        for i, number in enumerate(numbers):
            fields[2 * i] = number.value
            fields[2 * i + 1] = waits[i][1]
        while True:
            left = deadline.timespec()
            time = None if left is None else bytearray(left)
            answer = raw.ppoll(memory, len(waits), time, None, 8)
            if answer >= 0:
                return [fields[2 * i + 1] >> 16 & 0xFFFF for i in range(len(waits))]
            if answer != -n.EINTR:
                fail("ppoll", (memory, len(waits), time, None, 8), answer)
    finally:
        for number in numbers:
            number.release()
