"""Reading, writing and moving bytes: edge cases 25 to 29."""

from __future__ import annotations

import array
import errno
import mmap
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import in_child, until_blocked

from rawsys import constants
from rawsys.errors import ClosedError
from rawsys.fd import Fd
from rawsys.fd.moving import _until

MOST = 0x7FFFF000


# ---- edge cases ----


def test_25_write_is_short_and_write_all_goes_on() -> None:
    """25: a non-blocking write of 1 MiB to a pipe takes 65536 bytes; write_all with a reader writes all of it."""
    read, write = Fd.pipe()
    data = os.urandom(1 << 20)
    with read, write:
        write.nonblocking = True
        assert write.write(data) == 65536
        with pytest.raises(BlockingIOError):
            write.write(data)
        assert read.read(1 << 20) == data[:65536]
        write.nonblocking = False
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(read.read_all(len(data))), daemon=True)
        reader.start()
        write.write_all(data)
        reader.join()
    assert got == [data]


def test_25_write_all_that_cannot_go_on_tells_how_far_it_came() -> None:
    """25: where no more can be written now, the BlockingIOError of write_all says how much was."""
    read, write = Fd.pipe(os.O_NONBLOCK)
    with read, write:
        for taken in (65536, 0):
            with pytest.raises(BlockingIOError) as caught:
                write.write_all(b"x" * 100_000)
            assert caught.value.characters_written == taken
        assert len(read.read_all()) == 65536


def test_26_nothing_there_is_not_the_end() -> None:
    """26: an empty non-blocking pipe raises BlockingIOError; once the writer is gone it is b"", also read_all."""
    read, write = Fd.pipe(os.O_NONBLOCK)
    with read:
        reads: list[Callable[[], object]] = [lambda: read.read(1), read.read_all]
        fills: list[Callable[[], object]] = [lambda: read.readinto(bytearray(1)), lambda: read.readv([bytearray(1)])]
        for attempt in reads + fills:
            with pytest.raises(BlockingIOError) as caught:
                attempt()
            assert caught.value.errno == errno.EAGAIN
        write.write_all(b"some")
        assert read.read_all() == b"some"
        write.close()
        for attempt in reads:
            assert attempt() == b""
        for attempt in fills:
            assert attempt() == 0


def test_27_more_than_the_kernel_takes_at_once() -> None:
    """27: the kernel cuts a count at 0x7ffff000; write says so, write_all and send_file go on."""
    size = MOST + 12345
    with Fd.open("/dev/null", os.O_WRONLY) as null, mmap.mmap(-1, size) as memory:
        assert null.write(memory) == MOST
        null.write_all(memory)
        assert null.writev([memory]) == MOST


def test_27_counts_are_cut_and_added_up() -> None:
    """27: copying in the kernel asks for at most 0x7ffff000 bytes, until the count is reached or the source ends."""
    asked: list[int] = []

    def call(count: int) -> int:
        asked.append(count)
        return count

    assert _until(2 * MOST + 5, call) == 2 * MOST + 5
    assert asked == [MOST, MOST, 5]
    answers = iter([3, 4, 0])
    assert _until(10, lambda count: next(answers)) == 7


def test_28_writing_to_a_closed_pipe() -> None:
    """28: without a reader a write is BrokenPipeError; the process, in which Python ignores SIGPIPE, lives."""
    read, write = Fd.pipe()
    with write:
        read.close()
        for attempt in (lambda: write.write(b"x"), lambda: write.write_all(b"x"), lambda: write.writev([b"x"])):
            with pytest.raises(BrokenPipeError):
                attempt()


def test_28_sending_to_a_closed_socket() -> None:
    """28: send_fds raises BrokenPipeError even where SIGPIPE would end the process."""

    def test() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        one, other = Fd.socketpair()
        other.close()
        with one, pytest.raises(BrokenPipeError):
            one.send_fds(b"x", [])

    in_child(test)


