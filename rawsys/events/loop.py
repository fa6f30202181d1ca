"""EventLoop: calls what was registered when its source is ready, and what was set when its time has come."""

from __future__ import annotations

import warnings
from collections import deque
from heapq import heapify, heappop, heappush
from time import monotonic_ns

from rawsys import raw
from rawsys._timeouts import Deadline, nanoseconds
from rawsys.errors import ClosedError
from rawsys.events import _numbers as n
from rawsys.events.epoll import NOW, Epoll
from rawsys.events.timerfd import TimerFd
from rawsys.fd import Fd
from rawsys.fd._calls import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from rawsys._types import Descriptor
    from rawsys.events.epoll import Ready

    Call = Callable[..., object]

_LONGEST_NS = 2**63 - 1
_ONE = (1).to_bytes(8, "little")


class Timer:
    """A call that is to come; made by `EventLoop.call_at` and `call_later`."""

    __slots__ = ("_arguments", "_call", "_loop", "when_ns")

    when_ns: int
    """When, in nanoseconds of the monotonic clock."""

    def __init__(self, loop: EventLoop, when_ns: int, call: Call, arguments: tuple[object, ...]) -> None:
        self._loop: EventLoop | None = loop
        self.when_ns = when_ns
        self._call: Call | None = call
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
            self._call, self._arguments = None, ()  # it may wait in the heap for long, and keeps nothing alive there

    def _make(self) -> None:
        loop, call, arguments = self._loop, self._call, self._arguments
        self._loop, self._call, self._arguments = None, None, ()
        if loop is not None and call is not None:
            call(*arguments)

    def __repr__(self) -> str:
        return f"<Timer at {self.when_ns / 1e9:.3f} {self._call!r}>" if self.active else "<Timer over>"


