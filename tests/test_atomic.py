"""Atomics: arithmetic as in C, in own memory or somebody's buffer, waited on with the kernel's futex."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import in_child, until_blocked

from rawsys import AtomicBool, AtomicI64, AtomicU32, AtomicU64, ThreadHandle, constants, raw

WIDTHS = {AtomicU64: (64, False), AtomicI64: (64, True), AtomicU32: (32, False)}
OPERATIONS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "and": lambda a, b: a & b, "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b, "min": min, "max": max,
}  # fmt: skip


def wrapped(value: int, bits: int, signed: bool) -> int:
    value %= 1 << bits
    return value - (1 << bits) if signed and value >> (bits - 1) else value


@pytest.mark.parametrize("cls", WIDTHS)
@given(data=st.data())
def test_every_operation_is_that_of_c(cls: type, data: st.DataObject) -> None:
    """fetch_* gives the old value and leaves what two's complement arithmetic of that width leaves."""
    bits, signed = WIDTHS[cls]
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    value, operand = (data.draw(st.integers(low, high)) for _ in range(2))
    for name, model in OPERATIONS.items():
        word = cls(value)
        assert getattr(word, f"fetch_{name}")(operand) == value
        assert word.load() == wrapped(model(value, operand), bits, signed)
    word = cls(value)
    assert word.compare_exchange(operand, low) == (operand == value, value)
    assert word.load() == (low if operand == value else value)
    assert word.swap(operand) == (low if operand == value else value)
    assert word.load() == operand


@pytest.mark.parametrize("cls", WIDTHS)
def test_operands_of_sums_and_bits_are_words(cls: type) -> None:
    """fetch_add(-1) is fetch_sub(1) in an unsigned word too, while what is stored has to be in range."""
    bits, signed = WIDTHS[cls]
    word = cls(0)
    word.fetch_add(-1)
    assert word.load() == (-1 if signed else (1 << bits) - 1)
    word.fetch_and(~1)
    assert word.load() == (-2 if signed else (1 << bits) - 2)
    word.fetch_xor((1 << bits) - 1)
    assert word.load() == 1
    for wrong in (1 << (bits - signed), -1 - (1 << 63) if signed else -1):
        for call in (word.store, word.swap, word.fetch_min, lambda v: word.compare_exchange(1, v)):
            with pytest.raises(OverflowError):
                call(wrong)
    with pytest.raises(OverflowError):
        word.fetch_add(1 << bits)
    for wrong_type in (True, 1.0, "1", None):
        with pytest.raises(TypeError):
            word.store(wrong_type)
    with pytest.raises(TypeError):
        word.load(1)
    assert word.load() == 1
    assert repr(word) == f"{cls.__name__}(1)"


def test_refusals_tell_the_range_that_holds() -> None:
    """An operand of a sum has a wider one than a value; an offset or a count beyond 64 bits is refused as any other."""
    with pytest.raises(OverflowError, match=r"^4294967296 is outside 0\.\.2\*\*32-1 of an AtomicU32$"):
        AtomicU32().store(2**32)
    with pytest.raises(
        OverflowError, match=r"^4294967296 is outside -2\*\*31\.\.2\*\*32-1 for an operand of an AtomicU32$"
    ):
        AtomicU32().fetch_add(2**32)
    with pytest.raises(OverflowError, match=r"is outside -2\*\*63\.\.2\*\*64-1 for an operand of an AtomicI64$"):
        AtomicI64().fetch_sub(2**64)
    with pytest.raises(OverflowError, match=r"^adder\(\) adds up to 2\*\*63-1 times, not 18446744073709551616$"):
        AtomicU64().adder(2**64)
    for offset in (2**64, -(2**64)):
        with pytest.raises(ValueError, match=f"^8 bytes at offset {offset} are outside the buffer of 16 bytes$"):
            AtomicU64.at(bytearray(16), offset)


def test_bool_is_a_truth_value() -> None:
    """AtomicBool takes and gives bools; any word but 0 in a buffer is True."""
    flag = AtomicBool()
    assert flag.swap(True) is False
    assert flag.compare_exchange(True, False) == (True, True)
    assert flag.fetch_or(True) is False
    assert flag.fetch_and(False) is True
    assert flag.fetch_xor(True) is False
    assert flag.load() is True
    with pytest.raises(TypeError):
        flag.store(1)  # type: ignore[arg-type]
    memory = bytearray(b"\0\0\0\0\xff\0\0\0")
    assert AtomicBool.at(memory, 4).load() is True


def test_word_lies_where_it_was_put() -> None:
    """at(buffer, offset) is that memory, byte for byte; the buffer cannot move while the word lives."""
    memory = bytearray(32)
    word = AtomicU64.at(memory, 8)
    word.store(0x0102030405060708)
    assert memory == bytes(8) + bytes.fromhex("0807060504030201") + bytes(16)
    memory[8] = 9
    assert word.load() & 0xFF == 9
    with pytest.raises(BufferError):
        memory.extend(b"x")
    del word
    memory.extend(b"x")