def test_29_memory_that_cannot_be_written_is_refused() -> None:
    """29: reads into bytes are TypeError or BufferError before the call."""
    with Fd.open("/dev/zero") as zero:
        for bad in (b"bytes", memoryview(b"view"), "text", 5, None):
            with pytest.raises((TypeError, BufferError)):
                zero.readinto(bad)  # type: ignore[arg-type]
            with pytest.raises((TypeError, BufferError)):
                zero.readv([bytearray(1), bad])  # type: ignore[list-item]
        with Fd.open("/dev/null", os.O_WRONLY) as null:
            for bad in ("text", 5, None):
                for attempt in (null.write, null.write_all, lambda data: null.writev([data])):
                    with pytest.raises(TypeError):
                        attempt(bad)  # type: ignore[arg-type]


def test_29_zero_bytes_still_find_a_dead_descriptor() -> None:
    """29: a count of 0 still asks the kernel (EBADF of a borrowed number that is gone), and the owner (ClosedError)."""
    number = os.memfd_create("dead")
    dead, closed = Fd.borrow(number), Fd.memfd("closed")
    os.close(number)
    closed.close()
    attempts: list[Callable[[Fd], object]] = [
        lambda fd: fd.read(0),
        lambda fd: fd.readinto(bytearray()),
        lambda fd: fd.readv([]),
        lambda fd: fd.write(b""),
        lambda fd: fd.write_all(b""),
        lambda fd: fd.writev([]),
        lambda fd: fd.send_file(1, 0),
        lambda fd: fd.copy_range(1, 0),
        lambda fd: fd.wait_readable(0),
    ]
    for attempt in attempts:
        with pytest.raises(OSError) as caught:
            attempt(dead)
        assert caught.value.errno == errno.EBADF
        with pytest.raises(ClosedError):
            attempt(closed)


# ---- more than one buffer, all of something ----


def test_readv_and_writev_go_through_buffers_in_order() -> None:
    """Buffers of any kind are filled and taken one after the other; empty ones and generators are fine."""
    with Fd.memfd("vectors") as fd:
        parts: list[Any] = [b"ab", bytearray(b""), memoryview(b"cde")[1:], array.array("i", [0x64646464])]
        assert fd.writev(part for part in parts) == 8
        fd.seek(0)
        one, two = bytearray(3), array.array("B", bytes(100))
        assert fd.readv([one, two]) == 8
        assert (bytes(one), bytes(two[:6])) == (b"abd", b"edddd\0")
        one.append(0)  # no longer pinned
        assert fd.readv([one]) == 0


def test_buffers_are_pinned_during_a_vectored_read() -> None:
    """While readv waits, its buffers cannot be resized; afterwards they can, also after an error."""
    read, write = Fd.pipe()
    buffer = bytearray(4)
    with read, write:
        thread = threading.Thread(target=lambda: read.readv([buffer]), daemon=True)
        thread.start()
        until_blocked(thread.native_id or 0, 19)
        with pytest.raises(BufferError):
            buffer.clear()
        write.write_all(b"abcd")
        thread.join()
        assert buffer == b"abcd"
        write.close()
        with pytest.raises((TypeError, BufferError)):
            read.readv([buffer, b"bytes"])
        buffer.clear()


def test_vectors_beyond_the_kernels_limit() -> None:
    """More than 1,024 buffers: the first 1,024 are used, as by a short read or write."""
    with Fd.memfd("many") as fd:
        assert fd.writev([b"x"] * 2000) == 1024
        fd.seek(0)
        buffers = [bytearray(1) for _ in range(1100)]
        assert fd.readv(buffers) == 1024
        assert bytes(buffers[1023] + buffers[1024]) == b"x\0"


