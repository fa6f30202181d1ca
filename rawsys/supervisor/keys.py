"""The keys of the configuration file, each with how its value is read."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rawsys.supervisor.health import Probe
from rawsys.supervisor.listening import parts
from rawsys.supervisor.logs import Log
from rawsys.supervisor.restart import Restart
from rawsys.supervisor.service import Ready
from rawsys.supervisor.units import seconds, size
from rawsys.supervisor.words import near

SOCKET = "rawsys.sock"
"""The control socket, where the file does not name one: beside the file."""


class Place(NamedTuple):
    """Where in a file something stands."""

    file: str
    text: str
    path: tuple[str, ...]
    folder: Path

    def key(self, word: str) -> Place:
        """A key of this table."""
        return self._replace(path=(*self.path, word))

    @property
    def shown(self) -> str:
        """``[service.web] restart.base``."""
        depth = 2 if self.path[:1] in (("service",), ("socket",)) else 1
        table, rest = self.path[:depth], self.path[depth:]
        return " ".join(filter(None, (f"[{'.'.join(table)}]" if table else "", ".".join(rest))))

    def line(self) -> int:
        """The line of the key, or else of its table; 0 when neither is found: TOML has many ways to write one thing."""
        best, inside = 0, 0
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            if head := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
                table = tuple(word.strip().strip("\"'") for word in head[1].split("."))
                if _common(table, self.path) == len(self.path) > inside:  # [task.backup] where [task] is meant
                    best, inside = number, len(self.path)
            elif key := re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line):
                table_path = (*table, *(word.strip("\"'") for word in key[1].split(".")))
                depth = _common(table_path, self.path)
                if depth == len(table_path) and depth > inside:
                    best, inside = number, depth
                continue
            if table and _common(table, self.path) == len(table) and len(table) > inside:
                best, inside = number, len(table)
        return best


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


class Key(NamedTuple):
    """One key: its name in Python, and how its value is read."""

    name: str
    read: Callable[[Any, Place], Any]
    """ValueError for a value that is wrong; its `place`, where it has one, is nearer than the key's own."""
    words: str
    """What it is for, in a few words."""


class Misplaced(ValueError):
    """A ValueError that knows its places: each is nearer than the key where it was found."""

    def __init__(self, *problems: tuple[Place, str]) -> None:
        super().__init__("; ".join(text for _, text in problems))
        self.problems = problems


def kind_of(value: object) -> str:
    """What TOML calls it."""
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), f"a {type(value).__name__}")


# ---- values ----


def text(value: Any, place: Place) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"a string is needed, not {kind_of(value)}")
    return value


def boolean(value: Any, place: Place) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"true or false is needed, not {kind_of(value)}")
    return value


def whole(value: Any, place: Place) -> int:
    """An integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"an integer is needed, not {kind_of(value)}")
    return value


def number(value: Any, place: Place) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"a number is needed, not {kind_of(value)}")
    return value


def texts(value: Any, place: Place) -> list[str]:
    """A list of strings."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"a list of strings is needed, not {kind_of(value)}" if not isinstance(value, list) else
                         "all of the list have to be strings")  # fmt: skip
    return value


def duration(value: Any, place: Place) -> float:
    """A time: "500ms", "30s"."""
    return seconds(value)


def duration_or_never(value: Any, place: Place) -> float | None:
    """A time, or "never"."""
    return None if value in ("never", "none") else seconds(value)


def path(value: Any, place: Place) -> str:
    """A path, which starts from the folder of the file."""
    if "\0" in text(value, place):
        raise ValueError(f"embedded null byte in a path: {value!r}")
    return str((place.folder / value).absolute())


def relative(value: Any, place: Place) -> str:
    """A path that is joined to the folder of the file where it is used."""
    path(value, place)
    return str(value)


def one_of(*words: str) -> Callable[[Any, Place], str]:
    """One of some words."""

    def read(value: Any, place: Place) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)} is needed, not {value!r}")
        return str(value)

    return read


