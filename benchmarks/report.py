"""The table: rows as the JSON has them, made into lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rawsys.bench import in_time

_WIDTHS = (48, 10, 34, 10)
_VERDICT = {True: "met", False: "MISSED", None: ""}


def heading(run: dict[str, Any]) -> Iterator[str]:
    """The lines above the table."""
    machine = run["machine"]
    yield f"Python {run['python']}, Linux {machine['kernel']}, {machine['cpu']} x {machine['cpus']} (load {machine['load']})"
    yield f"commit {run['commit'] or 'unknown'}, {run['date']}; time an operation, median of the paired ratios with its quartiles"
    yield _line("", "rawsys", "against", "", "  ratio  quartiles    reach")


def _line(name: str, ours: str, against: str, theirs: str, rest: str) -> str:
    a, b, c, d = _WIDTHS
    return f"{name:{a}}{ours:>{b}}   {against:{c}}{theirs:>{d}}{rest}".rstrip()


def row_lines(row: dict[str, Any]) -> Iterator[str]:
    """The lines of one row: one for each peer."""
    if "skipped" in row:
        yield _line(row["name"], "-", f"skipped: {row['skipped']}", "", "")
        return
    if "figures" in row:
        yield from _contest_lines(row)
        return
    name, ours = row["name"], in_time(row["ns"])
    for peer in row["peers"]:
        low, ratio, high = peer["ratio"]
        rest = f"{ratio:7.3f}  {low:.3f} {high:.3f}  {peer['reach']:<8}  {_VERDICT[peer['met']]}"
        yield _line(name, ours, peer["name"], in_time(peer["ns"]), rest)
        name = ours = ""
    for missing in row["missing"]:
        yield _line(name, ours, f"{missing['name']}: {missing['why']}", "-", f"{'-':>7}")
        name = ours = ""
    if name:
        yield _line(name, ours, "", "", "")


def _contest_lines(row: dict[str, Any]) -> Iterator[str]:
    """The lines of a contest: its name, and for each figure one for our own reach and one for each rival."""
    yield row["name"]
    for figure in row["figures"]:
        unit = figure["unit"]
        name, ours = f"  {figure['name']}{', worst' if figure['worst'] else ''}", _number(figure["value"], unit)
        if figure["met"] is not None or not figure["peers"]:
            reach = f"{figure['reach']} {unit}".rstrip()
            yield _line(name, ours, "", "", f"{'':23}  {reach:<8}  {_VERDICT[figure['met']]}")
            name = ours = ""
        for peer in figure["peers"]:
            rest = f"{'-':>7}"
            if peer["ratio"]:
                low, ratio, high = peer["ratio"]
                rest = f"{ratio:7.3f}  {low:.3f} {high:.3f}  {peer['reach']:<8}  {_VERDICT[peer['met']]}"
            yield _line(name, ours, peer["name"], _number(peer["value"], unit), rest)
            name = ours = ""
    for missing in row["missing"]:
        yield f"  {missing['name']}: {missing['why']}"


def _number(value: float, unit: str) -> str:
    """Three digits and a unit; whole numbers as they are."""
    text = f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def _verdicts(row: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """For each reach of a row: whether it is met, and what one says when it is not."""
    for peer in row.get("peers", ()):
        if peer["met"] is not None:
            yield peer["met"], f"{row['name']} against {peer['name']} ({peer['ratio'][1]:.3f}, {peer['reach']})"
    for figure in row.get("figures", ()):
        name = f"{row['name']}: {figure['name']}"
        if figure["met"] is not None:
            yield figure["met"], f"{name} ({_number(figure['value'], figure['unit'])}, {figure['reach']})"
        for peer in figure["peers"]:
            if peer["met"] is not None:
                yield peer["met"], f"{name} against {peer['name']} ({peer['ratio'][1]:.3f}, {peer['reach']})"


def closing(rows: Sequence[dict[str, Any]]) -> str:
    """One line: how many reaches are met, and which are not."""
    verdicts = [verdict for row in rows for verdict in _verdicts(row)]
    missed = [text for met, text in verdicts if not met]
    text = f"{len(verdicts) - len(missed)} of {len(verdicts)} reaches met"
    return f"{text}; missed: {'; '.join(missed)}" if missed else text
