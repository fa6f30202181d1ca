"""Condition, Semaphore, Barrier, Event, RWLock, Once: private and in shared memory, without a call where nobody waits."""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import in_child, until_blocked

from rawsys import AtomicU32, AtomicU64, Mutex, ThreadHandle
from rawsys.errors import DeadlockError
from rawsys.sync import Barrier, Condition, Event, Once, RWLock, Semaphore
from rawsys.sync.counting import BrokenBarrierError

FUTEX = 202
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

_ROOM = 4096


def raising(error: BaseException) -> None:
    raise error


def memory() -> mmap.mmap:
    return mmap.mmap(-1, _ROOM)


MAKERS: dict[str, tuple[Callable[[], Any], Callable[[mmap.mmap, int], Any]]] = {
    "Event": (Event, Event.at),
    "Semaphore": (lambda: Semaphore(2), lambda m, o: Semaphore.at(m, o, 2)),
    "Barrier": (lambda: Barrier(3), lambda m, o: Barrier.at(m, o, 3)),
    "Once": (Once, Once.at),
    "RWLock": (RWLock, RWLock.at),
    "Condition": (Condition, lambda m, o: Condition.at(m, o, Mutex.at(m, 1024))),
}


def makers(name: str) -> Any:
    own, at = MAKERS[name]
    return pytest.mark.parametrize("make", [own, lambda: at(memory(), 64)], ids=["private", "shared"])


