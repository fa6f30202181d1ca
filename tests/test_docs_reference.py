"""The reference has every public object and nothing else; the pages that are tables of names name what is there."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import GetSetDescriptorType, ModuleType

import pytest

import rawsys
from rawsys import _catalog, cli, constants, errors
from rawsys.table import TABLE

DOCS = Path(__file__).resolve().parent.parent / "docs"
PUBLIC = ["rawsys", *(f"rawsys.{name}" for name in sorted(rawsys._MODULES)), "rawsys.proc.system"]
_DIRECTIVE = re.compile(r"^\.\. (?:auto)?(module|class|exception|function|data):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)
# Objects that calls give and nobody makes: documented where they come from, and not exported.
_GIVEN = {
    "rawsys.fd.records.FileStat",
    "rawsys.fd.records.DirEntry",
    "rawsys.signals.stacks.AlternateStack",
    "rawsys.supervisor.instance.Instance",
    "rawsys.supervisor.remains.Remains",
}


def _resolve(name: str) -> object:
    """The object behind a dotted name."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def _names(module: ModuleType) -> list[str]:
    """What a module exports: `__all__`, else the public classes and functions that are its own."""
    exported: list[str] | None = getattr(module, "__all__", None)
    if exported is not None:
        return exported
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return sorted(name for name in own if not name.startswith("_"))


def _documented() -> Iterator[str]:
    """The full name of each object that a page of the reference has a directive for; that of the constants is generated."""
    for family, kind in _catalog.kinds().items():
        if kind != "plain":
            yield f"rawsys.constants.{_catalog.class_name(family, kind)}"
    for page in sorted((DOCS / "reference").glob("*.md")):
        for kind, name, options in _DIRECTIVE.findall(page.read_text("utf-8")):
            if kind != "module":
                yield name
                continue
            yield name
            members = re.search(r":members:(.*)\n", options)
            if members:
                chosen = members[1].replace(",", " ").split() or _names(importlib.import_module(name))
                yield from (f"{name}.{member}" for member in chosen)


def _is_data(value: object) -> bool:
    return not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value))


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_object_is_in_the_reference(module: str) -> None:
    """Each name of each `__all__` has a directive, under this name or the one of its home; data is named on a page."""
    if module == "rawsys.constants":
        pytest.skip("its page is made from the table of constants: see the next test")
    documented = set(_documented())
    objects = {id(_resolve(name)) for name in documented}
    text = "\n".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    missing = []
    for name in _names(importlib.import_module(module)):
        value = _resolve(f"{module}.{name}")
        if _is_data(value):
            if f"{module}.{name}" not in documented and not re.search(rf"`(\w+\.)*{re.escape(name)}`", text):
                missing.append(name)
        elif id(value) not in objects:
            missing.append(name)
    assert missing == []


def test_constants_are_those_of_the_table() -> None:
    """The page of the constants is made from the families; together they have every exported constant."""
    shown = {row.name for family in _catalog.kinds() for row in _catalog.rows(family)}
    others = {name.rpartition(".")[2] for name in _documented() if name.startswith("rawsys.constants.")}
    assert set(constants.__all__) - shown - others == set()


def test_the_reference_has_nothing_else() -> None:
    """What has a directive exists, and is exported by a public module, or is what its calls give."""
    modules = [importlib.import_module(name) for name in PUBLIC]
    exported = {id(getattr(module, name)) for module in modules for name in _names(module)}
    documented = {name: _resolve(name) for name in _documented() if name not in _GIVEN}
    assert [n for n, value in documented.items() if not inspect.ismodule(value) and id(value) not in exported] == []


def test_the_tree_of_exceptions_is_drawn_as_it_is() -> None:
    """The drawing in errors.py has each exception with the exception of Python that it also is."""
    drawn = dict(re.findall(r"\+-- (\w+)(?:\((\w+)\))?", errors.__doc__ or ""))
    classes = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    own = {name: value for name, value in classes.items() if issubclass(value, errors.RawsysError)}
    assert drawn.keys() == own.keys() - {"RawsysError"}
    for name, parent in drawn.items():
        expected = [errors.RawsysError, *([getattr(__import__("builtins"), parent)] if parent else [])]
        assert list(own[name].__bases__) == expected


