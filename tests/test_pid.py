"""Pid: waits, alone and for several, with select, epoll and asyncio; edge cases 63, 69, 70, 76 and 78."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from sleepers import waiting
from support import in_child, need

from rawsys import PIPE, Command, Pid
from rawsys.constants import SIGTERM
from rawsys.errors import ClosedError, StatusLostError
from rawsys.process import lost, wait_all, wait_any


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


def test_libcs_own_signals_kill_like_others() -> None:
    """32 and 33 are no `Signal`, but who is killed by one has a status all the same."""
    for number in (32, 33):
        with Command("cat", stdin=PIPE).spawn() as child:  # a program of its own: libc may have a handler here
            child.send_signal(number)
            status = child.wait(10)
        assert (status.signal, status.code) == (number, None)
        assert repr(child) == f"<Child {child.pid} killed by signal {number}>"


def test_wait_all_reaps_what_has_ended() -> None:
    """One that is late does not keep wait_all from reaping those behind it in the list."""
    (late, go), (early, end) = waiting(), waiting(4)
    os.close(end)
    early.wait(reap=False)
    with pytest.raises(TimeoutError, match="1 of 2 processes did not end"):
        wait_all([late, early], 0.01)
    assert early.status is not None and early.status.code == 4
    os.close(go)
    assert late.wait().success


def test_a_child_that_somebody_else_here_reaps() -> None:
    """Pid.open of a child that another owner has: its end and status are seen, and it is left to that one to reap."""
    popen = subprocess.Popen(["sh", "-c", "read x; exit 6"], stdin=subprocess.PIPE)
    assert popen.stdin
    with Pid.open(popen.pid) as seen, Pid.open(popen.pid) as second:
        assert repr(seen) == f"<Pid {popen.pid} (not ours to reap)>" and not seen.is_child
        with pytest.raises(TimeoutError, match="did not end within 0 s"):
            seen.wait(0)
        popen.stdin.close()
        assert seen.wait(10).code == 6
        assert wait_any([second], 10) is second and second.status == seen.status
    assert popen.wait() == 6


def test_a_zombie_of_somebody_else_is_told_as_one() -> None:
    """Where the parent does not reap, the process has ended and has no status yet: the TimeoutError says so."""
    keeper = Pid.fork(_keep_a_zombie)
    with Pid.open(_zombie_of(keeper)) as zombie:
        with pytest.raises(TimeoutError, match="has ended, but its parent did not reap it"):
            zombie.wait(0.01)
    keeper.kill()
    keeper.wait()


def _keep_a_zombie() -> None:
    if not os.fork():
        os._exit(0)
    signal.pause()


def _zombie_of(keeper: Pid) -> int:
    """The number of the only child of a process, once that child has ended."""
    while True:
        found = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
        if found and Path(f"/proc/{found[0]}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return int(found[0])
        os.sched_yield()


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


def test_a_pidfd_that_does_not_block() -> None:
    """Somebody made the pidfd nonblocking: a wait without timeout is the kernel's EAGAIN, one with it waits (76)."""
    child, go = waiting(6)
    os.set_blocking(child.fileno(), False)
    with pytest.raises(BlockingIOError):
        child.wait()
    with pytest.raises(TimeoutError):
        child.wait(0.01)
    os.close(go)
    assert child.wait(10).code == 6


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
