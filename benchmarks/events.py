"""Events: what a turn of the loop costs, and waiting and timers beside the standard library's."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import sys
import time
from collections.abc import Callable
from struct import pack
from time import perf_counter_ns

from benchmarks.harness import Setting, Sides, Topic, peer
from rawsys import raw
from rawsys.bench import Side, loop
from rawsys.events import Epoll, EventLoop, TimerFd
from rawsys.fd import Fd

TOPIC = Topic("events", "events")


def _ready(setting: Setting) -> Fd:
    """A source that is ready and stays so."""
    return setting.enter_context(Fd.eventfd(1))


def _nothing(*_: object) -> None:
    """A callback that costs as little as one can."""


def _until_called(run: Callable[[Callable[[], bool]], None]) -> Side:
    """A side: `run` makes turns, in each of which one callback asks `again()`, until that is False."""

    def side(count: int) -> int:
        left = count

        def again() -> bool:
            nonlocal left
            left -= 1
            return left > 0

        begin = perf_counter_ns()
        run(again)
        return perf_counter_ns() - begin

    return side


@TOPIC.row("a turn of the loop, one source ready")
def turn(setting: Setting) -> Sides:
    """Wait, and call what is ready; each loop runs until a callback stops it."""
    source = _ready(setting)
    ours = setting.enter_context(EventLoop())
    selector = setting.enter_context(selectors.DefaultSelector())
    theirs = asyncio.new_event_loop()
    setting.callback(theirs.close)

    def run_ours(again: Callable[[], bool]) -> None:
        ours.register(source, lambda source, events: again() or ours.stop())
        ours.run()
        ours.unregister(source)

    def run_selector(again: Callable[[], bool]) -> None:
        """The loop that the documentation of selectors shows."""
        running = True

        def called(source: object, events: int) -> None:
            nonlocal running
            running = again()

        selector.register(source, selectors.EVENT_READ, called)
        while running:
            for chosen, events in selector.select():
                chosen.data(chosen.fileobj, events)
        selector.unregister(source)

    def run_asyncio(again: Callable[[], bool]) -> None:
        theirs.add_reader(source.fileno(), lambda: again() or theirs.stop())
        theirs.run_forever()
        theirs.remove_reader(source.fileno())

    return Sides(
        _until_called(run_ours),
        [
            peer("selectors.DefaultSelector", _until_called(run_selector), "<= 1.0"),
            peer("asyncio add_reader", _until_called(run_asyncio), "<= 1.0"),
        ],
    )


@TOPIC.row("a turn of the loop, 100 sources ready, per source")
def turn_of_many(setting: Setting) -> Sides:
    """The same where many are ready at once."""
    ours = setting.enter_context(EventLoop())
    selector = setting.enter_context(selectors.DefaultSelector())
    for _ in range(100):
        source = _ready(setting)
        ours.register(source, _nothing)
        selector.register(source, selectors.EVENT_READ, _nothing)
    theirs = loop(
        """
        for chosen, events in f():
            chosen.data(chosen.fileobj, events)
        """,
        f=selector.select,
    )
    return Sides(loop("f()", f=ours.turn), [peer("selectors.DefaultSelector", theirs, "<= 1.0")], operations=100)


@TOPIC.row("Epoll.wait, 1 of 1,000 ready")
def wait(setting: Setting) -> Sides:
    """Ours gives the source, select's its number."""
    ours = setting.enter_context(Epoll())
    theirs = select.epoll()
    setting.callback(theirs.close)
    for number in range(setting.size(1000, 50)):
        source = setting.enter_context(Fd.eventfd(int(number == 0)))
        ours.add(source)
        theirs.register(source, select.EPOLLIN)
    selector = selectors.EpollSelector()
    setting.callback(selector.close)
    selector.register(_ready(setting), selectors.EVENT_READ)
    return Sides(
        loop("f()", f=ours.wait),
        [
            peer("select.epoll.poll", loop("f()", f=theirs.poll)),
            peer("selectors.EpollSelector.select", loop("f()", f=selector.select), "<= 1.0"),
        ],
    )


@TOPIC.row("set a timer and read it when it ran out")
def timer(setting: Setting) -> Sides:
    """A deadline that is past, so that the read does not wait; most of the time is the kernel's."""
    ours, plain = setting.enter_context(TimerFd()), setting.enter_context(TimerFd())
    past, room = pack("4q", 0, 0, 0, 1), bytearray(8)
    bare = loop("s(t, 1, past, None); r(t, room, 8)", s=raw.timerfd_settime, r=raw.read, t=plain, past=past, room=room)
    peers = [peer("raw calls", bare)]
    if sys.version_info >= (3, 13):
        number = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_CLOEXEC)
        setting.callback(os.close, number)
        side = loop("s(n, flags=1, initial=1); r(n, 8)", s=os.timerfd_settime_ns, r=os.read, n=number)
        peers.append(peer("os.timerfd_settime_ns, os.read", side, "<= 1.0"))
    return Sides(loop("s(1); r()", s=ours.set_ns, r=ours.get_nowait), peers)


@TOPIC.row("a timed call, set and cancelled")
def timed_call(setting: Setting) -> Sides:
    """What a server does for each request's timeout."""
    ours = setting.enter_context(EventLoop())
    theirs = asyncio.new_event_loop()
    setting.callback(theirs.close)

    def asyncio_calls(count: int) -> int:
        """Within its loop, which sweeps what was cancelled once a turn."""
        took = 0

        def chunk() -> None:
            nonlocal took, count
            take = min(count, 200)
            took += one(take)
            count -= take
            if count:
                theirs.call_soon(chunk)
            else:
                theirs.stop()

        theirs.call_soon(chunk)
        theirs.run_forever()
        return took

    one = loop("f(1000, g).cancel()", f=theirs.call_later, g=_nothing)
    return Sides(
        loop("f(1000, g).cancel()", f=ours.call_later, g=_nothing),
        [peer("asyncio call_later", asyncio_calls, "<= 1.0")],
    )
