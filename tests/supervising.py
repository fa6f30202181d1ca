"""Running a Supervisor in a child of the test: `supervise(services, step, ...)`, and finding what it left.

A step is ``(name, state, action)``: when the instance `name` comes into `state`, after all steps before this one, `action`
is called with the supervisor.  The run ends when an action calls `shutdown`, or as `exit_when` says; one that does not is a
failure that shows all records.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from support import INTERPRETER, in_child, readable, script

from rawsys.supervisor import Change, Notice, Restart, Service, Supervisor

MARK = "SUPERVISED_BY_TEST"
"""The variable by which the processes of a test are found, whoever's children they have become."""

Step = tuple[str, str, Callable[[Supervisor], object]]

ONCE = Restart("never")
FAST = Restart("always", base=0.01, factor=1, jitter=0, limit=None)
FOREVER = ["sleep", "1000"]


class Outcome(NamedTuple):
    """What a run gave."""

    code: int
    changes: list[Change]
    notices: list[Notice]
    noted: list[Any]
    """What the actions left in `supervisor.noted`."""
    left: int
    """Marked processes that live after the run."""

    def path(self, name: str) -> list[str]:
        """The states that an instance came through."""
        return [str(change.to) for change in self.changes if change.name == name]

    def all(self, name: str, state: str) -> list[Change]:
        """The changes of an instance into a state."""
        return [change for change in self.changes if change.name == name and change.to == state]

    def one(self, name: str, state: str) -> Change:
        """The only such change."""
        (found,) = self.all(name, state)
        return found

    def order(self, *wanted: tuple[str, str]) -> list[tuple[str, str]]:
        """Those of the wanted changes that came, in the order in which they did."""
        return [(c.name, str(c.to)) for c in self.changes if (c.name, c.to) in wanted]


class Noting(Supervisor):
    """A Supervisor with a list that actions write to."""

    noted: list[Any]


def sh(name: str, code: str, **rules: Any) -> Service:
    """A service that is a line of shell; it is not started again unless that is asked for."""
    rules.setdefault("restart", ONCE)
    return Service(name, ["sh", "-c", code], **rules)


NOTIFY = """
import os, socket, signal, sys
said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1)
def say(*lines):
    said.sendto("\\n".join(lines).encode(), address)
{}
while True:
    signal.pause()
"""


def talker(name: str, code: str, **rules: Any) -> Service:
    """A service that talks to its supervisor: `say` is there for its code."""
    return Service(
        name, [sys.executable, "-S", "-c", NOTIFY.format(code)], **{"ready": "notify", "restart": ONCE} | rules
    )


def down(supervisor: Supervisor) -> None:
    """The usual last action."""
    supervisor.shutdown("the test is over")


def nothing(_: Supervisor) -> None:
    """A step that is only waited for."""


def supervise(
    services: Iterable[Service],
    *steps: Step,
    before: Callable[[], object] | None = None,
    prepare: Callable[[Noting], object] | None = None,
    deadline: float = 10,
    **options: Any,
) -> Outcome:
    """Run these services in a forked child until they are done.

    `before` is called in the child before there is a supervisor, `prepare` with the supervisor before it runs.
    """
    outcome = in_child(_run, list(services), steps, before, prepare, deadline, options, deadline=deadline + 5)
    assert isinstance(outcome, Outcome)
    return outcome


def _run(
    services: list[Service],
    steps: Sequence[Step],
    before: Callable[[], object] | None,
    prepare: Callable[[Noting], object] | None,
    deadline: float,
    options: dict[str, Any],
) -> Outcome:
    token = os.environ[MARK] = f"{os.getpid()}-{time.monotonic_ns()}"
    if before is not None:
        before()
    supervisor = Noting(**options)
    supervisor.noted = []
    changes: list[Change] = []
    notices: list[Notice] = []
    waiting = list(steps)

    def listen(record: Change | Notice) -> None:
        if isinstance(record, Notice):
            notices.append(record)
            return
        changes.append(record)
        if waiting and (record.name, record.to) == waiting[0][:2]:
            waiting.pop(0)[2](supervisor)

    def late() -> None:
        lines = "\n".join(map(str, [*changes[-50:], *notices]))
        raise AssertionError(f"it did not end within {deadline:g} s; steps left: {waiting}\n{lines}")

    for service in services:
        supervisor.add(service)
    supervisor.on_event(listen)
    supervisor.loop.call_later(deadline, late)
    if prepare is not None:
        prepare(supervisor)
    code = supervisor.run()
    assert not waiting, f"steps that did not come: {waiting}; records:\n" + "\n".join(map(str, changes))
    return Outcome(code, changes, notices, supervisor.noted, len(marked(token)))


# ---- finding processes ----


def marked(token: str) -> list[int]:
    """The living processes that were started with a mark, but for this one."""
    found = []
    wanted = f"{MARK}={token}".encode()
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            if wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
        except OSError:
            continue
    return found


def state_of(pid: int) -> str:
    """The letter of a process's state in /proc; X when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


class Held:
    """A supervisor in an interpreter of its own, and a pidfd of everything that it had started by then."""

    def __init__(self, process: subprocess.Popen[bytes], token: str) -> None:
        self.process, self.token = process, token
        self.pids: dict[int, int] = {}
        """Their numbers, and a pidfd of each."""
        self._text = b""

    def line(self, seconds: float = 20) -> str:
        """The next line that it writes."""
        assert self.process.stdout is not None
        number = self.process.stdout.fileno()
        while b"\n" not in self._text:
            assert readable(number, seconds), f"it says nothing but {self._text!r}"
            part = os.read(number, 4096)
            assert part, f"it has ended and said {self._text!r}"
            self._text += part
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def hold(self) -> list[int]:
        """Hold all that it has started by now; their numbers."""
        for pid in marked(self.token):
            if pid != self.process.pid and pid not in self.pids:
                with suppress(ProcessLookupError):  # it was short
                    self.pids[pid] = os.pidfd_open(pid)
        return list(self.pids)

    def left(self, seconds: float) -> list[int]:
        """Those of its processes that have not ended within a time from now."""
        end = time.monotonic() + seconds
        return [pid for pid, fd in self.pids.items() if not readable(fd, max(0, end - time.monotonic()))]

    def gone(self, seconds: float = 10) -> bool:
        """Wait until the supervisor itself has ended."""
        fd = os.pidfd_open(self.process.pid)
        try:
            return readable(fd, seconds)
        finally:
            os.close(fd)


@contextmanager
def held(code: str, lines: int = 1) -> Iterator[tuple[Held, list[str]]]:
    """Run a script with a supervisor, until it has written `lines` lines; at the end all that is left of it is killed."""
    token = f"{os.getpid()}-{time.monotonic_ns()}"
    command = [INTERPRETER, "-W", "error", "-c", script(code)]
    process = subprocess.Popen(command, env=os.environ | {MARK: token}, stdout=subprocess.PIPE)
    run = Held(process, token)
    try:
        said = [run.line() for _ in range(lines)]
        run.hold()
        yield run, said
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        for pid in marked(token):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for fd in run.pids.values():
            os.close(fd)
