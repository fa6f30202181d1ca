"""The C core of threads, and how a native body's function and argument become addresses."""

from __future__ import annotations

import sys

from rawsys._native import handle  # noqa: F401  # the fork generation comes with it
from rawsys._native.install import install

install(sys.modules[__name__], "threads")


def native_body(body, argument):
    """Address of the function, address (or number) of its argument, and what has to live as long as the thread."""
    if type(body) is NativeBody:  # noqa: F821  # installed above
        if argument is not None:
            raise TypeError("this body brings its own argument")
        return *body._places, body
    entry = _address(body, "a native body", function=True)
    if entry == 0:
        raise ValueError("a native body at address 0 cannot run")
    place, keep = _argument(argument)
    return entry, place, (body, argument, keep)


def _argument(argument):
    if argument is None:
        return 0, None
    if not _is_pointer(argument) and not hasattr(type(argument), "__index__"):
        from rawsys._native.buffers import Pinned

        pinned = Pinned([argument], writable=True)
        return pinned.place(0)[0], pinned
    return _address(argument, "a native body's argument") & (1 << 64) - 1, None


def _is_pointer(value):
    ctypes = sys.modules.get("ctypes")
    simple = ctypes and isinstance(value, (ctypes._Pointer, ctypes._CFuncPtr, ctypes.c_void_p, ctypes.c_char_p))
    return simple or isinstance(value, _cdata())


def _cdata():
    import _cffi_backend

    return _cffi_backend._CDataBase


def _address(value, what, function=False):
    if isinstance(value, _cdata()):
        from rawsys._shim import ffi

        return int(ffi.cast("uintptr_t", value))
    ctypes = sys.modules.get("ctypes")
    if ctypes and isinstance(value, (ctypes._Pointer, ctypes._CFuncPtr, ctypes.c_void_p, ctypes.c_char_p)):
        return ctypes.cast(value, ctypes.c_void_p).value or 0
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(
            f"{what} is an address, a cffi or ctypes pointer{' or a Program' * function}, not {type(value).__name__}"
        )
    number = value.__index__()
    if not -(1 << 63) <= number < 1 << 64 or (function and number < 0):
        raise OverflowError(f"{what}: {number} is no address of 64 bits")
    return number
