"""Fd as an owner: edge cases 11 to 17, and the table of owners."""

from __future__ import annotations

import errno
import gc
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import fail_calls, few_descriptors, in_child

from rawsys import raw, syscalls
from rawsys.errors import BusyError, ClosedError
from rawsys.fd import Fd, Handle


class Plain(Handle):
    """The least owner there can be: Handle itself is only a base."""

    __slots__ = ()


def descriptors() -> set[int]:
    """What this process has open."""
    with Fd.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY) as listing:
        return {int(entry.name) for entry in listing.list_dir()} - {listing.fileno()}


@contextmanager
def told() -> Iterator[list[str]]:
    """Collects the texts of ResourceWarnings."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
        gc.collect()
    texts += [str(w.message) for w in caught if w.category is ResourceWarning]


# ---- edge cases ----


def test_11_second_close_does_not_hit_a_stranger() -> None:
    """11: close() twice is one close in the kernel: who has the number by then keeps it."""
    fd = Fd.open("/etc/passwd")
    number = fd.fileno()
    fd.close()
    stranger = os.open("/etc/group", os.O_RDONLY)
    assert stranger == number
    fd.close()
    assert os.fstat(stranger)
    os.close(stranger)


@pytest.mark.parametrize("error", [errno.EINTR, errno.EIO, errno.ENOSPC])
def test_12_failed_close_is_told_and_never_tried_again(error: int) -> None:
    """12: a close that fails raises, and the number is given up: a second close() makes no call."""

    def test() -> None:
        fd = Fd.open("/etc/passwd")
        number = fd.fileno()
        with pytest.raises(OSError):
            syscalls.close(-1)  # what describes a call is loaded now: it could not close its files below
        fail_calls(error, 3)
        with pytest.raises(OSError) as caught:
            fd.close()
        assert caught.value.errno == error
        assert f"close({number})" in caught.value.__notes__[0]
        assert fd.closed
        fd.close()
        with told() as texts:
            del fd
        assert texts == []

    in_child(test)


def test_13_closed_behind_our_back_is_an_error() -> None:
    """13: EBADF on the close of an owned descriptor is raised: somebody closed ours."""
    fd = Fd.open("/etc/passwd")
    os.close(fd.fileno())
    with pytest.raises(OSError) as caught:
        fd.close()
    assert caught.value.errno == errno.EBADF
    assert fd.closed


def test_13_closed_behind_our_back_spares_the_next_owner() -> None:
    """13, 17: where the number has another owner by then, the stale one raises EBADF and closes nothing."""
    stale = Fd.open("/etc/passwd")
    number = stale.fileno()
    os.close(number)
    with Fd.open("/etc/group") as stranger:
        assert stranger.fileno() == number
        with pytest.raises(OSError) as caught:
            stale.close()
        assert caught.value.errno == errno.EBADF
        assert stranger.stat().is_file()


def test_13_stale_owner_that_is_forgotten_spares_the_next_owner() -> None:
    """13, 14: the same when the stale one is collected: the error goes to sys.unraisablehook."""
    stale = Fd.open("/etc/passwd")
    os.close(stale.fileno())
    seen: list[Any] = []
    old, sys.unraisablehook = sys.unraisablehook, lambda event: seen.append(event.exc_value)
    try:
        with Fd.open("/etc/group") as stranger, told():
            del stale
            assert stranger.stat().is_file()
    finally:
        sys.unraisablehook = old
    assert [type(error) for error in seen] == [OSError]
    assert seen[0].errno == errno.EBADF


def test_14_exception_in_init() -> None:
    """14: when a subclass's __init__ raises, the descriptor is warned of and closed; nothing else is complained of."""

    class Odd(Fd):
        __slots__ = ()

        def __init__(self, number: int) -> None:
            raise KeyError(number)

    number = os.open("/etc/passwd", os.O_RDONLY)
    with told() as texts:
        with pytest.raises(KeyError):
            Odd(number)
    assert texts == [f"unclosed <Odd {number}>"]
    assert number not in descriptors()


@pytest.mark.parametrize("arguments", [(), (1, 2), ("x",), (None,), (1.0,), (True,)])
def test_14_exception_in_new(arguments: tuple[Any, ...]) -> None:
    """14: where there is nothing to own there is nothing to complain of later."""
    with told() as texts, pytest.raises(TypeError):
        Fd(*arguments)
    assert texts == []


