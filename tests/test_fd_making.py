"""Constructors of Fd: what they take, and what they leave when they fail; becoming a Python file."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
from support import fail_calls, in_child, run_python
from test_fd_owning import descriptors

from rawsys import raw
from rawsys.errors import ClosedError
from rawsys.fd import Fd

# ---- constructors that fail ----


def test_pair_is_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the second of a pair gets no owner, neither number stays open."""

    class Odd(Fd):
        __slots__ = ()
        count = 0

        @classmethod
        def _fresh(cls, number: int) -> Odd:
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
    """A relative path begins at dir_fd, an Fd or a number; str, bytes and PathLike are names."""
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
    wrong: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: Fd.memfd(1), TypeError),  # type: ignore[arg-type]
        (lambda: Fd.memfd("a\0"), ValueError),
        (lambda: Fd.memfd("x" * 250), OSError),
        (lambda: Fd.eventfd(-1), ValueError),
        (lambda: Fd.eventfd(2**32), OverflowError),
        (lambda: Fd.eventfd(True), TypeError),
    ]
    for make, error in wrong:
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


def test_methods_without_arguments_take_none() -> None:
    """close(1), fileno(1) and into_raw(1) are TypeErrors and do nothing."""
    with Fd.open("/etc/passwd") as fd:
        for method in (fd.close, fd.fileno, fd.into_raw):
            with pytest.raises(TypeError):
                method(1)  # type: ignore[call-arg]
        assert fd.stat().is_file()


def test_import_is_cheap() -> None:
    """Importing rawsys.fd loads none of the slow modules, nor the constants, the table or the records."""
    done = run_python(
        """
        import sys
        before = set(sys.modules)
        import rawsys.fd
        print(*sorted(set(sys.modules) - before))
        """,
        flags=("-I", "-S"),
    )
    slow = {"typing", "enum", "ctypes", "dataclasses", "inspect", "re"}
    slow |= {"rawsys.constants", "rawsys.table", "rawsys.errors", "rawsys.fd.records"}
    loaded = set(done.stdout.split())
    assert not done.stderr
    assert "rawsys.fd" in loaded
    assert slow & loaded == set()
