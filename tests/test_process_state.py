"""Limits of processes, credentials, session, group, subreaper and parent death signal, of processes and threads."""

from __future__ import annotations

import os
import resource
import signal
import threading

import pytest
from sleepers import limit, sleeping
from support import in_child, need_root, readable

from rawsys import Command, Pid, process, raw
from rawsys.constants import (
    CAP_CHOWN,
    CAP_KILL,
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_SECUREBITS,
    RLIMIT_CORE,
    RLIMIT_NOFILE,
    SIGHUP,
    SIGUSR1,
)
from rawsys.process import Limit


def shown() -> dict[str, str]:
    """What /proc says of the calling thread."""
    with open("/proc/thread-self/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def test_a_limit_is_a_number() -> None:
    """What is none is refused by name, and changes nothing."""
    before = process.rlimit(RLIMIT_CORE)
    for wrong in (1.5, "10", True, (1, 2)):
        with pytest.raises(TypeError, match="a limit is an int, or None for none, not"):
            process.set_rlimit(RLIMIT_CORE, wrong)
    assert process.rlimit(RLIMIT_CORE) == before


def test_limits_of_this_process() -> None:
    """rlimit reads what resource does; set_rlimit gives the old one, leaves `hard` alone, and None is no limit."""

    def work() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert process.rlimit(RLIMIT_NOFILE) == Limit(soft, hard)
        assert process.set_rlimit(RLIMIT_NOFILE, 50) == (soft, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (50, hard)
        process.set_rlimit(RLIMIT_CORE, 4096, 8192)
        assert process.rlimit(RLIMIT_CORE) == (4096, 8192)
        with pytest.raises(OSError, match="Invalid argument"):
            process.set_rlimit(RLIMIT_CORE, 8193)
        with pytest.raises(OSError, match="Invalid argument"):
            process.rlimit(999)

    in_child(work)


def test_limits_of_another_process() -> None:
    """By number, for whoever may; nobody's is ProcessLookupError, a stranger's PermissionError for an ordinary user."""
    need_root()
    with sleeping(Command("x", rlimits={RLIMIT_CORE: None})) as child:
        assert process.rlimit(RLIMIT_CORE, child.pid) == (None, None)
        assert process.set_rlimit(RLIMIT_CORE, 5, 6, child.pid) == (None, None)
        assert limit(child, "Max core file size") == ["5", "6"]
        assert process.set_rlimit(RLIMIT_CORE, 4, pid=child.pid) == (5, 6)
        number = child.pid

        def work() -> None:
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            with pytest.raises(PermissionError):
                process.rlimit(RLIMIT_CORE, number)
            process.set_rlimit(RLIMIT_CORE, 0, 0)
            with pytest.raises(PermissionError):
                process.set_rlimit(RLIMIT_CORE, 0, 1)

        in_child(work)
    with pytest.raises(ProcessLookupError):
        process.rlimit(RLIMIT_CORE, number)


def test_credentials_are_what_proc_shows() -> None:
    """Ids, groups, the five sets, securebits and no_new_privs, each with a value of its own."""
    need_root()

    def work() -> None:
        os.setgroups([7, 9])
        os.setresgid(21, 22, 23)
        raw.prctl(PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0)
        _add_inheritable(int(CAP_KILL))
        assert raw.prctl(PR_CAP_AMBIENT, 2, CAP_KILL, 0, 0) == 0
        assert raw.prctl(PR_SET_SECUREBITS, 0x10, 0, 0, 0) == 0
        raw.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.setresuid(11, 12, 0)
        found, told = process.credentials(), shown()
        assert told["Uid"].split() == [str(x) for x in (found.uid, found.euid, found.suid, found.fsuid)]
        assert told["Gid"].split() == [str(x) for x in (found.gid, found.egid, found.sgid, found.fsgid)]
        assert (found.uid, found.euid, found.suid, found.gid, found.egid, found.sgid) == (11, 12, 0, 21, 22, 23)
        assert found.groups == (7, 9) == tuple(map(int, told["Groups"].split()))
        for name, each in (
            ("CapEff", found.effective),
            ("CapPrm", found.permitted),
            ("CapInh", found.inheritable),
            ("CapBnd", found.bounding),
            ("CapAmb", found.ambient),
        ):
            assert sum(1 << number for number in each) == int(told[name], 16), name
        assert CAP_CHOWN not in found.bounding and found.inheritable == {CAP_KILL} != found.permitted
        assert (found.securebits, found.no_new_privs) == (0x10, True)
        os.setresuid(0, 0, 0)

    in_child(work)
    assert process.credentials().securebits == 0 and process.credentials().uid == os.getuid()


def _add_inheritable(number: int) -> None:
    header, data = bytearray((0x20080522).to_bytes(8, "little")), bytearray(24)
    raw.capget(header, data)
    data[8:12] = (1 << number).to_bytes(4, "little")
    assert raw.capset(header, data) == 0


def test_credentials_are_the_threads() -> None:
    """The kernel keeps them for each thread: what one changes by raw calls, another does not have."""
    need_root()

    def work() -> tuple[int, int]:
        found: list[int] = []

        def body() -> None:
            assert raw.setresuid(-1, 65534, -1) == 0
            found.append(process.credentials().euid)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        return found[0], process.credentials().euid

    assert in_child(work) == (65534, 0)


def test_sessions_and_groups() -> None:
    """Read for any process, made for this one and its children before exec."""

    def work() -> None:
        pid = os.getpid()
        assert (process.session(), process.process_group()) == (os.getsid(0), os.getpgrp())
        process.set_process_group()
        assert process.process_group() == os.getpgrp() == pid
        with pytest.raises(PermissionError):
            process.new_session()  # it leads a group
        leader = Pid.fork(lambda: int(process.new_session() != os.getpid()))
        assert leader.wait().success
        with sleeping(Command("x")) as child, pytest.raises(PermissionError):
            process.set_process_group(0, child.pid)  # EACCES: after exec
        with pytest.raises(ProcessLookupError):
            process.session(child.pid)
        with pytest.raises(ProcessLookupError):
            process.process_group(child.pid)

    in_child(work)


def test_subreaper() -> None:
    """Orphans among the descendants become ours; children do not inherit that."""

    def work() -> int:
        assert process.subreaper() is False
        process.set_subreaper(True)
        assert process.subreaper() is True
        assert Pid.fork(lambda: int(process.subreaper())).wait().code == 0
        read, write = os.pipe()

        def between() -> None:
            Pid.fork(lambda: os.read(read, 1) and 7).close()

        middle = Pid.fork(between)
        middle.wait().check()
        os.write(write, b"x")
        code = os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1])
        process.set_subreaper(False)
        assert process.subreaper() is False
        return code

    assert in_child(work) == 7


