"""A Command's child and signals, sessions, terminals, and its parent's death."""

from __future__ import annotations

import os
import pty
import signal
import threading
from typing import Any

from sleepers import mask, sleeping, stat, status
from support import in_child, need_root, readable

from rawsys import Child, Command, Pid
from rawsys.constants import CLONE_NEWPID, SIGHUP, SIGKILL, SIGTERM, SIGUSR2


def test_process_group() -> None:
    """0 is a new group; a number joins that of a child which is there already."""
    with sleeping(Command("x", process_group=0)) as leader:
        assert os.getpgid(leader.pid) == leader.pid
        with sleeping(Command("x", process_group=leader.pid)) as other:
            assert os.getpgid(other.pid) == leader.pid
    with sleeping(Command("x")) as plain:
        assert os.getpgid(plain.pid) == os.getpgrp()


def test_controlling_tty() -> None:
    """The session's terminal, by path or Fd."""
    main, second = pty.openpty()
    try:
        for tty in (os.ttyname(second), second):
            with sleeping(Command("x", new_session=True, controlling_tty=tty)) as child:
                assert int(stat(child)[4]) == os.stat(os.ttyname(second)).st_rdev
                assert len(os.listdir(f"/proc/{child.pid}/fd")) == 3
    finally:
        os.close(main)
        os.close(second)


def test_signals_of_the_child() -> None:
    """SIGPIPE and SIGXFSZ are at their default; ignored ones stay so unless named; the mask is the thread's (28, 61)."""

    def work() -> list[tuple[str, str]]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        found = []
        asked: list[dict[str, Any]] = [
            {},
            {"default_signals": [SIGHUP]},
            {"default_signals": True},
            {"signal_mask": []},
        ]
        for attributes in asked:
            with sleeping(Command("x", **attributes)) as child:
                found.append((status(child)["SigIgn"], status(child)["SigBlk"]))
        return found

    usr2, hup, none = mask(SIGUSR2), mask(SIGHUP), mask()
    assert in_child(work) == [(hup, usr2), (none, usr2), (none, usr2), (hup, none)]


def test_parent_death_signal_comes() -> None:
    """When the parent ends, the child gets it; also after a change of credentials, which clears it in the kernel."""
    need_root()
    # The first process of a PID namespace is spared by all signals that it does not handle, but SIGKILL from outside.
    asked: list[dict[str, Any]] = [
        {},
        {"user": 65534},
        {"namespaces": int(CLONE_NEWPID), "parent_death_signal": SIGKILL},
    ]
    for attributes in asked:
        read, write = os.pipe()

        def parent(attributes: dict[str, Any] = attributes, write: int = write) -> None:
            Command("sleep", "100", fds={9: write}, **{"parent_death_signal": SIGTERM, **attributes}).spawn().close()

        assert Pid.fork(parent).wait().success
        os.close(write)
        assert readable(read, 10) and os.read(read, 1) == b""  # the sleeper, who alone held the pipe, is gone
        os.close(read)


def test_parent_death_signal_from_another_thread() -> None:
    """It would come at the end of that thread: refused there, unless it is asked for by name."""
    errors: list[Exception] = []
    children: list[Child] = []

    def body() -> None:
        try:
            Command("sleep", "100", parent_death_signal=SIGTERM).spawn()
        except RuntimeError as error:
            errors.append(error)
        children.append(Command("sleep", "100", parent_death_signal=SIGTERM, parent_death_any_thread=True).spawn())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert "not the main one" in str(errors[0])
    assert children[0].wait(10).signal is SIGTERM  # the thread has ended
