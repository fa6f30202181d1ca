"""raw_sigaction and our way back from a handler: bytes, registers, errno, unwinders."""

from __future__ import annotations

import copy
import ctypes
import faulthandler
import mmap
import os
import pickle
import resource
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from signal_places import everywhere, everywhere_fresh, put_back
from support import INTERPRETER, in_child, need, run_child

import rawsys
from rawsys import Fd, raw
from rawsys.constants import (
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    SIGBUS,
    SIGFPE,
    SIGHUP,
    SIGILL,
    SIGRTMIN,
    SIGSEGV,
    SIGTERM,
    SIGUSR1,
    SIGUSR2,
)
from rawsys.signals import (
    SignalAction,
    SignalCounter,
    SignalFlag,
    SignalQueue,
    SignalSet,
    alternate_stack,
    on_signal,
    raise_signal,
    raw_sigaction,
)

SIG_DFL, SIG_IGN = 0, 1
SOURCE = Path(__file__).with_name("c") / "signal_probe.c"


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The probe, compiled; it is never unloaded."""
    compiler = shutil.which("cc") or need("gcc")
    made = tmp_path_factory.mktemp("probe") / "signal_probe.so"
    subprocess.run([compiler, "-O1", "-g", "-shared", "-fPIC", "-rdynamic", "-o", made, SOURCE], check=True)
    return ctypes.CDLL(str(made))


def address(probe: ctypes.CDLL, name: str) -> int:
    found = ctypes.cast(getattr(probe, name), ctypes.c_void_p).value
    assert found
    return found


@everywhere
def test_default_ignored_and_back() -> None:
    """SIG_IGN and SIG_DFL are set, what was there before is given, and goes back bit for bit."""
    before = SignalAction.current(SIGUSR1)
    assert raw_sigaction(SIGUSR1, SIG_IGN) == before
    rawsys.raw_kill(os.getpid(), SIGUSR1)  # ignored
    ignored = raw_sigaction(SIGUSR1, before)
    assert (ignored.handler, ignored.flags, ignored.restorer, ignored.mask) == (SIG_IGN, 0, 0, SignalSet())
    assert SignalAction.current(SIGUSR1) == before
    assert rawsys.raw_sigaction is raw_sigaction


@everywhere
def test_an_address(probe: ctypes.CDLL) -> None:
    """Case 79: a function in C runs and returns, through our restorer; mask and flags are the kernel's."""
    handler = address(probe, "count_handler")
    runs = ctypes.c_int.in_dll(probe, "runs")
    runs.value = 0
    before = raw_sigaction(SIGUSR1, handler, SA_RESTART, SignalSet([SIGUSR2]))
    mine = SignalAction.current(SIGUSR1)
    for _ in range(5):
        rawsys.raw_kill(os.getpid(), SIGUSR1)
    assert runs.value == 5
    assert (mine.handler, mine.flags & SA_RESTART, mine.mask) == (handler, SA_RESTART, SignalSet([SIGUSR2]))
    assert ctypes.string_at(mine.restorer, 9) == b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05"  # mov $15, %rax; syscall
    assert "SA_RESTORER" in repr(mine)
    assert raw_sigaction(SIGUSR1, before) == mine


@everywhere
def test_nodefer_and_resethand(probe: ctypes.CDLL) -> None:
    """Case 86: a handler that gets its own signal runs after itself, with SA_NODEFER in itself; SA_RESETHAND is one shot."""
    again, deepest = ctypes.c_int.in_dll(probe, "again"), ctypes.c_int.in_dll(probe, "deepest")
    for flags, depth in ((0, 1), (SA_NODEFER, 6)):
        again.value, deepest.value = 5, 0
        before = raw_sigaction(SIGUSR1, address(probe, "nested_handler"), flags)
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        raw_sigaction(SIGUSR1, before)
        assert (again.value, deepest.value) == (-1, depth)
    before = raw_sigaction(SIGUSR1, address(probe, "count_handler"), SA_RESETHAND | SA_NODEFER)
    rawsys.raw_kill(os.getpid(), SIGUSR1)
    after = raw_sigaction(SIGUSR1, before)
    assert after.handler == SIG_DFL


