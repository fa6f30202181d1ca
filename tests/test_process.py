"""fork and Pid.fork; edge cases 31 to 39, 64 and 73."""

from __future__ import annotations

import io
import os
import resource
import signal
import threading
import time

import pytest
from support import fail_calls, in_child, need_root, run_python

import rawsys
from rawsys import Pid, raw
from rawsys.constants import SIGCHLD, SIGKILL
from rawsys.errors import ForkUnsafeError


def test_fork_as_in_its_documentation() -> None:
    """fork() is a Pid in the parent and None in the child, whose raw_exit gives the code."""
    child = rawsys.fork()
    if child is None:
        rawsys.raw_exit(7)
    assert child.wait().code == 7 and child.wait() is child.status


@pytest.mark.parametrize(
    ("result", "code"), [(None, 0), (0, 0), (7, 7), (256, 0), (300, 44), (-1, 255), (True, 1)]
)  # fmt: skip
def test_work_gives_the_status(result: object, code: int) -> None:
    """None is 0, an int its low 8 bits (73)."""
    with Pid.fork(lambda: result) as child:
        pass
    assert child.wait().code == code


def test_work_that_raises(capfd: pytest.CaptureFixture[str]) -> None:
    """An exception prints its traceback and is 1; SystemExit is what Python makes of it; a strange result is 1 (38)."""

    def leave(code: object) -> None:
        raise SystemExit(code)

    cases = [
        (lambda: 1 / 0, 1),
        (lambda: leave(None), 0),
        (lambda: leave(5), 5),
        (lambda: leave("bye"), 1),
        (lambda: "x", 1),
    ]
    for work, code in cases:
        assert Pid.fork(work).wait().code == code
    err = capfd.readouterr().err
    assert "ZeroDivisionError" in err and "bye\n" in err and "None or an int, not str" in err


def test_work_never_returns_into_the_callers_frames(tmp_path: object) -> None:
    """No finally block and no atexit function of the parent's runs in the child, and no buffer is written twice (37, 38)."""
    done = run_python(
        """
        import atexit, sys
        from rawsys import Pid
        atexit.register(lambda: print("atexit"))
        print("before", end=" ")
        try:
            child = Pid.fork(lambda: print("in the child"))
        finally:
            print("finally", end=" ")
        print(child.wait())
        """,
        env={"PYTHONUNBUFFERED": ""},
    )
    assert done.stdout == "before in the child\nfinally exited with 0\natexit\n", done


def test_hooks_run_once_in_order_also_when_fork_fails() -> None:
    """os.register_at_fork's hooks run as for os.fork; a fork that fails raises its errno and leaks nothing (33, 39)."""

    def work() -> tuple[list[str], str, list[str]]:
        log: list[str] = []
        hooks = {k: (lambda k=k: log.append(k)) for k in ("before", "after_in_child", "after_in_parent")}
        os.register_at_fork(**hooks)
        Pid.fork(lambda: 0 if log == ["before", "after_in_child"] else 1).wait().check()
        first, before = list(log), os.listdir("/proc/self/fd")
        log.clear()
        fail_calls(11, 56, 57, 58, 435)
        with pytest.raises(BlockingIOError) as caught:
            rawsys.fork()
        assert os.listdir("/proc/self/fd") == before
        return first, str(caught.value.errno), log

    assert in_child(work) == (["before", "after_in_parent"], "11", ["before", "after_in_parent"])


def test_fork_at_the_limit_of_processes() -> None:
    """RLIMIT_NPROC reached: BlockingIOError (EAGAIN), nothing leaked (39)."""
    need_root()

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(BlockingIOError):
            Pid.fork(lambda: 0)
        return len(os.listdir("/proc/self/fd")) - before

    assert in_child(work) == 0


def test_fork_refuses_while_other_threads_live() -> None:
    """The held-lock trap: a child would hang on a lock that another thread holds.  fork() names the thread (31, 35)."""
    lock, held, leave = threading.Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            leave.wait()

    thread = threading.Thread(target=hold, name="holder")
    thread.start()
    held.wait()
    try:
        with pytest.raises(ForkUnsafeError, match=r"1 other thread alive: holder"):
            rawsys.fork()
        with pytest.raises(ForkUnsafeError):
            Pid.fork(lambda: 0)
        assert rawsys.Command("true").run().success
        # What it would have been: the child cannot take the lock.
        child = Pid.fork(lambda: 3 if lock.acquire(timeout=0.05) else 4, unsafe=True)
        assert child.wait().code == 4
    finally:
        leave.set()
        thread.join()


def test_fork_from_a_thread_that_is_not_the_main_one() -> None:
    """The forking thread is the main one of the child, so that signal.signal works there (34)."""

    def work() -> int:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        return int(threading.current_thread() is not threading.main_thread())

    codes: list[int | None] = []
    thread = threading.Thread(target=lambda: codes.append(Pid.fork(work, unsafe=True).wait().code))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize("how", ["ignored", "SA_NOCLDWAIT"])
