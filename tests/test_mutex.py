"""Mutex: private and shared; forks with held locks, owners that die, fairness, handlers while it waits."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest
from support import in_child, run_python, until_blocked

from rawsys import AtomicU32, AtomicU64, Mutex, ThreadHandle, raw
from rawsys.errors import DeadlockError, OwnerDiedError

FUTEX = 202
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12 and newer warn of forks beside threads


def shared() -> Mutex:
    return Mutex.at(mmap.mmap(-1, 4096), 64)


both = pytest.mark.parametrize("make", [Mutex, shared], ids=["private", "shared"])


@both
def test_one_thread_holds_it(make: Callable[[], Mutex]) -> None:
    """acquire, release, with, locked; whoever does not hold it cannot release it."""
    mutex = make()
    assert not mutex.locked()
    assert mutex.acquire() is True
    assert mutex.locked()
    assert "held" in repr(mutex)
    assert ThreadHandle.spawn(mutex.acquire, 0).join() is False
    with pytest.raises(RuntimeError):
        ThreadHandle.spawn(mutex.release).join()
    mutex.release()
    with pytest.raises(RuntimeError):
        mutex.release()
    with mutex as same:
        assert same is mutex
        assert mutex.locked()
    assert not mutex.locked()
    with pytest.raises(KeyError), mutex:
        raise KeyError
    assert not mutex.locked()
    assert mutex.acquire(timeout=0, recover=True)
    mutex.release()


@both
def test_answers_are_counted(make: Callable[[], Mutex]) -> None:
    """True, False and None that it gives are references of their own, whichever Python's headers it was built with."""
    mutex = make()
    before = [sys.getrefcount(value) for value in (True, False, None)]
    for _ in range(1000):
        mutex.acquire()
        mutex.locked()
        mutex.release()
        mutex.locked()
        with mutex:
            pass
    after = [sys.getrefcount(value) for value in (True, False, None)]
    assert all(abs(a - b) < 100 for a, b in zip(before, after, strict=True))


@both
def test_relocking_is_a_deadlock(make: Callable[[], Mutex]) -> None:
    """The thread that holds it is told instead of hanging; it still holds it once."""
    mutex = make()
    with mutex:
        for again in (mutex.acquire, mutex.__enter__, lambda: mutex.acquire(5)):
            with pytest.raises(DeadlockError) as caught:
                again()
            assert caught.value.errno == 35
    assert not mutex.locked()


@both
def test_arguments(make: Callable[[], Mutex]) -> None:
    """Timeouts as everywhere: negative and NaN are ValueError, other things TypeError; nothing is taken."""
    mutex = make()
    for wrong in (-1, float("nan"), float("-inf")):
        with pytest.raises(ValueError):
            mutex.acquire(wrong)
    for wrong_call in (lambda: mutex.acquire("1"), lambda: mutex.acquire(True), lambda: mutex.acquire(1, True, 2)):
        with pytest.raises(TypeError):
            wrong_call()
    for keywords in ({"blocking": False}, {"timeout": 1, "recover": True, "more": 1}):
        with pytest.raises(TypeError):
            mutex.acquire(**keywords)
    with pytest.raises(TypeError):
        mutex.acquire(1, timeout=1)
    with pytest.raises(TypeError):
        Mutex(1)  # type: ignore[call-arg]
    assert not mutex.locked()


@both
def test_waiting_ends_with_the_time_or_the_release(make: Callable[[], Mutex]) -> None:
    """False after the timeout, never before; a waiter gets the lock when it is released."""
    mutex = make()
    mutex.acquire()

    def wait(seconds: float) -> tuple[bool, float]:
        before = time.monotonic()
        return mutex.acquire(seconds), time.monotonic() - before

    taken, took = ThreadHandle.spawn(wait, 0.06).join()
    assert not taken
    assert took >= 0.06
    waiter = ThreadHandle.spawn(mutex.acquire)
    until_blocked(waiter.tid, FUTEX)
    mutex.release()
    assert waiter.join()
    assert mutex.locked()


