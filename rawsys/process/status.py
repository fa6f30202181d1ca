"""How a process ended, and what it used."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.constants import Signal


class Usage(NamedTuple):
    """What a process and the children that it waited for used: `getrusage(2)`."""

    user_time: float
    """Seconds of processor time in the program."""
    system_time: float
    """Seconds of processor time in the kernel."""
    max_rss: int
    """The most memory that was resident at once, in bytes."""
    minor_faults: int
    """Page faults that memory could serve."""
    major_faults: int
    """Page faults with a read from a device."""
    blocks_in: int
    """Reads from devices, in blocks of 512 bytes."""
    blocks_out: int
    """Writes to devices, in blocks of 512 bytes."""
    voluntary_switches: int
    """How often it gave the processor away."""
    involuntary_switches: int
    """How often the processor was taken from it."""

    @classmethod
    def from_bytes(cls, data: bytes | bytearray) -> Usage:
        """The meaning of a ``struct rusage`` (144 bytes)."""
        words = memoryview(data).cast("q")
        # Between these stand words that Linux leaves 0: memory integrals (5 to 7), swaps (10), messages and signals (13 to 15).
        return cls(
            words[0] + words[1] / 1e6,
            words[2] + words[3] / 1e6,
            words[4] * 1024,
            words[8],
            words[9],
            words[11],
            words[12],
            words[16],
            words[17],
        )


class ExitStatus:
    """How a process ended: `wait(2)`.  Immutable; two are equal when their `raw` numbers are.

    ``ExitStatus(raw)`` takes a wait status as the kernel writes it: ``code << 8``, or the number of the signal, and 128
    more when a core was dumped.  It prints as ``exited with 3`` or ``killed by SIGKILL (core dumped)``.

    Raises ValueError for a status that says stopped or continued, which is not an end.
    """

    __slots__ = ("_usage", "raw")

    raw: int
    """The wait status as the kernel writes it."""

    def __init__(self, raw: int, usage: bytes | bytearray | Usage | None = None) -> None:
        if not isinstance(raw, int):
            raise TypeError(f"a wait status is an int, not {type(raw).__name__}")
        if not 0 <= raw <= 0xFFFF or raw & 0x7F == 0x7F or (raw & 0x7F and raw >> 8):
            raise ValueError(f"{raw:#x} is not the status of a process that has ended")
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "_usage", usage)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an ExitStatus cannot be changed: {name}")

    def __reduce__(self) -> tuple[type[ExitStatus], tuple[int, Usage | None]]:
        return ExitStatus, (self.raw, self.rusage)

    @property
    def code(self) -> int | None:
        """The number that it exited with, 0 to 255; None when it was killed."""
        return None if self.raw & 0x7F else self.raw >> 8

    @property
    def signal(self) -> Signal | int | None:
        """The signal that killed it; None when it exited.  A plain int for 32 and 33, which libc keeps for itself."""
        number = self.raw & 0x7F
        if not number or number in (32, 33):  # these two are no Signal, but they kill whoever has no handler of libc's
            return number or None
        from rawsys.constants import Signal

        return Signal(number)

    @property
    def core_dumped(self) -> bool:
        """True when the kernel wrote a core of it."""
        return bool(self.raw & 0x80)

    @property
    def success(self) -> bool:
        """True when it exited with 0."""
        return self.raw == 0

    @property
    def rusage(self) -> Usage | None:
        """What it and the children that it waited for used; None when somebody else reaped it."""
        usage = self._usage
        if isinstance(usage, (bytes, bytearray)):
            usage = Usage.from_bytes(usage)
            object.__setattr__(self, "_usage", usage)
        return usage

    _usage: bytes | bytearray | Usage | None

    def check(self) -> ExitStatus:
        """This status if it is 0.

        Raises ExitError otherwise.
        """
        if self.raw:
            from rawsys.errors import ExitError

            raise ExitError(self)
        return self

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, ExitStatus) else NotImplemented

    def __hash__(self) -> int:
        return hash((ExitStatus, self.raw))

    def __str__(self) -> str:
        signal = self.signal
        if signal is None:
            return f"exited with {self.code}"
        name = getattr(signal, "name", None) or f"signal {int(signal)}"
        return f"killed by {name}{' (core dumped)' if self.core_dumped else ''}"

    def __repr__(self) -> str:
        return f"<ExitStatus: {self}>"
