"""The chart: the ratios of a JSON as dots with their quartiles, each beside the reach that it is measured by.

One picture for light and dark pages: nothing is painted behind it, text is a grey that both carry.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

TEXT, GRID = "#808890", "#80889040"
COLOURS = ("#3b8fd6", "#e08a2e", "#5aa469", "#b06fc4")
LIMIT = "#808890"


def lines_of(runs: Sequence[dict[str, Any]]) -> list[tuple[str, bool, list[tuple[int, dict[str, Any]]]]]:
    """What is drawn, from top to bottom: a label, whether it is a limit, and the peer's entry of each run."""
    lines: dict[str, tuple[str, bool, list[tuple[int, dict[str, Any]]]]] = {}
    for number, run in enumerate(runs):
        for row in run["rows"]:
            for peer in row.get("peers", ()):
                label = f"{row['name']}  /  {peer['name']}"
                lines.setdefault(f"{row['topic']} {label}", (label, peer["limit"], []))[2].append((number, peer))
    return list(lines.values())


def draw(runs: Sequence[dict[str, Any]], file: Path) -> None:
    """Write the chart as SVG.

    Raises SystemExit with one sentence where matplotlib is not installed.
    """
    pyplot = _matplotlib("pyplot")
    _matplotlib("").rcParams.update(
        {"svg.hashsalt": "rawsys", "svg.fonttype": "none", "font.size": 9, "text.color": TEXT, "axes.labelcolor": TEXT}
    )
    pyplot.switch_backend("svg")
    lines = lines_of(runs)
    figure, axes = pyplot.subplots(figsize=(9.5, 0.9 + 0.3 * len(lines)), layout="constrained")
    for place, (_, is_limit, entries) in enumerate(lines):
        for number, peer in entries:
            _draw_dot(
                axes,
                place + 0.22 * (number - (len(runs) - 1) / 2),
                peer,
                LIMIT if is_limit else COLOURS[number % len(COLOURS)],
            )
        _draw_reach(axes, place, entries[0][1]["reach"])
    figure.supxlabel(
        "time of rawsys / time of the other, median of the paired ratios; left of 1 rawsys is faster",
        fontsize=9,
        color=TEXT,
    )
    _dress(axes, [label for label, _, _ in lines], runs)
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    pyplot.close(figure)


def _matplotlib(part: str) -> Any:
    """A module of matplotlib, which only the chart needs."""
    try:
        return importlib.import_module(f"matplotlib.{part}".rstrip("."))
    except ModuleNotFoundError:
        raise SystemExit("the chart needs matplotlib: pip install -e '.[bench]'") from None


def _draw_dot(axes: Any, height: float, peer: dict[str, Any], colour: str) -> None:
    low, ratio, high = peer["ratio"]
    axes.plot([low, high], [height, height], color=colour, linewidth=2, alpha=0.6, solid_capstyle="round")
    axes.plot([ratio], [height], marker="o", markersize=5, color=colour)


def _draw_reach(axes: Any, place: int, reach: str) -> None:
    relation, _, bound = reach.partition(" ")
    if bound:
        axes.plot([float(bound)] * 2, [place - 0.38, place + 0.38], color=TEXT, linewidth=1.5)
        side = "left" if relation == "<=" else "right"  # the text stands where the reach is missed
        axes.annotate(f" {reach} ", (float(bound), place - 0.05), color=TEXT, fontsize=6.5, va="bottom", ha=side)


def _dress(axes: Any, labels: Sequence[str], runs: Sequence[dict[str, Any]]) -> None:
    """Scale, names and the legend."""
    axes.set_xscale("log")
    ticks = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.axvline(1, color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.tick_params(colors=TEXT, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    machine = runs[0]["machine"]
    axes.set_xlabel(f"{machine['cpu']}, Linux {machine['kernel']}", fontsize=8)
    dot = partial(_matplotlib("lines").Line2D, [], [], linestyle="")
    key = [
        dot(marker="o", color=COLOURS[i % len(COLOURS)], label=f"Python {run['python']}") for i, run in enumerate(runs)
    ]
    key.append(dot(marker="o", color=LIMIT, label="against the limit in C"))
    key.append(dot(marker="|", color=TEXT, markersize=9, markeredgewidth=1.5, label="reach"))
    axes.legend(
        handles=key, loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=len(key), frameon=False, labelcolor=TEXT
    )
