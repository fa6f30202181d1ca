"""Memory of other processes, read and written without stopping them."""

from __future__ import annotations

from rawsys import raw, syscalls
from rawsys._native.buffers import Pinned
from rawsys._native.memory import read_process, transfer
from rawsys.fd import Fd
from rawsys.fd._calls import counted, so_far, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn, Protocol

    from typing_extensions import Buffer

    class HasPid(Protocol):
        """A process that is held by its descriptor, such as a Pid."""

        @property
        def pid(self) -> int:
            """Its number."""

        def fileno(self) -> int:
            """Its pidfd."""

    Process = int | HasPid

_ESRCH, _EFAULT, _EPERM = 3, 14, 1
_AT_ONCE = 1024  # ranges in one call: the kernel's UIO_MAXIOV
_O_PATH, _O_DIRECTORY, _O_RDWR = 0o10000000, 0o200000, 2


def read_memory(pid: Process, address: int, n: int) -> bytes:
    """`process_vm_readv(2)`: `n` bytes at an address of another process, or of this one.

    `pid`: a number, or a Pid.  A number may be another process's by now; a Pid is looked at before and after, so that what
    was read is of the process that it holds.

    Raises ProcessLookupError, ClosedError for a Pid that was reaped here or closed, PermissionError where ptrace(2) would
    not be allowed, OSError (EFAULT) for a page that is not there or cannot be read.  When a part was read,
    `characters_written` of the exception is the number of bytes, and a note says it.

    Safety: the other process goes on meanwhile; its bytes may be of different moments.
    """
    number = _number(pid)
    data, answer = read_process(number, _address(address), counted(n, "a number of bytes"))
    _still(pid)
    if answer:
        _fail("process_vm_readv", number, answer, len(data), n, address)
    return data


def read_memory_into(pid: Process, address: int, buffer: Buffer) -> None:
    """`process_vm_readv(2)`: fill a buffer from an address of another process; see `read_memory`.

    Where this raises, the buffer holds whatever was read.
    """
    number = _number(pid)
    done, answer = transfer(False, number, buffer, _address(address))
    _still(pid)
    if answer:
        _fail("process_vm_readv", number, answer, done, memoryview(buffer).nbytes, address)


