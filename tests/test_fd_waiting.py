"""Waiting: EINTR, deadlines, readiness; and the properties of a descriptor."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import until_blocked

from rawsys import constants, syscalls
from rawsys.errors import ClosedError
from rawsys.fd import Fd, _numbers

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
    """A signal interrupts the main thread's next wait in the call `number`; `handler` runs as its Python handler."""
    ran: list[str] = []
    main = threading.main_thread()

    def send() -> None:
        until_blocked(os.getpid(), number)
        signal.pthread_kill(main.ident or 0, signal.SIGUSR1)

    def run() -> None:
        ran.append("ran")
        handler()

    thread = threading.Thread(target=send, daemon=True)
    with handled(signal.SIGUSR1, run):
        thread.start()
        try:
            yield ran
        finally:
            thread.join()


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
        assert (read.nonblocking, read.flags & os.O_ACCMODE, write.flags & os.O_ACCMODE) == (
            False,
            os.O_RDONLY,
            os.O_WRONLY,
        )
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
    assert [
        n for n in vars(_numbers) if n.isupper() and getattr(errno, n, getattr(_numbers, n)) != getattr(_numbers, n)
    ] == []
    assert set(unknown) <= {"MOST", "MOST_BUFFERS", "SCM_PIDFD", "SCM_RIGHTS", "SOL_SOCKET", "TCGETS"}
    assert checked > 50