@both
def test_it_excludes(make: Callable[[], Mutex]) -> None:
    """Eight threads that add by hand lose nothing, and no wake-up is lost."""
    mutex, value = make(), [0]

    def add() -> None:
        for _ in range(2000):
            with mutex:
                old = value[0]
                os.getppid()
                value[0] = old + 1

    for handle in [ThreadHandle.spawn(add) for _ in range(8)]:
        handle.join()
    assert value == [16000]
    assert not mutex.locked()


def test_nobody_starves() -> None:
    """Eight threads that want the lock all the time have it in turns: of 160 turns each gets a fifth of its share or more.

    A turn is what a thread does with the lock before another one has it, so the figure is the lock's and not the
    machine's: the lock's own spread is below 2, the rest is the GIL's.
    """
    mutex, stop = Mutex(), AtomicU32()
    turns: list[int] = []

    def want(n: int) -> None:
        while not stop.load():
            with mutex:
                if not turns or turns[-1] != n:
                    turns.append(n)
                    stop.store(int(len(turns) >= 160))

    for handle in [ThreadHandle.spawn(want, n) for n in range(8)]:
        handle.join()
    assert min(turns.count(n) for n in range(8)) >= 4


def test_waiters_that_give_up() -> None:
    """Heirs whose time ends at the moment of the handover: nothing is lost, taken twice, or left held."""
    mutex, held = Mutex(), [0]

    def impatient() -> int:
        taken = 0
        for _ in range(60):
            if mutex.acquire(0.0015):
                before = held[0]
                for _ in range(20_000):
                    pass
                held[0] = before + 1
                mutex.release()
                taken += 1
        return taken

    def patient() -> int:
        for _ in range(60):
            with mutex:
                held[0] += 1
        return 60

    handles = [ThreadHandle.spawn(body) for body in (impatient, impatient, impatient, patient) * 2]
    taken = [handle.join() for handle in handles]
    assert sum(taken) == held[0]
    assert min(taken) < 60
    assert not mutex.locked()


@both
def test_handlers_run_while_it_waits(make: Callable[[], Mutex]) -> None:
    """Ctrl-C ends a wait, and nothing is held afterwards; a handler that returns does not."""

    def child() -> None:
        mutex, done, ran = make(), AtomicU32(), []
        holder = ThreadHandle.spawn(
            lambda: (mutex.acquire(), done.wait(0), mutex.release()), signal_mask=[signal.SIGALRM]
        )
        while not mutex.locked():
            os.sched_yield()

        def handler(number: int, frame: object) -> None:
            ran.append(number)
            if len(ran) == 3:
                raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.06)
        with pytest.raises(KeyboardInterrupt):
            mutex.acquire(10)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(ran) == 3
        done.store(1)
        done.notify()
        holder.join()
        assert mutex.acquire(1)

    in_child(child)


# ---- forks ----


def test_fork_with_a_lock_that_another_thread_holds() -> None:
    """Edge 35's trap: in the child its owner does not exist: OwnerDiedError at once; recover takes it over."""
    mutex, done = Mutex(), AtomicU32()
    holder = ThreadHandle.spawn(lambda: (mutex.acquire(), done.wait(0), mutex.release()))
    while not mutex.locked():
        os.sched_yield()

    def child() -> None:
        for attempt in (mutex.acquire, mutex.__enter__, lambda: mutex.acquire(0)):
            with pytest.raises(OwnerDiedError) as caught:
                attempt()
            assert caught.value.errno == 130
        other = ThreadHandle.spawn(mutex.acquire)
        with pytest.raises(OwnerDiedError):
            other.join()
        with pytest.raises(RuntimeError):
            mutex.release()
        assert mutex.acquire(recover=True)
        mutex.release()
        with mutex:
            pass

    in_child(child)
    done.store(1)
    done.notify()
    holder.join()
    with mutex:
        pass


