"""SignalFlag, SignalCounter and SignalQueue: what the handler in C does for them, and how they share a signal."""

from __future__ import annotations

import asyncio
import copy
import errno
import itertools
import os
import pickle
import random
import select
import signal
import sys
import threading
import time

import pytest
from signal_places import everywhere, put_back
from support import fail_calls, in_child, until_blocked

import rawsys
from rawsys import Fd, Program, raw
from rawsys.constants import SIGHUP, SIGRTMIN, SIGTERM, SIGUSR1, SIGUSR2
from rawsys.errors import BusyError, ClosedError
from rawsys.signals import (
    SignalAction,
    SignalCounter,
    SignalFlag,
    SignalInfo,
    SignalQueue,
    SignalSet,
    blocked,
    on_signal,
    raise_signal,
    sigqueue,
    unblocked,
)

RT = SIGRTMIN + 1


def readable(owner: object) -> bool:
    return bool(select.select([owner], [], [], 0)[0])


# ---- flag ----


@everywhere
def test_flag_is_set_by_any_of_its_signals() -> None:
    """A flag is set by each of its signals, told by bool, is_set, wait and its descriptor, and cleared."""
    with SignalFlag(SIGUSR1, SIGTERM) as flag:
        assert not flag
        assert flag.wait(0) is False
        for number in (SIGUSR1, SIGTERM):
            assert not readable(flag)
            rawsys.raw_kill(os.getpid(), number)
            assert flag
            assert flag.is_set() is flag.wait() is flag.wait(timeout=5) is True
            assert readable(flag)
            flag.clear()
            assert not flag
        rawsys.raw_kill(os.getpid(), SIGUSR1)
    assert flag  # its last state stays


@everywhere
def test_flag_wait_times_out() -> None:
    """wait gives False after its time, not earlier; timeouts are seconds, and what is none is refused."""
    with SignalFlag(SIGUSR1) as flag:
        begin = time.monotonic()
        assert flag.wait(0.05) is False
        assert time.monotonic() - begin >= 0.05
        for wrong in (-1, -0.5, float("nan")):
            with pytest.raises(ValueError, match="negative or NaN"):
                flag.wait(wrong)
        for kind in (True, "1", b"1"):
            with pytest.raises(TypeError):
                flag.wait(kind)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            flag.wait(seconds=1)  # type: ignore[call-arg]
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        assert flag.wait(float("inf"))
        assert flag.wait(10**400)


@everywhere
def test_flag_wakes_a_waiting_thread() -> None:
    """A thread that waits without limit wakes up whichever thread receives the signal."""
    with SignalFlag(SIGUSR1) as flag:
        tids: list[int] = []
        answers: list[bool] = []

        def wait() -> None:
            with blocked(SIGUSR1):
                tids.append(raw.gettid())
                answers.append(flag.wait())

        thread = threading.Thread(target=wait)
        thread.start()
        while not tids:
            os.sched_yield()
        until_blocked(tids[0], 202)
        raise_signal(SIGUSR1)
        thread.join()
        assert answers == [True]


@everywhere
def test_flag_wait_lets_python_handlers_run() -> None:
    """A Python handler of another signal runs while the main thread waits, and what it raises ends the wait (PEP 475)."""

    def handler(number: int, frame: object) -> None:
        raise KeyError(number)

    with put_back():
        signal.signal(SIGUSR2, handler)
        with SignalFlag(SIGUSR1) as flag:
            tid = raw.gettid()
            ready: list[bool] = []

            def send() -> None:
                while not ready:  # a futex before that is the GIL's or the thread's start
                    os.sched_yield()
                until_blocked(tid, 202)
                raw.tgkill(os.getpid(), tid, SIGUSR2)

            thread = threading.Thread(target=send)
            thread.start()
            with pytest.raises(KeyError):
                ready.append(True)
                flag.wait()
            thread.join()


