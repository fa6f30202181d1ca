"""ThreadHandle: joined or detached exactly once; attributes hold from the first line; bodies in Python, C and Programs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from support import in_child, readable, run_python, until_blocked

import rawsys
from rawsys import AtomicU32, AtomicU64, Fd, Pid, Program, ThreadHandle, constants, sched
from rawsys.errors import BusyError, ClosedError, RefusedCallError
from rawsys.events import Epoll

FUTEX = 202
libc = ctypes.CDLL(None)


class Stopped:
    """A native body that waits in the kernel until it is let go: a read of a pipe, as a Program."""

    def __init__(self) -> None:
        self.ours, self.theirs = Fd.pipe()
        self.program = Program()
        self.program.read(self.ours, self.program.buffer(8), 8)

    def go(self) -> None:
        self.theirs.write(b"x")

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def stopped() -> Iterator[Stopped]:
    body = Stopped()
    yield body
    body.close()


@contextlib.contextmanager
def caught_by_hook() -> Iterator[list[threading.ExceptHookArgs]]:
    """What reaches threading.excepthook meanwhile."""
    caught: list[threading.ExceptHookArgs] = []
    old, threading.excepthook = threading.excepthook, caught.append
    try:
        yield caught
    finally:
        threading.excepthook = old


def wait_end(handle: ThreadHandle) -> None:
    while handle.is_alive():
        os.sched_yield()


# ---- the examples ----


def test_example() -> None:
    """The two examples of the reference."""

    def work(number: int) -> tuple[int, str, frozenset[int]]:
        return number, threading.current_thread().name, sched.affinity()

    cpu = max(sched.affinity())
    handle = ThreadHandle.spawn(work, 42, name="worker", stack_size=2 << 20, affinity={cpu})
    assert handle.join() == (42, "worker", {cpu})
    counter = AtomicU64(0)
    handles = [ThreadHandle.spawn_native(counter.adder(1_000_000)) for _ in range(8)]
    for native in handles:
        assert native.join() == 0
    assert counter.load() == 8_000_000


# ---- attributes ----


class PthreadAttr(ctypes.Structure):
    _fields_ = (("room", ctypes.c_char * 64),)


def own_stack() -> tuple[int, int]:
    """Size and guard size of the calling thread's stack, as libc tells them."""
    attr, size, guard, address = PthreadAttr(), ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
    libc.pthread_self.restype = ctypes.c_ulong
    libc.pthread_getattr_np(ctypes.c_ulong(libc.pthread_self()), ctypes.byref(attr))
    libc.pthread_attr_getstack(ctypes.byref(attr), ctypes.byref(address), ctypes.byref(size))
    libc.pthread_attr_getguardsize(ctypes.byref(attr), ctypes.byref(guard))
    libc.pthread_attr_destroy(ctypes.byref(attr))
    return size.value, guard.value


def test_attributes_hold_from_the_first_line() -> None:
    """Eight threads with eight stacks, CPUs, policies, nice values, names and masks, started at once, each see their own."""
    gate = AtomicU32()
    cpus = sorted(sched.affinity())
    signals = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM]

    def body() -> tuple[object, ...]:
        seen = (own_stack(), sched.affinity(), sched.policy().policy, sched.nice(), sched.name())
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        gate.wait(0)
        return *seen, mask, threading.get_native_id()

    wanted, handles = [], []
    for n in range(8):
        policy = (constants.SCHED_OTHER, constants.SCHED_BATCH, constants.SCHED_IDLE)[n % 3]
        options = {"stack_size": (n + 4) * 65536, "guard_size": (n + 1) * 4096, "affinity": {cpus[n % len(cpus)]}}
        rest = {"policy": policy, "nice": n + 1, "name": f"worker-{n}", "signal_mask": [signals[n % 4]]}
        handles.append(ThreadHandle.spawn(body, **options, **rest))
        stack = ((n + 4) * 65536, (n + 1) * 4096)
        wanted.append((stack, {cpus[n % len(cpus)]}, policy, n + 1, f"worker-{n}", {signals[n % 4]}, handles[-1].tid))
        assert handles[-1].affinity == {cpus[n % len(cpus)]}
        assert handles[-1].name == f"worker-{n}"
        assert sched.nice(handles[-1].tid) == n + 1
    gate.store(1)
    gate.notify(8)
    for handle, want in zip(handles, wanted, strict=True):
        (stack, guard), *rest = handle.join()
        assert rest == list(want[1:])
        # libc may have a stack left over that is larger, up to four times.
        assert want[0][0] <= stack <= 4 * want[0][0]
        assert guard >= want[0][1]


