"""How a Mapping begins: files, addresses, guards, huge pages, limits, and what is refused."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memory_maps import PAGE, line_of, maps
from support import in_child, run_child

from rawsys import Fd, constants, raw
from rawsys.memory import READ, WRITE, Mapping

MREMAP, MUNMAP, MSEAL, MADVISE = 25, 11, 462, 28


@pytest.fixture
def file() -> Iterator[Fd]:
    """A file in memory of four pages, each full of its own letter."""
    with Fd.memfd("test") as fd:
        fd.write_all(b"".join(letter * PAGE for letter in (b"a", b"b", b"c", b"d")))
        yield fd


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
    before = sum(line.rights == "---p" for line in maps())
    with pytest.raises(OSError) as caught:
        Mapping(**arguments)
    assert caught.value.errno == number
    assert any(note in text for text in caught.value.__notes__)
    assert sum(line.rights == "---p" for line in maps()) == before


def test_arguments_that_cannot_be() -> None:
    """Wrong kinds are TypeError and wrong values ValueError or OverflowError, before the kernel is asked."""
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (TypeError, {"length": 1.5}), (TypeError, {"length": True}), (TypeError, {"length": None}), (TypeError, {}),
        (ValueError, {"length": -4096}), (ValueError, {"length": 2**63}), (OverflowError, {"length": 2**64}),
        (ValueError, {"length": 1, "offset": PAGE}), (OverflowError, {"length": 1, "fd": 2**32}),
        (TypeError, {"length": 1, "prot": "r"}), (ValueError, {"length": 1, "huge": 3}), (ValueError, {"length": 1, "huge": 1.5}),
        (TypeError, {"length": 1, "shred": True}),
        (ValueError, {"length": 1, "address": 0}),
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
    with open(pool) as held:
        fcntl.flock(
            held, fcntl.LOCK_EX
        )  # the pool is the machine's: two runs at once would restore each other's number
        if int(held.read()):
            pytest.skip("the machine's pool of huge pages is not ours to empty")
        _pool_of_huge_pages(pool, size)


def _pool_of_huge_pages(pool: Path, size: int) -> None:
    try:
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
        pool.write_text("0")


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


def test_the_bare_call() -> None:
    """Edge case 107 on the raw storey: -errno for each of them, and nothing is mapped."""
    anonymous, private = constants.MAP_ANONYMOUS, constants.MAP_PRIVATE
    with Fd.memfd("x") as fd, Mapping(PAGE) as taken:
        for arguments, number in (
            ((None, 0, 3, anonymous | private, -1, 0), errno.EINVAL),
            ((None, PAGE, 3, private, fd, 5), errno.EINVAL),
            ((None, PAGE, 3, anonymous, -1, 0), errno.EINVAL),
            ((None, PAGE, 3, 0, -1, 0), errno.EBADF),
            ((None, PAGE, 3, private, -1, 0), errno.EBADF),
            ((None, 1 << 47, 3, anonymous | private, -1, 0), errno.ENOMEM),
            ((None, 2**64 - 4096, 3, anonymous | private, -1, 0), errno.ENOMEM),
            ((taken.address, PAGE, 3, anonymous | private | constants.MAP_FIXED_NOREPLACE, -1, 0), errno.EEXIST),
        ):
            assert raw.mmap(*arguments) == -number