def command(value: Any, place: Place) -> Any:
    """A list of strings; a string only where `shell` is true, which `assembled` looks at."""
    return value if isinstance(value, str) else texts(value, place)


def name_or_number(value: Any, place: Place) -> str | int:
    """A name, or a number."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"a name or a number is needed, not {kind_of(value)}")
    return value


def names_or_numbers(value: Any, place: Place) -> list[str | int]:
    """A list of names and numbers."""
    if not isinstance(value, list):
        raise ValueError(f"a list of names or numbers is needed, not {kind_of(value)}")
    return [name_or_number(each, place) for each in value]


def wholes(value: Any, place: Place) -> list[int]:
    """A list of integers."""
    if not isinstance(value, list):
        raise ValueError(f"a list of integers is needed, not {kind_of(value)}")
    return [whole(each, place) for each in value]


def some_wholes(value: Any, place: Place) -> list[int]:
    """A list of integers, at least one."""
    if not wholes(value, place):
        raise ValueError("the list is empty")
    return list(value)


def octal(value: Any, place: Place) -> int:
    """A mode: "027" or 0o027."""
    if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{1,4}", value):
        return int(value.removeprefix("0o"), 8)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f'a mode such as "027" or 0o027 is needed, not {value!r}')


def environment(value: Any, place: Place) -> dict[str, str]:
    """A table of strings; numbers are written out."""
    if not isinstance(value, dict):
        raise ValueError(f"a table of variables is needed, not {kind_of(value)}")
    wrong = [(place.key(name), f"a string is needed, not {kind_of(each)}") for name, each in value.items()
             if isinstance(each, bool) or not isinstance(each, (str, int, float))]  # fmt: skip
    if wrong:
        raise Misplaced(*wrong)
    return {name: str(each) for name, each in value.items()}


def env_file(value: Any, place: Place) -> dict[str, str]:
    """Variables from a file: NAME=value on each line, quotes as a shell has them, `export` and comments allowed."""
    file = place.folder / text(value, place)
    found = {}
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    for line_number, written in enumerate(lines, 1):
        line = written.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, content = line.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            raise ValueError(f"{file}:{line_number}: this is not NAME=value: {line!r}")
        quoted = re.fullmatch(r"""\s*(?:"([^"]*)"|'([^']*)')\s*(?:#.*)?""", content)
        plain = re.split(r"\s#", content)[0].strip()
        found[name.strip()] = plain if quoted is None else quoted[1] or quoted[2] or ""
    return found


def limits(value: Any, place: Place) -> dict[int, int | tuple[int | None, int | None] | None]:
    """``{ nofile = 65536, core = "unlimited", as = ["1GB", "2GB"] }``."""
    if not isinstance(value, dict):
        raise ValueError(f"a table of limits is needed, not {kind_of(value)}")
    found: dict[int, Any] = {}
    wrong: list[tuple[Place, str]] = []
    for name, limit in value.items():
        constant = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if constant is None:
            known = sorted(n.removeprefix("RLIMIT_").lower() for n in dir(resource) if n.startswith("RLIMIT_"))
            wrong.append((place.key(name), f"no such limit; there are {', '.join(known)}"))
            continue
        pair = isinstance(limit, list) and len(limit) == 2
        try:
            found[constant] = tuple(map(_limit, limit)) if pair else _limit(limit)
            if pair:
                soft, hard = found[constant]
                if hard is not None and (soft is None or soft > hard):
                    raise ValueError(f"the soft limit comes first, and is not above the hard one: {limit}")
        except ValueError as error:
            wrong.append((place.key(name), str(error)))
    if wrong:
        raise Misplaced(*wrong)
    return found


def _limit(value: Any) -> int | None:
    return None if value == "unlimited" else size(value)


