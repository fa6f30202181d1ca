"""Change: the record of one change of one instance's state."""

from __future__ import annotations

import time
from typing import NamedTuple

from rawsys.supervisor.words import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.process import Usage


class Change(NamedTuple):
    """One change of state: what `Supervisor.on_event` gives; it prints as a line."""

    time: float
    """When, in seconds since the epoch (the wall clock, for people; nothing is decided by it)."""
    service: str
    """The name of the service."""
    instance: int
    """Which of its instances, from 0."""
    from_: str
    """The state before."""
    to: str
    """The state now."""
    reason: str
    """Why, in words."""
    pid: int | None = None
    """The number of its process, where there is or was one."""
    code: int | None = None
    """What it exited with, where that is what happened."""
    signal: int | None = None
    """The signal that killed it, where that is what happened."""
    rusage: Usage | None = None
    """What it used, once it has ended: seconds, bytes."""
    next_start: float | None = None
    """When it is started again (seconds since the epoch), in the states that wait for that."""

    @property
    def name(self) -> str:
        """``web`` or ``web/2``: the service, and the instance where it is not the first."""
        return full_name(self.service, self.instance)

    def as_dict(self) -> dict[str, object]:
        """As it goes into JSON: `from` without the underscore, nothing that is None."""
        found: dict[str, object] = {}
        for key, value in zip(self._fields, self, strict=True):
            if value is not None:
                found[key.rstrip("_")] = str(value) if key in ("from_", "to") else value
        if self.rusage is not None:
            found["rusage"] = self.rusage._asdict()
        return found

    def __str__(self) -> str:
        words = f"{_clock(self.time)} {self.name}: {self.from_} -> {self.to}"
        if self.pid is not None:
            words += f" (pid {self.pid})"
        if self.reason:
            words += f": {self.reason}"
        if self.next_start is not None:
            words += f"; next start in {_rounded(max(0.0, self.next_start - self.time))} s"
        return words


class Notice(NamedTuple):
    """Something that is worth telling and is no change of state: what `Supervisor.on_event` gives beside `Change`."""

    time: float
    """When, in seconds since the epoch."""
    service: str
    """The name of the instance that it is about."""
    text: str
    """What there is to tell."""

    @classmethod
    def now(cls, service: str, text: str) -> Notice:
        """One of this moment."""
        return cls(time.time(), service, text)

    def as_dict(self) -> dict[str, object]:
        """As it goes into JSON."""
        return self._asdict()

    def __str__(self) -> str:
        return f"{_clock(self.time)} {self.service}: {self.text}"


def _rounded(seconds: float) -> str:
    """Two digits of a short time, the whole seconds of a long one: 0.011, 1.7, 300."""
    return f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when)) + f"{when % 1:.3f}"[1:]


def full_name(service: str, instance: int) -> str:
    """``web`` for its first instance, ``web/2`` for others."""
    return f"{service}/{instance}" if instance else service


def ending(code: int | None, signal: int | None) -> str:
    """How a process ended, in words."""
    if signal is not None:
        return f"killed by {signal_name(signal)}"
    return "how it ended is lost" if code is None else f"exited with {code}"
