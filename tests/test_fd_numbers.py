"""Fd and the numbers it gets: close-on-exec, dup_to, limits, 0 to 2: edge cases 19 to 24."""

from __future__ import annotations

import errno
import itertools
import os
import resource
from collections.abc import Callable
from typing import Any

import pytest
from support import few_descriptors, in_child
from test_fd_owning import descriptors

from rawsys import raw, syscalls
from rawsys.errors import BusyError
from rawsys.fd import Fd

pytestmark = few_descriptors


def makers() -> dict[str, Callable[[], Any]]:
    """Every way to a new descriptor."""
    return {
        "open": lambda: Fd.open("/etc/passwd"),
        "open creating": lambda: Fd.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o600),
        "openat2": lambda: Fd.open("/etc/passwd", resolve=0),
        "openat2 creating": lambda: Fd.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o600, resolve=0),
        "pipe": lambda: Fd.pipe(),
        "pipe flags": lambda: Fd.pipe(os.O_NONBLOCK),
        "socketpair": lambda: Fd.socketpair(),
        "memfd": lambda: Fd.memfd("cloexec"),
        "memfd no seals": lambda: Fd.memfd("cloexec", seals=False),
        "eventfd": lambda: Fd.eventfd(),
        "semaphore": lambda: Fd.eventfd(semaphore=True),
    }


@pytest.mark.parametrize("name", makers())
def test_19_close_on_exec_from_the_start(name: str) -> None:
    """19: every constructor gives close-on-exec descriptors; so do dup, dup_to and what a socket brings."""
    made = makers()[name]()
    for fd in made if isinstance(made, tuple) else (made,):
        one, other = Fd.socketpair()
        with fd, one, other, fd.dup() as dup, fd.dup_to(200) as at, Fd.open("/etc/passwd") as spare:
            assert one.send_fds(b"x", [fd]) == 1
            (arrived,) = other.recv_fds(1, 1)[1]
            with arrived:
                assert [f.cloexec for f in (fd, dup, at, spare, arrived)] == [True] * 5


def test_19_inheriting_is_explicit() -> None:
    """19: a child inherits a descriptor only after `cloexec = False`."""
    with Fd.memfd("inherited") as one, Fd.memfd("not inherited") as other:
        one.cloexec = False
        assert (one.cloexec, other.cloexec) == (False, True)
        numbers = in_child(_after_exec, one.fileno(), other.fileno())
        one.cloexec = True
        assert one.cloexec
    assert numbers == [True, False]


def _after_exec(*numbers: int) -> list[bool]:
    read, write = Fd.pipe()
    pid = os.fork()
    if pid == 0:
        output = write.dup_to(1)  # held: dropped, it would close 1
        output.cloexec = False
        os.execv("/bin/ls", ["ls", "/proc/self/fd"])
    os.waitpid(pid, 0)
    write.close()
    with read:
        found = {int(name) for name in read.read_all().split()}
    return [number in found for number in numbers]


def test_20_dup_to_itself() -> None:
    """20: dup3(a, a) is EINVAL, of a borrowed number; an Fd that owns its number is BusyError before the kernel."""
    with Fd.memfd("same") as fd:
        with pytest.raises(BusyError):
            fd.dup_to(fd.fileno())
        fd.cloexec = False
        assert not fd.cloexec  # dup2 would have kept, dup3 would have set it: nothing was done
    number = os.memfd_create("same")
    with pytest.raises(OSError) as caught:
        Fd.borrow(number).dup_to(number)
    assert caught.value.errno == errno.EINVAL
    os.close(number)


def test_20_dup_to_replaces_what_has_no_owner() -> None:
    """20: a number that is open but not owned here is replaced and owned; one owned here is BusyError, untouched."""
    number = os.open("/etc/passwd", os.O_RDONLY)
    with Fd.memfd("new") as fd:
        fd.write_all(b"content")
        with fd.dup_to(number) as target:
            assert target.fileno() == number
            assert target.pread(7, 0) == b"content"
            with Fd.open("/etc/group") as other:
                with pytest.raises(BusyError, match=f"descriptor {number} has an owner"):
                    other.dup_to(number)
            assert target.stat().size == 7
    assert number not in descriptors()


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (-1, OSError),
        (2**31 - 1, OSError),
        (2**31, OverflowError),
        (2**64, OverflowError),
        (True, TypeError),
        (1.0, TypeError),
    ],
)
def test_20_dup_to_bad_numbers(number: Any, error: type[Exception]) -> None:
    """20, 30: numbers that cannot be descriptors are refused, and nothing is left open."""
    with Fd.memfd("bad") as fd, pytest.raises(error):
        fd.dup_to(number)


