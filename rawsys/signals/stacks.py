"""A stack of its own for the handlers of one thread."""

from __future__ import annotations

import warnings

from rawsys import raw
from rawsys._native.signals import minimum_stack
from rawsys.signals._here import Here
from rawsys.signals.masks import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

__all__ = ["AlternateStack", "alternate_stack"]

_PAGE = 4096
_DISABLED = b"\0" * 8 + (2).to_bytes(8, "little") + b"\0" * 8


class AlternateStack:
    """The guard that `alternate_stack` makes: the stack is there inside ``with``, in the thread that entered."""

    __slots__ = ("__weakref__", "_before", "_here", "_installed", "_mapped", "address", "size")

    _here: Here

    def __init__(self, size: int) -> None:
        self._before: bytes | None = None
        self._mapped = self.address = 0
        self._installed = False
        self.size = size

    def __enter__(self) -> Self:
        if self._before is not None:
            raise RuntimeError("this stack is in use already; make another one")
        rounded = -(-self.size // _PAGE) * _PAGE
        length = rounded + _PAGE
        # PROT_NONE first, then all but the lowest page: a handler that runs over its end faults instead of writing on.
        mapped = raw.mmap(None, length, 0, 0x20022, -1, 0)  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK
        fail("mmap", (None, length, 0, 0x20022, -1, 0), mapped if -4096 < mapped < 0 else 0)
        self._mapped, self.address, self._installed = mapped, mapped + _PAGE, False
        before = bytearray(24)
        try:
            fail("mprotect", (self.address, rounded, 3), raw.mprotect(self.address, rounded, 3))
            fail("sigaltstack", (None, before), raw.sigaltstack(None, before))
            mine, self._here, self._before = self._described(rounded), Here(), bytes(before)
            fail("sigaltstack", (mine, None), raw.sigaltstack(mine, None))
        except BaseException:
            # A Python handler may raise right after the call that made it the thread's stack: unmapped then, it would
            # kill the process at the next signal.
            self._take_back()
            raise
        self._installed = True
        return self

    def _described(self, rounded: int) -> bytes:
        return self.address.to_bytes(8, "little") + bytes(8) + rounded.to_bytes(8, "little")

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            self._here.check("the alternate stack")
            self._take_back()

    def _take_back(self) -> None:
        """The stack of before is the thread's again, and then the memory goes."""
        before, now = self._before, bytearray(24)
        if before is not None:
            back = before if not before[8] & 2 else _DISABLED
            raw.sigaltstack(None, now)
            if int.from_bytes(now[:8], "little") == self.address:
                fail("sigaltstack", (back, None), raw.sigaltstack(back, None))
            elif self._installed:
                # Somebody (faulthandler) has put another stack there, and may put this one back: its memory has to stay.
                self._before = None
                return
        self._before = None
        raw.munmap(self._mapped, -(-self.size // _PAGE) * _PAGE + _PAGE)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError(f"{self!r} cannot be copied or pickled: it belongs to one thread")

    def __del__(self) -> None:
        if getattr(self, "_before", None) is None:
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            # The thread that entered goes on using it if it is another one: then the memory has to stay.
            if self._here.mine():
                self.__exit__()

    def __repr__(self) -> str:
        state = "not in use" if self._before is None else f"at {self.address:#x} in thread {self._here.tid}"
        return f"<AlternateStack of {self.size} bytes, {state}>"


def alternate_stack(size: int | None = None) -> AlternateStack:
    """`sigaltstack(2)`: a guard inside which handlers with SA_ONSTACK run on a stack of their own, in this thread only.

    `size` in bytes is rounded up to pages; by default 64 KiB more than the kernel itself needs.  All handlers of rawsys
    and of CPython use it.  A stack overflow can be handled on it; a page below it faults.  Leaving puts back what was
    there before and frees the memory, in the same thread (RuntimeError in another one), or in a child that it forks.
    Forgotten inside, it warns and leaves.

    Raises ValueError for less than the kernel needs on this processor (AT_MINSIGSTKSZ), OSError where there is no memory.
    """
    least = minimum_stack()
    if size is None:
        size = least + (64 << 10)
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"a size is an int, not {type(size).__name__}")
    if size < least:
        raise ValueError(f"the kernel itself needs {least} bytes of a signal's stack here, {size} are too few")
    return AlternateStack(size)