def test_native_bodies_have_attributes_too(stopped: Stopped) -> None:
    """What /proc and the kernel tell of a native thread is what was asked for, once spawn has returned."""
    with ThreadHandle.spawn_native(
        stopped.program, nice=4, policy=constants.SCHED_BATCH, name="native", affinity={0}
    ) as h:
        assert (sched.nice(h.tid), sched.policy(h.tid).policy, h.name) == (4, constants.SCHED_BATCH, "native")
        assert h.affinity == sched.affinity(h.tid) == {0}
        assert h.is_alive()
        stopped.go()
    with pytest.raises(ProcessLookupError):
        _ = h.affinity
    assert h.name == "native"


BAD = {
    "stack below the minimum": ({"stack_size": 8192}, 22),
    "stack of nothing": ({"stack_size": 0}, 22),
    "stack beyond all memory": ({"stack_size": 1 << 46}, 11),
    "no cpu": ({"affinity": ()}, 22),
    "a cpu that does not exist": ({"affinity": {4000}}, 22),
    "a priority that no policy has": ({"policy": 1, "priority": 100}, 22),
    "no such policy": ({"policy": 4}, 22),
    "name over 15 bytes": ({"name": "x" * 16}, 34),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_attributes(case: str) -> None:
    """Edges 97, 102 to 104: OSError with the kernel's errno, no body runs, no thread and no memory is left."""
    options, errno = BAD[case]
    ran: list[int] = []
    counter = AtomicU64()
    for spawn in (
        lambda: ThreadHandle.spawn(ran.append, 1, **options),
        lambda: ThreadHandle.spawn_native(counter.adder(1), **options),
    ):
        with pytest.raises(OSError) as caught:
            spawn()
        assert caught.value.errno == errno
    assert ran == []
    assert counter.load() == 0
    assert threading.enumerate() == [threading.current_thread()]


def test_attributes_of_another_type() -> None:
    """TypeError that names the attribute; no body runs."""
    ran: list[int] = []
    wrong: list[dict[str, Any]] = [
        {"stack_size": 65536.5}, {"guard_size": "1"}, {"nice": True}, {"nice": 1.0}, {"policy": "FIFO"}, {"name": b"x"},
        {"policy": 1, "priority": 1.0}, {"affinity": 1}, {"affinity": "01"}, {"signal_mask": 10}, {"signal_mask": "SIGUSR1"},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(TypeError, match=f"^{[*options][-1]} is an? "):
            ThreadHandle.spawn(ran.append, 1, **options)
    assert ran == []
    assert threading.enumerate() == [threading.current_thread()]


def test_stacks_at_the_edge() -> None:
    """Edge 97: 16 KiB is enough in C, sizes need no alignment, and a priority without a policy is a mistake."""
    assert ThreadHandle.spawn_native(libc.labs, -7, stack_size=16384).join() == 7
    assert ThreadHandle.spawn_native(libc.labs, -7, stack_size=70001).join() == 7
    assert ThreadHandle.spawn(own_stack, stack_size=131072).join()[0] >= 131072
    with pytest.raises(ValueError):
        ThreadHandle.spawn(print, priority=5)
    for wide in ({"policy": (1 << 32) + 1}, {"nice": 1 << 32}, {"policy": 3, "priority": 1 << 32}):
        with pytest.raises(OverflowError):
            ThreadHandle.spawn(print, **wide)
    for name in ("stack_size", "guard_size"):
        with pytest.raises(ValueError):
            ThreadHandle.spawn(print, **{name: -1})


def test_privileges_are_asked_of_the_kernel() -> None:
    """Priority without privilege and a better nice value are PermissionError, at the limit of threads it is EAGAIN."""

    def child() -> None:
        import resource

        for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE):
            resource.setrlimit(limit, (0, 0))
        ThreadHandle.spawn(bool).join()  # all is loaded
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        for options in ({"policy": constants.SCHED_FIFO, "priority": 1}, {"nice": -5}):
            with pytest.raises(PermissionError) as caught:
                ThreadHandle.spawn(os._exit, 3, **options)
            assert "sched_setscheduler" in caught.value.__notes__[0] or "setpriority" in caught.value.__notes__[0]
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        with pytest.raises(BlockingIOError):
            ThreadHandle.spawn(os._exit, 3)
        assert threading.active_count() == 1

    in_child(child)


def test_guard_page_ends_a_runaway_stack() -> None:
    """Edge 97: a native body that runs over its stack hits the guard page: SIGSEGV, not somebody's memory."""
    done = run_python(
        """
        import ctypes
        from rawsys import ThreadHandle
        libc = ctypes.CDLL(None)
        # qsort's comparison is qsort's caller: each level sorts again, without end
        Compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        import sys
        sys.setrecursionlimit(10**6)
        @Compare
        def down(a, b):
            libc.qsort(array, 2, 8, down)
            return 0
        array = (ctypes.c_long * 2)(2, 1)
        ThreadHandle.spawn(libc.qsort, array, 2, 8, down, stack_size=65536).join()
        """,
        flags=("-W", "ignore"),
    )
    assert done.returncode == -signal.SIGSEGV


# ---- joining and detaching ----


def test_result_and_exception() -> None:
    """join gives the body's result, or raises what it raised with the thread's own traceback; SystemExit only ends it."""
    assert ThreadHandle.spawn(partial(int, base=16), "ff").join() == 255

    def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        ThreadHandle.spawn(fails).join()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "fails"
    assert "bootstrap" not in names
    assert ThreadHandle.spawn(sys.exit, 3).join() is None
    with pytest.raises(KeyboardInterrupt):
        ThreadHandle.spawn(raising, KeyboardInterrupt()).join()


def raising(error: BaseException) -> None:
    raise error


def test_joined_exactly_once() -> None:
    """Edge 98: a second join, detach, and `with` are ClosedError; close is a no-op; it says so in its repr."""
    handle = ThreadHandle.spawn(int)
    assert handle.join() == 0
    for use in (handle.join, handle.detach, handle.__enter__):
        with pytest.raises(ClosedError):
            use()
    handle.close()
    assert handle.closed
    assert not handle.is_alive()
    assert "joined" in repr(handle)
    with pytest.raises(TypeError):
        ThreadHandle()


def test_detached_exactly_once(stopped: Stopped) -> None:
    """Edge 98: after detach nobody joins; the thread runs on, and is still told by is_alive."""
    handle = ThreadHandle.spawn_native(stopped.program)
    handle.detach()
    for use in (handle.join, handle.detach):
        with pytest.raises(ClosedError):
            use()
    assert handle.is_alive()
    stopped.go()
    wait_end(handle)
    other = ThreadHandle.spawn_native(libc.labs, 1, detached=True)
    with pytest.raises(ClosedError):
        other.join()
    wait_end(other)


def test_join_of_oneself() -> None:
    """Edge 98: RuntimeError, and the thread can still be joined by others."""
    box: list[ThreadHandle] = []
    gate = AtomicU32()

    def body() -> str:
        gate.wait(0)
        with pytest.raises(RuntimeError):
            box[0].join()
        return "whole"

    box.append(ThreadHandle.spawn(body))
    gate.store(1)
    gate.notify()
    assert box[0].join() == "whole"


def test_join_with_a_timeout(stopped: Stopped) -> None:
    """TimeoutError leaves it joinable; 0 only looks; a thread that another one joins is BusyError."""
    handle = ThreadHandle.spawn_native(stopped.program)
    for timeout in (0, 0.01, 0.03):
        with pytest.raises(TimeoutError):
            handle.join(timeout)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError):
            handle.join(timeout)
    joiner = ThreadHandle.spawn(handle.join)
    until_blocked(joiner.tid, FUTEX)
    with pytest.raises(BusyError):
        handle.join()
    with pytest.raises(BusyError):
        handle.detach()
    stopped.go()
    assert joiner.join()[0] == 1
    ended = ThreadHandle.spawn(int)
    wait_end(ended)
    assert ended.join(0) == 0


