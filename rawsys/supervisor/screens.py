"""Status on a terminal: a table by rich where that is installed, plain columns where it is not."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rawsys.supervisor.client import Client

HEADS = ("NAME", "STATE", "PID", "UPTIME", "RESTARTS", "LAST EXIT", "NEXT START", "HEALTH")
_COLOURS = {"running": "green", "done": "green", "starting": "cyan", "waiting": "cyan", "backoff": "yellow", "exited": "yellow",
            "stopping": "yellow", "killing": "yellow", "failed": "bold red", "stopped": "dim"}  # fmt: skip
EVERY = 1.0
"""Seconds between two looks of `watch`, where nothing happens."""


def span(seconds: float | None) -> str:
    """A time as one reads it: ``12.3s``, ``4m05s``, ``3h12m``, ``2d04h``."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    return f"{hours // 24}d{hours % 24:02}h"


def cells(row: dict[str, Any]) -> list[str]:
    """One line of the table."""
    state = row["state"] if row["goal"] == "up" or row["state"] in ("stopped", "failed", "done") else f"{row['state']}"
    return [
        row["name"], state, str(row["pid"] or "-"), span(row["uptime"]), str(row["restarts"]), row["last_exit"] or "-",
        f"in {span(row['next_start'])}" if row["next_start"] is not None else "-",
        row.get("health") or row.get("status_text") or "-",
    ]  # fmt: skip


def plain(rows: Iterable[dict[str, Any]]) -> str:
    """The table in plain columns."""
    lines = [list(HEADS), *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def rich_table(rows: Iterable[dict[str, Any]]) -> Any:
    """The table for a terminal.  ImportError where rich is not installed."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in HEADS:
        table.add_column(
            head, justify="right" if head in ("PID", "UPTIME", "RESTARTS") else "left", no_wrap=head != "LAST EXIT"
        )
    for row in rows:
        name, state, *rest = cells(row)
        table.add_row(name, Text(state, style=_COLOURS.get(row["state"], "")), *(Text(cell) for cell in rest))
    return table


def show_status(rows: list[dict[str, Any]]) -> None:
    """Print the table once."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console

            Console().print(rich_table(rows))
            return
        except ImportError:
            pass
    print(plain(rows))


def watch(client: Client, names: list[str]) -> int:
    """Show the table anew whenever something happens, and once a second, until Ctrl-C or the end of the supervisor."""
    from rawsys.supervisor.client import NoSupervisorError

    try:
        from rich.live import Live

        with Live(rich_table(client.status(names)), auto_refresh=False, screen=sys.stdout.isatty()) as live:
            for rows in _each_look(client, names):
                live.update(rich_table(rows), refresh=True)
    except ImportError:
        for rows in _each_look(client, names):
            # Home, each line cleared to its end, then what is below: nothing is blank in between, so nothing flickers.
            text = plain(rows).replace("\n", "\033[K\n")
            print(f"\033[H{text}\033[K\033[J" if sys.stdout.isatty() else plain(rows), flush=True)
    except NoSupervisorError:
        print("the supervisor has ended", file=sys.stderr)
        return 4
    return 0


def _each_look(client: Client, names: list[str]) -> Iterable[list[dict[str, Any]]]:
    """The status now, and again when events come, or a second has passed; several at once are one look."""
    import select

    from rawsys.supervisor.client import Client as Another

    with Another(client.path) as news:
        events = news.stream("events", follow=True)
        while True:
            yield client.status(names)
            select.select([news], [], [], EVERY)
            while select.select([news], [], [], 0.05)[0]:
                next(events)
