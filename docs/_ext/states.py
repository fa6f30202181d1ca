"""The states of the supervisor's instances, drawn from what the machine does when it is driven through its whole table.

The places of the states are chosen here; which ways there are between them, and on which events, is found by driving
`Machine` at random, without processes.  A way that the picture has no place for ends the build.
"""

from __future__ import annotations

import errno
import random
from functools import cache

from drawing import Drawing

from rawsys.process import ExitStatus
from rawsys.supervisor.change import Change
from rawsys.supervisor.machine import Machine
from rawsys.supervisor.restart import Restart
from rawsys.supervisor.service import Service
from rawsys.supervisor.table import REFUSED, TABLE, Event, State

REST = (State.STOPPED, State.BACKOFF, State.FAILED, State.DONE)
UP = (State.STARTING, State.RUNNING)
END = (State.EXITED, State.STOPPING, State.KILLING)
Ways = dict[tuple[State, State], set[str]]


class Dry(Machine):
    """A machine without a world: what the world would answer is chosen at random."""

    def __init__(self, kind: str, chance: random.Random, ways: Ways) -> None:
        super().__init__(
            Service(
                "any", ["true"], restart=Restart(kind, base=chance.choice((0, 0.1)), limit=2, window=60, retry_after=5)
            ),
            0,
        )
        self.chance, self.ways, self.clock, self.event = chance, ways, 0.0, ""

    def now(self) -> float:
        return self.clock

    def spawn(self) -> None:
        if self.chance.random() < 0.2:
            raise FileNotFoundError(errno.ENOENT, "no program")
        self.pid = 1

    def send(self, signal: int) -> None:
        pass

    def arm(self, seconds: float | None) -> None:
        pass

    def may_start(self) -> bool:
        return self.chance.random() < 0.5

    def waits_for(self) -> str:
        return "another one"

    group_gone = ready_at_once = may_start

    def feed(self, event: Event, reason: str = "") -> None:
        self.event = str(event)
        super().feed(event, reason)

    def changed(self, change: Change) -> None:
        self.ways.setdefault((State(change.from_), State(change.to)), set()).add(self.event)


@cache
def _ways() -> Ways:
    """Every way from one state to another, and the events on which it is taken."""
    ways: Ways = {}
    chance = random.Random(0)
    for kind in ("always", "on-failure", "never") * 300:
        machine = Dry(kind, chance, ways)
        for _ in range(60):
            event = chance.choice([event for event in Event if TABLE[machine.state, event] != REFUSED])
            machine.clock += chance.choice((0, 0.1, 40))
            if event is Event.EXIT:
                machine.status = ExitStatus(chance.choice((0, 256, 9)))
            machine.feed(event)
    return ways


def states() -> Drawing:
    """The ten states, in three groups and one between them."""
    left = dict(_ways())

    def on(begins: tuple[State, ...], ends: tuple[State, ...]) -> str:
        """The events on which these ways are taken; they are drawn then."""
        taken = {pair: events for pair, events in left.items() if pair[0] in begins and pair[1] in ends}
        if not taken:
            raise ValueError(f"no way from {begins} to {ends}: the picture is older than the table")
        for pair in taken:
            del left[pair]
        return ", ".join(sorted(set().union(*taken.values())))

    begin, halt = on(REST, (State.WAITING, State.STARTING)), on((State.WAITING,), (State.STOPPED,))
    # A restart comes to stopped for a moment, where the end of the old run is told: that is no event of its own there.
    begin = begin.replace("empty, ", "")
    clear, ready = on((State.WAITING,), (State.STARTING,)), on((State.STARTING,), (State.RUNNING,))
    unborn = on((State.STARTING,), (State.BACKOFF, State.FAILED))
    to_end = {state: on(UP, (state,)) for state in END}
    killed = on((State.STOPPING,), (State.KILLING,))
    again, settled = on((State.EXITED,), (State.WAITING, State.STARTING)), on(END, REST)
    given_up = on(REST, (State.STOPPED,))
    if left:
        raise ValueError(f"the picture has no place for {sorted(left)}")

    ends = "; ".join(f"{events}: {state}" for state, events in to_end.items())
    d = Drawing(
        430,
        f"The states of an instance. At rest: stopped, backoff, failed, done. From there to waiting, or at once to starting: {begin}. "
        f"From waiting to starting: {clear}; back to stopped: {halt}. From starting to running: {ready}; from starting to "
        f"backoff or failed: {unborn}. From starting and running: {ends}. From stopping to killing: {killed}. From exited, stopping "
        f"and killing to rest: {settled}; from exited to waiting or starting, where there is no delay: {again}. From backoff, "
        f"failed and done to stopped: {given_up}.",
    )
    _boxes(d)
    d.arrow(144, 72, 306, 72)
    words = begin.split(", ")
    d.text(225, 46, f"{', '.join(words[:3])},", "pale", "middle")
    d.text(225, 62, ", ".join(words[3:]), "pale", "middle")
    d.arrow(308, 96, 146, 96)
    d.text(225, 112, halt, "pale", "middle")
    d.arrow(410, 84, 456, 84)
    d.text(430, 74, clear, "pale", "middle")
    d.arrow(556, 84, 600, 84)
    d.text(578, 74, ready, "pale", "middle")
    d.line(480, 126, 480, 142)
    d.arrow(480, 142, 146, 142)
    d.text(225, 158, unborn, "pale", "middle")
    d.arrow(640, 126, 640, 268)
    for number, (state, events) in enumerate(to_end.items()):
        d.text(630, 180 + 20 * number, f"{events}: {state}", "pale", "end")
    d.line(410, 310, 340, 310)
    d.arrow(340, 310, 340, 108)
    d.text(332, 300, f"{again}, without delay", "pale", "end")
    d.arrow(410, 350, 146, 350)
    d.text(332, 368, f"{settled}: as the policy says", "pale", "end")
    d.arrow(604, 330, 615, 330)
    d.text(607, 398, f"stopping to killing: {killed}", "pale", "middle")
    d.text(75, 398, f"{given_up}: to stopped", "pale", "middle")
    return d


def _boxes(d: Drawing) -> None:
    d.box(8, 28, 134, 380, kind="open")
    d.text(75, 20, "at rest", "head", "middle")
    for number, state in enumerate(REST):
        d.box(20, 62 + 80 * number, 110, 44, str(state))
    d.box(310, 62, 100, 44, str(State.WAITING))
    d.box(446, 28, 266, 96, kind="open")
    d.text(579, 20, "up", "head", "middle")
    d.box(458, 62, 98, 44, str(State.STARTING))
    d.box(602, 62, 98, 44, str(State.RUNNING), kind="strong")
    d.box(412, 270, 300, 138, kind="open")
    d.text(562, 426, "until nothing of its process group is left", "pale", "middle")
    for number, state in enumerate(END):
        d.box(424 + 96 * number, 308, 84, 44, str(state))
