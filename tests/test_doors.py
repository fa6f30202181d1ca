"""The doors of raw and checked calls: built-ins with the table's signatures, which refuse what cannot be right.

The walks over all rows run in a cell (`support.in_cell`): should a door let something through that it ought to refuse,
the kernel is not reached, and the walk names the row.
"""

from __future__ import annotations

import array
import ctypes
import inspect
import mmap
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import INTERPRETER, REACHED, extent_of, in_cell, in_child, need, script, until_blocked

import rawsys
from rawsys import raw, syscalls
from rawsys._shim import ffi
from rawsys.errors import RefusedCallError
from rawsys.table import MEMORY, TABLE, Entry

LIVE = [entry for entry in TABLE if entry.live]
USABLE = [entry for entry in LIVE if entry.status == "live"]
MEMORY_CALLS = {"mmap", "munmap", "brk", "mremap", "madvise"}
"""What the cell lets through; `valid` makes them fail or change nothing."""


# ---- walking: arguments by kind, and what a door does with them ----


def doors(entry: Entry) -> list[tuple[str, Callable[..., Any]]]:
    """The three ways to make a call."""
    name, number = entry.name, entry.number
    return [
        (f"raw.{name}", getattr(raw, name)),
        (f"syscalls.{name}", getattr(syscalls, name)),
        (f"syscall({number}) {name}", lambda *args: rawsys.syscall(number, *args)),
    ]


_NUMBERS = {"fd": -1, "dirfd": -1, "pid": 0x7FFFFFFF}


def valid(entry: Entry, size: int = 2, memory: bool = True) -> list[Any]:
    """Arguments that every door takes: memory of exactly the extent, or none; harmless, should they get through."""
    values: list[Any] = []
    for argument in entry.arguments:
        if argument.kind in ("path", "str"):
            values.append("/nonexistent-rawsys")
        elif argument.kind == "strings":
            values.append(["x"])
        elif argument.kind == "size":
            values.append(size)
        elif argument.kind in MEMORY and argument.kind != "any":
            values.append(None)
        else:
            values.append(0 if entry.name == "clone" else _NUMBERS.get(argument.kind, 1))
    if not memory and entry.name != "clone3":  # which takes no address
        return values
    pointed = {a.extent.argument for a in entry.arguments if a.extent and a.extent.form == "pointed"}
    for index in pointed:
        values[index] = bytearray(size.to_bytes(4, "little"))
    for index, argument in enumerate(entry.arguments):
        if argument.kind in MEMORY and argument.kind != "any" and index not in pointed:
            length = extent_of(entry, index, values)
            values[index] = bytearray(16 if length is None else length)
    return values


def outcome(function: Callable[..., Any], arguments: list[Any]) -> Any:
    """What a call gives, or the exception that it raises."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - the caller looks at it
        return error


def refusals(
    entry: Entry, arguments: list[Any], index: int, wrong: Any, expected: type[Exception], *texts: str
) -> Iterator[str]:
    """Put `wrong` in the place of one argument; a complaint for each door that does not refuse it as expected."""
    changed = [*arguments[:index], wrong, *arguments[index + 1 :]]
    for door, function in doors(entry):
        got = outcome(function, changed)
        name = entry.arguments[index].name
        if type(got) is not expected:
            yield f"{door}: {name}={wrong!r:.60} gives {got!r}, not {expected.__name__}"
        elif not all(text in str(got) for text in (entry.name, f"'{name}'", *texts)):
            yield f"{door}: {name}={wrong!r:.60} is refused with {str(got)!r}"
    for value in arguments:
        if isinstance(value, bytearray):
            try:
                value.append(0)
                value.pop()
            except BufferError:
                yield f"{entry.name}: {name}={wrong!r:.60} was refused, but a buffer is still pinned"


def reached(entry: Entry, arguments: list[Any]) -> Iterator[str]:
    """A complaint where the door of raw, or syscall(number), does not let these arguments through to the kernel."""
    for door, function in (doors(entry)[0], doors(entry)[2]):
        got = outcome(function, arguments)
        if got != -REACHED and not (entry.name in MEMORY_CALLS and isinstance(got, int)):
            yield f"{door}{tuple(arguments)!r:.200} gives {got!r} instead of reaching the kernel"


def walk(check: Callable[[Entry], Iterator[str]]) -> None:
    """Run one check over all usable rows in the cell, and fail with all its complaints."""

    def go() -> list[str]:
        return [complaint for entry in USABLE for complaint in check(entry)]

    complaints = in_cell(go)
    assert not complaints, f"{len(complaints)} complaints:\n" + "\n".join(complaints[:40])


# ---- what the doors are ----


@pytest.mark.parametrize("module", [raw, syscalls], ids=["raw", "syscalls"])
def test_every_live_row_is_a_builtin_with_the_signature_of_the_table(module):
    """Each function is a built-in of its module, positional only, with the kernel's argument names in order."""
    for entry in LIVE:
        function = getattr(module, entry.name)
        assert type(function) is type(len), entry.name
        assert (function.__name__, function.__module__, function.__self__) == (entry.name, module.__name__, module)
        signature = inspect.signature(function)
        assert tuple(signature.parameters) == entry.parameters, entry.name
        kinds = {(parameter.kind, parameter.default) for parameter in signature.parameters.values()}
        assert kinds <= {(inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.empty)}, entry.name