@everywhere
@put_back()
def test_handlers_of_others_go_back(probe: ctypes.CDLL) -> None:
    """Case 90: the actions of CPython, faulthandler and libc's sigaction have the same 32 bytes after ours."""
    libc = ctypes.CDLL(None)
    signal.signal(SIGUSR1, lambda *_: None)
    faulthandler.register(SIGUSR2, file=2, chain=True)
    libc.signal(int(SIGHUP), ctypes.c_void_p(address(probe, "count_handler")))
    try:
        for number in (SIGUSR1, SIGUSR2, SIGHUP):
            before = SignalAction.current(number)
            assert before.restorer not in (0, _our_restorer())
            with SignalCounter(number) as one, SignalFlag(number):
                raise_signal(number)
                assert one.count == 1
            assert SignalAction.current(number) == before
            ignored = raw_sigaction(number, SIG_IGN)
            assert ignored == before
            raw_sigaction(number, before)
            assert SignalAction.current(number) == before
    finally:
        faulthandler.unregister(SIGUSR2)


def _our_restorer() -> int:
    from rawsys._native.signals import restorer

    return restorer()


@everywhere
@put_back()
def test_getsignal_does_not_know() -> None:
    """Case 90: signal.getsignal goes on showing Python's handler, which does not run; put back, it runs."""
    ran: list[int] = []

    def handler(number: int, frame: object) -> None:
        ran.append(number)

    signal.signal(SIGUSR1, handler)
    with SignalCounter(SIGUSR1) as counter:
        raise_signal(SIGUSR1)
        assert signal.getsignal(SIGUSR1) is handler
        assert (counter.count, ran) == (1, [])
    raise_signal(SIGUSR1)
    assert ran == [SIGUSR1]


@everywhere
@pytest.mark.parametrize("wrong", [signal.SIGKILL, signal.SIGSTOP, 32, 33, 0, -1, 65])
def test_refused_signals(wrong: int) -> None:
    """Cases 81 and 82: SIGKILL, SIGSTOP, libc's own two, 0, -1 and 65 are refused by name."""
    with pytest.raises(ValueError):
        raw_sigaction(wrong, SIG_IGN)


@everywhere
def test_bad_input() -> None:
    """Handlers and flags are ints of 64 bits; an action has its own flags and mask; an action has 32 bytes."""
    before = SignalAction.current(SIGUSR1)
    for kind in (None, True, 1.5, "SIG_IGN"):
        with pytest.raises(TypeError):
            raw_sigaction(SIGUSR1, kind)  # type: ignore[arg-type]
    for value in (-1, 1 << 64):
        with pytest.raises(OverflowError):
            raw_sigaction(SIGUSR1, value)
        with pytest.raises(OverflowError):
            raw_sigaction(SIGUSR1, SIG_IGN, value)
    for extra in ({"flags": SA_RESTART}, {"mask": SignalSet([SIGTERM])}):
        with pytest.raises(TypeError, match="own flags and mask"):
            raw_sigaction(SIGUSR1, before, **extra)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="32 bytes"):
        SignalAction(b"")
    assert SignalAction.current(SIGUSR1) == before
    action = SignalAction(bytes(before))
    assert copy.copy(action) == pickle.loads(pickle.dumps(action)) == action
    assert hash(action) == hash(before)
    with pytest.raises(AttributeError):
        action.flags = 1  # type: ignore[misc]


@everywhere
def test_address_zero_is_the_default_action() -> None:
    """A handler address of 0 is SIG_DFL: the signal kills as by default, and nothing jumps to address 0."""

    def test() -> None:
        raw_sigaction(SIGTERM, 0, SA_RESTART)
        rawsys.raw_kill(os.getpid(), SIGTERM)

    assert run_child(test).exitcode == -SIGTERM


