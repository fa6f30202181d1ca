"""`rawsys supervise FILE` in a process of its own, and its command line and its client beside it.

``with supervising(folder, text) as run:`` begins when the first event has come, and ends the supervisor, which must leave
nothing behind.  What happens is waited for on the stream of events: ``run.until("web", "running")``.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

from supervising import MARK, marked
from support import INTERPRETER, need, readable

from rawsys import cli
from rawsys.supervisor.client import Client

SECONDS = 20.0
"""After which what is waited for counts as not coming."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """What it printed, one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(*words: str) -> Done:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = cli.main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Done(code, out.getvalue(), err.getvalue())


def is_one(event: dict[str, Any], name: str, state: str) -> bool:
    """Whether an event is one of an instance that comes into a state, or a notice with that text."""
    own = event["service"] + (f"/{event['instance']}" if event.get("instance") else "")
    return own == name and (event.get("to") == state or state in event.get("text", ""))


class Run:
    """A supervisor that runs."""

    def __init__(self, folder: Path, text: str, options: Sequence[str] = (), before: Sequence[str] = ()) -> None:
        self.folder, self.file, self.socket = folder, folder / "rawsys.toml", str(folder / "rawsys.sock")
        self.token = f"{os.getpid()}-{time.monotonic_ns()}"
        self.write(text)
        words = [*before, INTERPRETER, "-W", "error", "-m", "rawsys", "supervise", "--json", *options, str(self.file)]
        with open(folder / "out", "wb") as out:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, env=os.environ | {MARK: self.token}
            )
        self.said = b""
        """What it has written on standard error."""
        self.seen: list[dict[str, Any]] = []
        """The events that were waited through."""
        self._news: Client | None = None
        self._events: Iterator[dict[str, Any]] = iter(())

    def write(self, text: str) -> None:
        """Write another configuration."""
        self.file.write_text(dedent(text), errors="surrogateescape")

    def hear(self, wanted: bytes = b"\n", seconds: float = SECONDS) -> None:
        """Wait until it has written something on standard error."""
        assert self.process.stderr is not None
        number, end = self.process.stderr.fileno(), time.monotonic() + seconds
        while wanted not in self.said:
            assert readable(number, max(0, end - time.monotonic())), f"it only says {self.said.decode()}"
            part = os.read(number, 1 << 16)
            assert part, f"it has ended and said {self.said.decode()}"
            self.said += part

    def client(self) -> Client:
        """A connection, on which nothing is waited for in vain."""
        made = Client(self.socket)
        made._socket.settimeout(SECONDS)
        return made

    def until(self, name: str, state: str, count: int = 1) -> dict[str, Any]:
        """Wait for the next event of that kind (or for `count` of them); those before it are in `seen`."""
        if self._news is None:  # only now: what is not read is a slow reader
            self._news = self.client()
            self._events = self._news.events()
        try:
            while True:
                event = next(self._events)
                self.seen.append(event)
                if is_one(event, name, state):
                    count -= 1
                    if not count:
                        return event
        except TimeoutError:
            raise AssertionError(
                f"{name} does not come to {state!r}: {json.dumps(self.seen[-30:], indent=1)}"
            ) from None

    def reached(self, name: str, state: str) -> dict[str, Any]:
        """The first event of that kind, in `seen` or to come."""
        return next((event for event in self.seen if is_one(event, name, state)), None) or self.until(name, state)

    def path(self, name: str) -> list[str]:
        """The states of a service in `seen`."""
        return [event["to"] for event in self.seen if event["service"] == name and "to" in event]

    def run(self, verb: str, *words: str) -> Done:
        """Run a command for this supervisor."""
        return command(verb, "--socket", self.socket, *words)

    def status(self, *names: str) -> dict[str, dict[str, Any]]:
        """What is known of services, by name."""
        with self.client() as client:
            return {row["name"]: row for row in client.status(names)}

    def pids(self, *names: str) -> dict[str, int]:
        """The processes of services."""
        return {name: row["pid"] for name, row in self.status(*names).items()}

    def end(self, seconds: float = SECONDS) -> int:
        """Wait until it has ended by itself; its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self.said += self.process.communicate(timeout=seconds)[1]
        assert self.process.returncode is not None, "it does not end"
        return self.process.returncode

    def _guarded(self) -> None:
        """Its guardian ends the services, and itself, after it was killed."""
        for pid in marked(self.token):
            with suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                try:
                    assert readable(fd, SECONDS), f"{pid} goes on"
                finally:
                    os.close(fd)

    def close(self) -> None:
        """End it, if it has not ended; nothing is to be left."""
        if self._news is not None:
            self._news.close()
        try:
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGTERM)
                self.end()
            if self.process.returncode == -signal.SIGKILL:
                self._guarded()
            left = marked(self.token)
            assert not left, f"it left {left}"
            assert b"Traceback" not in self.said, self.said.decode()
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()
            for pid in marked(self.token):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def supervising(folder: Path, text: str, *options: str, before: Sequence[str] = ()) -> Iterator[Run]:
    """Run a supervisor with this configuration; see the top."""
    run = Run(folder, text, options, before)
    try:
        run.hear()
        yield run
    except BaseException:
        run.process.kill()
        with suppress(BaseException):
            run.close()
        raise
    run.close()


# ---- a terminal ----


@contextmanager
def on_a_terminal(
    *words: str, env: dict[str, str] | None = None, width: int = 80
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A program in a session of its own with a terminal of 80 by 24; the other end of it, and the program."""
    need("setsid")
    master, slave = os.openpty()
    try:
        termios.tcsetwinsize(slave, (24, width))
        given = {"TERM": "xterm-256color", **os.environ, **(env or {})}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            given.pop(name, None)
        with subprocess.Popen(
            ["setsid", "--ctty", *words], stdin=slave, stdout=slave, stderr=slave, env=given
        ) as process:
            try:
                os.close(slave)
                yield master, process
            finally:
                process.kill()
    finally:
        os.close(master)


def shown(master: int, wanted: bytes | None = None) -> bytes:
    """What is written to a terminal, until it has what is wanted; without that, until nobody has it any more."""
    text, end = b"", time.monotonic() + SECONDS
    while wanted is None or wanted not in text:
        assert readable(master, max(0, end - time.monotonic())), text
        try:
            text += os.read(master, 4096)
        except OSError:  # EIO: nobody has it any more
            assert wanted is None, text
            break
    return text
