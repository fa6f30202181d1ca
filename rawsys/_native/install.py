"""Puts the compiled built-ins and types where they belong."""

from __future__ import annotations

from types import ModuleType

from rawsys._shim import lib


def install(module: ModuleType, family: str) -> None:
    """Add the built-ins of one family to `module`: they are methods of the module object, as if it were written in C."""
    if lib.rawsys_install(id(module), family.encode()) < 0:
        raise ImportError(f"rawsys: the compiled module could not set up its {family}")
