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
_RETRY = 1.0
"""Seconds after which a log that could not be written is tried again."""


class Output:
    """Moves what services write to where it goes.

    The pumps are in an epoll of their own, which is one source of the loop: a turn takes a bounded amount from them, so that
    a flood delays nothing else, and the kernel's list of what is ready goes round, so that each gets its share.
    """

    __slots__ = ("_epoll", "_loop", "_pumps", "_report", "_screen")

    def __init__(self, loop: EventLoop, report: Callable[[Notice], object]) -> None:
        self._loop, self._report = loop, report
        self._epoll: Epoll | None = None
        self._screen: Screen | None = None
        self._pumps: dict[int, Pump] = {}
        """By the number of the end that is read."""

    def pumps_for(self, instance: Instance) -> list[Pump]:
        """The pumps for the output of an instance: one, or one each for standard output and standard error."""
        log = instance.service.log
        assert log is not None
        if self._epoll is None:
            self._epoll = Epoll()
            self._loop.register(self._epoll, self._move)
        pumps = []
        for spec in [log, log.stderr] if isinstance(log.stderr, Log) else [log]:
            pump = Pump(spec, instance.name, self._sink(spec, instance))
            self._pumps[pump.fileno()] = pump
            self._epoll.add(pump.fileno())
            pumps.append(pump)
        return pumps

    def _sink(self, log: Log, instance: Instance) -> Sink:
        if log.file is not None:
            return RotatedFile(filled(log.file, instance.number), log.size, log.keep)
        if self._screen is None:
            from rawsys.supervisor.screen import Screen

            self._screen = Screen()
        return self._screen.sink(instance.name)

    def _move(self, epoll: Epoll, _: int) -> None:
        left = CHUNK
        for number, _events in epoll.wait(0, _PUMPS):
            pump = self._pumps[number]  # type: ignore[index]  # ints were added
            try:
                left -= pump.move()
            except OSError as error:
                self._blocked(pump, error)
            if left <= 0:
                return

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
            del self._pumps[number]
            if self._epoll is not None and number in self._epoll:
                self._epoll.remove(number)
            pump.drain()
            pump.close()
        instance.pumps = []

    def close(self) -> None:
        """Let the epoll go; all pumps are closed already."""
        if self._epoll is not None:
            self._loop.unregister(self._epoll)
            self._epoll.close()
            self._epoll = None
