"""Pid: waits, signals, strangers; edge cases 63 to 70 and 75 to 78."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from functools import partial

import pytest
from support import fail_calls, in_child, need, need_root, readable, run_python

import rawsys
from rawsys import Pid, raw, structs
from rawsys.constants import SIGCONT, SIGKILL, SIGRTMIN, SIGSTOP, SIGTERM, SIGUSR1
from rawsys.errors import ClosedError, StatusLostError
from rawsys.process import lost, strays, wait_all, wait_any


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


def test_wait_keeps_the_status_and_closes_the_pidfd() -> None:
    """A reaped Pid has nothing to leak: signals are ProcessLookupError, fileno() ClosedError, the status stays."""
    child, go = waiting(5)
    assert child.poll() is None and child.is_running() and child.status is None
    assert os.readlink(f"/proc/self/fd/{child.fileno()}").endswith("[pidfd]")
    os.close(go)
    assert child.wait().code == 5 and child.poll() == child.status and not child.is_running()
    with pytest.raises(ProcessLookupError):
        child.send_signal(SIGTERM)
    child.kill()  # both mean "be gone": it is
    assert child.terminate() is None and child.terminate(1) == child.status
    with pytest.raises(ClosedError):
        child.fileno()
    child.close()
    with child:
        pass
    assert repr(child) == f"<Pid {child.pid} exited with 5>"


def test_timeouts() -> None:
    """0 does not wait, a late child is TimeoutError, negative and NaN are ValueError."""
    child, go = waiting()
    for timeout in (0, 0.02):
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match="did not end within"):
            child.wait(timeout)
        assert time.monotonic() - begin >= timeout
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="negative or NaN"):
            child.wait(wrong)
    os.close(go)
    assert child.wait(10).success


def test_looking_does_not_reap() -> None:
    """reap=False tells the status twice and leaves the child waitable (69)."""
    child, go = waiting(4)
    os.close(go)
    assert child.wait(reap=False).code == 4 and child.wait(5, reap=False).code == 4
    assert child.status is None and not child.is_running()
    child.send_signal(0)  # to a zombie: succeeds (68)
    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 4
    assert child.wait().code == 4


def test_interrupted_waits_go_on_with_the_time_that_is_left() -> None:
    """EINTR: Python's handlers run, and the wait goes on (63)."""

    def work() -> int:
        hits: list[int] = []
        signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
        signal.siginterrupt(signal.SIGALRM, True)
        child, go = waiting()
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        with pytest.raises(TimeoutError):
            child.wait(0.06)
        timer = threading.Timer(0.05, os.close, (go,))
        timer.start()
        assert child.wait().success
        signal.setitimer(signal.ITIMER_REAL, 0)
        timer.join()
        return len(hits)

    assert in_child(work) >= 5


def test_a_handler_that_raises_leaves_the_child_waitable() -> None:
    """KeyboardInterrupt in a wait comes through, and the Pid can be waited for again."""

    def work() -> bool:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, stop)
        child, go = waiting()
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            child.wait()
        os.close(go)
        return child.wait().success

    assert in_child(work)


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


def test_two_threads_wait_for_one_child() -> None:
    """Eight threads get one and the same status (78)."""
    for timeout in (None, 10):
        child, go = waiting(9)
        found: list[object] = []
        wait = partial(lambda child, timeout, found: found.append(child.wait(timeout)), child, timeout, found)
        threads = [threading.Thread(target=wait) for _ in range(8)]
        for thread in threads:
            thread.start()
        os.close(go)
        for thread in threads:
            thread.join()
        assert found == [child.status] * 8 and all(each is child.status for each in found)


def test_stops() -> None:
    """wait_stopped and wait_continued tell the signals; a child that ends instead is ChildProcessError (71)."""
    child, go = waiting()
    child.send_signal(SIGSTOP)
    assert child.wait_stopped() is SIGSTOP and child.is_running()
    child.send_signal(SIGCONT)
    assert child.wait_continued() is SIGCONT
    os.close(go)
    with pytest.raises(ChildProcessError, match="has ended"):
        child.wait_stopped()
    assert child.wait().success