@pytest.mark.parametrize("module", [raw, syscalls], ids=["raw", "syscalls"])
def test_docstrings_say_what_the_row_says(module):
    """Manual page, summary, the kernel's declaration, one line an argument, number, first kernel, GIL, refusal."""
    for entry in LIVE:
        doc = getattr(module, entry.name).__doc__
        first = doc.splitlines()[0]
        assert first == f"`{entry.man or entry.name + '(2)'}`: {entry.summary}."
        assert entry.declaration in doc, entry.name
        assert f"System call {entry.number}, since Linux {entry.since}" in doc, entry.name
        for parameter in entry.parameters:
            assert re.search(rf"^  {parameter} +\S", doc, re.MULTILINE), f"{entry.name}.{parameter}"
        keeps = not entry.may_block or "keeps_gil" in entry.traits
        assert ("keeps the GIL" in doc, "releases the GIL" in doc) == (keeps, not keeps), entry.name
        assert (entry.instead is None) or entry.instead in doc, entry.name


def test_the_modules_hold_the_live_rows_and_nothing_else():
    """`__all__` is the 366 live names; reserved numbers have no function."""
    names = sorted(entry.name for entry in LIVE)
    assert raw.__all__ == syscalls.__all__ == names
    assert len(names) == 366
    for entry in TABLE:
        if not entry.live:
            with pytest.raises(AttributeError):
                getattr(raw, entry.name)


@pytest.mark.parametrize("module", [raw, syscalls], ids=["raw", "syscalls"])
def test_a_missing_name_is_attribute_error_with_the_near_miss(module):
    """The near miss is a call that exists; a name unlike any has none; so has a number of the ABI without a call."""
    text = f"module '{module.__name__}' has no attribute 'opennat'; did you mean openat"
    with pytest.raises(AttributeError, match=text):
        module.opennat  # noqa: B018
    with pytest.raises(AttributeError) as caught:
        module.xyzzy_plugh  # noqa: B018
    assert "did you mean" not in str(caught.value)
    with pytest.raises(AttributeError) as caught:
        module.uselib  # noqa: B018
    assert "mean uselib" not in str(caught.value)


def test_builtins_pickle_by_name():
    """A function of either door comes back as the same object."""
    for entry in LIVE:
        for module in (raw, syscalls):
            function = getattr(module, entry.name)
            assert pickle.loads(pickle.dumps(function)) is function
    for name in ("syscall", "raw_getpid", "raw_write"):
        assert pickle.loads(pickle.dumps(getattr(rawsys, name))) is getattr(rawsys, name)


# ---- walks over all rows ----


def test_valid_arguments_reach_the_kernel():
    """What the other walks change in one place is right as it is, with buffers of exactly the extent and with none."""

    def check(entry):
        for size in (1, 2, 63, 64, 65, 66, 4095, 4096, 4097):
            yield from reached(entry, valid(entry, size))
        yield from reached(entry, valid(entry, memory=False))

    walk(check)


