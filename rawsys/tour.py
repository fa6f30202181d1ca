"""The tour: what the library does, shown on the live kernel, each chapter with the calls made and their answers."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import rawsys
from rawsys import errors, raw
from rawsys.constants import AT_FDCWD, O_CLOEXEC, O_RDONLY

_ROUNDS = 20_000


def _call(function: Callable[..., int], *arguments: object) -> int:
    """Make a raw call and print it as strace would."""
    answer = function(*arguments)
    _answered(function.__name__, arguments, answer)
    return answer


def _answered(name: str, arguments: tuple[object, ...], answer: int) -> None:
    from rawsys import constants

    shown = f"-1 {constants.decode('E', -answer)}" if -4095 <= answer < 0 else str(answer)
    print(f"  {errors.describe(name, arguments)} = {shown}")


def _nanoseconds(function: Callable[[], object]) -> float:
    """The best of five rounds, in ns a call."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(_ROUNDS):
            function()
        best = min(best, (time.perf_counter_ns() - start) / _ROUNDS)
    return best


def lowest_level() -> None:
    """The naked instruction beside libc"""
    pid = rawsys.raw_getpid()
    _answered("getpid", (), pid)
    print(f"  os.getpid() agrees: {pid == os.getpid()}")
    ours, libc = _nanoseconds(rawsys.raw_getpid), _nanoseconds(os.getpid)
    print(f"  rawsys.raw_getpid() {ours:.0f} ns, os.getpid() {libc:.0f} ns: {ours / libc:.2f} of it")
    text = b"  Hello from the kernel's own write\n"
    sys.stdout.flush()  # what Python holds back would come after the raw write
    _answered("write", (1, text, len(text)), rawsys.raw_write(1, text))
    print("  The kernel's own answer, never an exception: a value, or -errno.")
    _call(raw.close, -1)


def process_parts() -> None:
    """What a process is made of"""
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open("/proc/self/maps") as file:
        regions = len(file.readlines())
    with open("/proc/self/limits") as file:
        open_files = next(line.split()[3] for line in file if line.startswith("Max open files"))
    masks = {name: status[name].lstrip("0") or "0" for name in ("SigCgt", "SigIgn", "CapEff")}
    print(f"  identity      pid {rawsys.raw_getpid()}, parent {rawsys.raw_getppid()}, name {status['Name']}")
    print(f"  address space {regions} regions, {int(status['VmRSS'].split()[0]) // 1024} MiB resident")
    print(f"  threads       {status['Threads']}: this one is {rawsys.raw_gettid()}")
    print(f"  descriptors   {len(os.listdir('/proc/self/fd'))} open, at most {open_files}")
    print(f"  signals       caught {masks['SigCgt']}, ignored {masks['SigIgn']} (masks)")
    print(
        f"  credentials   user {status['Uid'].split()[1]}, group {status['Gid'].split()[1]}, capabilities {masks['CapEff']}"
    )


def owned_descriptor() -> None:
    """A descriptor that is owned, passed and closed once"""
    fd = rawsys.Fd.open("/proc/self/comm")
    print(f"  Fd.open('/proc/self/comm') gives {fd!r}")
    buffer = bytearray(32)
    count = _call(raw.read, fd, buffer, len(buffer))
    print(f"  the kernel wrote {bytes(buffer[:count])!r}; a Fd goes wherever a call takes a descriptor")
    number = fd.fileno()
    fd.close()
    fd.close()
    print(f"  close(), twice: {fd!r}")
    try:
        fd.read(1)
    except rawsys.errors.ClosedError as error:
        print(f"  a use after it is refused before the kernel is asked: {error}")
    _call(raw.read, number, buffer, len(buffer))


def closed_under_a_reader() -> None:
    """Closing under a call in another thread"""
    reader, writer = rawsys.Fd.pipe()
    number, got = reader.fileno(), []
    thread = threading.Thread(target=lambda: got.append(reader.read(1)))
    thread.start()
    while "1 call" not in repr(reader):  # until the other thread is inside read
        reader.close() if _is_reading(thread) else time.sleep(0)
    print(f"  a thread waits in read({number}, ...); close() gives {reader!r}")
    print(f"  the number is still there: {os.path.exists(f'/proc/self/fd/{number}')}")
    writer.write(b"!")
    thread.join()
    writer.close()
    print(
        f"  the reader got {got[0]!r}, and then the number was closed: {not os.path.exists(f'/proc/self/fd/{number}')}"
    )


