"""Health: probes that tell whether a service is ready, and whether it is well.

A probe never holds the loop up: it is a child, or a socket that does not block, with a timer.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from contextlib import suppress

from rawsys._timeouts import nanoseconds
from rawsys.command import NULL
from rawsys.supervisor.table import Event
from rawsys.supervisor.words import KILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rawsys.command import Child
    from rawsys.command.environment import Text
    from rawsys.events import EventLoop, Timer
    from rawsys.supervisor.instance import Instance

    Outcome = Callable[[str], object]
    """Is told "" when it went well, else what was wrong."""

_EPOLLIN, _EPOLLOUT = 1, 4
_HEADER = 4096


class Probe:
    """One way to ask a service: ``Probe(exec=[...])``, ``Probe(tcp="host:port")``, ``Probe(http="http://host:port/path")``
    or ``Probe(log="a pattern")``.

    - ``exec``: a command, run like the service (its user, directory, environment); it is well when that exits with 0.
    - ``tcp``: it is well when a connection is accepted.  ``http``: when the answer is 2xx or 3xx.  Hosts are looked up once,
      when the probe is made, for a look-up may take long.
    - ``log``: a regular expression; it is ready when a line of its log matches (not as a check).
    - ``every`` seconds it is asked, and given ``timeout`` seconds; ``fails`` times in a row make it not well.

    Raises TypeError and ValueError for what cannot be right; OSError for a host that is not to be found.
    """

    __slots__ = ("address", "every", "exec", "fails", "family", "http", "log", "path", "tcp", "timeout")
    KINDS = ("exec", "tcp", "http", "log")

    def __init__(
        self,
        *,
        exec: Iterable[Text] | None = None,
        tcp: str | None = None,
        http: str | None = None,
        log: str | None = None,
        every: float = 10,
        timeout: float = 3,
        fails: int = 3,
    ) -> None:
        given = {"exec": exec, "tcp": tcp, "http": http, "log": log}
        kinds = [name for name, value in given.items() if value is not None]
        if len(kinds) != 1:
            raise ValueError(f"a probe has one of {', '.join(self.KINDS)}, not {' and '.join(kinds) or 'none'}")
        if isinstance(exec, (str, bytes)):
            raise TypeError(f'exec is a list, not one text: ["sh", "-c", {exec!r}]')
        self.exec = None if exec is None else tuple(exec)
        self.tcp, self.http, self.log = tcp, http, log
        for name, seconds in (("every", every), ("timeout", timeout)):
            if not nanoseconds(seconds):
                raise ValueError(f"{name} is a number of seconds above 0, not {seconds!r}")
        if isinstance(fails, bool) or not isinstance(fails, int) or fails < 1:
            raise ValueError(f"fails is a number from 1 on, not {fails!r}")
        self.every, self.timeout, self.fails = every, timeout, fails
        self.path = ""
        self.family: int = socket.AF_UNSPEC
        self.address: object = None
        if log is not None:
            try:
                re.compile(log)
            except re.error as error:
                raise ValueError(f"log: {log!r} is no pattern: {error}") from error
        if tcp is not None:
            self._look_up(tcp, tcp)
        if http is not None:
            host, self.path = _of_url(http)
            self._look_up(host, http)

    def _look_up(self, place: str, shown: str) -> None:
        host, _, port = place.rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536 or not host:
            raise ValueError(f"{shown!r}: host:port is needed, with a port up to 65535")
        found = socket.getaddrinfo(host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_STREAM)
        self.family, _, _, _, self.address = found[0]

    @property
    def kind(self) -> str:
        """Which of `KINDS`."""
        return next(name for name in self.KINDS if getattr(self, name) is not None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Probe):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.exec, self.tcp, self.http, self.log, self.every, self.timeout, self.fails))

    def __repr__(self) -> str:
        return f"Probe({self.kind}={getattr(self, self.kind)!r}, every={self.every:g}, timeout={self.timeout:g}, fails={self.fails})"


def _of_url(url: str) -> tuple[str, str]:
    """The host with its port, and the path."""
    found = re.fullmatch(r"http://(\[[^\]/]+\]|[^:/\[\]]+)(?::(\d+))?(/\S*)?", url)
    if found is None:
        raise ValueError(f"{url!r} is not http://HOST:PORT/PATH")
    return f"{found[1]}:{found[2] or 80}", found[3] or "/"


class Asking:
    """One time that a probe is asked; `done` is told once how it went, unless it is ended before."""

    def __init__(self, probe: Probe, instance: Instance, loop: EventLoop, done: Outcome) -> None:
        self._probe, self._instance, self._loop, self._done = probe, instance, loop, done
        self._child: Child | None = None
        self._socket: socket.socket | None = None
        self._answer = b""
        self._timer: Timer | None = loop.call_later(probe.timeout, self._late)
        try:
            if probe.exec is not None:
                self._run(probe.exec)
            else:
                self._connect()
        except (OSError, LookupError, ValueError) as error:
            # Told later: whoever asked does not have this object yet.
            self._timer.cancel()
            self._timer = loop.call_later(0, self._over, f"{error}")

    def _late(self) -> None:
        self._over(f"{self._probe.kind}: no answer within {self._probe.timeout:g} s")

    def _over(self, wrong: str) -> None:
        self.end()
        self._done(wrong)

    def end(self) -> None:
        """Ask no more: what hangs is ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        child, self._child = self._child, None
        if child is not None:
            if child in self._loop:
                self._loop.unregister(child)
            child.send_signal(KILL, group=True)
            child.kill()
            child.close()
            self._instance.forget_helper(child.pid)
        if self._socket is not None:
            if self._socket in self._loop:
                self._loop.unregister(self._socket)
            self._socket.close()
            self._socket = None

    # ---- a child ----

    def _run(self, words: tuple[Text, ...]) -> None:
        command = self._instance.helper_command(words, stdin=NULL, stdout=NULL, stderr=NULL)
        child = command.spawn()
        self._child = child
        self._instance.know_helper(child.pid)
        self._loop.register(child, self._ended)

    def _ended(self, child: Child, _: int) -> None:
        self._loop.unregister(child)
        self._child = None
        with suppress(ProcessLookupError):  # what it left behind; the zombie still holds the number of the group
            child.send_signal(KILL, group=True)
        status = child.wait()
        self._instance.forget_helper(child.pid)
        self._over("" if status.success else f"exec: it {status}")

    # ---- a socket ----

    def _connect(self) -> None:
        made = socket.socket(self._probe.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket = made
        answer = made.connect_ex(self._probe.address)  # type: ignore[arg-type]  # as getaddrinfo gave it
        self._loop.register(made, self._connected, _EPOLLOUT)
        if answer not in (0, errno.EINPROGRESS):
            raise OSError(answer, os.strerror(answer))

    def _connected(self, made: socket.socket, _: int) -> None:
        failed = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            self._over(f"{self._probe.kind}: {os.strerror(failed)}")
        elif self._probe.http is None:
            self._over("")
        else:
            host = self._probe.http.split("/")[2]
            try:
                made.send(f"GET {self._probe.path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                self._loop.unregister(made)
                self._loop.register(made, self._answered)
            except OSError as error:  # it has hung up already
                self._over(f"http: {error.strerror}")

    def _answered(self, made: socket.socket, _: int) -> None:
        try:
            data = made.recv(_HEADER)
        except BlockingIOError:
            return
        except OSError as error:
            self._over(f"http: {error}")
            return
        self._answer += data
        if not data or b"\n" in self._answer or len(self._answer) >= _HEADER:
            found = re.match(rb"HTTP/\d\.\d (\d{3})", self._answer)
            if found is None:
                self._over("http: the answer is not HTTP")
            else:
                self._over("" if found[1][:1] in b"23" else f"http: the answer is {found[1].decode()}")


class Health:
    """What is asked of one instance while it runs."""

    def __init__(self, instance: Instance, loop: EventLoop) -> None:
        self._instance, self._loop = instance, loop
        self._asking: Asking | None = None
        self._timer: Timer | None = None
        self._failed = 0
        self._listener: Callable[[bytes], object] | None = None
        self._rest = b""
        """The begin of a line of its log whose end has not come."""
        self.word = ""
        """``well``, ``not well (2 of 3)``, or nothing where nothing is asked."""

    def wait_until_ready(self, probe: Probe) -> None:
        """Ask until it is ready."""
        if probe.log is not None:
            self._rest = b""
            pattern = re.compile(os.fsencode(probe.log), re.MULTILINE)
            self._listener = lambda text: self._line(pattern, text)
            self._instance.tap(self._listener)
        else:
            self._asking = Asking(probe, self._instance, self._loop, lambda wrong: self._readiness(probe, wrong))

    def _line(self, pattern: re.Pattern[bytes], text: bytes) -> None:
        text = self._rest + text  # a line may come in pieces
        self._rest = text[text.rfind(b"\n") + 1 :][-_HEADER:]
        if pattern.search(text):
            self.end()
            self._instance.feed(Event.READY, "its log says so")

    def _readiness(self, probe: Probe, wrong: str) -> None:
        self._asking = None
        if wrong:
            self._timer = self._loop.call_later(probe.every, self.wait_until_ready, probe)
        else:
            self._instance.feed(Event.READY, f"{probe.kind} answers")

    def check(self, probe: Probe) -> None:
        """Ask again and again whether it is well."""
        self._failed = 0
        self._timer = self._loop.call_later(probe.every, self._ask, probe)

    def _ask(self, probe: Probe) -> None:
        self._asking = Asking(probe, self._instance, self._loop, lambda wrong: self._told(probe, wrong))

    def _told(self, probe: Probe, wrong: str) -> None:
        self._asking = None
        if not wrong:
            self._failed, self.word = 0, "well"
        else:
            self._failed += 1
            self.word = f"not well ({self._failed} of {probe.fails})"
            if self._failed >= probe.fails:
                self._instance.feed(
                    Event.SICK, f"not well: {wrong}" + (f", {self._failed} times" if self._failed > 1 else "")
                )
                return
        self._timer = self._loop.call_later(probe.every, self._ask, probe)

    def end(self) -> None:
        """Ask nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asking is not None:
            self._asking.end()
            self._asking = None
        if self._listener is not None:
            self._instance.untap(self._listener)
            self._listener = None
        self.word = ""