def test_a_wrong_number_of_arguments_is_type_error_and_names_the_expected_ones():
    """In every door, for every row, for 0 to 7 arguments, whatever they are."""

    def check(entry):
        expected = entry.signature.replace(", /", "")
        for count in {*range(8)} - {len(entry.arguments)}:
            for door, function in doors(entry):
                got = outcome(function, [object()] * count)
                if type(got) is not TypeError or expected not in str(got) or f"got {count}" not in str(got):
                    yield f"{door} with {count} arguments gives {got!r}"

    walk(check)


class Index:
    """A number by protocol."""

    def __index__(self) -> int:
        return 1


def _wrong_types(kind: str) -> list[Any]:
    """What an argument of this kind never is."""
    if kind in ("fd", "dirfd"):
        return [1.0, True, None, object(), "1", b"1", [1]]
    if kind == "path":
        return [1.0, True, object(), ["x"], bytearray(b"x")]
    if kind == "str":
        return [1.0, True, object(), ["x"], bytearray(b"x"), Path("x")]
    if kind == "strings":
        return [1.0, True, object(), "x", b"x", [1], ["x", None], {"x": 1}]
    if kind == "in":
        return [1.0, True, object(), "x", ["x"], memoryview(bytearray(8192))[::2]]
    if kind in ("out", "inout", "any"):
        pages = mmap.mmap(-1, 8192, access=mmap.ACCESS_READ)
        views = [memoryview(bytes(8192)), memoryview(bytearray(8192)).toreadonly(), memoryview(bytearray(8192))[::2]]
        cffi = [ffi.from_buffer(bytearray(8192)), ffi.from_buffer(bytes(8192))]
        return [1.0, True, object(), "x", ["x"], bytes(8192), pages, *views, *cffi]
    wrong = [1.0, True, object(), "1", b"1", bytearray(8)]
    return wrong if kind == "addr" else [*wrong, None]


def test_wrong_types_are_type_error_in_every_argument_of_every_row():
    """bool and float are no numbers, str is no memory, what is written has to be writable and contiguous."""
    wrong = {kind: _wrong_types(kind) for entry in USABLE for kind in {a.kind for a in entry.arguments}}

    def check(entry):
        arguments = valid(entry)
        for index, argument in enumerate(entry.arguments):
            for value in wrong[argument.kind]:
                must = () if argument.kind == "strings" else ("must be",)
                yield from refusals(entry, arguments, index, value, TypeError, *must)

    walk(check)


def test_a_descriptor_is_a_c_int_in_every_row():
    """2**32 + 1 would be descriptor 1, so it is OverflowError; the last C ints and negative numbers are the kernel's matter."""

    def check(entry):
        arguments = valid(entry, memory=False)
        for index, argument in enumerate(entry.arguments):
            if argument.kind in ("fd", "dirfd"):
                for number in (2**32 + 1, 2**31, -(2**31) - 1, 2**64, -(2**64)):
                    yield from refusals(entry, arguments, index, number, OverflowError, str(number))
                for number in (2**31 - 1, -(2**31), -1, -100, Index()):
                    yield from reached(entry, [*arguments[:index], number, *arguments[index + 1 :]])

    walk(check)


def test_numbers_fit_into_their_width_in_every_row():
    """A number of w bits takes -2**(w-1) to 2**w-1, signed or not, and what has __index__; anything else is OverflowError."""

    def check(entry):
        arguments = valid(entry, memory=False)
        for index, argument in enumerate(entry.arguments):
            if argument.kind in {*MEMORY, "fd", "dirfd", "path", "str", "strings"}:
                continue
            for number in (2**argument.bits, -(2 ** (argument.bits - 1)) - 1, 2**80, -(2**80)):
                yield from refusals(entry, arguments, index, number, OverflowError, str(number))
            if entry.name in ("clone", "clone3"):
                continue  # these look at the values
            for value in (2**argument.bits - 1, -(2 ** (argument.bits - 1)), 2 ** (argument.bits - 1), Index()):
                yield from reached(entry, [*arguments[:index], value, *arguments[index + 1 :]])

    walk(check)