@everywhere
def test_closing_wakes_who_waits() -> None:
    """close() in another thread ends a wait with ClosedError."""
    for make, wait in ((SignalFlag, "wait"), (SignalQueue, "get")):
        owner = make(SIGUSR1)
        tids: list[int] = []
        problems: list[BaseException] = []

        def run(
            owner: object = owner, wait: str = wait, tids: list[int] = tids, problems: list[BaseException] = problems
        ) -> None:
            tids.append(raw.gettid())
            try:
                getattr(owner, wait)()
            except ClosedError as problem:
                problems.append(problem)

        thread = threading.Thread(target=run)
        thread.start()
        while not tids:
            os.sched_yield()
        until_blocked(tids[0], 202)
        owner.close()
        thread.join()
        assert len(problems) == 1


# ---- counter ----


@everywhere
def test_counter_counts_deliveries() -> None:
    """Each delivery counts, reset gives what was counted, and the count is there after close()."""
    with SignalCounter(SIGUSR1, RT) as counter:
        for _ in range(7):
            rawsys.raw_kill(os.getpid(), SIGUSR1)
        rawsys.raw_kill(os.getpid(), RT)
        assert counter.count == 8
        assert counter.reset() == 8
        assert counter.count == 0
        rawsys.raw_kill(os.getpid(), RT)
    assert counter.count == 1


@everywhere
def test_standard_signals_collapse_and_real_time_ones_queue() -> None:
    """Case 87: twenty of a standard signal that come while it is blocked are one delivery; of a real-time one, twenty."""
    with SignalCounter(SIGUSR1) as standard, SignalQueue(RT) as real_time:
        with blocked(SIGUSR1, RT):
            for value in range(20):
                rawsys.raw_kill(os.getpid(), SIGUSR1)
                sigqueue(os.getpid(), RT, value)
        assert standard.count == 1
        assert [info.value for info in real_time] == list(range(20))


@everywhere
def test_counts_while_a_c_loop_holds_the_gil() -> None:
    """While C code holds the GIL and no bytecode runs, each delivery counts; a Python handler runs once after it."""

    def test() -> int:
        signal.set_wakeup_fd(-1)  # where there is a loop it is the parent's, and its socket would fill up
        seen: list[int] = []
        heard, tell = os.pipe()
        told = Program()
        told.write(tell, b"x", 1)
        with SignalCounter(SIGUSR1) as counter, on_signal(SIGUSR1, told):
            signal.signal(SIGUSR2, lambda *_: seen.append(counter.count))
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                while os.getppid() == parent:
                    raw.kill(parent, SIGUSR2)
                    raw.kill(parent, SIGUSR1)
                    os.read(heard, 1)  # the handler has run
                os._exit(0)
            data = [0] * 30_000_000
            most = 0
            while most < 10:
                data.count(1)  # 0.2 s in C without a bytecode between
                most = max(after - before for before, after in itertools.pairwise([0, *seen, counter.count]))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return most

    assert in_child(test, deadline=50) >= 10


# ---- queue ----


@everywhere
def test_queue_tells_what_came() -> None:
    """Signal, code, sender and value of each delivery, in order; get, get_nowait and iteration take them out."""
    with SignalQueue(SIGUSR1, RT) as queue:
        assert queue.get_nowait() is None
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        sigqueue(os.getpid(), RT, 42)
        sigqueue(os.getpid(), RT, -7)
        assert readable(queue)
        first = queue.get(timeout=1)
        assert (first.signal, first.code, first.pid, first.uid) == (SIGUSR1, 0, os.getpid(), os.getuid())
        assert first.value is first.status is first.addr is first.fd is first.overrun is None
        second, third = queue
        assert (second.signal, second.code, second.pid, second.value) == (RT, -1, os.getpid(), 42)
        assert (third.value, third.int_value) == (-7, -7)
        assert not readable(queue)
        with pytest.raises(TimeoutError):
            queue.get(0)
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            queue.get(timeout=0.02)
        assert time.monotonic() - begin >= 0.02
        with pytest.raises(ValueError, match="negative"):
            queue.get(-1)
        assert queue.lost == 0


