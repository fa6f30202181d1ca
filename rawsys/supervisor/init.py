"""``rawsys init -- PROGRAM``: the first process of a container, or a parent that reaps for one program.

It starts the program in a process group of its own, which gets the terminal; sends on what signals it gets; reaps
whatever is left to it; and ends with the program's exit code, or 128 and the number of the signal.

It stands on the raw storey alone, with all signals blocked and one wait for any of them: whoever starts a container waits
for this, and `Command` and `EventLoop` take longer to import than the interpreter to start.
"""

from __future__ import annotations

import errno
import os
import sys

from rawsys import raw
from rawsys.supervisor.words import KILL, SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_KEPT = ("KILL", "STOP", "CHLD", "SEGV", "BUS", "FPE", "ILL", "TRAP", "ABRT", "SYS", "TTIN", "TTOU", "TSTP", "PIPE")
FORWARDED = (*(number for name, number in SIGNALS.items() if name not in _KEPT), *range(34, 65))
"""Signals that are sent on: all that do not stop or end this process for a fault of its own, the real-time ones too."""
_MASK = sum(1 << number - 1 for number in (*FORWARDED, SIGNALS["CHLD"], SIGNALS["TTOU"])).to_bytes(8, "little")
"""What is blocked here and waited for; TTOU for the terminal's sake: who gives it away from the background is stopped."""
_IGNORED_BY_PYTHON = (SIGNALS["PIPE"], SIGNALS["XFSZ"])
_SETMASK, _NOHANG, _SUBREAPER = 2, 1, 36
_TIOCSPGRP, _TIOCGPGRP = 0x5410, 0x540F


def init(words: Sequence[str], *, group: bool = False) -> int:
    """Run a program to its end; the exit code: its own, 128 and the signal's number, 127 or 126 where it cannot be run.

    Signals go to the program, with `group` to its whole process group.  The second SIGINT kills the group.
    """
    if os.getpid() != 1:
        raw.prctl(_SUBREAPER, 1, 0, 0, 0)
    before = bytearray(8)
    raw.rt_sigprocmask(_SETMASK, _MASK, before, 8)  # before there is a child, so that no end of one is missed
    try:
        try:
            pid = _start(words, int.from_bytes(before, "little"))
        except OSError as error:
            print(f"rawsys: {words[0]}: {error.strerror or error}", file=sys.stderr)
            return 127 if error.errno == errno.ENOENT else 126
        terminal = _foreground_of(0)
        if terminal == os.getpgrp():
            _give_terminal(pid)
            raw.kill(-pid, SIGNALS["CONT"])  # it may have been stopped for a read before it had the terminal
        code = _serve(pid, group)
        if terminal == os.getpgrp():
            _give_terminal(terminal)
        return code
    finally:
        raw.rt_sigprocmask(_SETMASK, bytes(before), None, 8)


def _start(words: Sequence[str], mask: int) -> int:
    """The number of its process, which nobody else gets before it is reaped here."""
    return os.posix_spawnp(
        words[0],
        list(words),
        os.environ,
        setpgroup=0,
        setsigmask=[number for number in range(1, 65) if mask >> number - 1 & 1],
        setsigdef=_IGNORED_BY_PYTHON,
    )


def _serve(pid: int, group: bool) -> int:
    """Send signals on and reap until the program has ended; its exit code."""
    interrupts = 0
    while True:
        signal = raw.rt_sigtimedwait(_MASK, None, None, 8)
        if signal == SIGNALS["CHLD"]:
            code = _reap(pid)
            if code is not None:
                return code
        elif signal in FORWARDED:  # else a stop and a continuation have interrupted the wait
            interrupts += signal == SIGNALS["INT"]
            if signal == SIGNALS["INT"] and interrupts > 1:
                raw.kill(-pid, KILL)
            else:
                raw.kill(-pid if group else pid, signal)


def _reap(pid: int) -> int | None:
    """Reap all that have ended, whoever started them; the exit code of the program when it is one of them."""
    status, found = bytearray(4), None
    while (ended := raw.wait4(-1, status, _NOHANG, None)) > 0:
        if ended == pid:
            found = os.waitstatus_to_exitcode(int.from_bytes(status, "little"))
    return 128 - found if found is not None and found < 0 else found


def _foreground_of(fd: int) -> int:
    """The process group that has the terminal: 0 for one outside of our PID namespace, -1 where there is no terminal."""
    group = bytearray(4)
    return int.from_bytes(group, "little") if raw.ioctl(fd, _TIOCGPGRP, group) == 0 else -1


def _give_terminal(group: int) -> None:
    raw.ioctl(0, _TIOCSPGRP, bytearray(group.to_bytes(4, "little")))
