"""What a spawn is made of, on any kernel and beside anything: edge cases 10, 40 to 51, 56 and the child law."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support import INTERPRETER, fail_calls, in_child, need, need_root, script

import rawsys
from rawsys import NULL, PIPE, Command, Fd, Pid, Program, raw
from rawsys.constants import CLONE_NEWTIME, CLONE_NEWUTS, PR_GET_DUMPABLE, SIGALRM, SIGUSR1
from rawsys.process import strays

CSRC = Path(rawsys.__file__).with_name("csrc")


def trace(code: str, *options: str) -> str:
    need("strace")
    done = subprocess.run(
        ["strace", "-f", "-qq", *options, INTERPRETER, "-c", script(code)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stderr


def test_one_clone3_and_then_the_steps_alone() -> None:
    """strace: one clone3 with PIDFD, VM and VFORK; until execve the child makes the steps' calls only."""
    code = """
    import rawsys
    rawsys.Command("/bin/true", cwd="/", umask=0o22, stdin=rawsys.PIPE, new_session=True, nice=1).run()
    """
    lines = trace(code).splitlines()
    clones = [line for line in lines if re.match(r"(\[pid +\d+\] )?(clone3?|v?fork)\(", line)]
    assert len(clones) == 1 and clones[0].startswith("clone3("), clones
    for flag in ("CLONE_VM", "CLONE_VFORK", "CLONE_PIDFD", "CLONE_CLEAR_SIGHAND"):
        assert flag in clones[0]
    begin = lines.index(clones[0])
    child = next(m[1] for line in lines[begin + 1 :] if (m := re.match(r"\[pid +(\d+)\] (?!.*clone3 resumed)", line)))
    calls = []
    for line in lines[begin + 1 :]:
        if m := re.match(rf"\[pid +{child}\] (\w+)\(", line):
            calls.append(m[1])
            if m[1] == "execve":
                break
    assert calls == [
        "rt_sigaction", "rt_sigaction", "setsid", "setpriority", "dup3", "umask", "chdir", "close_range", "rt_sigprocmask", "execve",
    ]  # fmt: skip


def test_the_childs_code_knows_only_the_interpreter(tmp_path: Path) -> None:
    """nm -u child.o: rs_run and rs_first_failure; no libc, no stack protector."""
    compiler = shutil.which("cc") or shutil.which("gcc") or pytest.skip("no C compiler is installed")
    need("nm")
    if not (CSRC / "child.c").exists():
        pytest.skip("the C sources are not here")
    flags = ["-std=gnu11", "-O2", "-fPIC", "-fstack-protector-strong", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-c", CSRC / "child.c", "-o", tmp_path / "child.o"], check=True)
    unknown = subprocess.run(["nm", "-u", tmp_path / "child.o"], check=True, capture_output=True, text=True).stdout
    assert set(unknown.split()) - {"U"} == {"rs_run", "rs_first_failure"}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_without_clone3(number: int) -> None:
    """A kernel or filter without clone3: the older clone does the same, and the parent's handlers are not in the child (10)."""

    def work() -> tuple[bytes, list[int]]:
        signal.signal(SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        fail_calls(number, 435)
        out = Command("cat", cwd="/", umask=0o22).output(input=b"x").stdout
        read, write = Fd.pipe()
        steps = Program()  # tells the child's actions before exec, which would reset them
        for each in (SIGUSR1, signal.SIGHUP, signal.SIGPIPE):
            action = steps.buffer(32)
            steps.rt_sigaction(each, None, action, 8)
            steps.write(write, action, 8)
        with read, write:
            assert Command("true", steps=steps).run().success
            handlers = [int.from_bytes(read.read(8), "little") for _ in range(3)]
        with pytest.raises(FileNotFoundError):
            Command("/no/such").run()
        return out, handlers

    assert in_child(work) == (b"x", [0, 1, 0])


def test_what_the_older_clone_cannot_give() -> None:
    """Without clone3, a cgroup or time namespace is OSError (ENOSYS); EPERM with a namespace is no reason to fall back (10)."""
    need_root()

    def work(number: int) -> list[int]:
        fail_calls(number, 435)
        errnos = []
        for attributes in ({"cgroup": "/"}, {"namespaces": int(CLONE_NEWTIME)}, {"namespaces": int(CLONE_NEWUTS)}):
            try:
                Command("true", **attributes).run()
                errnos.append(0)
            except OSError as error:
                errnos.append(error.errno or 0)
        return errnos

    assert in_child(work, errno.ENOSYS) == [errno.ENOSYS, errno.ENOSYS, 0]
    assert in_child(work, errno.EPERM) == [errno.EPERM] * 3


def test_after_the_time_namespace_was_unshared() -> None:
    """A process whose children get another time namespace can spawn, though some kernels refuse shared memory there (50)."""
    need_root()

    def work() -> tuple[bytes, str]:
        if raw.unshare(CLONE_NEWTIME):
            pytest.skip("no time namespaces here")
        out = Command("echo", "x").output().stdout
        with pytest.raises(FileNotFoundError) as caught:
            Command("true", cwd="/nope").run()
        return out, caught.value.__notes__[0]

    assert in_child(work) == (b"x\n", 'in the child: chdir("/nope")')


def test_without_shared_memory() -> None:
    """Where CLONE_VM is refused with EINVAL the child gets a copy, and its errors arrive all the same (50)."""
    need("strace")
    code = """
    import rawsys
    assert rawsys.Command("echo", "x").output().stdout == b"x\\n"
    try:
        rawsys.Command("true", cwd="/nope").run()
    except FileNotFoundError as error:
        assert error.__notes__ == ['in the child: chdir("/nope")'], error.__notes__
    else:
        raise AssertionError
    assert rawsys.Command("true").run().success
    """
    text = trace(code, "-e", "trace=clone3", "-e", "inject=clone3:error=EINVAL:when=1+2")
    assert text.count("INJECTED") == 3 and "CLONE_VFORK" in text


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
