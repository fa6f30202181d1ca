"""The rows of ``constants.tsv``: which constants there are, and how a number is written in their names.

Nothing is parsed before it is asked for, and then only the lines of one family: the file is read once as text, and the
rows of a family stand together in it. No enum here: an error note that names a flag must not pay for enum classes.
"""

from __future__ import annotations

from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

lock = RLock()
_text = ""
_members: dict[str, dict[str, int]] = {}
_rules: dict[str, _Rules] = {}
_kinds: dict[str, str] = {}


class Constant:
    """One row of the table: a constant of the kernel interface and what is known of it."""

    __slots__ = ("family", "kind", "name", "remark", "since", "value")

    def __init__(self, line: str) -> None:
        self.family, self.kind, self.name, value, since, remark = line.split("\t")
        self.value = int(value, 0)
        self.since = "" if since == "-" else since
        self.remark = "" if remark == "-" else remark

    def __repr__(self) -> str:
        since = f", since Linux {self.since}" if self.since else ""
        return f"<{self.kind} {self.name} = {self.value:#x}, family {self.family}{since}>"


class _Rules:
    """How the numbers of a flag family are taken apart."""

    __slots__ = ("bits", "fields", "zero")

    def __init__(self, rows: list[Constant]) -> None:
        first: dict[int, str] = {}
        for row in rows:
            first.setdefault(row.value, row.name)
        self.zero = first.get(0)
        masks = [row.value for row in rows if row.remark.startswith("field")]
        self.fields = [(mask, {v: name for v, name in first.items() if not v & ~mask}) for mask in masks]
        inside = {value for _, names in self.fields for value in names}
        outside = [(value, name) for value, name in first.items() if value not in inside]
        # Largest first, so that O_TMPFILE is seen before the O_DIRECTORY inside it.
        self.bits = sorted(outside, key=lambda pair: -pair[0].bit_count())

    def take(self, value: int) -> tuple[list[str], int]:
        """The names found in a value, and the bits that are left."""
        found: list[str] = []
        for mask, names in self.fields:
            name = names.get(value & mask)
            if name is not None:
                found.append(name)
                value &= ~mask
        taken = []
        for bits, name in self.bits:
            if bits and value & bits == bits:
                taken.append((bits, name))
                value &= ~bits
        return found + [name for _, name in sorted(taken)], value


def text() -> str:
    """The table, read once."""
    global _text
    if not _text:
        with open(__file__.rpartition("/")[0] + "/constants.tsv", encoding="utf-8") as file:
            _text = file.read()
    return _text


def row(name: str) -> Constant | None:
    """The row of a constant, or None if there is no such name."""
    table = text()
    at = table.find(f"\t{name}\t") if name.isidentifier() else -1
    if at < 0:
        return None
    return Constant(table[table.rfind("\n", 0, at) + 1 : table.index("\n", at)])


def rows(family: str) -> list[Constant]:
    """The rows of a family in the order of the table.

    Raises: ValueError for an unknown family.
    """
    table = text()
    at = table.find(f"\n{family}\t") if family.isidentifier() else -1
    if at < 0:
        raise ValueError(f"no family of constants {family!r}{near(family, kinds())}")
    end = table.find("\n# ", at)
    return [Constant(line) for line in table[at + 1 : end if end >= 0 else None].splitlines()]


def doc(family: str) -> str:
    """The heading of a family: what its constants are for."""
    table = text()
    at = table.index(f"\n# {family}: ") + len(family) + 5
    return table[at : table.index("\n", at)]


def kinds() -> dict[str, str]:
    """All families in the order of the table, each with its kind: ``flag``, ``enum`` or ``plain``."""
    global _kinds
    if not _kinds:
        # The first row below each heading; the lines of explanation at the top have none.
        firsts = (block.partition("\n")[2].split("\t", 2) for block in text().split("\n# "))
        _kinds = {first[0]: first[1] for first in firsts if len(first) == 3}
    return _kinds


def names() -> list[str]:
    """The names of all constants in the order of the table."""
    return [line.split("\t", 3)[2] for line in text().splitlines() if not line.startswith("#")]


def kind(family: str) -> str:
    """``flag``, ``enum`` or ``plain``."""
    return rows(family)[0].kind


def classes() -> dict[str, str]:
    """The names of all classes, each with its family."""
    return {class_name(family, sort): family for family, sort in kinds().items() if sort != "plain"}


def class_name(family: str, kind: str) -> str:
    """The name of a family's class: ``FOO_*`` are the bits of ``FooFlags``, or the members of ``Foo``."""
    words = family.split("_")
    if kind == "flag":
        words = [*(words[:-1] if words[-1] == "FLAG" else words), "Flags"]
    return "".join(word.capitalize() if word.isupper() else word for word in words)


def members(family: str) -> dict[str, int]:
    """Names and values of a family; of the signals also the real-time ones, which have no name in C."""
    found = _members.get(family)
    if found is None:
        found = {row.name: row.value for row in rows(family)}
        if family == "Signal":
            low, high = found["SIGRTMIN"], found.pop("SIGRTMAX")
            found |= {f"SIGRTMIN+{value - low}": value for value in range(low + 1, high)}
            found["SIGRTMAX"] = high
        _members[family] = found
    return found


def decode(family: str, value: int) -> str:
    """A number in the names of a family, or of several joined by ``+`` (``SOCK+SOCK_FLAG``, ``CLONE+Signal``)."""
    parts = [(part, kind(part)) for part in family.split("+")]
    for part, sort in parts:
        if sort != "flag":
            name = _exact(part, value)
            if name is not None:
                return name
    if all(sort != "flag" for _, sort in parts):
        return str(value) if value < 4096 else f"{value:#x}"
    return _flags(parts, value)


def _flags(parts: list[tuple[str, str]], value: int) -> str:
    # A negative number is what the kernel sees of it: 32 bits where they hold it, else 64.
    rest = value if value >= 0 else value & (0xFFFFFFFF if value >= -(1 << 31) else 0xFFFFFFFFFFFFFFFF)
    found: dict[str, list[str]] = {}
    for part, sort in parts:
        if sort == "flag":
            found[part], rest = _rule(part).take(rest)
    for part, sort in parts:
        name = _exact(part, rest) if sort != "flag" else None
        if name is not None:
            found[part], rest = [name], 0
    written = [name for part, _ in parts for name in found.get(part, ())]
    if rest:
        written.append(f"{rest:#x}")
    if not written:
        written = [_rule(part).zero or "" for part, sort in parts if sort == "flag"][:1]
    return "|".join(written) or "0"


def _exact(family: str, value: int) -> str | None:
    return next((name for name, known in members(family).items() if known == value), None)


def _rule(family: str) -> _Rules:
    rules = _rules.get(family)
    if rules is None:
        rules = _rules[family] = _Rules(rows(family))
    return rules


def near(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known name that is nearest to a wrong one."""
    from difflib import get_close_matches

    alike = [candidate for candidate in known if candidate[:1].upper() == name[:1].upper()]
    close = get_close_matches(name, alike, 1, 0.7) or get_close_matches(name.upper(), alike, 1, 0.7)
    return f"; did you mean {close[0]!r}?" if close else ""