def test_a_signal_with_a_value() -> None:
    """value= arrives as the sigqueue value, with our pid."""

    def work() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, [SIGRTMIN])
        os.write(ready[1], b"!")
        info = structs.siginfo()
        raw.rt_sigtimedwait((1 << 33).to_bytes(8, "little"), info, None, 8)
        return 0 if info.si_pid == os.getppid() and int.from_bytes(bytes(info)[24:32], "little") == 2**40 + 5 else 1

    ready = os.pipe()
    child = Pid.fork(work)
    assert os.read(ready[0], 1) == b"!"
    child.send_signal(SIGRTMIN, value=2**40 + 5)
    assert child.wait().success
    for end in ready:
        os.close(end)
    with Pid.open(os.getpid()) as self, pytest.raises(OverflowError):
        self.send_signal(0, value=2**64)


def test_the_group_that_it_leads() -> None:
    """group=True reaches grandchildren; a child that leads no group is ProcessLookupError."""
    command = rawsys.Command("sh", "-c", "sleep 100 & echo $!; wait", stdout=rawsys.PIPE, process_group=0)
    with command.spawn() as child:
        assert child.stdout
        grandchild = Pid.open(int(child.stdout.read(20)))
        child.send_signal(SIGKILL, group=True)
        assert readable(grandchild.fileno())
        grandchild.close()
    assert child.wait().signal is SIGKILL
    plain, go = waiting()
    with pytest.raises(ProcessLookupError):
        plain.send_signal(SIGTERM, group=True)
    os.close(go)
    plain.wait()


def test_the_group_on_a_kernel_without_the_flag() -> None:
    """Where pidfd_send_signal refuses the flag (EINVAL), kill(-pgid) does it while the leader is not reaped."""

    def work() -> tuple[int | None, int]:
        child, _ = waiting()
        os.setpgid(child.pid, 0)
        fail_calls(22, 424)
        child.send_signal(SIGKILL, group=True)
        result = child.wait().signal
        plain, _ = waiting()
        with pytest.raises(ProcessLookupError):
            plain.send_signal(SIGKILL, group=True)
        with Pid.open(os.getppid()) as parent, pytest.raises(OSError, match="Invalid argument"):
            parent.send_signal(0, group=True)
        os.kill(plain.pid, 9)
        return result, plain.wait().raw

    assert in_child(work) == (9, 9)


def test_terminate_with_grace() -> None:
    """One that obeys ends by TERM; one that does not is killed after the grace, and reaped; the status is given."""
    child, go = waiting()
    assert child.terminate(10).signal is SIGTERM  # type: ignore[union-attr]
    os.close(go)
    stubborn = rawsys.Command(
        "sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done", stdout=rawsys.PIPE, new_session=True
    ).spawn()
    assert stubborn.stdout and stubborn.stdout.read(1) == b"\n"
    begin = time.monotonic()
    assert stubborn.terminate(0.05).signal is SIGKILL  # type: ignore[union-attr]
    assert time.monotonic() - begin < 2
    stubborn.close()


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


