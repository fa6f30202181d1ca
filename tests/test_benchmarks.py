"""The benchmarks' arithmetic, and that every row can be built and run.  No test here looks at a time."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support import run_python

from rawsys import bench

ROOT = Path(__file__).resolve().parents[1]
TOPICS = ("calls", "events", "proc", "program", "threads")

if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are in the repository and the sdist only", allow_module_level=True)
sys.path.append(str(ROOT))  # last: the rawsys that is tested stays the installed one


@pytest.fixture
def harness() -> ModuleType:
    return importlib.import_module("benchmarks.harness")


@pytest.fixture
def main() -> Callable[[list[str]], int]:
    return importlib.import_module("benchmarks.__main__").main  # type: ignore[no-any-return]


# ---- the timing core ----


def test_loop_runs_the_statement_as_often_as_asked() -> None:
    """`count` operations of `times` turns each; what comes back is nanoseconds."""
    seen: list[int] = []
    side = bench.loop("f(value)", 3, f=seen.append, value=7)
    assert side(4) >= 0
    assert seen == [7] * 12


def test_loop_takes_statements_of_several_lines() -> None:
    """Indented as it stands in the source, with names assigned inside."""
    seen: list[int] = []
    bench.loop(
        """
        number = first
        f(number + 1)
        """,
        f=seen.append,
        first=1,
    )(2)
    assert seen == [2, 2]


def test_batch_finds_how_many_operations_fit() -> None:
    """For a side of 10 ns an operation, 100,000 ns are 10,000 operations."""
    assert bench.batch(lambda count: count * 10, 100_000) == pytest.approx(10_000, rel=0.01)


def test_batch_is_one_operation_where_that_is_too_long_already() -> None:
    """An operation of a second is made once."""
    assert bench.batch(lambda count: count * 1_000_000_000, 1000) == 1


def test_sides_take_turns_and_each_round_begins_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each round every side runs once; the order rotates."""
    monkeypatch.setattr(bench, "preemptions", lambda: 0)
    order: list[str] = []

    def side(name: str, ns: int) -> bench.Side:
        def run(count: int) -> int:
            order.append(name)
            return count * ns

        return run

    table = bench.take_turns([side("a", 1000), side("b", 2000), side("c", 3000)], rounds=3, batch_ns=1000)
    assert table == [[1000, 2000, 3000]] * 3
    assert "".join(order[-9:]) == "abcbcacab"


def test_rounds_that_lost_the_processor_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third look finds another number of preemptions: those rounds are left out."""
    looks = iter(range(1000))
    monkeypatch.setattr(bench, "preemptions", lambda: next(looks) // 3)
    assert len(bench.take_turns([lambda count: count * 1000], rounds=6, batch_ns=1000)) == 6


def test_all_rounds_count_where_none_is_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most twice the work is done."""
    looks = iter(range(1000))
    monkeypatch.setattr(bench, "preemptions", lambda: next(looks))
    assert len(bench.take_turns([lambda count: count * 1000], rounds=6, batch_ns=1000)) == 12


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5.0], (5, 5, 5)), ([1.0, 2.0], (1.25, 1.5, 1.75)), ([4.0, 1.0, 3.0, 2.0, 5.0], (2, 3, 4))],
)
def test_spread_is_the_quartiles(values: list[float], expected: tuple[float, float, float]) -> None:
    """Between neighbours where a quartile falls between them."""
    assert bench.spread(values) == expected


def test_ratios_are_paired() -> None:
    """A machine that gets slower from round to round does not change a ratio."""
    assert bench.ratios([[1.0, 2.0], [10.0, 20.0], [300.0, 600.0]], 1) == (0.5, 0.5, 0.5)


def test_ratios_are_beyond_the_baseline() -> None:
    """What both sides have in common is taken off in each round."""
    assert bench.ratios([[110.0, 120.0, 100.0], [60.0, 70.0, 50.0]], 1, 2) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("ns", "text"), [(0.5, "0.5 ns"), (999.9, "999.9 ns"), (1500, "1.5 us"), (2.5e6, "2.5 ms"), (3e9, "3 s")]
)
def test_times_have_the_unit_that_is_read_best(ns: float, text: str) -> None:
    """Three digits and a unit."""
    assert bench.in_time(ns) == text


# ---- the short benchmarks ----