class EventLoop:
    """Waits for all its sources in one call, with one `epoll(7)` and one timer, and sleeps while nothing happens.

    ``register(source, callback)`` has ``callback(source, events)`` called whenever the source is ready (`events` are EPOLL
    bits): an Fd, Pid, SignalFd, SignalFlag, SignalQueue, TimerFd, Inotify, Epoll, a socket, an int.  A callback should
    not wait: everything else stands still meanwhile.  Its exception leaves `run`, which may be called again: what was
    ready beside it is called then, and nothing is lost.

    All but `stop` and `call_soon` is for the thread that runs it.  In a forked child it must not be used, only closed.

    Raises OSError (EMFILE, ENFILE, ENOMEM) where no three descriptors are to be had.
    """

    __slots__ = ("__weakref__", "_armed", "_cancelled", "_due", "_epoll", "_heap", "_order", "_ready", "_running", "_soon",
                 "_stopped", "_timer", "_wake", "turns")  # fmt: skip

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._cancelled = 0
        self._armed: int | None = None
        self._ready = deque[tuple[int, int]]()
        self._due = deque[Timer]()
        self._soon: deque[tuple[Call, tuple[object, ...]]] = deque()
        self._stopped = self._running = False
        self.turns = 0
        """How often it has woken up: what was looked at in the same turn need not be looked at again."""
        self._epoll = Epoll()
        try:
            self._timer = TimerFd()
            self._wake = Fd.eventfd()
            self._wake.nonblocking = True
            self._epoll._add(self._timer, n.EPOLLIN, self._timer_ran_out)
            self._epoll._add(self._wake, n.EPOLLIN, _drain)
        except BaseException:
            self.close()
            raise

    # ---- sources ----

    def register(self, source: Descriptor, callback: Ready, events: int = n.EPOLLIN) -> None:
        """Call ``callback(source, events)`` whenever the source is ready.

        Level-triggered: again and again while it is ready, so the callback has to take what is there.  The source should
        be non-blocking where a callback reads all of it.  An owner that was closed is called no more, and let go when
        the kernel next tells of it, or by `unregister`.

        Raises as `Epoll.add`: ValueError when it is registered already, PermissionError (EPERM) for a file.
        """
        self._check()
        self._epoll._add(source, events, _callable(callback))

    def modify(self, source: Descriptor, events: int) -> None:
        """Wait for other EPOLL events of it; 0 for none but error and hang-up.  KeyError when it is not registered."""
        self._epoll.modify(source, events)

    def unregister(self, source: Descriptor) -> None:
        """Call nothing for it any more, also not what is due in this turn.

        An owner that was closed is let go here; where the loop has done that already, nothing happens.  Raises KeyError
        when it is not registered.
        """
        if source in self._epoll or not getattr(source, "closed", False):
            self._epoll.remove(source)

    def __contains__(self, source: Descriptor) -> bool:
        return source in self._epoll

    # ---- times ----

    def call_at(self, when: float, call: Call, *arguments: object) -> Timer:
        """Make a call at a time of `time.monotonic` (seconds), or at once if that is past; it can be cancelled."""
        return self._at(_number(when), call, arguments)

    def call_later(self, delay: float, call: Call, *arguments: object) -> Timer:
        """Make a call in `delay` seconds; it can be cancelled.  Raises ValueError for a negative delay or NaN."""
        return self._at(min(monotonic_ns() + _number(delay), _LONGEST_NS), call, arguments)

    def _at(self, when_ns: int, call: Call, arguments: tuple[object, ...]) -> Timer:
        self._check()
        timer = Timer(self, when_ns, _callable(call), arguments)
        self._order += 1  # calls for the same time are made in the order in which they were asked for
        heappush(self._heap, (when_ns, self._order, timer))
        if self._cancelled * 2 > len(self._heap) + 64:
            self._sweep()
        return timer

    def _sweep(self) -> None:
        """Throw out of the heap what was cancelled, so that it holds at most as many of those as of others."""
        before = len(self._heap)
        self._heap[:] = [entry for entry in self._heap if entry[2].active]
        heapify(self._heap)
        self._cancelled -= before - len(self._heap)

    def call_soon(self, call: Call, *arguments: object) -> None:
        """Make a call in the next turn; from any thread, and from Python's signal handlers."""
        self._check()
        self._soon.append((_callable(call), arguments))
        self._waken()

    def _waken(self) -> None:
        answer = raw.write(self._wake, _ONE, 8)
        if answer < 0 and answer != -n.EAGAIN:  # woken more often than can be counted: it is awake
            fail("write", (self._wake, _ONE, 8), answer)

    # ---- running ----

    def run(self) -> None:
        """Wait and call until `stop`.  Raises RuntimeError inside itself, ClosedError after `close()`."""
        self._begin()
        try:
            while not self._stopped:
                self._turn(None)
            self._stopped = False  # not after an exception: who asked to stop meant the rest, too
        finally:
            self._running = False

    def stop(self) -> None:
        """End `run` after the turn that it is in, or the next one; from any thread, and from Python's signal handlers."""
        self._check()
        self._stopped = True
        self._waken()

    def turn(self, timeout: float | None = None) -> bool:
        """Wait until something is ready, at most `timeout` seconds, and make all calls that are due.

        False when time was up.  This is what `run` does again and again; RuntimeError inside of a callback.
        """
        deadline = None if timeout is None else Deadline(timeout) if timeout != 0 else NOW
        self._begin()
        try:
            return self._turn(deadline)
        finally:
            self._running = False

    def _begin(self) -> None:
        self._check()
        if self._running:
            raise RuntimeError("this EventLoop is running already")
        self._running = True

    def _turn(self, deadline: Deadline | None) -> bool:
        ready, epoll = self._ready, self._epoll
        if self._heap or self._armed is not None:
            self._arm()
        if not ready:  # else an exception has ended a turn, and this one begins with what that has left
            ready.extend(epoll._take(NOW if self._soon or self._due else deadline))
        self.turns += 1
        happened = bool(ready)
        while ready:
            events, token = ready.popleft()
            known = epoll._watched.get(token)
            if known is None or known.state.closed:  # perhaps by a callback of this turn
                epoll._let_go(known)
            else:
                known.callback(known.source, events)  # type: ignore[misc]  # none here is without
        if self._due or self._heap:
            self._make_due()
        if self._soon:
            happened = True
            self._make_soon()
        return happened

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

    def _timer_ran_out(self, timer: TimerFd, _: int) -> None:
        timer.get_nowait()
        self._armed = None

    def _make_soon(self) -> None:
        soon = self._soon
        for _ in range(len(soon)):  # what these calls add is for the next turn
            if not soon:  # closed by one of them
                return
            call, arguments = soon.popleft()
            call(*arguments)

    def _make_due(self) -> None:
        """Make the calls whose time has come; an exception leaves the others in `_due`, for the next turn."""
        due, heap, now = self._due, self._heap, monotonic_ns()
        while heap and heap[0][0] <= now:  # taken out before one is called: what they add is for the next turn
            due.append(heap[0][2])
            heappop(heap)
        while due:
            timer = due.popleft()
            if timer.active:
                timer._make()
            else:
                self._cancelled -= 1

    # ---- the owner ----

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._epoll.closed

    def _check(self) -> None:
        if self.closed:
            raise ClosedError(f"{self!r} can no longer be used")

    def close(self) -> None:
        """Release the epoll, the timer and the eventfd; the sources stay open.  Doing it again does nothing."""
        for waiting in (self._heap, self._soon, self._ready, self._due):
            waiting.clear()
        for own in ("_epoll", "_timer", "_wake"):
            if hasattr(self, own):
                getattr(self, own).close()

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError(f"{self!r} cannot be copied or pickled: one owner for each resource")

    def __del__(self) -> None:
        if getattr(self, "_epoll", None) is None or self.closed:
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<EventLoop closed>"
        timers = sum(entry[2].active for entry in self._heap)
        return f"<EventLoop {len(self._epoll) - 2} sources, {timers} timers>"


def _drain(wake: Fd, _: int) -> None:
    wake.read(8)


def _callable(call: Call) -> Call:
    if not callable(call):
        raise TypeError(f"what is to be called cannot be: {call!r}")
    return call


def _number(seconds: float) -> int:
    found = nanoseconds(seconds)
    if found is None:
        raise TypeError("a time is a number of seconds, not None")
    return found