def test_memory_takes_an_address_or_none_in_every_row():
    """An int of up to 64 bits is an address, None is NULL; 2**64 is OverflowError.  clone3 takes neither."""

    def check(entry):
        arguments = valid(entry)
        for index, argument in enumerate(entry.arguments):
            if argument.kind not in {*MEMORY, "path", "str", "addr", "strings"} or entry.name in ("clone", "clone3"):
                continue
            yield from refusals(entry, arguments, index, 2**64, OverflowError)
            for value in (None, 4096, 2**64 - 4096):
                if value != 4096 or entry.name not in MEMORY_CALLS:
                    yield from reached(entry, [*arguments[:index], value, *arguments[index + 1 :]])

    walk(check)


def test_a_buffer_one_byte_short_of_its_extent_is_value_error_in_every_row():
    """For constants, counts, products, lengths that stand in memory, bit sets, pages and computed extents."""
    forms = set()
    for entry in USABLE:
        forms |= {argument.extent.form for argument in entry.arguments if argument.extent}
    assert forms == {"constant", "scaled", "pointed", "bits", "pages", "computed", "own_size"}

    def check(entry):
        for size in (1, 2, 63, 64, 65, 66, 4096, 4097):
            arguments = valid(entry, size)
            for index, argument in enumerate(entry.arguments):
                length = extent_of(entry, index, arguments)
                if length and argument.extent and argument.extent.text != "4":
                    texts = f"{length - 1} bytes", f"{length} of"
                    yield from refusals(entry, arguments, index, bytearray(length - 1), ValueError, *texts)
                elif length and entry.name not in ("clone", "clone3"):
                    yield from _short_number(entry, arguments, index)

    walk(check)


def _short_number(entry: Entry, arguments: list[Any], index: int) -> Iterator[str]:
    """Three bytes where four are needed; another argument's length may stand in them, so either of the two complains."""
    changed = [*arguments[:index], bytearray(3), *arguments[index + 1 :]]
    for door, function in doors(entry):
        got = outcome(function, changed)
        if type(got) is not ValueError:
            yield f"{door}: {entry.arguments[index].name} of 3 bytes gives {got!r}"


def test_an_empty_buffer_is_no_way_around_the_extent():
    """A buffer of 0 bytes is refused wherever the extent is more than 0."""

    def check(entry):
        arguments = valid(entry)
        for index in range(len(entry.arguments)):
            if extent_of(entry, index, arguments):
                changed = [*arguments[:index], bytearray(), *arguments[index + 1 :]]
                for door, function in doors(entry):
                    got = outcome(function, changed)
                    if type(got) is not ValueError:
                        yield f"{door}: {entry.arguments[index].name} of 0 bytes gives {got!r}"

    walk(check)


def test_an_embedded_nul_is_value_error_in_every_string():
    """The kernel would stop at it and work on another name."""

    def check(entry):
        arguments = valid(entry)
        for index, argument in enumerate(entry.arguments):
            if argument.kind in ("path", "str", "strings"):
                texts = ["a\0b", b"a\0b", "\0"] + [Path("a\0b")] * (argument.kind == "path")
                for text in texts:
                    wrong = ["x", text] if argument.kind == "strings" else text
                    yield from refusals(entry, arguments, index, wrong, ValueError, "null byte")

    walk(check)


def test_strings_of_every_kind_are_taken():
    """path and str take str and bytes, with names that are not UTF-8; path takes PathLike; strings any sequence of them."""

    def check(entry):
        arguments = valid(entry)
        for index, argument in enumerate(entry.arguments):
            values = {"path": ["x", b"x", "\udc80", b"\x80", Path("x"), ""], "str": ["x", b"x", "\udc80", b"\x80", ""]}
            values["strings"] = [[], (), ["x", b"\x80", "\udc80"], ("x",), [""]]
            for value in values.get(argument.kind, []):
                yield from reached(entry, [*arguments[:index], value, *arguments[index + 1 :]])

    walk(check)