def test_where_the_kernel_reaps_the_status_is_true(how: str) -> None:
    """The gate: a short child lives until the parent holds its pidfd, and then the kernel tells its end (64)."""

    def work() -> list[int | None]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN if how == "ignored" else signal.SIG_DFL)
        if how == "SA_NOCLDWAIT":
            action = bytearray(32)
            raw.rt_sigaction(SIGCHLD, None, action, 8)
            action[8] |= 2
            assert raw.rt_sigaction(SIGCHLD, action, None, 8) == 0
        programs = [rawsys.Command("sh", "-c", "exit 7").run().code for _ in range(10)]
        return [Pid.fork(lambda: 7).wait().code for _ in range(50)] + programs

    assert in_child(work) == [7] * 60


def test_libc_knows_the_childs_number() -> None:
    """libc keeps each thread's number, which is the parent's in a child that it did not make itself (32)."""

    def known() -> int:
        return ~(time.pthread_getcpuclockid(threading.get_ident()) >> 3)  # libc makes the clock's number from it

    assert known() == os.getpid()
    assert Pid.fork(lambda: int(known() != os.getpid())).wait().code == 0
    child = rawsys.raw_fork()
    if child == 0:
        rawsys.raw_exit(int(known() == os.getpid()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0  # stale there: why fork() is os.fork


def test_what_cpython_looks_after_is_free_in_the_child() -> None:
    """With unsafe=True, a lock of logging that another thread holds does not hang the child; importing is waited for (35)."""

    def work() -> int | None:
        import _imp
        import logging

        handler = logging.StreamHandler(io.StringIO())
        logger = logging.getLogger("rawsys.test")
        logger.addHandler(handler)
        held, forking, leave = threading.Event(), threading.Event(), threading.Event()

        def hold() -> None:
            _imp.acquire_lock()
            handler.acquire()
            held.set()
            forking.wait()
            _imp.release_lock()
            leave.wait()
            handler.release()

        def child() -> int:
            logger.warning("in the child")
            import colorsys  # one that nobody has

            return 3 if colorsys else 4

        os.register_at_fork(before=forking.set)  # os.fork takes the lock of importing after that
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        code = Pid.fork(child, unsafe=True).wait(5).code
        leave.set()
        thread.join()
        return code

    assert in_child(work) == 3


def test_fork_that_was_asked_to_be_unsafe_does_not_warn() -> None:
    """From 3.12 on os.fork warns of other threads, also of those that Python does not know: not where one asked (36)."""
    done = run_python(
        """
        import threading, rawsys
        leave = threading.Event()
        thread = threading.Thread(target=leave.wait)
        thread.start()
        print(rawsys.Pid.fork(lambda: 4, unsafe=True).wait())
        leave.set()
        thread.join()
        print(rawsys.Pid.fork(lambda: 5).wait())
        """
    )
    assert (done.stdout, done.stderr) == ("exited with 4\nexited with 5\n", "")


def test_parent_dead_at_the_gate() -> None:
    """When the parent is killed before the gate opens, the child sees the end of the pipe and exits."""

    def work() -> int:
        import rawsys.process.forking as forking

        report, tell = os.pipe()

        def parent() -> None:
            real = os.pidfd_open

            def dies(pid: int) -> int:
                os.write(tell, str(pid).encode())
                os.kill(os.getpid(), 9)
                return real(pid)

            forking.os.pidfd_open = dies  # type: ignore[attr-defined]
            rawsys.fork()

        rawsys.process.set_subreaper(True)
        outer = Pid.fork(parent)
        assert outer.wait().signal == SIGKILL
        orphan = int(os.read(report, 20))
        return os.waitstatus_to_exitcode(os.waitpid(orphan, 0)[1])

    assert in_child(work) == 127


def test_interrupted_in_the_parent_of_a_fork() -> None:
    """An exception between fork and pidfd leaves no child behind: it saw the gate's end and is reaped."""

    def work() -> None:
        import rawsys.process.forking as forking

        def interrupt(pid: int) -> int:
            raise KeyboardInterrupt

        forking.os.pidfd_open = interrupt  # type: ignore[attr-defined]
        before = os.listdir("/proc/self/fd")
        with pytest.raises(KeyboardInterrupt):
            rawsys.fork()
        assert os.listdir("/proc/self/fd") == before
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    in_child(work)


def test_flushed_only_what_is_the_childs() -> None:
    """A forked child's print reaches a pipe, once (37)."""
    done = run_python(
        "import rawsys\nprint('a')\nrawsys.Pid.fork(print, 'b').wait()\nprint('c')", env={"PYTHONUNBUFFERED": ""}
    )
    assert done.stdout == "a\nb\nc\n"


def test_pid_is_not_made_by_its_class() -> None:
    """Pid(7) would be a number without a pidfd: the message names the ways to one."""
    with pytest.raises(TypeError, match=r"Pid\.open"):
        Pid(7)
