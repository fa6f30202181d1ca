"""Puts the compiled built-ins and types where they belong."""

from __future__ import annotations

from types import ModuleType

from rawsys._shim import lib

_WHAT = {"types": 0, "raw": 1, "checked": 2, "top": 3, "program": 4, "signals": 12}


def install(module: ModuleType, what: str) -> None:
    """Add the built-ins of one family to `module`: they are methods of the module object, as if it were written in C."""
    if lib.rawsys_install(id(module), _WHAT[what]) < 0:
        raise ImportError(f"rawsys: the compiled module could not set up its {what}")