def test_fork_with_ones_own_lock() -> None:
    """The forking thread still holds in the child what it held, for others there too, and can release it."""
    mutex = Mutex()

    def grandchild() -> None:
        mutex.release()
        mutex.acquire()

    def child() -> None:
        with pytest.raises(DeadlockError):
            mutex.acquire()
        assert ThreadHandle.spawn(mutex.acquire, 0).join() is False
        waiter = ThreadHandle.spawn(mutex.acquire, 10)
        until_blocked(waiter.tid, FUTEX)
        in_child(grandchild)
        mutex.release()
        assert waiter.join()

    def forking_thread() -> None:
        with mutex:
            in_child(child)

    with mutex:
        in_child(child)
    ThreadHandle.spawn(forking_thread).join()


def test_waiters_of_before_a_fork_are_no_heirs() -> None:
    """A lock for which threads waited at the fork can be taken and released in the child."""
    mutex = Mutex()
    mutex.acquire()
    waiters = [ThreadHandle.spawn(lambda: mutex.acquire() and mutex.release()) for _ in range(3)]
    for waiter in waiters:
        until_blocked(waiter.tid, FUTEX)

    def child() -> None:
        mutex.release()
        for _ in range(3):
            with mutex:
                pass
        assert ThreadHandle.spawn(mutex.acquire, 1).join()

    in_child(child)
    mutex.release()
    for waiter in waiters:
        waiter.join()


def test_shared_lock_is_held_across_a_fork_by_the_parent() -> None:
    """Edge 106: in shared memory the child does not hold what its parent holds; it waits, and gets it."""
    mutex = shared()
    mutex.acquire()
    ready = AtomicU32.at(mmap.mmap(-1, 4096))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with pytest.raises(RuntimeError):
                mutex.release()
            assert mutex.acquire(0) is False
            ready.store(1)
            ready.notify()
            assert mutex.acquire(10)
            status = 0
        finally:
            os._exit(status)
    assert ready.wait(0, 10)
    mutex.release()
    assert os.waitpid(pid, 0)[1] == 0
    with pytest.raises(OwnerDiedError):
        mutex.acquire()
    assert mutex.acquire(recover=True)
    mutex.release()


# ---- shared ----


def test_word_lies_where_it_was_put() -> None:
    """The owner's tid stands at the offset; memory that something else lies in is refused; attaching twice is one lock."""
    memory = mmap.mmap(-1, 4096)
    mutex = Mutex.at(memory, offset=128)
    assert memory[:128] == bytes(128)
    assert Mutex.SIZE == 48
    with mutex:
        assert int.from_bytes(memory[128:132], "little") == threading.get_native_id()
        other = Mutex.at(memory, 128)
        assert other.locked()
        with pytest.raises(DeadlockError):
            other.acquire()
        other.release()
        mutex.acquire()
    assert not other.locked()
    for offset in (-8, 4096 - 40, 4, 4096):
        with pytest.raises(ValueError):
            Mutex.at(memory, offset)
    with pytest.raises(ValueError):
        Mutex.at(bytearray(b"\xff" * 64))
    with pytest.raises(BufferError):
        Mutex.at(bytes(64))


def test_another_process_sees_the_word(tmp_path: object) -> None:
    """A process that maps the same file finds the lock held by this thread at that offset."""
    path = f"{tmp_path}/lock"
    with open(path, "wb") as file:
        file.truncate(4096)
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 4096)
    mutex = Mutex.at(memory, 256)
    code = f"""
        import mmap
        from rawsys import Mutex
        with open({path!r}, "r+b") as file:
            memory = mmap.mmap(file.fileno(), 4096)
        mutex = Mutex.at(memory, 256)
        print(int.from_bytes(memory[256:260], "little"), mutex.acquire(0))
    """
    with mutex:
        done = run_python(code)
        assert done.stdout == f"{threading.get_native_id()} False\n", done.stderr
    assert run_python(code).stdout.endswith(" True\n")
    with pytest.raises(OwnerDiedError):
        mutex.acquire()
    mutex.acquire(recover=True)
    mutex.release()