def read_memory_vector(pid: Process, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
    """`process_vm_readv(2)`: the bytes of several ranges (address, number of bytes), 1,024 of them in a call.

    Raises as `read_memory`; a partial transfer counts the bytes of all ranges together.
    """
    number = _number(pid)
    there = [(_address(address), counted(n, "a number of bytes")) for address, n in ranges]
    data = bytearray(sum(n for _, n in there))
    _vector("process_vm_readv", pid, number, data, there)
    view, parts, at = memoryview(data), [], 0
    for _, n in there:
        parts.append(bytes(view[at : at + n]))
        at += n
    return parts


def write_memory(pid: Process, address: int, data: Buffer) -> None:
    """`process_vm_writev(2)`: write a buffer to an address of another process, or of this one.

    `pid`: a number, or a Pid.  A write cannot be taken back, so a Pid is written to through /proc/PID/mem, opened while the
    descriptor proves whose it is; pages that the process itself could not write to are refused there too.

    Raises OSError as `read_memory` does.

    Safety: the other process goes on meanwhile.
    """
    write_memory_vector(pid, [(address, data)])


def write_memory_vector(pid: Process, parts: Iterable[tuple[int, Buffer]]) -> None:
    """`process_vm_writev(2)`: write several buffers, each to its address (address, data), 1,024 of them in a call.

    Raises as `write_memory`; a partial transfer counts the bytes of all parts together.
    """
    number = _number(pid)
    pieces = [(_address(address), memoryview(data).cast("B")) for address, data in parts]
    if not isinstance(pid, int):
        _write_held(pid, number, pieces)
    elif len(pieces) == 1:
        address, only = pieces[0]
        done, answer = transfer(True, number, only, address)
        if answer:
            _fail("process_vm_writev", number, answer, done, len(only), address)
    else:
        there = [(address, len(data)) for address, data in pieces]
        _vector("process_vm_writev", pid, number, b"".join(data for _, data in pieces), there)


# ---- whose memory ----


def _number(pid: Process) -> int:
    if isinstance(pid, int):
        return whole(pid, "pid")
    _still(pid)
    return pid.pid


def _still(pid: Process) -> None:
    """ProcessLookupError once the process that a Pid holds was reaped: from then on its number may be a stranger's.

    Signal 0 reaches a zombie, whose number is still its own, and nobody after that.
    """
    if not isinstance(pid, int):
        syscalls.pidfd_send_signal(
            pid, 0, None, 0
        )  # a Pid is counted while the call runs, its number is not passed around


def _address(address: int) -> int:
    number = whole(address, "an address")
    if not 0 <= number < 1 << 64:
        raise OverflowError(f"an address has 64 bits, got {number}")
    return number


def _fail(call: str, number: int, answer: int, done: int, wanted: int, address: int) -> NoReturn:
    from rawsys.errors import os_error

    error = os_error(call, (number, f"[{wanted} bytes here]", 1, f"[{wanted} bytes at {address:#x}]", 1, 0), -answer)
    so_far(error, done)
    if -answer == _EPERM:
        error.add_note(
            "it needs the right to ptrace that process: same user and dumpable, or CAP_SYS_PTRACE, and see yama"
        )
    raise error


# ---- vectors ----


def _vector(call: str, pid: Process, number: int, here: Buffer, there: Sequence[tuple[int, int]]) -> None:
    """Move all ranges; a short answer is gone on from, and the call after it says why it was short."""
    make = getattr(raw, call)
    place = Pinned([here], writable=call.endswith("readv"))
    try:
        base, total = place.place(0)
        done = 0
        while done < total:
            ranges = _rest(there, done)[:_AT_ONCE]
            size = sum(n for _, n in ranges)
            answer = make(number, _iovecs([(base + done, size)]), 1, _iovecs(ranges), len(ranges), 0)
            _still(pid)
            if answer <= 0:
                _fail(call, number, answer or -_EFAULT, done, total, ranges[0][0])
            done += answer
    finally:
        place.release()


def _rest(ranges: Sequence[tuple[int, int]], done: int) -> list[tuple[int, int]]:
    """What is left of the ranges after so many bytes; empty ones are dropped."""
    left = []
    for address, n in ranges:
        if n > done:
            left.append((address + done, n - done))
        done = max(0, done - n)
    return left


def _iovecs(ranges: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(address.to_bytes(8, "little") + n.to_bytes(8, "little") for address, n in ranges)


# ---- writing to a process that is held ----


def _write_held(pid: HasPid, number: int, pieces: Sequence[tuple[int, memoryview]]) -> None:
    """The directory is opened first and proved afterwards: it stays the directory of one process, whatever its number.

    The memory file is bound to the address space that it was opened with.  It writes through protections, as a debugger
    does, which process_vm_writev does not: the ranges are compared with the process's maps.
    """
    total, done = sum(len(data) for _, data in pieces), 0
    with Fd.open(f"/proc/{number}", _O_PATH | _O_DIRECTORY) as process:
        _still(pid)
        with Fd.open("mem", _O_RDWR, dir_fd=process) as memory, Fd.open("maps", dir_fd=process) as maps:
            writable = _writable(maps.read_all())
            for address, data in pieces:
                allowed = _reach(writable, address, len(data))
                done += _pwrite(memory, data[:allowed], address)
                if allowed < len(data):
                    _fail("process_vm_writev", number, -_EFAULT, done, total, address)


def _pwrite(memory: Fd, data: memoryview, address: int) -> int:
    done = 0
    while done < len(data):
        moved = memory.pwrite(data[done:], address + done)
        if not moved:  # the process has ended: its address space is empty
            raise ProcessLookupError(_ESRCH, "the process has ended")
        done += moved
    return done


def _writable(maps: bytes) -> list[tuple[int, int]]:
    """The ranges (start, end) that a process may write to, in order."""
    found = []
    for line in maps.splitlines():
        span, rights = line.split(b" ", 2)[:2]
        if rights[1:2] == b"w":
            start, _, end = span.partition(b"-")
            found.append((int(start, 16), int(end, 16)))
    return found


def _reach(ranges: Sequence[tuple[int, int]], address: int, length: int) -> int:
    """How many of `length` bytes from an address lie within the ranges without a gap."""
    at = address
    for start, end in ranges:
        if start <= at < end:
            at = end
    return min(at - address, length)
