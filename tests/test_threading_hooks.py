"""Inside a Python body all of `threading` behaves as in a threading.Thread, on each version of it."""

from __future__ import annotations

import contextvars
import ctypes
import faulthandler
import gc
import os
import sys
import tempfile
import threading
import weakref

import pytest
from support import in_child, run_python, until_blocked

from rawsys import AtomicU32, ThreadHandle

FUTEX = 202


def spawned(function: object, *args: object) -> object:
    return ThreadHandle.spawn(function, *args).join()  # type: ignore[arg-type]


def threaded(function: object, *args: object) -> object:
    """The same in a threading.Thread, to compare with."""
    box: list[object] = []
    thread = threading.Thread(target=lambda: box.append(function(*args)))  # type: ignore[operator]
    thread.start()
    thread.join()
    return box[0]


def test_current_thread_is_a_thread_of_threading() -> None:
    """current_thread() has ident, native_id and name, is alive, listed, no dummy, and gone from the list afterwards."""

    def look() -> tuple[object, ...]:
        me = threading.current_thread()
        assert isinstance(me, threading.Thread)
        assert not isinstance(me, threading._DummyThread)  # type: ignore[attr-defined]
        assert me.is_alive()
        assert me in threading.enumerate()
        assert me is not threading.main_thread()
        assert f"{me.ident}" in repr(me)
        with pytest.raises(RuntimeError):
            me.join()
        return me, me.ident == threading.get_ident(), me.native_id == threading.get_native_id(), me.daemon

    thread, *rest = spawned(look)  # type: ignore[misc]
    assert rest == [True, True, False]
    assert not thread.is_alive()
    assert "stopped" in repr(thread)
    thread.join()
    assert threading.enumerate() == [threading.current_thread()]
    handle = ThreadHandle.spawn(threading.current_thread, name="named", detached=True)
    while handle.is_alive():
        os.sched_yield()


def test_names_are_threadings_own() -> None:
    """Without a name it is numbered and called after the function, as a Thread is."""

    def body() -> str:
        return threading.current_thread().name

    number, function = str(spawned(body)).split()
    assert number.startswith("Thread-")
    assert function == "(body)"
    assert ThreadHandle.spawn(body, name="worker").join() == "worker"


def test_threads_are_listed_until_they_end() -> None:
    """enumerate() shows it before spawn returns, and its join() there waits for the end, with and without a timeout."""
    gate = AtomicU32()
    handle = ThreadHandle.spawn(gate.wait, 0)
    (thread,) = [t for t in threading.enumerate() if t is not threading.current_thread()]
    assert threading.active_count() == 2
    assert thread.native_id in (None, handle.tid)
    thread.join(0.01)
    assert thread.is_alive()
    waiter = threading.Thread(target=thread.join)
    waiter.start()
    until_blocked(waiter.native_id or 0, FUTEX)
    gate.store(1)
    gate.notify()
    waiter.join()
    thread.join(5)
    assert not thread.is_alive()
    assert handle.join() is True


def python_states() -> int:
    """How many threads of this interpreter have a Python state, whether they have run Python or not."""
    api = ctypes.pythonapi
    for function in (api.PyInterpreterState_Get, api.PyInterpreterState_ThreadHead, api.PyThreadState_Next):
        function.restype = ctypes.c_void_p
    count, state = 0, api.PyInterpreterState_ThreadHead(ctypes.c_void_p(api.PyInterpreterState_Get()))
    while state:
        count, state = count + 1, api.PyThreadState_Next(ctypes.c_void_p(state))
    return count


def test_it_is_all_there_when_spawn_returns() -> None:
    """With nothing asked for that the kernel could refuse: its Python state, its tid, and threading's list."""
    gate, handles, seen = AtomicU32(), [], []
    before = python_states()
    for _ in range(30):
        handles.append(ThreadHandle.spawn(gate.wait, 0))
        there = os.path.exists(f"/proc/self/task/{handles[-1].tid}")
        seen.append((python_states() - before, threading.active_count() - 1, there))
    gate.store(1)
    gate.notify(30)
    assert [handle.join() for handle in handles] == [True] * 30
    assert seen == [(n, n, True) for n in range(1, 31)]
    assert python_states() == before


