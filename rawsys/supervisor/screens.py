"""Status on a terminal: a table by rich where that is installed, plain columns where it is not."""

from __future__ import annotations

import json
import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rawsys.supervisor.client import Client

HEADS = ("NAME", "STATE", "PID", "UPTIME", "RESTARTS", "LAST EXIT", "STARTS IN", "HEALTH")
_COLOURS = {"running": "green", "done": "green", "starting": "cyan", "waiting": "cyan", "backoff": "yellow", "exited": "yellow",
            "stopping": "yellow", "killing": "yellow", "failed": "bold red", "stopped": "dim"}  # fmt: skip
_LESSER = ("RESTARTS", "UPTIME", "STARTS IN", "LAST EXIT", "HEALTH")
"""What a narrow terminal goes without, the first first."""
_NARROW = 14
"""Columns that an error or the words of a service need at least: the rest of it is folded or cut."""
_WIDEST = 60
"""Letters of a cell at most: an error with its path, and of what a service says the beginning."""
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
    return [
        row["name"], row["state"], str(row["pid"] or "-"), span(row["uptime"]), str(row["restarts"]), _short(row["last_exit"]),
        span(row["next_start"]), "log stuck" if "log_trouble" in row else _short(row.get("health") or row.get("status_text")),
    ]  # fmt: skip


def _short(words: str | None) -> str:
    """How it ended, or how well it is, in few letters: eight columns have to stand in 80.

    What a service says of itself (STATUS=) may be long, and may try to control the terminal of who looks at it.
    """
    short = (words or "-").replace("killed by ", "").replace("exited with ", "exit ")
    short = re.sub(r"^not well \((\d+) of (\d+)\)$", r"not well \1/\2", short)
    short = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in short)
    return short if len(short) <= _WIDEST else f"{short[: _WIDEST - 3]}..."


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()  # None where it was closed before we began


def plain(rows: Iterable[dict[str, Any]]) -> str:
    """The table in plain columns."""
    lines = [list(HEADS), *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _columns(lines: list[list[str]], width: int) -> list[int]:
    """The columns that a terminal has room for: without the lesser ones rather than with a name that cannot be read."""
    wide = {head: max(len(head), *(len(line[at]) for line in lines)) if lines else len(head)
            for at, head in enumerate(HEADS)}  # fmt: skip
    for head in ("LAST EXIT", "HEALTH"):
        wide[head] = min(wide[head], _NARROW)
    for head in _LESSER:
        if sum(wide.values()) + 2 * (len(wide) - 1) <= width:
            break
        del wide[head]
    return [at for at, head in enumerate(HEADS) if head in wide]


def rich_table(rows: Iterable[dict[str, Any]], width: int) -> Any:
    """The table for a terminal of so many columns.  ImportError where rich is not installed."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    rows = list(rows)
    lines = [cells(row) for row in rows]
    columns = _columns(lines, width)
    for head in (HEADS[at] for at in columns):
        table.add_column(
            head, justify="right" if head in ("PID", "UPTIME", "RESTARTS") else "left", no_wrap=head != "LAST EXIT"
        )
    for row, line in zip(rows, lines, strict=True):
        styles = {1: _COLOURS.get(row["state"], "")}
        table.add_row(*(Text(line[at], style=styles.get(at, "")) for at in columns))
    return table


class Progress:
    """What a verb shows while it goes on: a line for each event; one bar for many services, on a terminal with rich."""

    MANY = 10
    """Services above which there is a bar."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._bar: Any = None
        self._task: Any = None
        self._left: set[str] = set()
        self._ends = ("stopped", "done", "failed") if verb == "stop" else ("running", "done", "failed", "backoff")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def take(self, message: dict[str, Any]) -> None:
        """Show one message of the stream."""
        if "accepted" in message:
            self._begin(message["accepted"])
        elif "event" in message:
            event = message["event"]
            if self._bar is None:
                print(event_line(event), flush=True)
            else:
                self._step(event)
        elif "result" in message and self._bar is not None:
            failed = {row["name"] for row in message["result"].get("failed", ())}
            self._show(len(failed), f"{len(failed)} failed" if failed else "")

    def _begin(self, names: list[str]) -> None:
        if len(names) <= self.MANY or not _on_terminal():
            return
        try:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar
        except ImportError:
            return
        self._left = set(names)
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[last]}")
        )
        self._task = self._bar.add_task(self._verb, total=len(names), last="")
        self._bar.start()

    def _step(self, event: dict[str, Any]) -> None:
        from rawsys.supervisor.change import full_name

        name = full_name(event["service"], event.get("instance", 0))
        if event.get("to") in self._ends:
            self._left.discard(name)
            self._show(len(self._left), name)

    def _show(self, left: int, last: str) -> None:
        total = self._bar.tasks[0].total
        self._bar.update(self._task, completed=total - left, last=last)


def event_line(event: dict[str, Any]) -> str:
    """One event as a line."""
    from rawsys.supervisor.change import Change, Notice

    if "text" in event:
        return str(Notice(event["time"], event["service"], event["text"]))
    fields = {**event, "from_": event["from"]}
    return str(Change(**{name: fields.get(name) for name in Change._fields}))  # type: ignore[arg-type]  # from its own as_dict


def show_status(rows: list[dict[str, Any]]) -> None:
    """Print the table once."""
    if _on_terminal():
        try:
            from rich.console import Console

            console = Console()
            console.print(rich_table(rows, console.width))
            return
        except ImportError:
            pass
    print(plain(rows))


def watch(client: Client, names: list[str], *, as_json: bool = False) -> int:
    """Show the table anew whenever something happens, and once a second, until Ctrl-C or the end of the supervisor.

    As JSON it is one object a line.
    """
    from rawsys.supervisor.client import NoSupervisorError

    try:
        _watch(client, names, as_json)
    except NoSupervisorError:
        print("rawsys: the supervisor has ended", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 0  # that is how one ends it
    return 0


def _watch(client: Client, names: list[str], as_json: bool) -> None:
    if as_json:
        for rows in _each_look(client, names):
            print(json.dumps({"services": rows}), flush=True)
        return
    if not _on_terminal():
        for rows in _each_look(client, names):
            print(plain(rows), flush=True)
        return
    try:
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        for rows in _each_look(client, names):
            print(_over(plain(rows)), end="", flush=True)
        return
    with Live(auto_refresh=False, screen=True) as live:
        for rows in _each_look(client, names):
            room = live.console.height - 2  # the heads, and what follows
            more = [] if len(rows) <= room + 1 else [Text(f"... {len(rows) - room} more")]
            live.update(Group(rich_table(rows[:room] if more else rows, live.console.width), *more), refresh=True)


def _over(text: str) -> str:
    """A text over what is on the screen, as much as goes there.

    Home, each line cleared to its end, then what is below: nothing is blank in between, so nothing flickers.
    """
    width, height = os.get_terminal_size(sys.stdout.fileno())
    lines = text.splitlines()
    if len(lines) >= height:  # the last line of a screen stays free: its end would scroll
        lines[height - 2 :] = [f"... {len(lines) - height + 2} more"]
    return "\033[H" + "".join(f"{line[:width]}\033[K\n" for line in lines) + "\033[J"


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
