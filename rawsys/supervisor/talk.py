"""Talk: one connection to the control socket, its requests and what waits to be sent."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from contextlib import suppress
from types import NoneType

from rawsys.supervisor.verbs import VERBS, Failed, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from rawsys.events import Timer
    from rawsys.supervisor.control import Control

    Steps = Generator[Callable[[], bool], None, dict[str, Any]]
    """A verb that takes time: it yields what has to come true before it goes on, and returns its result."""

_EPOLLIN, _EPOLLOUT = 1, 4
_CHUNK = 1 << 16
_LONGEST = 1 << 20
"""Bytes of one request at most."""
_LONGEST_WAIT = 10**9
"""Seconds of a timeout at most: beyond it numbers of JSON do not fit a clock."""
_FULL = 1 << 18
"""Bytes that wait for a peer, above which its events are dropped and its requests not read."""


class Task:
    """A verb that waits for something, and the wait's end."""

    __slots__ = ("number", "steps", "talk", "timer", "until", "watched")

    def __init__(self, talk: Talk, number: object, steps: Steps, watched: set[str]) -> None:
        self.talk, self.number, self.steps = talk, number, steps
        self.watched = watched
        """The instances whose events are its progress."""
        self.until: Callable[[], bool] = lambda: True
        self.timer: Timer | None = None

    def go_on(self) -> None:
        """Go on as far as it goes."""
        try:
            while self.until():
                self.until = next(self.steps)
        except StopIteration as end:
            self._over({"result": end.value})
        except Failed as error:
            self._over({"error": str(error), "kind": "failed"})
        except (OSError, ValueError, KeyError) as error:
            self._over({"error": _text(error), "kind": "failed"})
        except Exception as error:  # noqa: BLE001 - see _fault
            self._over(_fault(error))

    def late(self) -> None:
        """Its time is over; what it began goes on."""
        self.timer = None
        self._over({"error": "not done in time; it goes on", "kind": "failed"})

    def end(self) -> None:
        """Nobody waits for it any more."""
        if self.timer is not None:
            self.timer.cancel()
        self.steps.close()

    def _over(self, answer: dict[str, Any]) -> None:
        self.talk.tasks.discard(self)
        self.end()
        self.talk.send({"id": self.number, **answer})


