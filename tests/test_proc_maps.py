"""The address space: maps(), smaps(), memory_totals(), region_at(), on this process and on others."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import INTERPRETER, fail_calls, in_child, need, need_root

from rawsys import proc, raw
from rawsys.memory import Mapping
from rawsys.proc.regions import Region

C = Path(__file__).with_name("c")
ENOTTY = 25


def at(address: int, regions: list[Region]) -> Region:
    """The region of an address."""
    return next(region for region in regions if region.start <= address < region.end)


# ---- this process ----


def test_maps_says_what_the_kernel_says() -> None:
    """Addresses, rights, offset, device, inode of a process that stands still are the kernel's, line by line."""
    with waiting() as child:
        found = proc.maps(child.pid)
        lines = Path(f"/proc/{child.pid}/maps").read_bytes().splitlines()
    assert len(found) == len(lines)
    for region, text in zip(found, lines, strict=True):
        span, perms, offset, device, inode, *name = text.split(None, 5)
        assert f"{region.start:x}-{region.end:x}" == "-".join(
            word.lstrip("0") or "0" for word in span.decode().split("-")
        )
        assert (region.perms, region.offset, region.inode) == (perms.decode(), int(offset, 16), int(inode))
        assert (os.major(region.device), os.minor(region.device)) == tuple(int(part, 16) for part in device.split(b":"))
        assert region.path == os.fsdecode(name[0] if name else b"")


@contextmanager
def waiting(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child that waits in read until it is let go."""
    child = subprocess.Popen(command or ["cat"], stdin=-1, stdout=-1)
    assert child.stdin and child.stdout
    if not command:
        child.stdin.write(b"x")
        child.stdin.flush()
        child.stdout.read(1)  # it runs: exec is through
    try:
        yield child
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait()


def test_the_seven_landmarks() -> None:
    """Each address that layout() shows lies in a region of the kind that it says."""
    kinds = in_child(lambda: {mark.name: mark.region and mark.region.kind for mark in proc.layout().landmarks})
    assert kinds == {
        "a variable on the stack": "stack",
        "a small malloc": "heap",
        "a large malloc": "anon",
        "initialised data": "data",
        "BSS": "bss",
        "a function": "text",
        "the vDSO": "vdso",
    }


def test_region_at_agrees_with_maps() -> None:
    """The kernel's query and the whole listing tell the same of every region, at its first and last address."""
    with waiting() as child:
        for region in proc.maps(child.pid):
            assert proc.region_at(region.start, child.pid) == region
            assert proc.region_at(region.end - 1, child.pid) == region
        holes = [
            low.end
            for low, high in zip(proc.maps(child.pid), proc.maps(child.pid)[1:], strict=False)
            if low.end < high.start
        ]
        assert all(proc.region_at(hole, child.pid) is None for hole in holes)
    assert proc.region_at(0) is None
    assert proc.region_at(2**64 - 1) is None
    for wrong in (-1, 2**64):
        with pytest.raises(OverflowError):
            proc.region_at(wrong)


def test_region_at_before_the_query_was_there() -> None:
    """Without PROCMAP_QUERY (ENOTTY, as on Linux before 6.11) the answers are the same."""

    def old() -> bool:
        before = [proc.region_at(region.start, parent) for region in regions]
        fail_calls(ENOTTY, 16)  # ioctl
        return [proc.region_at(region.start, parent) for region in regions] == before and proc.region_at(
            0, parent
        ) is None

    with waiting() as child:
        parent, regions = child.pid, proc.maps(child.pid)
        assert in_child(old)


def test_kinds_that_this_process_makes() -> None:
    """A guard, a shared mapping, code without a file, a private file, a named region."""
    with Mapping(4096, guard=True) as own, mmap.mmap(-1, 4096) as shared, open(__file__, "rb") as file:
        code = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_EXEC)
        data = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
        views = [ctypes.c_char.from_buffer(shared)]
        regions = proc.maps()
        assert at(own.address, regions).kind == "anon"
        assert at(own.address - 1, regions).kind == at(own.address + 4096, regions).kind == "guard"
        assert at(ctypes.addressof(views[0]), regions).kind == "shared"
        assert [r.kind for r in regions if r.path == os.path.realpath(__file__)] == ["file"]
        assert any(r.kind == "text" and not r.path and r.perms == "r-xp" for r in regions)
        views.clear()
        code.close()
        data.close()


