"""SharedMemory and memfd: memory that several processes have, found by a descriptor or a name."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import INTERPRETER, in_child, need_root, run_python, script

from rawsys import Fd, constants
from rawsys.errors import BusyError, ClosedError
from rawsys.memory import READ, Mapping, SharedMemory, memfd

PAGE = 4096


@pytest.fixture
def name() -> Iterator[str]:
    """A name that nobody has; whatever a test leaves under it is removed."""
    made = f"rawsys-test-{os.getpid()}"
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("/dev/shm cannot be written here")
    yield made
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"/dev/shm/{made}")


# ---- memfd and seals ----


def test_memfd_seals() -> None:
    """Seals are added and asked; a sealed file refuses what they say, and more seals once F_SEAL_SEAL is on."""
    with memfd("sealed", PAGE, seals=constants.F_SEAL_SHRINK) as fd:
        assert fd.stat().size == PAGE
        assert fd.seals == constants.F_SEAL_SHRINK
        with pytest.raises(PermissionError):
            fd.truncate(0)
        fd.truncate(2 * PAGE)
        fd.add_seals(constants.F_SEAL_GROW)
        with pytest.raises(PermissionError):
            fd.truncate(3 * PAGE)
        with Mapping(PAGE, fd=fd, shared=True):
            with pytest.raises(OSError) as caught:
                fd.add_seals(constants.F_SEAL_WRITE)
            assert caught.value.errno == errno.EBUSY
        fd.add_seals(constants.F_SEAL_WRITE | constants.F_SEAL_SEAL)
        with pytest.raises(PermissionError):
            fd.write(b"x")
        with pytest.raises(PermissionError) as refused:
            Mapping(PAGE, fd=fd, shared=True)
        assert "sealed" in "".join(refused.value.__notes__)
        with Mapping(PAGE, fd=fd, shared=True, prot=READ) as mapping, pytest.raises(PermissionError):
            mapping.protect(3)
        with pytest.raises(PermissionError):
            fd.add_seals(constants.F_SEAL_GROW)


def test_memfd_kinds() -> None:
    """Not sealable from the start, not executable, named, of huge pages; what cannot be is said and leaves nothing open."""
    with memfd("plain", sealable=False) as fd:
        assert fd.seals == constants.F_SEAL_SEAL
        assert os.readlink(f"/proc/self/fd/{fd.fileno()}").startswith("/memfd:plain")
        assert fd.cloexec
    with pytest.raises(PermissionError):
        memfd("plain", sealable=False, seals=constants.F_SEAL_GROW)
    with pytest.raises(OSError):
        memfd("x" * 250)
    for wrong in (3, -5, 5000):
        with pytest.raises(ValueError):
            memfd("x", huge=wrong)
    with pytest.raises(ValueError):
        memfd("x", -1)
    with pytest.raises(TypeError):
        memfd(5)  # type: ignore[arg-type]
    try:
        with memfd("plain", executable=False) as fd:
            assert fd.seals & constants.F_SEAL_EXEC
    except OSError as error:
        assert error.errno == errno.EINVAL  # before Linux 6.3
    with memfd("huge", huge=2 << 20) as fd:
        assert fd.stat().block_size == 2 << 20


# ---- by descriptor ----


def test_by_descriptor() -> None:
    """What one process writes another sees; the size cannot change, so nobody is hit by a signal."""
    with SharedMemory(5000) as ours:
        assert len(ours) == 5000
        assert ours.shared
        assert ours.name is None

        def child() -> bytes:
            with SharedMemory(fd=ours.fd.fileno()) as theirs:
                theirs[4990:4995] = b"child"
                return theirs[:6]

        ours[:6] = b"parent"
        assert in_child(child) == b"parent"
        assert ours[4990:4995] == b"child"
        with pytest.raises(PermissionError):
            ours.fd.truncate(10)
        with pytest.raises(ValueError, match="fixed size"):
            ours.resize(10)
        fd = ours.fd
    assert fd.closed
    with pytest.raises(ClosedError):
        ours[0]


def test_passed_over_a_socket() -> None:
    """An Fd that arrives is owned by the SharedMemory made of it; a view holds both, memory and descriptor."""
    one, other = Fd.socketpair()
    with one, other, SharedMemory(PAGE) as ours:
        one.send_fds(b"x", [ours.fd])
        fd = other.recv_fds(1, 1)[1].pop()
        theirs = SharedMemory(fd=fd)
        assert theirs.fd is fd
        ours[7] = 7
        with memoryview(theirs) as view:
            assert view[7] == 7
            with pytest.raises(BufferError):
                theirs.close()
            assert not fd.closed
        theirs.close()
        assert fd.closed


def test_read_only() -> None:
    """Not writable where it was not asked for, and a file open for reading can be adopted so."""
    with SharedMemory(PAGE) as ours:
        with SharedMemory(fd=ours.fd.fileno(), writable=False) as theirs:
            with pytest.raises(TypeError):
                theirs[0] = 1
            ours[0] = 4
            assert theirs[0] == 4
        with Fd.open(f"/proc/self/fd/{ours.fd.fileno()}") as reading:
            with pytest.raises(PermissionError):
                SharedMemory(fd=reading)
            assert not reading.closed  # what could not be adopted stays its owner's
            with SharedMemory(fd=reading, writable=False) as theirs:
                assert theirs[0] == 4


# ---- by name ----


def test_by_name(name: str) -> None:
    """Who creates is first and alone; who opens has all of it; after unlink it lives on with those who have it."""
    with SharedMemory(PAGE + 1, name=name, mode=0o640) as ours:
        assert Path(f"/dev/shm/{name}").stat().st_mode & 0o777 == 0o640 & ~_umask()
        with pytest.raises(FileExistsError):
            SharedMemory(PAGE, name=name)
        with SharedMemory.open(f"/{name}") as theirs:
            assert len(theirs) == PAGE + 1
            theirs[PAGE] = 5
            assert ours[PAGE] == 5
            theirs.unlink()
            with pytest.raises(FileNotFoundError):
                ours.unlink()
            with pytest.raises(FileNotFoundError):
                SharedMemory.open(name)
            with SharedMemory(PAGE, name=name) as second:
                assert second[:] == bytes(PAGE)
                with pytest.raises(BusyError):
                    ours.unlink()
                second.unlink()
            assert ours[PAGE] == 5


def _umask() -> int:
    old = os.umask(0o22)
    os.umask(old)
    return old


def test_names_that_cannot_be(name: str) -> None:
    """One name without a slash; a link is not followed; an empty file is no memory; nothing is left open."""
    for wrong in ("", "/", "a/b", "..", "/.", "//x"):
        with pytest.raises(ValueError):
            SharedMemory(1, name=wrong)
    with pytest.raises(ValueError):
        SharedMemory(1, name="a\0b")
    for arguments in ({}, {"length": 1, "fd": 0}, {"name": name}, {"name": name, "fd": 0}):
        with pytest.raises(TypeError):
            SharedMemory(**arguments)
    with pytest.raises(ValueError):
        SharedMemory(0, name=name)
    with SharedMemory(1) as anonymous, pytest.raises(ValueError):
        anonymous.unlink()
    os.symlink("/etc/passwd", f"/dev/shm/{name}")
    with pytest.raises(OSError) as caught:
        SharedMemory.open(name)
    assert caught.value.errno == errno.ELOOP
    os.unlink(f"/dev/shm/{name}")
    Path(f"/dev/shm/{name}").touch()
    with pytest.raises(OSError) as empty:
        SharedMemory.open(name)
    assert empty.value.errno == errno.EINVAL


def test_too_large(name: str) -> None:
    """More than the file system holds is ENOSPC when it is made, not a signal when it is used; no name is left."""
    with pytest.raises(OSError) as caught:
        SharedMemory(1 << 50, name=name)
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG, errno.ENOMEM)
    assert not os.path.exists(f"/dev/shm/{name}")


def test_nobody_finds_half_of_it(name: str) -> None:
    """Edge of multiprocessing.shared_memory: there, who opens between creation and sizing finds an empty file.  Here the
    name appears when the size is there: 300 times made beside a process that opens as fast as it can.
    """
    code = f"""
        import select
        from rawsys.memory import SharedMemory
        print("ready", flush=True)
        seen = 0
        while not select.select([0], [], [], 0)[0]:
            try:
                with SharedMemory.open({name!r}) as memory:
                    assert len(memory) == 8192, len(memory)
                    seen += 1
            except FileNotFoundError:
                pass
        print("done")
    """
    with subprocess.Popen([INTERPRETER, "-c", script(code)], stdin=-1, stdout=-1, stderr=-1) as other:
        assert other.stdout and other.stdin and other.stderr
        assert other.stdout.readline() == b"ready\n"
        for _ in range(300):
            with SharedMemory(8192, name=name) as memory:
                os.sched_yield()
                memory.unlink()
        out, err = other.communicate(b"x")
    assert (out, err) == (b"done\n", b"")


def test_who_only_opened_does_not_remove(name: str) -> None:
    """What multiprocessing.shared_memory gets wrong: a process that has only opened it and ends removes it under its users
    (before Python 3.13), and complains.  Here it is there as long as nobody unlinks it, and nobody complains.
    """
    with SharedMemory(PAGE, name=name) as ours:
        ours[0] = 9
        done = run_python(
            f"from rawsys.memory import SharedMemory\nm = SharedMemory.open({name!r})\nprint(m[0])\nm.close()"
        )
        assert (done.stdout, done.stderr, done.returncode) == ("9\n", "", 0)
        assert os.path.exists(f"/dev/shm/{name}")
        forgot = run_python(
            f"from rawsys.memory import SharedMemory\nm = SharedMemory.open({name!r})\nimport os; os.kill(os.getpid(), 9)"
        )
        assert forgot.returncode == -9
        assert os.path.exists(f"/dev/shm/{name}")
        if sys.version_info < (3, 13):
            theirs = run_python(
                f"from multiprocessing.shared_memory import SharedMemory\nm = SharedMemory({name!r})\nm.close()",
                flags=(),
            )
            assert "resource_tracker" in theirs.stderr
            assert not os.path.exists(f"/dev/shm/{name}")
        else:
            ours.unlink()
        assert ours[0] == 9


def test_who_created_may_end(name: str) -> None:
    """The creator ends without unlink, by exit or by SIGKILL: the memory and its name stay; any other may unlink it."""
    for end in ("m.close()", "import os; os.kill(os.getpid(), 9)"):
        run_python(f"from rawsys.memory import SharedMemory\nm = SharedMemory(100, name={name!r})\nm[3] = 3\n{end}")
        with SharedMemory.open(name) as ours:
            assert ours[3] == 3
            ours.unlink()


def test_by_the_kernels_rules(name: str) -> None:
    """Whom the permission bits forbid it is PermissionError, with the file's name."""
    need_root()

    def stranger() -> str:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(PermissionError) as caught:
            SharedMemory.open(name)
        return str(caught.value.filename)

    with SharedMemory(PAGE, name=name) as ours:
        assert in_child(stranger) == f"/dev/shm/{name}"
        ours.unlink()


def test_words_of_an_atomic_lie_in_it() -> None:
    """Its buffer is aligned, writable and one for all: a 64-bit word that four processes count with fetch_add."""
    sync = pytest.importorskip("rawsys.sync", reason="atomics are not in this build")
    assert hasattr(sync, "AtomicU64")

    with SharedMemory(PAGE) as memory:

        def count() -> None:
            word = sync.AtomicU64.at(memory, 64)
            for _ in range(1000):
                word.fetch_add(1)

        for _ in range(4):
            in_child(count)
        assert int.from_bytes(memory[64:72], "little") == 4000
