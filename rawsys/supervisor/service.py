"""Service: what is to run, and all the rules for it."""

from __future__ import annotations

from rawsys._timeouts import nanoseconds
from rawsys.command import NULL, Command
from rawsys.command.command import NAMES as COMMAND_NAMES
from rawsys.command.environment import arguments
from rawsys.supervisor.logs import Log
from rawsys.supervisor.restart import Restart
from rawsys.supervisor.words import near, stop_steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rawsys.command.environment import Text
    from rawsys.supervisor.health import Probe
    from rawsys.supervisor.words import Steps

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@:-")
_OURS = frozenset({"announce", "argv", "new_session", "process_group", "controlling_tty", "parent_death_signal",
                   "parent_death_any_thread", "env"})  # fmt: skip
ATTRIBUTES = tuple(sorted({*COMMAND_NAMES} - _OURS))
"""Arguments of Command that are arguments of Service too."""
_PROCESS = ("attributes", "command", "env", "extra_env", "log", "sockets")
TARGETS = ("group", "main")
MOST = 10_000
"""Instances of one service: some zeros too many would keep the supervisor busy for hours, and deaf meanwhile."""


class Ready:
    """When a service that was started counts as ready: ``Ready("none" | "alive" | "fd" | "notify" | "probe", ...)``.

    - "none": as soon as its program runs.
    - "alive": when it has run for `seconds`.
    - "fd": when it writes a newline to its descriptor `fd` (the protocol of s6), or to another one named by `fd`.
    - "notify": when it says READY=1 to NOTIFY_SOCKET (the protocol of `sd_notify(3)`).
    - "probe": when a `Probe` answers, which is asked every so often.
    """

    __slots__ = ("fd", "kind", "probe", "seconds")
    KINDS = ("none", "alive", "fd", "notify", "probe")

    def __init__(self, kind: str = "none", *, seconds: float = 1, fd: int = 3, probe: Probe | None = None) -> None:
        if kind not in self.KINDS:
            raise ValueError(f"ready is one of {', '.join(self.KINDS)}, or a number of seconds, not {kind!r}")
        if nanoseconds(seconds) is None:
            raise TypeError("ready: seconds is a number, not None")
        if isinstance(fd, bool) or not isinstance(fd, int) or fd < 3:
            raise ValueError(f"ready: the descriptor is a number from 3 on, not {fd!r}")
        if (kind == "probe") != (probe is not None):
            raise ValueError('a probe and the kind "probe" go together')
        self.kind, self.seconds, self.fd, self.probe = kind, seconds, fd, probe

    @classmethod
    def of(cls, value: Ready | Probe | str | float | None) -> Ready:
        """What a word, a number of seconds, a Probe or None means."""
        if isinstance(value, Ready):
            return value
        if value is not None and not isinstance(value, (str, int, float)):
            return cls("probe", probe=value)
        if value is None or isinstance(value, str):
            return cls(value or "none")
        return cls("alive", seconds=value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ready):
            return NotImplemented
        mine, its = ((one.kind, one.seconds, one.fd, one.probe) for one in (self, other))
        return mine == its

    def __hash__(self) -> int:
        return hash((self.kind, self.seconds, self.fd))

    def __repr__(self) -> str:
        more = {
            "alive": f", seconds={self.seconds:g}", "fd": f", fd={self.fd}", "probe": f", probe={self.probe!r}",
        }.get(self.kind, "")  # fmt: skip
        return f"Ready({self.kind!r}{more})"


