"""The table of system calls: one entry for every number of the x86-64 ABI.

The module itself is the table: ``rawsys.table["openat"]``, ``rawsys.table[257]``, ``len``, ``in``
and iteration in number order.  ``syscalls.tsv`` beside this file is the source; its first lines say
how a row is written.  It is parsed at the first look-up, never at import.
"""

from __future__ import annotations

import difflib
import keyword
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

__all__ = ["MEMORY", "NUMBERS", "STRINGS", "TABLE", "Argument", "Entry", "Extent", "Table", "parse"]

SOURCE = Path(__file__).with_name("syscalls.tsv")

MEMORY = frozenset({"in", "out", "inout", "any"})
"""Kinds of arguments that take a buffer, an address or None (``any`` also a plain number)."""
STRINGS = frozenset({"path", "str", "strings"})
"""Kinds that take text."""
NUMBERS = frozenset({"fd", "dirfd", "size", "flags", "int", "mode", "pid", "uid", "gid", "signal", "offset", "addr"})
"""Kinds that take a number."""

# The kernel's own names for its numbers: signed, bits.  A name that is missing here is 64 bits and
# unsigned only if it says so; `parse` refuses what it does not know, so that no width is guessed.
_TYPES = {
    "int": (True, 32), "unsigned int": (False, 32), "unsigned": (False, 32), "u32": (False, 32), "__u32": (False, 32),
    "__s32": (True, 32), "long": (True, 64), "unsigned long": (False, 64), "size_t": (False, 64), "u64": (False, 64),
    "__u64": (False, 64), "off_t": (True, 64), "loff_t": (True, 64), "umode_t": (False, 16), "pid_t": (True, 32),
    "uid_t": (False, 32), "gid_t": (False, 32), "qid_t": (False, 32), "key_t": (True, 32), "clockid_t": (True, 32),
    "timer_t": (True, 32), "mqd_t": (True, 32), "key_serial_t": (True, 32), "rwf_t": (True, 32),
    "aio_context_t": (False, 64), "enum landlock_rule_type": (False, 32),
}  # fmt: skip

_ARGUMENT = re.compile(
    r"(?P<kind>\w+)(?:\((?P<family>[\w+]+)\))? (?P<ctype>.*?)(?P<name>\w+)(?: \[(?P<extent>[^]]+)\])?"
)
_EXTENT = re.compile(
    r"(?P<constant>\d+)|\*(?P<star>\w+)|bits\((?P<bits>\w+?)(?P<less>-1)?\)|pages\((?P<pages>\w+)\)|(?P<of>[a-z_]\w*)(?:\*(?P<scale>\d+))?(?:\+(?P<plus>\d+))?"
)


class Extent(NamedTuple):
    """How many bytes of an argument's memory the kernel may touch.

    ``form`` is ``constant`` (`plus` bytes), ``scaled`` (argument `argument` times `scale`, `plus` more),
    ``pointed`` (the 32-bit number in the memory of `argument`), ``bits`` (whole 64-bit words for that many
    bits, `plus` fewer), ``pages`` (one byte for each 4096 bytes of `argument`), ``computed`` (`text` is an
    expression in C over argument names and ``max(a, b)``) or ``own_size`` (also over ``u32(argument, offset)``, a
    number in the argument's own memory).
    """

    form: str
    """Which of the forms above."""
    argument: int
    """The position of the argument that it depends on."""
    scale: int
    """Bytes for each unit of that argument."""
    plus: int
    """Bytes more, or bits fewer."""
    text: str
    """As the row has it."""


class Argument(NamedTuple):
    """One argument: its kind, the kernel's type and name, its width in bits, and its extent in memory."""

    name: str
    """The kernel's name."""
    kind: str
    """What it means: ``fd``, ``path``, ``out``, ``size``, ``flags``, ..."""
    ctype: str
    """The type that the kernel declares."""
    bits: int
    """Its width: 16, 32 or 64."""
    signed: bool
    """Whether the kernel takes it as signed."""
    family: str | None
    """The families of constants that it takes, joined by ``+``."""
    extent: Extent | None
    """How much memory the kernel may touch there; None for a number, and where it is not known."""

    @property
    def direction(self) -> str | None:
        """``in``, ``out``, ``inout``, ``any`` (depends on another argument), or None for a number."""
        if self.kind in STRINGS:
            return "in"
        return self.kind if self.kind in MEMORY else None

    @property
    def declaration(self) -> str:
        """The argument as the kernel declares it: ``const char *filename``."""
        space = "" if self.ctype.endswith("*") else " "
        return f"{self.ctype}{space}{self.name}"


