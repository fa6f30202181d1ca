"""ExitStatus, fork and Pid.fork; edge cases 31 to 39 and 71 to 74."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import threading

import pytest
from support import fail_calls, in_child, need_root, run_python

import rawsys
from rawsys import ExitStatus, Pid
from rawsys.constants import SIGKILL, SIGUSR1
from rawsys.errors import ExitError, ForkUnsafeError


@pytest.mark.parametrize(
    ("raw", "code", "killer", "core", "text"),
    [
        (0, 0, None, False, "exited with 0"),
        (0x300, 3, None, False, "exited with 3"),
        (0xFF00, 255, None, False, "exited with 255"),
        (9, None, 9, False, "killed by SIGKILL"),
        (0x86, None, 6, True, "killed by SIGABRT (core dumped)"),
        (6, None, 6, False, "killed by SIGABRT"),
        (0x22, None, 34, False, "killed by SIGRTMIN"),
    ],
)
def test_status_says_how_it_ended(raw: int, code: int | None, killer: int | None, core: bool, text: str) -> None:
    """A wait status is taken apart as wait(2) says; the core bit alone does not change the signal (71, 72)."""
    status = ExitStatus(raw)
    assert (status.code, status.signal, status.core_dumped, str(status)) == (code, killer, core, text)
    assert status.success == (raw == 0) and status == ExitStatus(raw) and hash(status) == hash(ExitStatus(raw))
    assert pickle.loads(pickle.dumps(status)) == status


@pytest.mark.parametrize("raw", [0x137F, 0xFFFF, -1, 0x10000, 0x0109])
def test_status_refuses_what_is_no_end(raw: int) -> None:
    """Stopped (0x137f) and continued (0xffff) are no ends (71)."""
    with pytest.raises(ValueError, match="is not the status"):
        ExitStatus(raw)


def test_status_cannot_be_changed_and_checks() -> None:
    """check() gives the status itself when it is 0, and raises ExitError else."""
    good, bad = ExitStatus(0), ExitStatus(0x100)
    assert good.check() is good
    with pytest.raises(ExitError, match="the process exited with 1") as caught:
        bad.check()
    assert caught.value.status == bad
    with pytest.raises(AttributeError):
        bad.raw = 0


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


def test_with_sigchld_ignored_the_status_is_true() -> None:
    """The gate: a short child lives until the parent holds its pidfd, and then the kernel tells its end (64)."""

    def work() -> list[int | None]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return [Pid.fork(lambda: 7).wait().code for _ in range(50)]

    assert in_child(work) == [7] * 50


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


def test_usage_is_the_childs() -> None:
    """rusage counts the child's work, not ours, in seconds and bytes (74)."""

    def work() -> int:
        memory = bytearray(64 << 20)
        return sum(memory[:: 1 << 20])

    usage = Pid.fork(work).wait().rusage
    assert usage is not None and usage.max_rss > 64 << 20 and 0 <= usage.user_time < 5


def test_aborted_without_a_core() -> None:
    """With RLIMIT_CORE 0 the core bit is not set (72)."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # faulthandler's would print
        os.kill(os.getpid(), signal.SIGABRT)

    status = Pid.fork(work).wait()
    assert (status.raw, status.core_dumped) == (6, False)


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


def test_signal_enum_is_given() -> None:
    """The signal of a status is a Signal."""
    child = Pid.fork(signal.pause)
    child.send_signal(SIGUSR1)
    assert child.wait().signal is SIGUSR1
