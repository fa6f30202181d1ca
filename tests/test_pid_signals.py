"""Pid: signals, stops, groups; edge cases 66 to 68 and 71."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest
from sleepers import waiting
from support import fail_calls, in_child, need_root, readable

import rawsys
from rawsys import Pid, raw, structs
from rawsys.constants import SIGCONT, SIGKILL, SIGRTMIN, SIGSTOP, SIGTERM, SIGUSR1


def test_stops() -> None:
    """wait_stopped and wait_continued tell the signals; a child that ends instead is ChildProcessError (71)."""
    child, go = waiting()
    child.send_signal(SIGSTOP)
    assert child.wait_stopped() is SIGSTOP and child.is_running()
    assert child.poll() is None and child.status is None  # stopped is not ended
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