@everywhere
def test_queue_counts_what_it_has_no_room_for() -> None:
    """Capacity 4 and 10 signals: the first 4 are there, 6 are counted as lost; room made is used again."""
    with SignalQueue(RT, capacity=4) as queue:
        for value in range(10):
            sigqueue(os.getpid(), RT, value)
        assert [info.value for info in queue] == [0, 1, 2, 3]
        assert queue.lost == 6
        for value in range(5):
            sigqueue(os.getpid(), RT, value)
            assert queue.get(1).value == value
        assert queue.lost == 6
    assert queue.lost == 6


@everywhere
@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 7, 100])
def test_queue_of_any_capacity(capacity: int) -> None:
    """A ring holds exactly its capacity, over many laps, and a ring that is used again begins empty."""
    for _ in range(3):
        with SignalQueue(RT, capacity=capacity) as queue:
            for lap in range(5):
                for value in range(capacity + 2):
                    sigqueue(os.getpid(), RT, lap * 1000 + value)
                assert [info.value for info in queue] == [lap * 1000 + value for value in range(capacity)]
            assert queue.lost == 10
            sigqueue(os.getpid(), RT, 1)


@everywhere
def test_queue_order_across_signals_is_the_kernels() -> None:
    """Several signals that are pending together come lowest number first, each number in the order of sending."""
    with SignalQueue(SIGRTMIN, RT, SIGRTMIN + 2) as queue:
        with blocked(SIGRTMIN, RT, SIGRTMIN + 2):
            for value, number in enumerate([RT, SIGRTMIN, SIGRTMIN + 2, RT, SIGRTMIN]):
                sigqueue(os.getpid(), number, value)
        assert [(info.signal, info.value) for info in queue] == [
            (SIGRTMIN, 1),
            (SIGRTMIN, 4),
            (RT, 0),
            (RT, 3),
            (SIGRTMIN + 2, 2),
        ]


@everywhere
def test_queue_order_with_threads() -> None:
    """Blocked before the threads start and open in one: the order is the kernel's although other threads live."""
    with SignalQueue(RT, capacity=5000) as queue:
        done = threading.Event()
        ready = threading.Event()

        def receive() -> None:
            with unblocked(RT):
                ready.set()
                done.wait()

        with blocked(RT):
            threads = [threading.Thread(target=receive)] + [threading.Thread(target=done.wait) for _ in range(3)]
            for thread in threads:
                thread.start()
            ready.wait()
            for value in range(3000):
                sigqueue(os.getpid(), RT, value)
            values = [queue.get(timeout=20).value for _ in range(3000)]
            done.set()
            for thread in threads:
                thread.join()
        assert values == list(range(3000))