@pytest.mark.parametrize("name", MAKERS)
def test_places(name: str) -> None:
    """At an offset that is a multiple of 8, inside the buffer; no byte outside SIZE changes; not to be pickled."""
    at = MAKERS[name][1]
    room = memory()
    lock = at(room, 64)
    if name != "Condition":
        assert room[:64] == bytes(64)
        assert room[64 + lock.SIZE :] == bytes(_ROOM - 64 - lock.SIZE)
    for offset in (4, -8, _ROOM - lock.SIZE + 8, _ROOM):
        with pytest.raises(ValueError):
            at(room, offset)
    for wrong in (None, 1.0, True):
        with pytest.raises(TypeError):
            at(room, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        at(None, 0)  # type: ignore[arg-type]
    if lock.SIZE == 16:
        with pytest.raises(ValueError, match=f"^16 bytes at offset {_ROOM - 8} are outside"):
            at(room, _ROOM - 8)
    with pytest.raises(TypeError):
        pickle.dumps(lock)
    assert name in repr(lock)


def test_uncontended_use_makes_no_call() -> None:
    """With a filter that ends the process at any futex call, all of them work as long as nobody waits."""

    def child() -> None:
        from support import fail_calls

        mutex, condition, rw = Mutex(), Condition(), RWLock()
        semaphore, event, once = Semaphore(2), Event(), Once()
        shared = Mutex.at(memory())
        barrier = Barrier(1)
        fail_calls(1, FUTEX)
        word = AtomicU32()
        for lock in (mutex, condition, semaphore, shared):
            with lock:
                pass
        with condition:
            condition.notify()
            assert condition.wait_for(lambda: True)
        with rw.read(), rw.read():
            pass
        with rw.write():
            pass
        event.set()
        assert event.wait()
        assert once.call(int)
        assert barrier.wait() == 0
        assert word.fetch_add(1) == 0

    in_child(child)


# ---- Event ----


@makers("Event")
def test_event(make: Callable[[], Event]) -> None:
    """All that wait return when it is set; it stays set until it is cleared."""
    event = make()
    assert not event.wait(0)
    assert event.wait(0.01) is False
    handles = [ThreadHandle.spawn(event.wait) for _ in range(3)]
    for handle in handles:
        until_blocked(handle.tid, FUTEX)
    event.set()
    assert [handle.join() for handle in handles] == [True] * 3
    assert event.is_set()
    assert event.wait(0)
    event.set()
    event.clear()
    assert not event.is_set()
    with pytest.raises(ValueError):
        event.wait(-1)


# ---- Semaphore ----


@makers("Semaphore")
def test_semaphore(make: Callable[[], Semaphore]) -> None:
    """Two permits; a third waits until one is given back."""
    semaphore = make()
    assert semaphore.acquire()
    with semaphore:
        assert semaphore.value == 0
        assert semaphore.acquire(0) is False
        assert semaphore.acquire(0.01) is False
        waiter = ThreadHandle.spawn(semaphore.acquire)
        until_blocked(waiter.tid, FUTEX)
    assert waiter.join() is True
    semaphore.release(2)
    assert semaphore.value == 2
    for n in (0, -1):
        with pytest.raises(ValueError):
            semaphore.release(n)
    with pytest.raises(OverflowError):
        semaphore.release(Semaphore.MOST)
    for value in (-1, 1 << 31):
        with pytest.raises(ValueError):
            Semaphore(value)
    with pytest.raises(TypeError):
        Semaphore(1.0)  # type: ignore[arg-type]


def test_semaphore_bounds_its_users() -> None:
    """Eight threads never are more than three inside, and all get through."""
    semaphore, inside, most = Semaphore(3), AtomicU64(), AtomicU64()

    def use() -> None:
        for _ in range(300):
            with semaphore:
                most.fetch_max(inside.fetch_add(1) + 1)
                os.sched_yield()
                inside.fetch_sub(1)

    for handle in [ThreadHandle.spawn(use) for _ in range(8)]:
        handle.join()
    assert most.load() <= 3
    assert semaphore.value == 3


def test_semaphore_of_the_first_to_come() -> None:
    """The first one to attach gives the value; others find what is left."""
    room = memory()
    first = Semaphore.at(room, 0, 0)
    assert Semaphore.at(room, 0, 5).acquire(0) is False
    first.release()
    assert Semaphore.at(room, 0).acquire(0) is True


# ---- Barrier ----


@makers("Barrier")
def test_barrier(make: Callable[[], Barrier]) -> None:
    """Three threads pass it together 200 times, with a different number each time."""
    barrier = make()
    rounds: list[list[int]] = [[] for _ in range(200)]
    ahead = []

    def party() -> None:
        for n in range(200):
            rounds[n].append(barrier.wait(10))
            if n and len(rounds[n - 1]) != 3:
                ahead.append(n)

    for handle in [ThreadHandle.spawn(party) for _ in range(3)]:
        handle.join()
    assert [sorted(numbers) for numbers in rounds] == [[0, 1, 2]] * 200
    assert ahead == []
    assert barrier.n_waiting == 0


def until_arrived(barrier: Barrier) -> None:
    """Until one thread has arrived: one that sits in a futex may still wait for the GIL, and miss what comes next."""
    while barrier.n_waiting != 1:
        os.sched_yield()


@makers("Barrier")
def test_barrier_breaks(make: Callable[[], Barrier]) -> None:
    """abort and a timeout give all BrokenBarrierError, also who comes later; reset makes it as new."""
    barrier = make()
    waiter = ThreadHandle.spawn(barrier.wait)
    until_arrived(barrier)
    barrier.abort()
    with pytest.raises(BrokenBarrierError):
        waiter.join()
    with pytest.raises(BrokenBarrierError):
        barrier.wait()
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken
    waiter = ThreadHandle.spawn(barrier.wait)
    until_arrived(barrier)
    with pytest.raises(BrokenBarrierError):
        barrier.wait(0.01)
    with pytest.raises(BrokenBarrierError):
        waiter.join()
    barrier.reset()
    waiter = ThreadHandle.spawn(barrier.wait)
    until_arrived(barrier)
    barrier.reset()
    with pytest.raises(BrokenBarrierError):
        waiter.join()
    handles = [ThreadHandle.spawn(barrier.wait, 10) for _ in range(3)]
    assert sorted(handle.join() for handle in handles) == [0, 1, 2]


def test_barrier_of_another_size() -> None:
    """All parties of a shared barrier agree on their number."""
    room = memory()
    assert Barrier.at(room, 0, 3).parties == 3
    with pytest.raises(ValueError):
        Barrier.at(room, 0, 4)
    for parties in (0, 1 << 23):
        with pytest.raises(ValueError):
            Barrier(parties)


# ---- Condition ----


@makers("Condition")
def test_condition_hands_items_over(make: Callable[[], Condition]) -> None:
    """Four consumers get all that two producers put in, and none waits for ever."""
    condition = make()
    queue: list[int] = []
    got: list[int] = []

    def consume() -> None:
        while True:
            with condition:
                condition.wait_for(lambda: queue)
                item = queue.pop()
                if item < 0:
                    return
                got.append(item)

    def produce(start: int) -> None:
        for n in range(300):
            with condition:
                queue.append(start + n)
                condition.notify()

    consumers = [ThreadHandle.spawn(consume) for _ in range(4)]
    for handle in [ThreadHandle.spawn(produce, start) for start in (0, 300)]:
        handle.join()
    with condition:
        queue[:0] = [-1] * 4
        condition.notify_all()
    for handle in consumers:
        handle.join()
    assert sorted(got) == list(range(600))


@makers("Condition")
def test_condition_times_out(make: Callable[[], Condition]) -> None:
    """wait and wait_for are False after their time, with the mutex held again; without the mutex it is RuntimeError."""
    condition = make()
    with condition:
        assert condition.wait(0.01) is False
        assert condition.wait_for(lambda: False, 0.01) is False
        assert condition.wait_for(lambda: False, 0) is False
        assert condition.mutex.locked()
    assert not condition.mutex.locked()
    with pytest.raises(RuntimeError):
        condition.wait(1)
    assert condition.acquire(1)
    condition.release()


@makers("Condition")
def test_condition_keeps_its_mutex(make: Callable[[], Condition]) -> None:
    """After whatever call inside a wait a signal handler raises: the mutex is held when its exception arrives."""

    def child() -> int:
        signal.signal(signal.SIGUSR1, lambda *_: raising(KeyError()))
        condition = make()
        raised = 0
        for calls in range(20):
            left = calls

            def after_call(frame: object, event: str, function: object) -> None:
                nonlocal left
                left -= event == "c_return"
                if left < 0:
                    signal.raise_signal(signal.SIGUSR1)

            condition.acquire()
            try:
                sys.setprofile(after_call)
                condition.wait(0.001)
            except KeyError:
                raised += 1
            finally:
                sys.setprofile(None)
            condition.release()
        return raised

    assert 3 < in_child(child) < 20


def test_condition_takes_mutexes_only() -> None:
    """Of the kind that it needs: with a private one, those that wait in shared memory would not meet."""
    wrong: list[Any] = [5, threading.Lock(), Semaphore()]
    for other in wrong:
        with pytest.raises(TypeError, match="a Condition works with a Mutex"):
            Condition(other)
        with pytest.raises(TypeError, match="a Condition works with a Mutex"):
            Condition.at(memory(), 0, other)
    with pytest.raises(ValueError, match=r"Mutex\.at"):
        Condition.at(memory(), 0, Mutex())
    for n, error in ((-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error):
            Condition().notify(n)  # type: ignore[arg-type]
    Condition().notify(2**40)


# ---- RWLock ----


@makers("RWLock")
def test_readers_or_a_writer(make: Callable[[], RWLock]) -> None:
    """Readers share it, a writer has it alone, and a writer that waits goes before new readers."""
    lock = make()
    with lock.read(), lock.read(0):
        assert lock.acquire_write(0) is False
        assert lock.acquire_write(0.01) is False
        writer = ThreadHandle.spawn(lock.acquire_write)
        until_blocked(writer.tid, FUTEX)
        assert lock.acquire_read(0) is False
        reader = ThreadHandle.spawn(lock.acquire_read)
        until_blocked(reader.tid, FUTEX)
    assert writer.join()
    assert reader.is_alive()
    with pytest.raises(TimeoutError), lock.read(0.01):
        pass
    with pytest.raises(TimeoutError), lock.write(0):
        pass
    lock.release_write()
    assert reader.join()
    lock.release_read()
    for release in (lock.release_read, lock.release_write):
        with pytest.raises(RuntimeError):
            release()


def test_writers_lose_nothing() -> None:
    """Three writers and three readers: no reader sees a half of a change."""
    lock, pair, torn = RWLock(), [0, 0], []

    def write() -> None:
        for _ in range(300):
            with lock.write():
                pair[0] += 1
                os.sched_yield()
                pair[1] += 1

    def read() -> None:
        for _ in range(300):
            with lock.read():
                if pair[0] != pair[1]:
                    torn.append(tuple(pair))

    for handle in [ThreadHandle.spawn(body) for body in (write, read) * 3]:
        handle.join()
    assert (pair, torn) == ([900, 900], [])


# ---- Once ----


@makers("Once")
def test_once(make: Callable[[], Once]) -> None:
    """Of eight threads one does it and the others wait until it is done; one that raises lets the next one try."""
    once, ran = make(), []

    def work() -> None:
        os.sched_yield()
        ran.append(threading.get_ident())

    with pytest.raises(KeyError):
        once.call({}.__getitem__, 1)
    assert not once.done

    def do() -> tuple[bool, int]:
        return once.call(work), len(ran)

    handles = [ThreadHandle.spawn(do) for _ in range(8)]
    results = [handle.join() for handle in handles]
    assert sorted(did for did, _ in results) == [False] * 7 + [True]
    assert {count for _, count in results} == {1}
    assert once.done
    assert once.call(work) is False
    once.reset()
    assert once.call(work) is True


@makers("Once")
def test_once_inside_itself(make: Callable[[], Once]) -> None:
    """The function that calls it again is told; others may give up waiting."""
    once, gate = make(), AtomicU32()
    with pytest.raises(DeadlockError):
        once.call(lambda: once.call(int))
    worker = ThreadHandle.spawn(once.call, gate.wait, 0)
    until_blocked(worker.tid, FUTEX)
    with pytest.raises(TimeoutError):
        once.call(int, timeout=0.01)
    gate.store(1)
    gate.notify()
    assert worker.join() is True


# ---- between processes ----


def test_processes_share_them() -> None:
    """A child and its parent meet at a barrier, hand over by event and semaphore, and one of them does it once."""
    room = memory()

    def meet() -> bool:
        barrier, event = Barrier.at(room, 0, 2), Event.at(room, 64)
        semaphore, once = Semaphore.at(room, 128, 0), Once.at(room, 192)
        barrier.wait(10)
        did = once.call(semaphore.release, 2)
        assert semaphore.acquire(10)
        event.set()
        assert event.wait(10)
        barrier.wait(10)
        return did

    pid = os.fork()
    if pid == 0:
        status = 3
        try:
            status = int(meet())
        finally:
            os._exit(status)
    mine = meet()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == int(not mine)
