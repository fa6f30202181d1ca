"""Output: the pumps of all instances, and the one screen."""

from __future__ import annotations

from rawsys.events import Epoll
from rawsys.supervisor.change import Notice
from rawsys.supervisor.logs import CHUNK, Log, Pump, RotatedFile
from rawsys.supervisor.service import filled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rawsys.events import EventLoop
    from rawsys.supervisor.instance import Instance
    from rawsys.supervisor.logs import Sink
    from rawsys.supervisor.screen import Screen

_PUMPS = 8
"""Pumps that are served in one turn, and `CHUNK` bytes of them all together."""
_EPOLLOUT = 4
_RETRY = 1.0
"""Seconds after which a log that could not be written is tried again."""


class Output:
    """Moves what services write to where it goes.

    The pumps are in an epoll of their own, which is one source of the loop: a turn takes a bounded amount from them, so that
    a flood delays nothing else, and the kernel's list of what is ready goes round, so that each gets its share.
    """

    __slots__ = ("_epoll", "_loop", "_parked", "_pumps", "_report", "_screen", "_watched")

    def __init__(self, loop: EventLoop, report: Callable[[Notice], object]) -> None:
        self._loop, self._report = loop, report
        self._epoll: Epoll | None = None
        self._screen: Screen | None = None
        self._pumps: dict[int, Pump] = {}
        """By the number of the end that is read."""
        self._parked: dict[Pump, None] = {}
        """Those that wait until the screen takes more."""
        self._watched = False
        """The loop tells when the screen takes more."""

    def pumps_for(self, instance: Instance) -> list[Pump]:
        """The pumps for the output of an instance: one, or one each for standard output and standard error."""
        log = instance.service.log
        assert log is not None
        if self._epoll is None:
            self._epoll = Epoll()
            self._loop.register(self._epoll, self._move)
        try:
            for spec in [log, log.stderr] if isinstance(log.stderr, Log) else [log]:
                pump = Pump(spec, instance.name, self._sink(spec, instance))
                instance.pumps.append(pump)
                self._pumps[pump.fileno()] = pump
                self._epoll.add(pump.fileno())
        except BaseException:
            self.close_pumps(instance)
            raise
        return instance.pumps

    def _sink(self, log: Log, instance: Instance) -> Sink:
        if log.file is not None:
            return RotatedFile(filled(log.file, instance.number), log.size, log.keep)
        if self._screen is None:
            from rawsys.supervisor.screen import Screen

            self._screen = Screen()
        return self._screen.sink(instance.name)

    def _move(self, epoll: Epoll, _: int) -> None:
        left = CHUNK
        for _ in range(_PUMPS):
            # One at a time: the kernel puts the one that it tells behind all others that are ready.  Were all told at once,
            # those behind a flood would be behind it in the next turn, too.
            ready = epoll.wait(0, 1)
            if not ready:
                return
            pump = self._pumps[ready[0][0]]  # type: ignore[index]  # ints were added
            if pump.sink.waiting:
                epoll.remove(pump.fileno())
                self._parked[pump] = None
                continue
            try:
                left -= pump.move()
            except OSError as error:
                self._blocked(pump, error)
            if pump.sink.waiting:
                self._watch_screen()
            if left <= 0:
                return

    def _watch_screen(self) -> None:
        """It did not take all: nothing more is read for it before it has."""
        if not self._watched:
            assert self._screen is not None
            self._watched = True
            self._loop.register(self._screen, self._screen_ready, _EPOLLOUT)

    def _screen_ready(self, screen: Screen, _: int) -> None:
        if not screen.flush():
            return
        self._loop.unregister(screen)
        self._watched = False
        assert self._epoll is not None
        while self._parked:
            self._epoll.add(self._parked.popitem()[0].fileno())

    def _blocked(self, pump: Pump, error: OSError) -> None:
        """It cannot be written: the service waits, and it is tried again."""
        assert self._epoll is not None
        self._epoll.remove(pump.fileno())
        self._report(Notice.now(pump.name, f"its log cannot be written: {error}; tried again every {_RETRY:g} s"))
        self._loop.call_later(_RETRY, self._retry, pump)

    def _retry(self, pump: Pump) -> None:
        if pump.read.closed or self._epoll is None:
            return
        try:
            pump.retry()
        except OSError:
            self._loop.call_later(_RETRY, self._retry, pump)
            return
        self._report(Notice.now(pump.name, "its log is written again"))
        self._epoll.add(pump.fileno())

    def close_pumps(self, instance: Instance) -> None:
        """Write what is left of an instance's output, and close its pipes."""
        for pump in instance.pumps:
            number = pump.fileno()
            self._pumps.pop(number, None)
            self._parked.pop(pump, None)
            if self._epoll is not None and number in self._epoll:
                self._epoll.remove(number)
            try:
                pump.drain()
            except OSError as error:
                self._report(Notice.now(pump.name, f"the end of its output is lost: {error}"))
            pump.close()
            if pump.sink.waiting:
                self._watch_screen()
        instance.pumps = []

    def close(self) -> None:
        """Let the epoll go; all pumps are closed already.  What the screen has not taken yet is waited for."""
        if self._screen is not None:
            if self._watched:
                self._loop.unregister(self._screen)
                self._watched = False
            self._screen.close()
            self._screen = None
        if self._epoll is not None:
            self._loop.unregister(self._epoll)
            self._epoll.close()
            self._epoll = None
