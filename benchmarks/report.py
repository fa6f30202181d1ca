"""The table: rows as the JSON has them, made into lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rawsys.bench import in_time

_WIDTHS = (48, 10, 34, 10)


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
    name, ours = row["name"], in_time(row["ns"])
    for peer in row["peers"]:
        low, ratio, high = peer["ratio"]
        verdict = {True: "met", False: "MISSED", None: ""}[peer["met"]]
        rest = f"{ratio:7.3f}  {low:.3f} {high:.3f}  {peer['reach']:<8}  {verdict}"
        yield _line(name, ours, peer["name"], in_time(peer["ns"]), rest)
        name = ours = ""
    for missing in row["missing"]:
        yield _line(name, ours, f"{missing['name']}: {missing['why']}", "-", f"{'-':>7}")
        name = ours = ""
    if name:
        yield _line(name, ours, "", "", "")


def closing(rows: Sequence[dict[str, Any]]) -> str:
    """One line: how many reaches are met, and which are not."""
    verdicts = [(row["name"], peer) for row in rows for peer in row.get("peers", ()) if peer["met"] is not None]
    missed = [
        f"{name} against {peer['name']} ({peer['ratio'][1]:.3f}, {peer['reach']})"
        for name, peer in verdicts
        if not peer["met"]
    ]
    text = f"{len(verdicts) - len(missed)} of {len(verdicts)} reaches met"
    return f"{text}; missed: {'; '.join(missed)}" if missed else text
