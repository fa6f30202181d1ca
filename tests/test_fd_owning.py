"""Fd as an owner: edge cases 11 to 24, the table of owners, and what a constructor leaves when it fails."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import resource
import socket
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import fail_calls, in_child, run_python

from rawsys import raw, syscalls
from rawsys.errors import BusyError, ClosedError
from rawsys.fd import Fd, Handle

needs_use = pytest.mark.skipif(not hasattr(Handle, "_use"), reason="the compiled Handle has no _use yet")


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
        in_child(lambda: (read.close(), write.write_all(b"from the child"), write.close()))
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
    for use in (fd.fileno, fd.into_raw, lambda: fd.read(1), fd.stat, lambda: raw.lseek(fd, 0, 0)):
        with pytest.raises(ClosedError):
            use()
    fd.close()
    with told() as texts:
        del fd
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
        for use in (lambda: mine.write(b"x"), lambda: mine.pwrite(b"x", 0), lambda: syscalls.write(mine, b"x", 1)):
            with pytest.raises(ClosedError):
                use()
        assert stranger.stat().size == 0


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
    """19: every constructor gives close-on-exec descriptors, and so do dup, dup_to and what a socket brings."""
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
    """20: dup3(a, a) is EINVAL (of a borrowed number), and an Fd that owns its number is BusyError before the kernel."""
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
    ("number", "error"), [(-1, OSError), (2**31 - 1, OSError), (2**31, OverflowError), (2**64, OverflowError), (True, TypeError), (1.0, TypeError)]
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
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken + [highest]) + 1 + free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
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


# ---- the table of owners ----


def test_one_owner_for_a_number() -> None:
    """A second owner for a number is BusyError, whoever made the first; after close or into_raw it is free again."""
    with Fd.open("/etc/passwd") as fd:
        for owner in (Fd, Handle):
            with pytest.raises(BusyError, match=f"descriptor {fd.fileno()} has an owner"):
                owner(fd.fileno())
        number = fd.into_raw()
        adopted = Handle(number)
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


def test_subclass_gets_its_own_kind() -> None:
    """Constructors called on a subclass give the subclass, also where the checked call gives Fd."""

    class Log(Fd):
        __slots__ = ()

    made = [Log.open("/etc/passwd"), Log.open("/etc/passwd", resolve=0), Log.memfd("x"), Log.eventfd(), *Log.pipe(), *Log.socketpair()]
    made += [made[0].dup(), made[0].dup_to(300)]
    assert {type(fd) for fd in made} == {Log}
    for fd in made:
        fd.close()


# ---- constructors that fail ----


def test_pair_is_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the second of a pair gets no owner, neither number stays open."""

    class Odd(Fd):
        __slots__ = ()
        count = 0

        @classmethod
        def _fresh(cls, number: int) -> Odd:  # type: ignore[override]
            cls.count += 1
            if cls.count % 2 == 0:
                raw.close(number)
                raise MemoryError
            return super()._fresh(number)

    before = descriptors()
    for make in (Odd.pipe, Odd.socketpair):
        with pytest.raises(MemoryError):
            make()
        assert descriptors() == before


def test_failing_open_names_file_and_call() -> None:
    """What the kernel refuses is the right OSError, with the file and the call."""
    with pytest.raises(FileNotFoundError) as caught:
        Fd.open("/nonexistent/file", os.O_RDWR)
    assert caught.value.filename == "/nonexistent/file"
    assert caught.value.__notes__[0].startswith('in openat(AT_FDCWD, "/nonexistent/file", O_RDWR|O_CLOEXEC, ')
    with pytest.raises(NotADirectoryError):
        Fd.open("/etc/passwd", os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(ValueError, match="null byte"):
        Fd.open("a\0b")
    for path in (5, None, 1.0):
        with pytest.raises(TypeError):
            Fd.open(path)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Fd.open("/etc/passwd", True)
    with pytest.raises(OSError) as invalid:
        Fd.open("/etc/passwd", mode=0o666, resolve=1 << 40)
    assert invalid.value.errno == errno.EINVAL


def test_open_by_directory(tmp_path: Any) -> None:
    """A relative path begins at dir_fd: an Fd, a number, or an object with fileno(); str, bytes and PathLike are names."""
    (tmp_path / "name").write_bytes(b"here")
    with Fd.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY) as directory:
        for at in (directory, directory.fileno()):
            for name in ("name", b"name"):
                for resolve in (None, 0, 8):  # RESOLVE_BENEATH
                    with Fd.open(name, dir_fd=at, resolve=resolve) as fd:
                        assert fd.read(9) == b"here"
        with pytest.raises(OSError) as caught:
            Fd.open("../x", dir_fd=directory, resolve=8)
        assert caught.value.errno == errno.EXDEV


def test_open_creates_with_mode(tmp_path: Any) -> None:
    """A new file has `mode` less the umask, by openat as by openat2; O_TMPFILE counts as creating."""
    umask = os.umask(0o027)
    try:
        for name, resolve in (("one", None), ("two", 0)):
            with Fd.open(tmp_path / name, os.O_CREAT | os.O_WRONLY, 0o664, resolve=resolve) as fd:
                assert fd.stat().mode & 0o7777 == 0o640
            with Fd.open(tmp_path, os.O_TMPFILE | os.O_RDWR, 0o604, resolve=resolve) as fd:
                assert fd.stat().mode & 0o7777 == 0o600
                assert fd.stat().links == 0
    finally:
        os.umask(umask)


