"""Machine: one instance, driven by the table; what it does to the world is a subclass's."""

from __future__ import annotations

import errno
import time

from rawsys.supervisor.change import Change, ending, full_name
from rawsys.supervisor.restart import History
from rawsys.supervisor.table import ACTIVE, KEEP, REFUSED, TABLE, Event, State
from rawsys.supervisor.words import KILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.process import ExitStatus
    from rawsys.supervisor.service import Service

SHORTAGE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})
"""What a spawn fails with when the machine, not the service, is at fault: tried again without being counted."""

_GOALS = {
    Event.START: True, Event.RESTART: True, Event.RESET: None, Event.STOP: False, Event.KILL: False,
}  # fmt: skip
_ASKED = frozenset({Event.STOP, Event.KILL, Event.RESTART, Event.LOST})
"""Causes of an end that somebody wanted: it is no failure, and not counted."""
AGAIN_AFTER = 1.0
"""Seconds after which a group that was killed and is not gone is killed again."""


class Machine:
    """State, goal and history of one instance; `feed` tells it what happened.

    A subclass does what the actions need: `spawn`, `send`, `arm`, `may_start`, `group_gone`, `ready_at_once`, `changed`, `now`.
    """

    __slots__ = ("_step", "cause", "error", "goal_up", "history", "last", "next_at", "number", "pid", "restarts", "service",
                 "since", "started", "state", "status")  # fmt: skip

    def __init__(self, service: Service, number: int) -> None:
        self.service = service
        self.number = number
        """Which of the service's instances, from 0."""
        self.state = State.STOPPED
        self.goal_up = False
        """Whether it is wanted up, whatever it is doing now."""
        self.history = History(service.restart)
        self.pid: int | None = None
        self.status: ExitStatus | None = None
        """How its last process ended; None when that is lost, or it has not ended."""
        self.error: OSError | None = None
        """Why its process could not be started the last time."""
        self.cause: Event | None = None
        """What made its last run end."""
        self.started = self.since = 0.0
        """Monotonic seconds: when its process began, and when it came into its state."""
        self.last = ""
        """How its last run ended, in words."""
        self.next_at: float | None = None
        """Monotonic seconds: when it starts next, in the states that wait for that."""
        self.restarts = -1
        """How often it was started again."""
        self._step = 0

    # ---- what a subclass does ----

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def spawn(self) -> None:
        """Start the process and put its number into `pid`; OSError when that fails."""
        raise NotImplementedError

    def send(self, signal: int) -> None:
        """Send a signal to all that is left of it."""
        raise NotImplementedError

    def arm(self, seconds: float | None) -> None:
        """Feed TIMER after some time instead of what was armed before; None: never."""
        raise NotImplementedError

    def may_start(self) -> bool:
        """Whether all that it comes after is ready.  When that becomes true later, CLEAR is fed."""
        raise NotImplementedError

    def waits_for(self) -> str:
        """What `may_start` says no for, in words."""
        raise NotImplementedError

    def group_gone(self) -> bool:
        """Whether nothing is left of it.  If not, EMPTY is fed when that has come true."""
        raise NotImplementedError

    def ready_at_once(self) -> bool:
        """Whether it is ready as soon as it runs.  If not, READY is fed."""
        raise NotImplementedError

    def changed(self, change: Change) -> None:
        """The state has changed.  Nothing may be fed from here."""
        raise NotImplementedError

    # ---- the drive ----

    def feed(self, event: Event, reason: str = "") -> None:
        """Tell what happened.  RuntimeError for what cannot happen in its state."""
        action = TABLE[self.state, event]
        if action is REFUSED:
            raise RuntimeError(f"{event} cannot happen to {self.service.name}/{self.number}, which is {self.state}")
        goal = _GOALS.get(event)
        if goal is not None:
            self.goal_up = goal
        if action is not KEEP:
            getattr(self, f"_do_{action}")(event, reason)

    def _enter(self, state: State, reason: str, next_start: float | None = None, ended: bool = False) -> None:
        """Come into a state.  Its timer is armed afterwards; `next_start` is in seconds from now."""
        self.arm(None)
        before, self.state, self.since = self.state, state, self.now()
        code = signal = usage = None
        if ended and self.status is not None:
            code, usage = self.status.code, self.status.rusage
            signal = self.status.raw & 0x7F or None
        self.next_at = None if next_start is None else self.since + next_start
        wall = time.time()
        self.changed(
            Change(wall, self.service.name, self.number, before, state, reason, self.pid, code, signal, usage,
                   None if next_start is None else wall + next_start)
        )  # fmt: skip

    # ---- the actions, by their names in the table ----

    def _do_wait(self, event: Event, reason: str) -> None:
        if self.may_start():
            self._do_launch(event, reason)
        elif self.state is not State.WAITING:
            self._enter(State.WAITING, f"waits for {self.waits_for()}")

    def _do_launch(self, event: Event, reason: str) -> None:
        self.status = self.error = self.cause = self.pid = None
        self.restarts += 1
        self.started = self.now()
        try:
            self.spawn()
        except OSError as error:
            self.error = error
            self.last = str(error)
            self._enter(State.STARTING, reason)
            return self.feed(Event.UNBORN, "; ".join([str(error), *getattr(error, "__notes__", ())]))
        self._enter(State.STARTING, reason)
        if self.ready_at_once():
            return self.feed(Event.READY)
        self.arm(self.service.start_timeout)
        return None

    def _do_run(self, event: Event, reason: str) -> None:
        self._enter(State.RUNNING, reason or "ready")

    def _do_halt(self, event: Event, reason: str) -> None:
        self._enter(State.STOPPED, reason)

    def _do_fresh(self, event: Event, reason: str) -> None:
        self.history.forget()
        self.goal_up = True
        self._do_wait(event, reason or "tried again")

    def _do_forget(self, event: Event, reason: str) -> None:
        self.history.forget()

    def _do_end(self, event: Event, reason: str) -> None:
        if event is Event.TIMER:
            reason = f"not ready within {self.service.start_timeout:g} s"
        self.cause = event
        self._enter(State.STOPPING, reason)
        self._step = -1
        self._advance()

    def _do_again(self, event: Event, reason: str) -> None:
        self.cause = event

    def _do_slay(self, event: Event, reason: str) -> None:
        if self.cause is not Event.EXIT:
            self.cause = event
        self._kill(reason)

    def _do_step(self, event: Event, reason: str) -> None:
        self._advance()

    def _do_gone(self, event: Event, reason: str) -> None:
        self.cause = event
        self.last = self._ending()
        self._enter(State.EXITED, reason or self._ending(), ended=True)
        if self.group_gone():
            self.feed(Event.EMPTY)
        else:
            self._step = -1
            self._advance()

    def _do_note(self, event: Event, reason: str) -> None:
        self.last = self._ending()
        if self.group_gone():
            self.feed(Event.EMPTY)

    def _do_settle(self, event: Event, reason: str) -> None:
        if not self.goal_up:
            self._enter(State.STOPPED, self._ending(), ended=True)
        elif self.cause in _ASKED:
            self._enter(State.STOPPED, self._ending(), ended=True)  # else nobody would be told how that run ended
            self._do_wait(event, "started again")
        else:
            self._decide()

    def _do_retry(self, event: Event, reason: str) -> None:
        self.cause = event
        error = self.error
        if error is not None and error.errno in SHORTAGE:
            self._back_off(self.history.delay(self.now(), 0, counted=False), reason)
        else:
            self._decide(reason)

    # ---- what they have in common ----

    def _ending(self) -> str:
        return ending(None, None) if self.status is None else ending(self.status.code, self.status.raw & 0x7F or None)

    def _advance(self) -> None:
        """Take the next step of the stop; a group that was killed is killed again after a time."""
        steps = self.service.stop
        while True:
            self._step = min(self._step + 1, len(steps))
            if self._step == len(steps) or steps[self._step][0] == KILL:
                return self._kill("" if self._step == 0 else "did not end in time")
            signal, wait = steps[self._step]
            self.send(signal)
            if wait != 0:
                return self.arm(wait)

    @property
    def step_signal(self) -> int:
        """The signal of the step that its stop has come to."""
        steps = self.service.stop
        return steps[self._step][0] if self._step < len(steps) else KILL

    def _kill(self, reason: str) -> None:
        if self.state is not State.KILLING and self.state is not State.EXITED:
            self._enter(State.KILLING, reason)
        self._step = len(self.service.stop)
        self.send(KILL)
        self.arm(AGAIN_AFTER)

    def _decide(self, reason: str = "") -> None:
        """It ended by itself, or was ended because it was not well: the policy tells what comes."""
        rule = self.service.restart
        good = self.cause is Event.EXIT and rule.succeeded(self.status)
        if good and (self.service.oneshot or rule.policy != "always"):
            return self._enter(State.DONE, self._ending(), ended=True)
        if rule.policy == "never":
            return self._enter(State.FAILED, reason or self._why(), ended=True)
        delay = self.history.delay(self.now(), self.now() - self.started)
        if delay is not None:
            return self._back_off(delay, reason or self._why())
        window = "" if rule.window is None else f" within {rule.window:g} s"
        reason = f"{reason or self._why()}, after {rule.limit} restarts{window}"
        self._enter(State.FAILED, reason, rule.retry_after, ended=True)
        return self.arm(rule.retry_after)

    def _why(self) -> str:
        if self.cause is Event.EXIT:
            return self._ending()
        return {Event.SICK: "it was not well", Event.TIMER: "it was not ready in time"}.get(
            self.cause or Event.EXIT, ""
        )

    def _back_off(self, delay: float | None, reason: str) -> None:
        assert delay is not None
        if delay == 0 and self.state is State.EXITED:
            return self._do_wait(Event.TIMER, f"started again: {reason}" if reason else "started again")
        self._enter(State.BACKOFF, reason, delay, ended=True)
        return self.arm(delay)  # also one of 0: what cannot be started must not keep the loop from all else

    @property
    def exit_code(self) -> int:
        """What a shell would say of its end: the code, 128 and the signal, 127 and 126 where it did not start."""
        if self.status is not None:
            code = self.status.code
            return 128 + (self.status.raw & 0x7F) if code is None else code
        if self.error is not None:
            return 127 if self.error.errno == errno.ENOENT else 126
        return 1

    @property
    def waits_for_retry(self) -> bool:
        """True for a failed one that will be tried again."""
        return (
            self.state is State.FAILED
            and self.service.restart.policy != "never"
            and (self.service.restart.retry_after is not None)
        )

    def describe(self) -> dict[str, object]:
        """What is known of it, for a status: plain values that go into JSON, times in seconds from now."""
        now, alive = self.now(), self.pid is not None and self.status is None and self.state in ACTIVE
        return {
            "name": full_name(self.service.name, self.number),
            "service": self.service.name,
            "instance": self.number,
            "state": str(self.state),
            "goal": "up" if self.goal_up else "down",
            "pid": self.pid if alive else None,
            "uptime": now - self.started if alive else None,
            "in_state": now - self.since,
            "restarts": max(0, self.restarts),
            "last_exit": self.last or None,
            "next_start": None if self.next_at is None else max(0.0, self.next_at - now),
        }
