"""timeout(1): run a command, and end it when its time is over.

Run: python examples/timeout.py [-s SIGNAL] [-k DURATION] [-v] [--foreground] [--preserve-status] DURATION COMMAND [ARG]...

DURATION is in seconds, or with m, h, d behind it minutes, hours, days; 0 is no limit.  The exit status is the command's
own; 124: its time was over; 125: timeout itself failed; 126, 127: it cannot be run, or found; 137: it got SIGKILL.
"""

from __future__ import annotations

import getopt
import re
import select
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from rawsys import Child, Command, proc, raw_getpid, syscalls
from rawsys.constants import O_CLOEXEC, PR_SET_DUMPABLE, Signal
from rawsys.process import ExitStatus, set_process_group
from rawsys.signals import SignalFd, SignalInfo, SignalSet, TimerSignal, blocked, raise_signal

TIMED_OUT, FAILED, NOT_RUN, NOT_FOUND = 124, 125, 126, 127
HEARD, UNCATCHABLE = SignalSet(["ALRM", "INT", "QUIT", "HUP", "TERM"]), SignalSet(["KILL", "STOP"])
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def complain(text: str) -> None:
    """On stderr, as the original does."""
    print(f"timeout: {text}", file=sys.stderr)


def wrong(text: str) -> NoReturn:
    """The arguments are wrong."""
    complain(text)
    print("Try 'timeout --help' for more information.", file=sys.stderr)
    sys.exit(FAILED)


def duration(text: str) -> float:
    """Seconds."""
    found = re.fullmatch(r"((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)([smhd]?)", text, re.IGNORECASE)
    if not found:
        wrong(f"invalid time interval '{text}'")
    return min(float(found[1]) * UNITS[found[2].lower()], 1e9)  # what is much longer overflows the kernel's time


def signal_named(text: str) -> Signal:
    """TERM, SIGTERM and 15 are the same."""
    try:
        return Signal(int(text)) if text.isdecimal() else Signal.named(text)
    except ValueError:
        wrong(f"'{text}': invalid signal")


@dataclass
class Timeout:
    """A command with its deadline."""

    seconds: float
    command: Command
    signal: Signal = Signal.SIGTERM
    kill_after: float = 0
    foreground: bool = False
    preserve_status: bool = False
    verbose: bool = False
    timed_out: bool = False

    def run(self) -> int:
        """Start it, wait for its end, a signal or the deadline, and give the exit status."""
        if not self.foreground:
            with suppress(PermissionError):  # the leader of a session has a group of its own already
                set_process_group()  # what the command starts is in it too, and can be ended with it
        heard = (HEARD | {self.signal}) - UNCATCHABLE
        with blocked(heard, "TTIN", "TTOU") as mask, SignalFd(heard) as signals, TimerSignal("ALRM") as timer:
            try:
                child = self.command.replace(signal_mask=mask.before).spawn()
            except OSError as error:
                complain(f"failed to run command {self.command.argv[0]!r}: {error.strerror}")
                return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN
            if self.seconds:
                timer.set(self.seconds)
            while (status := child.poll()) is None:
                select.select([signals, child], [], [])
                while info := signals.get_nowait():
                    self.heard(info, child, timer)
        return self.result(status)

    def heard(self, info: SignalInfo, child: Child, timer: TimerSignal) -> None:
        """The deadline sends the signal, and whatever comes from outside is passed on."""
        if info.pid == raw_getpid() and info.code == 0:
            return  # the copy of what we sent to our own group
        self.timed_out |= info.signal == Signal.SIGALRM
        number = self.signal if info.signal == Signal.SIGALRM else Signal(info.signal)
        if self.kill_after:
            timer.set(self.kill_after)
            self.signal, self.kill_after = Signal.SIGKILL, 0
        if self.verbose:
            complain(f"sending signal {number.name[3:]} to command {self.command.argv[0]!r}")
        wake = not self.foreground and number not in (Signal.SIGKILL, Signal.SIGCONT)  # stopped, it would not hear it
        for each in (number, Signal.SIGCONT) if wake else (number,):
            child.send_signal(each)  # itself too: it may lead a group of its own
            if not self.foreground:
                syscalls.kill(0, each)

    def result(self, status: ExitStatus) -> int:
        """As a shell sees it; what killed the command kills this process too, unless the deadline was the reason."""
        if status.core_dumped:
            complain("the monitored command dumped core")
        if status.signal and not self.timed_out:
            syscalls.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # one core is enough
            if status.signal != Signal.SIGKILL:
                signal.signal(status.signal, signal.SIG_DFL)
            raise_signal(status.signal)
        if self.timed_out and not self.preserve_status and status.signal != Signal.SIGKILL:
            return TIMED_OUT
        return 128 + status.signal if status.signal else status.code or 0


def main(words: list[str]) -> int:
    """Read the arguments, which end at the first that is no option, and run."""
    names = ["signal=", "kill-after=", "foreground", "preserve-status", "verbose", "help"]
    try:
        options, rest = getopt.getopt(words, "s:k:v", names)
    except getopt.GetoptError as error:
        wrong(error.msg)
    if ("--help", "") in options:
        print(__doc__)
        return 0
    if len(rest) < 2:
        wrong("missing operand")
    # A Command gives nothing away that it was not told to; this one passes on whatever was meant to be inherited.
    kept = {file.fd: file.fd for file in proc.Process().fds() if file.fd > 2 and not file.flags & O_CLOEXEC}
    timeout = Timeout(duration(rest[0]), Command(*rest[1:], fds=kept))
    for name, value in options:
        if name in ("-s", "--signal"):
            timeout.signal = signal_named(value)
        elif name in ("-k", "--kill-after"):
            timeout.kill_after = duration(value)
        else:
            setattr(timeout, {"-v": "verbose"}.get(name, name.lstrip("-").replace("-", "_")), True)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, the kernel keeps no status
    return timeout.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