def test_handlers_run_while_joining() -> None:
    """Ctrl-C ends a join, which can be done again."""

    def child() -> None:
        body = Stopped()
        handle = ThreadHandle.spawn_native(body.program, signal_mask=[signal.SIGALRM])
        signal.signal(signal.SIGALRM, lambda *_: raising(KeyboardInterrupt()))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            handle.join(10)
        body.go()
        assert handle.join()[0] == 1

    in_child(child)


def test_dropped_while_running(stopped: Stopped) -> None:
    """Edge 98: a ResourceWarning with the repr, and the thread is detached; one that has ended goes in silence."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        handle = ThreadHandle.spawn_native(stopped.program, name="dropped")
        tid = handle.tid
        del handle
        gc.collect()
        assert len(caught) == 1
        assert caught[0].category is ResourceWarning
        assert "dropped" in str(caught[0].message)
        assert os.path.exists(f"/proc/self/task/{tid}")
        stopped.go()
        while os.path.exists(f"/proc/self/task/{tid}"):
            os.sched_yield()
        ended = ThreadHandle.spawn(int)
        wait_end(ended)
        del ended
        assert len(caught) == 1


def test_with_joins() -> None:
    """Leaving `with` joins and raises the body's exception; one from the block goes first, the other to the hook."""
    with pytest.raises(ZeroDivisionError), ThreadHandle.spawn(divmod, 1, 0):
        pass
    with ThreadHandle.spawn(int) as handle:
        handle.join()
    with caught_by_hook() as caught, pytest.raises(KeyError), ThreadHandle.spawn(divmod, 1, 0):
        raise KeyError
    assert [args.exc_type for args in caught] == [ZeroDivisionError]
    with caught_by_hook() as caught, pytest.raises(KeyError), ThreadHandle.spawn(raising, GeneratorExit()):
        raise KeyError
    assert [args.exc_type for args in caught] == [GeneratorExit]


