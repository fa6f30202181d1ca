"""Mapping: an owned range of memory, its errors, and all that can be done with one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import mmap
import os
import resource
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance import CHECKS, Subject
from support import fail_calls, in_child, run_child

from rawsys import Fd, constants, memory, raw
from rawsys.errors import BusyError, ClosedError
from rawsys.memory import EXEC, NONE, READ, WRITE, Mapping, SharedMemory, memfd

PAGE = mmap.PAGESIZE
MREMAP, MUNMAP, MSEAL, MADVISE = 25, 11, 462, 28


class Line:
    """A line of /proc/self/maps."""

    def __init__(self, text: str) -> None:
        span, self.rights, _, _, self.inode, *name = text.split(maxsplit=5)
        self.start, self.end = (int(end, 16) for end in span.split("-"))
        self.name = name[0] if name else ""


def maps() -> Iterator[Line]:
    """This process's mappings."""
    return map(Line, Path("/proc/self/maps").read_text().splitlines())


def line_of(address: int) -> Line | None:
    """The mapping in which an address lies."""
    return next((line for line in maps() if line.start <= address < line.end), None)


@pytest.fixture
def file() -> Iterator[Fd]:
    """A file in memory of four pages, each full of its own letter."""
    with Fd.memfd("test") as fd:
        fd.write_all(b"".join(letter * PAGE for letter in (b"a", b"b", b"c", b"d")))
        yield fd


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


# ---- how one begins: edge case 107 ----


@pytest.mark.parametrize(
    ("arguments", "number", "note"),
    [
        ({"length": 0}, errno.EINVAL, "at least one byte"),
        ({"length": 0, "guard": True}, errno.EINVAL, "at least one byte"),
        ({"length": 1 << 47}, errno.ENOMEM, "address space"),
        ({"length": 1 << 47, "guard": True}, errno.ENOMEM, "address space"),
        ({"length": 2**63 - 1, "guard": True}, errno.ENOMEM, "address space"),
        ({"length": PAGE, "fd": -1}, errno.EBADF, "mmap("),
        ({"length": PAGE, "address": 4097}, errno.EINVAL, "address has to be a multiple"),
        ({"length": PAGE, "address": 1 << 60}, errno.ENOMEM, "address space"),
    ],
)
def test_what_the_kernel_refuses(arguments: dict[str, Any], number: int, note: str) -> None:
    """Edge case 107: the kernel's errno, the call as it was made, and in words what it means; nothing is left mapped."""
    before = [(line.start, line.end) for line in maps() if line.rights == "---p"]
    with pytest.raises(OSError) as caught:
        Mapping(**arguments)
    assert caught.value.errno == number
    assert any(note in text for text in caught.value.__notes__)
    assert [(line.start, line.end) for line in maps() if line.rights == "---p"] == before


def test_arguments_that_cannot_be() -> None:
    """Wrong kinds are TypeError and wrong values ValueError or OverflowError, before the kernel is asked."""
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (TypeError, {"length": 1.5}), (TypeError, {"length": True}), (TypeError, {"length": None}), (TypeError, {}),
        (ValueError, {"length": -4096}), (ValueError, {"length": 2**63}), (OverflowError, {"length": 2**64}),
        (ValueError, {"length": 1, "offset": PAGE}), (OverflowError, {"length": 1, "fd": 2**32}),
        (TypeError, {"length": 1, "prot": "r"}), (ValueError, {"length": 1, "huge": 3}), (ValueError, {"length": 1, "huge": 1.5}),
        (TypeError, {"length": 1, "shred": True}),
    ]  # fmt: skip
    for exception, arguments in wrong:
        with pytest.raises(exception):
            Mapping(**arguments)


def test_of_a_file(file: Fd) -> None:
    """A private mapping keeps its changes to itself, a shared one writes through; both outlive the descriptor."""
    with (
        Mapping(2 * PAGE, fd=file, offset=PAGE) as private,
        Mapping(2 * PAGE, fd=file.fileno(), offset=PAGE, shared=True) as shared,
    ):
        assert private[0] == ord("b")
        private[0] = ord("P")
        shared[1] = ord("S")
        assert file.pread(2, PAGE) == b"bS"
        assert shared[0] == ord("b")
        shared.flush(PAGE + 5, 10)
        shared.flush(wait=False)
    mapping = Mapping(PAGE, fd=file)
    file.close()
    assert mapping[0] == ord("a")
    mapping.close()


