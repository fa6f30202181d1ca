"""``python -m benchmarks``: measure, print, write JSON, draw."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness, report


def parser() -> argparse.ArgumentParser:
    """The command line."""
    topics = harness.topic_names()
    made = argparse.ArgumentParser("python -m benchmarks", description="rawsys against its peers and the limits in C.")
    made.add_argument(
        "topic", nargs="*", choices=[[], *topics], metavar="TOPIC", help=f"{', '.join(topics)} (default: all)"
    )
    made.add_argument("--quick", action="store_true", help="tiny rounds, which show that it works and claim nothing")
    made.add_argument("--rounds", type=int, metavar="N", help="rounds of each row")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures, with every round")
    made.add_argument("--brief", action="store_true", help="leave the single rounds out of the JSON")
    made.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw the ratios")
    made.add_argument(
        "--from",
        dest="source",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="measure nothing: print and draw these JSONs",
    )
    made.add_argument("--python", nargs="+", metavar="EXE", help="measure in these interpreters instead of this one")
    return made


def measure_here(topics: Sequence[str], effort: harness.Effort) -> dict[str, Any]:
    """Measure in this interpreter and print as it goes."""
    run = harness.about()
    print("\n".join(report.heading(run)))
    rows = []
    for row in harness.run_topics(topics, effort):
        rows.append(row)
        print("\n".join(report.row_lines(row)), flush=True)
    print(report.closing(rows), flush=True)
    return run | {"quick": effort.quick, "rows": rows}


def measure_in(python: str, topics: Sequence[str], options: Sequence[str]) -> list[Any]:
    """Measure in another interpreter, which prints by itself."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "run.json"
        subprocess.run([python, "-m", "benchmarks", *topics, *options, "--json", str(file)], check=True)
        runs: list[Any] = json.loads(file.read_text("utf-8"))["runs"]
        return runs


def show(runs: Sequence[dict[str, Any]]) -> None:
    """Print what was measured before."""
    for run in runs:
        lines = [*report.heading(run), *(line for row in run["rows"] for line in report.row_lines(row))]
        print("\n".join([*lines, report.closing(run["rows"])]))


def without_rounds(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its medians and ratios only: what the table and the chart need."""
    return {key: value for key, value in row.items() if key not in ("columns", "rounds")}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    arguments = parser().parse_args(argv)
    topics = arguments.topic or harness.topic_names()
    effort = harness.QUICK if arguments.quick else harness.Effort()
    if arguments.rounds:
        effort = harness.Effort(arguments.rounds, effort.batch_ns, effort.quick)
    if arguments.source:
        runs = [run for file in arguments.source for run in json.loads(file.read_text("utf-8"))["runs"]]
        show(runs)
    elif arguments.python:
        options = ["--quick"] * arguments.quick + (["--rounds", str(arguments.rounds)] if arguments.rounds else [])
        runs = [run for python in arguments.python for run in measure_in(python, topics, options)]
    else:
        runs = [measure_here(topics, effort)]
    if arguments.brief:
        runs = [run | {"rows": [without_rounds(row) for row in run["rows"]]} for run in runs]
    if arguments.json:
        arguments.json.write_text(json.dumps({"format": 1, "runs": runs}) + "\n", "utf-8")
    if arguments.chart:
        from benchmarks import chart

        chart.draw(runs, arguments.chart)
    return 0


if __name__ == "__main__":
    sys.exit(main())
