"""The table: what an instance does when something happens, in each of its states.

This is all there is: no other place decides.  `TABLE[state, event]` is the name of an action, a method of
`rawsys.supervisor.machine.Machine`; KEEP where nothing is to be done (an event that comes late, or changes the goal
only); REFUSED where the event cannot happen, so that its coming is a fault of the program.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What an instance is doing.  Whether it is wanted up or down is its goal, which is apart from this."""

    STOPPED = "stopped"
    """Nothing runs, and nothing is wanted to."""
    WAITING = "waiting"
    """It is to start as soon as what it comes after is ready."""
    STARTING = "starting"
    """Its process runs, and is not ready yet."""
    RUNNING = "running"
    """Its process runs and is ready."""
    STOPPING = "stopping"
    """Its process group was asked to end."""
    KILLING = "killing"
    """Its process group was killed, and is not gone yet."""
    EXITED = "exited"
    """Its process ended by itself; what that left behind in its group is being ended."""
    BACKOFF = "backoff"
    """It starts again when the delay is over."""
    FAILED = "failed"
    """It ended too often, or must not be started again."""
    DONE = "done"
    """It ended well, and that was all."""


class Event(StrEnum):
    """What can happen to an instance."""

    START = "start"
    """Somebody wants it up."""
    STOP = "stop"
    """Somebody wants it down."""
    RESTART = "restart"
    """Somebody wants it down, then up."""
    RESET = "reset"
    """Somebody wants what was counted forgotten."""
    KILL = "kill"
    """Somebody wants it down at once."""
    CLEAR = "clear"
    """All that it comes after is ready."""
    LOST = "lost"
    """Something that it requires is no longer up."""
    READY = "ready"
    """It is ready."""
    UNBORN = "unborn"
    """Its process could not be started."""
    EXIT = "exit"
    """Its process has ended."""
    EMPTY = "empty"
    """Its process group is gone, the last member of it."""
    TIMER = "timer"
    """The time of the state is over: a start took too long, a stop's step, a delay."""
    SICK = "sick"
    """It does not answer any more: the watchdog, or a check."""


KEEP = "keep"
REFUSED = "refused"

_GRID = """
           start  stop  restart  reset   kill  clear   lost  ready  unborn  exit  empty   timer  sick
stopped    wait   -     wait     forget  -     -       -     x      x       x     x       x      x
waiting    -      halt  -        forget  halt  launch  -     x      x       x     x       x      x
starting   -      end   end      forget  slay  -       end   run    retry   gone  x       end    end
running    -      end   end      forget  slay  -       end   -      x       gone  x       x      end
stopping   -      -     again    forget  slay  -       -     -      x       note  settle  step   -
killing    -      -     again    forget  slay  -       -     -      x       note  settle  step   -
exited     -      -     again    forget  slay  -       -     -      x       x     settle  step   -
backoff    wait   halt  wait     fresh   halt  -       -     x      x       x     x       wait   x
failed     fresh  halt  fresh    fresh   halt  -       -     x      x       x     x       fresh  x
done       fresh  halt  fresh    forget  halt  -       -     x      x       x     x       x      x
"""


def _read(grid: str) -> dict[tuple[State, Event], str]:
    head, *rows = (line.split() for line in grid.strip().splitlines())
    words = {"-": KEEP, "x": REFUSED}
    return {
        (State(row[0]), Event(event)): words.get(action, action)
        for row in rows
        for event, action in zip(head, row[1:], strict=True)
    }


TABLE: dict[tuple[State, Event], str] = _read(_GRID)

UP = frozenset({State.STARTING, State.RUNNING})
"""A process runs and nobody has asked it to end."""
ACTIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING, State.KILLING, State.EXITED})
"""Something of it may be running."""
ENDED = frozenset({State.STOPPED, State.FAILED, State.DONE})
"""Nothing runs, and nothing will by itself (but for a failed one that is tried again)."""
