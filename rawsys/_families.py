"""The classes of the constants' families, each built from its rows when it is first needed."""

from __future__ import annotations

from enum import EnumType, IntEnum, IntFlag

from rawsys import _catalog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

MODULE = "rawsys.constants"

_built: dict[str, type[int]] = {}


class Enumeration(IntEnum):
    """Constants that exclude each other; a number newer than the table is accepted and has no name of the kernel."""

    @classmethod
    def _missing_(cls, value: object) -> Enumeration | None:
        if not isinstance(value, int):
            return None
        # Not remembered by the class: numbers come from outside, and there are 2**64 of them.
        member = int.__new__(cls, value)
        member._name_ = str(int(value))
        member._value_ = int(value)
        return member


class Flags(IntFlag):
    """Constants that are bits; unknown bits are kept."""

    def __invert__(self) -> Self:
        # IntFlag's own inverts no more than the known bits, so that flags & ~O_APPEND would lose an unknown one.
        return type(self)(self._value_ ^ 0xFFFF_FFFF_FFFF_FFFF)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{_catalog.decode(_family_of(type(self)), self.value)}: {self.value:#x}>"


class SignalBase(IntEnum):
    """What a signal does besides being a number; its members come from the table."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        if value in (32, 33):
            raise ValueError(f"signal {value} belongs to libc, which uses it between its threads")
        raise ValueError(f"{value!r} is not a signal: they are 1 to 31 and 34 to 64")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def named(cls, name: str) -> SignalBase:
        """A signal by its name, with or without ``SIG``: ``SIGTERM``, ``term``, ``SIGRTMIN+3``, ``RTMAX-1``.

        Raises: ValueError for a name that no signal has.
        """
        full = name.upper() if name.upper().startswith("SIG") else "SIG" + name.upper()
        member = cls.__members__.get(full)
        base, sign, distance = full.partition("+" if "+" in full else "-")
        if member is None and distance.isdecimal() and base + sign in ("SIGRTMIN+", "SIGRTMAX-"):
            number = cls[base] + int(sign + distance)
            member = cls(number) if cls["SIGRTMIN"] <= number <= cls["SIGRTMAX"] else None
        if member is None:
            raise ValueError(f"no signal is named {name!r}{_catalog.near(full, cls.__members__)}")
        return member


def build(family: str) -> type[int]:
    """The class of a family, made once; ``int`` for a family of plain numbers."""
    made = _built.get(family)
    if made is None:
        with _catalog.lock:
            made = _built.get(family) or _make(family)
            _built[family] = made
    return made


def _make(family: str) -> type[int]:
    kind = _catalog.kind(family)
    if kind == "plain":
        return int
    name = _catalog.class_name(family, kind)
    base: EnumType = SignalBase if family == "Signal" else Flags if kind == "flag" else Enumeration
    members = _catalog.members(family)
    made: type[int] = base(name, members, module=MODULE, qualname=name)  # type: ignore[assignment]  # all three are ints
    if kind == "flag":
        # EnumType gives each class of flags the operators of enum.Flag, over those that it inherits.
        made.__invert__ = Flags.__invert__  # type: ignore[method-assign, assignment]  # the class is one of Flags
    # By its number: CPython 3.11.0 to 3.11.3 pickle by name, which a constant newer than the class does not have.
    made.__reduce_ex__ = _reduced  # type: ignore[method-assign, assignment]  # as above
    made.__doc__ = f"{family}: {_catalog.doc(family)}."
    return made


def _reduced(constant: int, _protocol: object) -> tuple[type[int], tuple[int]]:
    return type(constant), (int(constant),)


def _family_of(made: type[int]) -> str:
    return next(family for family, known in _built.items() if known is made)