def test_parent_death_signal_is_the_threads() -> None:
    """Set and read in one thread, it is nothing to another, and gone in a child; what is no signal is EINVAL."""

    def work() -> None:
        before = process.parent_death_signal()
        found: list[object] = []

        def body() -> None:
            process.set_parent_death_signal(SIGUSR1)
            found.append(process.parent_death_signal())

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        assert found == [SIGUSR1] and process.parent_death_signal() == before
        process.set_parent_death_signal(SIGHUP)
        assert process.parent_death_signal() is SIGHUP
        assert Pid.fork(lambda: int(process.parent_death_signal() is not None)).wait().code == 0
        process.set_parent_death_signal(None)
        assert process.parent_death_signal() is None
        with pytest.raises(OSError, match="Invalid argument"):
            process.set_parent_death_signal(65)

    in_child(work)


def test_parent_death_signal_comes_when_it_was_set_by_hand() -> None:
    """A forked child that sets it for itself is ended with its parent."""
    read, write = os.pipe()

    def parent() -> None:
        ready, tell = os.pipe()

        def child() -> None:
            process.set_parent_death_signal(SIGUSR1)
            os.write(tell, b"!")
            signal.pause()

        Pid.fork(child).close()
        os.read(ready, 1)

    assert Pid.fork(parent).wait().success
    os.close(write)
    assert readable(read, 10) and os.read(read, 1) == b""  # the child, who alone held the pipe, is gone
    os.close(read)
