"""Epoll: what is told, of whom, and what becomes of sources that are closed while they are watched."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import fail_calls, few_descriptors, handled, in_child, until_blocked

from rawsys import Command, constants
from rawsys.errors import ClosedError
from rawsys.events import Epoll, TimerFd, _numbers
from rawsys.events import epoll as epoll_module
from rawsys.fd import Fd
from rawsys.process import Pid
from rawsys.signals import SignalFd, SignalFlag, SignalQueue, blocked

IN, OUT, ERR, HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP
EPOLL_WAIT, EPOLL_PWAIT2 = 232, 441


@contextlib.contextmanager
def pipe() -> Iterator[tuple[Fd, Fd]]:
    """A pipe whose ends are closed afterwards."""
    reading, writing = Fd.pipe(os.O_NONBLOCK)
    with reading, writing:
        yield reading, writing


def watched_by(epoll: Epoll) -> list[int]:
    """The numbers that the kernel has in an epoll."""
    with open(f"/proc/self/fdinfo/{epoll.fileno()}") as file:
        return sorted(int(line.split()[1]) for line in file if line.startswith("tfd:"))


# ---- what is told ----


def test_level() -> None:
    """A source is told as long as it is ready, with its events, and not when it is not."""
    with pipe() as (reading, writing), Epoll() as epoll:
        epoll.add(reading)
        assert epoll.wait(0) == []
        writing.write(b"xy")
        assert epoll.wait() == epoll.wait() == epoll.wait(0) == [(reading, IN)]
        reading.read(1)
        assert epoll.wait(1) == [(reading, IN)]
        reading.read(1)
        assert epoll.wait(0.001) == []
        writing.close()
        assert epoll.wait() == [(reading, HUP)]


def test_edge() -> None:
    """With EPOLLET what is new is told once."""
    with pipe() as (reading, writing), Epoll() as epoll:
        epoll.add(reading, IN | select.EPOLLET)
        for _ in range(2):
            writing.write(b"x")
            assert (epoll.wait(5), epoll.wait(0)) == ([(reading, IN)], [])


def test_oneshot() -> None:
    """With EPOLLONESHOT it is told once, until modify() asks again."""
    with pipe() as (reading, writing), Epoll() as epoll:
        epoll.add(reading, IN | select.EPOLLONESHOT)
        writing.write(b"x")
        for _ in range(2):
            assert (epoll.wait(5), epoll.wait(0)) == ([(reading, IN)], [])
            epoll.modify(reading, IN | select.EPOLLONESHOT)


def test_modify_and_remove() -> None:
    """modify() changes what is waited for, remove() ends it; 0 leaves errors and hang-ups."""
    one, other = Fd.socketpair()
    with one, other, Epoll() as epoll:
        epoll.add(one, OUT)
        assert epoll.wait(0) == [(one, OUT)]
        epoll.modify(one, 0)
        other.write(b"x")
        assert epoll.wait(0) == []
        epoll.modify(one, IN | OUT)
        assert epoll.wait(0) == [(one, IN | OUT)]
        assert one in epoll
        assert other not in epoll
        epoll.remove(one)
        assert (one in epoll, len(epoll), epoll.wait(0), watched_by(epoll)) == (False, 0, [], [])
        epoll.add(one, 0)
        other.close()
        assert epoll.wait(1) == [(one, HUP)]


def test_error_is_told_unasked() -> None:
    """The writing end of a pipe without readers is ready with EPOLLERR."""
    with pipe() as (reading, writing), Epoll() as epoll:
        epoll.add(writing, 0)
        assert epoll.wait(0) == []
        reading.close()
        assert epoll.wait(1) == [(writing, ERR)]


def test_every_kind_of_source() -> None:
    """Fd, int, socket, file object, Pid, SignalFd, SignalFlag, SignalQueue, TimerFd, another Epoll: each told as itself."""
    flagged, queued, pending = signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        epoll = enter(Epoll())
        plain, number, file = (enter(Fd.eventfd(1)) for _ in range(3))
        one, other = socket.socketpair()
        enter(one), enter(other)
        other.send(b"x")
        timer, inner = enter(TimerFd()), enter(Epoll())
        timer.set(0)
        inner.add(timer)
        enter(blocked(pending))
        fd, flag, queue = enter(SignalFd(pending)), enter(SignalFlag(flagged)), enter(SignalQueue(queued))
        child = Pid.fork(lambda: None)
        stack.callback(child.wait)
        opened = enter(os.fdopen(os.dup(file.fileno()), "rb", buffering=0))
        sources = [plain, number.fileno(), one, opened, child, fd, flag, queue, timer, inner]
        for source in sources:
            epoll.add(source)
        for which in (flagged, queued, pending):
            os.kill(os.getpid(), which)
        told: list[Any] = []
        while len(told) < len(sources):
            for source, events in epoll.wait(5):
                told.append(source)
                epoll.remove(source)
                assert events == IN
        assert sorted(map(id, told)) == sorted(map(id, sources))
        assert fd.get_nowait()
        assert epoll.wait(0) == []


def test_at_most() -> None:
    """`most` events are told at once, the others by the next waits: none is left out."""
    with contextlib.ExitStack() as stack:
        epoll = stack.enter_context(Epoll())
        sources = [stack.enter_context(Fd.eventfd(1)) for _ in range(10)]
        for source in sources:
            epoll.add(source)
        told: set[Any] = set()
        for _ in range(4):
            found = epoll.wait(0, most=3)
            assert len(found) == 3
            told |= {source for source, _ in found}
        assert told == set(sources)
        assert len(epoll.wait(0, most=10_000)) == 10


@few_descriptors
def test_more_than_one_call_takes() -> None:
    """Of 600 that are ready, a wait tells 512; all are told by the second."""
    with contextlib.ExitStack() as stack:
        epoll = stack.enter_context(Epoll())
        sources = [stack.enter_context(Fd.eventfd(1)) for _ in range(600)]
        for source in sources:
            epoll.add(source)
        first, second = epoll.wait(0), epoll.wait(0)
        assert (len(first), len(second)) == (512, 512)
        assert {source for source, _ in first + second} == set(sources)


def test_nested() -> None:
    """An Epoll is ready while one of its sources is; a circle is refused."""
    with pipe() as (reading, writing), Epoll() as outer, Epoll() as inner:
        inner.add(reading)
        outer.add(inner)
        assert outer.wait(0) == []
        writing.write(b"x")
        assert outer.wait() == [(inner, IN)]
        with pytest.raises(OSError) as caught:
            inner.add(outer)
        assert caught.value.errno == errno.ELOOP
        assert outer not in inner
        with pytest.raises(OSError) as caught:
            inner.add(inner)
        assert caught.value.errno == errno.EINVAL


# ---- waiting ----


@pytest.mark.parametrize(("timeout", "number"), [(None, EPOLL_WAIT), (60, EPOLL_PWAIT2), (float("inf"), EPOLL_PWAIT2)])
def test_goes_on_after_a_signal(timeout: float | None, number: int) -> None:
    """A signal runs its Python handler, and the wait goes on; an exception of the handler ends it."""
    main = threading.main_thread().ident
    assert main
    with pipe() as (reading, writing), Epoll() as epoll:
        epoll.add(reading)

        def send() -> None:
            until_blocked(os.getpid(), number)
            signal.pthread_kill(main, signal.SIGUSR1)

        for action, outcome in ((lambda *_: writing.write(b"x"), [(reading, IN)]), (lambda *_: 1 / 0, None)):
            thread = threading.Thread(target=send)
            with handled(signal.SIGUSR1, action):
                thread.start()
                try:
                    if outcome:
                        assert epoll.wait(timeout) == outcome
                        reading.read(1)
                    else:
                        with pytest.raises(ZeroDivisionError):
                            epoll.wait(timeout)
                finally:
                    thread.join()


def test_deadline_holds_under_signals() -> None:
    """Interrupted again and again, a wait ends when its time is over: not earlier, to the nanosecond."""
    ticks: list[int] = []
    with Epoll() as epoll, handled(signal.SIGALRM, lambda *_: ticks.append(1)):
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            begin = time.monotonic_ns()
            assert epoll.wait(0.1) == []
            passed = time.monotonic_ns() - begin
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(ticks) >= 3
    assert 100_000_000 <= passed < 3_000_000_000


def test_threads_wait_on_one() -> None:
    """Two threads in one Epoll: each event with EPOLLONESHOT is told to one, with its own source."""
    with contextlib.ExitStack() as stack:
        epoll = stack.enter_context(Epoll())
        ends = stack.enter_context(pipe())
        sources = [stack.enter_context(Fd.eventfd(1)) for _ in range(200)]
        told: list[Any] = []
        problems: list[BaseException] = []

        def work() -> None:
            try:
                while True:
                    for source, _ in epoll.wait(30, most=3):
                        if source is ends[0]:
                            return
                        told.append(source)
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for source in sources:
            epoll.add(source, IN | select.EPOLLONESHOT)
        while len(told) < len(sources) and not problems and any(map(threading.Thread.is_alive, threads)):
            os.sched_yield()
        epoll.add(ends[0])
        ends[1].write(b"x")
        for thread in threads:
            thread.join()
        assert problems == []
        assert sorted(map(id, told)) == sorted(map(id, sources))


def test_added_while_another_thread_waits() -> None:
    """What is added, or changed, during a wait is told by that wait."""
    with pipe() as (reading, writing), Epoll() as epoll:
        writing.write(b"x")
        epoll.add(reading, 0)

        def change() -> None:
            until_blocked(os.getpid(), EPOLL_WAIT)
            epoll.modify(reading, IN)

        thread = threading.Thread(target=change)
        thread.start()
        assert epoll.wait() == [(reading, IN)]
        thread.join()


# ---- closed while they are watched ----


def test_closed_owner_is_let_go_at_its_event() -> None:
    """An owner that was closed keeps its number until it is removed; its next event removes it, and is not told."""
    with pipe() as (reading, writing), Epoll() as epoll:
        epoll.add(reading)
        number = reading.fileno()
        reading.close()
        assert os.path.exists(f"/proc/self/fd/{number}")
        assert len(epoll) == 1
        writing.write(b"x")
        assert epoll.wait(0.001) == []
        assert len(epoll) == 0
        assert not os.path.exists(f"/proc/self/fd/{number}")
        with pytest.raises(KeyError):
            epoll.remove(reading)


def test_closed_owner_is_let_go_by_remove() -> None:
    """remove() of a closed owner closes its descriptor; a newcomer gets the number only then."""
    with pipe() as (reading, _writing), Epoll() as epoll:
        epoll.add(reading)
        number = reading.fileno()
        reading.close()
        with Fd.eventfd(1) as newcomer:
            assert newcomer.fileno() != number
        epoll.remove(reading)
        with Fd.eventfd(1) as newcomer:
            assert newcomer.fileno() == number
            assert epoll.wait(0) == []
            epoll.add(newcomer)
            assert epoll.wait(0) == [(newcomer, IN)]


def test_closing_the_epoll_lets_everybody_go() -> None:
    """Sources that were closed are closed by the kernel then; the others stay open."""
    with pipe() as (reading, writing):
        with Epoll() as epoll:
            epoll.add(reading)
            epoll.add(writing)
            number = reading.fileno()
            reading.close()
        assert not os.path.exists(f"/proc/self/fd/{number}")
        with pytest.raises(BrokenPipeError):
            writing.write(b"x")


def test_reaped_child_is_let_go() -> None:
    """A Pid that was waited for is told no more, without being removed."""
    with Epoll() as epoll:
        child = Pid.fork(lambda: 7)
        epoll.add(child)
        assert epoll.wait(10) == [(child, IN)]
        assert child.wait().code == 7
        assert epoll.wait(0) == []
        assert len(epoll) == 0


def test_number_of_a_closed_int_is_another_ones() -> None:
    """An int whose user closed it is forgotten by the kernel; remove() does not hit the newcomer of that number."""
    with Epoll() as epoll:
        number = os.eventfd(1)
        epoll.add(number)
        os.close(number)
        with Fd.eventfd(1) as newcomer:
            assert newcomer.fileno() == number
            assert epoll.wait(0) == []
            epoll.add(newcomer)
            epoll.remove(number)
            assert watched_by(epoll) == [number]
            assert epoll.wait(0) == [(newcomer, IN)]
            epoll.remove(newcomer)
            assert watched_by(epoll) == []


def test_closed_flag_does_not_take_a_stranger_away() -> None:
    """A SignalFlag that closed its own descriptor: removing it afterwards leaves who has its number."""
    with Epoll() as epoll:
        flag = SignalFlag(signal.SIGUSR1)
        number = flag.fileno()
        epoll.add(flag)
        flag.close()
        with Fd.eventfd(1) as newcomer:
            assert newcomer.fileno() == number
            epoll.add(newcomer)
            epoll.remove(flag)
            assert epoll.wait(0) == [(newcomer, IN)]


def test_int_again_after_it_was_closed() -> None:
    """A number that is watched has to be removed before its next owner is watched under it."""
    with Epoll() as epoll:
        number = os.eventfd(1)
        epoll.add(number)
        os.close(number)
        assert os.eventfd(1) == number
        try:
            with pytest.raises(ValueError, match="watched already"):
                epoll.add(number)
            with pytest.raises(FileNotFoundError):
                epoll.modify(number, IN)
            epoll.remove(number)
            epoll.add(number)
            assert epoll.wait(0) == [(number, IN)]
            epoll.remove(number)
        finally:
            os.close(number)


@pytest.mark.parametrize("removed", ["closed then removed", "with a newcomer of its number"])
def test_number_that_lives_on_in_a_duplicate(removed: str) -> None:
    """The kernel cannot be told to forget it; an Epoll tells nothing of it, and its waits still wait."""
    with pipe() as (reading, writing), Epoll() as epoll, Fd.eventfd(1) as duplicate:
        epoll.add(reading)
        number = os.dup(duplicate.fileno())
        epoll.add(number)
        os.close(number)
        newcomer = Fd.eventfd(0)
        assert newcomer.fileno() == number
        with newcomer:
            if removed != "closed then removed":
                epoll.add(newcomer)
            epoll.remove(number)
            begin, used = time.monotonic(), time.process_time()
            assert epoll.wait(0.1) == []
            assert time.monotonic() - begin >= 0.1
            assert time.process_time() - used < 0.09
            writing.write(b"x")
            newcomer.write((1).to_bytes(8, "little"))
            expected: set[Any] = {reading} if newcomer not in epoll else {reading, newcomer}
            assert {source for source, _ in epoll.wait(1)} == expected


def test_id_of_one_that_is_gone() -> None:
    """Sources are known while they are watched: a new object in a dead one's place is another source."""
    with Epoll() as epoll:
        for _ in range(200):
            source = Fd.eventfd(1)
            epoll.add(source)
            source.close()
            assert epoll.wait(0) == []
        assert len(epoll) == 0


