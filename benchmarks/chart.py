"""The chart: the ratios of a JSON as dots with their quartiles, each beside the reach that it is measured by.

SVG written by hand, for light and dark: nothing is painted behind it, and its colours are a page's own where it stands in
one (the CSS variables of the docs' theme), else mid tones that white and black both carry.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

_WIDTH, _LEFT, _RIGHT, _LINE, _HEAD = 720, 316, 660, 22, 64
_TICKS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
_COLOURS = ("#3b8fd6", "#e08a2e", "#5aa469", "#b06fc4")
_STYLE = """
  .bench-ink { fill: var(--color-foreground-primary, #808890) } .bench-pale { fill: var(--color-foreground-secondary, #808890) }
  .bench-rule { stroke: #80889060; fill: none } .bench-one { stroke: #808890; stroke-dasharray: 4 3 }
  .bench-reach { stroke: var(--color-foreground-primary, #808890); stroke-width: 2 }
  .bench-ink, .bench-pale { font: 12px system-ui, sans-serif } .bench-name { font-weight: 600 } .bench-small { font-size: 10.5px }
"""


def rows_of(
    runs: Sequence[dict[str, Any]], topic: str | None = None
) -> dict[str, dict[str, list[tuple[int, dict[str, Any]]]]]:
    """What is drawn: of each row each peer, and the entries of both in the runs, by their number."""
    rows: dict[str, dict[str, list[tuple[int, dict[str, Any]]]]] = {}
    for number, run in enumerate(runs):
        for row in run["rows"]:
            if topic in (None, row["topic"]):
                for name, peer in _compared(row):
                    rows.setdefault(name, {}).setdefault(peer["name"], []).append((number, peer))
    return rows


def _compared(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What has a ratio in a row: the figures of a contest that have none (counts) are in the table only."""
    for peer in row.get("peers", ()):
        yield row["name"], peer
    for figure in row.get("figures", ()):
        for peer in figure["peers"]:
            if peer["ratio"]:
                yield f"{row['name']}: {figure['name']}{', worst' if figure['worst'] else ''}", peer


def draw(runs: Sequence[dict[str, Any]], file: Path) -> None:
    """Write the chart of all topics as SVG."""
    file.write_text(svg(runs), "utf-8")


def svg(runs: Sequence[dict[str, Any]], topic: str | None = None) -> str:
    """The chart of one topic, or of all."""
    rows = rows_of(runs, topic)
    place = _Scale(peer for peers in rows.values() for entries in peers.values() for _, peer in entries)
    bottom = _HEAD + sum(_LINE * (len(peers) + 1) for peers in rows.values())
    about, words = _about(runs), "; ".join(_in_words(rows))
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 40}" width="{_WIDTH}" '
                f'height="{bottom + 40}" role="img" aria-label={quoteattr(f"Ratios. {about}. {words}")}>'
            ),
            f"<style>{_STYLE}</style>",
            *_legend(runs),
            *place.grid(_HEAD - 8, bottom),
            *_lines(rows, place, len(runs)),
            _text(8, bottom + 32, about, "bench-pale bench-small"),
            "</svg>",
            "",
        ]
    )


class _Scale:
    """Logarithmic, from the smallest to the largest ratio or reach, and always with 1 in it."""

    def __init__(self, peers: Iterable[dict[str, Any]]) -> None:
        values = [1.0]
        for peer in peers:
            values += [*peer["ratio"], *_bound(peer)]
        low, high = min(values), max(values)
        self.ticks = [t for t in _TICKS if low / 2.2 <= t <= high * 2.2]
        self._low = math.log(min(low / 1.1, self.ticks[0]))
        self._span = math.log(max(high * 1.1, self.ticks[-1])) - self._low

    def __call__(self, ratio: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (math.log(ratio) - self._low) / self._span, 1)

    def grid(self, top: float, bottom: float) -> Iterator[str]:
        for tick in self.ticks:
            kind = "bench-one" if tick == 1 else "bench-rule"
            yield f'<path class="{kind}" d="M{self(tick)} {top}V{bottom}"/>'
            yield _text(self(tick), bottom + 14, f"{tick:g}", "bench-pale", "middle")


def _bound(peer: dict[str, Any]) -> list[float]:
    _, _, bound = peer["reach"].partition(" ")
    return [float(bound)] if bound else []


def _lines(rows: dict[str, dict[str, list[tuple[int, dict[str, Any]]]]], place: _Scale, n_runs: int) -> Iterator[str]:
    """A heading for each row, a line for each peer."""
    height = _HEAD
    for name, peers in rows.items():
        yield _text(8, height + 8, name, "bench-ink bench-name")
        height += _LINE
        for peer_name, entries in peers.items():
            yield _text(20, height + 8, f"/ {peer_name}", "bench-pale" if entries[0][1]["limit"] else "bench-ink")
            for number, peer in entries:
                yield from _dot(place, height + 4 + 5 * (number - (n_runs - 1) / 2), peer, _COLOURS[number % 4])
            for bound in _bound(entries[0][1]):
                yield f'<path class="bench-reach" d="M{place(bound)} {height - 5}v18"/>'
            ratios = " ".join(f"{peer['ratio'][1]:.2f}" for _, peer in entries)
            yield _text(_WIDTH - 4, height + 8, ratios, "bench-ink bench-small", "end")
            height += _LINE


def _dot(place: _Scale, height: float, peer: dict[str, Any], colour: str) -> Iterator[str]:
    """The median with its quartiles; hollow against a limit in C."""
    low, ratio, high = peer["ratio"]
    yield f'<path d="M{place(low)} {height}H{place(high)}" stroke="{colour}" stroke-width="2" stroke-opacity="0.6"/>'
    inside = "none" if peer["limit"] else colour
    yield f'<circle cx="{place(ratio)}" cy="{height}" r="3.5" fill="{inside}" stroke="{colour}" stroke-width="1.5"/>'


def _legend(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield _text(
        8, 16, "rawsys / the other, in time where nothing else is said; left of 1 rawsys needs less", "bench-ink"
    )
    at = 12
    for number, run in enumerate(runs):
        yield f'<circle cx="{at}" cy="34" r="3.5" fill="{_COLOURS[number % 4]}"/>'
        yield _text(at + 8, 38, f"Python {run['python']}", "bench-pale")
        at += 110
    yield f'<circle cx="{at}" cy="34" r="3.5" fill="none" stroke="#808890" stroke-width="1.5"/>'
    yield _text(at + 8, 38, "against the limit in C", "bench-pale")
    yield f'<path class="bench-reach" d="M{at + 150} 25v18"/>'
    yield _text(at + 158, 38, "reach that is wanted", "bench-pale")


def _about(runs: Sequence[dict[str, Any]]) -> str:
    machine = runs[0]["machine"]
    days = " and ".join(dict.fromkeys(run["date"][:10] for run in runs))
    commits = ", ".join(dict.fromkeys(run["commit"] or "unknown" for run in runs))
    return f"{machine['cpu']} x {machine['cpus']}, Linux {machine['kernel']}, {days}, commit {commits}"


def _in_words(rows: dict[str, dict[str, list[tuple[int, dict[str, Any]]]]]) -> Iterator[str]:
    """What the dots say, for who cannot see them."""
    for name, peers in rows.items():
        for peer_name, entries in peers.items():
            ratios = " and ".join(f"{peer['ratio'][1]:.2f}" for _, peer in entries)
            yield f"{name}: {ratios} of {peer_name}"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
