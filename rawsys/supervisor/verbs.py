"""The verbs of the control socket: each takes a request, and gives its result or has it sent later."""

from __future__ import annotations

import fnmatch
import os

from rawsys.supervisor.service import MOST
from rawsys.supervisor.table import ACTIVE, Event, State
from rawsys.supervisor.words import near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from rawsys.supervisor.instance import Instance
    from rawsys.supervisor.supervisor import Supervisor
    from rawsys.supervisor.talk import Request

    Steps = Generator[Callable[[], bool], None, dict[str, Any]]

_TAIL = 10
"""Lines of the log that are told with a failed start."""
_LONGEST_LINE = 1 << 16
"""Bytes of a line without end that are held back for one who follows a log."""
_UP = (State.RUNNING, State.DONE)


class Usage(ValueError):
    """The request is not one that can be understood."""


class Failed(Exception):
    """What was asked for did not come to be."""


def selected(supervisor: Supervisor, names: list[str], otherwise_all: bool = False) -> list[Instance]:
    """The instances that names and patterns mean.  Failed for one that means nothing."""
    if not names and otherwise_all:
        return list(supervisor.all())
    if not names:
        raise Usage("which services? Names, or patterns such as 'web*'; '*' is all")
    found: dict[Instance, None] = {}
    for name in names:
        if set(name) & set("*?["):
            matching = [
                i
                for i in supervisor.all()
                if fnmatch.fnmatchcase(i.service.name, name) or fnmatch.fnmatchcase(i.key, name)
            ]
        else:
            service, _, number = name.rpartition("/")
            matching = supervisor.instances.get(name) or [
                i for i in supervisor.instances.get(service, ()) if str(i.number) == number
            ]
        if not matching:
            raise Failed(f"no service {name}{near(name, supervisor.instances)}")
        found.update(dict.fromkeys(matching))
    return list(found)


def _staying(supervisor: Supervisor, names: list[str]) -> list[Instance]:
    """The same without those that are being removed.  Failed when no other is left."""
    instances = selected(supervisor, names)
    found = [instance for instance in instances if not supervisor.is_leaving(instance)]
    if not found:
        raise Failed(f"{', '.join(instance.name for instance in instances)}: removed, and on the way out")
    return found


def status(request: Request) -> dict[str, Any]:
    """All that is known of services, and of the supervisor."""
    names = request.names()
    request.no_more()
    supervisor = request.daemon.supervisor
    return {
        "services": [instance.describe() for instance in selected(supervisor, names, otherwise_all=True)],
        "supervisor": request.daemon.describe(),
    }


def _wait(request: Request) -> tuple[bool, float | None]:
    return request.take("wait", bool, True), request.timeout()


def start(request: Request) -> dict[str, Any] | None:
    """Want services up, and wait until they are ready."""
    instances, (waits, timeout) = _staying(request.daemon.supervisor, request.names()), _wait(request)
    request.no_more()
    for instance in instances:
        request.daemon.supervisor.start(instance.key)
    return _accepted(
        request,
        instances,
        waits,
        timeout,
        _until_up(request.daemon.supervisor, instances, dict.fromkeys(instances, -1)),
    )


def stop(request: Request) -> dict[str, Any] | None:
    """Want services down, and wait until nothing of them is left."""
    instances, (waits, timeout) = selected(request.daemon.supervisor, request.names()), _wait(request)
    request.no_more()
    for instance in instances:
        request.daemon.supervisor.stop(instance.key)
    return _accepted(request, instances, waits, timeout, _until_down(request.daemon.supervisor, instances))


def restart(request: Request) -> dict[str, Any] | None:
    """Restart services, all at once or (rolling) one after the other, each when the one before is ready."""
    supervisor = request.daemon.supervisor
    names, rolling, changed = (
        request.names(),
        request.take("rolling", bool, False),
        request.take("if_changed", bool, False),
    )
    waits, timeout = _wait(request)
    request.no_more()
    instances = _staying(supervisor, names)
    if changed:
        instances = request.daemon.take_up_changes(instances)
    if rolling:
        steps = _rolling(supervisor, instances)
        if not waits:
            request.daemon.in_background(steps)
        return _accepted(request, instances, waits, timeout, steps)
    runs = {instance: instance.restarts for instance in instances}
    for instance in instances:
        supervisor.restart(instance.key)
    return _accepted(request, instances, waits, timeout, _until_up(supervisor, instances, runs))