def test_every_command_has_its_section() -> None:
    """The page of the command line, and with it the man page, has each command of the parser and no other."""
    parser = cli.parser()
    (choices,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    page = (DOCS / "reference" / "cli.md").read_text("utf-8")
    assert re.findall(r"^```\{command\} (\w+)$", page, re.MULTILINE) == re.findall(
        r"^## rawsys (\w+)$", page, re.MULTILINE
    )
    assert set(re.findall(r"^```\{command\} (\w+)$", page, re.MULTILINE)) == set(choices)


# ---- come from os, subprocess, ... ----

_ROW = re.compile(r"^\| (.+?) \| (.+?) \| .*\|$", re.MULTILINE)
_CODE = re.compile(r"`([\w.]+)(?:\(([^`]*)\))?`")


def _rows() -> list[tuple[str, str]]:
    found = _ROW.findall((DOCS / "howto" / "coming-from.md").read_text("utf-8"))
    return [row for row in found if "`" in row[1]]


def _check(name: str, keywords: str | None) -> None:
    """The name is there, and takes these keywords."""
    found = _resolve(name)
    parameters = inspect.signature(found).parameters if keywords else {}  # type: ignore[arg-type]  # a callable
    unknown = [key for key in re.findall(r"(\w+)=", keywords or "") if key not in parameters]
    assert unknown == [], name


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0])
def test_both_names_of_a_row_are_there(row: tuple[str, str]) -> None:
    """In the tables of names, what stands on the left is in Python or psutil, what stands on the right in rawsys."""
    theirs, ours = row
    if "psutil" in theirs:
        pytest.importorskip("psutil")
    for name, keywords in _CODE.findall(theirs):
        _check(name, keywords)
    assert _CODE.search(ours)
    for name, keywords in _CODE.findall(ours):
        _check(f"rawsys.{name}", keywords)


def test_rows_of_all_five_are_read() -> None:
    """The pattern finds the rows that it is for."""
    modules = {row[0].strip("`").partition(".")[0] for row in _rows()}
    assert modules >= {"os", "subprocess", "threading", "signal", "psutil"}
    assert len(_rows()) > 80


def test_the_front_page_counts_the_calls() -> None:
    """The number of calls that the pages claim is that of the table."""
    live = sum(entry.live for entry in TABLE)
    for page in (DOCS / "index.md", DOCS.parent / "README.md"):
        assert re.findall(r"(\d{3}) calls", page.read_text("utf-8").replace("\n", " ")) == [str(live)]


def _members(name: str, owner: type) -> Iterator[tuple[str, object]]:
    """The public members that a class of ours defines; fields of records and structures are described with the class."""
    for base in owner.__mro__:
        if not base.__module__.startswith("rawsys"):
            continue
        for member, value in vars(base).items():
            if not member.startswith("_"):
                yield f"{name}.{member}", getattr(value, "__func__", value)


def _fields_without_words(record: type) -> list[str]:
    """The fields of a NamedTuple with no string below them in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0].body  # type: ignore[attr-defined]  # a class
    return [
        f"{record.__name__}.{node.target.id}"
        for node, below in zip(body, [*body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if not (
            isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
        )
    ]


@pytest.mark.parametrize("module", PUBLIC)
def test_everything_public_has_a_docstring(module: str) -> None:
    """Modules, classes, functions, methods, properties and fields of records, in Python and in C: also what ruff cannot see."""
    found = importlib.import_module(module)
    assert found.__doc__
    mute = []
    for name in _names(found):
        value = getattr(found, name)
        if _is_data(value):
            continue
        if not inspect.getdoc(value):
            mute.append(name)
        if inspect.isclass(value) and value.__module__.startswith("rawsys"):
            if value.__bases__ == (tuple,) and hasattr(value, "_fields"):
                mute += _fields_without_words(value)
            for member, inner in _members(name, value):
                described = inspect.isroutine(inner) or isinstance(inner, (property, GetSetDescriptorType))
                if described and not inspect.getdoc(inner):
                    mute.append(member)
    assert mute == []