@everywhere
def test_queue_from_several_threads_loses_nothing() -> None:
    """Handlers of several threads write side by side: nothing is lost, nothing comes twice."""
    with SignalQueue(RT, capacity=1 << 14) as queue:

        def send(base: int) -> None:
            for value in range(1000):
                sigqueue(os.getpid(), RT, base + value)

        threads = [threading.Thread(target=send, args=(base,)) for base in range(0, 4000, 1000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        values = [queue.get(timeout=20).value for _ in range(4000)]
        assert sorted(values) == list(range(4000))  # type: ignore[type-var]
        assert queue.lost == 0


@everywhere
def test_queue_descriptor_follows_the_ring() -> None:
    """The descriptor is readable exactly while there is something, however gets and signals alternate."""
    chance = random.Random(7)
    with SignalQueue(RT) as queue:
        sigqueue(os.getpid(), RT)  # before there is a descriptor
        held = 1
        for _ in range(500):
            assert readable(queue) == (held > 0)
            if chance.random() < 0.5:
                sigqueue(os.getpid(), RT)
                held += 1
            else:
                assert (queue.get_nowait() is not None) == (held > 0)
                held = max(held - 1, 0)


@everywhere
def test_queue_writes_to_its_descriptor_once() -> None:
    """Ten signals that nobody has taken are one write: the ring went from empty to not empty once."""
    with SignalQueue(RT) as queue:
        number = queue.fileno()
        for _ in range(3):
            for value in range(10):
                sigqueue(os.getpid(), RT, value)
            assert int.from_bytes(os.read(number, 8), "little") == 1
            assert len(list(queue)) == 10


@everywhere
async def test_queue_under_asyncio() -> None:
    """`async for` and get_async wait in the loop."""
    with SignalQueue(RT) as queue:
        asyncio.get_running_loop().call_later(0, sigqueue, os.getpid(), RT, 1)
        values = [(await queue.get_async()).value]
        for value in (2, 3):
            sigqueue(os.getpid(), RT, value)
        async for info in queue:
            values.append(info.value)
            if len(values) == 3:
                break
        assert values == [1, 2, 3]


@everywhere
async def test_close_wakes_tasks() -> None:
    """ClosedError for each task that waits, and for the next; the descriptor goes with the last of them."""
    for owner in (SignalQueue(RT), SignalFlag(RT)):
        number = owner.fileno()
        wait = owner.get_async if isinstance(owner, SignalQueue) else owner.wait_async
        tasks = [asyncio.ensure_future(wait()) for _ in range(3)]
        if isinstance(owner, SignalQueue):
            tasks.append(asyncio.ensure_future(owner.wait_async()))
        await asyncio.sleep(0)
        cancelled = tasks.pop()
        cancelled.cancel()
        owner.close()
        for task in tasks:
            with pytest.raises(ClosedError):
                await asyncio.wait_for(task, 20)
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        with pytest.raises(ClosedError):
            await wait()
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)


@everywhere
def test_close_is_readable_for_who_watches() -> None:
    """Another thread that polls the descriptor as an Fd of its own is woken; a naked fork's child does not wake the parent."""
    with SignalQueue(RT) as queue, Fd(os.dup(queue.fileno())) as watched:
        in_child(queue.close)
        assert not select.select([watched], [], [], 0)[0]
        queue.close()
        assert select.select([watched], [], [], 20)[0]


@everywhere
def test_child_tells_status() -> None:
    """SIGCHLD carries the child, how it ended and its status."""
    with SignalQueue(signal.SIGCHLD) as queue:
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        info = queue.get(timeout=20)
        os.waitpid(pid, 0)
        assert (info.pid, info.status, info.code) == (pid, 7, 1)
        assert isinstance(info.utime, int)
        assert isinstance(info.stime, int)
        assert "CLD_EXITED" in repr(info)
        assert info.value is None


@everywhere
@pytest.mark.parametrize("capacity", [0, -1, 1 << 25])
def test_queue_refuses_capacities(capacity: int) -> None:
    """A capacity is 1 to 2**24."""
    with pytest.raises(ValueError, match="capacity"):
        SignalQueue(RT, capacity=capacity)


@everywhere
def test_info_is_a_value() -> None:
    """A SignalInfo compares, copies, pickles and shows; it is made of the kernel's bytes and gives them."""
    with SignalQueue(RT) as queue:
        sigqueue(os.getpid(), RT, 5)
        sigqueue(os.getpid(), RT, 6)
        one, two = queue
    assert one != two
    for same in (copy.copy(one), pickle.loads(pickle.dumps(one)), SignalInfo(bytes(one))):
        assert same == one
        assert hash(same) == hash(one)
    assert len(bytes(one)) == 128
    assert repr(one) == f"SignalInfo(SIGRTMIN+1, SI_QUEUE, pid={os.getpid()}, uid={os.getuid()}, value=5)"
    with pytest.raises(ValueError, match="128 bytes"):
        SignalInfo(b"short")
    from rawsys.structs import siginfo

    assert siginfo.from_bytes(bytes(one)).si_value == 5 if hasattr(siginfo, "from_bytes") else True


# ---- sharing a signal ----


@everywhere
def test_all_owners_see_it_and_leave_in_any_order() -> None:
    """Several owners of one signal see each delivery; in whatever order they leave, the action before comes back."""
    before = SignalAction.current(SIGUSR1)
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)):
        owners = [SignalCounter(SIGUSR1), SignalFlag(SIGUSR1), SignalQueue(SIGUSR1)]
        for number, leaving in enumerate(order):
            rawsys.raw_kill(os.getpid(), SIGUSR1)
            assert owners[leaving].installed
            owners[leaving].close()
            assert (SignalAction.current(SIGUSR1) == before) == (number == 2)
        counter, flag, _ = owners
        assert counter.count == order.index(0) + 1
        assert flag


