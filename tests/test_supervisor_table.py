"""The table and the machine that it drives, without processes: every pair, and random walks through all of them."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

import pytest

from rawsys.process import ExitStatus
from rawsys.supervisor import Restart, Service
from rawsys.supervisor.change import Change
from rawsys.supervisor.machine import AGAIN_AFTER, Machine
from rawsys.supervisor.table import ACTIVE, ENDED, KEEP, REFUSED, TABLE, UP, Event, State

KILL = 9
TIMED = frozenset({State.STARTING, State.STOPPING, State.KILLING, State.EXITED, State.BACKOFF, State.FAILED})
ASKED = [Event.START, Event.STOP, Event.RESTART, Event.RESET, Event.KILL]


class Scripted(Machine):
    """A Machine whose world is a few variables: a leader, what is left in its group, one timer, a clock."""

    __slots__ = ("alive", "changes", "clear", "clock", "fails", "made", "members", "quick", "sent", "timer", "waited")

    def __init__(self, service: Service) -> None:
        super().__init__(service, 0)
        self.clock = 1000.0
        self.alive = False
        self.members = 0
        """What lives in the group beside the leader."""
        self.timer: float | None = None
        self.clear = self.quick = True
        self.fails: deque[int] = deque()
        """Errors of the next spawns."""
        self.changes: list[Change] = []
        self.sent: list[int] = []
        self.made: list[float] = []
        """When it was spawned."""
        self.waited = False
        """EMPTY is to be fed when the group is empty."""

    def now(self) -> float:
        return self.clock

    def spawn(self) -> None:
        assert not self.alive and not self.members, "a second process beside the first"
        if self.fails:
            number = self.fails.popleft()
            raise OSError(number, "scripted")
        self.alive, self.waited = True, False
        self.pid = 4000 + len(self.made)
        self.made.append(self.clock)

    def send(self, signal: int) -> None:
        self.sent.append(signal)

    def arm(self, seconds: float | None) -> None:
        self.timer = seconds

    def may_start(self) -> bool:
        return self.clear

    def waits_for(self) -> str:
        return "others"

    def group_gone(self) -> bool:
        gone = not self.alive and not self.members
        self.waited = not gone
        return gone

    def ready_at_once(self) -> bool:
        return self.quick

    def changed(self, change: Change) -> None:
        self.changes.append(change)

    # ---- what happens to it ----

    def ends(self, raw: int = 0) -> None:
        """Its process ends with a wait status."""
        self.alive = False
        self.status = ExitStatus(raw)
        self.feed(Event.EXIT)

    def empties(self) -> None:
        """What was left in its group ends."""
        self.members = 0
        if self.waited and not self.alive:
            self.waited = False
            self.feed(Event.EMPTY)

    def passes(self) -> None:
        """The timer's time passes."""
        assert self.timer is not None
        self.clock += self.timer
        self.timer = None
        self.feed(Event.TIMER)

    @property
    def path(self) -> list[str]:
        """The states that it came through."""
        return [change.to for change in self.changes]


def scripted(start: bool = True, quick: bool = True, **rules: Any) -> Scripted:
    rules.setdefault("restart", Restart(jitter=0))
    machine = Scripted(Service("one", ["true"], **rules))
    machine.quick = quick
    if start:
        machine.feed(Event.START)
    return machine


# ---- all pairs ----


def test_every_pair_is_an_action_kept_or_refused() -> None:
    """Ten states by thirteen events; each action is one that Machine has, and each that it has is used."""
    assert set(TABLE) == {(state, event) for state in State for event in Event}
    assert len(State) == 10
    actions = set(TABLE.values()) - {KEEP, REFUSED}
    assert actions == {name.removeprefix("_do_") for name in dir(Machine) if name.startswith("_do_")}


def test_what_people_ask_for_is_never_refused() -> None:
    """Somebody may ask for anything at any time, and a dependency may be lost or found at any time."""
    for state in State:
        for event in (*ASKED, Event.CLEAR, Event.LOST):
            assert TABLE[state, event] != REFUSED, (state, event)


def test_the_sets_of_states() -> None:
    assert UP < ACTIVE
    assert set(State) == ACTIVE | ENDED | {State.WAITING, State.BACKOFF}


@pytest.mark.parametrize(("state", "event"), [pair for pair, action in TABLE.items() if action == REFUSED])
def test_a_refused_event_is_an_error_and_changes_nothing(state: State, event: Event) -> None:
    machine = scripted(start=False)
    machine.state = state
    with pytest.raises(RuntimeError, match=f"{event} cannot happen to one/0, which is {state}"):
        machine.feed(event)
    assert (machine.state, machine.changes) == (state, [])


@pytest.mark.parametrize(("state", "event"), [pair for pair, action in TABLE.items() if action == KEEP])
def test_a_kept_event_changes_the_goal_at_most(state: State, event: Event) -> None:
    for goal in (True, False):
        machine = scripted(start=False)
        machine.state, machine.goal_up = state, goal
        machine.feed(event)
        assert (machine.state, machine.changes, machine.sent) == (state, [], [])
        wanted = {Event.START: True, Event.RESTART: True, Event.STOP: False, Event.KILL: False}.get(event, goal)
        assert machine.goal_up is wanted


