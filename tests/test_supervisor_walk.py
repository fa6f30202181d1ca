"""Random walks through the table: whatever happens, in whatever order, what must hold in every state does."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_supervisor_table import ASKED, KILL, TIMED, Scripted

from rawsys.supervisor import Restart, Service
from rawsys.supervisor.table import ACTIVE, TABLE, UP, Event, State

RULES = st.builds(
    Restart,
    st.sampled_from(["always", "on-failure", "never"]),
    base=st.sampled_from([0, 0.1, 1]),
    max=st.sampled_from([1, 30]),
    limit=st.sampled_from([None, 0, 1, 3]),
    window=st.sampled_from([None, 5, 60]),
    retry_after=st.sampled_from([None, 10]),
)


class Walk(RuleBasedStateMachine):
    """Anything happens at any time; what must hold in every state does."""

    machine: Scripted

    @initialize(
        restart=RULES,
        oneshot=st.booleans(),
        stop=st.sampled_from([("TERM", 10, "KILL"), ("TERM",), ("KILL",), ("TERM", 1, "INT", 2)]),
        timeout=st.sampled_from([None, 3]),
    )
    def make(self, restart: Restart, oneshot: bool, stop: tuple[str | float, ...], timeout: float | None) -> None:
        service = Service("one", ["true"], restart=restart, oneshot=oneshot, stop=stop, start_timeout=timeout)
        self.machine = Scripted(service)
        self.counted: deque[float] = deque()
        """Restarts that the policy made, since what was counted was forgotten."""

    # ---- what may happen ----

    @rule(event=st.sampled_from(ASKED))
    def asked(self, event: Event) -> None:
        action = TABLE[self.machine.state, event]
        self.feed(event)
        if action in ("fresh", "forget"):
            self.counted.clear()

    @rule()
    def lost(self) -> None:
        self.machine.clear = False
        self.feed(Event.LOST)

    @rule()
    def found(self) -> None:
        self.machine.clear = True
        self.feed(Event.CLEAR)

    @rule(quick=st.booleans())
    def readiness(self, quick: bool) -> None:
        self.machine.quick = quick

    @rule(number=st.sampled_from([errno.EAGAIN, errno.ENOENT, errno.EMFILE]), count=st.integers(1, 3))
    def spawns_will_fail(self, number: int, count: int) -> None:
        self.machine.fails.extend([number] * count)

    @rule(members=st.integers(0, 2))
    @precondition(lambda self: self.machine.alive)
    def forks(self, members: int) -> None:
        self.machine.members += members

    @rule()
    @precondition(lambda self: self.machine.alive)
    def ready(self) -> None:
        self.feed(Event.READY)

    @rule()
    @precondition(lambda self: self.machine.alive)
    def sick(self) -> None:
        self.feed(Event.SICK)

    @rule(raw=st.sampled_from([0, 256, 15, 9, 139]))
    @precondition(lambda self: self.machine.alive)
    def ends(self, raw: int) -> None:
        before = self.machine.state
        self.watch(lambda: self.machine.ends(raw), before)

    @rule()
    @precondition(lambda self: self.machine.members)
    def empties(self) -> None:
        self.watch(self.machine.empties, self.machine.state)

    @rule()
    @precondition(lambda self: self.machine.timer is not None)
    def time_is_over(self) -> None:
        state = self.machine.state
        self.watch(self.machine.passes, state)
        if state is State.FAILED:
            self.counted.clear()

    @rule(seconds=st.sampled_from([0.5, 31, 100]))
    @precondition(lambda self: self.machine.timer is None)
    def time_passes(self, seconds: float) -> None:
        self.machine.clock += seconds

    # ---- what must hold ----

    def feed(self, event: Event) -> None:
        self.watch(lambda: self.machine.feed(event), self.machine.state)

    def watch(self, step: Any, before: State) -> None:
        """Count the restarts that the policy decides: into backoff, or at once, by a death that nobody asked for."""
        machine = self.machine
        seen = len(machine.changes)
        history = machine.history._total
        step()
        for _ in range(machine.history._total - history):
            self.counted.append(machine.clock)
        assert before == machine.state or len(machine.changes) > seen

    @invariant()
    def a_timer_only_where_a_state_has_one(self) -> None:
        assert self.machine.timer is None or self.machine.state in TIMED
        if self.machine.state in (State.BACKOFF, State.KILLING):
            assert self.machine.timer is not None

    @invariant()
    def a_process_only_where_a_state_has_one(self) -> None:
        machine = self.machine
        assert machine.state in ACTIVE or (not machine.alive and not machine.members)
        assert machine.state not in UP or machine.alive

    @invariant()
    def changes_are_a_chain(self) -> None:
        state: str = State.STOPPED
        for change in self.machine.changes:
            assert change.from_ == state != change.to
            state = change.to
        assert state == self.machine.state

    @invariant()
    def every_run_has_its_end_recorded_once(self) -> None:
        """Between two starts of a process stands one record at least that says how the first one ended."""
        told = True
        for change in self.machine.changes:
            if change.to == State.STARTING:
                assert told
                told = change.pid is None  # it was not born: there is no end to tell
            elif change.code is not None or change.signal is not None:
                told = True

    @invariant()
    def no_more_restarts_than_the_limit(self) -> None:
        rule = self.machine.service.restart
        if rule.limit is None:
            return
        made = [t for t in self.counted if rule.window is None or t > self.machine.clock - rule.window]
        assert len(made) <= rule.limit

    @invariant()
    def it_is_up_or_on_its_way_only_if_wanted(self) -> None:
        if not self.machine.goal_up:
            assert self.machine.state not in (State.WAITING, State.STARTING, State.RUNNING, State.BACKOFF)

    def teardown(self) -> None:
        """A stop is always heard: with the goal down, and a world that obeys SIGKILL, it ends in stopped."""
        machine = getattr(self, "machine", None)
        if machine is None:
            return
        machine.feed(Event.STOP)
        for _ in range(20):
            if machine.sent and machine.sent[-1] == KILL:
                if machine.alive:
                    machine.ends(9)
                machine.empties()
            if machine.timer is None:
                break
            machine.passes()
        if machine.state is not State.STOPPED:  # a stop without end: ["TERM"] waits for ever
            machine.feed(Event.KILL)
            if machine.alive:
                machine.ends(9)
            machine.empties()
        assert (machine.state, machine.timer, machine.alive) == (State.STOPPED, None, False)


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