def _accepted(
    request: Request, instances: list[Instance], waits: bool, timeout: float | None, steps: Steps
) -> dict[str, Any] | None:
    names = [instance.name for instance in instances]
    if not waits:
        return {"accepted": names}
    request.progress({"accepted": names})
    request.wait(steps, {instance.key for instance in instances}, timeout)
    return None


def _until_up(supervisor: Supervisor, instances: list[Instance], runs: dict[Instance, int]) -> Steps:
    """Until each is ready, in a run after those that were counted, or has come to nothing."""
    yield lambda: all(
        (instance.state in _UP and instance.restarts > runs[instance]) or _in_vain(supervisor, instance)
        for instance in instances
    )
    return _outcome(supervisor, [instance for instance in instances if instance.state not in _UP], instances)


def _in_vain(supervisor: Supervisor, instance: Instance) -> bool:
    """Whether its start has failed, though it may be tried again by itself: whoever asked is told at once, not in a minute."""
    if instance.state is State.WAITING:
        return any(_will_not_come(supervisor, name) for name in supervisor.order.not_ready(instance))
    return instance.state in (State.FAILED, State.BACKOFF) or not instance.goal_up


def _will_not_come(supervisor: Supervisor, name: str) -> bool:
    return any(
        instance.state is State.FAILED
        or (instance.state is State.STOPPED and not instance.goal_up)
        or (instance.state is State.WAITING and _in_vain(supervisor, instance))
        for instance in supervisor.instances[name]
    )


def _until_down(supervisor: Supervisor, instances: list[Instance]) -> Steps:
    yield lambda: all(instance.state not in ACTIVE or instance.goal_up for instance in instances)
    return _outcome(supervisor, [instance for instance in instances if instance.goal_up], instances)


def _rolling(supervisor: Supervisor, instances: list[Instance]) -> Steps:
    for place, instance in enumerate(instances):
        runs = instance.restarts
        supervisor.restart(instance.key)
        yield _once_more_up(instance, runs)
        if instance.state not in _UP:
            left = [later.name for later in instances[place + 1 :]]
            return {**_outcome(supervisor, [instance], instances), "not_restarted": left}
    return _outcome(supervisor, [], instances)


def _once_more_up(instance: Instance, runs: int) -> Callable[[], bool]:
    """Up again, or in trouble: a rolling restart that finds the new one failing leaves the others alone."""
    return lambda: (
        instance.restarts > runs
        and (instance.state in _UP or instance.state in (State.FAILED, State.BACKOFF) or not instance.goal_up)
    )


def _outcome(supervisor: Supervisor, failed: list[Instance], instances: list[Instance]) -> dict[str, Any]:
    found: dict[str, Any] = {"ok": not failed, "services": [instance.describe() for instance in instances]}
    if failed:
        found["failed"] = [
            {
                "name": i.name, "state": str(i.state), "last_exit": i.last or None, "log": tail(i, _TAIL),
                "waits_for": supervisor.order.not_ready(i) if i.state is State.WAITING else [],
            }
            for i in failed
        ]  # fmt: skip
    return found


def tail(instance: Instance, lines: int) -> str:
    """The last lines of its output."""
    return "".join(pump.sink.tail(lines).decode("utf-8", "replace") for pump in instance.pumps)


def reload(request: Request) -> dict[str, Any]:
    """Read the configuration again, and go over to it; or only tell what that would do."""
    dry = request.take("dry_run", bool, False)
    request.no_more()
    return {**request.daemon.reload(dry).as_dict()}


def signal(request: Request) -> dict[str, Any]:
    """Send a signal to the processes of services."""
    from rawsys.supervisor.words import signal_number

    names, word = request.names(), request.take("signal", (str, int), None)
    request.no_more()
    if word is None:
        raise Usage("which signal?")
    number = signal_number(word)
    instances = selected(request.daemon.supervisor, names)
    running = [instance for instance in instances if instance.child is not None and instance.child.status is None]
    if not running:
        raise Failed(f"no process of {', '.join(instance.name for instance in instances)} runs")
    for instance in running:
        assert instance.child is not None
        instance.child.send_signal(number)
    return {"signalled": [instance.name for instance in running]}


def scale(request: Request) -> dict[str, Any] | None:
    """Have another number of instances of a service, and wait until they are ready, or gone."""
    supervisor = request.daemon.supervisor
    names, count, (waits, timeout) = request.names(), request.take("count", int, None), _wait(request)
    request.no_more()
    if count is None or not 0 <= count <= MOST:
        raise Usage(f"how many instances? A number from 0 to {MOST}" + ("" if count is None else f", not {count}"))
    if len(names) != 1 or names[0] not in supervisor.services:
        raise Failed(f"no service {names[0]}{near(names[0], supervisor.services)}" if names else "which service?")
    name = names[0]
    leaving = supervisor.instances[name][count:]
    supervisor.scale(name, count)
    staying = [instance for instance in supervisor.instances[name] if instance not in leaving]
    return _accepted(request, [*staying, *leaving], waits, timeout, _until_scaled(supervisor, staying, leaving))