def test_with_is_ended_by_a_signal_handler() -> None:
    """What it raises is nobody's but the caller's, also when the block had raised before; the thread is still to be joined."""

    def child() -> None:
        body = Stopped()
        handle = ThreadHandle.spawn_native(body.program, signal_mask=[signal.SIGALRM])
        signal.signal(signal.SIGALRM, lambda *_: raising(InterruptedError()))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with caught_by_hook() as caught, pytest.raises(InterruptedError) as interrupted, handle:
            raise KeyError
        assert caught == []
        assert isinstance(interrupted.value.__context__, KeyError)
        assert not handle.closed
        body.go()
        assert handle.join()[0] == 1

    in_child(child)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_exceptions_that_nobody_can_join_for() -> None:
    """detached before, detached after the end, dropped: each goes to threading.excepthook once, with its thread."""
    gate = AtomicU32()

    def late() -> None:
        gate.wait(0)
        raise ValueError("late")

    with caught_by_hook() as caught:
        first = ThreadHandle.spawn(late, name="first", detached=True)
        second = ThreadHandle.spawn(late, name="second")
        del second
        gate.store(1)
        gate.notify(9)
        while len(caught) < 2:
            os.sched_yield()
        wait_end(first)
        third = ThreadHandle.spawn(divmod, 1, 0, name="third")
        wait_end(third)
        assert len(caught) == 2
        third.detach()
        fourth = ThreadHandle.spawn(divmod, 1, 0, name="fourth")
        wait_end(fourth)
        del fourth
        joined = ThreadHandle.spawn(divmod, 1, 0)
        with pytest.raises(ZeroDivisionError):
            joined.join()
        del joined
    assert sorted((args.exc_type.__name__, args.thread.name) for args in caught) == [
        ("ValueError", "first"), ("ValueError", "second"), ("ZeroDivisionError", "fourth"), ("ZeroDivisionError", "third"),
    ]  # fmt: skip
    while threading.active_count() > 1:
        os.sched_yield()


def test_move_gives_owners_away() -> None:
    """The body gets new owners after its other arguments; the caller's are closed, whatever the body does."""
    ours, theirs = Fd.pipe()
    number = theirs.fileno()

    def body(text: bytes, out: Fd) -> int:
        with out:
            out.write(text)
            return out.fileno()

    handle = ThreadHandle.spawn(body, b"moved", move=[theirs])
    with pytest.raises(ClosedError):
        theirs.write(b"x")
    assert handle.join() == number
    assert ours.read_all() == b"moved"
    ours.close()


