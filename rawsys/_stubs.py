"""Writes ``constants.pyi``, the typed face of the constants: `stub_text` is what the file has to hold."""

from __future__ import annotations

from rawsys import _catalog

_HEAD = """\
# Written from constants.tsv by rawsys._stubs; change the table, not this file.
from enum import IntEnum, IntFlag
from typing import Self

from rawsys._catalog import Constant

def family(name: str) -> type[int]: ...
def families() -> tuple[str, ...]: ...
def decode(family: str, value: int) -> str: ...
def describe(name: str) -> Constant: ...
"""

_SIGNAL = """\
    @classmethod
    def named(cls, name: str) -> Self: ...
"""


def stub_text() -> str:
    """The text of ``rawsys/constants.pyi``."""
    parts = [_HEAD]
    for family, kind in _catalog.kinds().items():
        rows = _catalog.rows(family)
        parts.append(_plain(rows) if kind == "plain" else _class(family, kind, rows))
    return "\n".join(parts)


def _plain(rows: list[_catalog.Constant]) -> str:
    return "".join(f"{row.name}: int\n" for row in rows)


def _class(family: str, kind: str, rows: list[_catalog.Constant]) -> str:
    name = _catalog.class_name(family, kind)
    members = "".join(f"    {row.name} = {row.value}\n" for row in rows)
    methods = _SIGNAL if family == "Signal" else ""
    constants = "".join(f"{row.name}: {name}\n" for row in rows)
    return f"class {name}({'IntFlag' if kind == 'flag' else 'IntEnum'}):\n{members}{methods}\n{constants}"
