"""What a configuration comes to: the order of starts, and the rules with all defaults."""

from __future__ import annotations

import os
import resource
import shlex

from rawsys.supervisor.order import levels, needs_of
from rawsys.supervisor.words import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rawsys.supervisor.config import Config
    from rawsys.supervisor.health import Probe
    from rawsys.supervisor.restart import Restart
    from rawsys.supervisor.service import Service


def explain_json(config: Config) -> dict[str, Any]:
    """All of it, as it goes into JSON."""
    return {
        "file": config.path,
        "socket": config.socket,
        "on-death": config.on_death,
        "exit-when": config.exit_when,
        "order": levels(needs_of(config.services)),
        "services": {name: described(service) for name, service in config.services.items()},
        "sockets": config.sockets,
    }


def explain(config: Config) -> str:
    """All of it, as lines."""
    lines = [
        f"control socket  {config.socket}",
        f"on death        {config.on_death}",
        f"exit when       {config.exit_when}",
        "",
        "start order (each line when the one before is ready):",
    ]
    lines += [f"  {number}. {', '.join(names)}" for number, names in enumerate(levels(needs_of(config.services)), 1)]
    for name, listen in config.sockets.items():
        lines += ["", f"[socket.{name}]", f"  listen         {listen}"]
    for name, service in config.services.items():
        lines += ["", f"[service.{name}]"]
        lines += [f"  {key:<14} {_line(value)}" for key, value in described(service).items()]
    return "\n".join(lines)


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_line(each)}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def described(service: Service) -> dict[str, Any]:
    """One service, with all that was left to defaults."""
    found: dict[str, Any] = {"command": shlex.join(map(os.fsdecode, service.command))}
    for key in ("after", "requires", "sockets"):
        if getattr(service, key):
            found[key] = list(getattr(service, key))
    if service.instances != 1:
        found["instances"] = service.instances
    found["restart"] = _restart(service.restart)
    found["ready"] = _probe(service.ready.probe) if service.ready.probe else _ready(service)
    found["start-timeout"] = "never" if service.start_timeout is None else f"{service.start_timeout:g}s"
    if service.check:
        found["check"] = {**_probe(service.check), "fails": service.check.fails}
    if service.watchdog is not None:
        found["watchdog"] = f"{service.watchdog:g}s"
    found["stop"] = [
        part
        for number, wait in service.stop
        for part in (signal_name(number).removeprefix("SIG"), *([] if wait is None else [f"{wait:g}s"]))
    ]
    found["stop-target"] = service.stop_target
    found["log"] = (
        "the supervisor's own output" if service.log is None or service.log.file is None else service.log.file
    )
    for key in ("oneshot", "key"):
        if getattr(service, key):
            found[key] = True
    if service.extra_env:
        found["env"] = {key: os.fsdecode(value) for key, value in service.extra_env.items()}
    for key, value in service.attributes.items():
        if key == "rlimits":
            found["rlimit"] = _rlimit(value)
            continue
        found[key.replace("_", "-")] = (
            oct(value) if key == "umask" else os.fsdecode(value) if isinstance(value, (str, bytes)) else repr(value)
        )
    return found


def _rlimit(limits: dict[int, Any]) -> dict[str, Any]:
    """By the names of the file; a pair is soft and hard."""
    names = {
        number: name.removeprefix("RLIMIT_").lower()
        for name, number in vars(resource).items()
        if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"  # an old name of nofile
    }
    return {
        names[number]: [_bound(each) for each in limit] if isinstance(limit, tuple) else _bound(limit)
        for number, limit in limits.items()
    }


def _bound(limit: int | None) -> int | str:
    return "unlimited" if limit is None else limit


def _ready(service: Service) -> str:
    ready = service.ready
    more = {"alive": f" for {ready.seconds:g}s", "fd": f" {ready.fd}"}.get(ready.kind, "")
    return ("as soon as it runs" if ready.kind == "none" else ready.kind) + more


def _probe(probe: Probe) -> dict[str, Any]:
    asked = getattr(probe, probe.kind)
    words = shlex.join(map(os.fsdecode, asked)) if probe.kind == "exec" else asked
    if probe.kind == "log":
        return {"log": words}
    return {probe.kind: words, "every": f"{probe.every:g}s", "timeout": f"{probe.timeout:g}s"}


def _restart(rule: Restart) -> dict[str, Any]:
    if rule.policy == "never":
        return {"policy": "never"}
    delays: dict[str, Any] = {"delays": [f"{delay:g}s" for delay in rule.delays]}
    if not rule.delays:
        delays = {"base": f"{rule.base:g}s", "factor": rule.factor, "max": f"{rule.max:g}s"}
    return {
        "policy": rule.policy, **delays, "jitter": rule.jitter, "reset": f"{rule.reset:g}s",
        "limit": "none" if rule.limit is None else rule.limit,
        "window": "never" if rule.window is None else f"{rule.window:g}s",
        "retry-after": "never" if rule.retry_after is None else f"{rule.retry_after:g}s",
        "success-codes": list(rule.success_codes),
    }  # fmt: skip
