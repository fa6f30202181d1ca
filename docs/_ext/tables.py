"""Parts of the reference that are made from data: all system calls, and the families of constants."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rawsys import _catalog
from rawsys.table import TABLE, Entry

OWNED = ("fd", "sync", "memory", "sched", "signals", "process", "command", "thread", "batch", "vdso", "proc", "events")


class Generated(SphinxDirective):
    """A directive whose content is Markdown made here."""

    has_content = False
    option_spec: ClassVar[dict[str, Any]] = {}

    def markdown(self) -> str:
        """The text, parsed as if it stood in the page."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the text."""
        return self.parse_text_to_nodes(self.markdown())


# ---- all system calls ----


def _public() -> Iterator[tuple[str, object]]:
    """The functions, classes and methods of the owned storey, under the names of the reference."""
    for topic in OWNED:
        module = import_module(f"rawsys.{topic}")
        for name in getattr(module, "__all__", ()):
            found = getattr(module, name)
            home = (
                "rawsys.proc.records"
                if getattr(found, "__module__", "") == "rawsys.proc.records"
                else f"rawsys.{topic}"
            )
            if inspect.isroutine(found):
                yield f"{home}.{name}", found
            elif inspect.isclass(found) and found.__module__.startswith("rawsys"):
                yield f"{home}.{name}", found
                for member in (m for m in dir(found) if not m.startswith("_")):
                    yield f"{home}.{name}.{member}", inspect.getattr_static(found, member)


@cache
def _above() -> dict[str, list[str]]:
    """By page of the manual: who says in the first line of its docstring that it is about that page.

    What a class inherits from another public one is named once.
    """
    found: dict[str, list[str]] = {}
    seen: set[object] = set()
    for name, value in _public():
        inner = getattr(value, "__func__", value)
        if inner in seen:
            continue
        seen.add(inner)
        for page in re.findall(r"`+(\w+\(2\))`+", (inspect.getdoc(value) or "").partition("\n")[0]):
            found.setdefault(page, []).append(name)
    return found


def _link(entry: Entry) -> str:
    """The call as Python writes it, with a link to its docstring."""
    return f"{{py:func}}`{entry.signature.replace(', /', '')} <rawsys.raw.{entry.name}>`"


def _gives(entry: Entry) -> str:
    if entry.status == "refused":
        return ""
    words = {"none": "None", "size": "bytes", "fd": "Fd", "addr": "address", "never": "-", "int": "int"}[entry.returns]
    if not entry.fd_condition:
        return words
    condition = f"if `{entry.fd_condition.replace('|', chr(92) + '|')}`"
    return f"Fd {condition if len(condition) < 50 else 'for some commands'}, else int"


def _gil(entry: Entry) -> str:
    if entry.status == "refused":
        return ""
    if not entry.may_block:
        return f"keeps the GIL: {entry.why_not}"
    return "keeps the GIL: its child needs it" if "keeps_gil" in entry.traits else "may block"


def _refused(entry: Entry) -> str:
    if not entry.instead:
        return ""
    return f"{'refused' if entry.status == 'refused' else 'in part'}: {entry.instead}"


def _surfaces(entry: Entry) -> str:
    """Who is about this call; where nobody is, who is about its page, which several calls may share (pread and pwrite)."""
    own = dict.fromkeys((f"{entry.name}(2)", f"{entry.name.removesuffix('64')}(2)"))
    names = dict.fromkeys(each for page in own for each in _above().get(page, ()))
    names = names or dict.fromkeys(_above().get(entry.man or "", ()))
    return ", ".join(f"{{py:obj}}`{name.removeprefix('rawsys.')} <{name}>`" for name in names)


class SyscallTable(Generated):
    """All system calls, in the order of their numbers."""

    def markdown(self) -> str:
        """A row for each live number; the reserved ones are named below."""
        lines = [
            "| No. | call | since | checked call gives | blocking | refused: use instead | above |",
            "|--:|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {e.number} | {_link(e)} | {e.since or ''} | {_gives(e)} | {_gil(e)} | {_refused(e)} | {_surfaces(e)} |"
            for e in TABLE
            if e.live
        ]
        reserved = ", ".join(f"{e.number} `{e.name}`" for e in TABLE if not e.live)
        return "\n".join([*lines, "", f"Reserved, without a call in Linux 6.18: {reserved}."])


# ---- constants ----


class ConstantFamilies(Generated):
    """Every family of constants: its class, what it is for, its names and values."""

    def markdown(self) -> str:
        """One paragraph a family."""
        parts = []
        for family, kind in _catalog.kinds().items():
            names = ", ".join(f"`{row.name}` {row.value}" for row in _catalog.rows(family))
            text = f"Family `{family}`: {_catalog.doc(family)}\n\n{names}"
            if kind == "plain":
                parts.append(text)
            else:
                parts.append(f"```{{py:class}} {_catalog.class_name(family, kind)}\n\n{text}\n```")
        return "\n\n".join(["```{py:currentmodule} rawsys.constants\n```", *parts])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("syscall-table", SyscallTable)
    app.add_directive("constant-families", ConstantFamilies)
    return {"parallel_read_safe": True}