@everywhere
def test_many_owners() -> None:
    """More owners than have seats in the first row all see it."""
    owners = [SignalCounter(SIGUSR1) for _ in range(30)]
    rawsys.raw_kill(os.getpid(), SIGUSR1)
    assert [owner.count for owner in owners] == [1] * 30
    for owner in owners:
        owner.close()


@everywhere
@put_back()
def test_leaving_after_somebody_elses_handler_does_not_disturb_it() -> None:
    """After signal.signal on a taken signal that handler receives, `installed` says so, and leaving keeps it there."""
    ran: list[int] = []
    owner = SignalCounter(SIGHUP)
    signal.signal(SIGHUP, lambda *_: ran.append(1))
    theirs = SignalAction.current(SIGHUP)
    assert not owner.installed
    rawsys.raw_kill(os.getpid(), SIGHUP)
    assert (owner.count, ran) == (0, [1])
    owner.close()
    assert SignalAction.current(SIGHUP) == theirs
    rawsys.raw_kill(os.getpid(), SIGHUP)
    assert ran == [1, 1]


@everywhere
@put_back()
def test_a_new_owner_takes_the_signal_again() -> None:
    """After somebody else's handler a new owner takes the signal for all owners; at the end that handler is back."""
    ran: list[int] = []
    first = SignalCounter(SIGHUP)
    signal.signal(SIGHUP, lambda *_: ran.append(1))
    theirs = SignalAction.current(SIGHUP)
    second = SignalCounter(SIGHUP)
    rawsys.raw_kill(os.getpid(), SIGHUP)
    assert (first.count, second.count, ran) == (1, 1, [])
    first.close()
    second.close()
    assert SignalAction.current(SIGHUP) == theirs


@everywhere
def test_our_action_put_back_after_we_left_goes_on_to_the_one_before() -> None:
    """Somebody who saved our action and puts it back when nobody is served any more gets what was there before us."""

    def test() -> tuple[list[int], bool]:
        from rawsys.signals import raw_sigaction

        ran: list[int] = []
        signal.signal(SIGUSR1, lambda *_: ran.append(1))
        python = SignalAction.current(SIGUSR1)
        with SignalCounter(SIGUSR1):
            ours = SignalAction.current(SIGUSR1)
        raw_sigaction(SIGUSR1, ours)
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        return ran, SignalAction.current(SIGUSR1) == python

    assert in_child(test) == ([1, 1], True)


@everywhere
def test_our_action_put_back_after_we_left_default_kills() -> None:
    """The same where the default action was there before us: it is taken."""

    def test() -> None:
        from rawsys.signals import raw_sigaction

        signal.signal(SIGTERM, signal.SIG_DFL)
        with SignalCounter(SIGTERM):
            ours = SignalAction.current(SIGTERM)
        raw_sigaction(SIGTERM, ours)
        rawsys.raw_kill(os.getpid(), SIGTERM)

    from support import run_child

    assert run_child(test).exitcode == -SIGTERM