class Entry(NamedTuple):
    """One system call: what its row of the table says."""

    number: int
    """What goes into rax."""
    name: str
    """The kernel's name."""
    since: str | None
    """The first kernel with it, as ``5.6``."""
    status: str
    """``live``, ``refused`` or ``reserved``."""
    returns: str
    """What an answer that is no error means: ``int``, ``fd``, ``size``, ``addr``, ``none`` or ``never``."""
    fd_condition: str | None
    """When the answer is a new descriptor, where that depends on the arguments."""
    may_block: bool
    """Whether it may sleep or wait for a lock: then the GIL is released."""
    why_not: str | None
    """Why it cannot block, where it cannot."""
    traits: frozenset[str]
    """Further properties: ``thread`` (concerns the calling thread only), ``waits``, ``mm``, ``creds``, ...; see syscalls.tsv."""
    man: str | None
    """Its page of the manual."""
    summary: str
    """What it does, in a few words."""
    arguments: tuple[Argument, ...]
    """In the kernel's order."""
    instead: str | None
    """What to use where it is refused."""

    @property
    def live(self) -> bool:
        """True for a call that Linux 6.18 has on x86-64, refused ones included."""
        return self.status != "reserved"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Argument names as Python can spell them: a keyword gets an underscore (``from_``)."""
        return tuple(a.name + "_" * keyword.iskeyword(a.name) for a in self.arguments)

    @property
    def signature(self) -> str:
        """The call as Python writes it: ``openat(dfd, filename, flags, mode, /)``."""
        return f"{self.name}({', '.join((*self.parameters, '/'))})" if self.arguments else f"{self.name}()"

    @property
    def declaration(self) -> str:
        """The call as the kernel declares it: ``openat(int dfd, const char *filename, int flags, umode_t mode)``."""
        return f"{self.name}({', '.join(a.declaration for a in self.arguments) or 'void'})"


def _argument(text: str) -> tuple[Argument, str | None]:
    found = _ARGUMENT.fullmatch(text)
    if not found:
        raise ValueError(f"not an argument: {text!r}")
    kind, ctype = found["kind"], found["ctype"].strip()
    if kind not in MEMORY | STRINGS | NUMBERS:
        raise ValueError(f"unknown kind {kind!r} in {text!r}")
    plain = ctype.removeprefix("const ")
    if kind in ("fd", "dirfd"):
        signed, bits = True, 32  # a descriptor is a C int, whatever the kernel declares
    elif ctype.endswith(("*", "*const")) or plain in ("cap_user_header_t", "cap_user_data_t"):
        signed, bits = False, 64
    else:
        signed, bits = _TYPES[plain]
    return Argument(found["name"], kind, ctype, bits, signed, found["family"], None), found["extent"]


def _extent(text: str, names: list[str]) -> Extent:
    found = _EXTENT.fullmatch(text)
    if not found:
        unknown = set(re.findall(r"\b[a-z_]\w*", text)) - {*names, "max", "u32"}
        if unknown:
            raise ValueError(f"not an extent: [{text}] names {', '.join(sorted(unknown))}")
        return Extent("own_size" if "u32(" in text else "computed", 0, 0, 0, text)
    if found["constant"]:
        return Extent("constant", 0, 0, int(found["constant"]), text)
    group = next(name for name in ("star", "bits", "pages", "of") if found[name])
    form = {"star": "pointed", "of": "scaled"}.get(group, group)
    return Extent(
        form, names.index(found[group]), int(found["scale"] or 1), int(found["plus"] or bool(found["less"])), text
    )


def _arguments(text: str) -> tuple[Argument, ...]:
    parts = [_argument(part) for part in text.split("; ")] if text != "-" else []
    names = [argument.name for argument, _ in parts]
    return tuple(a._replace(extent=_extent(extent, names)) if extent else a for a, extent in parts)


def parse(line: str) -> Entry:
    """The entry that one line of ``syscalls.tsv`` describes; ValueError or KeyError names what is wrong in it."""
    number, name, since, status, returns, blocks, traits, man, summary, arguments, instead = line.split("\t")
    kind, _, condition = returns.partition(" if ")
    may_block, _, why_not = blocks.partition(" ")
    return Entry(
        number=int(number),
        name=name,
        since=None if since == "-" else since,
        status=status,
        returns=kind,
        fd_condition=condition or None,
        may_block=may_block == "yes",
        why_not=why_not or None,
        traits=frozenset() if traits == "-" else frozenset(traits.split(",")),
        man=None if man == "-" else man,
        summary=summary,
        arguments=_arguments(arguments),
        instead=None if instead == "-" else instead,
    )


class Table(ModuleType):
    """The table as a read-only mapping from name or number to `Entry`; it is the type of this module."""

    _by_name: dict[str, Entry] = {}
    _by_number: dict[int, Entry] = {}

    def _load(self) -> None:
        if not self._by_number:
            lines = SOURCE.read_text("utf-8").splitlines()
            entries = [parse(line) for line in lines if line and not line.startswith("#")]
            type(self)._by_name = {entry.name: entry for entry in entries}
            type(self)._by_number = {entry.number: entry for entry in entries}

    def __getitem__(self, key: str | int) -> Entry:
        self._load()
        try:
            return self._by_name[key] if isinstance(key, str) else self._by_number[key]
        except KeyError:
            raise KeyError(self.missing(key)) from None

    def __contains__(self, key: object) -> bool:
        self._load()
        return key in self._by_name or key in self._by_number

    def __iter__(self) -> Iterator[Entry]:
        self._load()
        return iter(self._by_number.values())

    def __len__(self) -> int:
        self._load()
        return len(self._by_number)

    def near(self, name: str) -> list[str]:
        """Names of live calls that look like `name`, the nearest first."""
        live = [entry.name for entry in self if entry.live]
        return difflib.get_close_matches(name, live, n=3, cutoff=0.7)

    def missing(self, key: object) -> str:
        """What to tell somebody who asked for a call that the table does not have."""
        near = self.near(key) if isinstance(key, str) else []
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"x86-64 Linux has no system call {key!r}{hint}"


sys.modules[__name__].__class__ = Table
TABLE: Table = sys.modules[__name__]  # type: ignore[assignment]  # its class is what the line above says