@everywhere
def test_size_of_the_set_is_checked_by_the_kernel() -> None:
    """Case 80: another size of the mask than 8 is EINVAL."""
    assert raw.rt_sigaction(SIGUSR1, None, bytearray(32), 16) == -22


# ---- what a handler leaves alone ----


@everywhere
def test_mask_while_ours_runs() -> None:
    """Case 82: libc's 32 and 33 and true faults (the kernel adds 9 and 19) stay open in our handler; with a Program all do."""
    for make in (SignalCounter, SignalFlag, SignalQueue):
        with make(SIGUSR1):
            mask = int.from_bytes(bytes(SignalAction.current(SIGUSR1))[24:], "little")
            assert mask == ~sum(1 << number - 1 for number in (4, 5, 7, 8, 11, 31, 32, 33, 9, 19)) & (1 << 64) - 1
    reading, writing = os.pipe()
    program = rawsys.Program()
    text = program.buffer(2048)
    file = program.openat(-100, "/proc/thread-self/status", os.O_RDONLY | os.O_CLOEXEC, 0)
    program.write(writing, text, program.read(file, text, 2048))
    program.close(file, always=True)
    with on_signal(SIGUSR1, program) as action:
        raise_signal(SIGUSR1)
        assert (action.runs, action.failed) == (1, 0)
    inside = next(line for line in os.read(reading, 4096).splitlines() if line.startswith(b"SigBlk"))
    assert int(inside.split()[1], 16) == 1 << SIGUSR1 - 1
    os.close(reading)
    os.close(writing)


def _while_signals_come(run: object, *args: object) -> object:
    """Run a C function in a thread while 300 signals are served there; gives its answer."""
    null = Fd.open("/dev/null", os.O_WRONLY)
    here, go = ctypes.c_int(0), ctypes.c_int(0)
    answers: list[object] = []
    program = rawsys.Program()
    for _ in range(8):
        program.write(null, b"x" * 64, 64)
    owners = [SignalCounter(SIGUSR1), SignalFlag(SIGUSR1)]
    owners += [SignalQueue(SIGUSR1, capacity=64), on_signal(SIGUSR1, program)]  # type: ignore[list-item]
    thread = threading.Thread(target=lambda: answers.append(run(ctypes.byref(here), ctypes.byref(go), *args)))  # type: ignore[operator]
    thread.start()
    while not here.value:
        os.sched_yield()
    for number in range(1, 301):
        raw.tgkill(os.getpid(), here.value, SIGUSR1)
        while owners[0].count < number:
            os.sched_yield()
    go.value = 1
    thread.join()
    for owner in (*owners, null):
        owner.close()
    return answers[0]


@everywhere
@pytest.mark.parametrize("wide", [0, 1])
def test_vector_registers_are_left_alone(probe: ctypes.CDLL, wide: int) -> None:
    """xmm and ymm registers that are live in the interrupted code have their values after hundreds of signals."""
    if wide and not probe.has_ymm():
        pytest.skip("this processor has no ymm registers")
    assert _while_signals_come(probe.live_vectors, wide) == 1


@everywhere
def test_red_zone_is_left_alone(probe: ctypes.CDLL) -> None:
    """Case 83: what a function keeps below its stack pointer is the same after hundreds of signals on that stack."""
    assert _while_signals_come(probe.live_red_zone) == 1


@everywhere
def test_errno_is_left_alone(probe: ctypes.CDLL) -> None:
    """Case 84: libc's errno of the interrupted thread is the same after hundreds of signals with failing calls."""
    assert _while_signals_come(probe.live_errno) == 77


@everywhere
def test_backtrace_goes_through(probe: ctypes.CDLL) -> None:
    """libc's unwinder finds as many frames from a handler through our restorer as through libc's own."""

    def test() -> tuple[int, int]:
        libc = ctypes.CDLL(None)
        frames = ctypes.c_int.in_dll(probe, "frames")
        found = []
        handler = address(probe, "backtrace_handler")
        for install in (
            lambda: raw_sigaction(SIGUSR1, handler),
            lambda: libc.signal(int(SIGUSR1), ctypes.c_void_p(handler)),
        ):
            install()
            assert probe.interrupted_function(int(SIGUSR1)) >= 1
            found.append(frames.value)
        return found[0], found[1]

    ours, libcs = in_child(test)
    assert ours == libcs
    assert ours > 5


