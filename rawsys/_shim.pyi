"""The compiled module as cffi gives it; what it declares is csrc/shim.cdef."""

from typing import Protocol

import _cffi_backend

class _Lib(Protocol):
    def rawsys_install(self, module: int, family: bytes, /) -> int: ...

lib: _Lib
ffi: _cffi_backend.FFI