def _is_reading(thread: threading.Thread) -> bool:
    with open(f"/proc/self/task/{thread.native_id}/syscall") as file:
        return file.read().startswith("0 ")  # the number of read


def many_calls() -> None:
    """Many calls in one crossing"""
    program = rawsys.Program()
    path, data = program.parameter("path"), program.buffer(4096)
    fd = program.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    count = program.read(fd, data, 4096)
    program.close(fd, always=True)
    print("  " + program.explain().replace("\n", "\n  "))
    results = program.run(path="/proc/self/comm")
    print(f"  run(path='/proc/self/comm') answers {list(results)}; data: {results.data(count)!r}")
    print(f"  run(path='/missing') answers {list(program.run(path='/missing'))}: what needs a failed step is not run")
    loop = rawsys.Program()
    for _ in range(1000):
        loop.getpid()
    best = min(_timed(loop.run) for _ in range(20)) / 1000
    print(f"  1,000 getpid in one crossing: {best:.0f} ns each")


def _timed(function: Callable[[], object]) -> int:
    start = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - start


def owned_memory() -> None:
    """Memory that is owned, and the clock without a call"""
    from rawsys import vdso
    from rawsys.memory import READ, Mapping, memfd

    with memfd("tour", 8192) as file, Mapping(8192, fd=file, shared=True, guard=True) as memory:
        print(f"  {memory!r}: a page before it and one behind it kill whoever touches them")
        view = memoryview(memory)
        for change in (memory.close, lambda: memory.protect(READ)):
            try:
                change()
            except BufferError as error:
                print(f"  refused: {error}")
        view.release()
        file.truncate(4096)
        print(
            f"  the file is cut; read_at before the end gives {memory.read_at(4)!r}, behind it, where a look would be SIGBUS:"
        )
        try:
            memory.read_at(4, 4096)
        except OSError as error:
            print(f"  {type(error).__name__} {error}")
    clock = bytearray(16)
    ours, call = _nanoseconds(vdso.monotonic_ns), _nanoseconds(lambda: raw.clock_gettime(1, clock))
    print(
        f"  vdso.monotonic_ns() by the {vdso.way('monotonic_ns')}: {ours:.0f} ns, clock_gettime by the call {call:.0f} ns"
    )


def where_memory_lies() -> None:
    """Where the memory of this process lies"""
    from rawsys import proc

    layout = proc.layout()
    for mark in sorted(layout.landmarks, key=lambda mark: -mark.address):
        kind = mark.region.kind if mark.region else "nothing"
        print(f"  {mark.address:14x}  {mark.name:24} in {kind}")
    print("  High addresses first: the stack grows down, the heap grows up, mappings fill what is between.")
    print("  `rawsys maps` draws it, `rawsys maps --svg FILE` makes a picture.")


def all_processes() -> None:
    """All processes in one snapshot"""
    from rawsys import proc

    begin = time.perf_counter()
    found = proc.processes()
    took = time.perf_counter() - begin
    print(f"  proc.processes(): {len(found)} processes in {took * 1000:.1f} ms, two crossings, three calls each")
    for process in sorted(found, key=lambda process: -process.rss)[:3]:
        print(
            f"  {process.pid:>7}  {process.name:16} {process.rss // 1024**2:>5} MiB resident, {process.threads} threads"
        )


CHAPTERS: list[Callable[[], None]] = [
    lowest_level,
    process_parts,
    owned_descriptor,
    closed_under_a_reader,
    many_calls,
    owned_memory,
    where_memory_lies,
    all_processes,
]


def main() -> None:
    """Print all chapters."""
    release = os.uname().release
    print(f"rawsys on Linux {release}, {len(rawsys.raw.__all__)} system calls by name")
    for number, chapter in enumerate(CHAPTERS, 1):
        print(f"\n{number}. {chapter.__doc__}")
        chapter()
    print(
        "\nMore: rawsys syscalls openat, rawsys process, rawsys maps, rawsys ps, rawsys info, rawsys bench, rawsys --help"
    )
