"""Mapping: an owned range of memory, and what is in it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance import CHECKS, Subject
from memory_maps import PAGE, line_of, maps

from rawsys import Fd, constants, memory, raw
from rawsys.errors import ClosedError
from rawsys.memory import EXEC, NONE, READ, WRITE, Mapping, SharedMemory

MREMAP, MUNMAP, MSEAL, MADVISE = 25, 11, 462, 28


# ---- the ownership law ----

_CODE = "from rawsys.memory import Mapping, SharedMemory, memfd\n"


def _place(owner: Mapping) -> tuple[str, str]:
    line = line_of(owner.address)
    assert line
    return line.inode, line.name


def _mapped(place: Any) -> bool:
    return any((line.inode, line.name) == place for line in maps())


SUBJECTS = [
    Subject(
        "Mapping",
        _CODE + "with memfd('own', 4096) as fd: owner = Mapping(4096, fd=fd)",
        lambda o: o[0],
        _place,
        _mapped,
    ),
    Subject(
        "Mapping read_at",
        _CODE + "with memfd('own', 4096) as fd: owner = Mapping(4096, fd=fd, shared=True)",
        lambda o: o.read_at(8),
        _place,
        _mapped,
    ),
    Subject(
        "Mapping guard",
        _CODE + "with memfd('own', 9000) as fd: owner = Mapping(9000, fd=fd, guard=True)",
        lambda o: o.residency(),
        _place,
        _mapped,
    ),
    Subject("SharedMemory", _CODE + "owner = SharedMemory(4096)", lambda o: o.find(b"x"), _place, _mapped),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_owner(subject: Subject, check: Callable[[Subject], None]) -> None:
    """What the check of this name says."""
    check(subject)


def test_everything_is_refused_after_close() -> None:
    """Each use of a closed mapping is ClosedError, views too; closing again does nothing."""
    mapping = Mapping(PAGE)
    mapping.close()
    uses: list[Callable[[], object]] = [
        lambda: mapping[0], lambda: mapping[:], lambda: len(mapping), lambda: list(mapping), lambda: memoryview(mapping),
        lambda: mapping.find(b"x"), lambda: mapping.read_at(1), lambda: mapping.write_at(b"x"), lambda: mapping.address,
        lambda: mapping.protect(READ), lambda: mapping.advise(0), lambda: mapping.resize(PAGE), mapping.flush, mapping.seal,
        mapping.lock_pages, mapping.unlock_pages, mapping.residency, mapping.__enter__,
        lambda: mapping.__setitem__(0, 1), lambda: mapping.__setitem__(slice(1), b"x"), lambda: raw.read(0, mapping, 1),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(ClosedError):
            use()
    mapping.close()
    assert mapping.closed


def test_flat_over_100000() -> None:
    """100,000 mappings made, touched and closed leave nothing: neither memory, nor ranges, nor objects."""

    def many(count: int) -> None:
        for _ in range(count):
            mapping = Mapping(PAGE)
            mapping[0] = 1
            mapping.close()

    many(1000)
    gc.collect()
    ranges, tracing = len(list(maps())), tracemalloc.is_tracing()
    before = int(Path("/proc/self/statm").read_text().split()[1])
    many(100_000)
    assert not tracing
    assert len(list(maps())) <= ranges + 2
    assert int(Path("/proc/self/statm").read_text().split()[1]) - before < 256


# ---- what is in it ----


def test_sequence() -> None:
    """Items are ints, slices bytes, both from either end and with steps; both can be assigned; iteration ends."""
    with Mapping(300) as mapping:
        mapping[:] = bytes(range(200)) + bytes(100)
        assert (mapping[0], mapping[199], mapping[-1], mapping[-300]) == (0, 199, 0, 0)
        assert mapping[10:13] == b"\x0a\x0b\x0c"
        assert mapping[20:10:-3] == bytes([20, 17, 14, 11])
        assert mapping[500:] == b""
        mapping[5] = 77
        mapping[6:12:2] = b"xyz"
        assert mapping[5:12] == bytes([77, 120, 7, 121, 9, 122, 11])
        assert list(mapping) == list(mapping[:])
        assert len(mapping) == 300
        assert 77 in list(mapping)
        mapping[1:201] = memoryview(mapping)[0:200]  # overlapping: as if copied first
        assert mapping[6] == 77


@pytest.mark.parametrize("index", [300, -301, 2**70])
def test_index_outside(index: int) -> None:
    """An index outside is IndexError."""
    with Mapping(300) as mapping:
        with pytest.raises(IndexError):
            mapping[index]
        with pytest.raises(IndexError):
            mapping[index] = 1


def test_assignments_that_cannot_be() -> None:
    """A slice keeps its length, a byte is 0 to 255, nothing is deleted."""
    with Mapping(8) as mapping:
        with pytest.raises(ValueError, match="3 bytes cannot replace 2"):
            mapping[0:2] = b"abc"
        for value in (256, -1, True, 1.5, None):
            with pytest.raises(ValueError, match="a byte is an int"):
                mapping[0] = value  # type: ignore[assignment]
        with pytest.raises(TypeError):
            del mapping[0]  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            mapping["x"]  # type: ignore[call-overload]
        assert mapping[:] == bytes(8)


def test_index_that_closes() -> None:
    """An index whose conversion closes the mapping finds it closed."""

    class Index:
        def __index__(self) -> int:
            mapping.close()
            return 0

    mapping = Mapping(PAGE)
    with pytest.raises(ClosedError):
        mapping[Index()]


def test_find() -> None:
    """find is that of bytes."""
    with Mapping(100) as mapping:
        mapping[10:13] = mapping[50:53] = b"abc"
        data = mapping[:]
        for arguments in (
            (b"abc",),
            (b"abc", 11),
            (b"abc", -50),
            (b"abc", -51, -48),
            (b"abc", 0, 12),
            (b"zz",),
            (b"",),
            (b"", 100),
            (b"", 101),
            (b"a", 60, 20),
        ):
            assert mapping.find(*arguments) == data.find(*arguments)


def test_buffer() -> None:
    """A view is the memory itself, writable as the mapping is; calls of the kernel take it where they take a buffer."""
    reader, writer = Fd.pipe()
    with Mapping(PAGE) as mapping, reader, writer:
        view = memoryview(mapping)
        view[3:6] = b"abc"
        assert mapping[3:6] == b"abc"
        assert not view.readonly
        view.release()
        assert raw.write(writer, mapping, 8) == 8
        mapping[:] = bytes(PAGE)
        assert raw.read(reader, mapping, PAGE) == 8
        assert mapping[:8] == b"\0\0\0abc\0\0"
        mapping.protect(READ)
        with memoryview(mapping) as view:
            assert view.readonly


def test_named_in_the_module() -> None:
    """The public names are those of __all__, and the constants are the kernel's."""
    assert all(getattr(memory, name) is not None for name in memory.__all__)
    assert (READ, WRITE, EXEC, NONE) == (
        constants.PROT_READ,
        constants.PROT_WRITE,
        constants.PROT_EXEC,
        constants.PROT_NONE,
    )
    assert repr(Mapping) == "<class 'rawsys.memory.mapping.Mapping'>"
    assert issubclass(SharedMemory, Mapping)