def test_thread_local_data_is_its_own_and_goes() -> None:
    """threading.local is empty in a new body, and what it held is gone when join returns."""
    local = threading.local()
    local.value = "main"

    class Thing:
        pass

    def body() -> tuple[bool, weakref.ref[Thing]]:
        had = hasattr(local, "value")
        local.value = Thing()
        return had, weakref.ref(local.value)

    had, ref = spawned(body)  # type: ignore[misc]
    gc.collect()
    assert (had, ref(), local.value) == (False, None, "main")


def test_contexts_are_those_of_a_thread() -> None:
    """A body starts in the context that a Thread would start in."""
    variable = contextvars.ContextVar("variable", default="default")
    variable.set("main")
    assert spawned(variable.get) == threaded(variable.get)


@pytest.mark.parametrize("kind", ["trace", "profile"])
def test_trace_and_profile_functions_are_set(kind: str) -> None:
    """threading.settrace and setprofile reach bodies that are spawned later: the body's own call is seen."""

    def child() -> dict[str, bool]:
        seen: dict[str, set[str]] = {"spawned": set(), "threaded": set()}

        def body() -> None:
            pass

        for name, run in (("spawned", spawned), ("threaded", threaded)):

            def hook(frame: object, event: str, argument: object, name: str = name) -> None:
                seen[name].add(f"{event} {frame.f_code.co_name}")  # type: ignore[attr-defined]

            getattr(threading, f"set{kind}")(hook)
            run(body)
            getattr(threading, f"set{kind}")(None)
        return {name: "call body" in events for name, events in seen.items()}

    assert in_child(child) == {"spawned": True, "threaded": True}


def test_faulthandler_sees_it() -> None:
    """dump_traceback(all_threads=True) shows the body's frames."""
    gate = AtomicU32()

    def a_body_that_waits() -> None:
        gate.wait(0)

    handle = ThreadHandle.spawn(a_body_that_waits)
    until_blocked(handle.tid, FUTEX)
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        text = file.read().decode()
    frames = sys._current_frames()
    gate.store(1)
    gate.notify()
    handle.join()
    assert "a_body_that_waits" in text
    assert len(frames) == 2


def test_excepthook_as_for_a_thread() -> None:
    """What reaches stderr for an exception that nobody can join for is what a Thread writes."""
    code = """
        import sys, threading
        from rawsys import ThreadHandle
        def fails():
            raise ValueError("mine")
        if sys.argv[1] == "ours":
            handle = ThreadHandle.spawn(fails, name="worker", detached=True)
            while handle.is_alive(): pass
        else:
            thread = threading.Thread(target=fails, name="worker")
            thread.start()
            thread.join()
        """
    ours, theirs = (run_python(code, side).stderr.splitlines() for side in ("ours", "theirs"))
    assert ours[0] == theirs[0] == "Exception in thread worker:"
    assert ours[-1] == theirs[-1] == "ValueError: mine"
    assert ours[1] == "Traceback (most recent call last):"


def test_no_residue() -> None:
    """Edge 101: 500 threads, in Python and in C, leave no dummy, nothing dangling, no Python state."""
    before = len(sys._current_frames()), len(threading._active), len(threading._dangling)  # type: ignore[attr-defined]
    handles = [ThreadHandle.spawn(threading.current_thread) for _ in range(500)]
    for handle in handles:
        handle.join()
    del handles, handle
    gc.collect()
    assert (len(sys._current_frames()), len(threading._active), len(threading._dangling)) == before  # type: ignore[attr-defined]
    assert not threading._limbo  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["detach", "drop"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_detached_thread_is_a_daemon(how: str) -> None:
    """threading shows one that is detached as a daemon, which it is: nobody waits for it."""
    gate = AtomicU32()
    handle = ThreadHandle.spawn(gate.wait, 0)
    (thread,) = [t for t in threading.enumerate() if t is not threading.current_thread()]
    until_blocked(handle.tid, FUTEX)
    assert not thread.daemon
    if how == "detach":
        handle.detach()
    del handle
    assert thread.daemon
    tid = thread.native_id
    gate.store(1)
    gate.notify()
    thread.join()
    while os.path.exists(f"/proc/self/task/{tid}"):
        os.sched_yield()


def test_threads_spawn_threads() -> None:
    """A body spawns and joins others, of both kinds, several deep."""

    def body(depth: int) -> int:
        if depth == 0:
            return 1
        mine = ThreadHandle.spawn(body, depth - 1)
        theirs = threading.Thread(target=body, args=(depth - 1,))
        theirs.start()
        theirs.join()
        return mine.join() + 1

    assert spawned(body, 4) == 5
