"""Pid: who reaps it, whose child it is, what is left of it; edge cases 64, 65, 75 and 77."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading

import pytest
from sleepers import drained, waiting
from support import fail_calls, in_child, readable, run_python

import rawsys
from rawsys import Pid
from rawsys.constants import SIGKILL, SIGTERM
from rawsys.errors import ClosedError, StatusLostError
from rawsys.process import lost, strays


def test_thieves() -> None:
    """Whoever reaps it (os.waitpid(-1), SIGCHLD ignored, SA_NOCLDWAIT), the status is the true one (64, 65).

    This kernel has PIDFD_INFO_EXIT or it has not; where it has (6.15), nothing else than 7 is right.
    """
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    assert lost.kernel_tells() or release < (6, 15)
    for _ in range(20):
        child, go = waiting(7)
        os.close(go)
        while os.waitpid(-1, 0)[0] != child.pid:
            pass
        if lost.kernel_tells():
            status = child.wait()
            assert (status.code, status.rusage) == (7, None)
        else:
            with pytest.raises(StatusLostError):
                child.wait()


def test_thief_in_another_thread_while_we_wait() -> None:
    """os.waitpid in a thread and Pid.wait race for the child: whoever wins, the status is 7 (65)."""

    def steal(pid: int) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    for _ in range(20):
        child, go = waiting(7)
        thief = threading.Thread(target=steal, args=(child.pid,))
        thief.start()
        os.close(go)
        assert child.wait().code == 7
        thief.join()


def test_without_the_kernels_word_the_status_is_lost() -> None:
    """Where PIDFD_INFO_EXIT is missing (ioctl fails), a stolen status is StatusLostError, again and again, never 0."""

    def work() -> None:
        fail_calls(25, 16)
        lost._known = None
        child, go = waiting(7)
        os.close(go)
        os.waitpid(child.pid, 0)
        for _ in range(2):
            with pytest.raises(StatusLostError):
                child.wait()
        other, go = waiting(3)
        stranger = Pid.open(other.pid)
        os.close(go)
        assert other.wait().code == 3
        with pytest.raises(StatusLostError):
            stranger.wait()
        stranger.close()

    in_child(work)


def test_leaving_with() -> None:
    """Normally it waits; by an exception it terminates and reaps; close() inside lets the child go."""
    child, go = waiting(3)
    with pytest.raises(KeyError), child:
        raise KeyError
    assert child.status and child.status.signal is SIGTERM
    os.close(go)
    with Pid.fork(lambda: 6) as child:
        pass
    assert child.status and child.status.code == 6
    child, go = waiting()
    with child:
        child.close()
    assert child.status is None and child.closed
    os.close(go)
    drained(child.pid)


def test_let_go_and_forgotten_children_are_reaped_in_passing() -> None:
    """close() lets it run; dropped, it is a ResourceWarning too; a later spawn reaps it.  No zombie, no descriptor."""
    child, go = waiting()
    child.close()
    os.close(go)
    drained(child.pid)
    child, go = waiting()
    number = child.pid
    with pytest.warns(ResourceWarning, match=f"unclosed <Pid {number}>"):
        del child
    os.close(go)
    os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)
    assert rawsys.Command("true").run().success
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG)


def test_exit_with_children_let_go() -> None:
    """An interpreter that exits with a child let go, or forgotten, exits cleanly."""
    done = run_python(
        "import rawsys; c = rawsys.Command('true').spawn(); c.close(); d = rawsys.Command('true').spawn()", flags=()
    )
    assert done.returncode == 0 and done.stderr == ""


def test_a_stranger() -> None:
    """Pid.open: signals, the exit notice, and its status when its parent has reaped it; leaving `with` only closes."""
    process = subprocess.Popen(["sleep", "100"])
    with Pid.open(process.pid) as stranger:
        assert stranger.is_running() and not stranger.is_child and "not ours" in repr(stranger)
    assert process.poll() is None
    with pytest.raises(ClosedError):
        stranger.wait()
    stranger = Pid.open(process.pid)
    stranger.kill()
    assert readable(stranger.fileno()) and not stranger.is_running()
    second = Pid.open(process.pid)
    assert stranger.wait().signal is SIGKILL  # looked at only: `subprocess` has it to reap
    assert process.wait() == -9
    if lost.kernel_tells():
        assert second.wait().signal is SIGKILL
    second.close()
    with Pid.open(os.getppid()) as parent, pytest.raises(ChildProcessError):
        parent.wait_stopped()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("number", "error"), [(0, OSError), (-1, OSError), (-(2**31), OSError), (2**22 + 1, ProcessLookupError)]
)
def test_numbers_that_are_nobody(number: int, error: type[OSError]) -> None:
    """0, negative numbers and a free one (75, 77)."""
    with pytest.raises(error):
        Pid.open(number)


def test_number_of_a_thread() -> None:
    """The number of a thread that leads no process is refused by the kernel (77)."""
    tids: list[int] = []
    ready, leave = threading.Event(), threading.Event()

    def body() -> None:
        tids.append(threading.get_native_id())
        ready.set()
        leave.wait()

    thread = threading.Thread(target=body)
    thread.start()
    ready.wait()
    try:
        with pytest.raises(OSError):  # EINVAL, ENOENT from 6.16 on
            Pid.open(tids[0])
    finally:
        leave.set()
        thread.join()


def test_in_a_forked_child_the_parents_pids_are_strangers() -> None:
    """A forked child neither reaps nor closes its parent's children; what was let go is the parent's to reap."""
    brother, go = waiting(2)
    gone, go2 = waiting()
    gone.close()

    def work() -> int:
        assert not brother.is_child and strays.kept == []
        brother.close()
        return 0

    assert Pid.fork(work).wait().success
    os.close(go)
    assert brother.wait().code == 2
    os.close(go2)
    drained(gone.pid)