def capabilities(value: Any, place: Place) -> tuple[list[int] | None, list[int] | None]:
    """``{ bounding = ["net-bind-service"], ambient = [...] }``, or one list for both."""
    if isinstance(value, list):
        value = {"bounding": value, "ambient": value}
    if not isinstance(value, dict) or not set(value) <= {"bounding", "ambient"}:
        raise ValueError("a list of capabilities, or a table with bounding and ambient, is needed")
    return _capabilities(value.get("bounding"), place), _capabilities(value.get("ambient"), place)


def _capabilities(value: Any, place: Place) -> list[int] | None:
    from rawsys import constants

    if value is None:
        return None
    found = []
    for name in texts(value, place):
        word = "CAP_" + name.upper().replace("-", "_").removeprefix("CAP_")
        try:
            found.append(int(getattr(constants, word)))
        except AttributeError as error:
            raise ValueError(f"{name!r} is no capability: net-bind-service, sys-nice, ...") from error
    return found


def table(known: dict[str, Key], value: Any, place: Place, what: str) -> dict[str, Any]:
    """A table inside a service, read by its own keys."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is needed, not {kind_of(value)}")
    found: dict[str, Any] = {}
    wrong: list[tuple[Place, str]] = []
    for word, each in value.items():
        if word not in known:
            wrong.append((place.key(word), unknown(word, known)))
            continue
        try:
            found[known[word].name] = known[word].read(each, place.key(word))
        except Misplaced as error:
            wrong += error.problems
        except ValueError as error:
            wrong.append((place.key(word), str(error)))
    if wrong:
        raise Misplaced(*wrong)
    return found


def unknown(word: str, known: Iterable[str]) -> str:
    """What to say of a key that nobody knows."""
    if word.replace("_", "-") in known:
        return f"keys are written with '-': {word.replace('_', '-')}"
    return f"unknown key{near(word, known)}"


def made(place: Place, maker: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a class makes of values, its complaints as those about this place."""
    try:
        return maker(*args, **kwargs)
    except (TypeError, OSError) as error:
        raise Misplaced((place, str(error))) from error


def restart(value: Any, place: Place) -> Restart:
    """One of the policies, or a table."""
    if isinstance(value, str):
        return made(place, Restart, value)  # type: ignore[no-any-return]  # a Restart
    return made(place, Restart, **table(RESTART, value, place, "a policy or a table"))  # type: ignore[no-any-return]


def log(value: Any, place: Place) -> Log:
    """A path, "screen", or a table."""
    if value == "screen":
        return screen()
    if value == "":
        raise ValueError("the path is empty")  # it would be the folder of the file
    if isinstance(value, str):
        return made(place, Log, path(value, place))  # type: ignore[no-any-return]
    return made(place, Log, **table(LOG, value, place, 'a path, "screen" or a table'))  # type: ignore[no-any-return]


def listen(value: Any, place: Place) -> str:
    """What a socket listens on; the path of a unix one starts from the folder of the file."""
    kind, where = parts(text(value, place))
    return f"{kind}:{path(where, place)}" if kind.startswith("unix") else f"{kind}:{where}"


def log_stderr(value: Any, place: Place) -> str | Log:
    """merge, inherit, or another log."""
    return value if value in ("merge", "inherit") else log(value, place)


def screen() -> Log:
    """The supervisor's own output, with names."""
    return Log()


def ready(value: Any, place: Place) -> tuple[Ready, float | None]:
    """A word, a time for which it has to be alive, or a table; with the time that it is given, if that is told."""
    if value in ("none", "fd", "notify"):
        return Ready(value), None
    if not isinstance(value, dict):
        try:
            return Ready("alive", seconds=seconds(value)), None
        except ValueError:
            raise ValueError(
                'none, fd, notify, a time to be alive, or a table such as { tcp = "127.0.0.1:5432" } is needed'
            ) from None
    told = table(READY, value, place, "a table")
    limit = told.pop("timeout", None)
    if "fd" in told:
        return made(place, Ready, "fd", fd=told["fd"]), limit
    if "notify" in told:
        return Ready("notify"), limit
    if "alive" in told:
        return Ready("alive", seconds=told["alive"]), limit
    told.setdefault("every", 0.2)
    return Ready("probe", probe=made(place, Probe, **told)), limit