@pytest.mark.parametrize("recover", [False, True])
def test_killed_owner_wakes_the_waiter(recover: bool) -> None:
    """A waiter without timeout is woken within 50 ms of the owner's SIGKILL: OwnerDiedError, or the lock with recover."""
    mutex = shared()
    pid = os.fork()
    if pid == 0:
        mutex.acquire()
        signal.pause()
        os._exit(1)
    while not mutex.locked():
        os.sched_yield()

    def wait() -> tuple[object, float]:
        try:
            return mutex.acquire(recover=recover), time.monotonic()
        except OwnerDiedError as error:
            return error.errno, time.monotonic()

    waiter = ThreadHandle.spawn(wait)
    until_blocked(waiter.tid, FUTEX)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    result, woken = waiter.join()
    os.waitpid(pid, 0)
    assert result == (True if recover else 130)
    assert woken - killed < 0.05


def test_dead_owner_is_told_until_somebody_recovers() -> None:
    """Edge 106: thread or process; everybody gets OwnerDiedError until recover, and then the lock is as new."""
    mutex = shared()
    for _ in range(2):
        ThreadHandle.spawn(mutex.acquire).join()
        for _ in range(2):
            with pytest.raises(OwnerDiedError):
                mutex.acquire(1)
            with pytest.raises(OwnerDiedError), mutex:
                pass
        with pytest.raises(OwnerDiedError):
            mutex.acquire(0)
        assert mutex.acquire(recover=True)
        mutex.release()
        with mutex:
            pass

    def dies_after_recovering() -> None:
        mutex.acquire(recover=True)

    ThreadHandle.spawn(mutex.acquire).join()
    ThreadHandle.spawn(dies_after_recovering).join()
    with pytest.raises(OwnerDiedError):
        mutex.acquire()
    mutex.acquire(recover=True)
    mutex.release()


def test_the_robust_list_stays_that_of_libc() -> None:
    """Edge 106: locking, dying and recovering leave the thread's head of the list where libc put it, and empty."""

    def head() -> tuple[int, int]:
        place, size = bytearray(8), bytearray(8)
        assert raw.get_robust_list(0, place, size) == 0
        address = int.from_bytes(place, "little")
        return address, ctypes.c_uint64.from_address(address).value

    before = head()
    assert before[0] == before[1]
    mutex = shared()
    with mutex:
        assert head()[0] == before[0] != head()[1]
    ThreadHandle.spawn(mutex.acquire).join()
    mutex.acquire(recover=True)
    mutex.release()
    assert head() == before


def test_processes_exclude_each_other() -> None:
    """Four processes that add by hand in shared memory lose nothing."""
    memory = mmap.mmap(-1, 4096)
    mutex, value = Mutex.at(memory), AtomicU64.at(memory, 64)
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            own = Mutex.at(memory)
            for _ in range(3000):
                with own:
                    value.store(value.load() + 1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert value.load() == 12000
    assert not mutex.locked()


def test_initialised_by_whoever_comes_first() -> None:
    """Many threads and processes that attach to zeroed memory at once have one lock, also while it is held."""
    for _ in range(20):
        memory = mmap.mmap(-1, 4096)
        inside = AtomicU32.at(memory, 512)

        def use(memory: mmap.mmap = memory, inside: AtomicU32 = inside) -> bool:
            with Mutex.at(memory, 8):
                alone = inside.fetch_add(1) == 0
                os.sched_yield()
                inside.fetch_sub(1)
            return alone

        handles = [ThreadHandle.spawn(use) for _ in range(4)]
        assert [handle.join() for handle in handles] == [True] * 4


def test_memory_of_a_held_lock_is_not_given_back() -> None:
    """A shared Mutex that is dropped while held warns, and its buffer stays: libc's list of held locks runs through it."""
    memory = bytearray(64)
    offset = -__import__("ctypes").addressof(__import__("ctypes").c_char.from_buffer(memory)) % 8
    mutex = Mutex.at(memory, offset)
    mutex.acquire()
    with pytest.warns(ResourceWarning, match="held"):
        del mutex
    with pytest.raises(BufferError):
        memory.clear()
    again = Mutex.at(memory, offset)
    again.release()
    with again:
        pass
