"""on_signal: the steps of a Program inside the handler."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading

import pytest
from signal_places import everywhere, everywhere_fresh
from support import in_child, run_child, run_python, until_blocked

import rawsys
from rawsys import Fd, Program, raw
from rawsys.constants import SIGBUS, SIGFPE, SIGILL, SIGRTMIN, SIGSEGV, SIGUSR1, SIGUSR2
from rawsys.errors import BusyError, ClosedError, RefusedCallError
from rawsys.signals import (
    SignalAction,
    SignalCounter,
    SignalProgram,
    SignalQueue,
    alternate_stack,
    on_signal,
    raise_signal,
    raw_sigaction,
)
from rawsys.table import TABLE


def writer(fd: object, data: bytes) -> Program:
    program = Program()
    program.write(fd, data, len(data))
    return program


@everywhere_fresh
def test_as_written_in_the_documentation(setting: str) -> None:
    """The example: a line on standard error, written inside the handler."""
    done = run_python(
        setting
        + """
import os, rawsys
from rawsys.constants import SIGUSR1
from rawsys.signals import on_signal
program = rawsys.Program()
program.write(2, b"Caught SIGUSR1\\n", 15)
with on_signal(SIGUSR1, program):
    rawsys.raw_kill(os.getpid(), SIGUSR1)
    os.write(2, b"after\\n")
""",
        flags=("-W", "ignore::ResourceWarning"),  # the loop of a setting stays open
    )
    assert (done.returncode, done.stderr) == (0, "Caught SIGUSR1\nafter\n")


@everywhere
def test_it_has_run_before_the_interrupted_code_goes_on() -> None:
    """What a step writes is in the pipe when the next instruction runs; other owners of the signal see it as well."""
    reading, writing = Fd.pipe(os.O_NONBLOCK)
    with reading, writing, SignalCounter(SIGUSR1) as counter, on_signal(SIGUSR1, writer(writing, b"caught")) as action:
        for number in range(1, 4):
            rawsys.raw_kill(os.getpid(), SIGUSR1)
            assert reading.read(100) == b"caught"
            assert (action.runs, action.failed, action.skipped, counter.count) == (number, 0, 0, number)
        assert action.installed
    assert action.closed
    assert action.runs == 3


@everywhere
def test_steps_depend_on_each_other() -> None:
    """Answers, buffers and conditions work as anywhere: a file is opened, read, written on and closed."""
    reading, writing = Fd.pipe(os.O_NONBLOCK)
    program = Program()
    data = program.buffer(64)
    fd = program.openat(-100, "/proc/self/comm", os.O_RDONLY | os.O_CLOEXEC, 0)
    count = program.read(fd, data, 64)
    program.write(writing, data, count)
    program.close(fd, always=True)
    with reading, writing, on_signal(SIGUSR1, program) as action:
        for _ in range(20):
            raise_signal(SIGUSR1)
            with open("/proc/self/comm", "rb") as file:
                assert reading.read(64) == file.read()
        assert (action.runs, action.failed) == (20, 0)


@everywhere
def test_failed_runs_are_counted() -> None:
    """A run in which a step failed counts as failed; an allowed errno does not."""
    program, allowed = Program(), Program()
    program.mkdirat(-100, "/proc", 0o777)
    allowed.mkdirat(-100, "/proc", 0o777, allow={17})
    with on_signal(SIGUSR1, program) as one, on_signal(SIGUSR1, allowed) as two:
        raise_signal(SIGUSR1)
        assert (one.runs, one.failed) == (1, 1)
        assert (two.runs, two.failed) == (1, 0)


@everywhere
def test_in_several_threads_at_once() -> None:
    """Each run has a frame of its own: threads that are interrupted at the same time do not mix their buffers."""
    reading, writing = Fd.pipe()
    program = Program()
    data = program.buffer(64)
    tid = program.gettid()
    fd = program.openat(-100, "/proc/thread-self/comm", os.O_RDONLY | os.O_CLOEXEC, 0)
    count = program.read(fd, data, 64)
    program.write(writing, data, count)
    program.close(fd, always=True)
    names = [f"t{number}" for number in range(4)]
    with reading, writing, on_signal(SIGUSR1, program) as action:

        def work(name: str) -> None:
            with open("/proc/thread-self/comm", "w") as file:
                file.write(name)
            for _ in range(200):
                raise_signal(SIGUSR1)

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (action.runs, action.failed) == (800, 0)
        assert sorted(reading.read(65536).split()) == sorted([name.encode() for name in names] * 200)
    assert tid.index == 0


# ---- what is refused ----


@everywhere
def test_limits() -> None:
    """At most 64 steps and 4096 bytes of frame, no parameters, a Program."""
    before = SignalAction.current(SIGUSR1)
    program = Program()
    for _ in range(64):
        program.getpid()
    with on_signal(SIGUSR1, program) as action:
        raise_signal(SIGUSR1)
        assert action.runs == 1
    program = Program()
    for _ in range(65):
        program.getpid()
    with pytest.raises(ValueError, match="at most 64 steps, not 65"):
        on_signal(SIGUSR1, program)
    for size, fits in ((3900, True), (4096, False), (1 << 20, False)):
        program = Program()
        program.getrandom(program.buffer(size), size, 0)
        if fits:
            on_signal(SIGUSR1, program).close()
            continue
        with pytest.raises(ValueError, match="frame of at most 4096 bytes"):
            on_signal(SIGUSR1, program)
    program = Program()
    program.close(program.parameter("fd"))
    with pytest.raises(ValueError, match="no parameters"):
        on_signal(SIGUSR1, program)
    for wrong in (None, print, "program"):
        with pytest.raises(TypeError, match="takes a Program"):
            on_signal(SIGUSR1, wrong)  # type: ignore[arg-type]
    for number in (signal.SIGKILL, signal.SIGSTOP, 32, 33, 0, 65):
        with pytest.raises(ValueError):
            on_signal(number, writer(2, b""))
    assert SignalAction.current(SIGUSR1) == before


WAITS = sorted(entry.name for entry in TABLE if "waits" in entry.traits)


def test_families_that_wait() -> None:
    """The trait `waits` has the families that the rule names; read and write are not among them."""
    expected = {"wait4", "waitid", "nanosleep", "clock_nanosleep", "poll", "ppoll", "select", "pselect6", "futex", "flock", "accept",
                "accept4", "connect", "pause", "rt_sigsuspend", "rt_sigtimedwait", "epoll_wait", "epoll_pwait", "epoll_pwait2",
                "futex_wait", "futex_waitv"}  # fmt: skip
    assert expected <= set(WAITS)
    assert not {"read", "write", "openat", "close", "kill", "futex_wake"} & set(WAITS)


@everywhere
@pytest.mark.parametrize("name", WAITS)
def test_no_step_may_wait(name: str) -> None:
    """A call whose purpose is to wait is refused by name."""
    program = Program()
    arguments = [None if a.kind in ("in", "out", "inout", "any", "addr") else 0 for a in TABLE[name].arguments]
    getattr(program, name)(*arguments)
    with pytest.raises(RefusedCallError, match=f"step 0, {name}, waits"):
        on_signal(SIGUSR1, program)


@everywhere
def test_neither_locks_nor_exec() -> None:
    """fcntl's two commands that wait for a lock, and exec, are refused; its other commands are not."""
    for command in (7, 38):
        program = Program()
        program.fcntl(0, command, bytearray(32))
        with pytest.raises(RefusedCallError, match="waits"):
            on_signal(SIGUSR1, program)
    program = Program()
    program.fcntl(0, 1, 0)
    on_signal(SIGUSR1, program).close()
    program = Program()
    program.execve("/bin/true", [], [])
    with pytest.raises(RefusedCallError, match="child"):
        on_signal(SIGUSR1, program)