def test_short_benchmarks_print_their_table(capsys: pytest.CaptureFixture[str]) -> None:
    """About ten rows with two times, a ratio and its quartiles."""
    assert bench.main(["--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Python 3.")
    assert 9 <= len(lines[2:]) <= 15
    assert all(len(line.split()) >= 7 for line in lines[2:])


def test_short_benchmarks_refuse_no_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, as for any wrong usage."""
    with pytest.raises(SystemExit) as ended:
        bench.main(["--rounds", "0"])
    assert ended.value.code == 2
    assert "at least one" in capsys.readouterr().err


# ---- the long benchmarks ----


@pytest.mark.parametrize(
    ("reach", "ratio", "met"),
    [
        ("<= 1.05", 1.05, True),
        ("<= 1.05", 1.06, False),
        (">= 1.0", 1.0, True),
        (">= 1.0", 0.9, False),
        ("reported", 9.0, None),
    ],
)
def test_a_reach_is_met_or_not(harness: ModuleType, reach: str, ratio: float, met: bool | None) -> None:
    """The bound itself is met; what is only reported is neither."""
    assert harness.is_met(reach, ratio) is met


def test_topics_are_the_modules_that_are_no_helpers(harness: ModuleType) -> None:
    """A new topic is a new file."""
    assert set(TOPICS) <= set(harness.topic_names())
    assert not set(harness.topic_names()) & harness.HELPERS


def test_a_missing_peer_is_said_and_the_row_goes_on(harness: ModuleType) -> None:
    """The peers that are there are measured."""
    topic = harness.Topic("t", "")

    def row(setting: Any) -> Any:
        absent = harness.peer("absent", lambda: pytest.fail("never made"), "<= 1", needs="no_such_module")
        return harness.Sides(
            lambda count: count * 1000, [absent, harness.peer("twice", lambda count: count * 2000, "<= 0.6")]
        )

    topic.row("row")(row)
    found = harness.measure(topic, topic.rows[0], harness.QUICK)
    assert found["missing"] == [{"name": "absent", "reach": "<= 1", "why": "no_such_module is not installed"}]
    assert [(p["name"], p["ratio"], p["met"]) for p in found["peers"]] == [("twice", [0.5, 0.5, 0.5], True)]


def test_a_row_that_cannot_be_prepared_is_skipped(harness: ModuleType) -> None:
    """With the reason, in the JSON and in the table."""
    topic = harness.Topic("t", "")

    def row(setting: Any) -> Any:
        raise harness.Missing("no such thing here")

    topic.row("row")(row)
    found = harness.measure(topic, topic.rows[0], harness.QUICK)
    assert found == {"topic": "t", "name": "row", "skipped": "no such thing here"}
    assert "skipped: no such thing here" in "\n".join(importlib.import_module("benchmarks.report").row_lines(found))


@pytest.mark.parametrize("topic", TOPICS)
def test_every_row_of_a_topic_runs(harness: ModuleType, topic: str) -> None:
    """Each row is built and measured in a tiny round: times are positive, quartiles are in order."""
    loaded = harness.load(topic)
    assert loaded.name == topic
    for maker in loaded.rows:
        row = harness.measure(loaded, maker, harness.QUICK)
        if row.get("skipped") == "needs two processors" and len(os.sched_getaffinity(0)) == 1:
            continue
        assert "skipped" not in row, row
        assert all(len(line) == len(row["columns"]) and min(line) > 0 for line in row["rounds"]), row["name"]
        for peer in row["peers"]:
            low, ratio, high = peer["ratio"]
            assert low <= ratio <= high


def contest(harness: ModuleType) -> Any:
    """A contest of made-up sides: ours has 1, 2 and 9 ms in three rounds, the rivals 2 and 4 each time."""
    ours = iter([1.0, 2.0, 9.0])
    figures = [
        harness.Figure("took", "ms", "<= 3", {"slow": "<= 0.4", harness.BEST: "<= 1.0"}),
        harness.Figure("longest", "ms", "<= 3", worst=True),
        harness.Figure("lost", reach="<= 0", compared=False),
    ]

    def measure() -> Any:
        now = next(ours)
        return {"took": now, "longest": now, "lost": 0}

    def absent() -> Any:
        raise harness.Missing("it is not installed")

    rivals = [
        harness.rival("fast", lambda: lambda: {"took": 2.0, "longest": 3.0, "lost": 7}),
        harness.rival("slow", lambda: lambda: {"took": 4.0, "lost": 0}),
        harness.rival("absent", absent),
    ]
    return harness.Contest(figures, measure, rivals)


def test_a_contest_has_medians_worst_ones_and_paired_ratios(harness: ModuleType) -> None:
    """A figure that a rival has not is left out for it; the best is that of each round; counts have no ratio."""
    made = contest(harness)
    found = harness.judge(made, harness.hold(made, 3))
    took, longest, lost = found["figures"]
    assert (took["value"], took["met"]) == (2.0, True)
    assert {peer["name"]: (peer["value"], peer["ratio"][1], peer["met"]) for peer in took["peers"]} == {
        "fast": (2.0, 1.0, None),
        "slow": (4.0, 0.5, False),
        harness.BEST: (2.0, 1.0, True),
    }
    assert (longest["value"], longest["met"]) == (9.0, False)
    assert [(peer["name"], peer["ratio"]) for peer in longest["peers"]] == [("fast", [3.0, 3.0, 3.0])]
    assert (lost["value"], lost["met"], [peer["ratio"] for peer in lost["peers"]]) == (0, True, [None, None])
    assert found["missing"] == [{"name": "absent", "why": "it is not installed"}]
    assert found["columns"] == ["rawsys", "fast", "slow"]
    assert len(found["rounds"]) == 3


def test_a_contest_is_printed_drawn_and_summed_up(harness: ModuleType) -> None:
    """Every figure has its lines, every reach counts, and the chart has what has a ratio."""
    made = contest(harness)
    row = {"topic": "t", "name": "row"} | harness.judge(made, harness.hold(made, 3))
    report = importlib.import_module("benchmarks.report")
    text = "\n".join(report.row_lines(row))
    assert "longest, worst" in text
    assert "absent: it is not installed" in text
    assert (
        report.closing([row])
        == "3 of 5 reaches met; missed: row: took against slow (0.500, <= 0.4); row: longest (9 ms, <= 3)"
    )
    drawn = importlib.import_module("benchmarks.chart").rows_of([{"rows": [row]}])
    assert {name: list(peers) for name, peers in drawn.items()} == {
        "row: took": ["fast", "slow", harness.BEST],
        "row: longest, worst": ["fast"],
    }


def test_the_rounds_of_a_contest_begin_with_another_side_each(harness: ModuleType) -> None:
    """As those of take_turns do."""
    order: list[str] = []

    def side(name: str) -> Callable[[], dict[str, float]]:
        return lambda: order.append(name) or {"n": 1.0}  # type: ignore[func-returns-value]

    made = harness.Contest([harness.Figure("n")], side("a"), [harness.Rival(name, side(name)) for name in "bc"])
    harness.hold(made, 3)
    assert "".join(order) == "abcbcacab"


def test_lines_of_a_flood_that_are_lost_or_cut_are_found(tmp_path: Path) -> None:
    """Whole lines count once, with a time before them or without; halves, and what is not there, are told."""
    look = importlib.import_module("benchmarks.supervised.floods").look

    def line(number: int) -> bytes:
        return b"%010d " % number + 88 * b"x" + b"\n"

    one, two = tmp_path / "current", tmp_path / "@1.s"
    two.write_bytes(line(0) + b"2026-01-01T00:00:00.000 " + line(1) + line(1) + line(2)[:40])
    one.write_bytes(line(2)[40:] + line(4))
    assert look([two, one], 5) == (2, 2)
    two.write_bytes(line(0) + line(1) + line(2))
    one.write_bytes(line(3) + line(4))
    assert look([two, one], 5) == (0, 0)


@pytest.mark.parametrize(
    "row",
    ["restart with 200", "start 200", "stop 200", "memory with 200", "100 MB of lines", "the supervisor is killed"],
)
def test_a_row_of_the_supervisor_runs_without_rivals(row: str) -> None:
    """With six children, and nothing else to be found: every figure is there, and every rival is said to be missing.

    In a process of its own, since the row makes its process a subreaper and ends all that is below it.
    """
    code = """
        import json, shutil, sys
        sys.path.append(sys.argv[1])
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            sys.exit(3)
        from benchmarks import harness
        topic = harness.load("supervisor")
        from benchmarks.supervised import keepers, floods
        def nothing(name):
            raise harness.Missing(f"{name} is not to be found")
        keepers.program = floods.program = nothing
        (maker,) = [each for each in topic.rows if each.name.startswith(sys.argv[2])]
        print(json.dumps(harness.measure(topic, maker, harness.QUICK)))
    """
    done = run_python(code, str(ROOT), row, flags=(), deadline=90)
    if done.returncode == 3:
        pytest.skip("no C compiler for the child")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if "cannot be compiled" in found.get("skipped", ""):
        pytest.skip(found["skipped"])
    assert "skipped" not in found
    assert found["columns"] == ["rawsys"]
    assert len(found["missing"]) >= 3
    for figure in found["figures"]:
        assert figure["name"] in found["rounds"][0][0]
    counts = {
        figure["name"]: figure["value"] for figure in found["figures"] if figure["name"].endswith(("lines", "ms"))
    }
    assert not any(counts.values())


def test_the_row_of_the_control_socket_runs(harness: ModuleType) -> None:
    """A supervisor is started, asked, and ended with the row."""
    topic = harness.load("supervisor")
    (maker,) = [each for each in topic.rows if each.name.startswith("status of 8")]
    row = harness.measure(topic, maker, harness.QUICK)
    assert len(row["columns"]) == 2
    assert all(min(line) > 0 for line in row["rounds"])


def test_json_has_machine_date_commit_and_every_round(
    harness: ModuleType,
    main: Callable[[list[str]], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file that a chart is drawn from, and the table printed again from it."""
    program = harness.load("program")
    few = harness.Topic("program", "", program.rows[:1])
    monkeypatch.setattr(harness, "load", lambda name: few)
    file = tmp_path / "run.json"
    assert main(["program", "--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    written = json.loads(file.read_text())
    (run,) = written["runs"]
    assert written["format"] == 1
    assert set(run) == {"machine", "python", "date", "commit", "quick", "rows"}
    assert set(run["machine"]) == {"cpu", "cpus", "kernel", "load"}
    (row,) = run["rows"]
    assert set(row) == {"topic", "name", "operations", "ours", "ns", "peers", "missing", "columns", "rounds"}
    assert len(row["rounds"]) >= harness.QUICK.rounds
    assert main(["--from", str(file)]) == 0
    assert capsys.readouterr().out == printed


def test_chart_is_drawn_without_a_background(tmp_path: Path, main: Callable[[list[str]], int]) -> None:
    """An SVG that a light and a dark page can carry, with its figures in words; the same figures give the same file."""
    peer = {
        "name": "os.getpid() & <more>",
        "limit": False,
        "reach": "<= 1.05",
        "ns": 50.0,
        "ratio": [0.9, 1.0, 1.1],
        "met": True,
    }
    limit = peer | {"name": "C", "limit": True, "reach": "reported"}
    row = {
        "topic": "calls",
        "name": "raw_getpid()",
        "ns": 50.0,
        "peers": [peer, limit],
        "missing": [],
        "rounds": [[1.0]],
    }
    machine = {"cpu": "a processor", "cpus": 2, "kernel": "6.1", "load": 0.0}
    run = {"machine": machine, "python": "3.11.0", "date": "2026-01-02T03:04", "commit": "abc", "rows": [row]}
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"format": 1, "runs": [run]}))
    options = ["--from", str(file), str(file), "--brief"]
    assert main([*options, "--chart", str(tmp_path / "a.svg")]) == 0
    assert main([*options, "--chart", str(tmp_path / "b.svg"), "--json", str(tmp_path / "brief.json")]) == 0
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "<rect" not in text
    picture = ET.fromstring(text)
    words = picture.get("aria-label") or ""
    assert "raw_getpid(): 1.00 and 1.00 of os.getpid() & <more>" in words
    assert all(part in words for part in ("a processor", "2026-01-02", "abc"))
    places = [float(x) for each in picture.iter() if (x := each.get("cx") or each.get("x"))]
    assert all(0 <= place <= float(picture.get("width") or 0) for place in places)
    assert not any(
        "rounds" in row for run in json.loads((tmp_path / "brief.json").read_text())["runs"] for row in run["rows"]
    )


def test_the_run_that_the_docs_show_is_a_real_one() -> None:
    """Not a quick one, of a clean tree, with every topic that there is measured or its absence explained."""
    runs = json.loads((ROOT / "docs/data/benchmarks.json").read_text())["runs"]
    for run in runs:
        assert not run["quick"]
        assert run["commit"]
        assert not run["commit"].endswith("+")
        assert len(run["rows"]) > 40