def test_moved_owners_are_what_they_were() -> None:
    """A borrowed number stays the lender's; a Pid can be waited for; an Epoll watches on, whatever becomes of the caller's."""
    ours, theirs = Fd.pipe()
    ThreadHandle.spawn(Fd.close, move=[Fd.borrow(ours.fileno())]).join()
    with Epoll() as watch:
        watch.add(ours)
        handle = ThreadHandle.spawn(watched, move=[watch])
    theirs.write(b"x")
    assert handle.join() == (1, [ours])
    ours.close()
    theirs.close()
    assert ThreadHandle.spawn(Pid.wait, move=[Pid.fork(lambda: 3)]).join().code == 3


def watched(watch: Epoll) -> tuple[int, list[object]]:
    with watch:
        return len(watch), [source for source, _ in watch.wait(10)]


def test_what_cannot_be_moved_stays() -> None:
    """A thread that cannot start takes nothing; a closed owner, the same one twice, or one in use: no body runs."""
    ours, theirs = Fd.pipe()
    ran: list[object] = []
    with pytest.raises(OSError):
        ThreadHandle.spawn(ran.append, move=[ours], affinity=())
    with pytest.raises(ClosedError):
        ThreadHandle.spawn(ran.append, move=[ours, ours])
    reader = ThreadHandle.spawn(ours.read, 1)
    until_blocked(reader.tid, 0)
    for busy in ([ours], [theirs, ours]):
        with pytest.raises(BusyError):
            ThreadHandle.spawn(ran.append, move=busy)
    wrong: list[Any] = [5, [theirs, 5], [theirs, None], theirs, "ab"]
    for nothing in wrong:
        with pytest.raises(TypeError, match=r"owner"):
            ThreadHandle.spawn(ran.append, move=nothing)
    theirs.write(b"x")
    assert reader.join() == b"x"
    ours.close()
    with pytest.raises(ClosedError):
        ThreadHandle.spawn(ran.append, move=[theirs, ours])
    assert not theirs.closed
    theirs.close()
    assert ran == []
    assert threading.active_count() == 1


def test_signals_reach_the_thread(stopped: Stopped) -> None:
    """send_signal goes to that thread (it is pending there while blocked), never to a newcomer after its end."""
    handle = ThreadHandle.spawn_native(stopped.program, signal_mask=[signal.SIGUSR1])
    handle.send_signal(0)
    handle.send_signal(signal.SIGUSR1)
    with open(f"/proc/self/task/{handle.tid}/status") as file:
        pending = next(line for line in file if line.startswith("SigPnd"))
    assert int(pending.split()[1], 16) == 1 << (signal.SIGUSR1 - 1)
    for number in (32, 33, 65, -1):
        with pytest.raises(ValueError):
            handle.send_signal(number)
    stopped.go()
    handle.join()
    with pytest.raises(ProcessLookupError):
        handle.send_signal(signal.SIGUSR1)


# ---- native bodies ----


@pytest.mark.parametrize("kind", ["ctypes", "address", "cffi"])
def test_native_bodies_by_pointer(kind: str) -> None:
    """A function is an address, a ctypes or a cffi pointer; its argument a number, a pointer or a buffer."""
    from rawsys._shim import ffi

    address = ctypes.cast(libc.strlen, ctypes.c_void_p).value
    body = {"ctypes": libc.strlen, "address": address, "cffi": ffi.cast("void *(*)(void *)", address)}[kind]
    text = ctypes.create_string_buffer(b"twelve bytes")
    place = ctypes.addressof(text)
    for argument in (text, bytearray(b"twelve bytes\0"), place, ffi.cast("void *", place), ctypes.c_void_p(place)):
        assert ThreadHandle.spawn_native(body, argument).join() == 12
    assert ThreadHandle.spawn_native(libc.labs, -(1 << 40)).join() == 1 << 40


