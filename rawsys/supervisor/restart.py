"""Restart: whether, when and how often a service that ended is started again."""

from __future__ import annotations

import os
from collections import deque

from rawsys._timeouts import nanoseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rawsys.process import ExitStatus

POLICIES = ("always", "on-failure", "never")
NAMES = ("policy", "base", "factor", "max", "jitter", "reset", "limit", "window", "retry_after", "delays",
         "success_codes")  # fmt: skip
"""The arguments of Restart."""


class Restart:
    """When a service that ended by itself is started again.

    - ``policy``: "always"; "on-failure", when it did not end well; "never".
    - The first delay is ``base`` seconds, each further one is ``factor`` times the one before, at most ``max``; each is
      moved by up to ``jitter`` (a part of it, at random) to either side, so that services that died together do not come
      back together.  ``delays`` is a list of delays (seconds) instead, the last of which is repeated.
    - After a run of ``reset`` seconds the next delay is ``base`` again.
    - ``limit`` restarts within ``window`` seconds are made (``window`` None: ever; ``limit`` None: any number); the next end
      makes the service failed.  ``retry_after`` seconds later it is tried once more, with nothing counted; None is never.
    - ``success_codes``: what counts as ending well: exit codes, and names of signals such as "SIGTERM".

    All times are those of the monotonic clock.  Raises ValueError and TypeError for what cannot be right.
    """

    __slots__ = NAMES

    policy: str
    base: float
    factor: float
    max: float
    jitter: float
    reset: float
    limit: int | None
    window: float | None
    retry_after: float | None
    delays: tuple[float, ...]
    success_codes: tuple[int | str, ...]

    def __init__(
        self,
        policy: str = "on-failure",
        *,
        base: float = 0.1,
        factor: float = 2,
        max: float = 30,
        jitter: float = 0.1,
        reset: float = 30,
        limit: int | None = 10,
        window: float | None = 60,
        retry_after: float | None = 300,
        delays: Iterable[float] = (),
        success_codes: Iterable[int | str] = (0,),
    ) -> None:
        self.policy = policy
        self.base, self.factor, self.max, self.jitter, self.reset = base, factor, max, jitter, reset
        self.limit, self.window, self.retry_after = limit, window, retry_after
        self.delays = tuple(delays)
        self.success_codes = tuple(success_codes)
        self._check()

    def _check(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"restart policy is one of {', '.join(POLICIES)}, not {self.policy!r}")
        for name in ("base", "max", "reset", "window", "retry_after"):
            _seconds(name, getattr(self, name), none=name in ("window", "retry_after"))
        for delay in self.delays:
            _seconds("delays", delay)
        if isinstance(self.factor, bool) or not isinstance(self.factor, (int, float)) or not self.factor >= 1:
            raise ValueError(f"restart factor is a number from 1 on, not {self.factor!r}")
        if isinstance(self.jitter, bool) or not isinstance(self.jitter, (int, float)) or not 0 <= self.jitter <= 1:
            raise ValueError(f"restart jitter is a part from 0 to 1, not {self.jitter!r}")
        if self.limit is not None and (
            isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0
        ):
            raise ValueError(f"restart limit is a number of restarts or None, not {self.limit!r}")
        for code in self.success_codes:
            if isinstance(code, bool) or not (isinstance(code, str) or (isinstance(code, int) and 0 <= code <= 255)):
                raise ValueError(f"success_codes has exit codes (0 to 255) and names of signals, not {code!r}")
        from rawsys.supervisor.words import signal_number

        for code in self.success_codes:
            if isinstance(code, str):
                signal_number(code)

    def succeeded(self, status: ExitStatus | None) -> bool:
        """Whether an end was a good one; None, a status that is lost, was not."""
        if status is None:
            return False
        if status.code is not None:
            return status.code in self.success_codes
        from rawsys.supervisor.words import signal_number

        return any(isinstance(code, str) and signal_number(code) == status.signal for code in self.success_codes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Restart):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in NAMES)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in NAMES))

    def __repr__(self) -> str:
        default = Restart()
        words = [repr(self.policy)]
        words += [f"{k}={getattr(self, k)!r}" for k in NAMES[1:] if getattr(self, k) != getattr(default, k)]
        return f"Restart({', '.join(words)})"


def _seconds(name: str, value: float | None, none: bool = False) -> None:
    if value is None and none:
        return
    if value is None:
        raise TypeError(f"restart {name} is a number of seconds, not None")
    try:
        nanoseconds(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"restart {name}: {error}") from None


class History:
    """What of its past decides when one instance is started again."""

    __slots__ = ("_made", "_short", "_total", "restart")

    def __init__(self, restart: Restart) -> None:
        self.restart = restart
        self._short = 0
        """Runs shorter than `reset`, one after the other."""
        self._total = 0
        """Restarts made since the last `forget`."""
        self._made: deque[float] | None = None
        """When they were made, as far back as the window reaches; most services never need one."""

    def forget(self) -> None:
        """Count from nothing again."""
        self._short = self._total = 0
        self._made = None

    def delay(self, now: float, ran: float, counted: bool = True) -> float | None:
        """Seconds until the next start, after a run of `ran` seconds that ended `now`; None: no more restarts.

        What is not `counted` has no limit: it makes the delay longer only.
        """
        rule = self.restart
        if ran >= rule.reset:
            self._short = 0
        if counted and rule.limit is not None and self._count(now) >= rule.limit:
            return None
        delay = self._plain()
        if delay and rule.jitter:
            delay *= 1 + rule.jitter * (int.from_bytes(os.urandom(4), "little") / 2**31 - 1)
        self._short += 1
        if counted:
            self._total += 1
            if rule.limit is not None and rule.window is not None:
                if self._made is None:
                    self._made = deque()
                self._made.append(now)
        return delay

    def _count(self, now: float) -> int:
        """Restarts made within the window."""
        window = self.restart.window
        if window is None:
            return self._total
        while self._made and self._made[0] <= now - window:
            self._made.popleft()
        return len(self._made or ())

    def _plain(self) -> float:
        rule = self.restart
        if rule.delays:
            return float(rule.delays[min(self._short, len(rule.delays) - 1)])
        try:
            return float(min(rule.max, rule.base * rule.factor**self._short))
        except OverflowError:
            return float(rule.max)
