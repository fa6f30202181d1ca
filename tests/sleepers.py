"""Children that sleep or wait, to be looked at in /proc, signalled and reaped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import DATA

from rawsys import Child, Command, Pid
from rawsys.process import strays


def asleep(child: Child) -> None:
    """Wait until a `sleep` sleeps: exec, the loader and its own opening of files are past."""
    while True:
        with open(f"/proc/{child.pid}/syscall") as file:
            if file.read().startswith("230 "):  # clock_nanosleep
                return
        assert child.is_running()
        os.sched_yield()


@contextmanager
def sleeping(command: Command, program: str = "/bin/sleep") -> Iterator[Child]:
    """A child of this command that sleeps."""
    child = command.replace(program, "100").spawn()
    try:
        asleep(child)
        yield child
    finally:
        child.kill()
        child.wait()
        child.close()


def build_root(place: Path) -> None:
    """Make `place` a root directory with programs that sleep, which tell of themselves: see data/sleeper.c.

    Its paths are the same inside: in it, its own path leads back to it.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or pytest.skip("no C compiler is installed")
    place.mkdir(mode=0o755)
    (place / "bin").mkdir()
    (place / "usr").mkdir()
    flags = ["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, DATA / "sleeper.c", "-o", place / "bin/sleep"], check=True)
    os.link(place / "bin/sleep", place / "bin/other")
    inside = place / place.parent.relative_to("/")
    inside.mkdir(parents=True)
    (inside / place.name).symlink_to("/")


def status(child: Child) -> dict[str, str]:
    """The fields of /proc/pid/status."""
    with open(f"/proc/{child.pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def stat(child: Child) -> list[str]:
    """The fields of /proc/pid/stat from the third on."""
    return Path(f"/proc/{child.pid}/stat").read_text().rsplit(") ", 1)[1].split()


def proc(child: Child, name: str) -> str:
    """A file of the child's directory in /proc."""
    return Path(f"/proc/{child.pid}/{name}").read_text()


def told(child: Child) -> list[int]:
    """What a sleeper of ours found out about itself: parent death signal, securebits, whether it is a subreaper."""
    return [int(word, 16) for word in proc(child, "comm").split()]


def environ(child: Child) -> list[bytes]:
    """Its environment, as exec was given it."""
    return Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")[:-1]


def limit(child: Child, name: str) -> list[str]:
    """A soft and a hard limit, by the name in /proc/pid/limits."""
    line = next(line for line in proc(child, "limits").splitlines() if line.startswith(name))
    return line.removeprefix(name).split()[:2]


def link(child: Child, name: str) -> str:
    """Where a link of its directory in /proc leads."""
    return os.readlink(f"/proc/{child.pid}/{name}")


def mask(*signals: int) -> str:
    """Signals as /proc writes them."""
    return f"{sum(1 << s - 1 for s in signals):016x}"


def capabilities(*numbers: int) -> str:
    """Capabilities as /proc writes them."""
    return f"{sum(1 << number for number in numbers):016x}"


@contextmanager
def cgroup_made() -> Iterator[Path | None]:
    """A cgroup v2 of our own, or None where none can be made."""
    tops = Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")
    top = next((each for each in tops if (each / "cgroup.controllers").exists()), None)
    place = top and top / f"rawsys-{os.getpid()}"
    try:
        if place:
            place.mkdir()
    except OSError:
        place = None
    try:
        yield place
    finally:
        if place:
            place.rmdir()


def waiting(code: int = 0) -> tuple[Pid, int]:
    """A child that waits for a byte or the end of a pipe, and then exits; the end to write to."""
    read, write = os.pipe()

    def work() -> int:
        os.dup2(read, 0)
        os.closerange(3, 4096)  # the other children's ends too
        os.read(0, 1)
        return code

    child = Pid.fork(work)
    os.close(read)
    return child, write


def drained(pid: int) -> None:
    """Wait until the list of children that were let go has reaped that one."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    strays.drain()
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
