"""EventLoop: who is called, when, in what order; what exceptions, closing, threads and signals do to it."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import select
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from support import INTERPRETER, handled, in_child, need, run_python, script, until_blocked

from rawsys.constants import IN_CREATE
from rawsys.errors import ClosedError
from rawsys.events import Epoll, EventLoop, Inotify, Timer, TimerFd
from rawsys.fd import Fd
from rawsys.process import Pid
from rawsys.signals import SignalFd, SignalFlag, SignalQueue, blocked

EPOLL_WAIT = 232
ONE = (1).to_bytes(8, "little")


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    with EventLoop() as made:
        yield made


@pytest.fixture
def fds() -> Iterator[Callable[..., Fd]]:
    """Makes eventfds that are closed after the test: `fds(1)` is ready, `fds()` is not."""
    with contextlib.ExitStack() as stack:

        def make(value: int = 0) -> Fd:
            return stack.enter_context(Fd.eventfd(value))

        yield make


@contextlib.contextmanager
def once_it_waits(action: Callable[[], object]) -> Iterator[None]:
    """`action` in another thread, as soon as the main thread waits in its loop."""

    def work() -> None:
        until_blocked(os.getpid(), EPOLL_WAIT)
        action()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def kill_main(number: int) -> Callable[[], None]:
    """What sends a signal to the main thread."""
    return lambda: signal.pthread_kill(threading.main_thread().ident or 0, number)


# ---- sources ----


def test_called_while_ready(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """A callback gets its source and the events, in each turn in which it is ready; turn() tells whether something was."""
    source, seen = fds(), []
    loop.register(source, lambda *told: seen.append(told))
    assert source in loop
    assert loop.turn(0) is False
    source.write(ONE)
    assert (loop.turn(), loop.turn(0)) == (True, True)
    assert seen == [(source, select.EPOLLIN)] * 2
    source.read(8)
    begin = time.monotonic_ns()
    assert loop.turn(0.01) is False
    assert time.monotonic_ns() - begin >= 10_000_000
    loop.modify(source, select.EPOLLOUT)
    assert loop.turn() is True
    assert seen[2:] == [(source, select.EPOLLOUT)]
    loop.unregister(source)
    assert source not in loop
    assert loop.turn(0) is False


def test_edge_and_oneshot(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """EPOLLET tells what is new, EPOLLONESHOT once until modify()."""
    edge, once = fds(1), fds(1)
    seen: list[Any] = []
    loop.register(edge, lambda source, _: seen.append(source), select.EPOLLIN | select.EPOLLET)
    loop.register(once, lambda source, _: seen.append(source), select.EPOLLIN | select.EPOLLONESHOT)
    for _ in range(3):
        loop.turn(0)
    assert sorted(map(id, seen)) == sorted([id(edge), id(once)])
    edge.write(ONE)
    loop.modify(once, select.EPOLLIN | select.EPOLLONESHOT)
    for _ in range(3):
        loop.turn(0)
    assert len(seen) == 4


def test_every_kind_of_source(loop: EventLoop, tmp_path: Path) -> None:
    """Fd, int, socket, Pid, SignalFd, SignalFlag, SignalQueue, TimerFd, Inotify, Epoll: each is called, and taken."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(blocked(signal.SIGWINCH))
        plain, number, inside = (enter(Fd.eventfd(1)) for _ in range(3))
        one, other = map(enter, socket.socketpair())
        fd, flag, queue = (
            enter(SignalFd(signal.SIGWINCH)),
            enter(SignalFlag(signal.SIGUSR1)),
            enter(SignalQueue(signal.SIGUSR2)),
        )
        timer, notes, inner = enter(TimerFd()), enter(Inotify()), enter(Epoll())
        notes.watch(tmp_path, IN_CREATE)
        inner.add(inside)
        child = Pid.fork(lambda: 3)
        stack.callback(child.wait)
        takes: dict[Any, Callable[[], object]] = {
            plain: lambda: plain.read(8),
            number.fileno(): lambda: number.read(8),
            one: lambda: one.recv(1),
            child: lambda: child.wait().code,
            fd: lambda: fd.get_nowait().signal,  # type: ignore[union-attr]
            flag: lambda: flag.clear(),
            queue: lambda: [info.signal for info in queue],
            timer: lambda: timer.get_nowait(),
            notes: lambda: [event.name for event in notes],
            inner: lambda: inner.wait(0) and inside.read(8),
        }
        seen: dict[Any, object] = {}

        def called(source: Any, events: int) -> None:
            assert events == select.EPOLLIN
            assert source not in seen
            seen[source] = takes[source]()
            if len(seen) == len(takes):
                loop.stop()

        for source in takes:
            loop.register(source, called)
        for which in (signal.SIGWINCH, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), which)
        other.send(b"x")
        timer.set(0)
        (tmp_path / "file").touch()
        loop.run()
        assert seen[child] == 3
        assert seen[notes] == ["file"]
        assert (seen[fd], seen[queue], seen[timer]) == (signal.SIGWINCH, [signal.SIGUSR2], 1)
        assert loop.turn(0) is True  # what stop() had woken it with, and the end of the child, which was reaped
        assert child not in loop
        assert loop.turn(0) is False


