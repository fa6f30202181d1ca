"""EventLoop: calls what was registered when its source is ready, and what was set when its time has come."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from time import monotonic_ns

from rawsys import raw
from rawsys._timeouts import nanoseconds
from rawsys.errors import ClosedError
from rawsys.events import _numbers as n
from rawsys.events.epoll import Epoll, key
from rawsys.events.timerfd import TimerFd
from rawsys.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from rawsys._types import Descriptor

    Ready = Callable[[Any, int], object]

_LONGEST_NS = 2**63 - 1
_ONE = (1).to_bytes(8, "little")


class Timer:
    """A call that is to come; made by `EventLoop.call_at` and `call_later`."""

    __slots__ = ("_arguments", "_call", "_loop", "when_ns")

    when_ns: int
    """When, in nanoseconds of the monotonic clock."""

    def __init__(
        self, loop: EventLoop, when_ns: int, call: Callable[..., object], arguments: tuple[object, ...]
    ) -> None:
        self._loop: EventLoop | None = loop
        self.when_ns = when_ns
        self._call = call
        self._arguments = arguments

    @property
    def active(self) -> bool:
        """True until it was made or cancelled."""
        return self._loop is not None

    def cancel(self) -> None:
        """It is not made any more; doing it again, or afterwards, does nothing."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop._cancelled += 1

    def _take(self) -> tuple[Callable[..., object], tuple[object, ...]] | None:
        if self._loop is None:
            return None
        self._loop = None
        return self._call, self._arguments

    def __repr__(self) -> str:
        return f"<Timer {'at' if self.active else 'over,'} {self.when_ns / 1e9:.3f} {self._call!r}>"


