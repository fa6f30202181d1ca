"""Spawns beside anything: threads, signals, the standard library, forks; edge cases 47 to 51 and 56."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support import in_child, need_root

import rawsys
from rawsys import NULL, PIPE, Command, Fd, Pid, Program, raw
from rawsys.constants import (
    PR_GET_DUMPABLE,
    SIGALRM,
    SIGUSR1,
)
from rawsys.process import strays


def test_pending_signals_are_not_the_childs() -> None:
    """A signal that waits here, blocked, does not wait in the child, whose mask is the same (51)."""

    def work() -> str:
        signal.pthread_sigmask(signal.SIG_BLOCK, [SIGUSR1])
        os.kill(os.getpid(), SIGUSR1)
        assert signal.sigpending() == {SIGUSR1}
        return Command("grep", "-E", "^(SigPnd|ShdPnd|SigBlk)", "/proc/self/status").output(text=True).stdout

    values = dict(line.split(":\t") for line in in_child(work).splitlines())
    assert values == {"SigPnd": "0" * 16, "ShdPnd": "0" * 16, "SigBlk": f"{1 << SIGUSR1 - 1:016x}"}


def test_spawns_of_threads_overlap() -> None:
    """While one thread's child waits in a user step, the spawn of another is done at once: no GIL, no lock held (49)."""
    read, write = os.pipe()
    steps = Program()
    steps.read(read, steps.buffer(1), 1)
    done: list[object] = []
    slow = threading.Thread(target=lambda: done.append(Command("true", steps=steps).run()))
    slow.start()
    times = []
    for _ in range(5):
        begin = time.monotonic()
        assert Command("true").spawn().wait().success
        times.append(time.monotonic() - begin)
    assert done == [] and min(times) < 0.01
    os.write(write, b"!")
    slow.join()
    assert done == [rawsys.ExitStatus(0)]
    os.close(read)
    os.close(write)


def test_the_dumpable_trap() -> None:
    """Children that change credentials leave this process as dumpable as it was, from several threads at once."""
    need_root()

    def spawn() -> None:
        for i in range(25):
            Command("/bin/true", user=1000 + i % 2, group=1000).run().check()

    def work() -> int:
        threads = [threading.Thread(target=spawn) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(PermissionError):
            Command("/etc/passwd", user=1000).run()
        return raw.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)

    assert in_child(work, deadline=20) == 1


def test_many_spawns_from_many_threads() -> None:
    """800 spawns from 8 threads, each with its own pipes: every child has just its own descriptors (long_spawn: 10,000)."""
    import resource

    from long_spawn import storm

    threads = 8 if resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 200 else 3
    assert in_child(storm, 100, threads, deadline=50) == []


def test_a_storm_of_signals() -> None:
    """Signals at any moment, in the parent: none is lost, none reaches a child before exec, no spawn fails (47, 51)."""

    def work() -> bool:
        hits: list[int] = []
        signal.signal(SIGALRM, lambda *_: hits.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for _ in range(100):
            assert Command("true", stdin=NULL).run().success
            assert Command("cat").output(input=b"x" * 100000).stdout == b"x" * 100000
        signal.setitimer(signal.ITIMER_REAL, 0)
        return len(hits) > 20

    assert in_child(work, deadline=30)


def test_the_mask_is_as_it_was() -> None:
    """All signals are blocked during clone only, and the thread's mask is put back, after errors too."""

    def work() -> list[str]:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        for command in (Command("true"), Command("/nope"), Command("true", cwd="/nope")):
            with contextlib.suppress(OSError):
                command.run()
        return [line for line in Path("/proc/thread-self/status").read_text().splitlines() if "SigBlk" in line]

    assert in_child(work) == ["SigBlk:\t0000000000000800"]


def test_beside_the_standard_library() -> None:
    """subprocess, multiprocessing and asyncio beside ours: nobody loses a child, nobody steals one (65)."""

    async def main(child: Pid) -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
        own = Command("sh", "-c", "exit 6").spawn()
        assert await process.wait() == 5 and (await own.wait_async()).code == 6
        assert (await child.wait_async()).code == 3

    popen = subprocess.Popen(["sh", "-c", "exit 4"])
    ours = Command("sh", "-c", "exit 3").spawn()
    let_go = Command("true").spawn()
    let_go.close()
    worker = multiprocessing.get_context("fork").Process(target=int)
    worker.start()
    asyncio.run(main(ours))
    assert popen.wait() == 4
    worker.join()
    assert worker.exitcode == 0
    worker.close()
    subprocess._cleanup()  # type: ignore[attr-defined]
    assert subprocess.run(["true"], check=True).returncode == 0
    while strays.kept:
        strays.drain()


def test_in_a_forked_child() -> None:
    """Command works after fork(), also while another thread of the parent held the lock of credential changes."""
    need_root()
    from rawsys.command import spawning

    def work() -> int:
        return Command("sh", "-c", "exit 5", user=65534).run().code or 0

    with spawning._credentials:
        assert Pid.fork(work).wait().code == 5


def test_with_a_small_stack() -> None:
    """A thread with Python's smallest stack can spawn: the child's own lies in it."""
    old = threading.stack_size(65536)
    try:
        results: list[object] = []
        thread = threading.Thread(target=lambda: results.append(Command("true").run().success))
        thread.start()
        thread.join()
        assert results == [True]
    finally:
        threading.stack_size(old)


def test_close_in_another_thread_waits_for_the_spawn() -> None:
    """An Fd that a spawn uses is not closed under it."""
    read, write = Fd.pipe()
    gate_read, gate_write = Fd.pipe()
    steps = Program()
    steps.read(gate_read, steps.buffer(1), 1)
    results: list[bytes] = []
    command = Command("cat", stdin=read, steps=steps, stdout=PIPE)

    def body() -> None:
        with command.spawn() as child:
            assert child.stdout
            results.append(child.stdout.read_all())

    thread = threading.Thread(target=body)
    write.write(b"x")
    write.close()
    thread.start()
    number = gate_read.fileno()
    while True:  # the child stands in its step
        blocked = [
            tid for tid in os.listdir("/proc/self/task") if Path(f"/proc/self/task/{tid}/syscall").read_text().startswith("435 ")
        ]  # fmt: skip
        if blocked:
            break
        os.sched_yield()
    gate_read.close()
    assert os.path.exists(f"/proc/self/fd/{number}")
    gate_write.write(b"!")
    thread.join()
    assert results == [b"x"] and not os.path.exists(f"/proc/self/fd/{number}")
    read.close()
    gate_write.close()


def test_memory_is_flat() -> None:
    """A thousand spawns that fail and succeed leave no objects behind."""
    good, bad = Command("true", stdin=NULL), Command("/nope", stdin=PIPE)

    def round_trip() -> None:
        good.run()
        with pytest.raises(FileNotFoundError):
            bad.spawn()

    for _ in range(5):
        round_trip()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        round_trip()
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_numbers_are_the_kernels() -> None:
    """The plain ints of process and command are the members of their names in constants, and the table's numbers."""
    from rawsys import constants
    from rawsys.command import _numbers as command_numbers
    from rawsys.process import _numbers as process_numbers
    from rawsys.table import TABLE

    own = {"NAMESPACES", "ALL_FDS", "PIDFD_GET_INFO", "TIOCSCTTY"}
    for module in (command_numbers, process_numbers):
        for name, value in vars(module).items():
            if name.isupper() and name not in own:
                assert getattr(constants, name) == value, name
    for name, value in vars(command_numbers.Call).items():
        if not name.startswith("_"):
            assert TABLE[name].number == value
