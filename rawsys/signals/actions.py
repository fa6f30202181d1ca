"""The naked `sigaction(2)`: what the kernel does with a signal, as 32 bytes."""

from __future__ import annotations

from rawsys import raw
from rawsys._native.signals import restorer
from rawsys.constants import Signal, decode
from rawsys.signals.owners import catchable
from rawsys.signals.sets import SignalSet

__all__ = ["SignalAction", "raw_sigaction"]

_SA_RESTORER = 0x04000000
_NOTHING = SignalSet()
_RESTORER = restorer()


class SignalAction:
    """What the kernel does with a signal: `handler`, `flags`, `mask` and `restorer`; the kernel's 32 bytes, unchanged.

    A value: two are equal when their bytes are.  `raw_sigaction` gives one and takes one.
    """

    __slots__ = ("_bytes",)

    _bytes: bytes

    def __init__(self, data: bytes) -> None:
        if len(data) != 32:
            raise ValueError(f"the kernel's struct sigaction has 32 bytes, got {len(data)}")
        object.__setattr__(self, "_bytes", bytes(data))

    @classmethod
    def current(cls, signal: Signal | int | str) -> SignalAction:
        """The action of a signal now.

        Raises: ValueError for what is no signal, and for libc's own 32 and 33.
        """
        (number,) = SignalSet([signal])
        old = bytearray(32)
        _checked(number, None, old)
        return cls(bytes(old))

    @property
    def handler(self) -> int:
        """SIG_DFL (0), SIG_IGN (1) or the address of a function."""
        return self._word(0)

    @property
    def flags(self) -> int:
        """The ``SA_*`` bits."""
        return self._word(1)

    @property
    def restorer(self) -> int:
        """The address that the handler returns to, where SA_RESTORER is set."""
        return self._word(2)

    @property
    def mask(self) -> SignalSet:
        """The signals that are blocked while the handler runs (without 32 and 33, which the bytes may have)."""
        return SignalSet.from_mask(self._word(3))

    def _word(self, index: int) -> int:
        return int.from_bytes(self._bytes[8 * index : 8 * index + 8], "little")

    def __bytes__(self) -> bytes:
        return self._bytes

    def __eq__(self, other: object) -> bool:
        return self._bytes == other._bytes if isinstance(other, SignalAction) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a SignalAction cannot be changed: {name!r}")

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return type(self), (self._bytes,)

    def __repr__(self) -> str:
        handler = ("SIG_DFL", "SIG_IGN")[self.handler] if self.handler < 2 else hex(self.handler)
        return f"SignalAction({handler}, {decode('SA', self.flags)}, {self.mask!r})"


def raw_sigaction(
    signal: Signal | int | str,
    handler: int | SignalAction,
    flags: int = 0,
    mask: SignalSet = _NOTHING,
) -> SignalAction:
    """`sigaction(2)`: set what the kernel does with a signal; gives what it did before.

    `handler` is SIG_DFL (0), SIG_IGN (1), the address of a function in C, or a SignalAction that was given back, which
    goes back bit for bit, whoever made it (`flags` and `mask` belong to it then).  For an address SA_RESTORER and the
    restorer of rawsys are added.  An address of 0 is SIG_DFL: the kernel cannot tell them apart.

    `signal.getsignal` does not know of it and goes on showing the handler that Python had installed, which does not run
    any more.

    Raises ValueError for SIGKILL, SIGSTOP, libc's own 32 and 33, and what is no signal; TypeError for flags or a mask
    beside a SignalAction.

    Safety: the function runs in signal context, where no Python may run, and has to stay at its address for as long as
    it is installed: a ctypes or cffi callback is no such function.
    """
    (number,) = catchable([signal])
    old = bytearray(32)
    if isinstance(handler, SignalAction):
        if flags or mask:
            raise TypeError("a SignalAction has its own flags and mask: it goes back as it is")
        new = bytes(handler)
    else:
        new = _action(handler, flags, SignalSet(mask))
    _checked(number, new, old)
    return SignalAction(bytes(old))


def _action(handler: int, flags: int, mask: SignalSet) -> bytes:
    for name, value in (("a handler", handler), ("flags", flags)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
        if not 0 <= value < 1 << 64:
            raise OverflowError(f"{name}: {value} does not fit into 64 bits")
    returns = handler > 1
    flags = flags | _SA_RESTORER if returns else flags & ~_SA_RESTORER
    words = (handler, flags, _RESTORER if returns else 0, mask.mask)
    return b"".join(int(word).to_bytes(8, "little") for word in words)


def _checked(number: int, new: bytes | None, old: bytearray) -> None:
    answer = raw.rt_sigaction(number, new, old, 8)
    if answer < 0:
        from rawsys.errors import os_error

        raise os_error("rt_sigaction", (number, new, old, 8), -answer)
