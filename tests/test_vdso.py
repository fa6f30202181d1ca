"""The vDSO: found by our own reader, right answers, no system calls, and the call where it is not there."""

from __future__ import annotations

import errno
import os
import platform
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import INTERPRETER, fail_calls, in_child, need, script

from rawsys import constants, raw, vdso
from rawsys.memory import READ, Mapping, auxv

GETRANDOM, CLOCK_GETTIME, GETCPU = 318, 228, 309
NAMES = ("clock_gettime_ns", "monotonic_ns", "realtime_ns", "getcpu", "getrandom")
KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])


def _find(name: str, version: str = "LINUX_2.6", base: int | None = None, limit: int = 1 << 20) -> int:
    return vdso._find(name, version) if base is None else vdso._find(name, version, base, limit)


def image() -> tuple[int, bytes]:
    """Where the vDSO lies, and its bytes."""
    line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("[vdso]"))
    start, end = (int(part, 16) for part in line.split()[0].split("-"))
    from rawsys.memory import read_memory

    return start, read_memory(os.getpid(), start, end - start)


# ---- answers ----


@pytest.mark.parametrize("clock", [0, 1, 2, 3, 4, 5, 6, 7, 11])
def test_clocks(clock: int) -> None:
    """Between two looks by time.clock_gettime_ns; coarse ones too, and those that the vDSO asks the kernel for."""
    before = time.clock_gettime_ns(clock)
    assert before <= vdso.clock_gettime_ns(clock) <= time.clock_gettime_ns(clock)


def test_named_clocks() -> None:
    """monotonic_ns and realtime_ns are those of the module time."""
    before = time.monotonic_ns(), time.time_ns()
    found = vdso.monotonic_ns(), vdso.realtime_ns()
    after = time.monotonic_ns(), time.time_ns()
    assert before[0] <= found[0] <= after[0]
    assert before[1] <= found[1] <= after[1]
    assert vdso.clock_gettime_ns(constants.CLOCK_MONOTONIC) >= found[0]


def test_arguments() -> None:
    """What is no clock is the kernel's EINVAL with the call; wrong kinds and counts are TypeError."""
    with pytest.raises(OSError) as caught:
        vdso.clock_gettime_ns(99)
    assert caught.value.errno == errno.EINVAL
    assert caught.value.__notes__[0].startswith("in clock_gettime(99")
    wrong: list[Callable[[], object]] = [
        lambda: vdso.clock_gettime_ns(1.0),  # type: ignore[arg-type]
        lambda: vdso.clock_gettime_ns(),  # type: ignore[call-arg]
        lambda: vdso.monotonic_ns(1),  # type: ignore[call-arg]
        lambda: vdso.realtime_ns(1),  # type: ignore[call-arg]
        lambda: vdso.getcpu(1),  # type: ignore[call-arg]
        lambda: vdso.getrandom(True),
        lambda: vdso.getrandom("x"),  # type: ignore[arg-type]
        lambda: vdso.getrandom(),  # type: ignore[call-arg]
    ]
    for use in wrong:
        with pytest.raises(TypeError):
            use()
    for outside in (2**40, -(2**40)):
        with pytest.raises(OverflowError):
            vdso.clock_gettime_ns(outside)
    with pytest.raises(ValueError):
        vdso.getrandom(-1)
    for function in (vdso.way, vdso.address):
        with pytest.raises(ValueError, match="monotonic_ns"):
            function("gettimeofday")


def test_getcpu() -> None:
    """On one processor it is that one; the node is the kernel's."""
    allowed = os.sched_getaffinity(0)
    try:
        for cpu in sorted(allowed)[:4]:
            os.sched_setaffinity(0, {cpu})
            memory, node = bytearray(4), bytearray(4)
            assert raw.getcpu(memory, node, None) == 0
            assert vdso.getcpu() == (cpu, int.from_bytes(node, "little"))
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 4096, 1 << 20])
def test_getrandom(size: int) -> None:
    """As many bytes as were asked for, each time others, with no bit that is always the same."""
    data = vdso.getrandom(size)
    assert len(data) == size
    if size >= 255:
        assert data != vdso.getrandom(size)
        ones = int.from_bytes(data, "little").bit_count()
        assert abs(ones - size * 4) < 12 * (size * 2) ** 0.5


# ---- which way ----


def test_symbols_lie_in_the_image() -> None:
    """Each function that is there lies in [vdso]; clocks and getcpu are there, getrandom from Linux 6.11 on."""
    start, data = image()
    assert auxv().vdso == start
    for name in NAMES:
        place = vdso.address(name)
        if name == "getrandom" and KERNEL < (6, 11):
            assert place is None
        else:
            assert place is not None
            assert start < place < start + len(data)
        assert vdso.way(name) == ("vdso" if place else "syscall")