# ---- single ways ----


def test_a_stop_goes_through_its_steps() -> None:
    """TERM, 10 s, INT, 3 s, KILL; then SIGKILL again every second until nothing is left."""
    machine = scripted(stop=["TERM", 10, "INT", 3, "KILL"])
    machine.feed(Event.STOP)
    assert (machine.state, machine.sent, machine.timer) == (State.STOPPING, [15], 10)
    machine.passes()
    assert (machine.state, machine.sent, machine.timer) == (State.STOPPING, [15, 2], 3)
    machine.passes()
    assert (machine.state, machine.sent, machine.timer) == (State.KILLING, [15, 2, 9], AGAIN_AFTER)
    machine.passes()
    assert (machine.state, machine.sent, machine.timer) == (State.KILLING, [15, 2, 9, 9], AGAIN_AFTER)
    machine.ends(9)
    assert machine.state is State.STOPPED
    assert (machine.changes[-1].signal, machine.timer) == (9, None)


def test_a_stop_without_kill_kills_after_its_last_time() -> None:
    machine = scripted(stop=["TERM", 5])
    machine.feed(Event.STOP)
    machine.passes()
    assert (machine.state, machine.sent) == (State.KILLING, [15, 9])


def test_a_stop_without_a_time_waits_for_ever() -> None:
    machine = scripted(stop=["TERM"])
    machine.feed(Event.STOP)
    assert (machine.state, machine.timer) == (State.STOPPING, None)


def test_two_signals_in_a_row_are_sent_at_once() -> None:
    machine = scripted(stop=["HUP", "TERM", 1])
    machine.feed(Event.STOP)
    assert (machine.sent, machine.timer) == ([1, 15], 1)


def test_a_stop_that_begins_with_kill() -> None:
    machine = scripted(stop=["KILL"])
    machine.feed(Event.STOP)
    assert (machine.state, machine.sent) == (State.KILLING, [9])


def test_what_the_leader_leaves_is_ended_before_the_restart() -> None:
    """The leader exits; a member of its group lives: exited, its group gets the steps, and only then comes the next run."""
    machine = scripted(restart=Restart("always", base=0, jitter=0), stop=["TERM", 1, "KILL"])
    machine.members = 1
    machine.ends()
    assert (machine.state, machine.sent, machine.timer) == (State.EXITED, [15], 1)
    machine.passes()
    assert (machine.state, machine.sent) == (State.EXITED, [15, 9])
    machine.empties()
    assert machine.state is State.RUNNING
    assert machine.path == ["starting", "running", "exited", "starting", "running"]


def test_stopped_is_not_recorded_while_a_member_lives() -> None:
    machine = scripted()
    machine.members = 1
    machine.feed(Event.STOP)
    machine.ends(15)
    assert machine.state is State.STOPPING
    machine.empties()
    assert machine.path[-2:] == ["stopping", "stopped"]


def test_a_start_during_a_stop_replaces_the_goal() -> None:
    machine = scripted()
    machine.feed(Event.STOP)
    machine.feed(Event.START)
    machine.ends(15)
    assert machine.path == ["starting", "running", "stopping", "stopped", "starting", "running"]
    assert machine.changes[3].signal == 15


def test_a_stop_during_a_restart_replaces_the_goal() -> None:
    machine = scripted()
    machine.feed(Event.RESTART)
    machine.feed(Event.STOP)
    machine.ends(15)
    assert machine.state is State.STOPPED


@pytest.mark.parametrize("state", list(State))
def test_kill_leads_to_stopped_from_every_state(state: State) -> None:
    machine = reach(state)
    machine.feed(Event.KILL)
    if machine.alive:
        assert machine.sent[-1] == KILL
        machine.members = 0
        machine.ends(9)
    machine.empties()
    assert (machine.state, machine.timer, machine.alive) == (State.STOPPED, None, False)


def reach(state: State) -> Scripted:
    """A machine that came into a state by the table."""
    once = Restart("never", jitter=0)
    match state:
        case State.STOPPED:
            return scripted(start=False)
        case State.WAITING:
            machine = scripted(start=False)
            machine.clear = False
            machine.feed(Event.START)
        case State.STARTING:
            machine = scripted(quick=False)
        case State.RUNNING:
            machine = scripted()
        case State.STOPPING:
            machine = scripted()
            machine.feed(Event.STOP)
        case State.KILLING:
            machine = scripted(stop=["KILL"])
            machine.feed(Event.RESTART)
        case State.EXITED:
            machine = scripted()
            machine.members = 1
            machine.ends(256)
        case State.BACKOFF:
            machine = scripted()
            machine.ends(256)
        case State.FAILED:
            machine = scripted(restart=once)
            machine.ends(256)
        case State.DONE:
            machine = scripted(restart=once)
            machine.ends(0)
    assert machine.state is state
    return machine


def test_the_chosen_ways_reach_every_state() -> None:
    """No state is unreachable, and from each a stop leads to stopped once nothing is left."""
    for state in State:
        machine = reach(state)
        machine.feed(Event.STOP)
        if machine.alive:
            machine.members = 0
            machine.ends(15)
        machine.empties()
        assert machine.state is State.STOPPED