def test_stacks_of_threads() -> None:
    """A thread that waits and one that runs: the region of a variable on its stack is a thread's stack."""
    stop, addresses = threading.Event(), {}
    ready = threading.Barrier(3)

    def waits() -> None:
        addresses["waits"] = proc.layout().landmarks[0].address
        ready.wait()
        stop.wait()

    def runs() -> None:
        addresses["runs"] = proc.layout().landmarks[0].address
        ready.wait()
        while not stop.is_set():
            pass

    threads = [threading.Thread(target=waits), threading.Thread(target=runs)]
    for thread in threads:
        thread.start()
    ready.wait()
    try:
        regions = proc.maps()
        assert {name: at(address, regions).kind for name, address in addresses.items()} == dict.fromkeys(
            addresses, "thread_stack"
        )
        assert [r.kind for r in regions if r.path == "[stack]"] == ["stack"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_bss_is_what_the_program_reaches() -> None:
    """No region is taken for BSS that begins behind the last segment of the program below it."""
    regions = proc.maps()
    for below, region in itertools.pairwise(regions):
        if region.kind == "bss":
            assert below.end == region.start
            assert below.inode
            assert below.path


# ---- names (edge case 109) ----

NAMES = [
    "a b",
    "a\nb",
    "a\\b",
    "a\\012b",
    "a\n\\012b c",
    "x (deleted)",
    " (deleted)",
    "tail ",
    "\udcff\udcfe",
    "[heap]",
]


@pytest.mark.parametrize("gone", [False, True], ids=["there", "deleted"])
@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(name: str, gone: bool, tmp_path: Path) -> None:
    """Edge case 109: spaces, newlines, backslashes and a suffix " (deleted)" of its own are right, and so is `deleted`."""
    path = tmp_path / name
    path.write_bytes(b"x" * 4096)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ):
        inode = os.fstat(file.fileno()).st_ino
        if gone:
            path.unlink()
        (found,) = [region for region in proc.maps() if region.inode == inode and region.path.startswith("/")]
        assert (found.path, found.deleted, found.kind) == (str(path), gone, "file")
        assert proc.region_at(found.start) == found
        assert [r.path for r in proc.smaps() if r.inode == inode and r.start == found.start] == [str(path)]


def test_a_deleted_file_beside_one_that_is_called_so(tmp_path: Path) -> None:
    """Edge case 109: `x` deleted, and another file `x (deleted)`: the inode tells which one is mapped."""
    path, other = tmp_path / "x", tmp_path / "x (deleted)"
    for one in (path, other):
        one.write_bytes(b"x" * 4096)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ):
        inode = os.fstat(file.fileno()).st_ino
        path.unlink()
        (found,) = [region for region in proc.maps() if region.inode == inode and region.path.startswith(str(tmp_path))]
        assert (found.path, found.deleted) == (str(path), True)


def test_memfd_is_a_deleted_file() -> None:
    """What has no name from the start is `deleted`, with the name that it was given."""
    fd = os.memfd_create("some name")
    os.ftruncate(fd, 4096)
    with mmap.mmap(fd, 4096):
        assert [(r.path, r.deleted, r.kind) for r in proc.maps() if "some name" in r.path] == [
            ("/memfd:some name", True, "shared")
        ]
    os.close(fd)


# ---- C programs ----


@pytest.mark.parametrize(
    "flags", [["-pie", "-fPIE"], ["-no-pie"], ["-static"], ["-static-pie"], ["-s"], ["-static", "-s"]], ids=" ".join
)
def test_c_programs(flags: list[str], tmp_path: Path) -> None:
    """What a program says of its own variables, looked up from here, lies in regions of these kinds."""
    program = tmp_path / "addresses"
    built = subprocess.run(
        [need("gcc"), "-O1", *flags, str(C / "addresses.c"), "-o", str(program)], capture_output=True, check=False
    )
    if built.returncode:
        pytest.skip(f"cannot be linked here: {built.stderr[-200:]!r}")
    with waiting(str(program)) as child:
        assert child.stdout
        said = dict(line.split() for line in iter(child.stdout.readline, b".\n"))
        kinds = {
            name.decode(): found.kind
            for name, address in said.items()
            if (found := proc.region_at(int(address, 16), child.pid))
        }
        marks = {mark.name: mark.region and mark.region.kind for mark in proc.layout(child.pid).landmarks}
    assert kinds == {name: name for name in ("stack", "heap", "anon", "data", "bss", "text", "rodata")}
    assert marks["its arguments"] == "stack"
    assert marks["its first instruction"] == "text"
    assert marks["the vDSO"] == "vdso"


# ---- what is not there ----