def test_as_readelf_reads_it(tmp_path: Path) -> None:
    """Every function that readelf finds in the image, we find at the same place, and in its version only."""
    start, data = image()
    (tmp_path / "vdso.so").write_bytes(data)
    text = subprocess.run(
        [need("readelf"), "-W", "--dyn-syms", tmp_path / "vdso.so"], capture_output=True, text=True, check=True
    ).stdout
    seen = 0
    for line in text.splitlines():
        columns = line.split()
        if len(columns) == 8 and columns[3] == "FUNC":
            name, _, version = columns[7].partition("@@")
            assert _find(name, version) == start + int(columns[1], 16)
            assert _find(name, "LINUX_9.9") == 0
            assert _find(name[:-1], version) == 0
            seen += 1
    assert seen >= 6


def test_strace_shows_no_call() -> None:
    """1,000 times each clock and the processor, and random bytes, between two marks: strace sees nothing in between."""
    tool = need("strace")
    code = """
        import os
        from rawsys import raw, vdso
        vdso.getrandom(8); vdso.monotonic_ns()
        raw.getppid()
        for _ in range(1000):
            vdso.monotonic_ns(); vdso.realtime_ns(); vdso.clock_gettime_ns(7); vdso.getcpu()
        raw.getppid()
        if vdso.way("getrandom") == "vdso":
            for _ in range(1000):
                vdso.getrandom(16)
        raw.getppid()
    """
    done = subprocess.run(
        [tool, "-qq", "-o", "/dev/stderr", INTERPRETER, "-c", script(code)], capture_output=True, text=True, timeout=50
    )
    if done.returncode:
        pytest.skip(f"strace cannot trace here: {done.stderr[-200:]}")
    lines = done.stderr.splitlines()
    marks = [i for i, line in enumerate(lines) if line.startswith("getppid(")]
    assert len(marks) == 3
    between = [line for line in lines[marks[0] + 1 : marks[2]] if not line.startswith("getppid(")]
    assert [line for line in between if "clock_gettime" in line or "getcpu" in line] == []
    assert len(between) <= 5, between  # memory of the interpreter itself, and a reseeding now and then


def test_filtered_calls_do_not_matter() -> None:
    """Where the calls themselves are forbidden the vDSO still answers: it does not make them."""

    def filtered() -> bool:
        vdso.getrandom(1)
        fail_calls(errno.EPERM, CLOCK_GETTIME, GETCPU)
        return vdso.monotonic_ns() > 0 and vdso.realtime_ns() > 0 and len(vdso.getcpu()) == 2

    assert in_child(filtered)


# ---- without it ----

_DOCTORED = """
    import json, time, os
    from rawsys import vdso
    from rawsys.memory import auxv
    ways = {n: vdso.way(n) for n in ("clock_gettime_ns", "monotonic_ns", "realtime_ns", "getcpu", "getrandom")}
    places = [vdso.address(n) for n in ways]
    a = time.monotonic_ns(); b = vdso.monotonic_ns(); c = time.monotonic_ns()
    ok = a <= b <= c and vdso.getcpu()[0] in os.sched_getaffinity(0) and len(vdso.getrandom(300)) == 300
    ok = ok and abs(vdso.realtime_ns() - time.time_ns()) < 10**9 and vdso.clock_gettime_ns(7) > 0
    print(json.dumps([ways, places, ok]), flush=True)
"""


