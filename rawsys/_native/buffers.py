"""Where the memory of a buffer lies, for structures that point to it."""

from __future__ import annotations

from rawsys._shim import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

_from_buffer, _cast, _release, _word = (
    ffi.from_buffer,
    ffi.cast,
    ffi.release,
    ffi.typeof("uintptr_t"),
)


class Pinned:
    """The memory of buffers as an array of ``struct iovec``, fixed until `release()` or until this object is gone.

    Raises TypeError for what is no buffer, BufferError for one that is not contiguous, and for one that cannot be
    written to where `writable` is asked for.
    """

    __slots__ = ("_views", "count", "vector")

    def __init__(self, buffers: Iterable[Buffer], writable: bool = False) -> None:
        if writable:
            self._views = [_from_buffer(buffer, require_writable=True) for buffer in buffers]
        else:
            self._views = [_from_buffer(buffer) for buffer in buffers]
        self.count = len(self._views)
        self.vector = b"".join(
            [int(_cast(_word, view)).to_bytes(8, "little") + len(view).to_bytes(8, "little") for view in self._views]
        )

    def place(self, index: int) -> tuple[int, int]:
        """Address and length (bytes) of one buffer."""
        entry = self.vector[16 * index : 16 * index + 16]
        return int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:], "little")

    def release(self) -> None:
        """Let the buffers go: they may move again, and the addresses are void."""
        for view in self._views:
            _release(view)
