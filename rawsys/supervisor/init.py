"""``rawsys init -- PROGRAM``: the first process of a container, or a parent that reaps for one program.

It starts the program in a process group of its own, which gets the terminal; sends on what signals it gets; reaps
whatever is left to it; and ends with the program's exit code, or 128 and the number of the signal.
"""

from __future__ import annotations

import os
import sys

from rawsys import raw
from rawsys.command import Command
from rawsys.events import EventLoop
from rawsys.process import set_subreaper
from rawsys.signals import SignalFlag, SignalQueue, blocked
from rawsys.supervisor.orphans import Orphans
from rawsys.supervisor.words import KILL, SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rawsys.command import Child

_KEPT = ("KILL", "STOP", "CHLD", "SEGV", "BUS", "FPE", "ILL", "TRAP", "ABRT", "SYS", "TTIN", "TTOU", "TSTP", "PIPE")
FORWARDED = (*(number for name, number in SIGNALS.items() if name not in _KEPT), *range(34, 65))
"""Signals that are sent on: all that do not stop or end this process for a fault of its own, the real-time ones too."""
_TIOCSPGRP, _TIOCGPGRP = 0x5410, 0x540F


def init(words: Sequence[str], *, group: bool = False) -> int:
    """Run a program to its end; the exit code: its own, 128 and the signal's number, 127 or 126 where it cannot be run.

    Signals go to the program, with `group` to its whole process group.  The second SIGINT kills the group.
    """
    if os.getpid() != 1:
        set_subreaper(True)
    with EventLoop() as loop, SignalQueue(*FORWARDED) as queue, SignalFlag(SIGNALS["CHLD"]) as ended:
        try:
            child = Command(*words, process_group=0).spawn()
        except OSError as error:
            print(f"rawsys: {words[0]}: {error.strerror or error}", file=sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        with Init(loop, child, group) as run:
            loop.register(queue, run.send_on)
            loop.register(ended, run.reap)
            loop.register(child, run.over)
            loop.run()
            return run.code


class Init:
    """One program, and all that is left to us."""

    def __init__(self, loop: EventLoop, child: Child, group: bool) -> None:
        self._loop, self._child, self._group = loop, child, group
        self._orphans = Orphans(lambda pid: pid == child.pid)
        self._interrupts = 0
        self.code = 0
        self._terminal = _foreground_of(0)
        if self._terminal == os.getpgrp():
            _give_terminal(child.pid)
            # It may have been stopped for a read before it had the terminal.
            child.send_signal(SIGNALS["CONT"], group=True)

    def send_on(self, queue: SignalQueue, _: int) -> None:
        """Signals for us are for the program."""
        while (info := queue.get_nowait()) is not None:
            if info.signal == SIGNALS["INT"]:
                self._interrupts += 1
            try:
                if self._interrupts > 1 and info.signal == SIGNALS["INT"]:
                    self._child.send_signal(KILL, group=True)
                else:
                    self._child.send_signal(info.signal, group=self._group)
            except ProcessLookupError:
                continue

    def reap(self, flag: SignalFlag, _: int) -> None:
        """Whoever ended, and was not started here."""
        flag.clear()
        self._orphans.reap()

    def over(self, child: Child, _: int) -> None:
        """The program has ended."""
        self._loop.unregister(child)
        status = child.wait()
        self.code = 128 + (status.raw & 0x7F) if status.code is None else status.code
        self._orphans.reap()
        self._loop.stop()

    def __enter__(self) -> Init:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._terminal == os.getpgrp():
            _give_terminal(self._terminal)
        self._orphans.close()
        self._child.close()


def _foreground_of(fd: int) -> int:
    """The process group that has the terminal: 0 for one outside of our PID namespace, -1 where there is no terminal."""
    group = bytearray(4)
    return int.from_bytes(group, "little") if raw.ioctl(fd, _TIOCGPGRP, group) == 0 else -1


def _give_terminal(group: int) -> None:
    with blocked(SIGNALS["TTOU"]):  # from the background it would stop us
        raw.ioctl(0, _TIOCSPGRP, bytearray(group.to_bytes(4, "little")))