def test_what_the_file_forbids(tmp_path: Path) -> None:
    """A shared, writable mapping of a file open for reading, and any of one open for writing, is EACCES with the reason."""
    (tmp_path / "x").write_bytes(bytes(PAGE))
    for flags, arguments in ((os.O_RDONLY, {"shared": True}), (os.O_WRONLY, {"prot": READ})):
        with Fd.open(tmp_path / "x", flags) as fd, pytest.raises(PermissionError) as caught:
            Mapping(PAGE, fd=fd, **arguments)
        assert "opened" in "".join(caught.value.__notes__)
    with Fd.open(tmp_path / "x") as fd, Mapping(PAGE, fd=fd, shared=True, prot=READ) as mapping:
        with pytest.raises(PermissionError):
            mapping.protect(READ | WRITE)
        assert mapping.prot == READ
        with Mapping(PAGE, fd=fd) as private:
            private[0] = 1
    with Fd.open(tmp_path / "x") as fd, pytest.raises(OSError) as refused:
        Mapping(PAGE, fd=fd, offset=5)
    assert "offset" in "".join(refused.value.__notes__)
    with Fd.open(tmp_path) as directory, pytest.raises(OSError):
        Mapping(PAGE, fd=directory)


def test_address() -> None:
    """A free address is taken as it is; one where something is mapped is FileExistsError, and what is there stays."""
    with Mapping(16 * PAGE) as place:
        free = place.address
    with Mapping(4 * PAGE, address=free + 4 * PAGE, guard=True) as mapping:
        assert mapping.address == free + 4 * PAGE
        mapping[:] = b"x" * 4 * PAGE
        for arguments in (
            {"address": mapping.address},
            {"address": free + 9 * PAGE, "guard": True},
            {"address": free + 8 * PAGE},
        ):
            with pytest.raises(FileExistsError):
                Mapping(PAGE, **arguments)  # type: ignore[arg-type]
        assert mapping[:] == b"x" * 4 * PAGE


