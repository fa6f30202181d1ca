"""The keys of the configuration file, each with how its value is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rawsys.supervisor.health import Probe
from rawsys.supervisor.logs import Log
from rawsys.supervisor.restart import Restart
from rawsys.supervisor.service import Ready
from rawsys.supervisor.units import seconds
from rawsys.supervisor.values import (
    Key,
    Place,
    boolean,
    capabilities,
    delays,
    duration,
    duration_or_never,
    env_file,
    environment,
    file_size,
    limit,
    limits,
    listen,
    made,
    name_or_number,
    names_or_numbers,
    number,
    octal,
    one_of,
    path,
    relative,
    some_wholes,
    steps,
    success_codes,
    table,
    text,
    texts,
    whole,
    wholes,
)  # fmt: skip

SOCKET = "rawsys.sock"
"""The control socket, where the file does not name one: beside the file."""


def command(value: Any, place: Place) -> Any:
    """A list of strings; a string only where `shell` is true, which `assembled` looks at."""
    return value if isinstance(value, str) else texts(value, place)


def restart(value: Any, place: Place) -> Restart:
    """One of the policies, or a table."""
    if isinstance(value, str):
        return made(place, Restart, value)
    return made(place, Restart, **table(RESTART, value, place, "a policy or a table"))


def log(value: Any, place: Place) -> Log:
    """A path, "screen", or a table."""
    if value == "screen":
        return screen()
    if value == "":
        raise ValueError("the path is empty")  # it would be the folder of the file
    if isinstance(value, str):
        return made(place, Log, path(value, place))
    return made(place, Log, **table(LOG, value, place, 'a path, "screen" or a table'))


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
    return made(place, Probe, **told)


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
