"""Sockets that the supervisor opens and keeps, and hands to services: LISTEN_FDS."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

FIRST = 3
"""The number that the first of them has in a service: SD_LISTEN_FDS_START."""


class ListenSocket:
    """A socket that stays open while services come and go: ``ListenSocket("http", "tcp:0.0.0.0:8080")``.

    `listen` is ``tcp:HOST:PORT``, ``udp:HOST:PORT``, ``unix:PATH`` or ``unix-dgram:PATH``; an IPv6 host stands in brackets;
    without a host it is all addresses.  Port 0 is a free one, told by `address`.

    Raises ValueError for what cannot be read so; OSError (EADDRINUSE, EACCES) when it cannot be opened.
    """

    __slots__ = ("_path", "listen", "name", "socket")

    def __init__(self, name: str, listen: str, *, backlog: int = 4096, mode: int = 0o666) -> None:
        self.name, self.listen = name, listen
        self._path: str | None = None
        try:
            kind, place = parts(listen)
        except ValueError as error:
            raise ValueError(f"socket {name}: {error}") from None
        if kind in ("tcp", "udp"):
            self.socket = _internet(kind, *_host_and_port(place))
        else:
            self.socket = self._unix(kind, place, mode)
        if kind in ("tcp", "unix"):
            self.socket.listen(backlog)

    def _unix(self, kind: str, path: str, mode: int) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if kind == "unix" else socket.SOCK_DGRAM)
        try:
            forget_stale(path)
            made.bind(path)
            self._path = path
            os.chmod(path, mode)
        except OSError as error:  # of bind, which says neither the path nor, for one that is too long, a number
            made.close()
            why = error.strerror or f"{error}: {len(os.fsencode(path))} bytes, 107 at most"
            raise OSError(error.errno or errno.ENAMETOOLONG, f"socket {self.name}: {why}", path) from None
        except BaseException:
            made.close()
            raise
        return made

    @property
    def address(self) -> object:
        """The address that it is bound to."""
        return self.socket.getsockname()

    def fileno(self) -> int:
        """The descriptor."""
        return self.socket.fileno()

    def close(self) -> None:
        """Close it, and remove its path."""
        self.socket.close()
        if self._path is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            self._path = None


def forget_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more.  OSError (EADDRINUSE) when somebody does; other files stay."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                continue
            except OSError:  # EPROTOTYPE: of the other kind
                continue
            raise OSError(98, "somebody listens on this socket", path)
    os.unlink(path)


def parts(listen: str) -> tuple[str, str]:
    """The kind and the place of what a socket is to listen on.  ValueError for what cannot be read so."""
    kind, _, place = listen.partition(":")
    if kind in ("unix", "unix-dgram") and place:
        return kind, place
    if kind not in ("tcp", "udp") or ":" not in place:
        raise ValueError(f"{listen!r} is not tcp:HOST:PORT, udp:HOST:PORT, unix:PATH or unix-dgram:PATH")
    port = place.rpartition(":")[2]
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ValueError(f"{listen!r}: the port is a number up to 65535")
    return kind, place


def _host_and_port(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _internet(kind: str, host: str, port: int) -> socket.socket:
    sort = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    found = socket.getaddrinfo(host or None, port, type=sort, flags=socket.AI_PASSIVE)
    family, sort, protocol, _, address = found[0]
    made = socket.socket(family, sort, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        error.add_note(f"listening on {kind}:{host}:{port}")
        raise
    return made