def test_event_of_one_removed_meanwhile() -> None:
    """A source removed by another thread is not told, and the wait goes on until something else is."""
    with pipe() as (reading, writing), pipe() as (other, other_writing), Epoll() as epoll:
        epoll.add(reading)
        epoll.add(other)

        def change() -> None:
            until_blocked(os.getpid(), EPOLL_WAIT)
            epoll.remove(reading)
            writing.write(b"x")
            other_writing.write(b"x")

        thread = threading.Thread(target=change)
        thread.start()
        assert epoll.wait() == [(other, IN)]
        thread.join()


# ---- fork ----


def test_child_of_fork_closes_its_own() -> None:
    """A forked child that closes what it inherited takes nothing from its parent."""
    with pipe() as (reading, writing), Epoll() as epoll:
        epoll.add(reading)

        def child() -> bool:
            epoll.close()
            reading.close()
            return epoll.closed

        assert in_child(child)
        assert watched_by(epoll) == [reading.fileno()]
        writing.write(b"x")
        assert epoll.wait(0) == [(reading, IN)]


# ---- what is refused ----


def test_wrong_arguments() -> None:
    """Each says what is wrong, and leaves nothing behind."""
    with pipe() as (reading, writing), Epoll() as epoll:
        epoll.add(reading)
        for problem, attempt in (
            (ValueError, lambda: epoll.add(reading)),
            (FileExistsError, lambda: epoll.add(reading.fileno())),
            (KeyError, lambda: epoll.remove(writing)),
            (KeyError, lambda: epoll.modify(writing, IN)),
            (TypeError, lambda: epoll.add("x")),  # type: ignore[arg-type]
            (TypeError, lambda: epoll.add(None)),  # type: ignore[arg-type]
            (TypeError, lambda: epoll.add(writing, "x")),  # type: ignore[arg-type]
            (TypeError, lambda: epoll.add(writing, 1.0)),  # type: ignore[arg-type]
            (OverflowError, lambda: epoll.add(writing, -1)),
            (OverflowError, lambda: epoll.modify(reading, 1 << 32)),
            (OverflowError, lambda: epoll.add(1 << 31)),
            (ValueError, lambda: epoll.wait(-1)),
            (ValueError, lambda: epoll.wait(float("nan"))),
            (TypeError, lambda: epoll.wait("1")),  # type: ignore[arg-type]
            (ValueError, lambda: epoll.wait(0, most=0)),
            (TypeError, lambda: epoll.wait(0, most=1.5)),  # type: ignore[arg-type]
        ):
            with pytest.raises(problem):
                attempt()
        for number in (-1, 1 << 30):
            with pytest.raises(OSError) as caught:
                epoll.add(number)
            assert caught.value.errno == errno.EBADF
        assert (len(epoll), watched_by(epoll)) == (1, [reading.fileno()])