def check(value: Any, place: Place) -> Probe:
    """A table: what is asked, how often, and how long it may take."""
    told = table(CHECK, value, place, 'a table such as { http = "http://127.0.0.1:8000/health" }')
    return made(place, Probe, **told)  # type: ignore[no-any-return]


def steps(value: Any, place: Place) -> list[str | float]:
    """Signals, and times between them: ["TERM", "10s", "KILL"]."""
    from rawsys.supervisor.words import signal_number

    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f'a list such as ["TERM", "10s", "KILL"] is needed, not {kind_of(value)}')
    found: list[str | float] = []
    for word in value:
        try:
            signal_number(word if isinstance(word, str) else "")
        except ValueError:
            found.append(seconds(word))
        else:
            found.append(word)
    return found


def success_codes(value: Any, place: Place) -> list[int | str]:
    """Exit codes and names of signals."""
    return names_or_numbers(value, place)


def delays(value: Any, place: Place) -> list[float]:
    """A list of times."""
    if not isinstance(value, list):
        raise ValueError(f'a list of times such as ["100ms", "1s"] is needed, not {kind_of(value)}')
    return [seconds(each) for each in value]


def limit(value: Any, place: Place) -> int | None:
    """A number of restarts, or "none"."""
    return None if value == "none" else whole(value, place)


def file_size(value: Any, place: Place) -> int | None:
    """A size, or "none"."""
    return None if value == "none" else size(value)


# ---- the keys ----

