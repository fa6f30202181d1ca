"""What is changed about a Mapping: rights, size, seals, release that fails, and threads that meet."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import threading
import time
from pathlib import Path

import pytest
from memory_maps import PAGE, line_of
from support import fail_calls, in_child

from rawsys import constants
from rawsys.errors import BusyError, ClosedError
from rawsys.memory import EXEC, NONE, READ, WRITE, Mapping, memfd

MREMAP, MUNMAP, MSEAL, MADVISE = 25, 11, 462, 28


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