# ---- SA_RESTART ----


def _read_interrupted(owner_makers: list[object], leave: int = 0) -> object:
    """A read(2) that a signal interrupts: "EINTR", or "restarted" when it went on until data came."""
    from rawsys import syscalls

    owners = [make() for make in owner_makers]  # type: ignore[operator]
    for owner in owners[:leave]:
        owner.close()
    reading, writing = os.pipe()
    tid = raw.gettid()

    def send() -> None:
        with blocked():
            until_blocked(tid, 0)
            raw.tgkill(os.getpid(), tid, SIGUSR1)
            while not counted.count:
                os.sched_yield()
            until_blocked(tid, 0) if restarts else None
            os.write(writing, b"x")

    restarts = all(not getattr(make, "interrupts", False) for make in owner_makers[leave:])
    counted = SignalCounter(SIGUSR1)
    with blocked(SIGUSR1):
        thread = threading.Thread(target=send)
        thread.start()
    try:
        syscalls.read(reading, bytearray(1), 1)
        return "restarted"
    except InterruptedError:
        return "EINTR"
    finally:
        thread.join()
        counted.close()
        for owner in owners:
            owner.close()
        os.close(reading)
        os.close(writing)


def _interrupting() -> SignalFlag:
    return SignalFlag(SIGUSR1, restart=False)


_interrupting.interrupts = True  # type: ignore[attr-defined]


@everywhere
def test_calls_are_restarted_unless_an_owner_wants_to_interrupt() -> None:
    """SA_RESTART by default; one owner with restart=False ends it for all of the signal, until that one leaves."""

    def quiet() -> SignalFlag:
        return SignalFlag(SIGUSR1)

    assert _read_interrupted([quiet]) == "restarted"
    assert _read_interrupted([quiet, _interrupting]) == "EINTR"
    assert _read_interrupted([_interrupting, quiet], leave=1) == "restarted"


@everywhere
def test_an_owned_call_goes_on() -> None:
    """An owned call that is interrupted is made again: to be woken, wait for both descriptors."""
    reading, writing = Fd.pipe()
    with reading, writing, SignalFlag(SIGUSR1, restart=False) as flag:
        tid = raw.gettid()
        number = flag.fileno()

        def send() -> None:
            until_blocked(tid, 0)
            raw.tgkill(os.getpid(), tid, SIGUSR1)
            flag.wait()
            until_blocked(tid, 0)
            writing.write(b"x")

        with blocked(SIGUSR1):
            thread = threading.Thread(target=send)
            thread.start()
        assert reading.read(1) == b"x"
        thread.join()
        assert select.select([reading, number], [], [], 5)[0] == [number]


# ---- ownership ----


@everywhere
def test_forgotten_owner_warns_and_leaves() -> None:
    """An owner that is dropped says so and leaves."""
    before = SignalAction.current(SIGUSR1)
    for make in (SignalFlag, SignalCounter, SignalQueue):
        owner = make(SIGUSR1)
        with pytest.warns(ResourceWarning, match=f"unclosed <{make.__name__} SIGUSR1"):
            del owner
        assert SignalAction.current(SIGUSR1) == before


@everywhere
def test_closed_owner_refuses() -> None:
    """After close() every use is ClosedError; what it had come to can be read."""
    flag, counter, queue = SignalFlag(SIGUSR1), SignalCounter(SIGUSR1), SignalQueue(SIGUSR1)
    for owner in (flag, counter, queue):
        owner.close()
        owner.close()
        assert owner.closed
        assert not owner.installed
        assert "closed" in repr(owner)
    for use in (
        flag.wait,
        flag.clear,
        flag.fileno,
        counter.reset,
        queue.get,
        queue.get_nowait,
        queue.fileno,
        lambda: list(queue),
    ):
        with pytest.raises(ClosedError):
            use()
    assert (bool(flag), counter.count, queue.lost) == (False, 0, 0)