@pytest.mark.parametrize("length", [1, PAGE, 3 * PAGE + 1])
def test_guard_pages(length: int) -> None:
    """A guarded mapping has a page without rights on both sides; both go with it."""
    with Mapping(length, guard=True) as mapping:
        end = mapping.address + -(-length // PAGE) * PAGE
        before, inside, after = (line_of(a) for a in (mapping.address - 1, mapping.address, end))
        assert before
        assert inside
        assert after
        assert (before.rights, inside.rights, after.rights) == ("---p", "rw-p", "---p")
        assert (inside.start, inside.end) == (mapping.address, end)
        with pytest.raises(ValueError, match="guard"):
            mapping.resize(length + 1)
    gone = line_of(mapping_end := end)
    assert gone is None or gone.start > mapping_end or gone.rights != "---p" or gone.end - gone.start > PAGE


@pytest.mark.parametrize("side", ["before", "after"])
def test_guard_kills_only_who_touches_it(side: str) -> None:
    """A touch of a guard page is SIGSEGV for the child that does it; the parent's mapping is as it was."""

    def touch() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.memset(mapping.address + (-1 if side == "before" else PAGE), 1, 1)

    with Mapping(PAGE, guard=True) as mapping:
        assert "SIGSEGV" in run_child(touch).describe()
        assert mapping[:] == bytes(PAGE)


def test_huge_populate_locked() -> None:
    """Transparent huge pages are asked for or forbidden; populated pages are resident at once, locked ones too."""
    with Mapping(4 * PAGE, populate=True) as mapping:
        assert mapping.residency() == b"\1" * 4
    with Mapping(4 * PAGE) as mapping:
        mapping[PAGE] = 1
        assert mapping.residency() == b"\0\1\0\0"
        mapping.advise(constants.MADV_DONTNEED)
        assert mapping.residency() == bytes(4)
    for wish, flag in ((True, "hg"), (False, "nh")):
        with Mapping(4 << 20, huge=wish) as mapping:
            assert flag in _flags(mapping)
    with Mapping(2 * PAGE, locked=True) as mapping:
        assert "lo" in _flags(mapping)
        mapping.unlock_pages(5, 1)
        assert "lo" not in _flags(mapping)
        mapping.lock_pages(on_fault=True)
        assert "lo" in _flags(mapping)


def _flags(mapping: Mapping) -> list[str]:
    found = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and ":" not in head:
            start, end = (int(part, 16) for part in head.split("-"))
            found = start <= mapping.address < end
        elif found and head == "VmFlags:":
            return line.split()[1:]
    raise LookupError(mapping)


def test_pages_of_the_huge_pool() -> None:
    """A size takes pages of that size, aligned, with guards around them too; an empty pool is ENOMEM."""
    pool = Path("/proc/sys/vm/nr_hugepages")
    size = 2 << 20
    if not os.access(pool, os.W_OK):
        pytest.skip("needs root to fill the pool of huge pages")
    before = pool.read_text()
    try:
        pool.write_text("0")
        with pytest.raises(OSError) as caught:
            Mapping(size, huge=size)
        assert caught.value.errno == errno.ENOMEM
        pool.write_text("2")
        if int(pool.read_text()) < 2:
            pytest.skip("no huge pages to be had")
        for guard in (False, True):
            with Mapping(5000, huge=size, guard=guard) as mapping:
                mapping[4999] = 1
                assert mapping.address % size == 0
                assert len(mapping) == 5000
                if guard:
                    assert getattr(line_of(mapping.address - 1), "rights", None) == "---p"
                    assert getattr(line_of(mapping.address + size), "rights", None) == "---p"
    finally:
        pool.write_text(before)


def test_limits() -> None:
    """Edge case 108: RLIMIT_AS is ENOMEM; RLIMIT_MEMLOCK is said by the call that locks, and the pages are given back."""

    def limited() -> tuple[int, int, int]:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        os.setresuid(65534, 65534, 65534) if os.geteuid() == 0 else None
        ranges = len(list(maps()))
        with pytest.raises(OSError) as locked:
            Mapping(PAGE, locked=True, shared=True)
        resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
        with pytest.raises(OSError) as space:
            Mapping(1 << 30)
        return locked.value.errno or 0, space.value.errno or 0, len(list(maps())) - ranges

    locked, space, more = in_child(limited)
    assert locked in (errno.EPERM, errno.ENOMEM, errno.EAGAIN)
    assert space == errno.ENOMEM
    assert more <= 1


# ---- rights ----


def test_protect() -> None:
    """What cannot be read or written is refused with an exception where a plain touch would be a signal."""
    with Mapping(2 * PAGE) as mapping:
        mapping.protect(READ)
        assert mapping.prot == READ
        assert mapping[0] == 0
        with pytest.raises(TypeError, match="cannot be written"):
            mapping[0] = 1
        with pytest.raises(TypeError, match="not writable"):
            (ctypes.c_char * 1).from_buffer(mapping)
        mapping.protect(NONE)
        for use in (lambda: mapping[0], lambda: mapping[:], lambda: mapping.find(b"x")):
            with pytest.raises(TypeError, match="cannot be read"):
                use()
        with pytest.raises(BufferError):
            memoryview(mapping)
        with pytest.raises(OSError) as caught:
            mapping.read_at(1)
        assert caught.value.errno == errno.EFAULT
        mapping.protect(READ | WRITE)
        mapping[0] = 1
        with pytest.raises(OSError) as unaligned:
            mapping.protect(READ, 5)
        assert unaligned.value.errno == errno.EINVAL
        assert mapping.prot == READ | WRITE


def test_protect_a_part() -> None:
    """While a part lacks a right the whole does; careful copies look at each page; the whole gets its rights back whole."""
    with Mapping(3 * PAGE) as mapping:
        mapping.protect(NONE, PAGE, PAGE)
        assert mapping.prot == NONE
        with pytest.raises(TypeError):
            mapping[0]
        assert mapping.read_at(PAGE) == bytes(PAGE)
        mapping.write_at(b"x", 2 * PAGE)
        with pytest.raises(OSError) as caught:
            mapping.read_at(PAGE + 1)
        assert "after 4096 of 4097 bytes" in "".join(caught.value.__notes__)
        mapping.protect(READ | WRITE, PAGE, PAGE)
        assert mapping.prot == NONE  # what was not said about the whole is not believed
        mapping.protect(READ | WRITE)
        assert mapping[2 * PAGE] == ord("x")


def test_execute() -> None:
    """Code can be written, made executable and called: mov eax, 42; ret."""
    with Mapping(PAGE) as mapping:
        mapping[:6] = b"\xb8\x2a\0\0\0\xc3"
        mapping.protect(READ | EXEC)
        assert ctypes.CFUNCTYPE(ctypes.c_int)(mapping.address)() == 42


def test_views_hold_it() -> None:
    """With a view alive nothing goes: close, resize and less rights are BufferError, `with` too; more rights are given."""
    mapping = Mapping(2 * PAGE, prot=READ)
    view = memoryview(mapping)
    part = view[10:20]
    view.release()
    mapping.protect(READ | WRITE)
    for change in (
        mapping.close,
        lambda: mapping.protect(READ),
        lambda: mapping.protect(NONE, PAGE),
        lambda: mapping.resize(PAGE),
    ):
        with pytest.raises(BufferError, match="1 view"):
            change()
    with pytest.raises(BufferError, match="1 view"), mapping:
        pass
    assert not mapping.closed
    assert bytes(part) == bytes(10)
    part.release()
    mapping.close()


def test_views_keep_it_alive() -> None:
    """A view outlives the name of its mapping; when both are gone it is the mapping that warns."""
    view = memoryview(Mapping(PAGE))
    gc.collect()
    assert bytes(view) == bytes(PAGE)
    kept = [view]
    del view
    with pytest.warns(ResourceWarning, match="unclosed <Mapping 4096 bytes"):
        kept.clear()


def test_guard_pages_by_advice() -> None:
    """MADV_GUARD_INSTALL makes pages that kill: views and slices are refused then, and it is refused while one lives."""
    with Mapping(2 * PAGE) as mapping:
        with memoryview(mapping), pytest.raises(BufferError):
            mapping.advise(constants.MADV_GUARD_INSTALL)
        try:
            mapping.advise(constants.MADV_GUARD_INSTALL, PAGE)
        except OSError as error:
            pytest.skip(f"this kernel has no MADV_GUARD_INSTALL: {error}")
        with pytest.raises(TypeError):
            mapping[0]
        with pytest.raises(OSError):
            mapping.read_at(1, PAGE)
        assert mapping.read_at(1) == b"\0"
        mapping.advise(constants.MADV_GUARD_REMOVE)
        assert mapping[PAGE] == 0


def test_advice_that_does_not_exist() -> None:
    """The kernel's EINVAL, with the call."""
    with Mapping(PAGE) as mapping, pytest.raises(OSError) as caught:
        mapping.advise(9999)
    assert caught.value.errno == errno.EINVAL
    assert caught.value.__notes__[0].startswith("in madvise(")


# ---- size ----


def test_resize() -> None:
    """Contents stay, what is new is zero, the address may change; a length within a page counts as it is."""
    with Mapping(PAGE) as mapping:
        mapping[:5] = b"hello"
        mapping.resize(1 << 20)
        assert len(mapping) == 1 << 20
        assert mapping[:5] == b"hello"
        assert mapping[-1] == 0
        mapping[-1] = 7
        mapping.resize(10)
        assert mapping[:] == b"hello" + bytes(5)
        with pytest.raises(IndexError):
            mapping[10]
        with pytest.raises(OSError) as caught:
            mapping.resize(0)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(ValueError, match="negative"):
            mapping.resize(-1)
        with pytest.raises(OSError):
            mapping.resize(1 << 50)
        assert mapping[:5] == b"hello"


def test_resize_in_place() -> None:
    """Without leave to move, a mapping with a neighbour behind it stays as it is: ENOMEM."""
    with Mapping(8 * PAGE) as place:
        free = place.address
    with (
        Mapping(PAGE, address=free) as mapping,
        Mapping(PAGE, address=free + PAGE, shared=True),
        pytest.raises(OSError) as caught,
    ):
        mapping.resize(2 * PAGE, may_move=False)
    assert caught.value.errno == errno.ENOMEM


def test_anonymous_shared_memory_does_not_grow() -> None:
    """It keeps the size it was made with: growing it would be a signal at the first touch, and is ValueError."""
    with Mapping(2 * PAGE, shared=True) as mapping:
        with pytest.raises(ValueError, match="memfd"):
            mapping.resize(3 * PAGE)
        mapping.resize(PAGE)
        mapping.resize(2 * PAGE)
        mapping[2 * PAGE - 1] = 1


# ---- seal, failing release ----


def test_seal() -> None:
    """A sealed mapping cannot be changed; close releases the owner, and says that the pages stay."""

    def sealed() -> None:
        with memfd("sealed", PAGE) as fd:
            mapping = Mapping(PAGE, fd=fd, shared=True)
        try:
            mapping.seal()
        except OSError as error:
            assert error.errno == errno.ENOSYS
            assert "6.10" in "".join(error.__notes__)
            mapping.close()
            pytest.skip("this kernel has no mseal")
        assert mapping.sealed
        with pytest.raises(PermissionError):
            mapping.protect(READ)
        with pytest.raises(PermissionError):
            mapping.resize(2 * PAGE)
        mapping[0] = 1
        address = mapping.address
        with pytest.warns(ResourceWarning, match="stay until the process ends"):
            mapping.close()
        assert mapping.closed
        assert "sealed bytes stay" in repr(mapping)
        line = line_of(address)
        assert line
        assert "sealed" in line.name
        mapping.close()

    in_child(sealed)


def test_seal_on_an_old_kernel() -> None:
    """Where mseal is missing the error names the kernel that has it, and nothing is sealed."""

    def old() -> tuple[int | None, str, bool]:
        fail_calls(errno.ENOSYS, MSEAL)
        with Mapping(PAGE) as mapping:
            with pytest.raises(OSError) as caught:
                mapping.seal()
            return caught.value.errno, " ".join(caught.value.__notes__), mapping.sealed

    number, notes, sealed = in_child(old)
    assert (number, sealed) == (errno.ENOSYS, False)
    assert "Linux 6.10" in notes


@pytest.mark.deadline(60)
def test_close_with_too_many_ranges() -> None:
    """Edge case 107: where munmap would have to split a range and vm.max_map_count is reached, close is ENOMEM, the mapping
    is still there and owned, and can be closed later.
    """
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    if limit > 300_000:
        pytest.skip(f"vm.max_map_count is {limit}")

    def split() -> tuple[int | None, bytes, bool]:
        import rawsys.errors  # noqa: F401 - nothing may have to be mapped later

        with Mapping(4 * PAGE) as place:
            free = place.address
        left, mapping, right = (Mapping(PAGE, address=free + i * PAGE) for i in range(3))
        mapping[:3] = b"abc"
        line = line_of(mapping.address)
        if line is None or line.end - line.start < 3 * PAGE:
            pytest.skip("the kernel did not join the neighbours")
        fill = []
        try:
            for i in range(limit):
                fill.append(Mapping(PAGE, prot=READ if i & 1 else NONE))
        except OSError:
            pass
        number = None
        try:
            mapping.close()
        except OSError as error:
            number = error.errno
        kept = mapping[:3] if not mapping.closed else b""
        for other in fill:
            other.close()
        for other in (left, mapping, right):
            other.close()
        return number, kept, mapping.closed

    assert in_child(split, deadline=40) == (errno.ENOMEM, b"abc", True)


# ---- threads ----


def test_close_while_another_thread_works_with_it() -> None:
    """Edge case 108: a call in another thread ends first; new ones are refused at once; then it is unmapped."""
    mapping = Mapping(8 << 20, populate=True)
    address, problems = mapping.address, []

    def work() -> None:
        try:
            while True:
                mapping.read_at(4 << 20)
        except ClosedError:
            pass
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        os.sched_yield()
    mapping.close()
    with pytest.raises(ClosedError):
        mapping.read_at(1)
    for thread in threads:
        thread.join()
    assert problems == []
    assert line_of(address) is None or not _same(address, 8 << 20)


def _same(address: int, length: int) -> bool:
    line = line_of(address)
    return line is not None and line.end - line.start >= length


def test_changes_while_another_thread_works_with_it() -> None:
    """resize is BusyError while a call in another thread runs, and done between two; the data that come are always right."""
    problems: list[BaseException] = []
    stop = threading.Event()
    busy = done = 0
    with Mapping(PAGE) as mapping:
        mapping[:] = b"x" * PAGE

        def work() -> None:
            try:
                while not stop.is_set():
                    with contextlib.suppress(BusyError):
                        assert mapping.read_at(PAGE) == b"x" * PAGE
                    os.sched_yield()  # here nothing runs, and another thread gets its turn
            except BaseException as problem:
                problems.append(problem)

        thread = threading.Thread(target=work)
        thread.start()
        end = time.monotonic() + 5
        while time.monotonic() < end and (busy < 20 or done < 20):
            try:
                mapping.resize(PAGE * (1 + (busy + done) % 40))
                done += 1
            except BusyError:
                busy += 1
            os.sched_yield()
        stop.set()
        thread.join()
    assert problems == []
    assert busy and done


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