def test_doctored_auxiliary_vector() -> None:
    """As under a tracer that hides it: AT_SYSINFO_EHDR is taken out of the vector on the new program's stack, and everything
    says `syscall` and answers by the calls.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writing, 1)
            raw.ptrace(0, 0, None, None)  # PTRACE_TRACEME
            os.execv(INTERPRETER, [INTERPRETER, "-c", script(_DOCTORED)])
        finally:
            os._exit(3)
    os.close(writing)
    try:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            pytest.skip("ptrace is not allowed here")
        assert os.WSTOPSIG(status) == signal.SIGTRAP
        _hide(pid)
        assert raw.ptrace(17, pid, None, None) == 0  # PTRACE_DETACH
        with open(reading, "rb", closefd=False) as file:
            import json

            ways, places, ok = json.loads(file.read())
    finally:
        os.close(reading)
        with_status = os.waitpid(pid, 0)[1] if os.WIFSTOPPED(status) else status
    assert with_status == 0
    assert set(ways.values()) == {"syscall"}
    assert set(places) == {None}
    assert ok


def _hide(pid: int) -> None:
    """Turn AT_SYSINFO_EHDR into AT_IGNORE on the stack of a program that has not begun."""
    auxv_there = Path(f"/proc/{pid}/auxv").read_bytes()
    line = next(line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if line.endswith("[stack]"))
    start, end = (int(part, 16) for part in line.split()[0].split("-"))
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        stack = memory.read(end - start)
        at = stack.find(auxv_there[:64])
        assert at > 0
        for place in range(at, at + len(auxv_there), 16):
            if struct.unpack_from("Q", stack, place)[0] == 33:
                memory.seek(start + place)
                memory.write(struct.pack("Q", 1))
                return
    raise LookupError("no AT_SYSINFO_EHDR")


def test_no_call_without_it_either_way(tmp_path: Path) -> None:
    """An image that is none, or lacks the function, has no function."""
    with Mapping(2 * 4096) as memory:
        memory[60] = 1
        assert _find("__vdso_getcpu", base=memory.address) == 0
        memory[:4] = b"\x7fELF"
        assert _find("__vdso_getcpu", base=memory.address) == 0
    assert _find("__vdso_getcpu", base=0) == 0
    assert _find("", base=image()[0]) == 0


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(0, 0x480), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_images(changes: list[tuple[int, int]]) -> None:
    """Whatever bytes of its headers and tables are changed, the reader looks at nothing outside of the image, which lies
    between guard pages, and what it finds lies inside.
    """
    _, data = image()
    with Mapping(len(data), guard=True) as copy:
        copy[:] = data
        for at, value in changes:
            copy[at] = value
        for symbol in ("__vdso_getcpu", "__vdso_clock_gettime", "nothing"):
            found = _find(symbol, base=copy.address, limit=len(data))
            assert found == 0 or copy.address <= found < copy.address + len(data)


def test_without_the_old_hash_table() -> None:
    """An image with the GNU hash table alone, as some kernels build it, is read as well."""
    _, data = image()
    with Mapping(len(data)) as copy:
        copy[:] = data
        at = _tag(data, 4)
        copy[at : at + 8] = struct.pack("Q", 0x6FFFFFFF)
        copy.protect(READ)
        for symbol in ("__vdso_getcpu", "__vdso_clock_gettime"):
            assert _find(symbol, base=copy.address) - copy.address == _find(symbol) - image()[0]


def _tag(data: bytes, tag: int) -> int:
    """Where an entry of the dynamic section stands."""
    offset, count = struct.unpack_from("Q", data, 32)[0], struct.unpack_from("H", data, 56)[0]
    for i in range(count):
        kind, _, place = struct.unpack_from("IIQ", data, offset + 56 * i)
        if kind == 2:
            while struct.unpack_from("Q", data, place)[0] not in (0, tag):
                place += 16
            assert struct.unpack_from("Q", data, place)[0] == tag
            return int(place)
    raise LookupError(tag)


# ---- random bytes: threads and forks ----


def test_random_in_threads() -> None:
    """Each thread has a state of its own: 64 at once, more than a page holds, never give the same; states are used again."""
    if vdso.way("getrandom") != "vdso":
        pytest.skip("this kernel's vDSO has no getrandom")
    seen: list[bytes] = []
    start = threading.Barrier(64)

    def work() -> None:
        start.wait()
        mine = [vdso.getrandom(16) for _ in range(50)]
        start.wait()
        seen.extend(mine)

    for _ in range(3):
        threads = [threading.Thread(target=work) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(seen)) == len(seen) == 3 * 64 * 50
    droppable = Path("/proc/self/maps").read_text().count("\n")
    for _ in range(300):
        thread = threading.Thread(target=vdso.getrandom, args=(8,))
        thread.start()
        thread.join()
    assert Path("/proc/self/maps").read_text().count("\n") - droppable < 20


def test_random_after_fork() -> None:
    """Parent and children, by fork and by the naked call, never give the same bytes: the state is not inherited."""
    vdso.getrandom(8)
    reading, writing = os.pipe()
    for fork in (os.fork, lambda: raw.fork()):
        for _ in range(4):
            pid = fork()
            if pid == 0:
                try:
                    os.write(writing, vdso.getrandom(32))
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
    os.close(writing)
    data = b""
    while piece := os.read(reading, 4096):
        data += piece
    os.close(reading)
    pieces = [data[i : i + 32] for i in range(0, len(data), 32)] + [vdso.getrandom(32)]
    assert len(pieces) == len(set(pieces)) == 9


def test_random_where_the_call_is_forbidden() -> None:
    """A filter on getrandom is met where the call has to be made: an OSError, not an endless loop; else the state answers."""

    def filtered() -> str:
        fail_calls(errno.EPERM, GETRANDOM)
        try:
            return str(len(vdso.getrandom(4096)))
        except OSError as error:
            return str(error.errno)

    assert in_child(filtered) in ("4096", str(errno.EPERM))
