"""Addresses of Python's buffers, and the arrays of pointers that calls take: vectors, `argv`, `envp`."""

from __future__ import annotations

import ctypes
from os import fsencode
from sys import modules

from rawsys.structs._base import keep
from rawsys.structs.sockets import iovec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike
    from typing import Any

    Text = str | bytes | PathLike[str] | PathLike[bytes]

__all__ = ["address_of", "iovecs", "string_array"]


class _PyBuffer(ctypes.Structure):
    """CPython's `Py_buffer`, part of its stable ABI since 3.11. The object is a plain address here."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


# Prototypes of our own: argtypes set on ctypes.pythonapi's shared function would change it for everybody.
_get_buffer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int)(
    ("PyObject_GetBuffer", ctypes.pythonapi)
)
_release = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyBuffer_Release", ctypes.pythonapi))


def _view(buffer: Any) -> memoryview:
    try:
        return memoryview(buffer)
    except TypeError:
        if type(buffer).__module__ != "_cffi_backend":
            raise
    # cffi's own objects export no buffer; the module is loaded, since it made this one.
    return memoryview(modules["_cffi_backend"].buffer(buffer))


def _address(view: memoryview) -> int:
    found = _PyBuffer()
    _get_buffer(view, ctypes.addressof(found), 0)
    try:
        return found.buf or 0
    finally:
        _release(ctypes.addressof(found))


def pin(buffer: Any, read_only: bool, what: str) -> tuple[int, memoryview]:
    """The address of a buffer, and a view that keeps it where it is for as long as the view lives."""
    view = _view(buffer)
    if view.readonly and not read_only:
        raise TypeError(
            f"{what}: {type(buffer).__name__} is read-only and the kernel may write there; "
            "give a writable buffer, or read_only=True where the kernel only reads"
        )
    return _address(view), view


def address_of(buffer: Any) -> int:
    """The address of a buffer's memory, for a field or an argument that takes an address.

    Safety: nothing is kept alive. The caller holds the buffer, and does not resize it, for as long as the kernel
    or a structure uses the address; `KernelStruct.point()` does that by itself. The memory of a read-only buffer
    (bytes) must not be written to: Python shares it.
    """
    return _address(_view(buffer))


def iovecs(*buffers: Any, read_only: bool = False) -> ctypes.Array[iovec]:
    """An array of `iovec` over the buffers, for `readv(2)`, `writev(2)`, `process_vm_readv(2)`, ...

    The array keeps the buffers alive and their memory in place. Its length is the count that the call takes.

    Args:
        buffers: bytes-like objects; the kernel's order is theirs.
        read_only: True for the calls that only read from them (`writev`): then bytes may be given.

    Raises:
        TypeError: a read-only buffer without `read_only=True`: `readv` would write into it.
    """
    vector = iovec.array(len(buffers))
    for number, buffer in enumerate(buffers):
        address, view = pin(buffer, read_only, f"buffer {number}")
        entry = vector[number]
        entry.iov_base, entry.iov_len = address, view.nbytes
        keep(vector, number, view)
    return vector


def string_array(strings: Iterable[Text] | Mapping[str, str] | Mapping[bytes, bytes]) -> ctypes.Array[ctypes.c_uint64]:
    """The NULL-terminated array of strings that `execve(2)` takes as `argv`, and of a mapping as `envp`.

    It keeps the strings alive.

    Raises:
        ValueError: a NUL in a string, or a `=` in the name of a variable.
    """
    if hasattr(strings, "items"):
        encoded = [_variable(fsencode(name), fsencode(value)) for name, value in strings.items()]
    else:
        encoded = [fsencode(text) for text in strings]
    for text in encoded:
        if 0 in text:
            raise ValueError(f"a string for the kernel cannot hold a NUL: {text!r}")
    blob = ctypes.create_string_buffer(b"\0".join(encoded) + b"\0")
    array = (ctypes.c_uint64 * (len(encoded) + 1))()
    place = ctypes.addressof(blob)
    for number, text in enumerate(encoded):
        array[number] = place
        place += len(text) + 1
    keep(array, 0, blob)
    return array


def _variable(name: bytes, value: bytes) -> bytes:
    if not name or b"=" in name:
        raise ValueError(f"not the name of a variable: {name!r}")
    return name + b"=" + value