def test_15_child_closes_its_own_copy_only() -> None:
    """15: an Fd that goes in a forked child closes the child's number; the parent's lives and its file goes on."""
    read, write = Fd.pipe()
    with read, write:

        def child() -> None:
            read.close()
            write.write_all(b"from the child")
            write.close()

        in_child(child)
        assert read.read(100) == b"from the child"
        write.write_all(b"still here")
        assert read.read(100) == b"still here"


def test_16_into_raw_gives_the_number_away() -> None:
    """16: after into_raw the number is the caller's: no use, no close and no warning from here."""
    fd = Fd.open("/etc/passwd")
    number = fd.fileno()
    assert fd.into_raw() == number
    assert fd.closed
    assert repr(fd) == "<Fd closed>"
    with pytest.raises(ClosedError):
        raw.lseek(fd, 0, 0)
    for use in (fd.fileno, fd.into_raw, fd.stat, fd.read_all):
        with pytest.raises(ClosedError):
            use()
    fd.close()
    with told() as texts:
        del fd, use
    assert texts == []
    assert os.read(number, 1)
    with Fd(number) as again:
        assert again.fileno() == number


def test_17_stale_object_never_reaches_a_reused_number() -> None:
    """17: an Fd whose number went to somebody else refuses: it never writes to the stranger."""
    mine = Fd.memfd("mine")
    number = mine.fileno()
    mine.close()
    with Fd.memfd("stranger") as stranger:
        assert stranger.fileno() == number
        uses: list[Callable[[], object]] = [
            lambda: mine.write(b"x"),
            lambda: mine.pwrite(b"x", 0),
            lambda: syscalls.write(mine, b"x", 1),
        ]
        for use in uses:
            with pytest.raises(ClosedError):
                use()
        assert stranger.stat().size == 0


# ---- the table of owners ----


def test_one_owner_for_a_number() -> None:
    """A second owner for a number is BusyError, whoever made the first; after close or into_raw it is free again."""
    with Fd.open("/etc/passwd") as fd:
        for owner in (Fd, Plain):
            with pytest.raises(BusyError, match=f"descriptor {fd.fileno()} has an owner"):
                owner(fd.fileno())
        number = fd.into_raw()
        adopted = Plain(number)
        with pytest.raises(BusyError):
            Fd(number)
        adopted.close()
    with pytest.raises(OSError) as caught:
        Fd(number)
    assert caught.value.errno == errno.EBADF


def test_borrowed_is_never_closed() -> None:
    """A borrowed number stays open after close, `with` and collection, and nobody warns; several may borrow."""
    with Fd.open("/etc/passwd") as fd:
        number = fd.fileno()
        with Fd.borrow(number) as one, Fd.borrow(number) as two:
            assert repr(one) == f"<Fd {number} borrowed>"
            assert (one.read(1), two.pread(1, 0)) == (b"r", b"r")
        assert one.closed
        with told() as texts:
            Fd.borrow(number)
        assert texts == []
        assert Fd.borrow(number).into_raw() == number
        assert fd.stat().is_file()
        assert fd.read(1) == b"o"


def test_bad_numbers_are_refused_by_borrow() -> None:
    """borrow takes an open number only."""
    number = os.open("/etc/passwd", os.O_RDONLY)
    os.close(number)
    with pytest.raises(OSError) as caught:
        Fd.borrow(number)
    assert caught.value.errno == errno.EBADF
    for bad in (True, 1.5, "1", None):
        with pytest.raises(TypeError):
            Fd.borrow(bad)  # type: ignore[arg-type]


def test_close_by_the_checked_call_releases_the_owner() -> None:
    """syscalls.close(fd) and raw.close(fd) take the number from its owner."""
    for close in (syscalls.close, raw.close):
        fd = Fd.open("/etc/passwd")
        number = fd.fileno()
        close(fd)
        assert fd.closed
        assert number not in descriptors()


def test_weak_references_die_with_the_owner() -> None:
    """An Fd can be referred to weakly."""
    fd = Fd.open("/etc/passwd")
    reference = weakref.ref(fd)
    assert reference() is fd
    fd.close()
    del fd
    assert reference() is None


@few_descriptors
def test_subclass_gets_its_own_kind() -> None:
    """Constructors called on a subclass give the subclass, also where the checked call gives Fd."""

    class Log(Fd):
        __slots__ = ()

    made = [
        Log.open("/etc/passwd"),
        Log.open("/etc/passwd", resolve=0),
        Log.memfd("x"),
        Log.eventfd(),
        *Log.pipe(),
        *Log.socketpair(),
    ]
    made += [made[0].dup(), made[0].dup_to(300)]
    assert {type(fd) for fd in made} == {Log}
    for fd in made:
        fd.close()
