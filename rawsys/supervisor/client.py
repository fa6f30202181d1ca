"""Client: what talks to a supervisor over its control socket."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self


class ControlError(Exception):
    """A supervisor refused a request, or could not do it; `kind` is "usage" or "failed"."""

    def __init__(self, text: str, kind: str = "failed") -> None:
        super().__init__(text)
        self.kind = kind


class NoSupervisorError(ControlError):
    """Nobody listens on the socket."""


def find_socket(path: str | None = None) -> str:
    """The control socket: `path`, else RAWSYS_SOCKET, else what rawsys.toml in the working directory names.

    Raises NoSupervisorError when none of them is there.
    """
    if path:
        return path
    if named := os.environ.get("RAWSYS_SOCKET"):
        return named
    from rawsys.supervisor.config import NAME, socket_of

    if not Path(NAME).exists():
        raise NoSupervisorError(f"which supervisor? --socket PATH or RAWSYS_SOCKET says it, or a {NAME} in this folder")
    try:
        return socket_of(NAME)
    except ValueError as error:
        raise NoSupervisorError(f"{NAME} does not tell the control socket: {error}") from error


class Client:
    """A connection to a supervisor: ``Client("rawsys.sock").call("status")``; without a path see `find_socket`.

    One thread uses it, one request at a time.  `close()` or ``with`` ends it; a request under way goes on without us.

    Raises NoSupervisorError when nobody listens there.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = find_socket(path)
        self._number = 0
        self._in = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(self.path)
        except OSError as error:
            self._socket.close()
            raise NoSupervisorError(f"no supervisor listens on {self.path}: {error.strerror}") from error

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._socket.fileno()

    def call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Make a request and give its result; what comes on the way is passed over.

        The arguments are those of the verb: ``call("restart", names=["web*"], rolling=True)``.  Raises ControlError.
        """
        result: dict[str, Any] = {}
        for message in self.stream(verb, **arguments):
            result = message.get("result", result)
        return result

    def stream(self, verb: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Make a request and give all that comes back as it comes: ``{"event": ...}``, ..., ``{"result": ...}`` last.

        The request is made now, not when the first answer is asked for.  Giving the answers raises ControlError for what is
        refused or fails; NoSupervisorError when the supervisor goes away.
        """
        self._number += 1
        given = {name: value for name, value in arguments.items() if value is not None}
        self._send({"id": self._number, "verb": verb, **given})
        return self._answers(self._number)

    def _answers(self, number: int) -> Iterator[dict[str, Any]]:
        while True:
            message = self._receive()
            if message.pop("id", number) not in (number, None):
                continue  # of a request whose stream was left early
            if "error" in message:
                raise ControlError(message["error"], message.get("kind", "failed"))
            yield message
            if "result" in message:
                return

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            return  # it has hung up; it may have said why, and what reads the answer finds that first

    def _receive(self) -> dict[str, Any]:
        while b"\n" not in self._in:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise NoSupervisorError(f"the supervisor on {self.path} has gone")
            self._in += data
        line, self._in = self._in.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    # ---- the verbs ----

    def status(self, names: Iterable[str] = ()) -> list[dict[str, Any]]:
        """What is known of services, all where none is named: name, state, pid, uptime, restarts, last_exit, ..."""
        services: list[dict[str, Any]] = self.call("status", names=list(names))["services"]
        return services

    def start(self, *names: str, wait: bool = True, timeout: float | None = None) -> dict[str, Any]:
        """Start services, and wait until they are ready."""
        return self.call("start", names=list(names), wait=wait, timeout=timeout)

    def stop(self, *names: str, wait: bool = True, timeout: float | None = None) -> dict[str, Any]:
        """Stop services, and wait until nothing of them is left."""
        return self.call("stop", names=list(names), wait=wait, timeout=timeout)

    def restart(
        self,
        *names: str,
        rolling: bool = False,
        if_changed: bool = False,
        wait: bool = True,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Restart services; `rolling` one after the other, `if_changed` those whose file or program is another one."""
        return self.call(
            "restart", names=list(names), rolling=rolling, if_changed=if_changed, wait=wait, timeout=timeout
        )

    def reload(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Have the configuration read again; what was, or would be, done."""
        return self.call("reload", dry_run=dry_run)

    def events(self, names: Iterable[str] = (), *, follow: bool = True) -> Iterator[dict[str, Any]]:
        """What has happened lately, then what happens; ``{"lost": n}`` where this end was too slow."""
        messages = self.stream("events", names=list(names), follow=follow)
        return (message.get("event", message) for message in messages if "event" in message or "lost" in message)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