def test_no_call_keeps_what_it_was_given():
    """After refused calls and calls that reached the kernel every argument has as many references as before."""

    def check(entry):
        arguments = valid(entry)
        objects = [value for value in arguments if not isinstance(value, int)]
        before = list(map(sys.getrefcount, objects))
        for index in range(len(arguments)):
            for _, function in doors(entry):
                outcome(function, [*arguments[:index], object(), *arguments[index + 1 :]])
        for _, function in (doors(entry)[0], doors(entry)[2]):
            function(*arguments)
        if (after := list(map(sys.getrefcount, objects))) != before:
            yield f"{entry.name}: references were {before}, are {after}"

    walk(check)


# ---- refused calls ----


def test_refused_calls_are_refused_in_every_door():
    """RefusedCallError names the call and the right tool, and is a NotImplementedError too."""
    refused = [entry for entry in LIVE if entry.status == "refused"]
    assert len(refused) == 5
    for entry in refused:
        for door, function in doors(entry):
            with pytest.raises(RefusedCallError, match=f"^{entry.name} is refused") as caught:
                function(*[0] * len(entry.arguments))
            assert str(caught.value).endswith(f"use {entry.instead}"), door
            assert isinstance(caught.value, NotImplementedError)


def test_clone_is_refused_with_flags_that_share_the_callers_frame():
    """CLONE_VM, CLONE_SETTLS and a stack are refused whatever else is set; nothing is started."""
    bad = [(flags, 0) for flags in (0x100, 0x80000, 0x111, 2**64 - 1, 1 << 63 | 0x100, 0x4100)] + [
        (17, 4096),
        (17, -16),
    ]

    def check():
        complaints = []
        for door, function in doors(TABLE["clone"]):
            for flags, stack in bad:
                got = outcome(function, [flags, stack, None, None, 0])
                if not isinstance(got, RefusedCallError) or "rawsys." not in str(got):
                    complaints.append(f"{door}({flags:#x}, {stack}) gives {got!r}")
        return complaints

    assert in_cell(check) == []


def test_clone3_is_refused_with_flags_that_share_the_callers_frame():
    """The same inside its structure, of each size the kernel knows; an address, which cannot be checked, is TypeError."""

    def fields(size: int, **values: int) -> bytearray:
        names = ["flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls"]
        data = b"".join(values.get(name, 0).to_bytes(8, "little") for name in names)
        return bytearray(data.ljust(size, b"\0")[:size])

    def check():
        complaints = []
        for door, function in doors(TABLE["clone3"]):
            for size in (64, 80, 88, 4096):
                for values in ({"flags": 0x100}, {"flags": 0x80000, "tls": 8}, {"stack": 4096}, {"flags": 2**64 - 1}):
                    got = outcome(function, [fields(size, **values), size])
                    if not isinstance(got, RefusedCallError):
                        complaints.append(f"{door}({values}, {size}) gives {got!r}")
            for bad in (4096, None, 0):
                if type(got := outcome(function, [bad, 64])) is not TypeError:
                    complaints.append(f"{door}({bad}, 64) gives {got!r}")
            if type(got := outcome(function, [bytearray(63), 64])) is not ValueError:
                complaints.append(f"{door}(63 bytes, 64) gives {got!r}")
        if (got := raw.clone3(fields(64), 64)) != -REACHED:
            complaints.append(f"a plain clone3 gives {got!r}")
        return complaints

    assert in_cell(check) == []


# ---- extents that a row cannot say by itself ----


def test_ioctl_checks_the_size_that_its_command_carries():
    """A buffer shorter than _IOC_SIZE of a command with a direction is ValueError; a plain number and longer ones pass."""
    number = 0x80045430  # TIOCGPTN: _IOR('T', 0x30, unsigned int)
    with pytest.raises(ValueError, match="'arg' has 3 bytes, but the kernel may use 4"):
        raw.ioctl(-1, number, bytearray(3))
    assert raw.ioctl(-1, number, bytearray(4)) == -9
    assert raw.ioctl(-1, number, 0) == -9
    assert raw.ioctl(-1, 0x5401, bytearray(1)) == -9