@pytest.mark.parametrize("path", ["/etc/passwd", "/"])
def test_files_are_refused(path: str) -> None:
    """What is always ready cannot be watched: PermissionError, with the call in its note; nothing is in use."""
    with Epoll() as epoll, Fd.open(path) as file:
        with pytest.raises(PermissionError) as caught:
            epoll.add(file)
        assert any("epoll_ctl" in note for note in caught.value.__notes__)
        assert len(epoll) == 0
        os.close(file.into_raw())  # BusyError, were it still in use


def test_closed() -> None:
    """After close() each use is ClosedError; a closed owner cannot be added."""
    with pipe() as (reading, writing), Epoll() as other:
        epoll = Epoll()
        epoll.add(reading)
        epoll.close()
        for attempt in (
            lambda: epoll.add(writing),
            lambda: epoll.modify(reading, IN),
            lambda: epoll.remove(reading),
            lambda: epoll.wait(0),
            lambda: asyncio.run(epoll.wait_async()),
            lambda: other.add(epoll),
        ):
            with pytest.raises(ClosedError):
                attempt()
        assert (len(epoll), repr(epoll)) == (0, "<Epoll closed>")
        assert repr(other) == f"<Epoll {other.fileno()} watching 0>"


def test_no_descriptor_is_left() -> None:
    """EMFILE for a new one, ENOSPC at the user's limit of watches: nothing is left open or half known."""

    def child() -> list[Any]:
        with pipe() as (reading, _), Epoll() as epoll:
            free = os.dup(0)
            os.close(free)
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            found: list[Any] = []
            for attempt in (Epoll, TimerFd):
                with pytest.raises(OSError) as caught:
                    attempt()
                found.append(caught.value.errno)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            fail_calls(errno.ENOSPC, 233)
            with pytest.raises(OSError) as caught:
                epoll.add(reading)
            found += [caught.value.errno, len(epoll), reading in epoll]
            os.close(reading.into_raw())  # BusyError, were it still in use
            return found

    assert in_child(child) == [errno.EMFILE, errno.EMFILE, errno.ENOSPC, 0, False]


