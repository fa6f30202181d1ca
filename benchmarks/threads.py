"""Threads, atomics and locks against threading, multiprocessing and the same in C."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing import heap
from time import perf_counter_ns
from typing import Any

from benchmarks.harness import Setting, Sides, Topic, limit, peer
from benchmarks.limits import compile_c
from rawsys import AtomicBool, AtomicU32, AtomicU64, Mutex, ThreadHandle
from rawsys.bench import Side, loop

TOPIC = Topic("threads", "threads, atomics and locks")

_FRAME = """
#include <limits.c>
#include <pthread.h>
#include <sys/mman.h>
static void *nothing(void *unused) { return unused; }
static void *first_frame(void *unused)
{
    char *room = mmap(0, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *room = 1;
    munmap(room, 16384);
    return unused;
}
static _Atomic unsigned long sum;
static void *add(void *n) { for (long i = (long)n; i; i--) __atomic_fetch_add(&sum, 1, 5); return 0; }
static long spawn_each(long count, void *(*body)(void *))
{
    long begin = now();
    for (long i = 0; i < count; i++) { pthread_t t; pthread_create(&t, 0, body, 0); pthread_join(t, 0); }
    return now() - begin;
}
long spawn(long count) { return spawn_each(count, nothing); }
long spawn_framed(long count) { return spawn_each(count, first_frame); }
long adders(long count, long n)
{
    pthread_t t[8];
    long begin = now();
    for (long i = 0; i < count; i++) {
        for (int k = 0; k < 8; k++) pthread_create(&t[k], 0, add, (void *)n);
        for (int k = 0; k < 8; k++) pthread_join(t[k], 0);
    }
    return now() - begin;
}
"""


def _c(name: str, *arguments: int) -> Side:
    function = getattr(compile_c(_FRAME), name)
    function.restype, function.argtypes = ctypes.c_long, [ctypes.c_long] * (1 + len(arguments))
    return lambda count: int(function(count, *arguments))


def _nothing() -> None:
    pass


@TOPIC.row("spawn + join of an empty Python body")
def spawn_python(setting: Setting) -> Sides:
    """A thread with its Python state, known to threading."""
    theirs = loop("t = Thread(target=f); t.start(); t.join()", Thread=threading.Thread, f=_nothing)
    ours = loop("spawn(f).join()", spawn=ThreadHandle.spawn, f=_nothing)
    # What no thread that runs Python can do without: CPython maps its first 16 KiB of frames, and unmaps them.
    bound = limit(lambda: _c("spawn_framed"), name="pthread, 16 KiB mapped and touched, in C")
    return Sides(ours, [peer("threading.Thread", theirs, "<= 0.6"), bound])


@TOPIC.row("spawn + join of a native body")
def spawn_native(setting: Setting) -> Sides:
    """A body that does nothing."""
    ours = loop("spawn(body).join()", spawn=ThreadHandle.spawn_native, body=AtomicU64().adder(0))
    return Sides(ours, [limit(lambda: _c("spawn"), "<= 1.5", "pthread_create, pthread_join in C")])


@TOPIC.row("fetch_add(1)")
def fetch_add(setting: Setting) -> Sides:
    """One operation, as a method."""
    # The memory behind Values is kept by the module for ever, with its descriptors: here it goes with the row.
    setting.callback(setattr, heap.BufferWrapper, "_heap", heap.BufferWrapper._heap)
    heap.BufferWrapper._heap = heap.Heap()
    value = multiprocessing.Value("Q")
    theirs = loop("with value.get_lock(): value.value += 1", value=value)
    empty = loop("f()", f=(5).bit_length)
    return Sides(
        loop("f(1)", f=AtomicU64().fetch_add),
        [
            peer("an empty built-in method", empty, "<= 2.5"),
            peer("multiprocessing.Value with its lock", theirs, "<= 0.05"),
        ],
    )


@TOPIC.row("8 threads x 1,000,000 native adds", patience=0.1)
def native_adds(setting: Setting) -> Sides:
    """Eight threads on one word."""
    each = setting.size(1_000_000, 1000)
    counter = AtomicU64()

    def ours(count: int) -> int:
        begin = perf_counter_ns()
        for _ in range(count):
            handles = [ThreadHandle.spawn_native(counter.adder(each)) for _ in range(8)]
            for handle in handles:
                handle.join()
        return perf_counter_ns() - begin

    return Sides(ours, [limit(lambda: _c("adders", each), "<= 1.1", "the same in C")])


@TOPIC.row("Mutex acquire + release")
def acquire_release(setting: Setting) -> Sides:
    """Uncontended, as methods."""

    def side(lock: Any) -> Side:
        return loop("acquire(); release()", acquire=lock.acquire, release=lock.release)

    peers = [
        peer("threading.Lock", side(threading.Lock()), "<= 0.7"),
        peer("multiprocessing.Lock", side(multiprocessing.Lock()), "<= 0.75"),
    ]
    return Sides(side(Mutex()), peers)


@TOPIC.row("with mutex")
def with_mutex(setting: Setting) -> Sides:
    """Uncontended, as a statement."""

    def side(lock: Any) -> Side:
        return loop("with lock: pass", lock=lock)

    peers = [
        peer("multiprocessing.Lock", side(multiprocessing.Lock()), "<= 0.4"),
        peer("threading.Lock", side(threading.Lock())),
    ]
    return Sides(side(Mutex()), peers)


_TURNS = 2000


def _contended(setting: Setting, lock: Any) -> Side:
    """Four processes that take a lock in turns; between the rounds they sleep, so that only one lock's are awake."""
    room = mmap.mmap(-1, 4096)
    turns, end = AtomicU64.at(room, 64), AtomicBool.at(room, 256)
    go, done = AtomicU32.at(room, 128), AtomicU32.at(room, 192)

    def child() -> None:
        seen = 0
        acquire, release = lock.acquire, lock.release
        while go.wait(seen) and not end.load():
            seen += 1
            for _ in range(turns.load()):
                acquire()
                release()
            done.fetch_add(1)
            done.notify()

    _children(setting, child, end, go)

    def side(count: int) -> int:
        turns.store(count * _TURNS)
        done.store(0)
        begin = perf_counter_ns()
        go.fetch_add(1)
        go.notify(4)
        while (ended := done.load()) < 4:
            done.wait(ended)
        return perf_counter_ns() - begin

    return side


def _children(setting: Setting, body: Callable[[], None], end: AtomicBool, go: AtomicU32) -> None:
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                body()
            finally:
                os._exit(0)
        setting.callback(os.waitpid, pid, 0)
    setting.callback(lambda: (end.store(True), go.fetch_add(1), go.notify(4)))


@TOPIC.row("shared Mutex, 4 processes contending", patience=0.5)
def contended(setting: Setting) -> Sides:
    """Time of the same number of turns: half the time is twice the throughput."""
    ours = _contended(setting, Mutex.at(mmap.mmap(-1, 4096)))
    theirs = _contended(setting, multiprocessing.Lock())
    return Sides(ours, [peer("multiprocessing.Lock", theirs, "<= 1.0")], operations=_TURNS)