@pytest.mark.parametrize(("cls", "size"), [(AtomicU64, 8), (AtomicI64, 8), (AtomicU32, 4), (AtomicBool, 4)])
def test_places_that_no_word_fits_are_refused(cls: type, size: int) -> None:
    """Outside the buffer, unaligned, or memory that cannot be written."""
    memory = mmap.mmap(-1, 4096)
    for offset in (-size, 4096, 4096 - size + 1, 1, size // 2):
        with pytest.raises(ValueError):
            cls.at(memory, offset)
    with pytest.raises(BufferError):
        cls.at(bytes(64))
    with pytest.raises(TypeError):
        cls.at(memory, 1.5)
    with pytest.raises((OverflowError, ValueError)):
        cls.at(memory, 1 << 70)
    cls.at(memory, offset=4096 - size)
    memory.close()


def test_processes_add_to_one_word() -> None:
    """Four forked processes that add 10,000 each leave 40,000."""
    word = AtomicU64.at(mmap.mmap(-1, 4096), 64)
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            for _ in range(10_000):
                word.fetch_add(1)
            os._exit(0)
        children.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    assert word.load() == 40_000


def test_wait_is_for_a_change() -> None:
    """Edge 105: another value returns at once, an unchanged one is False when the time is up, a wake is seen."""
    word = AtomicU32(3)
    assert word.wait(4) is True
    before = time.monotonic()
    assert word.wait(3, timeout=0.02) is False
    assert time.monotonic() - before >= 0.02
    assert word.wait(3, 0) is False
    assert word.notify() == 0
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError):
            word.wait(3, wrong)
    with pytest.raises(ValueError):
        word.notify(-1)
    assert word.wait(5, 10**400) is True


@pytest.mark.parametrize("shared", [False, True])
def test_notify_wakes_a_waiting_thread(shared: bool) -> None:
    """A waiter whose word did not change sleeps on; after the store it returns True, and others ran meanwhile."""
    word = AtomicU32.at(mmap.mmap(-1, 4096)) if shared else AtomicU32()
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(word.wait(0, 10)))
    waiter.start()
    while not word.notify():
        os.sched_yield()
    assert waiter.is_alive()
    word.store(1)
    word.notify(1 << 40)
    waiter.join()
    assert results == [True]


def test_waking_crosses_processes() -> None:
    """A child that waits in shared memory is woken from the parent."""
    flag = AtomicBool.at(mmap.mmap(-1, 4096))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if flag.wait(False, timeout=10) else 1)
    while not flag.notify():
        os.sched_yield()
    flag.store(True)
    flag.notify()
    assert os.waitpid(pid, 0)[1] == 0


def test_handlers_run_while_it_waits() -> None:
    """Edges 6 and 105: a handler that returns lets the wait go on to its old end, one that raises ends it."""

    def child() -> int:
        ran = []

        def handler(number: int, frame: object) -> None:
            ran.append(number)
            if len(ran) == 3:
                raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        with pytest.raises(KeyboardInterrupt):
            AtomicU32().wait(0, timeout=10)
        return len(ran)

    assert in_child(child) == 3


@pytest.mark.parametrize("cls", [AtomicU64, AtomicI64])
def test_wide_words_say_what_to_wait_on(cls: type) -> None:
    """The kernel's futex has 32 bits; the error names AtomicU32."""
    for call in (lambda: cls().wait(0), lambda: cls().notify()):
        with pytest.raises(NotImplementedError, match="AtomicU32"):
            call()


def test_answers_of_the_kernel() -> None:
    """Edge 105: what futex says to a wrong value, an end of time, a word that is unaligned or nowhere, nobody to wake."""
    word = bytearray(8)
    address = ctypes.addressof(ctypes.c_char.from_buffer(word))
    wait, wake = constants.FUTEX_WAIT, constants.FUTEX_WAKE
    soon = bytearray((0).to_bytes(8, "little") + (1_000_000).to_bytes(8, "little"))
    assert raw.futex(address, wait, 1, None, None, 0) == -errno.EAGAIN
    assert raw.futex(address, wait, 0, soon, None, 0) == -errno.ETIMEDOUT
    assert raw.futex(address + 1, wait, 0, None, None, 0) == -errno.EINVAL
    assert raw.futex(8, wait, 0, None, None, 0) == -errno.EFAULT
    assert raw.futex(address, wake, 1, None, None, 0) == 0


def test_a_shared_word_is_waited_on_as_shared() -> None:
    """Edge 105: a private wake does not reach who waits in a buffer, notify() does: others may map that memory."""
    memory = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    word = AtomicU32.at(memory)
    waiter = ThreadHandle.spawn(word.wait, 0)
    until_blocked(waiter.tid, 202)
    word.store(1)
    private = raw.futex(address, constants.FUTEX_WAKE | constants.FUTEX_PRIVATE_FLAG, 1, None, None, 0)
    assert (private, word.notify()) == (0, 1)
    assert waiter.join() is True
