"""Where the memory of a buffer lies, for structures that point to it."""

from __future__ import annotations

from rawsys._shim import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer


class Pinned:
    """The memory of one buffer: its address and length (bytes), fixed until `release()` or until this object is gone.

    Raises TypeError for what is no buffer, BufferError for one that is not contiguous, and for one that cannot be
    written to where `writable` is asked for.
    """

    __slots__ = ("_view", "address", "length")

    def __init__(self, buffer: Buffer, writable: bool = False) -> None:
        self._view = ffi.from_buffer(buffer, require_writable=writable)
        self.address = int(ffi.cast("uintptr_t", self._view))
        self.length = len(self._view)

    def release(self) -> None:
        """Let the buffer go: it may move again, and the address is void."""
        ffi.release(self._view)