# ---- what it holds ----


@everywhere
def test_descriptors_are_in_use_while_installed() -> None:
    """An Fd of the Program is closed when the Program is taken out, not before; a closed one is refused."""
    reading, writing = Fd.pipe(os.O_NONBLOCK)
    program = writer(writing, b"x")
    action = on_signal(SIGUSR1, program)
    number = writing.fileno()
    with pytest.raises(BusyError):
        writing.into_raw()
    writing.close()
    os.fstat(number)
    raise_signal(SIGUSR1)
    assert reading.read(10) == b"x"
    action.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    with pytest.raises(ClosedError):
        on_signal(SIGUSR1, program)
    reading.close()


@everywhere
def test_it_holds_its_program() -> None:
    """The Program, its memory and its Fds live as long as it is installed, whoever forgets them."""
    reading, writing = Fd.pipe(os.O_NONBLOCK)
    with reading, writing:
        action = on_signal(SIGUSR1, writer(writing.dup(), b"kept"))
        raise_signal(SIGUSR1)
        assert reading.read(10) == b"kept"
        with pytest.warns(ResourceWarning):
            action.close()


@everywhere
def test_a_handler_that_is_held_up_keeps_what_it_uses() -> None:
    """close() does not wait for a step that blocks in another thread; its Fd stays open until that is over."""
    before = SignalAction.current(SIGUSR1)
    reading, writing = Fd.pipe()
    with reading:
        filler = Fd.borrow(writing.fileno())
        flags = rawsys.raw.fcntl(writing, 3, 0)
        raw.fcntl(writing, 4, flags | os.O_NONBLOCK)
        while rawsys.raw_write(filler, b"x" * 4096) > 0:
            pass
        raw.fcntl(writing, 4, flags)
        number = writing.fileno()
        action = on_signal(SIGUSR1, writer(writing, b"last"))
        tids: list[int] = []
        held, release = os.pipe()

        def work() -> None:  # the handler must not run where the GIL is held: nobody could read then
            tids.append(raw.gettid())
            os.read(held, 1)

        thread = threading.Thread(target=work)
        thread.start()
        while not tids:
            os.sched_yield()
        until_blocked(tids[0], 0)
        raw.tgkill(os.getpid(), tids[0], SIGUSR1)
        until_blocked(tids[0], 1)
        action.close()
        writing.close()
        os.fstat(number)
        assert SignalAction.current(SIGUSR1) == before
        while not reading.read(1 << 20).endswith(b"last"):
            pass
        os.write(release, b"x")
        thread.join()
        os.close(held)
        os.close(release)
        SignalCounter(SIGUSR2).close()  # whoever comes next clears up
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


