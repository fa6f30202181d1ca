"""Reading, writing and moving bytes: edge cases 25 to 29, EINTR, readiness."""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import os
import pty
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import in_child, until_blocked

from rawsys import constants, syscalls
from rawsys.errors import ClosedError
from rawsys.fd import Fd, _numbers
from rawsys.fd.moving import _until

MOST = 0x7FFFF000
NULL = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)


@contextmanager
def handled(number: int, handler: Callable[[], object]) -> Iterator[None]:
    """A Python signal handler for a while; afterwards the kernel's action is as it was, bit for bit."""
    before = bytearray(32)
    syscalls.rt_sigaction(number, None, before, 8)
    old = signal.signal(number, lambda *_: handler())
    try:
        yield
    finally:
        signal.signal(number, old)
        syscalls.rt_sigaction(number, before, None, 8)


@contextmanager
def interrupted(number: int, handler: Callable[[], object]) -> Iterator[list[str]]:
    """The main thread's next wait in the call `number` is interrupted by a signal; `handler` runs as its Python handler."""
    ran: list[str] = []
    main = threading.main_thread()

    def send() -> None:
        until_blocked(os.getpid(), number)
        signal.pthread_kill(main.ident or 0, signal.SIGUSR1)

    def run() -> None:
        ran.append("ran")
        handler()

    thread = threading.Thread(target=send)
    with handled(signal.SIGUSR1, run):
        thread.start()
        try:
            yield ran
        finally:
            thread.join()


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
        reader = threading.Thread(target=lambda: got.append(read.read_all(len(data))))
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
        reads: list[Callable[[], Any]] = [lambda: read.read(1), read.read_all]
        for attempt in (*reads, lambda: read.readinto(bytearray(1)), lambda: read.readv([bytearray(1)])):
            with pytest.raises(BlockingIOError) as caught:
                attempt()
            assert caught.value.errno == errno.EAGAIN
        write.write_all(b"some")
        assert read.read_all() == b"some"
        write.close()
        for attempt in reads:
            assert attempt() == b""
        assert read.readinto(bytearray(1)) == read.readv([bytearray(1)]) == 0


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
    for fd, error in ((dead, OSError), (closed, ClosedError)):
        for attempt in (
            lambda fd: fd.read(0),
            lambda fd: fd.readinto(bytearray()),
            lambda fd: fd.readv([]),
            lambda fd: fd.write(b""),
            lambda fd: fd.write_all(b""),
            lambda fd: fd.writev([]),
            lambda fd: fd.send_file(1, 0),
            lambda fd: fd.copy_range(1, 0),
        ):
            with pytest.raises(error) as caught:
                attempt(fd)
            assert error is ClosedError or caught.value.errno == errno.EBADF  # type: ignore[attr-defined]
        with pytest.raises(error):
            fd.wait_readable(0)


# ---- more than one buffer, all of something ----