@pytest.mark.parametrize("size", [0, 1, 2048, 2049, 65536, 65537, 1_000_000, 40_000_000])
def test_read_all_of_any_size(size: int) -> None:
    """read_all gives the whole rest of a file, or at most `limit` bytes of it."""
    with Fd.memfd("size") as fd:
        data = os.urandom(min(size, 4096)) * (size // 4096 + 1)
        data = data[:size]
        fd.write_all(data)
        for start, limit in (
            (0, None),
            (size // 2, None),
            (0, 100),
            (0, size),
            (0, size + 1),
            (0, 0),
            (size + 5, None),
        ):
            fd.seek(start)
            assert fd.read_all(limit) == (data[start:] if limit is None else data[:limit])


def test_read_all_where_no_size_is_known() -> None:
    """Files of /proc, devices, and pipes whose writer writes bit by bit are read to the end."""
    with Fd.open("/proc/self/maps") as fd:
        assert fd.read_all().endswith(b"[vsyscall]\n") or fd.seek(0, 1) > 0
    with Fd.open("/dev/zero") as zero:
        assert zero.read_all(3_000_000) == bytes(3_000_000)
    read, write = Fd.pipe()
    with read:

        def bits() -> None:
            with write:
                for number in range(3000):
                    write.write_all(b"%05d" % number)

        thread = threading.Thread(target=bits, daemon=True)
        thread.start()
        assert read.read_all() == b"".join(b"%05d" % number for number in range(3000))
        thread.join()


@pytest.mark.parametrize("bad", [-1, True, 1.0, "1"])
def test_bad_counts(bad: Any) -> None:
    """Counts are ints from 0 on."""
    with Fd.memfd("counts") as fd:
        for attempt in (
            fd.read,
            fd.read_all,
            lambda n: fd.send_file(1, n),
            lambda n: fd.copy_range(1, n),
            lambda n: fd.splice(1, n),
        ):
            with pytest.raises((TypeError, ValueError)):
                attempt(bad)


def test_write_all_takes_every_kind_of_buffer() -> None:
    """write_all counts bytes, not items, and needs contiguous memory."""
    with Fd.memfd("kinds") as fd:
        for data in (
            b"bytes",
            bytearray(b"array"),
            memoryview(b"view"),
            array.array("q", [1, 2]),
            memoryview(b"abcdef").cast("B", (2, 3)),
        ):
            fd.truncate(0)
            fd.seek(0)
            fd.write_all(data)
            assert fd.pread(100, 0) == bytes(data)
        with pytest.raises((TypeError, BufferError)):
            fd.write_all(memoryview(b"abcdef")[::2])


# ---- inside the kernel ----


def test_send_file() -> None:
    """send_file copies from the position, which moves, or from an offset, which does not; the end makes it short."""
    read, write = Fd.pipe()
    with Fd.memfd("source") as source, read, write:
        source.write_all(b"0123456789")
        source.seek(2)
        assert source.send_file(write, 3) == 3
        assert source.send_file(write.fileno(), 100) == 5
        assert source.send_file(write, 100) == 0
        assert source.send_file(write, 2, 8) == 2
        assert source.send_file(write, 2, offset=9) == 1
        assert source.seek(0, os.SEEK_CUR) == 10
        assert read.read(100) == b"23456789899"
        write.nonblocking = read.nonblocking = True
        source.truncate(200_000)
        with pytest.raises(BlockingIOError) as caught:
            source.send_file(write, 200_000, 0)
        assert caught.value.characters_written == len(read.read_all()) > 0


def test_copy_range() -> None:
    """copy_range copies between files, each side from its position or from an offset."""
    with Fd.memfd("source") as source, Fd.memfd("target") as target:
        source.write_all(b"0123456789")
        assert source.copy_range(target, 4, offset=6) == 4
        assert source.copy_range(target, 100, offset=0, to_offset=8) == 10
        source.seek(8)
        assert source.copy_range(target.fileno(), 100) == 2
        assert target.pread(100, 0) == b"678989" + b"\0\0" + b"0123456789"
        assert (source.seek(0, 1), target.seek(0, 1)) == (10, 6)
        with pytest.raises(OSError) as caught:
            source.copy_range(source, 5, offset=0, to_offset=2)
        assert caught.value.errno == errno.EINVAL


def test_splice() -> None:
    """splice moves between a pipe and something else; it moves what is there, like read."""
    read, write = Fd.pipe()
    with Fd.memfd("file") as file, read, write:
        file.write_all(b"0123456789")
        assert file.splice(write, 4, offset=2) == 4
        assert read.splice(file, 100, to_offset=10) == 4
        assert file.pread(100, 10) == b"2345"
        for arguments in ({"flags": 2}, {"flags": constants.SPLICE_F_NONBLOCK}):
            with pytest.raises(BlockingIOError):
                read.splice(file, 5, **arguments)
        with pytest.raises(OSError) as caught:
            file.splice(file, 5)
        assert caught.value.errno == errno.EINVAL
        write.close()
        assert read.splice(file, 5) == 0
