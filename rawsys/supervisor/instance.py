"""Instance: a Machine with real processes."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from rawsys.command import STDOUT
from rawsys.errors import StatusLostError
from rawsys.fd import Fd
from rawsys.process import Pid
from rawsys.supervisor import group as groups
from rawsys.supervisor.group import Group
from rawsys.supervisor.machine import Machine
from rawsys.supervisor.table import Event, State
from rawsys.supervisor.words import KILL, SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rawsys.command import Child, Command
    from rawsys.command.environment import Text
    from rawsys.events import Timer
    from rawsys.supervisor.change import Change
    from rawsys.supervisor.health import Health
    from rawsys.supervisor.logs import Pump
    from rawsys.supervisor.notify import NotifySocket
    from rawsys.supervisor.service import Service
    from rawsys.supervisor.supervisor import Supervisor


class Instance(Machine):
    """One instance of a service and all that belongs to it: its process, its group, its pipes and timers."""

    __slots__ = ("_alive", "_command", "_last_words", "_members", "_notify", "_ready_end", "_signalled", "_taps", "_timer",
                 "_watchdog", "_world", "child", "group", "health", "pumps", "status_text")  # fmt: skip

    def __init__(self, service: Service, number: int, world: Supervisor) -> None:
        super().__init__(service, number)
        self._world = world
        self.child: Child | None = None
        self.group: Group | None = None
        self.pumps: list[Pump] = []
        self._taps: tuple[Callable[[bytes], object], ...] = ()
        """Who is told what it writes, whichever pumps it has: a reload may give it others."""
        self.health: Health | None = None
        """What is asked of it, where something is."""
        self.status_text = ""
        """What it last said of itself by STATUS=."""
        self._command: Command | None = None
        self._signalled: set[int] = set()
        """Orphans of it that the signal of this step of its stop was sent to."""
        self._members: dict[int, Pid] = {}
        """Members of its group, and orphans of it, that are waited for."""
        self._timer: Timer | None = None
        self._alive: Timer | None = None
        self._watchdog: Timer | None = None
        self._notify: NotifySocket | None = None
        self._ready_end: Fd | None = None

    @property
    def key(self) -> str:
        """``web/0``: one word for it, and what marks its processes in their environment."""
        return f"{self.service.name}/{self.number}"

    @property
    def name(self) -> str:
        """``web``, or ``web/2`` for another than the first."""
        return f"{self.service.name}/{self.number}" if self.number else self.service.name

    @property
    def cgroup(self) -> str:
        """The directory of its cgroup, or nothing."""
        place = self.service.attributes.get("cgroup")
        return os.fsdecode(place) if isinstance(place, (str, bytes, os.PathLike)) else ""

    # ---- what the machine asks for ----

    def spawn(self) -> None:
        """Start its process, and hand its group to the guardian."""
        try:
            child = self._spawn()
        except (LookupError, ValueError, TypeError) as error:
            raise OSError(errno.EINVAL, str(error)) from error
        self.child, self.pid, self.group = child, child.pid, Group(child)
        self.status_text = ""
        try:
            self._world.loop.register(child, self._leader_ended)
            self._world.remains.hold(self, child)
        except OSError:  # it runs and cannot be watched: another one would come beside it
            self._close_ready_end()
            self.end_now()
            raise

    def _spawn(self) -> Child:
        if self._command is None:
            try:
                self._command = self._prepare()
            except BaseException:
                self._unprepare()
                raise
        for pump in self.pumps:
            pump.sink.begin()
        if self.service.ready.kind != "fd":
            return self._command.spawn()
        self._ready_end, write = Fd.pipe()
        with write:
            try:  # all that can fail comes before the spawn: nobody would know of a child that is there by then
                self._ready_end.nonblocking = True
                self._world.loop.register(self._ready_end, self._ready_line)
                return self._command.replace(fds={**self._command.fds, self.service.ready.fd: write}).spawn()
            except BaseException:
                self._close_ready_end()
                raise

    def _prepare(self) -> Command:
        """The Command of all its starts."""
        world, service = self._world, self.service
        self._unprepare()  # what a service that was another one before has left
        given: dict[str, Any] = dict(world.command_attributes(service))
        env = {"RAWSYS_MARK": world.remains.mark(self)}
        if service.log is not None:
            self.pumps = world.output.pumps_for(self)
            for pump in self.pumps:
                pump.taps = self._taps
            given["stdout"] = self.pumps[0].write
            if service.log.stderr == "merge":
                given["stderr"] = STDOUT
            elif len(self.pumps) > 1:
                given["stderr"] = self.pumps[1].write
        given["announce"] = world.remains.announcement(self)
        if service.uses_notify:
            from rawsys.supervisor.notify import NotifySocket

            self._notify = NotifySocket()
            world.loop.register(self._notify, self._notified)
            env["NOTIFY_SOCKET"] = self._notify.address
            if service.watchdog is not None:
                env["WATCHDOG_USEC"] = str(int(service.watchdog * 1e6))
        if service.sockets:
            given["fds"], names = world.sockets_for(service)
            env |= {"LISTEN_FDS": str(len(service.sockets)), "LISTEN_FDNAMES": ":".join(names)}
            given["pid_variable"] = "LISTEN_PID"
        return service.command_for(self.number, env, **given)

    def _unprepare(self) -> None:
        """Release what it keeps over its runs."""
        self._command = None
        if self._notify is not None:
            if self._notify in self._world.loop:
                self._world.loop.unregister(self._notify)
            self._notify.close()
            self._notify = None
        self._world.output.close_pumps(self)

    def send(self, signal: int) -> None:
        """Signal what is left of it; a stopped process is continued, so that it can take the signal."""
        if self.group is None:
            return
        if self.service.stop_target == "group":
            self.group.send(signal)
            if signal != KILL:
                self.group.send(SIGNALS["CONT"])
        elif self.child is not None and self.child.status is None:
            with suppress(ProcessLookupError, PermissionError):  # reaped by somebody else; of another user by set-uid
                self.child.send_signal(signal)
                self.child.send_signal(SIGNALS["CONT"])
        self._signalled = set(self._world.remains.send_orphans(self, signal))
        if signal == KILL and self.cgroup:
            groups.kill_cgroup(self.cgroup)

    def arm(self, seconds: float | None) -> None:
        """Set the timer of the state."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self._world.loop.call_later(seconds, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self.feed(Event.TIMER)

    def may_start(self) -> bool:
        """Whether all that it comes after is ready."""
        return self._world.order.may_start(self)

    def waits_for(self) -> str:
        """The services that are not ready yet."""
        return ", ".join(self._world.order.not_ready(self)) or "the end of the supervisor"

    def ready_at_once(self) -> bool:
        """Whether nothing has to be waited for."""
        ready = self.service.ready
        if ready.kind == "alive":
            self._alive = self._world.loop.call_later(
                ready.seconds, self.feed, Event.READY, f"alive for {ready.seconds:g} s"
            )
        if ready.probe is not None:
            self._asked().wait_until_ready(ready.probe)
        return ready.kind == "none"

    def _asked(self) -> Health:
        if self.health is None:
            from rawsys.supervisor.health import Health

            self.health = Health(self, self._world.loop)
        return self.health

    def changed(self, change: Change) -> None:
        """Tell the supervisor, at the end of the turn."""
        if change.to is State.RUNNING and self.service.watchdog is not None:
            self._arm_watchdog()
        elif change.from_ is State.RUNNING or change.from_ is State.STARTING:
            self._quiet()
        if change.to is State.RUNNING and self.service.check is not None:
            self._asked().check(self.service.check)
        self._world.news(self, change)

    # ---- its end ----

    def _leader_ended(self, child: Child, _: int) -> None:
        """The pidfd is readable: its process has ended."""
        self._world.loop.unregister(child)
        assert self.group is not None
        try:
            self.status = self.group.leader_ended()
        except StatusLostError:
            self.status = None
        self.feed(Event.EXIT)

    def group_gone(self) -> bool:
        """Whether nothing is left; else /proc is looked at, once for all that ask in this turn."""
        assert self.group is not None
        if self.service.stop_target == "main" or (self.group.is_gone() and self._world.remains.only_its_group(self)):
            self._let_go()
            return True
        self._world.remains.look_at(self)
        return False

    def seen(self, members: list[int]) -> None:
        """What a look found of its group, or else of it: wait for each of these.  If there is none, nothing is left."""
        if self.group is None or (self.child is not None and self.child in self._world.loop):
            return  # asked for a run that is over; the next one has begun, whose leader lives
        if not members:
            self._let_go()
            self.feed(Event.EMPTY)
            return
        for member in members:
            if member not in self._members:
                self._wait_for(member)
        if self._step >= 0:  # what has become an orphan since the signal was sent would wait for the last one
            self._signalled.update(self._world.remains.send_orphans(self, self.step_signal, but=self._signalled))
        if not self._members:  # they ended while they were looked at, or no descriptor is left
            self._world.loop.call_later(0.01, self._world.remains.look_at, self)

    def _wait_for(self, member: int) -> None:
        try:
            held = Pid.open(member)
        except OSError:
            return
        try:
            self._world.loop.register(held, self._member_ended)
        except OSError:  # no more can be watched
            held.close()
            return
        self._members[member] = held

    def _member_ended(self, member: Pid, _: int) -> None:
        self._world.loop.unregister(member)
        del self._members[member.pid]
        member.close()
        self._world.remains.look_at(self)

    def _let_go(self) -> None:
        """Nothing is left of this run."""
        assert self.group is not None
        self.group.release()
        self.group = self.child = None
        self._world.remains.let_go(self)

    # ---- what it says ----

    def _ready_line(self, end: Fd, _: int) -> None:
        try:
            data = end.read(4096)
        except BlockingIOError:
            return
        if data and b"\n" not in data:
            return
        self._close_ready_end()
        if data:
            self.feed(Event.READY)

    def _close_ready_end(self) -> None:
        if self._ready_end is not None:
            if self._ready_end in self._world.loop:
                self._world.loop.unregister(self._ready_end)
            self._ready_end.close()
            self._ready_end = None

    def _notified(self, source: NotifySocket, _: int) -> None:
        for said in source.messages(self.pid or 0):
            if self.child is None:
                continue  # the last words of a run that is over
            if "STATUS" in said:
                self.status_text = said["STATUS"]
            elif said.get("RELOADING") == "1" or said.get("STOPPING") == "1":
                self.status_text = "reloading" if "RELOADING" in said else "stopping"
            elif said.get("READY") == "1" and self.status_text == "reloading":
                self.status_text = ""
            if said.get("WATCHDOG") == "trigger":
                self.feed(Event.SICK, "it triggered its watchdog")
            elif said.get("WATCHDOG") == "1" and self._watchdog is not None:
                self._arm_watchdog()
            if said.get("READY") == "1" and self.service.ready.kind == "notify":
                self.feed(Event.READY)

    def _arm_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        assert self.service.watchdog is not None
        self._watchdog = self._world.loop.call_later(self.service.watchdog, self._not_heard)

    def _not_heard(self) -> None:
        self._watchdog = None
        self.feed(Event.SICK, f"no WATCHDOG=1 within {self.service.watchdog:g} s")

    def _quiet(self) -> None:
        """Nothing that it says counts any more in this run."""
        if self.health is not None:
            self.health.end()
        for name in ("_alive", "_watchdog"):
            timer = getattr(self, name)
            if timer is not None and (name == "_alive" or self.state is not State.RUNNING):
                timer.cancel()
                setattr(self, name, None)
        if self.state is not State.RUNNING or self.service.ready.kind == "fd":
            self._close_ready_end()

    # ---- what its health needs ----

    def helper_command(self, words: tuple[Text, ...], **streams: Any) -> Command:
        """A command that runs as the service does."""
        attributes = {**self._world.command_attributes(self.service), **streams}
        helper = self.service.replace(command=words, log=None, sockets=(), ready=None, check=None)
        return helper.command_for(self.number, **attributes)

    def know_helper(self, pid: int) -> None:
        """A probe is a child of ours, and no orphan."""
        self._world.remains.helpers.add(pid)

    def forget_helper(self, pid: int) -> None:
        """It has been reaped, or let go."""
        self._world.remains.helpers.discard(pid)

    def tap(self, listener: Callable[[bytes], object]) -> None:
        """Have what it writes told to a listener too."""
        self._set_taps((*self._taps, listener))

    def untap(self, listener: Callable[[bytes], object]) -> None:
        """Tell it no more."""
        self._set_taps(tuple(one for one in self._taps if one is not listener))

    def _set_taps(self, taps: tuple[Callable[[bytes], object], ...]) -> None:
        self._taps = taps
        for pump in self.pumps:
            pump.taps = taps

    # ---- the owner ----

    def end_now(self) -> None:
        """SIGKILL for all that is left of its run, without waiting for more than its process."""
        if self.group is None:
            return
        self.group.send(KILL)
        self._world.remains.send_orphans(self, KILL)
        if self.child is not None and self.child in self._world.loop:
            self._world.loop.unregister(self.child)
            with suppress(StatusLostError):
                self.child.wait()
        self._let_go()

    def close(self) -> None:
        """Release what it has kept over its runs.  Nothing of it may be running."""
        self.arm(None)
        self._quiet()
        for member in self._members.values():
            self._world.loop.unregister(member)
            member.close()
        self._members.clear()
        self._unprepare()

    def become(self, service: Service) -> None:
        """Follow other rules from now on; what concerns the process itself holds from its next start."""
        before, self.service = self.service, service
        if self.state is State.RUNNING and service.check != before.check:
            if self.health is not None:
                self.health.end()
            if service.check is not None:
                self._asked().check(service.check)
        self.history.restart = service.restart
        self._command = None

    def describe(self) -> dict[str, object]:
        """What is known of it, for a status."""
        found = super().describe()
        if self.status_text:
            found["status_text"] = self.status_text
        if self.health is not None and self.health.word:
            found["health"] = self.health.word
        for pump in self.pumps:
            if pump.trouble is not None:
                found["log_trouble"] = str(pump.trouble)
        return found