class Talk:
    """One connection."""

    def __init__(self, control: Control, peer: socket.socket) -> None:
        self.control, self._socket = control, peer
        self._loop = control.daemon.supervisor.loop
        peer.setblocking(False)
        self._in = bytearray()
        self._out = bytearray()
        self._ending = False
        self.tasks: set[Task] = set()
        self.followed: dict[object, Callable[[dict[str, Any]], bool]] = {}
        """Requests that want events as they come, with what they want of them."""
        self._lost: dict[object, int] = {}
        self._taps: list[Callable[[], object]] = []
        self._loop.register(peer, self._ready)
        control.talks.add(self)
        uid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (0, os.geteuid()):
            self._refuse(f"user {uid} may not control this supervisor, user {os.geteuid()} and root may", "failed")

    def _ready(self, peer: socket.socket, events: int) -> None:
        if events & _EPOLLOUT:
            self._flush()
        if events & ~_EPOLLOUT and peer.fileno() >= 0:
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or self._ending:
            self.close()
            return
        self._in += data
        *lines, rest = self._in.split(b"\n")
        self._in = bytearray(rest)
        for line in lines:
            if line.strip():
                self._request(bytes(line))
        if len(self._in) > _LONGEST:
            self._refuse(f"a request is longer than {_LONGEST} bytes", "usage")

    def _refuse(self, text: str, kind: str) -> None:
        """Tell why, read nothing more, and hang up as soon as that is sent."""
        self.send({"error": text, "kind": kind})
        self._ending = True
        if self._out:
            self._watch()
        else:
            self.close()

    def _request(self, line: bytes) -> None:
        number = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise Usage("a request is one JSON object")
            told = request.pop("id", None)
            if not isinstance(told, (int, str, NoneType)):
                raise Usage("an id is a number or a string")
            number = told
            verb = request.pop("verb", None)
            if not isinstance(verb, str) or verb not in VERBS:
                raise Usage(f"no verb {verb!r}; there are {', '.join(VERBS)}")
            answer = VERBS[verb](Request(self, number, request))
        except Usage as error:
            self.send({"id": number, "error": str(error), "kind": "usage"})
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            # The last for brackets in brackets, a hundred thousand of them: the supervisor must not end of that.
            self.send({"id": number, "error": f"this is no JSON: {error}", "kind": "usage"})
        except (Failed, OSError, ValueError, KeyError) as error:
            self.send({"id": number, "error": _text(error), "kind": "failed"})
        except Exception as error:  # noqa: BLE001 - see _fault
            self.send({"id": number, **_fault(error)})
        else:
            if answer is not None:
                self.send({"id": number, "result": answer})

    # ---- sending ----

    def send(self, message: dict[str, Any]) -> None:
        """Send an answer: it is never dropped."""
        self._put(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def send_event(self, number: object, message: dict[str, Any]) -> None:
        """Send something that may be dropped when the peer reads too slowly; how many were is told."""
        if len(self._out) > _FULL:
            self._lost[number] = self._lost.get(number, 0) + 1
            return
        lost = self._lost.pop(number, 0)
        if lost:
            self.send({"id": number, "lost": lost})
        self.send({"id": number, **message})

    def _put(self, data: bytes) -> None:
        if self._socket.fileno() < 0:
            return
        if not self._out:
            with suppress(BlockingIOError):
                try:
                    data = data[self._socket.send(data) :]
                except (BrokenPipeError, ConnectionResetError):
                    self.close()
                    return
        self._out += data
        self._watch()

    def _flush(self) -> None:
        try:
            del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if len(self._out) <= _FULL:
            for number, lost in tuple(self._lost.items()):
                del self._lost[number]
                self.send({"id": number, "lost": lost})
        if not self._out and self._ending:
            self.close()
            return
        self._watch()

    def _watch(self) -> None:
        reads = 0 if len(self._out) > _FULL or self._ending else _EPOLLIN
        if self._socket.fileno() >= 0:
            self._loop.modify(self._socket, reads | (_EPOLLOUT if self._out else 0))

    # ---- being told ----

    def told(self, event: dict[str, Any]) -> None:
        """Something has happened."""
        name = f"{event['service']}/{event['instance']}" if "instance" in event else ""
        for task in tuple(self.tasks):
            if name in task.watched:
                self.send_event(task.number, {"event": event})
        for number, wants in tuple(self.followed.items()):
            if wants(event):
                self.send_event(number, {"event": event})

    def step(self) -> None:
        """What waits looks again."""
        for task in tuple(self.tasks):
            task.go_on()

    def until_closed(self, release: Callable[[], object]) -> None:
        """Call this when the connection ends."""
        self._taps.append(release)

    # ---- the end ----

    def finish(self) -> None:
        """The supervisor ends: answer what waits, and send what the socket takes."""
        for task in tuple(self.tasks):
            task.go_on()
        for task in tuple(self.tasks):
            self.tasks.discard(task)
            task.end()
            self.send({"id": task.number, "error": "the supervisor has ended", "kind": "failed"})
        if self._out and self._socket.fileno() >= 0:
            with suppress(OSError):
                self._socket.settimeout(0.2)
                self._socket.sendall(self._out)
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._socket.fileno() < 0:
            return
        self._loop.unregister(self._socket)
        self._socket.close()
        for task in tuple(self.tasks):
            task.end()
        for release in self._taps:
            release()
        self.tasks.clear()
        self.followed.clear()
        self._taps.clear()
        self.control.talks.discard(self)


class Request:
    """One request: its arguments, and what a verb needs to answer it."""

    __slots__ = ("_arguments", "daemon", "history", "number", "talk")

    def __init__(self, talk: Talk, number: object, arguments: dict[str, Any]) -> None:
        self.talk, self.number = talk, number
        self._arguments = arguments
        self.daemon = talk.control.daemon
        self.history = talk.control.history

    def take(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """An argument.  Usage when it is of the wrong type."""
        value = self._arguments.pop(name, default)
        if value is not default and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise Usage(f"{name} is of the wrong type: {value!r}")
        return value

    def timeout(self) -> float | None:
        """How long is waited at most, in seconds."""
        value: float | None = self.take("timeout", (int, float), None)
        if value is not None and not 0 <= value <= _LONGEST_WAIT:
            raise Usage(f"timeout is a number of seconds from 0 to {_LONGEST_WAIT}, not {value!r}")
        return value

    def names(self) -> list[str]:
        """The names and patterns that are meant."""
        names: list[str] = self.take("names", list, [])
        if not all(isinstance(name, str) for name in names):
            raise Usage("names is a list of strings")
        return names

    def no_more(self) -> None:
        """Usage when an argument is left that the verb does not know."""
        if self._arguments:
            raise Usage(f"unknown argument {next(iter(self._arguments))!r}")

    def progress(self, message: dict[str, Any]) -> None:
        """Something on the way to the answer, which may be dropped."""
        self.talk.send_event(self.number, message)

    def wait(self, steps: Steps, watched: set[str], timeout: float | None) -> None:
        """Answer when the steps are through; or, after `timeout` seconds, that they are not."""
        task = Task(self.talk, self.number, steps, watched)
        self.talk.tasks.add(task)
        if timeout is not None:
            task.timer = self.daemon.supervisor.loop.call_later(timeout, task.late)
        self.talk.control.wake()

    def follow(self, wants: Callable[[dict[str, Any]], bool]) -> None:
        """Send events from now on, until the connection ends."""
        self.talk.followed[self.number] = wants


def _fault(error: Exception) -> dict[str, Any]:
    """The answer where a verb has a fault of its own.

    It would leave the loop, which ends the supervisor with all services: what somebody asked is not worth that.
    """
    sys.excepthook(type(error), error, error.__traceback__)
    return {"error": f"an internal error: {type(error).__name__}: {error}", "kind": "failed"}


def _text(error: BaseException) -> str:
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