def test_a_length_in_memory_is_checked_before_the_wait():
    """accept with a length above its buffer is ValueError, and leaves both as they were."""
    length = bytearray((17).to_bytes(4, "little"))
    with pytest.raises(ValueError, match="16 bytes, but the kernel may use 17"):
        raw.accept(-1, bytearray(16), length)
    assert length == (17).to_bytes(4, "little")
    assert raw.accept(-1, bytearray(17), length) == -9
    with pytest.raises(ValueError, match="3 bytes"):
        raw.accept(-1, bytearray(0), bytearray(3))


def test_a_length_in_memory_that_is_too_short_is_not_read():
    """Two bytes at the end of a page, where four are needed, are ValueError: the page behind them is not touched."""

    def check() -> list[str]:
        pages = mmap.mmap(-1, 8192)
        address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        assert raw.mprotect(address + 4096, 4096, 0) == 0
        end = memoryview(pages)[4094:4096]
        calls = [
            lambda: raw.accept(-1, bytearray(16), end),
            lambda: raw.recvfrom(-1, bytearray(1), 1, 0, bytearray(16), end),
            lambda: raw.getsockopt(-1, 1, 2, bytearray(4), end),
            lambda: raw.lsm_list_modules(bytearray(8), end, 0),
            lambda: raw.name_to_handle_at(-1, "x", end, bytearray(8), 0),
            lambda: raw.sched_setattr(-1, end, 0),
        ]
        return [type(outcome(call, [])).__name__ for call in calls]

    assert in_child(check) == ["ValueError"] * 6


# ---- memory of every sort ----


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Two ends, closed afterwards."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


class Pair(ctypes.Structure):
    """A structure of 8 bytes."""

    _fields_ = [("a", ctypes.c_int), ("b", ctypes.c_int)]


def _writable() -> dict[str, Any]:
    """Eight writable bytes in each form that a person may have them."""
    page = mmap.mmap(-1, 4096)
    return {
        "bytearray": bytearray(8),
        "memoryview": memoryview(bytearray(24))[8:16],
        "typed memoryview": memoryview(array.array("q", [0])),
        "array": array.array("B", bytes(8)),
        "mmap": page,
        "ctypes array": (ctypes.c_char * 8)(),
        "ctypes structure": Pair(),
        "cffi array": ffi.new("char[8]"),
        "cffi integers": ffi.new("int64_t *"),
        "cffi buffer": ffi.buffer(ffi.new("char[8]")),
    }


@pytest.mark.parametrize("sort", list(_writable()))
def test_the_kernel_reads_into_and_writes_from_memory_of_every_sort(pipe, sort):
    """Eight bytes arrive in it, leave from it, and one byte more than it has is ValueError."""
    memory = _writable()[sort]
    assert raw.write(pipe[1], b"12345678", 8) == 8
    assert raw.read(pipe[0], memory, 8) == 8
    assert raw.write(pipe[1], memory, 8) == 8
    assert os.read(pipe[0], 100) == b"12345678"
    long = 4097 if sort == "mmap" else 9
    for door in (raw.read, syscalls.read):
        with pytest.raises(ValueError, match=f"but the kernel may use {long} of them"):
            door(pipe[0], memory, long)
    with pytest.raises(ValueError):
        raw.write(pipe[1], memory, long)


def test_memory_that_is_only_read_may_be_immutable(pipe):
    """bytes, read-only views and maps, and cffi's view of bytes are written from, and never written to."""
    sorts: list[Any] = [b"12345678", memoryview(b"12345678"), ffi.from_buffer(b"12345678")]
    for memory in sorts:
        assert raw.write(pipe[1], memory, 8) == 8
        assert os.read(pipe[0], 100) == b"12345678"
        with pytest.raises(TypeError, match="'buf' must be a writable"):
            raw.read(pipe[0], memory, 8)
        with pytest.raises(ValueError, match="8 bytes"):
            raw.write(pipe[1], memory, 9)


def test_an_address_is_passed_on(pipe):
    """An int and a cffi pointer whose extent nobody knows go to the kernel as they are; a bad one is its EFAULT."""
    memory = ffi.new("char[8]")
    address = int(ffi.cast("uintptr_t", memory))
    os.write(pipe[1], b"12345678" * 2)
    assert raw.read(pipe[0], address, 8) == 8
    assert ffi.buffer(memory)[:] == b"12345678"
    assert raw.read(pipe[0], ffi.cast("char *", memory), 8) == 8
    assert raw.write(pipe[1], 1, 8) == -14
    assert raw.write(pipe[1], ffi.NULL, 8) == -14
    assert raw.write(pipe[1], None, 0) == 0


