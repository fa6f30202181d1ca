"""Memory without the buffer protocol: cffi's pointers, and objects that give their bytes."""

from __future__ import annotations

import _cffi_backend

from rawsys._shim import ffi

_FROM_BUFFER = type(ffi.from_buffer(b""))


def memory(value: object, writable: bool) -> object:
    """What `value` is as a memory argument: a buffer, an address (int), or None where it is no memory at all.

    Memory that a cffi object owns is measured, and may be written to.  ``from_buffer`` objects are measured but
    only read: the buffer behind them may be immutable.  Any other cffi pointer is an address of unknown extent.
    """
    if isinstance(value, _cffi_backend._CDataBase):
        if type(value) is _FROM_BUFFER:
            return None if writable else ffi.buffer(value)
        if type(value) is not _cffi_backend._CDataBase and "&" not in repr(value):
            return ffi.buffer(value)
        return int(ffi.cast("uintptr_t", value))
    if not writable and hasattr(type(value), "__bytes__"):
        return bytes(value)  # type: ignore[call-overload]  # the attribute was looked up on the line above
    return None
