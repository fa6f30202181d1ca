"""The stage: a directory, the compiled child, the FIFO in which children tell that they run, and the processes there."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.harness import Missing, Setting
from rawsys import proc
from rawsys.process import set_subreaper

HERE = Path(__file__).resolve().parent
PATIENCE = 60.0
"""Seconds after which a supervisor that has not done what it was asked is given up."""
_PIPE = 1 << 20


class Start(NamedTuple):
    """What a child told of itself."""

    pid: int
    ns: int


class Stage:
    """Where supervisors run, one after the other.  All that they leave behind comes to us, a subreaper, and is ended."""

    def __init__(self, setting: Setting) -> None:
        self.quick = setting.quick
        # files in memory, where there is a place for them: no disk is measured
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
        self.directory = Path(
            setting.enter_context(TemporaryDirectory("", "rawsys-bench-", place, ignore_cleanup_errors=True))
        )
        self.child = self._compile()
        self.fifo = self.directory / "fifo"
        os.mkfifo(self.fifo)
        self._end = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        setting.callback(os.close, self._end)
        with suppress(OSError):  # the limit for the user: then the pipe stays as it is, and 1,000 starts fit too
            fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, _PIPE)
        self._rest = b""
        self._numbers = iter(range(1 << 30))
        set_subreaper(True)
        setting.callback(set_subreaper, False)
        setting.callback(end_all)

    def _compile(self) -> Path:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise Missing("no C compiler for the child")
        made = self.directory / "child"
        command = [compiler, "-std=gnu11", "-O2", "-static", "-o", str(made), str(HERE / "child.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"the child cannot be compiled: {(done.stderr.splitlines() or ['no reason given'])[-1]}")
        return made

    def place(self) -> Path:
        """A new directory."""
        made = self.directory / f"run{next(self._numbers)}"
        made.mkdir()
        return made

    def environment(self, lines: int = 0) -> dict[str, str]:
        """What every supervisor has, and hands on to the child."""
        return {**os.environ, "BENCH_FIFO": str(self.fifo), "BENCH_LINES": str(lines)}

    def heard(self, timeout: float = 0) -> dict[str, Start]:
        """What children have told meanwhile, by name."""
        if timeout and b"\n" not in self._rest:
            select.select([self._end], [], [], timeout)
        with suppress(BlockingIOError):
            while True:
                self._rest += os.read(self._end, _PIPE)
        *lines, self._rest = self._rest.split(b"\n")
        words = (line.decode().split() for line in lines)
        return {name: Start(int(pid), int(ns)) for name, pid, ns in words}

    def wait_for(self, names: Collection[str], rest: float = 0) -> dict[str, Start]:
        """What these children told, once all have; between two looks nothing is done for `rest` seconds, so that the
        looking takes no processor from what is measured.

        Raises TimeoutError when they have not after PATIENCE seconds.
        """
        found: dict[str, Start] = {}
        until = time.monotonic() + PATIENCE
        while not all(name in found for name in names):
            if time.monotonic() > until:
                missing = [name for name in names if name not in found]
                raise TimeoutError(f"{len(missing)} children do not run, the first of them {missing[0]}")
            found |= self.heard(PATIENCE)
            if rest:
                time.sleep(rest)
        return found


# ---- processes ----


def descendants(top: int) -> list[int]:
    """All processes below one, zombies among them."""
    below: dict[int, list[int]] = {}
    for process in proc.processes():
        below.setdefault(process.ppid, []).append(process.pid)
    found: list[int] = []
    left = [top]
    while left:
        children = below.get(left.pop(), [])
        found += children
        left += children
    return found


def living(pids: Collection[int]) -> list[int]:
    """Those of some processes that run."""
    return [process.pid for process in proc.processes() if process.pid in pids and process.state not in "ZX"]


def end_all() -> None:
    """SIGKILL for all that is below us, until nothing is.

    Those that start others go first: what is killed below a living supervisor comes back.
    """
    until = time.monotonic() + PATIENCE
    while left := descendants(os.getpid()):
        if time.monotonic() > until:
            raise TimeoutError(f"processes {left} cannot be ended")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)


class Ends:
    """Waits for processes to end, and tells when the last of them did."""

    def __init__(self, pids: Collection[int]) -> None:
        self._poll = select.epoll()
        self._left: set[int] = set()
        for pid in pids:
            with suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                self._left.add(fd)
                self._poll.register(fd, select.EPOLLIN)

    def wait(self) -> int:
        """The time (monotonic nanoseconds) at which the last one was seen to have ended."""
        until = time.monotonic() + PATIENCE
        last = time.monotonic_ns()
        while self._left:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self._left)} processes do not end")
            for fd, _ in self._poll.poll(1, 2048):
                self._poll.unregister(fd)
                self._left.remove(fd)
                os.close(fd)
            last = time.monotonic_ns()
        self._poll.close()
        return last


class Run:
    """A supervisor that runs, and when each of its children began."""

    def __init__(self, stage: Stage, command: Sequence[str], place: Path, lines: int = 0) -> None:
        self.stage = stage
        self.starts: dict[str, Start] = {}
        stage.heard()
        self.began = time.monotonic_ns()
        self.top = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place,
            env=stage.environment(lines), start_new_session=True,
        )  # fmt: skip

    def wait_for(self, names: Sequence[str]) -> None:
        """Wait until these children run."""
        self.starts |= self.stage.wait_for(names, rest=0.01)

    @property
    def children(self) -> list[int]:
        """The numbers of the children that were told of last."""
        return [start.pid for start in self.starts.values()]

    def supervising(self) -> list[int]:
        """All its own processes: what is below it and no child."""
        self.starts |= self.stage.heard()
        mine = set(descendants(self.top.pid)) - set(self.children)
        return [self.top.pid, *(living(mine))]

    def restart(self, name: str) -> float:
        """Milliseconds from SIGKILL for a child until the next one runs."""
        begin = time.monotonic_ns()
        os.kill(self.starts[name].pid, signal.SIGKILL)
        self.starts |= self.stage.wait_for([name])
        return (self.starts[name].ns - begin) / 1e6

    def close(self) -> None:
        """End it and all that is left of it."""
        self.top.kill()
        self.top.wait()
        end_all()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def memory(pids: Sequence[int]) -> tuple[float, float]:
    """Resident memory of processes and their proportional share, in MB (10^6 bytes)."""
    sums = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:3]:
            words = line.split()
            if words[0] in sums:
                sums[words[0]] += int(words[1])
    return sums["Rss:"] * 1024 / 1e6, sums["Pss:"] * 1024 / 1e6


def processor_ms(pids: Sequence[int]) -> float:
    """Processor time of processes."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e6


def wakeups(pids: Sequence[int]) -> int:
    """How often processes gave the processor away to wait: each time, something woke them before."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total