def test_twenty_children(loop: EventLoop) -> None:
    """Each end is told once, with its own process."""
    children = [Pid.fork(lambda code=code: code) for code in range(20)]
    codes: dict[int, int | None] = {}

    def ended(child: Pid, _: int) -> None:
        loop.unregister(child)
        codes[child.pid] = child.wait().code
        if len(codes) == 20:
            loop.stop()

    for child in children:
        loop.register(child, ended)
    loop.run()
    assert codes == {child.pid: code for code, child in enumerate(children)}
    assert repr(loop) == "<EventLoop 0 sources, 0 timers>"


def test_five_thousand_sources() -> None:
    """All that are ready are called equally often, whatever their number; one among them is found alone."""

    def child() -> list[Any]:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard < 5100:
            pytest.skip(f"needs room for 5,100 descriptors: the hard limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with contextlib.ExitStack() as stack, EventLoop() as loop:
            sources = [stack.enter_context(Fd.eventfd(1)) for _ in range(5000)]
            calls = dict.fromkeys(sources, 0)

            def called(source: Fd, _: int) -> None:
                calls[source] += 1

            for source in sources:
                loop.register(source, called)
            for _ in range(20):
                loop.turn(0)
            found: list[Any] = [min(calls.values()), max(calls.values()) <= 3]
            for source in sources:
                source.read(8)
            alone = sources[4321]
            alone.write(ONE)
            calls = dict.fromkeys(sources, 0)
            loop.turn()
            found += [calls[alone], sum(calls.values())]
            for source in sources:
                loop.unregister(source)
            return [*found, loop.turn(0), repr(loop)]

    assert in_child(child, deadline=50) == [2, True, 1, 1, False, "<EventLoop 0 sources, 0 timers>"]


# ---- sources that go ----


def test_unregistered_in_the_same_turn(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """What a callback unregisters is not called, although it was ready as well."""
    one, other, seen = fds(1), fds(1), []

    def called(source: Fd, _: int) -> None:
        seen.append(source)
        loop.unregister(other if source is one else one)

    loop.register(one, called)
    loop.register(other, called)
    loop.turn()
    assert len(seen) == 1


def test_closed_in_the_same_turn(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """What a callback closes is not called; its descriptor is closed, and nothing of it is left."""
    one, other, seen = fds(1), fds(1), []
    numbers = {one: one.fileno(), other: other.fileno()}

    def called(source: Fd, _: int) -> None:
        seen.append(source)
        (other if source is one else one).close()

    loop.register(one, called)
    loop.register(other, called)
    loop.turn()
    (first,) = seen
    gone = other if first is one else one
    assert not os.path.exists(f"/proc/self/fd/{numbers[gone]}")
    loop.unregister(gone)  # it is allowed to say so, although the loop has seen it
    loop.unregister(first)
    assert repr(loop) == "<EventLoop 0 sources, 0 timers>"


def test_newcomer_with_the_number_of_the_same_turn(loop: EventLoop) -> None:
    """An int closed and replaced by a callback: what the kernel told of the old one is not told of the new one."""
    numbers = [os.eventfd(1), os.eventfd(1)]
    seen: list[int] = []

    def newcomer(number: int, _: int) -> None:
        pytest.fail("not ready, but called")

    def called(number: int, _: int) -> None:
        seen.append(number)
        (other,) = set(numbers) - {number}
        loop.unregister(other)
        os.close(other)
        assert os.eventfd(0) == other
        loop.register(other, newcomer)

    for number in numbers:
        loop.register(number, called)
    loop.turn()
    assert len(seen) == 1
    for number in numbers:
        loop.unregister(number)
        os.close(number)


def test_closed_without_a_word(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """A source that was closed is let go by its next event, with its callback and what that refers to."""

    class Big:
        def called(self, source: Fd, _: int) -> None:
            pytest.fail("called for a closed source")

    big, source = Big(), fds(1)
    there = weakref.ref(big)
    loop.register(source, big.called)
    source.close()
    del big
    assert loop.turn(0) is True  # something came, and was nobody's
    assert there() is None
    loop.unregister(source)


def test_registered_again_after_it_was_unregistered(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """The new callback is called, the old one is not, also within one turn."""
    source, seen = fds(1), []

    def first(*_: object) -> None:
        seen.append("first")
        loop.unregister(source)
        loop.register(source, lambda *_: seen.append("second"))

    loop.register(source, first)
    loop.turn()
    loop.turn()
    assert seen == ["first", "second"]


# ---- times ----


def test_not_early_and_in_order(loop: EventLoop) -> None:
    """Calls are made in the order of their times, those for one time as they were asked for, none a nanosecond early."""
    made: list[tuple[int, int]] = []
    now = time.monotonic()
    times = [now + 0.02, now + 0.005, now + 0.005, now, now - 5, 0, now + 0.01, now + 0.005]
    timers = [
        loop.call_at(when, lambda number: made.append((number, time.monotonic_ns())), number)
        for number, when in enumerate(times)
    ]
    loop.call_later(0.03, loop.stop)
    loop.run()
    assert [number for number, _ in made] == [5, 4, 3, 1, 2, 7, 6, 0]
    assert all(at >= timers[number].when_ns for number, at in made)
    assert not any(timer.active for timer in timers)
    assert repr(timers[0]) == "<Timer over>"


def test_times_of_equal_nanoseconds_keep_their_order(loop: EventLoop) -> None:
    """A thousand calls for one time, with cancelled ones among them."""
    made: list[int] = []
    when = time.monotonic() + 0.005
    timers = [loop.call_at(when, made.append, number) for number in range(1000)]
    for timer in timers[::3]:
        timer.cancel()
    while len(made) < 666:
        loop.turn()
    assert made == [number for number in range(1000) if number % 3]


@pytest.mark.parametrize("huge", [1e12, 1e300, float("inf"), 10**30])
def test_huge_times(loop: EventLoop, huge: float) -> None:
    """Later than the clock lasts is for ever, and does not keep others from being called."""
    made: list[str] = []
    far = [loop.call_at(huge, made.append, "far"), loop.call_later(huge, made.append, "far")]
    loop.call_later(0.001, made.append, "near")
    while not made:
        loop.turn()
    assert made == ["near"]
    assert loop.turn(0) is False
    assert all(timer.active for timer in far)
    assert repr(loop) == "<EventLoop 0 sources, 2 timers>"


def test_an_earlier_time_comes_first(loop: EventLoop) -> None:
    """A time that is set while another one is armed, before or after it, by a callback too."""
    made: list[str] = []
    loop.call_later(1000, made.append, "late")
    assert loop.turn(0) is False
    soon = loop.call_later(0.001, lambda: loop.call_later(0.001, loop.stop))
    loop.run()
    assert (made, soon.active) == ([], False)


def test_cancelled(loop: EventLoop) -> None:
    """A cancelled call is not made, also when another one of its turn cancels it; what it refers to is let go at once."""

    class Big:
        pass

    made: list[str] = []
    big = Big()
    there = weakref.ref(big)
    timer = loop.call_later(1000, made.append, big)
    del big
    timer.cancel()
    timer.cancel()
    assert (there(), timer.active) == (None, False)
    victims: list[Timer] = []
    loop.call_at(0, lambda: [victim.cancel() for victim in victims])
    victims += [loop.call_at(0, made.append, "victim"), loop.call_later(1000, made.append, "victim")]
    done = loop.call_at(0, made.append, "other")
    assert loop.turn() is True
    done.cancel()
    assert made == ["other"]
    assert repr(loop) == "<EventLoop 0 sources, 0 timers>"
    assert loop.turn(0) is False


def test_many_cancelled_leave_no_heap(loop: EventLoop) -> None:
    """100,000 timeouts that are set and cancelled, as a server does: the heap stays as small as what is active."""
    keep = [loop.call_later(1000 + number, print) for number in range(50)]
    largest = 0
    for number in range(100_000):
        loop.call_later(500 + number % 7, print).cancel()
        largest = max(largest, len(loop._heap))
    assert largest <= 2 * (len(keep) + 64)
    assert loop._cancelled == sum(not entry[2].active for entry in loop._heap)
    batch = [loop.call_later(10, print) for _ in range(10_000)]
    for timer in batch:
        timer.cancel()
    loop.turn(0)
    assert len(loop._heap) == 50
    assert loop._cancelled == 0


def test_swept_while_calls_are_due(loop: EventLoop) -> None:
    """The count of cancelled ones is right when the heap is swept by a call that is due beside cancelled ones."""
    victims: list[Timer] = []

    def many() -> None:
        for victim in victims:
            victim.cancel()
        for _ in range(500):
            loop.call_later(1000, print).cancel()

    loop.call_at(0, many)
    victims += [loop.call_at(0, pytest.fail) for _ in range(100)]
    loop.turn()
    assert loop._cancelled == sum(not entry[2].active for entry in loop._heap)


def test_repeated_past_times_starve_nobody(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """Calls that ask for themselves again at once: each turn makes them once, and sources and later times have theirs."""
    source, seen = fds(1), []

    def again() -> None:
        seen.append("again")
        loop.call_at(0, again)

    def soon() -> None:
        seen.append("soon")
        loop.call_soon(soon)

    loop.register(source, lambda *_: seen.append("source"))
    loop.call_at(0, again)
    loop.call_at(time.monotonic(), seen.append, "due")
    loop.call_soon(soon)
    for _ in range(3):
        loop.turn()
    assert {name: seen.count(name) for name in set(seen)} == {"again": 3, "soon": 3, "source": 3, "due": 1}


# ---- call_soon and stop ----


def test_call_soon(loop: EventLoop) -> None:
    """Calls are made in their order, with their arguments, in one turn; what they add in the next one."""
    made: list[Any] = []
    for number in range(3):
        loop.call_soon(made.append, number)
    loop.call_soon(lambda: loop.call_soon(made.append, "next"))
    assert loop.turn() is True
    assert made == [0, 1, 2]
    assert loop.turn() is True
    assert made == [0, 1, 2, "next"]
    assert loop.turn(0) is False


@pytest.mark.parametrize("how", ["stop", "call_soon"])
def test_from_another_thread(loop: EventLoop, how: str) -> None:
    """It wakes a loop that waits."""
    with once_it_waits(loop.stop if how == "stop" else lambda: loop.call_soon(loop.stop)):
        loop.run()


def test_many_threads_call_soon(loop: EventLoop) -> None:
    """Nothing is lost, and each thread's calls keep their order."""
    made: list[tuple[int, int]] = []

    def work(thread: int) -> None:
        for number in range(1000):
            loop.call_soon(made.append, (thread, number))
        loop.call_soon(ends.append, thread)

    ends: list[int] = []
    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    while len(ends) < 4:
        loop.turn(20)
    for thread in threads:
        thread.join()
    assert [sorted(n for t, n in made if t == which) for which in range(4)] == [list(range(1000))] * 4
    assert all([n for t, n in made if t == which] == list(range(1000)) for which in range(4))


@pytest.mark.parametrize("how", ["stop", "call_soon"])
def test_from_a_signal_handler(loop: EventLoop, how: str) -> None:
    """A Python handler that runs while the loop waits ends that wait."""
    action = loop.stop if how == "stop" else lambda: loop.call_soon(loop.stop)
    with handled(signal.SIGUSR1, lambda *_: action()), once_it_waits(kill_main(signal.SIGUSR1)):
        loop.run()


def test_from_a_signal_owner(loop: EventLoop) -> None:
    """A SignalFlag as a source stops it."""
    with SignalFlag(signal.SIGTERM) as flag:
        loop.register(flag, lambda *_: loop.stop())
        with once_it_waits(kill_main(signal.SIGTERM)):
            loop.run()
        assert flag
        loop.unregister(flag)


def test_handler_that_raises(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """Ctrl-C leaves run(); run again, and all that was there is there."""
    source, seen = fds(), []

    def interrupt(*_: object) -> None:
        source.write(ONE)
        raise KeyboardInterrupt

    def called(*_: object) -> None:
        seen.append(source.read(8))
        loop.stop()

    loop.register(source, called)
    with handled(signal.SIGUSR1, interrupt), once_it_waits(kill_main(signal.SIGUSR1)), pytest.raises(KeyboardInterrupt):
        loop.run()
    loop.run()
    assert seen == [ONE]


def test_stop_ends_the_turn_that_it_is_in_or_the_next_run(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """All of the turn is called; stop() before run() ends that; a stop ends one run only."""
    seen: list[Any] = []

    def called(source: Fd, _: int) -> None:
        seen.append(source)
        loop.stop()

    sources = [fds(1) for _ in range(3)]
    for source in sources:
        loop.register(source, called)
    loop.run()
    assert sorted(map(id, seen)) == sorted(map(id, sources))
    for source in sources:
        loop.unregister(source)
    loop.stop()
    loop.stop()
    loop.run()
    loop.call_later(0.001, loop.stop)
    loop.call_soon(seen.clear)
    loop.run()
    assert seen == []


def test_woken_more_often_than_can_be_counted(loop: EventLoop) -> None:
    """An eventfd that is full is awake already: neither an error nor a wait."""
    loop._wake.write((2**64 - 2).to_bytes(8, "little"))
    loop.call_soon(loop.stop)
    loop.run()


# ---- exceptions ----


@pytest.mark.parametrize(
    "events", [select.EPOLLIN, select.EPOLLIN | select.EPOLLET, select.EPOLLIN | select.EPOLLONESHOT]
)
def test_callback_that_raises(loop: EventLoop, fds: Callable[..., Fd], events: int) -> None:
    """It leaves run(); what was ready beside it is called by the next run, edges and one-shots too."""
    seen: list[Fd] = []

    def called(source: Fd, _: int) -> None:
        source.read(8)
        seen.append(source)
        if len(seen) == 3:
            loop.stop()
        raise KeyError(len(seen))

    for _ in range(3):
        loop.register(fds(1), called, events)
    for number in (1, 2, 3):
        with pytest.raises(KeyError) as caught:
            loop.run()
        assert caught.value.args == (number,)
    assert len(set(seen)) == 3
    loop.run()  # the stop of the third is still to be obeyed
    assert len(seen) == 3


def test_timed_call_that_raises(loop: EventLoop) -> None:
    """The others of its turn are made by the next one, in their order, and can still be cancelled."""
    made: list[Any] = []

    def fail() -> None:
        made.append("fail")
        raise KeyError("mine")

    loop.call_at(1, fail)
    cancelled = loop.call_at(2, made.append, "cancelled")
    loop.call_at(3, fail)
    loop.call_at(4, made.append, "last")
    with pytest.raises(KeyError):
        loop.turn()
    cancelled.cancel()
    with pytest.raises(KeyError):
        loop.turn()
    assert loop.turn() in (True, False)
    assert made == ["fail", "fail", "last"]
    assert loop.turn(0) is False
    assert loop._cancelled == 0


def test_soon_call_that_raises(loop: EventLoop) -> None:
    """The others are made by the next turn, which does not wait for something to happen first."""
    made: list[str] = []
    loop.call_soon(lambda: 1 // 0)
    loop.call_soon(made.append, "other")
    with pytest.raises(ZeroDivisionError):
        loop.turn()
    assert loop.turn(20) is True
    assert made == ["other"]


# ---- what is refused ----


def test_run_inside_run(loop: EventLoop) -> None:
    """RuntimeError for run and turn in a callback; the loop goes on."""
    seen: list[Any] = []

    def nested() -> None:
        for attempt in (loop.run, loop.turn, lambda: loop.turn(0)):
            with pytest.raises(RuntimeError, match="running already"):
                attempt()
            seen.append(1)
        loop.stop()

    loop.call_soon(nested)
    loop.run()
    loop.call_soon(nested)
    assert loop.turn() is True
    assert len(seen) == 6


def test_a_loop_in_a_loop(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """Another loop may run in a callback of the first."""
    seen: list[int] = []
    with EventLoop() as inner:
        inner.register(fds(1), lambda *_: (seen.append(1), inner.stop()))
        loop.call_soon(inner.run)
        loop.call_soon(loop.stop)
        loop.run()
    assert seen == [1]


def test_wrong_arguments(loop: EventLoop, fds: Callable[..., Fd], tmp_path: Path) -> None:
    """Each is told where it is made, not when it would be called, and nothing is left of it."""
    source, other = fds(), fds()
    loop.register(source, print)
    with Fd.open(tmp_path, os.O_RDONLY) as folder:
        for problem, attempt in (
            (ValueError, lambda: loop.register(source, print)),
            (TypeError, lambda: loop.register(other, None)),  # type: ignore[arg-type]
            (TypeError, lambda: loop.register("x", print)),  # type: ignore[arg-type]
            (PermissionError, lambda: loop.register(folder, print)),
            (FileExistsError, lambda: loop.register(source.fileno(), print)),
            (KeyError, lambda: loop.unregister(other)),
            (KeyError, lambda: loop.modify(other, 1)),
            (OverflowError, lambda: loop.register(other, print, -1)),
            (ValueError, lambda: loop.call_later(-1, print)),
            (ValueError, lambda: loop.call_later(float("nan"), print)),
            (TypeError, lambda: loop.call_later(None, print)),  # type: ignore[arg-type]
            (TypeError, lambda: loop.call_later("1", print)),  # type: ignore[arg-type]
            (TypeError, lambda: loop.call_later(1, 2)),  # type: ignore[arg-type]
            (ValueError, lambda: loop.call_at(-1, print)),
            (TypeError, lambda: loop.call_at(None, print)),  # type: ignore[arg-type]
            (TypeError, lambda: loop.call_soon("x")),  # type: ignore[arg-type]
            (ValueError, lambda: loop.turn(-1)),
            (TypeError, lambda: loop.turn("1")),  # type: ignore[arg-type]
        ):
            with pytest.raises(problem):
                attempt()
    assert repr(loop) == "<EventLoop 1 sources, 0 timers>"
    assert loop.turn(0) is False


def test_closed(fds: Callable[..., Fd]) -> None:
    """After close() each use is ClosedError, close() again and cancel() do nothing."""
    source = fds()
    loop = EventLoop()
    loop.register(source, print)
    timer = loop.call_later(1, print)
    loop.close()
    loop.close()
    for attempt in (
        loop.run,
        loop.turn,
        loop.stop,
        lambda: loop.call_soon(print),
        lambda: loop.call_at(0, print),
        lambda: loop.call_later(0, print),
        lambda: loop.register(source, print),
        lambda: loop.unregister(source),
        lambda: loop.modify(source, 1),
        loop.__enter__,
    ):
        with pytest.raises(ClosedError):
            attempt()
    timer.cancel()
    assert repr(loop) == "<EventLoop closed>"
    assert not source.closed


@pytest.mark.parametrize("where", ["source", "time", "soon"])
def test_closed_by_a_callback(fds: Callable[..., Fd], where: str) -> None:
    """Nothing more is called, and run() ends with ClosedError."""
    loop = EventLoop()
    calls: list[int] = []

    def close(*_: object) -> None:
        calls.append(1)
        loop.close()

    for _ in range(3):
        if where == "source":
            loop.register(fds(1), close)
        elif where == "time":
            loop.call_at(0, close)
        else:
            loop.call_soon(close)
    with pytest.raises(ClosedError):
        loop.run()
    assert calls == [1]


def test_forgotten_in_a_cycle_with_its_callbacks(fds: Callable[..., Fd]) -> None:
    """A loop whose callbacks refer to it is collected, with one warning; its sources stay open."""
    source = fds()

    def make() -> weakref.ref[EventLoop]:
        loop = EventLoop()
        loop.register(source, lambda *_: loop.stop())
        loop.call_later(1000, loop.stop)
        return weakref.ref(loop)

    there = make()
    with pytest.warns(ResourceWarning, match="unclosed <EventLoop 1 sources, 1 timers>") as caught:
        gc.collect()
    assert len(caught) == 1
    assert there() is None
    source.write(ONE)


@pytest.mark.parametrize("free", [0, 1, 2])
def test_no_descriptor_is_left(free: int) -> None:
    """EMFILE at each of its three: OSError, and what was made is closed again."""

    def child() -> list[Any]:
        fillers = [os.dup(0) for _ in range(8)]
        limit = max(fillers) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        for number in fillers[:free]:
            os.close(number)
        with pytest.raises(OSError) as caught:
            EventLoop()
        gc.collect()
        again = []
        with contextlib.suppress(OSError):
            while True:
                again.append(os.dup(0))
        return [caught.value.errno, len(again)]

    assert in_child(child) == [errno.EMFILE, free]


def test_child_of_fork_closes_its_own(loop: EventLoop, fds: Callable[..., Fd]) -> None:
    """A forked child that closes the loop takes nothing from its parent's, and makes one of its own."""
    source, seen = fds(), []
    loop.register(source, lambda *told: seen.append(told))
    timer = loop.call_later(0.001, seen.append, "timer")

    def child() -> list[str]:
        loop.close()
        made: list[str] = []
        with EventLoop() as own:
            own.register(source, lambda *_: made.append("source"))
            own.call_later(0.001, own.stop)
            own.call_soon(source.write, ONE)
            own.run()
        return sorted(set(made))

    assert in_child(child) == ["source"]
    while timer.active or len(seen) < 2:
        loop.turn(20)
    assert (source, select.EPOLLIN) in seen
    assert "timer" in seen


# ---- no tick ----


def _traced(tmp_path: Path, code: str) -> list[str]:
    """The system calls that strace shows between the two getppid() of a script, without their arguments."""
    log = tmp_path / "log"
    done = subprocess.run(
        [need("strace"), "-f", "-qq", "-o", str(log), INTERPRETER, "-c", script(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"strace cannot trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1)[1].lstrip() for line in log.read_text().splitlines()]
    marks = [place for place, line in enumerate(lines) if line.startswith("getppid(")]
    assert len(marks) == 2
    return [line.partition("(")[0] for line in lines[marks[0] + 1 : marks[1]]]


_SETTING = """
    import time
    from rawsys import Fd, raw
    from rawsys.events import EventLoop
    loop = EventLoop()
    sources = [Fd.eventfd() for _ in range(100)]
    for source in sources:
        loop.register(source, print)
    loop.call_later(1000, print)
    loop.turn(0)
    {}
    raw.getppid()
    {}
    raw.getppid()
    loop.close()
    for source in sources:
        source.close()
"""


def test_idle_loop_makes_one_call(tmp_path: Path) -> None:
    """strace of a second in which nothing happens, with 100 sources and a timer: the one call that waits."""
    assert _traced(tmp_path, _SETTING.format("", "loop.turn(1)")) == ["epoll_pwait2"]


def test_calls_of_a_timer(tmp_path: Path) -> None:
    """A timed call that stops the loop: the timer is set, waited for and read, and stop() writes; there is no tick."""
    calls = _traced(tmp_path, _SETTING.format("loop.call_later(1, loop.stop)", "loop.run()"))
    assert calls == ["timerfd_settime", "epoll_wait", "read", "write"]


def test_calls_of_a_ready_source(tmp_path: Path) -> None:
    """A turn with a source that is ready is one call."""
    setting = "loop.unregister(sources[0]); loop.register(sources[0], lambda *_: None); sources[0].write((1).to_bytes(8, 'little'))"
    assert _traced(tmp_path, _SETTING.format(setting, "loop.turn()")) == ["epoll_wait"]


# ---- a model ----


class Model(RuleBasedStateMachine):
    """Pipes, times and soon-calls that come and go in any order: each turn calls what the model says, no more, no less."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = EventLoop()
        self.pipes: dict[int, tuple[Fd, Fd]] = {}
        self.registered: set[int] = set()
        self.full: set[int] = set()
        self.timers: dict[int, tuple[float, Timer]] = {}
        self.soon: list[int] = []
        self.count = 0
        self.called: list[int] = []
        self.made: list[int] = []
        self.did_soon: list[int] = []

    def teardown(self) -> None:
        self.loop.close()
        for pipe in self.pipes.values():
            for end in pipe:
                end.close()

    def _new(self) -> int:
        self.count += 1
        return self.count

    @rule()
    def open_pipe(self) -> None:
        name = self._new()
        self.pipes[name] = Fd.pipe()
        self.loop.register(self.pipes[name][0], lambda *_: self.called.append(name))
        self.registered.add(name)

    @rule(data=st.data())
    def fill_or_empty(self, data: st.DataObject) -> None:
        if self.pipes:
            name = data.draw(st.sampled_from(sorted(self.pipes)))
            reading, writing = self.pipes[name]
            if name in self.full:
                reading.read(1)
            else:
                writing.write(b"x")
            self.full ^= {name}

    @rule(data=st.data())
    def register_or_unregister(self, data: st.DataObject) -> None:
        if self.pipes:
            name = data.draw(st.sampled_from(sorted(self.pipes)))
            if name in self.registered:
                self.loop.unregister(self.pipes[name][0])
            else:
                self.loop.register(self.pipes[name][0], lambda *_: self.called.append(name))
            self.registered ^= {name}

    @rule(data=st.data(), tell=st.booleans())
    def close_pipe(self, data: st.DataObject, tell: bool) -> None:
        if self.pipes:
            name = data.draw(st.sampled_from(sorted(self.pipes)))
            reading, writing = self.pipes.pop(name)
            if tell and name in self.registered:
                self.loop.unregister(reading)
            reading.close()
            writing.close()
            self.registered.discard(name)
            self.full.discard(name)

    @rule(when=st.sampled_from([0, 1, 2, 1e12]))
    def call_at(self, when: float) -> None:
        name = self._new()
        self.timers[name] = when, self.loop.call_at(when, self.made.append, name)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.timers:
            self.timers.pop(data.draw(st.sampled_from(sorted(self.timers))))[1].cancel()

    @rule()
    def call_soon(self) -> None:
        name = self._new()
        self.soon.append(name)
        self.loop.call_soon(self.did_soon.append, name)

    @rule()
    def turn(self) -> None:
        self.loop.turn(0)
        assert sorted(self.called) == sorted(self.registered & self.full)
        due = [(when, name) for name, (when, _) in self.timers.items() if when < 1e12]
        assert self.made == [name for _, name in sorted(due)]
        assert self.did_soon == self.soon
        for name in self.made:
            del self.timers[name]
        for seen in (self.called, self.made, self.did_soon, self.soon):
            seen.clear()
        assert repr(self.loop).endswith(f" {len(self.timers)} timers>")


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_import_is_cheap() -> None:
    """rawsys.events brings neither asyncio nor the tables of constants."""
    done = run_python("import sys, rawsys.events; print(sorted(sys.modules.keys() & {'asyncio', 'rawsys.constants'}))")
    assert (done.stdout, done.stderr) == ("[]\n", "")