# ---- asyncio ----


def test_under_asyncio() -> None:
    """Tasks await one Epoll; one that is cancelled leaves nothing behind."""

    async def main() -> list[Any]:
        with pipe() as (reading, writing), Epoll() as epoll:
            epoll.add(reading)
            tasks = [asyncio.create_task(epoll.wait_async()) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
            assert not any(task.done() for task in tasks[1:])
            writing.write(b"x")
            await asyncio.wait_for(asyncio.gather(*tasks[1:]), 20)
            return [events for _, events in epoll.wait(0)]

    assert asyncio.run(main()) == [IN]


def test_every_source_under_asyncio() -> None:
    """`await source.wait_async()` returns when it is ready, for an Fd, a SignalFd, flag, queue, timer, child."""

    async def main() -> None:
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            reading, writing = map(enter, Fd.pipe())
            enter(blocked(signal.SIGWINCH))
            fd, flag = enter(SignalFd(signal.SIGWINCH)), enter(SignalFlag(signal.SIGUSR1))
            queue, timer, child = (
                enter(SignalQueue(signal.SIGUSR2)),
                enter(TimerFd()),
                Command("cat", stdin=reading).spawn(),
            )
            enter(child)
            tasks = [asyncio.create_task(s.wait_async()) for s in (fd, flag, queue, timer, child) for _ in range(2)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
            for number in (signal.SIGWINCH, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            timer.set(0)
            writing.close()
            await asyncio.wait_for(asyncio.gather(*tasks), 20)
            assert fd.get_nowait()
            assert child.wait().code == 0

    asyncio.run(main())


# ---- numbers ----


def test_numbers_are_the_kernels() -> None:
    """Each plain int of the package is the constant of its name."""
    ours = {name: value for name, value in vars(_numbers).items() if name.isupper() and name != "SIGNAL_SET"}
    assert len(ours) > 20
    assert ours == {n: int(getattr(constants, n) if hasattr(constants, n) else getattr(errno, n)) for n in ours}


# ---- exceptions of signal handlers ----


class Interrupted(Exception):
    """What a handler raises."""


def interrupted(at: int, function: Callable[[], object]) -> bool:
    """Call a function, with an exception before its `at`-th line in the epoll's file, as a handler's may come."""
    left = at

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != epoll_module.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_handlers_exception_in_add_leaves_it_watched_or_not() -> None:
    """Wherever it comes: the kernel and the Epoll agree, so that nothing is told for ever that nobody can remove."""
    at = 1
    while True:
        reading, writing = Fd.pipe()
        with reading, writing, Epoll() as epoll:
            writing.write(b"x")
            came = interrupted(at, lambda: epoll.add(reading))  # noqa: B023 - called at once
            if reading not in epoll:
                assert epoll.wait(0) == [] and epoll._tokens == {} == epoll._masks
                epoll.add(reading)
            assert epoll.wait(0) == [(reading, IN)]
            epoll.remove(reading)
            assert epoll.wait(0) == []
        if not came:
            break
        at += 1
    assert at > 10


def test_a_handlers_exception_in_remove_can_be_followed_by_another() -> None:
    """The source is watched or it is not; removed again, it is told no more, and its number can be watched again."""
    at = 1
    while True:
        reading, writing = Fd.pipe()
        with reading, writing, Epoll() as epoll:
            writing.write(b"x")
            epoll.add(reading)
            came = interrupted(at, lambda: epoll.remove(reading))  # noqa: B023
            if reading in epoll:
                epoll.remove(reading)
            assert epoll.wait(0) == []
            epoll.add(reading)
            assert epoll.wait(0) == [(reading, IN)]
        if not came:
            break
        at += 1
    assert at > 10