def test_a_descriptor_may_be_an_object_with_fileno(pipe):
    """A file object is one; what its fileno() gives is checked like any number, and what it raises comes through."""

    class Fake:
        def __init__(self, number: Any) -> None:
            self.number = number

        def fileno(self) -> Any:
            if isinstance(self.number, Exception):
                raise self.number
            return self.number

    with open(pipe[1], "wb", closefd=False, buffering=0) as file:
        assert raw.write(file, b"x", 1) == 1
    assert os.read(pipe[0], 2) == b"x"
    with pytest.raises(OverflowError):
        raw.close(Fake(2**32 + 1))
    with pytest.raises(TypeError):
        raw.close(Fake("1"))
    with pytest.raises(TypeError):
        raw.close(Fake(True))
    with pytest.raises(KeyError, match="mine"):
        raw.close(Fake(KeyError("mine")))


# ---- syscall() ----


def test_syscall_takes_numbers_that_the_kernel_reads_whole():
    """Outside 0..2**31-1 is OverflowError (2**32 would be read); the x32 alias is refused; no number is TypeError."""
    for number in (-1, -(2**31), 2**31, 2**32, 2**32 + 39, 2**63, 2**64, 2**80, -(2**80)):
        with pytest.raises(OverflowError):
            rawsys.syscall(number)
    for number in (0x40000000, 0x40000000 | 39, 0x40000000 | 58, 2**31 - 1):
        with pytest.raises(RefusedCallError, match="x32"):
            rawsys.syscall(number)
    for wrong in (True, 39.0, "getpid", None, b"39"):
        with pytest.raises(TypeError):
            rawsys.syscall(wrong)
    with pytest.raises(TypeError):
        rawsys.syscall()
    assert rawsys.syscall(39) == os.getpid()


def test_syscall_of_an_unknown_number():
    """Numbers without a row take 0 to 6 ints, buffers or None, and the kernel says ENOSYS; a seventh is TypeError."""
    reserved = [entry.number for entry in TABLE if entry.status == "reserved"]
    unknown = [*range(337, 424), *range(500, 510), 0x3FFFFFFF]
    for number in [*reserved, *unknown]:
        for count in range(7):
            assert rawsys.syscall(number, *[0] * count) == -38, number
    assert rawsys.syscall(400, -1, None, bytearray(3), 2**64 - 1, -(2**63), mmap.mmap(-1, 10)) == -38
    with pytest.raises(TypeError, match="at most 6"):
        rawsys.syscall(400, *[0] * 7)
    for wrong in (1.0, True, "x", b"immutable", object()):
        with pytest.raises(TypeError):
            rawsys.syscall(400, wrong)
    with pytest.raises(OverflowError):
        rawsys.syscall(400, 2**64)


# ---- errno, pins and the GIL ----


def test_raw_calls_never_touch_libc_errno():
    """The thread's errno stays what it was through calls that fail and calls that succeed."""
    where = ctypes.CDLL(None).__errno_location
    where.restype = ctypes.POINTER(ctypes.c_int)
    errno = where()
    calls = [(raw.close, -1), (raw.getpid,), (raw.read, -1, bytearray(1), 1), (rawsys.raw_kill, 0x7FFFFFFF, 0)]
    for function, *arguments in calls:
        errno[0] = 77
        function(*arguments)
        assert errno[0] == 77


