"""Supervisor: services, the order among them, and the loop that alone waits."""

from __future__ import annotations

import errno
import sys
import threading
from collections import deque

from rawsys.errors import ClosedError
from rawsys.events import EventLoop
from rawsys.process import rlimit, set_rlimit
from rawsys.signals import SignalQueue
from rawsys.supervisor.change import Change, Notice
from rawsys.supervisor.instance import Instance
from rawsys.supervisor.order import check_order
from rawsys.supervisor.ordering import Ordering
from rawsys.supervisor.output import Output
from rawsys.supervisor.remains import Remains
from rawsys.supervisor.roster import Roster
from rawsys.supervisor.table import ACTIVE, ENDED, UP, Event, State
from rawsys.supervisor.words import KILL, SIGNALS, ignored_signals, near, signal_name, signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Self

    from rawsys.supervisor.listening import ListenSocket
    from rawsys.supervisor.service import Service

EXIT_WHEN = ("never", "all-done", "any-failed")
ON_DEATH = ("kill", "keep")
_NOFILE = 7
_STARTS = 16
"""Processes that are started in one turn: what else is ready waits no longer than for these."""


class Supervisor:
    """Keeps services running: starts them in order, restarts them by their rules, ends them with all that they started.

    ``add`` services, tell ``on_event`` where records go, and ``run``.

    - ``exit_when``: "never", but when it is asked to; "all-done": when nothing runs any more and nothing will; "any-failed":
      when a service has failed for good.
    - ``on_death``: what becomes of the services when this process is killed, by SIGKILL too.  "kill": a guardian process,
      and the death signal of the parent, end all their process groups within milliseconds; "keep" leaves them.  With
      "kill" `run` has to be called in the main thread: the death signal comes when the *thread* that started them ends.
    - ``own_process``: this process is for supervising alone: it becomes a subreaper, reaps children that it does not
      know, and ends those with the service that they come from.  Do not ask for it in a process that has children of
      other libraries.
    - ``signals``: SIGTERM and SIGINT stop it in order while it runs; the second SIGINT kills what is left.

    What can get away: a process that makes a session of its own is in no group that is known here.  With `own_process` it
    is found when its parent has ended, by the RAWSYS_MARK in its environment, and ended with its service, or without that
    mark at the end of `run`; otherwise it is not touched.  When the supervisor is killed, the guardian finds it by the
    mark; what has neither is reached by the `cgroup` of its service only.  A set-uid program loses the parent's death
    signal, so that the guardian alone ends it; one that has become another user altogether can be signalled by root only:
    under an ordinary user it stays in *killing* until it ends by itself.

    Its methods are for the thread that runs it, before and during `run`; `shutdown` is for any, and for signal handlers.
    """

    def __init__(
        self, *, exit_when: str = "never", on_death: str = "kill", own_process: bool = False, signals: bool = True
    ) -> None:
        if exit_when not in EXIT_WHEN:
            raise ValueError(f"exit_when is one of {', '.join(EXIT_WHEN)}, not {exit_when!r}")
        if on_death not in ON_DEATH:
            raise ValueError(f"on_death is one of {', '.join(ON_DEATH)}, not {on_death!r}")
        self.exit_when, self.on_death, self.own_process = exit_when, on_death, own_process
        self._signals = signals
        self._roster = Roster(self)
        self.services = self._roster.services
        self.instances = self._roster.instances
        self.order = Ordering(self.services, self.instances)
        self.sockets: dict[str, ListenSocket] = {}
        self.loop = EventLoop()
        """The loop that `run` runs; more sources may be registered in it."""
        self._at_end: list[Callable[[], object]] = []
        self._listeners: list[Callable[[Change | Notice], object]] = []
        self._news: deque[tuple[Instance, Change]] = deque()
        self._to_start: deque[Instance] = deque()
        self.output = Output(self.loop, self.report)
        self._remains: Remains | None = None
        self._queue: SignalQueue | None = None
        self._limit: tuple[int | None, int | None] | None = None
        self._ignored: list[int] = []
        """Signals that are ignored here, by nohup for one; services have them at their default."""
        self._running = self._stopping = False
        self._asked_strangers = False
        self._interrupts = 0
        self._code = 0

    # ---- what it is told ----

    def add(self, service: Service) -> None:
        """Add a service; while this runs, start it too.  Raises ValueError for a name that is taken, or a wrong order."""
        if service.name in self.services:
            raise ValueError(f"there is a service {service.name} already")
        if self._running:
            check_order({**self.services, service.name: service})
            self._check_sockets(service)
        self.put(service)
        if self._running:
            self.start(service.name)

    def add_socket(self, socket: ListenSocket) -> None:
        """Add a listening socket, which services get by its name; it is closed with the supervisor."""
        if socket.name in self.sockets:
            raise ValueError(f"there is a socket {socket.name} already")
        self.sockets[socket.name] = socket

    def on_event(self, listener: Callable[[Change | Notice], object]) -> None:
        """Call `listener` with each record: a `Change` of state, or a `Notice` about a log.  Its exceptions are reported
        by `sys.excepthook` and do no harm.
        """
        self._listeners.append(listener)

    def on_end(self, call: Callable[[], object]) -> None:
        """Call something when all services have ended, before the loop is closed."""
        self._at_end.append(call)

    @property
    def ended(self) -> bool:
        """True when it was to stop, and nothing of any service is left."""
        return self._stopping and not any(instance.state in ACTIVE for instance in self.all())

    def start(self, name: str) -> None:
        """Want a service (``web``) or an instance (``web/2``) up.  KeyError for an unknown one."""
        for instance in self._staying(name):
            self.want_up(instance)

    def want_up(self, instance: Instance) -> None:
        """`start` for one instance."""
        self.order.let_go(instance)
        instance.goal_up = True
        if instance.state is State.STOPPED:
            self._enqueue(instance)
        else:
            instance.feed(Event.START, "asked to start")

    def stop(self, name: str) -> None:
        """Want it down: what requires it stops before it."""
        for instance in self.named(name):
            self.order.down(instance, Event.STOP, "asked to stop")

    def restart(self, name: str) -> None:
        """Want it down and up again, with all that requires it."""
        for instance in self._staying(name):
            if instance.state in UP:
                self.order.down(instance, Event.RESTART, "asked to restart")
            else:
                instance.feed(Event.RESTART, "asked to restart")

    def _staying(self, name: str) -> list[Instance]:
        return [instance for instance in self.named(name) if not self.is_leaving(instance)]

    def is_leaving(self, instance: Instance) -> bool:
        """It was removed or scaled away, and is forgotten when nothing of it is left: nobody can want it up again."""
        return self._roster.is_leaving(instance)

    def kill(self, name: str) -> None:
        """Want it down at once, by SIGKILL."""
        for instance in self.named(name):
            self.order.let_go(instance)
            instance.feed(Event.KILL, "asked to be killed")

    def reset(self, name: str) -> None:
        """Forget what was counted of it; a failed one is started again."""
        for instance in self.named(name):
            instance.feed(Event.RESET, "reset")

    def remove(self, name: str) -> None:
        """Stop a service and forget it, when nothing of it is left.  ValueError when another one comes after it."""
        if name not in self.services:
            self.named(name)
            raise ValueError(f"{name} is an instance: scale() takes instances away")
        self._roster.remove(name)

    def scale(self, name: str, count: int) -> None:
        """Have so many instances of a service: the last ones leave, new ones start.  KeyError for an unknown one."""
        if name not in self.services:
            raise KeyError(f"no service {name}{near(name, self.services)}")
        self.put(self.services[name].replace(instances=count))

    def replace(self, service: Service) -> bool:
        """Give a service other rules; those that do not concern its process hold at once.

        True when the others do: they hold from its next start on, for which `restart` is there.  ValueError for an unknown
        service, or an order that is a circle; then nothing has changed.
        """
        before = self.services.get(service.name)
        if before is None:
            raise ValueError(f"no service {service.name}{near(service.name, self.services)}")
        check_order({**self.services, service.name: service})
        self.put(service)
        return before.process_differs(service)

    def put(self, service: Service) -> None:
        """`replace`, or `add` without a start, for one of several services whose order was checked together."""
        self._roster.put(service, self._running)

    def signal(self, name: str, signal: int | str) -> None:
        """Send a signal to its process, not to its group.  ProcessLookupError where there is none."""
        number = signal_number(signal)
        for instance in self.named(name):
            if instance.child is None:
                raise ProcessLookupError(errno.ESRCH, f"{instance.name} has no process")
            instance.child.send_signal(number)

    def shutdown(self, reason: str = "asked to shut down", code: int = 0) -> None:
        """Stop all services in order, then end `run` with `code`.  From any thread, and from Python's signal handlers."""
        self.loop.call_soon(lambda: self._shut_down(reason, code))

    def named(self, name: str) -> list[Instance]:
        """The instances that a name means.  KeyError, with the nearest name, for none."""
        if name in self.instances:
            return list(self.instances[name])
        service, _, number = name.rpartition("/")
        found = [i for i in self.instances.get(service, ()) if str(i.number) == number]
        if found:
            return found
        raise KeyError(f"no service {name}{near(name, self.instances)}")

    def all(self) -> Iterator[Instance]:
        """All instances."""
        for instances in self.instances.values():
            yield from instances

    @property
    def remains(self) -> Remains:
        """What the processes of its services leave behind; there while it runs."""
        if self._remains is None:
            raise RuntimeError(f"{self!r} does not run")
        return self._remains

    # ---- running ----

    def run(self) -> int:
        """Start all services and keep them running; the exit code that this process should end with.

        0: it was asked to stop, or all are done.  The code (128 and the number of the signal) of a service with `key` that
        has failed, or of the one that ended it under "any-failed".

        It runs once: afterwards all is released.

        Raises ValueError for services in a circle, or unknown names; RuntimeError outside the main thread with
        ``on_death="kill"``, or when it runs already; ClosedError when it has run.
        """
        if self.loop.closed:
            raise ClosedError(f"{self!r} has run: make another one")
        if self._running:
            raise RuntimeError("this Supervisor runs already")
        if self.on_death == "kill" and threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                'a Supervisor with on_death="kill" runs in the main thread: the parent\'s death signal would come when '
                'another thread ends; take on_death="keep"'
            )
        check_order(self.services)
        for service in self.services.values():
            self._check_sockets(service)
        self._running = True
        try:
            self._set_up()
            for instance in self.all():
                instance.goal_up = True
                self._enqueue(instance)
            self._check_end()
            self.loop.run()
        finally:
            self._tear_down()
        return self._code

    def _set_up(self) -> None:
        self._ignored = ignored_signals()
        self._raise_limit()
        self._remains = Remains(self.loop, self.report, guard=self.on_death == "kill", adopt=self.own_process)
        if self._signals:
            self._queue = SignalQueue(SIGNALS["TERM"], SIGNALS["INT"])
            self.loop.register(self._queue, self._asked_by_signal)

    def _tear_down(self) -> None:
        """However `run` ends, nothing that it started stays: an exception ends the services too."""
        self._running = False
        for instance in self.all():
            instance.end_now()
        for call in self._at_end:
            call()
        for instance in self.all():
            instance.close()
        if self._queue is not None:
            self.loop.unregister(self._queue)
            self._queue.close()
        if self._remains is not None:
            self._remains.close()
        self.output.close()
        if self._limit is not None:
            set_rlimit(_NOFILE, *self._limit)
        self.close()

    def close(self) -> None:
        """Release the loop and the listening sockets; `run` has done so when it returns."""
        for socket in self.sockets.values():
            socket.close()
        self.sockets.clear()
        self.loop.close()

    def __repr__(self) -> str:
        state = "closed" if self.loop.closed else "running" if self._running else "not running"
        return f"<{type(self).__name__} {state}, services: {', '.join(self.services) or 'none'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _raise_limit(self) -> None:
        """Our own soft limit of descriptors up to the hard one: a service takes up to five; it gets the limit that was."""
        limit = rlimit(_NOFILE)
        if limit.soft != limit.hard:
            self._limit = limit.soft, limit.hard
            set_rlimit(_NOFILE, limit.hard, limit.hard)

    def command_attributes(self, service: Service) -> dict[str, Any]:
        """What the supervisor adds to the Command of a service."""
        given: dict[str, Any] = {}
        if self.on_death == "kill":
            given["parent_death_signal"] = KILL
        if self._limit is not None:
            given["rlimits"] = {_NOFILE: self._limit, **service.attributes.get("rlimits", {})}
        if self._ignored and "default_signals" not in service.attributes:
            given["default_signals"] = self._ignored
        return given

    # ---- starting ----

    def _enqueue(self, instance: Instance) -> None:
        """Start it when its turn comes."""
        if not self._to_start:
            self.loop.call_soon(self._start_some)
        self._to_start.append(instance)

    def _start_some(self) -> None:
        for _ in range(min(_STARTS, len(self._to_start))):
            instance = self._to_start.popleft()
            if instance.goal_up and instance.state is State.STOPPED:
                instance.feed(Event.START)
        if self._to_start:
            self.loop.call_soon(self._start_some)

    # ---- news ----

    def news(self, instance: Instance, change: Change) -> None:
        """An instance has changed: others are told at the end of the turn, since nothing may be fed from within a change."""
        if not self._news:
            self.loop.call_soon(self._tell)
        self._news.append((instance, change))

    @property
    def untold(self) -> bool:
        """Changes were made that no listener has been told of yet: that comes at the end of the turn."""
        return bool(self._news)

    def _tell(self) -> None:
        while self._news:
            instance, change = self._news.popleft()
            self.report(change)
            self.order.consider(instance, change)
            if change.to is State.FAILED and (instance.service.key or self.exit_when == "any-failed"):
                self._shut_down(f"{instance.name} has failed", instance.exit_code or 1)
        self.order.release()
        self._roster.forget_left()
        self._check_end()

    def report(self, record: Change | Notice) -> None:
        """Tell all listeners."""
        for listener in self._listeners:
            try:
                listener(record)
            except Exception as error:  # noqa: BLE001 - a listener's fault is not the services'
                sys.excepthook(type(error), error, error.__traceback__)

    # ---- stopping ----

    def _asked_by_signal(self, queue: SignalQueue, _: int) -> None:
        while (info := queue.get_nowait()) is not None:
            if info.signal == SIGNALS["INT"] and self._stopping:
                self._interrupts += 1
                for instance in self.all():
                    self.order.let_go(instance)
                    instance.feed(Event.KILL, "interrupted again")
                continue
            self._shut_down(f"{signal_name(info.signal)} received", 0)

    def _shut_down(self, reason: str, code: int) -> None:
        if self._stopping or not self._running:
            return
        self._stopping, self._code = True, code
        self._to_start.clear()
        self.order.stop_all(list(self.all()), reason)
        self._check_end()

    def _check_end(self) -> None:
        """Whether this was all."""
        if self._news or self._to_start:
            return
        if self._stopping:
            if self.ended:
                self._finish()
        elif self.exit_when == "all-done" and all(
            instance.state in ENDED and not instance.waits_for_retry for instance in self.all()
        ):
            failed = [instance for instance in self.all() if instance.state is State.FAILED]
            self._stopping, self._code = True, (failed[0].exit_code or 1) if failed else 0
            self._finish()

    def _finish(self) -> None:
        """No service is left: end what nobody could attribute, then the loop."""
        signal = KILL if self._asked_strangers or self._interrupts else SIGNALS["TERM"]
        if self.remains.end_strangers(signal, self.loop.stop):
            self.loop.stop()
            return
        self.loop.call_later(0.02 if self._asked_strangers else 1.0, self._finish)
        self._asked_strangers = True  # those that have not obeyed within a second are killed

    # ---- sockets ----

    def _check_sockets(self, service: Service) -> None:
        for name in service.sockets:
            if name not in self.sockets:
                raise ValueError(f"service {service.name}: there is no socket {name}")

    def sockets_for(self, service: Service) -> tuple[dict[int, int], list[str]]:
        """The descriptors of the sockets that a service gets, from 3 on, and their names."""
        self._check_sockets(service)
        found = [self.sockets[name] for name in service.sockets]
        return {3 + i: socket.fileno() for i, socket in enumerate(found)}, [socket.name for socket in found]