def test_native_bodies_that_are_none() -> None:
    """Address 0, no address at all, a Program that execs, a missing parameter: refused before a thread exists."""
    with pytest.raises(ValueError):
        ThreadHandle.spawn_native(0)
    for body in (None, 1.5, "labs", True):
        with pytest.raises(TypeError):
            ThreadHandle.spawn_native(body)
    with pytest.raises(OverflowError):
        ThreadHandle.spawn_native(1 << 64)
    with pytest.raises(TypeError):
        ThreadHandle.spawn_native(AtomicU64().adder(1), 5)
    with pytest.raises((TypeError, BufferError)):
        ThreadHandle.spawn_native(libc.strlen, b"read only")
    program = Program()
    program.execve("/bin/true", ["true"], [])
    with pytest.raises(RefusedCallError):
        ThreadHandle.spawn_native(program)
    program = Program()
    program.getpriority(0, program.parameter("who"))
    for parameters in (None, {}, {"who": 0, "else": 1}, 5):
        with pytest.raises(TypeError):
            ThreadHandle.spawn_native(program, parameters)
    assert 20 - ThreadHandle.spawn_native(program, {"who": 0}, nice=7).join()[0] == 7
    for n in (-1, 1.5, True):
        with pytest.raises((TypeError, ValueError)):
            AtomicU64().adder(n)  # type: ignore[arg-type]


def test_program_gives_its_results() -> None:
    """join of a Program gives Results: answers of that thread, buffers, and a descriptor to own."""
    program = Program()
    tid = program.gettid()
    made = program.memfd_create("x", 1)
    room = program.buffer(16)
    wrote = program.pwrite64(made, b"hello", 5, 0)
    got = program.pread64(made, room, 16, 0)
    handle = ThreadHandle.spawn_native(program)
    number = handle.tid
    results = handle.join()
    assert results[tid] == number
    assert results[wrote] == 5
    assert results.data(got) == b"hello"
    with results.fd(made) as fd:
        assert fd.pread(16, 0) == b"hello"


def test_owners_are_in_use_while_a_native_body_runs(stopped: Stopped) -> None:
    """An Fd that a running Program uses is not closed under it: the last running call closes it."""
    handle = ThreadHandle.spawn_native(stopped.program)
    number = stopped.ours.fileno()
    stopped.ours.close()
    os.fstat(number)
    stopped.go()
    assert handle.join()[0] == 1
    with pytest.raises(OSError):
        os.fstat(number)


def test_what_a_detached_body_held_is_freed_later() -> None:
    """Its references stay while it runs, and go with the next call here after its end, never without the GIL."""

    class Buffer(bytearray):
        pass

    body = Stopped()
    memory = Buffer(16)
    gone = weakref.ref(memory)
    program = Program()
    target = program.parameter("memory")
    program.read(body.ours, target, 8)
    handle = ThreadHandle.spawn_native(program, {"memory": memory}, detached=True)
    del memory, program, target
    gc.collect()
    assert gone() is not None
    body.go()
    while os.path.exists(f"/proc/self/task/{handle.tid}"):
        os.sched_yield()
    rawsys.raw_getpid()
    assert gone() is None
    body.close()


def test_native_body_that_ends_its_thread() -> None:
    """pthread_exit inside a body ends it as a return does: join does not hang and gives the value."""
    assert ThreadHandle.spawn_native(libc.pthread_exit, 77).join() == 77


def test_python_runs_beside_native_bodies() -> None:
    """While native bodies count, Python code runs: they do not hold the GIL."""
    counter = AtomicU64()
    handles = [ThreadHandle.spawn_native(counter.adder(3_000_000)) for _ in range(2)]
    steps = 0
    while any(handle.is_alive() for handle in handles):
        steps += 1
    for handle in handles:
        handle.join()
    assert counter.load() == 6_000_000
    assert steps > 100


def test_a_thousand_threads_at_once() -> None:
    """1,000 threads are alive at once, are all listed, and end."""
    gate = AtomicU32()
    handles = [ThreadHandle.spawn(gate.wait, 0, stack_size=65536) for _ in range(1000)]
    assert threading.active_count() == 1001
    assert len({handle.tid for handle in handles}) == 1000
    assert all(handle.is_alive() for handle in handles)
    gate.store(1)
    woken = 0
    while woken < 1000 and any(handle.is_alive() for handle in handles):
        woken += gate.notify(1000)
    assert [handle.join() for handle in handles] == [True] * 1000