@everywhere
def test_child_of_fork_counts_its_descriptors_again() -> None:
    """In a forked child the installed Program goes on, and holds the child's descriptors."""
    reading, writing = Fd.pipe(os.O_NONBLOCK)
    with reading, writing:
        with on_signal(SIGUSR1, writer(writing, b"child")) as action:

            def child() -> bool:
                number = writing.fileno()
                writing.close()
                os.fstat(number)
                raise_signal(SIGUSR1)
                action.close()
                try:
                    os.fstat(number)
                except OSError:
                    return True
                return False

            assert in_child(child)
            assert reading.read(10) == b"child"


# ---- stacks ----


@everywhere
def test_frame_and_alternate_stack() -> None:
    """Case 85: a frame that the thread's alternate stack has no room for is refused; where it shows later it is skipped."""
    program = Program()
    program.getrandom(program.buffer(3900), 3900, 0)
    small = alternate_stack().size - (60 << 10)
    with alternate_stack(small), pytest.raises(ValueError, match="alternate stack"):
        on_signal(SIGUSR1, program)
    with alternate_stack(), on_signal(SIGUSR1, program) as action:
        raise_signal(SIGUSR1)
        assert (action.runs, action.skipped) == (1, 0)
    with on_signal(SIGUSR1, program) as action:
        with alternate_stack(small):
            raise_signal(SIGUSR1)
        assert (action.runs, action.skipped) == (0, 1)
        raise_signal(SIGUSR1)
        assert (action.runs, action.skipped) == (1, 1)


# ---- faults ----


@everywhere
@pytest.mark.parametrize("number", [SIGSEGV, SIGBUS, SIGFPE, SIGILL])
def test_previous_action_is_back_after_a_fault(number: int) -> None:
    """Case 93: the Program runs once, and the action before is back when the handler returns."""

    def test() -> tuple[int, bool]:
        before = SignalAction.current(number)
        with on_signal(number, writer(2, b"")) as action:
            raise_signal(number)
            return action.runs, SignalAction.current(number) == before

    assert in_child(test) == (1, True)


@everywhere
def test_fault_reaches_faulthandler_after_the_program() -> None:
    """Case 93: a true fault runs the Program, then faulthandler prints, and the process dies of it: nothing loops."""
    reading, writing = os.pipe()

    def test() -> None:
        faulthandler.enable(writing)
        action = on_signal(SIGSEGV, writer(writing, b"program\n"))
        assert action.installed
        ctypes.string_at(8)

    end = run_child(test)
    os.close(writing)
    with open(reading, "rb") as file:
        text = file.read()
    assert end.exitcode == -SIGSEGV
    assert text.startswith(b"program\nFatal Python error: Segmentation fault")


@everywhere
def test_queue_of_faults_does_not_loop() -> None:
    """Case 93: a Program beside a queue of SIGSEGV runs once, and the ignored action before it is the kernel's kill."""

    def test() -> tuple[int | None, bool]:
        reading, writing = os.pipe()
        raw_sigaction(SIGSEGV, 1)  # so the kernel's default, forced for an ignored fault, is what comes second
        queue = SignalQueue(SIGSEGV)
        pid = os.fork()
        if pid == 0:
            program = Program()
            program.write(writing, b"x", 1)
            action = on_signal(SIGSEGV, program)
            assert action.installed
            ctypes.string_at(8)
        status = os.waitpid(pid, 0)[1]
        queue.close()
        os.close(writing)
        return os.waitstatus_to_exitcode(status), os.read(reading, 10) == b"x"

    assert in_child(test) == (-SIGSEGV, True)


@everywhere
def test_kill_of_a_fault_signal_is_counted_again_and_again() -> None:
    """A SIGSEGV that somebody sends is no fault: a counter goes on counting."""

    def test() -> int:
        with SignalCounter(SIGSEGV) as counter:
            for _ in range(5):
                raise_signal(SIGSEGV)
            return counter.count

    assert in_child(test) == 5


@everywhere
def test_handler_may_end_the_process() -> None:
    """exit_group is a step like any other."""

    def test() -> None:
        program = Program()
        program.exit_group(7)
        with on_signal(SIGRTMIN, program):
            raise_signal(SIGRTMIN)

    assert run_child(test).exitcode == 7


@everywhere
def test_repr_and_type() -> None:
    """on_signal gives a SignalProgram, which says what it is for."""
    with on_signal(SIGUSR1, writer(2, b"")) as action:
        assert type(action) is SignalProgram
        assert repr(action) == "<SignalProgram SIGUSR1 runs=0>"
    assert repr(action) == "<SignalProgram SIGUSR1 closed>"
