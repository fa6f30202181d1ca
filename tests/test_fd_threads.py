"""An Fd shared by threads, and threads and forks together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import in_child, until_blocked
from test_fd_owning import descriptors

import rawsys
from rawsys.errors import BusyError, ClosedError
from rawsys.fd import Fd


class Blocked:
    """A thread that waits in a read of an empty pipe, with the Fd it reads."""

    def __init__(self, attempt: Callable[[Fd], Any] = lambda fd: fd.read(1), number: int = 0) -> None:
        self.read, self.write = Fd.pipe()
        self.number = self.read.fileno()
        self.got: list[Any] = []
        self.thread = threading.Thread(target=lambda: self.got.append(attempt(self.read)), daemon=True)
        self.thread.start()
        until_blocked(self.thread.native_id or 0, number)

    def finish(self) -> Any:
        """Give it its byte; what it read."""
        self.write.write_all(b"!")
        self.thread.join()
        self.write.close()
        return self.got[0]


WAYS: dict[str, tuple[Callable[[Fd], Any], int, Any]] = {
    "read": (lambda fd: fd.read(1), 0, b"!"),
    "readv": (lambda fd: fd.readv([bytearray(1)]), 19, 1),
    "raw.read": (lambda fd: rawsys.raw.read(fd, bytearray(1), 1), 0, 1),
    "syscalls.read": (lambda fd: rawsys.syscalls.read(fd, bytearray(1), 1), 0, 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_18_close_under_a_blocked_reader(way: str) -> None:
    """18: close() returns at once and refuses new calls; the number stays until the reader has got its byte."""
    attempt, number, expected = WAYS[way]
    blocked = Blocked(attempt, number)
    blocked.read.close()
    assert blocked.read.closed
    assert repr(blocked.read) == f"<Fd {blocked.number} closed, after 1 call>"
    assert os.path.exists(f"/proc/self/fd/{blocked.number}")
    for use in (blocked.read.fileno, lambda: blocked.read.read(1), lambda: rawsys.raw.lseek(blocked.read, 0, 0)):
        with pytest.raises(ClosedError):
            use()
    blocked.read.close()
    assert blocked.finish() == expected
    assert blocked.number not in descriptors()
    assert repr(blocked.read) == "<Fd closed>"


@pytest.mark.parametrize("timeout", [None, 60])
def test_18_close_under_a_waiter(timeout: float | None) -> None:
    """18: the same for one that waits for readiness, whose number stands in memory."""
    blocked = Blocked(lambda fd: fd.wait_readable(timeout), 271)
    blocked.read.close()
    assert os.path.exists(f"/proc/self/fd/{blocked.number}")
    assert blocked.finish() is True
    assert blocked.number not in descriptors()


def test_18_several_readers() -> None:
    """18: the last of several running calls closes the number."""
    blocked = Blocked()
    second = threading.Thread(target=lambda: blocked.got.append(blocked.read.read(1)), daemon=True)
    second.start()
    until_blocked(second.native_id or 0, 0)
    blocked.read.close()
    assert repr(blocked.read) == f"<Fd {blocked.number} closed, after 2 calls>"
    blocked.write.write_all(b"!")
    assert os.path.exists(f"/proc/self/fd/{blocked.number}")
    assert blocked.finish() == b"!"
    second.join()
    assert blocked.number not in descriptors()


def test_busy_while_a_call_is_in_flight() -> None:
    """into_raw, dup_to onto the number and a second owner for it are BusyError while a reader waits, closed or not."""
    blocked = Blocked()
    with Fd.memfd("other") as other:
        for close in (False, True):
            if close:
                blocked.read.close()
            else:
                with pytest.raises(BusyError, match="1 call;"):
                    blocked.read.into_raw()
            with pytest.raises(BusyError):
                other.dup_to(blocked.number)
            with pytest.raises(BusyError):
                Fd(blocked.number)
    assert blocked.finish() == b"!"


def test_fork_under_a_blocked_reader() -> None:
    """A child has no reader: its close really closes; the parent's close still waits for the parent's reader."""
    blocked = Blocked()

    def child() -> bool:
        blocked.read.close()
        return os.path.exists(f"/proc/self/fd/{blocked.number}")

    assert in_child(child) is False
    blocked.read.close()
    assert os.path.exists(f"/proc/self/fd/{blocked.number}")
    assert blocked.finish() == b"!"
    assert blocked.number not in descriptors()


def test_fork_after_a_deferred_close() -> None:
    """A child made after close() and before the reader got its byte has the number still; it goes with the object."""
    blocked = Blocked()
    blocked.read.close()

    def child() -> list[bool]:
        seen = [os.path.exists(f"/proc/self/fd/{blocked.number}")]
        blocked.thread._target = None  # type: ignore[attr-defined]
        blocked.read.close()
        return seen

    assert in_child(child) == [True]
    assert blocked.finish() == b"!"


def test_raw_fork_under_a_blocked_reader() -> None:
    """The same for a naked fork, which no hook of Python or libc notices."""

    def test() -> list[Any]:
        blocked = Blocked()
        pid = rawsys.raw_fork()
        if pid == 0:
            # Another thread lives, so this child keeps to what needs no lock of libc's: owners and raw calls.
            status = 2
            try:
                blocked.read.close()
                status = rawsys.raw.fcntl(blocked.number, 1, 0)
            finally:
                rawsys.raw_exit(-status)
        answers: list[Any] = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
        blocked.read.close()
        answers.append(os.path.exists(f"/proc/self/fd/{blocked.number}"))
        return [*answers, blocked.finish(), os.path.exists(f"/proc/self/fd/{blocked.number}")]

    assert in_child(test) == [9, True, b"!", False]  # 9: EBADF in the child


def test_reuse_of_numbers_by_many_threads() -> None:
    """17: threads that open, write, check and close at once never see each other's files, though numbers are reused."""
    problems: list[str] = []

    def work(name: int) -> None:
        text = b"%d" % name
        for _ in range(200):
            with Fd.memfd("mine") as fd:
                fd.write_all(text)
                if fd.pread(10, 0) != text:
                    problems.append(f"{name} saw another file")

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