@everywhere
def test_descriptor_is_owned() -> None:
    """The descriptor has an owner: nobody else can adopt it, and close() closes it."""
    with SignalFlag(SIGUSR1) as flag:
        number = flag.fileno()
        assert flag.fileno() == number
        with pytest.raises(BusyError):
            Fd(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@everywhere
@pytest.mark.parametrize("wrong", [signal.SIGKILL, signal.SIGSTOP, 32, 33, 0, 65, -1, "SIGNOPE"])
def test_signals_that_nobody_can_take(wrong: int) -> None:
    """Cases 81 and 82: SIGKILL, SIGSTOP, libc's own two and what is no signal are refused by name; nothing is taken."""
    before = SignalAction.current(SIGUSR1)
    for make in (SignalFlag, SignalCounter, SignalQueue):
        with pytest.raises(ValueError):
            make(SIGUSR1, wrong)
        with pytest.raises(ValueError, match="at least one"):
            make()
    assert SignalAction.current(SIGUSR1) == before


@everywhere
def test_a_refused_installation_names_the_signal() -> None:
    """Where the kernel (here: a filter) refuses the action, OSError names call and signal, and others are served on."""

    def test() -> tuple[int, str]:
        counter = SignalCounter(SIGUSR1)
        fail_calls(errno.EPERM, 13)
        with pytest.raises(PermissionError) as caught:
            SignalQueue(SIGUSR2)
        note = caught.value.__notes__[0]
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        return counter.count, note

    assert in_child(test) == (1, "in rt_sigaction(SIGUSR2, NULL, NULL, 8)")


@everywhere
def test_signals_may_come_as_a_set() -> None:
    """Signals are given one by one, by name, or as a set."""
    with SignalCounter(SignalSet([SIGUSR1, SIGUSR2]), "SIGHUP") as counter:
        assert counter.signals == SignalSet([SIGUSR1, SIGUSR2, SIGHUP])
        raise_signal(SIGHUP)
        assert counter.count == 1


# ---- fork ----


@everywhere
@pytest.mark.parametrize("raw_fork", [False, True])
def test_child_has_its_own_descriptor(raw_fork: bool) -> None:
    """A signal in the child of a fork does not make the parent's descriptor readable; the child's own is."""
    with SignalQueue(RT) as queue, SignalFlag(SIGUSR1) as flag:
        numbers = queue.fileno(), flag.fileno()
        assert not readable(queue)
        pid = rawsys.raw_fork() if raw_fork else os.fork()
        if pid == 0:
            status = 1
            try:
                raise_signal(RT)
                raise_signal(SIGUSR1)
                told = readable(queue) and readable(flag)
                status = (
                    0
                    if told and flag and queue.get(0).signal == RT and (queue.fileno(), flag.fileno()) == numbers
                    else 2
                )
            finally:
                rawsys.raw_exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert not readable(queue)
        assert not readable(flag)
        assert not flag
        raise_signal(RT)
        assert readable(queue)


@everywhere
def test_owner_made_before_fork_works_in_the_child() -> None:
    """The child of a fork goes on counting by itself, and its leaving leaves the parent's action."""
    before = SignalAction.current(SIGUSR1)
    with SignalCounter(SIGUSR1) as counter:
        raise_signal(SIGUSR1)

        def child() -> tuple[int, bool]:
            raise_signal(SIGUSR1)
            counter.close()
            return counter.count, SignalAction.current(SIGUSR1) == before

        assert in_child(child) == (2, True)
        raise_signal(SIGUSR1)
        assert counter.count == 2


def test_import_is_lazy() -> None:
    """rawsys.signals itself loads no owner's module."""
    from support import run_python

    code = "import sys, rawsys.signals; print([m for m in sys.modules if m.startswith('rawsys.signals.')])"
    assert run_python(code).stdout == "['rawsys.signals.sets']\n"
    assert sys.version_info >= (3, 11)