def test_no_memory() -> None:
    """A kernel thread and a zombie have no regions, and no memory in all."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    kernel = [process.pid for process in proc.processes() if process.kernel_thread][:1] if os.geteuid() == 0 else []
    for one in [pid, *kernel]:
        assert proc.maps(one) == []
        assert proc.smaps(one) == []
        assert proc.memory_totals(one) == proc.MemoryTotals()
        assert proc.region_at(4096, one) is None
    os.waitpid(pid, 0)
    for ask in (proc.maps, proc.smaps, proc.memory_totals, proc.layout, lambda pid: proc.region_at(4096, pid)):
        with pytest.raises(ProcessLookupError):
            ask(pid)


def test_arguments() -> None:
    """A process is a number or has a pid; anything else is TypeError before anything is opened."""
    for wrong in ("1", 1.0, True, b"1", object()):
        with pytest.raises(TypeError):
            proc.maps(wrong)  # type: ignore[arg-type]
    for nobody in (0, -1, 2**31 - 1, 2**70):
        with pytest.raises(ProcessLookupError):
            proc.maps(nobody)
    with waiting() as child:
        assert proc.maps(child) == proc.maps(child.pid)


def test_no_permission() -> None:
    """Another user's memory is PermissionError."""
    need_root()

    def ordinary() -> list[str]:
        os.setgid(65534)
        os.setuid(65534)
        seen = []
        for ask in (proc.maps, proc.smaps, proc.memory_totals, proc.layout, lambda pid: proc.region_at(4096, pid)):
            try:
                ask(pid)
            except PermissionError as error:
                seen.append(str(error.filename).rpartition("/")[0])
        return seen

    with waiting() as child:
        pid = child.pid
        assert in_child(ordinary) == [f"/proc/{pid}"] * 5


def test_exec_in_the_middle() -> None:
    """Edge case 110: a process that executes programs all the time has one program's regions, whole, or is gone.

    The kernel cuts the text short without an error when the memory goes; what it lists last is at the top.
    """
    script = """if True:
        import os, sys
        n = int(sys.argv[1])
        if n:
            os.execv(sys.executable, [sys.executable, "-S", "-E", "-c", sys.argv[2], str(n - 1), sys.argv[2]])
        sys.stdin.read()
    """
    top = proc.maps()[-1].kind  # [vsyscall], or where the kernel has none, the stack
    with waiting(INTERPRETER, "-S", "-E", "-c", script, "6", script) as child:
        seen = 0
        while proc.Process(child.pid).cmdline()[-2:-1] != ["0"]:
            try:
                regions = proc.maps(child.pid)
            except BlockingIOError:
                continue  # said to change all the time
            seen += 1
            assert regions[-1].kind == top
        assert seen


# ---- amounts ----


def test_smaps_has_the_regions_and_their_memory() -> None:
    """The same regions; a page that was touched is resident, private, dirty and anonymous; sums are the kernel's."""
    with waiting() as child:
        parts, totals = proc.smaps(child.pid), proc.memory_totals(child.pid)
        assert [part.region for part in parts] == proc.maps(child.pid)
    assert sum(part.rss for part in parts) == totals.rss
    assert sum(part.swap for part in parts) == totals.swap
    assert sum(part.private_clean + part.private_dirty for part in parts) == totals.uss
    assert 0 <= sum(part.pss for part in parts) - totals.pss + 1024 * len(parts) <= 2048 * len(parts)
    with Mapping(8 * 4096) as own:
        own[0] = own[4096] = 1
        part = next(part for part in proc.smaps() if part.start <= own.address < part.end)
        assert part.rss >= part.private_dirty >= 8192
        assert part.anonymous >= 8192
        assert part.page_size == 4096


def test_psutil_agrees_on_smaps() -> None:
    """Rss, pss, private and swap of every region are what psutil reads."""
    psutil = pytest.importorskip("psutil")
    with waiting() as child:
        theirs = {m.addr: m for m in psutil.Process(child.pid).memory_maps(grouped=False)}
        for part in proc.smaps(child.pid):
            name = next(addr for addr in theirs if int(addr.partition("-")[0], 16) == part.start)
            other = theirs[name]
            assert (part.rss, part.private_dirty, part.referenced, part.anonymous, part.swap, part.size, part.perms) == (
                other.rss, other.private_dirty, other.referenced, other.anonymous, other.swap, other.size, other.perms,
            )  # fmt: skip


def test_five_thousand_regions() -> None:
    """All of them are there, in order, without overlap, and as many as the kernel counts."""

    def many() -> tuple[int, bool]:
        with Mapping(5000 * 4096) as own:
            for page in range(0, 5000, 2):
                assert raw.mprotect(own.address + 4096 * page, 4096, mmap.PROT_READ) == 0
            regions = proc.maps()
            inside = [r for r in regions if own.address <= r.start < own.address + 5000 * 4096]
            return len(inside), all(low.end <= high.start for low, high in itertools.pairwise(regions))

    assert in_child(many) == (5000, True)


def test_the_own_listing_is_of_this_process_in_every_thread() -> None:
    """None means the process, not the thread that asks; a thread's number gives its process's memory."""

    def there() -> None:
        seen.append(([r.path for r in proc.maps() if r.path == "[stack]"], threading.get_native_id()))
        seen.append(([r.path for r in proc.maps(threading.get_native_id()) if r.path == "[stack]"], 0))

    seen: list[tuple[list[str], int]] = []
    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    assert [paths for paths, _ in seen] == [["[stack]"]] * 2