RESTART: dict[str, Key] = {
    "policy": Key("policy", text, "always, on-failure or never"),
    "base": Key("base", duration, "the first delay"),
    "factor": Key("factor", number, "by how much each delay is longer than the one before"),
    "max": Key("max", duration, "the longest delay"),
    "jitter": Key("jitter", number, "the part by which a delay is moved at random"),
    "reset": Key("reset", duration, "a run of this length begins with the first delay again"),
    "limit": Key("limit", limit, "how many restarts are made within the window"),
    "window": Key("window", duration_or_never, "the time in which restarts are counted; never: all are"),
    "retry-after": Key("retry_after", duration_or_never, "when a failed service is tried again"),
    "delays": Key("delays", delays, "the delays one by one, instead of base, factor and max"),
    "success-codes": Key("success_codes", success_codes, "exit codes and signals that count as ending well"),
}
LOG: dict[str, Key] = {
    "file": Key("file", path, "the file; without it, the supervisor's own output"),
    "size": Key("size", file_size, "when a new file is begun"),
    "keep": Key("keep", whole, "how many old files stay"),
    "prefix": Key("prefix", text, "what stands before each line, with {time} and {name}"),
    "stderr": Key("stderr", log_stderr, "merge, inherit, or another log"),
}
_PROBE: dict[str, Key] = {
    "exec": Key("exec", texts, "a command that exits with 0"),
    "tcp": Key("tcp", text, "host:port that accepts a connection"),
    "http": Key("http", text, "a URL that answers with 2xx or 3xx"),
    "every": Key("every", duration, "how often it is asked"),
    "timeout": Key("timeout", duration, "how long it may take"),
}
CHECK: dict[str, Key] = {**_PROBE, "fails": Key("fails", whole, "how many times in a row it has to fail")}
READY: dict[str, Key] = {
    **_PROBE,
    "log": Key("log", text, "a pattern that a line of its log matches"),
    "fd": Key("fd", whole, "the descriptor that it writes a newline to"),
    "notify": Key("notify", boolean, "it says READY=1 to NOTIFY_SOCKET"),
    "alive": Key("alive", duration, "how long it has to be alive"),
}
SERVICE: dict[str, Key] = {
    "command": Key("command", command, "the program and its arguments"),
    "shell": Key("shell", boolean, "the command is a line for the shell"),
    "after": Key("after", texts, "services that have to be ready before it starts"),
    "requires": Key("requires", texts, "the same, and it stops and starts with them"),
    "instances": Key("instances", whole, "how many of it run; {i} is the number of each"),
    "cwd": Key("cwd", path, "the directory that it runs in"),
    "env": Key("env", environment, "variables of its environment, beside the supervisor's"),
    "env-file": Key("env_file", env_file, "a file with more of them"),
    "user": Key("user", name_or_number, "the user that it runs as"),
    "group": Key("group", name_or_number, "its group"),
    "groups": Key("groups", names_or_numbers, "its other groups"),
    "umask": Key("umask", octal, "its file mode creation mask"),
    "nice": Key("nice", whole, "-20 (gets most) to 19"),
    "affinity": Key("affinity", some_wholes, "the processors that it runs on"),
    "rlimit": Key("rlimits", limits, "limits: nofile, core, as, ..."),
    "capabilities": Key("capabilities", capabilities, "what it may have: bounding and ambient"),
    "no-new-privs": Key("no_new_privs", boolean, "no set-uid program gives it more"),
    "oom-score-adj": Key("oom_score_adj", whole, "-1000 to 1000: who is killed first when memory is short"),
    "ioprio": Key("ioprio", wholes, "[class, level] of its disk access"),
    "scheduling": Key("scheduling", wholes, "[policy, priority]"),
    "root": Key("root", path, "its root directory"),
    "cgroup": Key("cgroup", path, "the directory of the cgroup that it is born in"),
    "restart": Key("restart", restart, "always, on-failure, never, or a table"),
    "ready": Key("ready", ready, "when it is ready"),
    "start-timeout": Key("start_timeout", duration_or_never, "how long it may take to be ready"),
    "check": Key("check", check, "what is asked while it runs; it is restarted when that fails"),
    "watchdog": Key("watchdog", duration, "within which it has to say WATCHDOG=1"),
    "stop": Key("stop", steps, "signals, and times between them"),
    "stop-target": Key("stop_target", one_of("group", "main"), "who gets them: the group, or the process alone"),
    "log": Key("log", log, "where its output goes"),
    "sockets": Key("sockets", texts, "listening sockets that it gets"),
    "key": Key("key", boolean, "its failure ends the supervisor"),
    "oneshot": Key("oneshot", boolean, "it is to end, and done then"),
}
SUPERVISOR: dict[str, Key] = {
    "socket": Key("socket", relative, "the control socket"),
    "on-death": Key("on_death", one_of("kill", "keep"), "what becomes of the services when the supervisor is killed"),
    "exit-when": Key("exit_when", one_of("never", "all-done", "any-failed"), "when it ends by itself"),
    "include": Key("include", texts, "more files"),
}
SOCKET_TABLE: dict[str, Key] = {
    "listen": Key("listen", listen, "tcp:HOST:PORT, udp:HOST:PORT, unix:PATH or unix-dgram:PATH")
}


def assembled(place: Place, given: dict[str, Any], wrong: Callable[[Place, str], None]) -> dict[str, Any]:
    """What several keys say together, as arguments of Service."""
    shell = given.pop("shell", False)
    line = given.get("command")
    if isinstance(line, str) and not shell:
        wrong(
            place.key("command"),
            f'a list is needed: ["program", "argument"]; a string only with shell = true ({line!r})',
        )
    elif isinstance(line, list) and shell:
        wrong(place.key("command"), "with shell = true the command is one string")
    elif isinstance(line, str):
        given["command"] = ["sh", "-c", line]
    elif line == []:
        wrong(place.key("command"), "the list is empty")
    file = given.pop("env_file", {})
    given["extra_env"] = {**file, **given.pop("env", {})}
    given.setdefault("cwd", str(place.folder.absolute()))
    if "ready" in given:
        given["ready"], limit = given["ready"]
        if limit is not None:
            given.setdefault("start_timeout", limit)
    if "scheduling" in given or "ioprio" in given:
        for name in ("scheduling", "ioprio"):
            if name in given:
                given[name] = tuple(given[name])
    given.setdefault("log", screen())
    return given