def test_readv_and_writev_go_through_buffers_in_order() -> None:
    """Buffers of any kind are filled and taken one after the other; empty ones and generators are fine."""
    with Fd.memfd("vectors") as fd:
        parts = [b"ab", bytearray(b""), memoryview(b"cde")[1:], array.array("i", [0x64646464])]
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
        thread = threading.Thread(target=lambda: read.readv([buffer]))
        thread.start()
        until_blocked(thread.native_id or 0, 19)
        with pytest.raises(BufferError):
            buffer.clear()
        write.write_all(b"abcd")
        thread.join()
        assert buffer == b"abcd"
        write.close()
        with pytest.raises((TypeError, BufferError)):
            read.readv([buffer, b"bytes"])  # type: ignore[list-item]
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
        for start, limit in ((0, None), (size // 2, None), (0, 100), (0, size), (0, size + 1), (0, 0), (size + 5, None)):
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

        thread = threading.Thread(target=bits)
        thread.start()
        assert read.read_all() == b"".join(b"%05d" % number for number in range(3000))
        thread.join()


@pytest.mark.parametrize("bad", [-1, True, 1.0, "1"])
def test_bad_counts(bad: Any) -> None:
    """Counts are ints from 0 on."""
    with Fd.memfd("counts") as fd:
        for attempt in (fd.read, fd.read_all, lambda n: fd.send_file(1, n), lambda n: fd.copy_range(1, n), lambda n: fd.splice(1, n)):
            with pytest.raises((TypeError, ValueError)):
                attempt(bad)


def test_write_all_takes_every_kind_of_buffer() -> None:
    """write_all counts bytes, not items, and needs contiguous memory."""
    with Fd.memfd("kinds") as fd:
        for data in (b"bytes", bytearray(b"array"), memoryview(b"view"), array.array("q", [1, 2]), memoryview(b"abcdef").cast("B", (2, 3))):
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


# ---- EINTR ----


READS: dict[str, tuple[int, Callable[[Fd], Any]]] = {
    "read": (0, lambda fd: fd.read(5)),
    "read_all": (0, lambda fd: fd.read_all()),
    "readinto": (0, lambda fd: fd.readinto(bytearray(5)) * b"x"),
    "readv": (19, lambda fd: fd.readv([bytearray(1), bytearray(10)]) * b"x"),
    "splice": (275, lambda fd: fd.splice(NULL, 5) * b"x"),
    "wait_readable": (271, lambda fd: fd.wait_readable() and fd.read(5)),
    "wait_readable with a deadline": (271, lambda fd: fd.wait_readable(60) and fd.read(5)),
}


@pytest.mark.parametrize("name", READS)
def test_read_goes_on_after_a_signal(name: str) -> None:
    """A call that a signal interrupts while it waits runs the Python handler and goes on."""
    number, attempt = READS[name]
    read, write = Fd.pipe()

    def handler() -> None:
        write.write_all(b"xxxxx")
        write.close()

    with read, interrupted(number, handler) as ran:
        assert attempt(read) == b"xxxxx"
    assert ran == ["ran"]


@pytest.mark.parametrize("name", READS)
def test_handler_that_raises_ends_the_call(name: str) -> None:
    """An exception of a handler comes out of the call, and the descriptor is as good as before."""
    number, attempt = READS[name]

    def fail() -> None:
        raise KeyError("handler")

    read, write = Fd.pipe()
    with read, write:
        with interrupted(number, fail) as ran, pytest.raises(KeyError):
            attempt(read)
        assert ran == ["ran"]
        write.write_all(b"x")
        assert read.read(1) == b"x"


def test_handler_that_closes_ends_the_wait() -> None:
    """A handler that closes the descriptor it interrupted ends a call that Python repeats with ClosedError."""
    read, write = Fd.pipe()
    with write, interrupted(19, read.close), pytest.raises(ClosedError):
        read.readv([bytearray(1)])
    assert read.closed


def test_opening_a_fifo_goes_on_after_a_signal(tmp_path: Any) -> None:
    """An open that waits for a fifo's other end is retried, by openat as by openat2."""
    os.mkfifo(tmp_path / "fifo")
    for number, resolve in ((257, None), (437, 0)):
        other: list[Fd] = []
        with interrupted(number, lambda other=other: other.append(Fd.open(tmp_path / "fifo", os.O_RDWR))) as ran:  # type: ignore[misc]
            with Fd.open(tmp_path / "fifo", resolve=resolve):
                other.pop().close()
        assert ran == ["ran"]


def test_wait_keeps_its_deadline_under_signals() -> None:
    """A wait that is interrupted again and again ends when its time is over, neither earlier nor much later."""
    ticks: list[int] = []
    read, write = Fd.pipe()
    with read, write, handled(signal.SIGALRM, lambda: ticks.append(1)):
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            begin = time.monotonic()
            assert read.wait_readable(0.15) is False
            passed = time.monotonic() - begin
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(ticks) >= 3
    assert 0.15 <= passed < 3


# ---- readiness and properties ----


def test_readiness() -> None:
    """Readable when something is there or the end is; writable when there is room or an error to be told."""
    read, write = Fd.pipe(os.O_NONBLOCK)
    with read:
        assert (read.wait_readable(0), write.wait_writable(0), write.wait_writable()) == (False, True, True)
        with pytest.raises(BlockingIOError):
            write.write_all(bytes(1 << 17))
        assert (read.wait_readable(), write.wait_writable(0), write.wait_writable(0.001)) == (True, False, False)
        read.read_all()
        write.close()
        assert read.wait_readable(0)
    read, write = Fd.pipe()
    with write:
        read.close()
        assert write.wait_writable(0)
    with Fd.memfd("file") as file:
        assert file.wait_readable(0)
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError):
            read.wait_readable(bad)
    with pytest.raises(ClosedError):
        read.wait_readable(0)


def test_properties() -> None:
    """nonblocking, flags, pipe_size, seals and isatty show the kernel's state, and set it."""
    read, write = Fd.pipe()
    with read, write:
        assert (read.nonblocking, read.flags & os.O_ACCMODE, write.flags & os.O_ACCMODE) == (False, os.O_RDONLY, os.O_WRONLY)
        read.nonblocking = True
        assert fcntl.fcntl(read, fcntl.F_GETFL) & os.O_NONBLOCK
        assert not write.nonblocking
        read.nonblocking = False
        assert not fcntl.fcntl(read, fcntl.F_GETFL) & os.O_NONBLOCK
        assert write.pipe_size == 65536
        write.pipe_size = 5000
        assert read.pipe_size == 8192
        write.write_all(bytes(5000))
        with pytest.raises(OSError) as caught:
            write.pipe_size = 4096
        assert caught.value.errno == errno.EBUSY
        assert not read.isatty()
        with pytest.raises(OSError):
            _ = read.seals
    with Fd.memfd("sealed") as file:
        file.add_seals(constants.F_SEAL_GROW)
        with pytest.raises(PermissionError):
            file.write(b"x")
        file.add_seals(constants.F_SEAL_SEAL)
        assert file.seals == constants.F_SEAL_GROW | constants.F_SEAL_SEAL
        with pytest.raises(PermissionError):
            file.add_seals(constants.F_SEAL_SHRINK)
        with pytest.raises(OSError):
            _ = file.pipe_size


def test_terminals() -> None:
    """isatty is True for both sides of a pseudo-terminal, False for a file; a number that is gone is EBADF."""
    one, two = (Fd(number) for number in pty.openpty())
    with one, two, Fd.open("/dev/null") as null:
        assert (one.isatty(), two.isatty(), null.isatty()) == (True, True, False)
    number = os.memfd_create("gone")
    gone = Fd.borrow(number)
    os.close(number)
    with pytest.raises(OSError) as caught:
        gone.isatty()
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError) as caught:
        gone.wait_readable(0)
    assert caught.value.errno == errno.EBADF


def test_numbers_are_the_kernels() -> None:
    """Each plain int that Fd uses is the constant of its name."""
    checked = 0
    for name, value in vars(_numbers).items():
        if name.isupper() and hasattr(constants, name):
            assert int(getattr(constants, name)) == value, name
            checked += 1
    unknown = [n for n in vars(_numbers) if n.isupper() and not hasattr(constants, n) and not hasattr(errno, n)]
    assert [n for n in vars(_numbers) if n.isupper() and getattr(errno, n, getattr(_numbers, n)) != getattr(_numbers, n)] == []
    assert set(unknown) <= {"MOST", "MOST_BUFFERS", "SCM_PIDFD", "SCM_RIGHTS", "SOL_SOCKET", "TCGETS"}
    assert checked > 50
