"""ExitStatus and what a process used; edge cases 71, 72 and 74."""

from __future__ import annotations

import mmap
import os
import pickle
import resource
import select
import signal

import pytest

from rawsys import ExitStatus, Pid, structs
from rawsys.constants import SIGUSR1
from rawsys.errors import ExitError
from rawsys.process import Usage


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
        (0x20, None, 32, False, "killed by signal 32"),
        (0xA1, None, 33, True, "killed by signal 33 (core dumped)"),
    ],
)
def test_status_says_how_it_ended(raw: int, code: int | None, killer: int | None, core: bool, text: str) -> None:
    """A wait status is taken apart as wait(2) says; the core bit alone does not change the signal (71, 72)."""
    status = ExitStatus(raw)
    assert (status.code, status.signal, status.core_dumped, str(status)) == (code, killer, core, text)
    assert status.success == (raw == 0) and status == ExitStatus(raw) and hash(status) == hash(ExitStatus(raw))
    assert pickle.loads(pickle.dumps(status)) == status


def test_usage_takes_each_number_from_its_place() -> None:
    """Each field is that of `struct rusage`, whose layout is compared with the C compiler's elsewhere."""
    record = structs.rusage()
    record.ru_utime.tv_sec, record.ru_utime.tv_usec = 1, 500_000
    record.ru_stime.tv_sec, record.ru_stime.tv_usec = 2, 250_000
    fields = ["maxrss", "minflt", "majflt", "inblock", "oublock", "nvcsw", "nivcsw"]
    for number, field in enumerate(fields, 3):
        setattr(record, f"ru_{field}", number)
    assert Usage.from_bytes(bytes(record)) == (1.5, 2.25, 3 * 1024, 4, 5, 6, 7, 8, 9)


def test_usage_of_a_child_has_its_faults_and_switches() -> None:
    """A child that touched fresh pages had faults, and one that waited gave the processor away (74)."""

    def work() -> None:
        memory = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.write(b"x" * len(memory))
        reading, _writing = os.pipe()
        select.select([reading], [], [], 0.001)

    usage = Pid.fork(work).wait().rusage
    assert usage is not None and usage.minor_faults > 0 and usage.voluntary_switches > 0


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


def test_usage_is_the_childs() -> None:
    """rusage counts the child's work, not ours, in seconds and bytes (74)."""

    def work() -> int:
        memory = bytearray(64 << 20)
        return sum(memory[:: 1 << 20])

    usage = Pid.fork(work).wait().rusage
    assert usage is not None and usage.max_rss > 64 << 20 and 0 <= usage.user_time < 5
    small = Pid.fork(lambda: 0).wait().rusage
    with_children = Pid.fork(lambda: Pid.fork(work).wait() and 0).wait().rusage  # the children that it waited for count
    assert small is not None and with_children is not None and with_children.max_rss > small.max_rss + (50 << 20)


def test_aborted_without_a_core() -> None:
    """With RLIMIT_CORE 0 the core bit is not set (72)."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # faulthandler's would print
        os.kill(os.getpid(), signal.SIGABRT)

    status = Pid.fork(work).wait()
    assert (status.raw, status.core_dumped) == (6, False)


def test_signal_enum_is_given() -> None:
    """The signal of a status is a Signal."""
    child = Pid.fork(signal.pause)
    child.send_signal(SIGUSR1)
    assert child.wait().signal is SIGUSR1
