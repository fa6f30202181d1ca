"""The base of every kernel structure."""

from __future__ import annotations

import ctypes

from rawsys.structs._layout import Field, Spec, near_miss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, ClassVar, Self


_set = ctypes.Structure.__setattr__


class KernelStruct(ctypes.Structure):
    """A structure of the kernel's x86-64 ABI. It is writable memory: pass it as it is where a call takes one.

    Fields are created by name (`timespec(tv_sec=1)`), the others are zero. An integer field of w bits takes
    -2**(w-1) to 2**w-1, anything else is OverflowError; bool and float are TypeError. A field that holds an
    address takes an int and keeps nothing alive: `point()` does both. A descriptor field also takes an object
    with `fileno()`. Elements set through an array field (`s.args[0] = x`) are cut to their width by ctypes.
    """

    SINCE: ClassVar[str] = ""
    """The first kernel that has it, where that is newer than 2.6."""
    TAIL: ClassVar[str] = ""
    """The name of the flexible array at its end, if there is one: see `with_tail()` and `records()`."""
    _plan: ClassVar[dict[str, Field]] = {}
    _tails: ClassVar[dict[tuple[type, int], type]] = {}

    def __init__(self, /, **fields: Any) -> None:
        super().__init__()
        for name, value in fields.items():
            if name not in self._plan:
                kind = type(self).__name__
                raise TypeError(f"{kind} has no field {name!r}{near_miss(name, self.fields())}")
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        field = self._plan.get(name)
        if field is None:
            # An unknown name would become an attribute of the Python object, and the kernel would not see it.
            if not isinstance(getattr(type(self), name, None), property):
                kind = type(self).__name__
                raise AttributeError(f"{kind} has no field {name!r}{near_miss(name, self.fields())}")
        elif field.high:
            if type(value) is not int or not field.low <= value <= field.high:
                value = field.convert(value)
        elif isinstance(value, KernelStruct):
            _adopt(self, ctypes.addressof(self) + getattr(type(self), name).offset, value)
        _set(self, name, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bytes(self) == bytes(other)

    # Memory that the kernel may change at any time has no hash.
    __hash__ = None  # type: ignore[assignment]  # so Python says "not hashable"

    def __repr__(self) -> str:
        shown = [f"{n}={self._show(n)}" for n, f in self._plan.items() if n[0] != "_" and not f.overlay]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _show(self, name: str) -> str:
        value = getattr(self, name)
        if isinstance(value, ctypes.Array):
            raw = value._type_ is ctypes.c_uint8
            return repr(bytes(value).rstrip(b"\0") if raw else list(value))
        return hex(value) if self._plan[name].word == "address" else repr(value)

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """The names of its fields without the reserved ones; fields that share memory are all there."""
        return tuple(name for name in cls._plan if name[0] != "_")

    @classmethod
    def sizeof(cls) -> int:
        """Its size in bytes, as the `size` argument of a call takes it."""
        return ctypes.sizeof(cls)

    @classmethod
    def from_bytes(cls, data: Any) -> Self:
        """A copy of the first bytes of a buffer.

        A structure that grew from kernel to kernel (one with `SIZE_VER0`) may be as short as its first version;
        what is missing is zero.

        Raises:
            ValueError: the buffer is shorter.
        """
        view = memoryview(data).cast("B")
        least = getattr(cls, "SIZE_VER0", cls.sizeof())
        if len(view) < least:
            raise ValueError(f"{cls.__name__} is at least {least} bytes, not {len(view)}")
        made = cls.__new__(cls)
        ctypes.Structure.__init__(made)
        count = min(len(view), cls.sizeof())
        memoryview(made).cast("B")[:count] = view[:count]
        return made

    @classmethod
    def array(cls, items: int | Iterable[Self]) -> ctypes.Array[Self]:
        """`n` of them in a row, zeroed, or copies of the given ones; usable as a memory argument.

        Copies keep alive what the originals keep; an element that is assigned later (`array[0] = x`) does not.
        """
        if isinstance(items, int):
            return (cls * items)()
        given = list(items)
        made = (cls * len(given))(*given)
        for number, item in enumerate(given):
            _adopt(made, ctypes.addressof(made) + number * cls.sizeof(), item)
        return made

    @classmethod
    def with_tail(cls, tail: int | bytes | bytearray, **fields: Any) -> Self:
        """The structure with its flexible array, of that many zeroed bytes or holding those bytes.

        The array is a field under its C name (`TAIL`), and `tail_bytes()` copies it. As in C, the whole may end in
        padding, which belongs to neither.
        """
        if not cls.TAIL:
            raise TypeError(f"{cls.__name__} has no flexible array")
        size = tail if isinstance(tail, int) else len(tail)
        kind = cls._tails.get((cls, size))
        if kind is None:
            # The kinds are kept for the sizes in use; with no bound, a program that walks sizes would fill memory.
            if len(cls._tails) >= 64:
                cls._tails.clear()
            body = {"__doc__": cls.__doc__, "_fields_": [(cls.TAIL, ctypes.c_uint8 * size)]}
            metaclass: Any = type(cls)
            kind = cls._tails[cls, size] = metaclass(cls.__name__, (cls,), body)
            kind._plan = {**cls._plan, cls.TAIL: Field(cls.TAIL, ctypes.c_uint8 * size, Spec(), "")}
        made: Self = kind(**fields)
        if not isinstance(tail, int):
            memoryview(made).cast("B")[cls.sizeof() : cls.sizeof() + size] = tail
        return made

    def tail_bytes(self) -> bytes:
        """A copy of the flexible array (empty unless made by `with_tail()`)."""
        return bytes(getattr(self, self.TAIL, b"")) if self.TAIL else b""

    def _record_size(self) -> int:
        raise TypeError(f"{type(self).__name__} does not say where the next record starts")

    @classmethod
    def records(cls, data: Any, size: int | None = None) -> Iterator[tuple[Self, bytes]]:
        """Walk a buffer that a call filled with records of different lengths: (header, the bytes after it).

        Args:
            data: the buffer.
            size: how many bytes of it are filled (what the call returned); None is all.

        Raises:
            ValueError: a record is cut off, or shorter than its header.
        """
        view = memoryview(data).cast("B")[:size]
        least = cls.sizeof()
        while len(view):
            header = cls.from_bytes(view)
            length = header._record_size()
            # A length of 0 from a damaged buffer would make this walk endless.
            if not least <= length <= len(view):
                raise ValueError(f"{cls.__name__} record of {length} bytes, with {len(view)} left")
            yield header, bytes(view[least:length])
            view = view[length:]

    def point(self, field: str, target: Any, *, read_only: bool = False) -> None:
        """Set an address field to a buffer's memory, and keep the buffer alive as long as this structure.

        The buffer cannot be resized meanwhile. A structure inside another one or in an array has them keep it.

        Args:
            field: the name of a field that holds an address.
            target: a writable buffer; None for NULL.
            read_only: True where the kernel only reads through it; then bytes may be given.

        Raises:
            TypeError: not such a field, not a buffer, or a read-only one without `read_only=True`.
        """
        from rawsys.structs._memory import pin

        known = self._plan.get(field)
        if known is None or known.word != "address":
            addresses = [n for n, f in self._plan.items() if f.word == "address"]
            raise TypeError(f"{type(self).__name__} has no address {field!r}{near_miss(field, addresses)}")
        address, held = (0, None) if target is None else pin(target, read_only, field)
        keep(self, ctypes.addressof(self) + getattr(type(self), field).offset, held)
        setattr(self, field, address)


def _owner(thing: Any) -> Any:
    # Attributes of `array[0]` or `outer.inner` die with that temporary view: the owner of the memory has to hold.
    while thing._b_base_ is not None:
        thing = thing._b_base_
    return thing


def keep(holder: Any, place: object, thing: object) -> None:
    """Keep `thing` alive with the object that owns the memory of `holder`, under the place that refers to it."""
    attributes = _owner(holder).__dict__
    if "_kept" not in attributes:
        attributes["_kept"] = {}
    attributes["_kept"][place] = thing


def _adopt(holder: Any, place: int, copied: KernelStruct) -> None:
    """Keep what a structure keeps whose bytes, and so its addresses, are copied to a place in `holder`."""
    kept = _owner(copied).__dict__.get("_kept")
    if kept:
        keep(holder, ("copy", place), dict(kept))
