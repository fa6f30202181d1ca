"""How the documentation is built: sphinx-build -n -W docs docs/_build/html, with rawsys installed."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rawsys import _catalog
from rawsys.table import TABLE, Entry

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

with open(Path(__file__).parent.parent / "pyproject.toml", "rb") as file:
    _about = tomllib.load(file)["project"]

project = _about["name"]
release = version = _about["version"]
author = "the rawsys developers"
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "real_output",
]
exclude_patterns = ["_build", "_ext"]
default_role = "code"
nitpicky = True
# Every reference to a name of rawsys has to be there.  Names of Python, and the aliases that only the stubs know, have no
# page here.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!rawsys\.).*"),
    (r"py:.*", r"rawsys(\.\w+)*\._.*"),
    (r"py:.*", r"rawsys\.fd\.FdIO"),
]

html_theme = "furo"
html_title = f"rawsys {release}"
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Each page's examples run in a folder of their own, which is empty when they begin.
doctest_global_setup = """
import os, tempfile
_folder = tempfile.TemporaryDirectory()
_before = os.getcwd()
os.chdir(_folder.name)
"""
doctest_global_cleanup = """
os.chdir(_before)
_folder.cleanup()
"""


# ---- generated parts ----


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


def _link(entry: Entry) -> str:
    """The call as Python writes it, with a link to its docstring."""
    return f"{{py:func}}`{entry.signature.replace(', /', '')} <rawsys.raw.{entry.name}>`"


def _gives(entry: Entry) -> str:
    if entry.status == "refused":
        return ""
    words = {"none": "None", "size": "bytes", "fd": "Fd", "addr": "address", "never": "-", "int": "int"}[entry.returns]
    return f"Fd if `{entry.fd_condition.replace('|', chr(92) + '|')}`, else int" if entry.fd_condition else words


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


class SyscallTable(Generated):
    """All system calls, in the order of their numbers."""

    def markdown(self) -> str:
        """A row for each live number; the reserved ones are named below."""
        lines = [
            "| No. | call | since | checked call gives | blocking | refused: use instead |",
            "|--:|---|---|---|---|---|",
        ]
        lines += [
            f"| {e.number} | {_link(e)} | {e.since or ''} | {_gives(e)} | {_gil(e)} | {_refused(e)} |"
            for e in TABLE
            if e.live
        ]
        reserved = ", ".join(f"{e.number} `{e.name}`" for e in TABLE if not e.live)
        return "\n".join([*lines, "", f"Reserved, without a call in Linux 6.18: {reserved}."])


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


def _as_written(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings of the built-in calls are tables of plain text, with the kernel's asterisks: show them as they are."""
    if re.fullmatch(r"rawsys\.(raw|syscalls)\.[a-z_0-9]+", name) and what == "function":
        first, *rest = lines
        lines[:] = [first, "", "::", "", *(f"    {line}" for line in rest), ""]


# napoleon takes what stands before the first colon of a property's docstring for its type; ours begin with the page of the
# manual.  So the colon is another sign while napoleon looks.
_COLON = "\N{MODIFIER LETTER COLON}"


def _hide_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what in ("property", "attribute") and lines:
        lines[0] = lines[0].replace(":", _COLON)


def _show_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("syscall-table", SyscallTable)
    app.add_directive("constant-families", ConstantFamilies)
    app.connect("autodoc-process-docstring", _as_written)
    app.connect("autodoc-process-docstring", _hide_colon, priority=100)
    app.connect("autodoc-process-docstring", _show_colon, priority=900)