# ---- starts that fail, or take too long ----


def test_a_start_that_is_not_ready_in_time_is_ended_and_tried_again() -> None:
    machine = scripted(quick=False, start_timeout=7)
    assert (machine.state, machine.timer) == (State.STARTING, 7)
    machine.passes()
    assert (machine.state, machine.changes[-1].reason) == (State.STOPPING, "not ready within 7 s")
    machine.ends(15)
    assert (machine.state, machine.changes[-1].reason) == (State.BACKOFF, "it was not ready in time")
    assert machine.changes[-1].signal == 15


def test_a_sick_one_is_ended_and_started_again_without_a_delay() -> None:
    """How its run ended is told although there is no delay: a backoff of 0 s carries it."""
    machine = scripted(restart=Restart("on-failure", base=0))
    machine.feed(Event.SICK, "no WATCHDOG=1 within 2 s")
    machine.ends(15)
    assert (machine.state, machine.timer, machine.changes[-1].signal) == (State.BACKOFF, 0, 15)
    machine.passes()
    assert machine.state is State.RUNNING


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_shortage_backs_off_without_being_counted(number: int) -> None:
    """A hundred spawns fail because the machine is full: still backoff, whatever the limit."""
    machine = scripted(start=False, restart=Restart("never", limit=0, jitter=0))
    machine.fails.extend([number] * 100)
    machine.feed(Event.START)
    for _ in range(99):
        assert machine.state is State.BACKOFF
        machine.passes()
    assert machine.timer == 30
    machine.passes()
    assert machine.state is State.RUNNING


def test_a_program_that_is_not_there_counts_as_a_failure() -> None:
    machine = scripted(start=False, restart=Restart(limit=2, base=1, factor=1, jitter=0, retry_after=None))
    machine.fails.extend([errno.ENOENT] * 3)
    machine.feed(Event.START)
    machine.passes()
    machine.passes()
    assert (machine.state, machine.exit_code, machine.waits_for_retry) == (State.FAILED, 127, False)
    assert machine.changes[-1].reason == "[Errno 2] scripted, after 2 restarts within 60 s"


def test_a_failed_one_is_tried_again_with_nothing_counted() -> None:
    machine = scripted(restart=Restart(limit=1, base=0, window=None, retry_after=300))
    for _ in range(2):
        machine.ends(256)
        assert machine.state is State.RUNNING
        machine.ends(256)
        assert (machine.state, machine.timer, machine.waits_for_retry) == (State.FAILED, 300, True)
        assert machine.changes[-1].next_start == machine.changes[-1].time + 300
        machine.passes()
        assert (machine.state, machine.goal_up) == (State.RUNNING, True)


@pytest.mark.parametrize(
    ("policy", "oneshot", "raw", "state"),
    [
        ("always", False, 0, State.BACKOFF),
        ("always", False, 256, State.BACKOFF),
        ("always", True, 0, State.DONE),
        ("on-failure", False, 0, State.DONE),
        ("on-failure", False, 256, State.BACKOFF),
        ("on-failure", False, 11, State.BACKOFF),
        ("on-failure", True, 256, State.BACKOFF),
        ("never", False, 0, State.DONE),
        ("never", False, 256, State.FAILED),
    ],
)
def test_the_policies(policy: str, oneshot: bool, raw: int, state: State) -> None:
    machine = scripted(restart=Restart(policy, jitter=0), oneshot=oneshot)
    machine.ends(raw)
    assert machine.state is state
    assert (machine.timer is not None) == (state is State.BACKOFF)


def test_a_lost_dependency_stops_it_and_it_waits() -> None:
    """That is no failure: nothing is counted, also with restart="never", and it comes back when all is ready."""
    machine = scripted(restart=Restart("never"))
    machine.clear = False
    machine.feed(Event.LOST, "db is exited")
    assert machine.state is State.STOPPING
    machine.ends(15)
    assert (machine.state, machine.goal_up) == (State.WAITING, True)
    machine.clear = True
    machine.feed(Event.CLEAR)
    assert machine.state is State.RUNNING


def test_a_status_that_is_lost_is_no_success() -> None:
    machine = scripted(restart=Restart("never"))
    machine.alive = False
    machine.feed(Event.EXIT)
    assert (machine.state, machine.exit_code) == (State.FAILED, 1)
    assert machine.changes[-1].reason == "how it ended is lost"


def test_reset_starts_a_failed_one_and_one_in_backoff() -> None:
    for state in (State.FAILED, State.BACKOFF):
        machine = reach(state)
        machine.feed(Event.RESET)
        assert machine.state is State.RUNNING


def test_a_description_is_plain() -> None:
    machine = scripted()
    machine.clock += 5
    assert machine.describe() == {
        "name": "one", "service": "one", "instance": 0, "state": "running", "goal": "up", "pid": 4000, "uptime": 5.0,
        "in_state": 5.0, "restarts": 0, "last_exit": None, "next_start": None,
    }  # fmt: skip
