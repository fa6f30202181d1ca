"""Sets of small numbers as the kernel keeps them: signals, descriptors, processors."""

from __future__ import annotations

import ctypes

from rawsys.structs._base import KernelStruct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class BitSet(KernelStruct):
    """A set of numbers, one bit each; the first bit is number `FIRST`. Made from any iterable of ints."""

    FIRST = 0

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        super().__init__()
        for number in numbers:
            self.add(number)

    def _place(self, number: int) -> tuple[memoryview, int, int]:
        bit = number - self.FIRST
        if isinstance(number, bool) or not 0 <= bit < 8 * ctypes.sizeof(self):
            last = self.FIRST + 8 * ctypes.sizeof(self) - 1
            raise ValueError(f"{type(self).__name__} holds {self.FIRST} to {last}, not {number!r}")
        return memoryview(self).cast("B"), bit >> 3, 1 << (bit & 7)

    def add(self, number: int) -> None:
        """Put a number in."""
        view, byte, bit = self._place(number)
        view[byte] |= bit

    def discard(self, number: int) -> None:
        """Take a number out, if it is in."""
        view, byte, bit = self._place(number)
        view[byte] &= ~bit

    def __contains__(self, number: int) -> bool:
        view, byte, bit = self._place(number)
        return bool(view[byte] & bit)

    def __iter__(self) -> Iterator[int]:
        value = int.from_bytes(bytes(self), "little")
        return iter([n + self.FIRST for n in range(value.bit_length()) if value >> n & 1])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)})"