def test_open_without_openat2() -> None:
    """On a kernel without openat2 an open with `resolve` says which kernel it needs; the others work."""

    def test() -> tuple[int | None, str]:
        fail_calls(errno.ENOSYS, 437)
        Fd.open("/etc/passwd").close()
        try:
            Fd.open("/etc/passwd", resolve=0)
        except OSError as error:
            return error.errno, error.__notes__[1]
        raise AssertionError

    number, note = in_child(test)
    assert number == errno.ENOSYS
    assert "5.6" in note


def test_memfd_and_eventfd_arguments() -> None:
    """Names are str or bytes, counters are not negative, and fit."""
    with Fd.memfd(b"bytes") as one, Fd.memfd("str", seals=False) as two, Fd.eventfd(2**32 - 1) as event:
        assert (one.seals, two.seals) == (0, 1)  # F_SEAL_SEAL
        assert int.from_bytes(event.read(8), sys.byteorder) == 2**32 - 1
    for make, error in (
        (lambda: Fd.memfd(1), TypeError),  # type: ignore[arg-type]
        (lambda: Fd.memfd("a\0"), ValueError),
        (lambda: Fd.memfd("x" * 250), OSError),
        (lambda: Fd.eventfd(-1), ValueError),
        (lambda: Fd.eventfd(2**32), OverflowError),
        (lambda: Fd.eventfd(True), TypeError),
    ):
        with pytest.raises(error):
            make()


def test_eventfd_counts() -> None:
    """An eventfd adds what is written and gives all at once; as a semaphore it gives one at a time."""
    with Fd.eventfd(2) as event, Fd.eventfd(2, semaphore=True) as semaphore:
        for fd, first, left in ((event, 5, False), (semaphore, 1, True)):
            fd.write((3).to_bytes(8, sys.byteorder))
            assert int.from_bytes(fd.read(8), sys.byteorder) == first
            assert fd.wait_readable(0) is left


# ---- becoming a Python file ----


def test_open_file_takes_over() -> None:
    """open_file gives a Python file that owns the number; nothing is cut off, and close-on-exec stays as it was."""
    with Fd.memfd("file") as fd:
        fd.write_all("gr\u00fc\u00dfe\n".encode())
        number = fd.fileno()
        fd.cloexec = False
        fd.seek(0)
        with fd.open_file("r+", encoding="utf-8") as file:
            assert fd.closed
            assert file.fileno() == number
            assert os.get_inheritable(number)
            assert file.read() == "gr\u00fc\u00dfe\n"
            file.write("more")
    with pytest.raises(ClosedError):
        fd.open_file()
    with Fd.open("/etc/passwd") as fd, fd.open_file("rb", buffering=0) as raw_file:
        assert raw_file.read(4) == b"root"
        assert not os.get_inheritable(raw_file.fileno())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": "nonsense"}, ValueError),
        ({"mode": "rb", "encoding": "utf-8"}, ValueError),
        ({"mode": "r", "encoding": "no such encoding"}, LookupError),
        ({"mode": "r", "buffering": 0}, ValueError),
    ],
)
def test_open_file_that_fails_leaks_nothing(arguments: dict[str, Any], error: type[Exception]) -> None:
    """When open refuses, the Fd still owns the number, or the number is closed; `closed` tells which."""
    fd = Fd.open("/etc/passwd")
    number = fd.fileno()
    with pytest.raises(error):
        fd.open_file(**arguments)
    assert (number in descriptors()) is not fd.closed
    fd.close()
    assert number not in descriptors()


def test_open_file_of_a_directory() -> None:
    """A directory is no file for Python: the descriptor is closed then."""
    fd = Fd.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(IsADirectoryError):
        fd.open_file()
    assert fd.closed


def test_interpreter_exit_closes_before_the_listener_goes() -> None:
    """Owners in the locals of a main function that never returns are no reason for a traceback at exit."""
    done = run_python(
        """
        import sys
        from rawsys.fd import Fd
        def main():
            a, b = Fd.pipe()
            sys.exit(3)
        main()
        """,
        flags=("-W", "ignore"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_bad_number_to_adopt() -> None:
    """30: a bool or a float is TypeError, more than a C int OverflowError; what has fileno() is not adopted."""
    with socket.socket() as sock:
        for bad in (True, 1.0, "1", sock):
            with pytest.raises(TypeError):
                Fd(bad)  # type: ignore[arg-type]
    for much in (2**32, 2**64, -(2**40)):
        with pytest.raises(OverflowError):
            Fd(much)


@needs_use
def test_30_negative_is_the_kernels_to_refuse() -> None:
    """30: a negative number is EBADF, and so is the highest C int; the first number beyond is OverflowError."""
    for number in (-1, -(2**31), 2**31 - 1):
        for make in (Fd, Fd.borrow):
            with pytest.raises(OSError) as caught:
                make(number)
            assert caught.value.errno == errno.EBADF
    for make in (Fd, Fd.borrow):
        with pytest.raises(OverflowError):
            make(2**31)


@needs_use
def test_methods_without_arguments_take_none() -> None:
    """close(1), fileno(1) and into_raw(1) are TypeErrors and do nothing."""
    with Fd.open("/etc/passwd") as fd:
        for method in (fd.close, fd.fileno, fd.into_raw):
            with pytest.raises(TypeError):
                method(1)  # type: ignore[call-arg]
        assert fd.stat().is_file()