class Reader(threading.Thread):
    """A thread that sits in one raw read until a byte comes."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd, self.buffer, self.answer = fd, bytearray(8), None

    def run(self) -> None:
        self.answer = raw.read(self.fd, self.buffer, 8)

    def start_and_block(self) -> None:
        self.start()
        until_blocked(self.native_id, 0)


def test_a_buffer_is_pinned_while_the_call_runs(pipe):
    """A bytearray cannot be resized under a blocked read of another thread, and can be afterwards."""
    reader = Reader(pipe[0])
    reader.start_and_block()
    with pytest.raises(BufferError):
        reader.buffer.append(0)
    with pytest.raises(BufferError):
        reader.buffer.clear()
    os.write(pipe[1], b"x")
    reader.join()
    assert (reader.answer, reader.buffer[:1]) == (1, b"x")
    reader.buffer.clear()


def test_other_threads_run_while_a_raw_read_blocks(pipe):
    """Python goes on here, and ends the wait of the thread that reads: the GIL was released."""
    reader = Reader(pipe[0])
    reader.start_and_block()
    done = sum(1 for _ in range(10_000))
    assert (done, reader.answer) == (10_000, None)
    os.write(pipe[1], b"12345")
    reader.join()
    assert reader.answer == 5


def _getpid_with_a_waiting_thread() -> list[int]:
    """What another thread, which waits for the GIL all the while, could do during many short calls; and after one long one."""
    sys.setswitchinterval(1000)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    info, progress = bytearray(128), []
    waiting = (1 << signal.SIGUSR1 - 1).to_bytes(8, "little")

    def other() -> None:
        raw.rt_sigtimedwait(waiting, info, None, 8)
        progress.append(1)

    thread = threading.Thread(target=other)
    thread.start()
    tid = thread.native_id
    assert tid
    until_blocked(tid, 128)
    raw.tgkill(os.getpid(), tid, signal.SIGUSR1)  # which keeps the GIL
    while not info[0]:  # the kernel writes here before the thread asks for the GIL
        raw.getppid()
    for _ in range(50_000):
        rawsys.raw_getpid()
        raw.getpid()
        syscalls.getpid()
        raw.gettid()
    during = len(progress)
    while not progress:
        raw.sched_yield()  # which releases it
    thread.join()
    return [during, len(progress)]


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="this interpreter has no GIL")
def test_a_getpid_does_not_drop_the_gil():
    """A thread that is ready to run gets no turn during 200,000 short calls, and gets one at the first call that may block."""
    assert in_child(_getpid_with_a_waiting_thread) == [0, 1]


# ---- seen from outside ----


def test_strace_shows_one_instruction_for_one_call(tmp_path):
    """Between two marks there is exactly one getpid and one write, as written."""
    strace, log = need("strace"), tmp_path / "log"
    code = """
        import os, rawsys
        r, w = os.pipe()
        rawsys.raw.getppid()
        rawsys.raw_getpid()
        rawsys.raw_write(w, b"rawsys")
        rawsys.raw.getppid()
    """
    command = [strace, "-f", "-qq", "-o", str(log), INTERPRETER, "-c", script(code)]
    end = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if end.returncode and "ptrace" in end.stderr:
        pytest.skip(f"strace cannot trace here: {end.stderr.strip()}")
    assert (end.returncode, end.stderr) == (0, "")
    lines = [line.split(None, 1)[1] for line in log.read_text().splitlines()]
    first, last = (i for i, line in enumerate(lines) if line.startswith("getppid("))
    between = lines[first + 1 : last]
    assert len(between) == 2, between
    assert re.fullmatch(r"getpid\(\) += \d+", between[0])
    assert re.fullmatch(r'write\(\d+, "rawsys", 6\) += 6', between[1])


def test_the_shim_imports_no_system_call_wrapper_and_no_errno():
    """`nm` shows none of libc's functions that make a system call, and not the place of errno."""
    import rawsys._shim

    command = [need("nm"), "-D", "--undefined-only", rawsys._shim.__file__]
    end = subprocess.run(command, capture_output=True, text=True, check=True)
    symbols = {line.split()[-1].partition("@")[0] for line in end.stdout.splitlines()}
    others = """
        syscall __errno_location sigaction sigprocmask pthread_sigmask raise abort waitpid wait wait3 _exit _Exit
        pread pwrite lseek64 open64 openat64 __open_2 recv send printf puts fopen fwrite posix_spawn system popen sleep usleep
        sysconf
    """
    wrappers = {entry.name for entry in TABLE} | set(others.split())
    assert "PyErr_Format" in symbols  # nm shows something at all
    assert not symbols & wrappers
