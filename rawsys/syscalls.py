"""Every system call by name, checked: OSError for what the kernel refuses, an Fd for a new descriptor.

Each function is a built-in with the kernel's name and argument order, made from one row of
`rawsys.table`.  EINTR is reported as InterruptedError, not retried: see the owners (`rawsys.Fd`) for that.

Safety: an int in the place of memory is an address and is passed on unchecked.
"""

from __future__ import annotations

import sys

from rawsys._native.install import install

install(sys.modules[__name__], "checked")


def __getattr__(name: str) -> object:
    from rawsys.errors import no_such_call

    raise no_such_call(__name__, name)


__all__ = sorted(name for name, value in globals().items() if type(value) is type(len))  # noqa: PLE0605 - built-ins only
del sys, install