def _until_scaled(supervisor: Supervisor, staying: list[Instance], leaving: list[Instance]) -> Steps:
    yield (
        lambda: (
            all(i.state in _UP or _in_vain(supervisor, i) for i in staying)
            and all(i.state not in ACTIVE for i in leaving)
        )
    )
    return _outcome(supervisor, [i for i in staying if i.goal_up and i.state not in _UP], staying)


def reset(request: Request) -> dict[str, Any]:
    """Forget what was counted; failed services start again."""
    instances = selected(request.daemon.supervisor, request.names())
    request.no_more()
    for instance in instances:
        instance.feed(Event.RESET, "reset")
    return {"reset": [instance.name for instance in instances]}


def logs(request: Request) -> dict[str, Any] | None:
    """The last lines of services' output, and, followed, what comes."""
    names, lines, follow = request.names(), request.take("lines", int, _TAIL), request.take("follow", bool, False)
    request.no_more()
    if lines < 0:
        raise Usage(f"how many lines? A number from 0 on, not {lines}")
    instances = selected(request.daemon.supervisor, names, otherwise_all=True)
    if not any(instance.service.log for instance in instances):
        raise Failed(f"{', '.join(i.name for i in instances)} has no log: its output is the supervisor's own")
    for instance in instances:
        text = tail(instance, lines)
        if text:
            request.talk.send({"id": request.number, "name": instance.name, "log": text})
        if follow:
            _follow_log(request, instance)
    return None if follow else {}


def _follow_log(request: Request, instance: Instance) -> None:
    """Send whole lines, as they stand in the log: with its prefix, and no letter or line in two pieces."""
    rest = b""

    def told(text: bytes) -> None:
        nonlocal rest
        end = text.rfind(b"\n") + 1
        if not end and len(rest) + len(text) < _LONGEST_LINE:
            rest += text
            return
        lines, rest = (rest + text[:end], text[end:]) if end else (rest + text + b"\n", b"")
        log = instance.service.log
        stamp = b"" if log is None else log.prefix_for(instance.name)
        shown = b"".join(stamp + line for line in lines.splitlines(keepends=True)) if stamp else lines
        request.progress({"name": instance.name, "log": shown.decode("utf-8", "replace")})

    instance.tap(told)
    request.talk.until_closed(lambda: instance.untap(told))


def events(request: Request) -> dict[str, Any] | None:
    """What has happened lately, and, followed, what happens."""
    names, follow = request.names(), request.take("follow", bool, False)
    request.no_more()
    wanted = None
    if names:
        wanted = {instance.key for instance in selected(request.daemon.supervisor, names)}

    def wants(event: dict[str, Any]) -> bool:
        return wanted is None or f"{event['service']}/{event.get('instance', 0)}" in wanted

    for event in request.history:
        if wants(event):
            request.talk.send({"id": request.number, "event": event})
    if follow:
        request.follow(wants)
        return None
    return {}


def shutdown(request: Request) -> None:
    """Stop everything in order; the connection ends with the supervisor."""
    timeout = request.timeout()
    request.no_more()
    supervisor = request.daemon.supervisor
    request.progress({"accepted": [instance.name for instance in supervisor.all() if instance.state in ACTIVE]})
    request.wait(_until_ended(supervisor), {instance.key for instance in supervisor.all()}, timeout)
    supervisor.shutdown("asked to shut down")


def _until_ended(supervisor: Supervisor) -> Steps:
    yield lambda: supervisor.ended
    return {"ok": True}


def metrics(request: Request) -> dict[str, Any]:
    """All figures, as OpenMetrics text."""
    from rawsys.supervisor.metrics import exposition

    request.no_more()
    return {"text": exposition(request.daemon)}


def ping(request: Request) -> dict[str, Any]:
    """Who is there."""
    request.no_more()
    return {"pid": os.getpid()}


VERBS: dict[str, Callable[[Request], dict[str, Any] | None]] = {
    "status": status, "start": start, "stop": stop, "restart": restart, "reload": reload, "signal": signal, "scale": scale,
    "reset": reset, "logs": logs, "events": events, "shutdown": shutdown, "metrics": metrics, "ping": ping,
}  # fmt: skip