def test_no_references_are_kept() -> None:
    """Neither a joined thread nor a failed spawn keeps the body, its arguments or its result."""

    class Thing:
        def __call__(self, other: object) -> object:
            return other

    for end in ("join", "detach", "fail"):
        body, argument = Thing(), Thing()
        refs = weakref.ref(body), weakref.ref(argument)
        if end == "fail":
            with pytest.raises(OSError):
                ThreadHandle.spawn(body, argument, affinity=())
        else:
            handle = ThreadHandle.spawn(body, argument, detached=end == "detach")
            if end == "join":
                handle.join()
            wait_end(handle)
        del body, argument
        gc.collect()
        assert [ref() for ref in refs] == [None, None], end


# ---- forks and ends ----


def test_threads_do_not_exist_in_a_forked_child(stopped: Stopped) -> None:
    """Edge 99: in the child the handle is dead and quiet: no join, no signal, no warning; the parent's works on."""
    handle = ThreadHandle.spawn_native(stopped.program)

    def child() -> None:
        assert not handle.is_alive()
        with pytest.raises(ClosedError):
            handle.join()
        with pytest.raises(ProcessLookupError):
            handle.send_signal(0)
        own = ThreadHandle.spawn(int)
        assert own.join() == 0

    in_child(child)
    stopped.go()
    assert handle.join()[0] == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_spawned_thread_may_fork() -> None:
    """The child of a fork inside a body has that thread as its main thread, and ends as a child does."""
    done = run_python(
        """
        import os, threading
        from rawsys import ThreadHandle
        def body():
            pid = os.fork()
            if pid == 0:
                assert threading.main_thread() is threading.current_thread()
                assert threading.enumerate() == [threading.current_thread()]
                assert ThreadHandle.spawn(int).join() == 0
                import sys
                threading._shutdown()
                os._exit(7)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(ThreadHandle.spawn(body).join())
        """,
        flags=("-W", "error", "-W", "ignore::DeprecationWarning"),
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.mark.parametrize(
    ("code", "status", "out"),
    [
        ("ThreadHandle.spawn(os._exit, 5).join()", 5, ""),
        ("handle = ThreadHandle.spawn(slow)", 0, "slow\n"),
        ("ThreadHandle.spawn(slow, detached=True).detach", 0, ""),
        ("threading.Thread(target=lambda: (slow(), ThreadHandle.spawn(slow).join())).start()", 0, "slow\nslow\n"),
        ("handle = ThreadHandle.spawn(slow); sys.exit(4)", 4, "slow\n"),
        ("handle = ThreadHandle.spawn(slow); 1/0", 1, "slow\n"),
        ("handle = ThreadHandle.spawn(lets_itself_go)", 0, "gone\n"),
        ("import atexit; atexit.register(lambda: print(ThreadHandle.spawn(int).join()))", 0, "0\n"),
    ],
)  # fmt: skip
def test_exits(code: str, status: int, out: str) -> None:
    """Edges 99 and 100: threads that are not detached are waited for, whoever spawned them, however main ends."""
    done = run_python(
        f"""
        import os, pathlib, sys, threading
        from rawsys import AtomicU32, ThreadHandle
        atexits = threading.Event()
        threading._register_atexit(atexits.set)
        def slow():
            AtomicU32().wait(0, 0.1)
            os.write(1, b"slow\\n")
        def lets_itself_go():
            atexits.wait()
            while not pathlib.Path(f"/proc/{{os.getpid()}}/syscall").read_text().startswith("202 "):
                pass  # until the main thread waits for this one
            handle.detach()
            os.write(1, b"gone\\n")
            AtomicU32().wait(0)
        {code}
        """
    )
    assert (done.returncode, done.stdout) == (status, out), done.stderr


def test_deadline_of_the_test_support() -> None:
    """A pipe end is closed by its thread at exit of the body, seen from here."""
    ours, theirs = Fd.pipe()

    def body(out: Fd) -> None:
        out.close()

    handle = ThreadHandle.spawn(body, move=[theirs])
    assert readable(ours.fileno())
    handle.join()
    ours.close()