def test_21_close_range() -> None:
    """21: close_range takes a range, and says EINVAL for a wrong one; an owner in it notices when it closes."""

    def test() -> list[Any]:
        answers: list[Any] = [raw.close_range(10, 9, 0), raw.close_range(9, 10, 0x100)]
        one, two = Fd.open("/etc/passwd").dup_to(700), Fd.open("/etc/passwd").dup_to(701)
        two.cloexec = False
        syscalls.close_range(701, 2**32 - 1, 4)  # CLOSE_RANGE_CLOEXEC
        answers += [two.cloexec]
        syscalls.close_range(700, 2**32 - 1, 2)  # CLOSE_RANGE_UNSHARE
        for fd in (one, two):
            try:
                fd.close()
            except OSError as error:
                answers.append(error.errno)
        return answers

    assert in_child(test) == [-errno.EINVAL, -errno.EINVAL, True, errno.EBADF, errno.EBADF]


def _at_the_limit(free: int, attempt: Callable[[], object]) -> tuple[int | None, bool]:
    """The errno of `attempt` with only `free` numbers left, and whether everything is as before."""
    os.close(os.open("/etc/passwd", os.O_RDONLY))
    highest = max(descriptors())
    taken = [os.dup(0) for _ in range(len(set(range(highest)) - descriptors()))]
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max([*taken, highest]) + 1 + free, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    before = _by_reading()
    try:
        attempt()
    except OSError as error:
        return error.errno, _by_reading() == before
    return None, _by_reading() == before


def _by_reading() -> set[int]:
    """Open numbers without opening anything."""
    return {number for number in range(1024) if raw.fcntl(number, 1, 0) >= 0}


@pytest.mark.parametrize(
    ("free", "code"),
    [
        (0, "Fd.open('/etc/passwd')"),
        (0, "Fd.open('/etc/passwd', resolve=0)"),
        (0, "Fd.memfd('x')"),
        (0, "Fd.eventfd()"),
        (0, "Fd.pipe()"),
        (1, "Fd.pipe()"),
        (0, "Fd.socketpair()"),
        (1, "Fd.socketpair()"),
        (0, "Fd.borrow(0).dup()"),
    ],
)
def test_22_at_the_limit_nothing_is_half_open(free: int, code: str) -> None:
    """22: with no number left, or only one for a pair, the constructor raises EMFILE and leaves nothing."""

    def test() -> tuple[int | None, bool]:
        os.close(0)
        os.open("/dev/null", os.O_RDWR)
        return _at_the_limit(free, lambda: eval(code))

    assert in_child(test) == (errno.EMFILE, True)


def test_22_descriptors_that_find_no_room_are_told() -> None:
    """22: descriptors that a socket brings when no number is left are an error; none of the others leaks."""

    def test() -> tuple[int | None, bool]:
        os.close(0)
        os.open("/dev/null", os.O_RDWR)
        one, other = Fd.socketpair()
        one.send_fds(b"x", [0, 0, 0])
        return _at_the_limit(2, lambda: other.recv_fds(1, 3))

    assert in_child(test) == (errno.EMSGSIZE, True)


@pytest.mark.parametrize("closed", [c for n in (1, 2, 3) for c in itertools.combinations(range(3), n)])
def test_23_started_without_0_1_2(closed: tuple[int, ...]) -> None:
    """23: where 0, 1 or 2 are closed, new descriptors may get these numbers and are as good as any."""

    def test() -> list[int]:
        for number in closed:
            os.close(number)
        read, write = Fd.pipe()
        numbers = [read.fileno(), write.fileno()]
        assert numbers[0] == closed[0]
        write.write_all(b"x")
        assert read.read(5) == b"x"
        with read.dup(lowest=3) as high:
            assert high.fileno() >= 3
        read.close()
        write.close()
        assert not descriptors() & set(closed)
        return numbers

    in_child(test)


def test_23_owner_of_0_is_no_closed_owner() -> None:
    """23: 0 is a number like any other: an Fd that owns it is open, and closes it."""

    def test() -> None:
        os.close(0)
        with Fd.open("/etc/passwd") as fd:
            assert (fd.fileno(), repr(fd), fd.closed) == (0, "<Fd 0>", False)
            assert fd.read(1)
        assert 0 not in descriptors()

    in_child(test)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_24_permuted_by_dup_and_dup_to(order: tuple[int, int, int]) -> None:
    """24: with the originals put aside by dup, any permutation of 0, 1 and 2 comes out right."""

    def test() -> list[bytes]:
        for number in range(3):
            raw.close(number)
            Fd.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o600).into_raw()
            os.write(number, b"%d" % number)
        aside = [Fd.borrow(number).dup(lowest=10) for number in range(3)]
        placed = [aside[source].dup_to(target) for target, source in enumerate(order)]
        return [fd.pread(1, 0) for fd in placed]

    assert in_child(test) == [b"%d" % source for source in order]