def drained(pid: int) -> None:
    """Wait until the list of children that were let go has reaped that one."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    strays.drain()
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


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
        assert stranger.is_running() and not stranger.is_child and "not our child" in repr(stranger)
    assert process.poll() is None
    with pytest.raises(ClosedError):
        stranger.wait()
    stranger = Pid.open(process.pid)
    stranger.kill()
    assert readable(stranger.fileno()) and not stranger.is_running()
    if lost.kernel_tells():
        with pytest.raises(TimeoutError):  # a zombie yet: its parent has not asked
            stranger.wait(0.01)
    assert process.wait() == -9
    assert stranger.wait().signal is SIGKILL
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


def test_a_reused_number_is_not_hit() -> None:
    """Another process gets the number (clone3's set_tid): the stale Pid says ProcessLookupError, the newcomer lives (67)."""
    need_root()

    def work() -> tuple[bool, int]:
        first, go = waiting()
        stale, number = Pid.open(first.pid), first.pid
        os.close(go)
        first.wait()
        tid = bytearray(number.to_bytes(4, "little"))
        args = structs.clone_args(exit_signal=17, set_tid_size=1)
        args.point("set_tid", tid)
        read, write = os.pipe()
        pid = raw.clone3(args, 88)
        if pid == 0:
            os.read(read, 1)
            rawsys.raw_exit(3)
        if pid < 0:
            pytest.skip(f"set_tid is refused: {os.strerror(-pid)}")
        assert pid == number
        with pytest.raises(ProcessLookupError):
            stale.send_signal(SIGKILL)
        with pytest.raises(ProcessLookupError):
            first.send_signal(SIGKILL)
        os.write(write, b"!")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        stale.close()
        return True, code

    assert in_child(work) == (True, 3)


def test_wait_any_and_wait_all() -> None:
    """wait_any gives the first that ended, reaped; wait_all the statuses in order; timeouts and nothing to wait for."""
    pairs = [waiting(i) for i in range(3)]
    pids = [pid for pid, _ in pairs]
    with pytest.raises(TimeoutError):
        wait_any(pids, 0.01)
    os.close(pairs[1][1])
    assert wait_any(pids) is pids[1] and pids[1].status and pids[1].status.code == 1
    assert wait_any(pids, 0) is pids[1]
    with pytest.raises(TimeoutError):
        wait_all(pids, 0.01)
    for i in (0, 2):
        os.close(pairs[i][1])
    assert [status.code for status in wait_all(pids)] == [0, 1, 2]
    with pytest.raises(ValueError, match="needs a process"):
        wait_any([])


def test_under_select_poll_and_epoll() -> None:
    """fileno() is readable when the process has ended, and not before (76)."""
    child, go = waiting()
    with select.epoll() as epoll:
        epoll.register(child, select.EPOLLIN)
        assert epoll.poll(0) == [] and select.select([child], [], [], 0)[0] == []
        os.close(go)
        assert epoll.poll(5) == [(child.fileno(), select.EPOLLIN)] and select.select([child], [], [], 5)[0] == [child]
    assert child.wait().success


def test_under_asyncio() -> None:
    """Several tasks await one child, others go on; a cancelled wait leaves the child; asyncio's own children are theirs."""

    async def main() -> None:
        child, go = waiting(8)
        waits = [asyncio.create_task(child.wait_async()) for _ in range(3)]
        lazy = asyncio.create_task(child.wait_async())
        other = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
        assert await other.wait() == 5
        lazy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lazy
        assert not any(wait.done() for wait in waits)
        os.close(go)
        assert {status.code for status in await asyncio.gather(*waits)} == {8}
        assert (await child.wait_async()).code == 8

    asyncio.run(main())


def test_a_stranger_under_asyncio() -> None:
    """A process that is not ours is awaited until its parent has reaped it."""

    async def main() -> None:
        process = subprocess.Popen(["sh", "-c", "exit 4"])
        stranger = Pid.open(process.pid)
        wait = asyncio.create_task(stranger.wait_async())
        await asyncio.sleep(0)
        process.wait()
        if lost.kernel_tells():
            assert (await wait).code == 4
        else:
            with pytest.raises(StatusLostError):
                await wait
            stranger.close()

    asyncio.run(main())


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


def test_a_wait_does_not_tick() -> None:
    """strace: a wait without timeout is one waitid, one with timeout one ppoll and the waitid that reaps."""
    need("strace")
    code = """
    import os, rawsys
    for timeout in (None, 100):
        r, w = os.pipe()
        child = rawsys.Command("sh", "-c", "read x; sleep 0.2; exit 3", stdin=r).spawn()
        os.close(r)
        os.write(2, b"mark\\n")
        os.close(w)
        child.wait(timeout)
        os.write(2, b"mark\\n")
    """
    from support import INTERPRETER, script

    trace = subprocess.run(
        [
            "strace",
            "-qq",
            "-e",
            "trace=waitid,wait4,ppoll,poll,write,clock_nanosleep,futex",
            INTERPRETER,
            "-c",
            script(code),
        ],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=30,
    ).stderr
    parts = trace.split('write(2, "mark\\n", 5')
    for part, names in ((parts[1], ["waitid"]), (parts[3], ["ppoll", "waitid"])):
        calls = [
            line.split("(")[0]
            for line in part.splitlines()
            if "(" in line and not line.startswith((")", "mark", "---"))
        ]
        assert [name for name in calls if name.isidentifier()] == names, part


def test_pids_over_a_socket_and_as_handles() -> None:
    """A Pid is a Handle: every door takes it; it cannot be copied or pickled."""
    import pickle

    child, go = waiting()
    assert raw.pidfd_send_signal(child, 0, None, 0) == 0
    with pytest.raises(TypeError):
        pickle.dumps(child)
    left, right = socket.socketpair()
    with left, right:
        socket.send_fds(left, [b"x"], [child.fileno()])
        _, fds, _, _ = socket.recv_fds(right, 1, 1)
    os.close(fds[0])
    child.send_signal(SIGUSR1)
    assert child.wait().signal is SIGUSR1
    os.close(go)
