"""Sets of signals, the kernel's mask as a value; `Signal` itself is among the constants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from rawsys.constants import Signal

__all__ = ["Signal", "SignalSet"]

_LIBC = 1 << (32 - 1) | 1 << (33 - 1)
_ALL = (1 << 64) - 1
_FULL = _ALL & ~_LIBC


class SignalSet(AbstractSet[Signal]):
    """An immutable set of signals, with set algebra (``| & - ^ ~``), in the order of their numbers.

    Made of signals, ints and names: ``SignalSet([SIGINT, 15, "SIGRTMIN+1"])``. It equals any set of the same signals,
    and ``~`` gives the signals that are not in it, never libc's own 32 and 33.

    Raises: ValueError for what is no signal, 32 and 33 included; TypeError for bool, float, bytes, and a signal alone.
    """

    __slots__ = ("_mask",)

    _mask: int

    def __init__(self, signals: Iterable[Signal | int | str] = ()) -> None:
        if isinstance(signals, SignalSet):
            mask = signals._mask
        elif isinstance(signals, (str, int)):
            one = signals.name if isinstance(signals, Signal) else repr(signals)
            raise TypeError(f"a set of signals is an iterable of them, not one alone: SignalSet([{one}])")
        elif isinstance(signals, (bytes, bytearray, memoryview)):  # iterable, but of what nobody meant
            raise TypeError("a set of signals is not bytes; SignalSet.from_bytes() reads the kernel's eight")
        else:
            mask = 0
            for signal in signals:
                mask |= _bit(_signal(signal))
        object.__setattr__(self, "_mask", mask)

    @classmethod
    def full(cls) -> SignalSet:
        """All signals, without libc's own 32 and 33."""
        return cls.from_mask(_FULL)

    @classmethod
    def from_mask(cls, mask: int) -> SignalSet:
        """The set for a mask of the kernel, in which signal n is bit n-1.

        The bits of 32 and 33 are left out: the kernel tells them (`SigCgt` in `/proc/PID/status` has both), a set that
        is given back to it must not have them.

        Raises: OverflowError for a mask that is not 64 bits.
        """
        if not 0 <= mask <= _ALL:
            raise OverflowError(f"a signal mask has 64 bits, got {mask:#x}")
        made = cls.__new__(cls)
        object.__setattr__(made, "_mask", mask & _FULL)
        return made

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> SignalSet:
        """The set for the 8 bytes that the kernel writes.

        Raises: ValueError for another length.
        """
        if len(data) != 8:
            raise ValueError(f"the kernel's signal mask has 8 bytes, got {len(data)}")
        return cls.from_mask(int.from_bytes(data, "little"))

    @property
    def mask(self) -> int:
        """The kernel's mask: signal n is bit n-1."""
        return self._mask

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the signals in order."""
        return tuple(signal.name for signal in self)

    def to_bytes(self) -> bytes:
        """The 8 bytes that calls take as a mask, with 8 as its size."""
        return self._mask.to_bytes(8, "little")

    def __bytes__(self) -> bytes:
        return self.to_bytes()

    def __contains__(self, signal: object) -> bool:
        if isinstance(signal, str):
            try:
                signal = Signal.named(signal)
            except ValueError:
                return False
        if isinstance(signal, bool) or not isinstance(signal, int) or not 0 < signal <= 64:
            return False
        return bool(self._mask & _bit(signal))

    def __iter__(self) -> Iterator[Signal]:
        rest = self._mask
        while rest:
            number = (rest & -rest).bit_length()
            rest &= rest - 1
            yield Signal(number)

    def __len__(self) -> int:
        return self._mask.bit_count()

    def __and__(self, other: Iterable[object]) -> SignalSet:
        mask = _mask_of(other)
        return NotImplemented if mask is None else self.from_mask(self._mask & mask)

    def __or__(self, other: Iterable[object]) -> SignalSet:
        mask = _mask_of(other)
        return NotImplemented if mask is None else self.from_mask(self._mask | mask)

    def __xor__(self, other: Iterable[object]) -> SignalSet:
        mask = _mask_of(other)
        return NotImplemented if mask is None else self.from_mask(self._mask ^ mask)

    def __sub__(self, other: Iterable[object]) -> SignalSet:
        mask = _mask_of(other)
        return NotImplemented if mask is None else self.from_mask(self._mask & ~mask)

    def __rsub__(self, other: Iterable[object]) -> SignalSet:
        mask = _mask_of(other)
        return NotImplemented if mask is None else self.from_mask(mask & ~self._mask)

    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def __invert__(self) -> SignalSet:
        return self.from_mask(_FULL & ~self._mask)

    def __eq__(self, other: object) -> bool:
        return self._mask == other._mask if isinstance(other, SignalSet) else super().__eq__(other)

    def __hash__(self) -> int:
        # Equal to a frozenset of the same signals, so the hash must be that of one.
        return hash(frozenset(self))

    def __repr__(self) -> str:
        return f"SignalSet({{{', '.join(self.names)}}})" if self._mask else "SignalSet()"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a SignalSet cannot be changed: {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a SignalSet cannot be changed: {name!r}")

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return type(self).from_mask, (self._mask,)


def _signal(value: object) -> Signal:
    if isinstance(value, str):
        return Signal.named(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a signal is a Signal, an int or a name, not {type(value).__name__}")
    return Signal(value)


def _bit(signal: int) -> int:
    return 1 << (signal - 1)


def _mask_of(other: object) -> int | None:
    if isinstance(other, SignalSet):
        return other._mask
    if isinstance(other, str) or not isinstance(other, Iterable):
        return None
    return SignalSet(other)._mask