@everywhere_fresh
def test_gdb_shows_the_interrupted_frames(probe: ctypes.CDLL, setting: str) -> None:
    """gdb's backtrace in a handler goes through our frame to the interrupted function."""
    gdb = need("gdb")
    code = setting + (
        "import ctypes; from rawsys.signals import raw_sigaction\n"
        f"p = ctypes.CDLL({probe._name!r})\n"
        "raw_sigaction(10, ctypes.cast(p.backtrace_handler, ctypes.c_void_p).value)\n"
        "print('runs', p.interrupted_function(10))"
    )
    command = [gdb, "-q", "-batch", "-nx", "-ex", "set breakpoint pending on", "-ex", "set debuginfod enabled off",
               "-ex", "handle SIGUSR1 nostop noprint pass", "-ex", "break backtrace_handler", "-ex", "run", "-ex", "backtrace",
               "--args", INTERPRETER, "-c", code]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(Path(rawsys.__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, env=env)
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("gdb may not trace here")
    assert "<signal handler called>" in done.stdout, done.stdout + done.stderr
    below = done.stdout.split("<signal handler called>")[1]
    assert "interrupted_function" in below
    assert "main" in below


@everywhere
@pytest.mark.parametrize("number", [SIGSEGV, SIGBUS, SIGFPE, SIGILL])
def test_true_faults_come_once(probe: ctypes.CDLL, number: int) -> None:
    """Case 93: a queue takes a true fault once, with its address; its second coming goes to the handler before, which ends it.

    The next fault is that handler's alone, until a new owner comes.
    """

    def test() -> list[tuple[int, bool, bool]]:
        escape = address(probe, "escape_handler")
        raw_sigaction(number, escape)
        file = os.memfd_create("gone")
        os.ftruncate(file, 4096)
        page = mmap.mmap(file, 4096)
        os.ftruncate(file, 0)
        wrong = ctypes.addressof(ctypes.c_char.from_buffer(page)) if number == SIGBUS else 8
        found = []
        for _ in range(2):
            with SignalQueue(number) as queue, SignalCounter(number) as counter:
                for _ in range(2):
                    assert probe.fault(int(number), ctypes.c_void_p(wrong)) == 1
                    assert SignalAction.current(number).handler == escape
                    assert counter.count == 1
                (info,) = queue
                at = info.addr == wrong if number in (SIGSEGV, SIGBUS) else bool(info.addr)
                found.append((info.signal, info.code > 0, at))
        return found

    assert in_child(test) == [(number, True, True)] * 2


@everywhere
def test_stack_overflow_is_handled_on_the_alternate_stack(probe: ctypes.CDLL) -> None:
    """Case 85: a Program reports a true stack overflow, since it runs on the other stack; then the process dies of it."""
    reading, writing = os.pipe()

    def test() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()  # it would print from a stack of its own
        program = rawsys.Program()
        program.write(writing, b"overflow", 8)
        with alternate_stack(), on_signal(SIGSEGV, program):
            probe.overflow(1)

    end = run_child(test)
    os.close(writing)
    with open(reading, "rb") as file:
        assert (end.exitcode, file.read()) == (-SIGSEGV, b"overflow")


@everywhere
def test_real_time_numbers_work_too() -> None:
    """All signals that can be caught can be taken, one after the other."""
    for number in (*range(1, 32), *range(SIGRTMIN, 65)):
        if number in (signal.SIGKILL, signal.SIGSTOP):
            continue
        before = SignalAction.current(number)
        with SignalCounter(number) as counter:
            raise_signal(number)
            assert counter.count == 1
        assert SignalAction.current(number) == before
