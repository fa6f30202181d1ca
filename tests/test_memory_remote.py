"""Memory of other processes, by number and by a held process, and the auxiliary vector."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import fail_calls, in_child, need_root

from rawsys import Fd, raw, syscalls
from rawsys.memory import (
    NONE,
    READ,
    Mapping,
    auxv,
    read_memory,
    read_memory_into,
    read_memory_vector,
    write_memory,
    write_memory_vector,
)

PAGE = 4096
PR_GET_AUXV, PRCTL, OPENAT = 0x41555856, 157, 257


class Held:
    """A process that is held by its descriptor, as a Pid is."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd: Fd = syscalls.pidfd_open(pid, 0)

    def fileno(self) -> int:
        return self.fd.fileno()


class Other:
    """A forked child that sits still: `memory` lies at the same address there, with contents of its own."""

    def __init__(self) -> None:
        self.memory = Mapping(4 * PAGE)
        self.memory[:] = bytes(range(256)) * 64
        wait, self.end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.memory[:5] = b"child"
                self.memory.protect(READ, 2 * PAGE, PAGE)
                self.memory.protect(NONE, 3 * PAGE, PAGE)
                os.close(self.end)
                os.read(wait, 1)
            finally:
                os._exit(0)
        os.close(wait)
        self.held = Held(self.pid)
        while read_memory(self.pid, self.memory.address, 5) != b"child" or self._open():
            os.sched_yield()

    def _open(self) -> bool:
        return f"{self.memory.address + 3 * PAGE:x}-" not in Path(f"/proc/{self.pid}/maps").read_text()

    @property
    def address(self) -> int:
        return self.memory.address

    def reap(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def close(self) -> None:
        self.reap()
        os.close(self.end)
        self.held.fd.close()
        self.memory.close()


@pytest.fixture
def other() -> Iterator[Other]:
    """Another process."""
    made = Other()
    yield made
    made.close()


@pytest.fixture(params=["number", "held", "Pid"])
def who(request: pytest.FixtureRequest, other: Other) -> Iterator[Any]:
    """The other process, by its number, and held by a descriptor: by the least that is one, and by a Pid."""
    if request.param == "Pid":
        process = pytest.importorskip("rawsys.process", reason="Pid is not in this build")
        with process.Pid.open(other.pid) as pid:
            yield pid
    else:
        yield other.pid if request.param == "number" else other.held


def test_read(who: Any, other: Other) -> None:
    """Bytes come as they are there, into a new object or a buffer; ours are not touched."""
    assert read_memory(who, other.address, 8) == b"child\5\6\7"
    assert read_memory(who, other.address + 10, 3 * PAGE - 10)[:2] == b"\x0a\x0b"
    buffer = bytearray(10)
    read_memory_into(who, other.address, memoryview(buffer)[2:8])
    assert buffer == b"\0\0child\5\0\0"
    assert read_memory(who, other.address, 0) == b""
    assert other.memory[:5] == bytes(range(5))


def test_write(who: Any, other: Other) -> None:
    """Bytes arrive there and nowhere else, from any buffer."""
    write_memory(who, other.address + PAGE - 2, memoryview(b"_edge_")[1:5])
    assert read_memory(other.pid, other.address + PAGE - 2, 4) == b"edge"
    write_memory(who, other.address, b"")
    assert other.memory[PAGE - 2 : PAGE + 2] == b"\xfe\xff\0\1"


def test_vectors(who: Any, other: Other) -> None:
    """Several ranges in one call; more than a call takes (1,024), empty ones, overlapping ones."""
    place = other.address
    assert read_memory_vector(who, [(place, 5), (place + 8, 0), (place + 255, 2)]) == [b"child", b"", b"\xff\0"]
    assert read_memory_vector(who, []) == []
    many = [(place + i, 1) for i in range(PAGE)]
    assert b"".join(read_memory_vector(who, many)) == read_memory(who, place, PAGE)
    write_memory_vector(who, [(place, b"ab"), (place + 9, b""), (place + PAGE, bytearray(b"cd"))])
    write_memory_vector(who, [(place + 100 + 2 * i, b"z") for i in range(1500)])
    assert read_memory_vector(who, [(place, 3), (place + PAGE, 2), (place + 3098, 1)]) == [b"abi", b"cd", b"z"]


def test_partial(who: Any, other: Other) -> None:
    """A transfer that meets a page that is not there says how far it got; what came before it has been moved."""
    place = other.address
    with pytest.raises(OSError) as caught:
        read_memory(who, place + 2 * PAGE, 2 * PAGE)
    assert (caught.value.errno, _moved(caught.value)) == (errno.EFAULT, PAGE)
    assert "after 4096 bytes" in caught.value.__notes__
    buffer = bytearray(2 * PAGE)
    with pytest.raises(OSError):
        read_memory_into(who, place + 2 * PAGE, buffer)
    assert buffer[:PAGE] == bytes(range(256)) * 16
    with pytest.raises(OSError) as vector:
        read_memory_vector(who, [(place, 10), (place + 3 * PAGE - 5, 10), (place, 10)])
    assert (vector.value.errno, _moved(vector.value)) == (errno.EFAULT, 15)
    with pytest.raises(OSError) as written:
        write_memory(who, place + PAGE, b"w" * 2 * PAGE)  # the second page there can only be read
    assert (written.value.errno, _moved(written.value)) == (errno.EFAULT, PAGE)
    assert read_memory(who, place + PAGE, PAGE + 1) == b"w" * PAGE + b"\0"
    with pytest.raises(OSError) as parts:
        write_memory_vector(who, [(place, b"12"), (place + 2 * PAGE, b"34")])
    assert (parts.value.errno, _moved(parts.value)) == (errno.EFAULT, 2)
    with pytest.raises(OSError) as nothing:
        read_memory(who, place + 3 * PAGE, 1)
    assert (nothing.value.errno, _moved(nothing.value)) == (errno.EFAULT, 0)
    with pytest.raises(OSError) as null:
        write_memory(who, 0, b"x")
    assert null.value.errno == errno.EFAULT


def _moved(error: OSError) -> int:
    return int(error.characters_written)  # type: ignore[attr-defined]


def test_a_number_that_is_nobodys() -> None:
    """No such process is ProcessLookupError, with the call."""
    for pid in (2**22 + 1, -1, 0):
        with pytest.raises(ProcessLookupError) as caught:
            read_memory(pid, 4096, 1)
        assert "process_vm_readv" in caught.value.__notes__[0]


def test_what_is_no_argument() -> None:
    """Numbers of the wrong kind or size are refused before anything is read."""
    pid = os.getpid()
    for wrong in ((True, 0, 1), (pid, "x", 1), (pid, 0, 1.5), (pid, True, 1)):
        with pytest.raises(TypeError):
            read_memory(*wrong)
    for outside in (-1, 2**64):
        with pytest.raises(OverflowError):
            read_memory(pid, outside, 1)
    with pytest.raises(ValueError):
        read_memory(pid, 0, -1)
    with pytest.raises((TypeError, BufferError)):
        read_memory_into(pid, 0, b"immutable")
    with pytest.raises(TypeError):
        write_memory(pid, 0, "text")  # type: ignore[arg-type]


def test_a_stranger_is_never_reached(other: Other) -> None:
    """The process that a Pid holds was reaped, and its number is another's by now: ProcessLookupError, and the stranger's
    memory is as it was.  Here the number leads to this very process.
    """
    other.reap()
    other.held.pid = os.getpid()
    other.memory[:5] = b"alien"
    for use in (
        lambda: read_memory(other.held, other.address, 5),
        lambda: read_memory_into(other.held, other.address, bytearray(5)),
        lambda: read_memory_vector(other.held, [(other.address, 5)]),
        lambda: write_memory(other.held, other.address, b"hurt!"),
        lambda: write_memory_vector(other.held, [(other.address, b"hurt!"), (other.address, b"hurt!")]),
    ):
        with pytest.raises(ProcessLookupError):
            use()
    assert other.memory[:5] == b"alien"


class Sly(Held):
    """A process that is reaped after the first look at it; from then on the number leads to this very process."""

    def __init__(self, other: Other) -> None:
        super().__init__(other.pid)
        self.other, self.looks = other, 0

    def fileno(self) -> int:
        self.looks += 1
        if self.looks == 2:
            self.other.reap()
        return super().fileno()


@pytest.mark.parametrize("how", ["read", "write"])
def test_reaped_in_the_middle(other: Other, how: str) -> None:
    """Reaped between the first look and the second: what was read is not given out, and nothing is written."""
    sly = Sly(other)
    other.memory[:5] = b"alien"
    with sly.fd, pytest.raises(ProcessLookupError):
        if how == "read":
            read_memory(sly, other.address, 5)
        else:
            write_memory(sly, other.address, b"hurt!")
    assert other.memory[:5] == b"alien"


def test_reaped_after_it_was_opened(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reaped between the proof and the write: the write meets the address space that was opened, which is empty by now."""
    from rawsys.memory import remote

    reach = remote._reach

    def reap_first(*arguments: object) -> int:
        other.reap()
        return reach(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(remote, "_reach", reap_first)
    with pytest.raises(ProcessLookupError):
        write_memory(other.held, other.address, b"hurt!")
    assert other.memory[:5] == bytes(range(5))


def test_not_allowed(other: Other) -> None:
    """A process of another user is PermissionError, and a note says whose right it takes."""
    need_root()

    def stranger() -> str:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(PermissionError) as caught:
            read_memory(other.pid, other.address, 1)
        with pytest.raises(PermissionError):
            write_memory(other.pid, other.address, b"x")
        return "".join(caught.value.__notes__)

    assert "CAP_SYS_PTRACE" in in_child(stranger)


def test_64_mib() -> None:
    """Large transfers come whole."""
    with Mapping(64 << 20) as memory:
        memory[::4096] = bytes(i & 255 for i in range(16384))
        data = read_memory(os.getpid(), memory.address, 64 << 20)
        assert data == memory[:]


# ---- the auxiliary vector ----


def test_auxv_is_that_of_libc_and_proc() -> None:
    """Its entries are those of /proc/self/auxv, its fields those that libc, os and resource tell."""
    data = Path("/proc/self/auxv").read_bytes()
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    pairs.pop(0)
    found = auxv()
    assert found.entries == pairs
    assert found.page_size == os.sysconf("SC_PAGE_SIZE")
    assert found.clock_ticks == os.sysconf("SC_CLK_TCK")
    assert (found.uid, found.euid, found.gid, found.egid) == (os.getuid(), os.geteuid(), os.getgid(), os.getegid())
    assert found.secure is False
    assert found.platform == "x86_64"
    assert found.program and os.path.exists(found.program)
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    assert all(
        getauxval(key) == value for key, value in found.entries.items() if key not in (15, 16)
    )  # libc's own there


def test_auxv_of_another_program() -> None:
    """The tool that glibc brings for it says the same of a program started alike."""
    text = subprocess.run(["/bin/true"], env={"LD_SHOW_AUXV": "1"}, capture_output=True, text=True, check=True).stdout
    shown = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if "AT_PAGESZ" not in shown:
        pytest.skip("this libc does not show it")
    found = auxv()
    assert int(shown["AT_PAGESZ"]) == found.page_size
    assert int(shown["AT_HWCAP"], 16) == found.hardware
    assert int(shown["AT_PHENT"]) == found.program_header_size


def test_auxv_without_prctl_and_proc() -> None:
    """Without PR_GET_AUXV it is read from /proc, without that it is libc's copy: what both have is the same."""

    def without() -> tuple[bool, bool]:
        whole = auxv()
        fail_calls(errno.EINVAL, PRCTL)
        by_file = auxv() == whole
        fail_calls(errno.EACCES, OPENAT)
        by_libc = auxv()
        return by_file, by_libc.entries.items() <= whole.entries.items() and by_libc.vdso == whole.vdso and by_libc[
            :3
        ] == whole[:3]

    assert in_child(without) == (True, True)


def test_auxv_by_prctl_is_whole() -> None:
    """The buffer has room for all that the kernel keeps."""
    size = raw.prctl(PR_GET_AUXV, None, 0, 0, 0)
    if size < 0:
        pytest.skip("this kernel has no PR_GET_AUXV")
    assert size <= 16 * 64
