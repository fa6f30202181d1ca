"""Figures for a monitoring system, in the text form of OpenMetrics."""

from __future__ import annotations

from rawsys.supervisor.table import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rawsys.supervisor.daemon import Daemon
    from rawsys.supervisor.instance import Instance

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def exposition(daemon: Daemon) -> str:
    """All of it."""
    instances = list(daemon.supervisor.all())
    lines: list[str] = []

    def family(name: str, kind: str, words: str, value: Callable[[Instance], float | None]) -> None:
        suffix = "_total" if kind == "counter" else ""
        lines.append(f"# TYPE rawsys_{name} {kind}")
        if kind != "counter" and name.endswith("_seconds"):
            lines.append(f"# UNIT rawsys_{name} seconds")
        lines.append(f"# HELP rawsys_{name} {words}")
        for instance in instances:
            number = value(instance)
            if number is not None:
                lines.append(f"rawsys_{name}{suffix}{{{_labels(instance)}}} {_figure(number)}")

    family("up", "gauge", "Whether it is ready: 1, or 0.", lambda i: float(i.state is State.RUNNING))
    family("wanted", "gauge", "Whether it is wanted up: 1, or 0.", lambda i: float(i.goal_up))
    family("restarts", "counter", "How often it was started again.", lambda i: float(max(0, i.restarts)))
    family("uptime_seconds", "gauge", "How long its process has run.", lambda i: _seconds(i.describe()["uptime"]))
    family("healthy", "gauge", "Whether its last check went well: 1, or 0.", _healthy)
    lines.append("# TYPE rawsys_state stateset")
    lines.append("# HELP rawsys_state What it is doing.")
    for instance in instances:
        for state in State:
            lines.append(f'rawsys_state{{{_labels(instance)},rawsys_state="{state}"}} {int(instance.state is state)}')
    lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _figure(number: float) -> str:
    """All digits of it: what a counter loses in rounding, a rate makes up."""
    return str(int(number)) if number == int(number) else f"{number:.3f}"


def _labels(instance: Instance) -> str:
    return f'service="{instance.service.name}",instance="{instance.number}"'


def _seconds(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _healthy(instance: Instance) -> float | None:
    if instance.health is None or not instance.health.word:
        return None
    return float(instance.health.word == "well")
