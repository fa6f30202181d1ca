"""Timeouts: seconds as int or float, None for ever, 0 for not at all; the clock is the monotonic one."""

from __future__ import annotations

import time

_LONGEST_NS = 2**63 - 1


def nanoseconds(timeout: float | None) -> int | None:
    """The timeout in whole nanoseconds, rounded up so that nobody returns early; None is for ever."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"a timeout is a number of seconds or None, not {type(timeout).__name__}")
    if not timeout >= 0:  # NaN compares false too
        raise ValueError(f"a timeout cannot be negative or NaN, got {timeout}")
    if timeout >= _LONGEST_NS // 1_000_000_000:  # also infinity, of which the product below would make NaN
        return _LONGEST_NS
    return int(-(-timeout * 1_000_000_000 // 1))


class Deadline:
    """A point in monotonic time, or never; what is left of it is asked again after each interruption."""

    __slots__ = ("_end",)

    def __init__(self, timeout: float | None) -> None:
        limit = nanoseconds(timeout)
        self._end = None if limit is None else time.monotonic_ns() + limit

    def left_ns(self) -> int | None:
        """Nanoseconds until then, never negative; None for never."""
        return None if self._end is None else max(0, self._end - time.monotonic_ns())

    def timespec(self) -> bytes | None:
        """What is left as a ``struct timespec``; None for never, which the kernel takes as NULL."""
        left = self.left_ns()
        if left is None:
            return None
        seconds, rest = divmod(min(left, _LONGEST_NS), 1_000_000_000)
        return seconds.to_bytes(8, "little") + rest.to_bytes(8, "little")