class EventLoop:
    """Waits for all its sources in one call, with one `epoll(7)` and one timer, and sleeps while nothing happens.

    ``register(source, callback)`` has ``callback(source, events)`` called whenever the source is ready (`events` are EPOLL
    bits): an Fd, Pid, SignalFd, SignalFlag, SignalQueue, TimerFd, Inotify, Epoll, a socket, an int.  A callback should
    not wait: everything else stands still meanwhile.  Its exception leaves `run`, which may be called again: nothing that
    was ready is lost, it is told again.

    All but `stop` and `call_soon` is for the thread that runs it.  In a forked child it must not be used, only closed.
    """

    __slots__ = ("__weakref__", "_armed", "_callbacks", "_cancelled", "_epoll", "_heap", "_order", "_running", "_soon",
                 "_stopped", "_timer", "_wake", "turns")  # fmt: skip

    def __init__(self) -> None:
        self._callbacks: dict[int, Ready] = {}
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._cancelled = 0
        self._armed: int | None = None
        self._soon: deque[Callable[[], object]] = deque()
        self._stopped = self._running = False
        self.turns = 0
        """How often it has woken up: what was looked at in the same turn need not be looked at again."""
        self._epoll = Epoll()
        try:
            self._timer = TimerFd()
            self._wake = Fd.eventfd()
            self._wake.nonblocking = True
            self._epoll.add(self._timer)
            self._epoll.add(self._wake)
        except BaseException:
            self.close()
            raise

    # ---- sources ----

    def register(self, source: Descriptor, callback: Ready, events: int = n.EPOLLIN) -> None:
        """Call ``callback(source, events)`` whenever the source is ready.

        Level-triggered: again and again while it is ready, so the callback has to take what is there.  The source should
        be non-blocking where a callback reads all of it.

        Raises ValueError when it is registered already, PermissionError (EPERM) for a file, which is always ready.
        """
        self._epoll.add(source, events)
        self._callbacks[key(source)] = callback

    def modify(self, source: Descriptor, events: int) -> None:
        """Wait for other EPOLL events of it; 0 for none but error and hang-up.  KeyError when it is not registered."""
        self._epoll.modify(source, events)

    def unregister(self, source: Descriptor) -> None:
        """Call nothing for it any more, also not what is due in this turn.  KeyError when it is not registered."""
        if self._callbacks.pop(key(source), None) is None or source in self._epoll:
            self._epoll.remove(source)  # else it was closed, and the epoll has seen that

    def __contains__(self, source: Descriptor) -> bool:
        return source in self._epoll

    # ---- times ----

    def call_at(self, when: float, call: Callable[..., object], *arguments: object) -> Timer:
        """Make a call at a time of `time.monotonic` (seconds), or at once if that is past; it can be cancelled."""
        return self._at(nanoseconds(when) or 0, call, arguments)

    def call_later(self, delay: float, call: Callable[..., object], *arguments: object) -> Timer:
        """Make a call in `delay` seconds; it can be cancelled.  Raises ValueError for a negative delay or NaN."""
        after = nanoseconds(delay)
        if after is None:
            raise TypeError("a delay is a number of seconds, not None")
        return self._at(min(monotonic_ns() + after, _LONGEST_NS), call, arguments)

    def _at(self, when_ns: int, call: Callable[..., object], arguments: tuple[object, ...]) -> Timer:
        timer = Timer(self, when_ns, call, arguments)
        self._order += 1  # calls for the same time are made in the order in which they were asked for
        heappush(self._heap, (when_ns, self._order, timer))
        if self._cancelled * 2 > len(self._heap) + 64:
            self._heap[:] = [entry for entry in self._heap if entry[2].active]
            heapify(self._heap)
            self._cancelled = 0
        return timer

    def call_soon(self, call: Callable[[], object]) -> None:
        """Make a call in the next turn; from any thread, and from Python's signal handlers."""
        self._soon.append(call)
        self._waken()

    def _waken(self) -> None:
        answer = raw.write(self._wake, _ONE, 8)
        if answer < 0 and answer != -11:  # EAGAIN: it was woken more often than can be counted, and is awake
            from rawsys.fd._calls import fail

            fail("write", (self._wake, _ONE, 8), answer)

    # ---- running ----

    def run(self) -> None:
        """Wait and call until `stop`.  Raises RuntimeError inside itself, ClosedError after `close()`."""
        if self._running:
            raise RuntimeError("this EventLoop is running already")
        self._running = True
        try:
            while not self._stopped:
                self.turn()
        finally:
            self._running = self._stopped = False

    def stop(self) -> None:
        """End `run` after the turn that it is in, or the next one; from any thread, and from Python's signal handlers."""
        self._stopped = True
        self._waken()

    def turn(self, timeout: float | None = None) -> bool:
        """Wait until something is ready, at most `timeout` seconds, and make all calls that are due.

        False when time was up.  This is what `run` does again and again.
        """
        self._arm()
        found = self._epoll.wait(timeout)
        self.turns += 1
        callbacks = self._callbacks
        for source, events in found:
            if source is self._timer:
                self._timer.get_nowait()
                self._armed = None
            elif source is self._wake:
                self._wake.read(8)
            else:
                callback = callbacks.get(key(source))
                if callback is not None:  # else unregistered by a callback of this turn
                    callback(source, events)
        if self._soon:
            self._make_soon()
        if self._heap and self._heap[0][0] <= monotonic_ns():
            self._make_due()
        return bool(found)

    def _arm(self) -> None:
        """Set the timer to the earliest time, where that has changed."""
        heap = self._heap
        while heap and not heap[0][2].active:
            heappop(heap)
            self._cancelled -= 1
        first = heap[0][0] if heap else None
        if first == self._armed:
            return
        if first is None:
            self._timer.disarm()
        else:
            self._timer.set_ns(first)
        self._armed = first

    def _make_soon(self) -> None:
        for _ in range(len(self._soon)):  # what these calls add is for the next turn
            self._soon.popleft()()

    def _make_due(self) -> None:
        now, heap = monotonic_ns(), self._heap
        due = deque[tuple[int, int, Timer]]()
        while heap and heap[0][0] <= now:
            due.append(heappop(heap))
        try:
            while due:
                call = due.popleft()[2]._take()
                if call is None:
                    self._cancelled -= 1
                else:
                    call[0](*call[1])
        finally:
            for entry in due:  # an exception: the others are due still
                heappush(heap, entry)

    # ---- the owner ----

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._epoll.closed

    def close(self) -> None:
        """Release the epoll, the timer and the eventfd; the sources stay open.  Doing it again does nothing."""
        self._callbacks.clear()
        self._heap.clear()
        self._soon.clear()
        self._epoll.close()
        for own in (getattr(self, "_timer", None), getattr(self, "_wake", None)):
            if own is not None:
                own.close()

    def __enter__(self) -> Self:
        if self.closed:
            raise ClosedError(f"{self!r}: make another one")
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<EventLoop closed>"
        timers = sum(entry[2].active for entry in self._heap)
        return f"<EventLoop {len(self._callbacks)} sources, {timers} timers>"
