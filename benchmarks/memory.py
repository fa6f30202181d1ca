"""Memory: mappings against mmap.mmap, other processes' memory against a copy, the vDSO against the module time."""

from __future__ import annotations

import mmap
import subprocess
import sys
import time

from benchmarks.harness import Setting, Sides, Topic, peer
from rawsys import raw, vdso
from rawsys.bench import loop
from rawsys.memory import Mapping, read_memory, read_memory_into

TOPIC = Topic("memory", "mappings, other processes' memory, the vDSO")


@TOPIC.row("vdso.monotonic_ns()")
def monotonic(setting: Setting) -> Sides:
    """Both sides call the same function of the kernel's image."""
    theirs = peer("time.monotonic_ns()", loop("f()", f=time.monotonic_ns), "<= 1.1")
    call = peer("raw.clock_gettime", loop("f(1, m)", f=raw.clock_gettime, m=bytearray(16)))
    return Sides(loop("f()", f=vdso.monotonic_ns), [theirs, call])


@TOPIC.row("vdso.getrandom(16)")
def random(setting: Setting) -> Sides:
    """Fresh bytes for a key, against the call."""
    return Sides(
        loop("f(16)", f=vdso.getrandom), [peer("raw.getrandom", loop("f(m, 16, 0)", f=raw.getrandom, m=bytearray(16)))]
    )


@TOPIC.row("create, touch, close of a 4 KiB Mapping", patience=0.5)
def create(setting: Setting) -> Sides:
    """One page of one's own; mmap.mmap makes a shared one unless it is told otherwise."""
    private = {"f": mmap.mmap, "flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    touch = "; m[0] = 1; m.close()"
    peers = [
        peer("mmap.mmap, private too", loop(f"m = f(-1, 4096, flags=flags){touch}", **private), "<= 1.0"),
        peer("mmap.mmap", loop(f"m = f(-1, 4096){touch}", f=mmap.mmap), "<= 1.0"),
    ]
    return Sides(loop(f"m = f(4096){touch}", f=Mapping), peers)


@TOPIC.row("create, touch, close, both shared", patience=0.5)
def create_shared(setting: Setting) -> Sides:
    """The kernel makes a file for it: that is most of the time, on both sides."""
    touch = "; m[0] = 1; m.close()"
    theirs = peer("mmap.mmap", loop(f"m = f(-1, 4096){touch}", f=mmap.mmap))
    return Sides(loop(f"m = f(4096, shared=True){touch}", f=Mapping), [theirs])


@TOPIC.row("read_at(8)")
def careful(setting: Setting) -> Sides:
    """A system call that looks at the page, against a plain look."""
    ours, theirs = setting.enter_context(Mapping(4096)), setting.enter_context(mmap.mmap(-1, 4096))
    ours[0] = theirs[0] = 1
    plain = peer("slice of mmap.mmap", loop("m[0:8]", m=theirs))
    return Sides(loop("f(8)", f=ours.read_at), [plain, peer("slice of Mapping", loop("m[0:8]", m=ours))])


@TOPIC.row("slice of 8 bytes")
def piece(setting: Setting) -> Sides:
    """A plain look on both sides."""
    ours, theirs = setting.enter_context(Mapping(4096)), setting.enter_context(mmap.mmap(-1, 4096))
    ours[0] = theirs[0] = 1
    return Sides(loop("m[0:8]", m=ours), [peer("slice of mmap.mmap", loop("m[0:8]", m=theirs))])


_OTHER = """
import sys
from rawsys.memory import Mapping
memory = Mapping(int(sys.argv[1]), populate=True)
print(memory.address, flush=True)
sys.stdin.read()
"""


def _other(setting: Setting, size: int) -> tuple[int, int]:
    """Another process with so many bytes: its number and their address."""
    process = subprocess.Popen([sys.executable, "-c", _OTHER, str(size)], stdin=-1, stdout=-1)
    setting.enter_context(process)
    assert process.stdin and process.stdout
    setting.callback(process.stdin.close)
    return process.pid, int(process.stdout.readline())


@TOPIC.row("read_memory of 64 MiB from another process", patience=0.1)
def other(setting: Setting) -> Sides:
    """A new object of bytes on both sides."""
    size = setting.size(64 << 20, 1 << 20)
    pid, address = _other(setting, size)
    copy = peer("copy of the same size", loop("bytes(data)", data=bytearray(b"x") * size, bytes=bytes), "<= 3")
    return Sides(loop("f(pid, address, n)", f=read_memory, pid=pid, address=address, n=size), [copy])


@TOPIC.row("read_memory_into, 64 MiB", patience=0.1)
def other_into(setting: Setting) -> Sides:
    """Into memory that is there, on both sides."""
    size = setting.size(64 << 20, 1 << 20)
    pid, address = _other(setting, size)
    data, to = bytearray(b"x") * size, bytearray(size)
    copy = peer("copy of the same size", loop("to[:] = data", to=memoryview(to), data=data), "<= 3")
    return Sides(loop("f(pid, address, to)", f=read_memory_into, pid=pid, address=address, to=to), [copy])
