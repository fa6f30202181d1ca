"""A flag, a counter, and system calls inside a handler; what is safe there.  Run: python examples/5_signals.py."""

from __future__ import annotations

import os
import signal

from rawsys import Fd, Program
from rawsys.constants import SIGRTMIN, SIGTERM, SIGUSR1, SIGUSR2
from rawsys.errors import RefusedCallError
from rawsys.signals import SignalCounter, SignalFlag, blocked, on_signal


def flag() -> None:
    """A loop that ends when it is told to."""
    with SignalFlag(SIGTERM) as stop:
        rounds = 0
        while not stop.wait(timeout=0.001):  # the work would be here
            rounds += 1
            if rounds == 3:
                os.kill(os.getpid(), SIGTERM)  # somebody wants us to end
        print(f"asked to end after {rounds} rounds: {stop}")


def late() -> None:
    """Python's handler runs between two bytecodes: once, for all that came while C was running."""
    heard: list[int] = []
    five_times = Program()
    for number in (SIGUSR1, SIGUSR2):
        for _ in range(5):
            five_times.kill(os.getpid(), number)
    before = signal.signal(SIGUSR1, lambda number, frame: heard.append(number))
    with SignalCounter(SIGUSR2) as counter:
        five_times.run()  # ten system calls, and no bytecode in between
        print(f"of five signals each, Python's handler saw {len(heard)}, the counter in C {counter.count}")
    signal.signal(SIGUSR1, before)


def merged() -> None:
    """The kernel itself keeps only one of a kind waiting, but for the real-time signals."""
    with SignalCounter(SIGUSR1) as ordinary, SignalCounter(SIGRTMIN) as real_time:
        with blocked([SIGUSR1, SIGRTMIN]):
            for _ in range(20):
                os.kill(os.getpid(), SIGUSR1)
                os.kill(os.getpid(), SIGRTMIN)
        print(f"of twenty sent while they were blocked: SIGUSR1 {ordinary.count}, SIGRTMIN {real_time.count}")


def inside() -> None:
    """Work that is done before the interrupted code goes on: system calls, and nothing but them."""
    reading, writing = Fd.pipe()
    writing.nonblocking = True  # a full pipe must not hold up the thread that was interrupted
    program = Program()
    program.write(writing, b"caught\n", 7)
    with on_signal(SIGUSR1, program) as action:
        os.kill(os.getpid(), SIGUSR1)
        print(f"the handler wrote {reading.read(100)!r}, and ran {action.runs} time")
    reading.close()
    writing.close()


def not_safe() -> None:
    """What would wait is refused in a handler: the interrupted thread would stand still, with all that it holds."""
    waits = Program()
    waits.pause()
    try:
        on_signal(SIGUSR1, waits)
    except RefusedCallError as error:
        print(f"refused: {error}")


def main() -> None:
    """Print all of it."""
    for part in (flag, late, merged, inside, not_safe):
        part()
        print()


if __name__ == "__main__":
    main()
