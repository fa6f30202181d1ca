"""The small language in which the layouts of the kernel's structures are written.

A layout is a class body whose annotations are the fields, in the kernel's order::

    @layout
    class pollfd(KernelStruct):
        fd: fd32
        events: i16
        revents: i16

`u64`, `i32`, `ptr`, ... are ctypes types when the program runs and `int` for a type checker.
`chars(n)`, `array_of(type, n)`, `bits(n)` and `over(field)` say what an annotation cannot.
"""

from __future__ import annotations

import ctypes
from operator import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias, TypeVar

    from rawsys.structs._base import KernelStruct

    S = TypeVar("S", bound=KernelStruct)


class Kind:
    """A field type that needs more than its ctypes type: an address, a descriptor."""

    __slots__ = ("ctype", "word")

    def __init__(self, ctype: type, word: str) -> None:
        self.ctype = ctype
        self.word = word


if TYPE_CHECKING:
    i8: TypeAlias = int
    i16: TypeAlias = int
    i32: TypeAlias = int
    i64: TypeAlias = int
    u8: TypeAlias = int
    u16: TypeAlias = int
    u32: TypeAlias = int
    u64: TypeAlias = int
    be16: TypeAlias = int
    be32: TypeAlias = int
    ptr: TypeAlias = int
    fd32: TypeAlias = int
    fdu32: TypeAlias = int
    fdu64: TypeAlias = int
    Numbers: TypeAlias = ctypes.Array[Any]
else:
    i8, i16, i32, i64 = ctypes.c_int8, ctypes.c_int16, ctypes.c_int32, ctypes.c_int64
    u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
    be16, be32 = u16.__ctype_be__, u32.__ctype_be__
    ptr = Kind(u64, "address")
    fd32, fdu32, fdu64 = Kind(i32, "descriptor"), Kind(u32, "descriptor"), Kind(u64, "descriptor")
    Numbers = ctypes.Array


class Spec:
    __slots__ = ("at", "bits", "ctype", "over")

    def __init__(self, ctype: type | None = None, bits: int = 0, over: str = "", at: int = 0) -> None:
        self.ctype, self.bits, self.over, self.at = ctype, bits, over, at


def chars(size: int) -> Any:
    """A field of `size` bytes that holds text ended by NUL; it reads as bytes up to the NUL."""
    return Spec(ctypes.c_char * size)


def array_of(element: Any, count: int) -> Any:
    """A field of `count` elements."""
    return Spec(element * count)


def bits(count: int) -> Any:
    """A bit field of the annotated type."""
    return Spec(bits=count)


def over(field: str, at: int = 0, *, bits: int = 0) -> Any:
    """A field that shares the memory of `field` (a C union), `at` bytes into it, or `at` bits for a bit field."""
    return Spec(over=field, at=at, bits=bits)


class Field:
    """What is known of a field beside its place: the values that it takes, and whether it shows."""

    __slots__ = ("count", "ctype", "flag", "high", "low", "name", "overlay", "word")

    def __init__(self, name: str, ctype: Any, spec: Spec, word: str) -> None:
        self.name, self.ctype, self.word = name, ctype, word
        self.overlay = bool(spec.over)
        self.flag = spec.bits == 1
        self.count = ctype._length_ if issubclass(ctype, ctypes.Array) else 0
        element = ctype._type_ if self.count else ctype
        self.low = self.high = 0
        if spec.bits:
            self.high = (1 << spec.bits) - 1
        elif issubclass(element, ctypes._SimpleCData) and element is not ctypes.c_char:
            width = 8 * ctypes.sizeof(element)
            self.low, self.high = -(1 << (width - 1)), (1 << width) - 1

    def integer(self, value: object) -> int:
        """The int that `value` stands for, refused where the kernel would get another number."""
        if isinstance(value, bool):
            if not self.flag:
                raise TypeError(f"{self.name} takes an int, not bool")
        elif self.word == "descriptor" and hasattr(value, "fileno"):
            value = value.fileno()
        try:
            number = index(value)  # type: ignore[arg-type]  # TypeError below
        except TypeError:
            hint = " (an address as int: see address_of() and point())" if self.word == "address" else ""
            raise TypeError(f"{self.name} takes an int, not {type(value).__name__}{hint}") from None
        if not self.low <= number <= self.high:
            raise OverflowError(f"{self.name} takes {self.low} to {self.high}, not {number}")
        return number

    def convert(self, value: Any) -> Any:
        """`value` as ctypes takes it."""
        if self.high and not self.count:
            return self.integer(value)
        if self.count and self.high and not isinstance(value, ctypes.Array):
            numbers = tuple(self.integer(number) for number in value)
            if len(numbers) > self.count:
                raise ValueError(f"{self.name} takes at most {self.count} values, not {len(numbers)}")
            return numbers
        return value


def _nested(name: str, spec: Spec, field: Field) -> tuple[str, type]:
    """An anonymous member that puts a field at a distance from the start of its union."""
    space: Any
    if spec.bits:
        space = [(f"_skip_{name}", field.ctype, spec.at)] if spec.at else []
        members = [*space, (name, field.ctype, spec.bits)]
    else:
        members = [(f"_skip_{name}", ctypes.c_char * spec.at), (name, field.ctype)]
    body = {"_fields_": members} if spec.bits else {"_pack_": 1, "_layout_": "ms", "_fields_": members}
    return f"_at_{name}", type(f"_at_{name}", (ctypes.Structure,), body)


def _union(holder: str, first: tuple[Any, ...], others: list[tuple[Spec, Field]]) -> type:
    members: list[tuple[Any, ...]] = [first]
    anonymous = []
    for spec, field in others:
        if spec.at or spec.bits:
            members.append(_nested(field.name, spec, field))
            anonymous.append(members[-1][0])
        else:
            members.append((field.name, field.ctype))
    return type(holder, (ctypes.Union,), {"_anonymous_": tuple(anonymous), "_fields_": members})


def layout(cls: type[S]) -> type[S]:
    """Class decorator: lay the annotated fields out as the C compiler of the x86-64 ABI does."""
    plan: dict[str, Field] = {}
    members: list[tuple[Any, ...]] = []
    shared: dict[str, list[tuple[Spec, Field]]] = {}
    for name, hint in cls.__annotations__.items():
        given = cls.__dict__.get(name)
        spec = given if isinstance(given, Spec) else Spec()
        word = hint.word if isinstance(hint, Kind) else ""
        ctype = spec.ctype or (hint.ctype if isinstance(hint, Kind) else hint)
        field = plan[name] = Field(name, ctype, spec, word)
        if spec.over:
            shared.setdefault(spec.over, []).append((spec, field))
        else:
            members.append((name, ctype, spec.bits) if spec.bits else (name, ctype))
    anonymous = [f"_union_{name}" for name in shared]
    fields = [(f"_union_{m[0]}", _union(f"_union_{m[0]}", m, shared[m[0]])) if m[0] in shared else m for m in members]
    cls._plan = plan
    # The order matters: ctypes reads _anonymous_ and _pack_ at the moment in which _fields_ is set.
    cls._anonymous_ = tuple(anonymous)
    cls._fields_ = fields
    return cls


def near_miss(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'tv_sec'?`, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