class Service:
    """A program that is kept running: ``Service("web", ["gunicorn", "app:app"], after=["db"], instances=2, umask=0o27)``.

    - ``command``: the program and its arguments.  ``instances`` of it run side by side; `{i}` in the command, the
      environment, ``cwd`` and the name of the log is the number of each, from 0 (`{i:02}` is formatted), and so is
      RAWSYS_INSTANCE in its environment.
    - ``restart``: a `Restart`, or one of its policies.  ``oneshot``: it is to end; when it ends well it is done, and what
      comes after it starts then.
    - ``after``: names of services that have to be ready (or done) before it starts.  ``requires``: the same, and it stops
      and starts again with them.
    - ``ready``: a `Ready`, one of its words, or the seconds for which it has to be alive; ``start_timeout`` seconds (None:
      any) are given to it.  ``watchdog``: seconds within which it has to say WATCHDOG=1, again and again.
    - ``check``: a `Probe` that is asked while it runs; it is restarted when that fails.
    - ``stop``: the steps of a stop, signals and seconds: ``["TERM", 10, "KILL"]``; SIGKILL comes last also where it is not
      named and a time is.  They go to the whole process group, or with ``stop_target="main"`` to its process alone.
    - ``log``: a `Log`, or the name of a file; None leaves the supervisor's own output to it.
    - ``sockets``: names of the supervisor's listening sockets that it gets (LISTEN_FDS, from descriptor 3 on).
    - ``key``: when it has failed for good, the supervisor ends with its exit code.
    - ``env``: its whole environment, else the supervisor's; ``extra_env``: some more.

    All other arguments are those of `rawsys.Command`: ``cwd``, ``user``, ``group``, ``umask``, ``nice``, ``rlimits``,
    ``affinity``, ``capabilities``, ``cgroup``, ``stdin`` (NULL if not given), ``signal_mask`` (nothing),
    ``default_signals`` (all that the supervisor ignores), ``fds``, ...  It runs in a session of its own.

    A Service cannot be changed; `replace` makes a variant.  Raises TypeError and ValueError for what cannot be right.
    """

    __slots__ = ("after", "attributes", "check", "command", "env", "extra_env", "instances", "key", "log", "name", "oneshot", "ready",
                 "requires", "restart", "sockets", "start_timeout", "stop", "stop_target", "watchdog")  # fmt: skip

    name: str
    command: tuple[Text, ...]
    after: tuple[str, ...]
    requires: tuple[str, ...]
    instances: int
    restart: Restart
    ready: Ready
    start_timeout: float | None
    watchdog: float | None
    check: Probe | None
    stop: Steps
    stop_target: str
    log: Log | None
    sockets: tuple[str, ...]
    oneshot: bool
    key: bool
    env: Mapping[str, Text] | None
    extra_env: Mapping[str, Text]
    attributes: dict[str, Any]
    """The arguments for Command."""

    def __init__(
        self,
        name: str,
        command: Iterable[Text],
        *,
        after: Iterable[str] = (),
        requires: Iterable[str] = (),
        instances: int = 1,
        restart: Restart | str = "on-failure",
        ready: Ready | Probe | str | float | None = None,
        start_timeout: float | None = 60,
        watchdog: float | None = None,
        check: Probe | None = None,
        stop: Iterable[int | str | float] = ("TERM", 10, "KILL"),
        stop_target: str = "group",
        log: Log | Text | None = None,
        sockets: Iterable[str] = (),
        oneshot: bool = False,
        key: bool = False,
        env: Mapping[str, Text] | None = None,
        extra_env: Mapping[str, Text] | None = None,
        **attributes: Any,
    ) -> None:
        if isinstance(command, (str, bytes)):
            raise TypeError(
                f'service {name}: command is a list, ["sleep", "10"]; for a shell ["sh", "-c", {command!r}]'
            )
        own = {
            "name": name, "command": tuple(command), "after": _names("after", after), "requires": _names("requires", requires),
            "instances": instances, "restart": restart if isinstance(restart, Restart) else Restart(restart),
            "ready": Ready.of(ready), "start_timeout": start_timeout, "watchdog": watchdog,
            "check": check, "stop": stop_steps(stop),
            "stop_target": stop_target, "log": log if log is None or isinstance(log, Log) else Log(log),
            "sockets": _names("sockets", sockets), "oneshot": bool(oneshot), "key": bool(key), "env": env,
            "extra_env": dict(extra_env or {}), "attributes": attributes,
        }  # fmt: skip
        for key_, value in own.items():
            object.__setattr__(self, key_, value)
        try:
            self._check()
        except (TypeError, ValueError) as error:
            if str(error).startswith("service "):
                raise
            raise type(error)(f"service {name}: {error}") from error

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Service cannot be changed: replace({name}=...) makes another one")

    def _check(self) -> None:
        if not isinstance(self.name, str) or not _is_name(self.name):
            raise ValueError(f"{self.name!r} is no name: letters, digits and _ . @ : - make one")
        unknown = [name for name in self.attributes if name not in ATTRIBUTES]
        if unknown:
            raise TypeError(_unknown(unknown[0]))
        number = self.instances
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST:
            raise ValueError(f"instances is a number from 0 to {MOST}, not {number!r}")
        for name in ("start_timeout", "watchdog"):
            nanoseconds(getattr(self, name))
        if self.watchdog == 0:
            raise ValueError("watchdog is a number of seconds above 0, or None")
        if self.stop_target not in TARGETS:
            raise ValueError(f"stop_target is one of {', '.join(TARGETS)}, not {self.stop_target!r}")
        if self.log is not None and {"stdout", "stderr"} & {*self.attributes}:
            raise ValueError("log takes the output: stdout and stderr cannot stand beside it")
        self._check_probes()
        if self.attributes or self.env is not None or self.extra_env:
            self.command_for(0)  # which checks all of it
        else:
            arguments(self.command)

    def _check_probes(self) -> None:
        if self.check is not None and self.check.log is not None:
            raise ValueError("a check cannot look at the log: it has to be asked again and again")
        reads_log = self.ready.probe is not None and self.ready.probe.log is not None
        if reads_log and self.log is None:
            raise ValueError("ready by a line of the log needs a log")

    @property
    def needs(self) -> tuple[str, ...]:
        """All that has to be ready before it starts."""
        return tuple(dict.fromkeys((*self.after, *self.requires)))

    @property
    def uses_notify(self) -> bool:
        """Whether it talks by NOTIFY_SOCKET."""
        return self.ready.kind == "notify" or self.watchdog is not None

    def command_for(self, number: int, extra_env: Mapping[str, str] | None = None, **attributes: Any) -> Command:
        """The Command for one instance: `{i}` filled in, in a session of its own, with what the supervisor adds."""
        given = {name: filled(value, number) for name, value in self.attributes.items()}
        given.setdefault("stdin", NULL)
        given.setdefault("signal_mask", ())
        env = None if self.env is None else {name: filled(value, number) for name, value in self.env.items()}
        more = {name: filled(value, number) for name, value in self.extra_env.items()}
        more |= {"RAWSYS_INSTANCE": str(number), **(extra_env or {})}
        fds = {**given.pop("fds", {}), **attributes.pop("fds", {})}
        words = [filled(word, number) for word in self.command]
        return Command(*words, env=env, extra_env=more, fds=fds, new_session=True, **{**given, **attributes})

    def process_differs(self, other: Service) -> bool:
        """Whether a process of the one is another than a process of the other; the rest are rules of the supervisor."""
        if any(getattr(self, name) != getattr(other, name) for name in _PROCESS):
            return True
        talks = [
            (one.uses_notify, one.watchdog, one.ready.fd if one.ready.kind == "fd" else None) for one in (self, other)
        ]
        return talks[0] != talks[1]

    def replace(self, **changes: Any) -> Service:
        """The same service with other rules."""
        own = {name: getattr(self, name) for name in self.__slots__ if name != "attributes"}
        own["stop"] = self.stop_words()
        return Service(**{**own, **self.attributes, **changes})

    def stop_words(self) -> list[str | float]:
        """The steps of its stop, as they are given."""
        from rawsys.supervisor.words import signal_name

        words: list[str | float] = []
        for signal, wait in self.stop:
            words += (
                [signal_name(signal).removeprefix("SIG")]
                if wait is None
                else [signal_name(signal).removeprefix("SIG"), wait]
            )
        return words

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Service):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # it holds dicts

    def __repr__(self) -> str:
        return f"<Service {self.name}: {Command(*self.command)}>"


def _names(what: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, (str, bytes)):
        raise TypeError(f"{what} is a list of names, not one text: [{names!r}]")
    return tuple(names)


def filled(value: Any, number: int) -> Any:
    """`{i}` in a text is the number of the instance."""
    if isinstance(value, str) and "{i" in value:
        import re  # seldom needed, and not cheap

        return re.sub(r"\{i(?::([^{}]*))?\}", lambda found: format(number, found[1] or ""), value)
    return value


def _is_name(name: str) -> bool:
    return 0 < len(name) <= 200 and name[0] not in ".@:-" and _LETTERS.issuperset(name)


def _unknown(name: str) -> str:
    if name in _OURS:
        return f"{name} is what the supervisor decides; a service cannot have it"
    return f"{name} is nothing that a service has{near(name, [*Service.__slots__, *ATTRIBUTES])}"
