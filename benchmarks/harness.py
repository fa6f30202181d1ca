"""Topics, rows and how they are measured; the timing core itself is rawsys.bench.

A topic is a module with a `TOPIC`, and each of its rows a function that prepares one row::

    TOPIC = Topic("calls", "single calls")

    @TOPIC.row("raw_getpid()")
    def getpid(setting: Setting) -> Sides:
        ours = loop("f()", f=rawsys.raw_getpid)
        theirs = peer("os.getpid()", loop("f()", f=os.getpid), "<= 1.05")
        return Sides(ours, [theirs, limit(lambda: c_limit("call0(SYS_getpid);"))])

`setting` is an ExitStack that ends when the row is measured.  A side is any function that makes its operation n times
and gives nanoseconds.  A side that cannot be had raises `Missing`: it is said and skipped, and the row goes on.

What is no time of one operation (memory, the worst of many, what was lost) is a `Contest` instead: each of its sides
measures once in a round, and gives a number for every `Figure`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from rawsys.bench import Side, ratios, small_files, spread, take_turns

HERE = Path(__file__).resolve().parent
REPORTED = "reported"
HELPERS = {"__init__", "__main__", "chart", "harness", "limits", "report"}


class Missing(Exception):
    """What a side needs is not there; the text says what."""


@dataclass(frozen=True)
class Peer:
    """Whom we are compared with, and the ratio that we want to reach: ``<= 1.05``, ``>= 1.0`` or ``reported``."""

    name: str
    side: Side | None
    reach: str = REPORTED
    missing: str = ""
    is_limit: bool = False


def peer(
    name: str, side: Side | Callable[[], Side], reach: str = REPORTED, *, needs: str = "", is_limit: bool = False
) -> Peer:
    """A peer; with `needs` (a module's name) or `is_limit`, `side` is a function that makes its side."""
    if not needs and not is_limit:
        return Peer(name, side, reach)  # type: ignore[arg-type]  # a side, not its maker
    try:
        if needs and importlib.util.find_spec(needs) is None:
            raise Missing(f"{needs} is not installed")
        return Peer(name, side(), reach, is_limit=is_limit)  # type: ignore[call-arg, arg-type]  # a maker
    except Missing as missing:
        return Peer(name, None, reach, str(missing), is_limit)


def limit(make: Callable[[], Side], reach: str = REPORTED, name: str = "bare instruction in C") -> Peer:
    """The limit in C; `make` calls c_limit."""
    return peer(name, make, reach, is_limit=True)


@dataclass(frozen=True)
class Sides:
    """What a row measures.

    `operations`: how many operations one turn of each side is; only the shown times depend on it.  `baseline`: a side
    whose time is taken off all others in each round (an empty interpreter, where starting one is not the subject).
    """

    ours: Side
    peers: Sequence[Peer] = ()
    operations: int = 1
    baseline: Side | None = None
    ours_name: str = "rawsys"


Reading = Mapping[str, float]
"""One measurement: a number for each figure, by name; a figure that is not in it does not exist there."""


@dataclass(frozen=True)
class Figure:
    """A number that a contest measures.

    `reach`: what our own number is to be, in its unit.  `against`: what its ratio to a peer is to be, by the peer's name;
    the name `BEST` stands for the smallest number that any peer had in the same round.  `worst`: the claim is the
    greatest number of all rounds, not the median.  `compared`: whether a ratio says something; it does not for a count
    that may be 0.
    """

    name: str
    unit: str = ""
    reach: str = REPORTED
    against: Mapping[str, str] = field(default_factory=dict)
    worst: bool = False
    compared: bool = True


BEST = "the best of these"


@dataclass(frozen=True)
class Rival:
    """Whom we are compared with in a contest: a function that measures once, or why there is none."""

    name: str
    measure: Callable[[], Reading] | None
    missing: str = ""


def rival(name: str, make: Callable[[], Callable[[], Reading]]) -> Rival:
    """A rival; `make` makes its function, or raises Missing."""
    try:
        return Rival(name, make())
    except Missing as missing:
        return Rival(name, None, str(missing))


@dataclass(frozen=True)
class Contest:
    """What a row measures that is no time of one operation: all sides once in each round, in turns."""

    figures: Sequence[Figure]
    ours: Callable[[], Reading]
    rivals: Sequence[Rival] = ()


class Setting(ExitStack):
    """What a row is prepared in: `quick` asks for a run that only shows that everything works."""

    def __init__(self, quick: bool = False) -> None:
        super().__init__()
        self.quick = quick

    def size(self, full: int, quick: int) -> int:
        """A number of things to work on."""
        return quick if self.quick else full

    def directory(self) -> Path:
        """A directory that goes with the row."""
        return Path(self.enter_context(tempfile.TemporaryDirectory()))

    def small_files(self, full: int, quick: int) -> list[str]:
        """Names of so many files of 100 bytes."""
        return small_files(self.directory(), self.size(full, quick))


Prepare = Callable[[Setting], Sides | Contest]


@dataclass(frozen=True)
class Maker:
    """A row before it is prepared; `patience` multiplies the number of rounds."""

    name: str
    prepare: Prepare
    patience: float = 1.0


@dataclass
class Topic:
    """Rows that belong together."""

    name: str
    title: str
    rows: list[Maker] = field(default_factory=list)

    def row(self, name: str, patience: float = 1.0) -> Callable[[Prepare], Prepare]:
        """Register the function that prepares a row."""

        def register(prepare: Prepare) -> Prepare:
            self.rows.append(Maker(name, prepare, patience))
            return prepare

        return register


def topic_names() -> list[str]:
    """The modules here that are topics."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in HELPERS and not path.stem.startswith("_"))


def load(name: str) -> Topic:
    """One topic by name."""
    module: ModuleType = importlib.import_module(f"benchmarks.{name}")
    topic = module.TOPIC
    assert isinstance(topic, Topic)
    return topic


# ---- measuring ----


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds of a row, and nanoseconds of a batch."""

    rounds: int = 401
    batch_ns: int = 250_000
    quick: bool = False


QUICK = Effort(rounds=5, batch_ns=100_000, quick=True)


def is_met(reach: str, ratio: float) -> bool | None:
    """Whether a ratio is where the reach wants it; None for one that is only reported."""
    if reach == REPORTED:
        return None
    relation, _, bound = reach.partition(" ")
    return {"<=": ratio <= float(bound), ">=": ratio >= float(bound)}[relation]


def measure(topic: Topic, maker: Maker, effort: Effort) -> dict[str, Any]:
    """One row, as it stands in the JSON."""
    row: dict[str, Any] = {"topic": topic.name, "name": maker.name}
    with Setting(effort.quick) as setting:
        try:
            sides = maker.prepare(setting)
        except Missing as missing:
            return row | {"skipped": str(missing)}
        if isinstance(sides, Contest):
            rounds = max(1 if effort.quick else 3, round(effort.rounds * maker.patience))
            return row | judge(sides, hold(sides, rounds))
        present = [peer for peer in sides.peers if peer.side]
        run: list[Side] = [sides.ours, *(peer.side for peer in present if peer.side)]
        if sides.baseline:
            run.append(sides.baseline)
        table = take_turns(run, max(3, round(effort.rounds * maker.patience)), effort.batch_ns)
    return row | evaluate(sides, present, table)


def evaluate(sides: Sides, present: Sequence[Peer], table: list[list[float]]) -> dict[str, Any]:
    """Medians and ratios of a table of rounds: first ours, then those of the peers, last the baseline."""
    baseline = len(present) + 1 if sides.baseline else None

    def shown(column: int) -> float:
        return spread([line[column] - (line[baseline] if baseline else 0) for line in table]).median / sides.operations

    peers = []
    for column, one in enumerate(present, 1):
        low, median, high = ratios(table, column, baseline)
        found = {
            "name": one.name,
            "limit": one.is_limit,
            "reach": one.reach,
            "ns": shown(column),
            "ratio": [low, median, high],
        }
        peers.append(found | {"met": is_met(one.reach, median)})
    return {
        "operations": sides.operations,
        "ours": sides.ours_name,
        "ns": shown(0),
        "peers": peers,
        "missing": [{"name": one.name, "reach": one.reach, "why": one.missing} for one in sides.peers if not one.side],
        "columns": [sides.ours_name, *(one.name for one in present), *(["baseline"] if baseline else [])],
        "rounds": [[round(ns, 2) for ns in line] for line in table],
    }


def hold(contest: Contest, rounds: int) -> list[list[Reading]]:
    """The readings of each side, round by round: first ours, then those of the rivals that are there.

    Each round begins with another side, as in take_turns; nothing is left out.
    """
    sides = [contest.ours, *(one.measure for one in contest.rivals if one.measure)]
    table = []
    for number in range(rounds):
        line: list[Reading] = [{}] * len(sides)
        for turn in range(len(sides)):
            which = (number + turn) % len(sides)
            line[which] = sides[which]()
        table.append(line)
    return table


def judge(contest: Contest, table: list[list[Reading]]) -> dict[str, Any]:
    """The figures of a contest, as they stand in the JSON."""
    names = [one.name for one in contest.rivals if one.measure]
    return {
        "figures": [_judged(figure, names, table) for figure in contest.figures],
        "missing": [{"name": one.name, "why": one.missing} for one in contest.rivals if not one.measure],
        "columns": ["rawsys", *names],
        "rounds": [[dict(reading) for reading in line] for line in table],
    }


def _judged(figure: Figure, names: Sequence[str], table: list[list[Reading]]) -> dict[str, Any]:
    columns = {name: [line[at].get(figure.name) for line in table] for at, name in enumerate(names, 1)}
    ours = [line[0][figure.name] for line in table]
    if BEST in figure.against and columns:
        columns[BEST] = [min(filter(None, values), default=None) for values in zip(*columns.values(), strict=True)]
    value = _claim(figure, ours)
    peers = []
    for name, values in columns.items():
        if any(number is None for number in values):
            continue  # it has no such figure
        theirs = [number for number in values if number is not None]
        reach = figure.against.get(name, REPORTED)
        ratio = None
        if figure.compared and min(*ours, *theirs) > 0:
            ratio = list(spread([a / b for a, b in zip(ours, theirs, strict=True)]))
            if figure.worst:  # one number on each side, hence no quartiles
                ratio = [value / _claim(figure, theirs)] * 3
        met = is_met(reach, ratio[1]) if ratio else None
        entry = {"name": name, "limit": False, "reach": reach, "value": _claim(figure, theirs)}
        peers.append(entry | {"ratio": ratio, "met": met})
    return {
        "name": figure.name,
        "unit": figure.unit,
        "worst": figure.worst,
        "value": value,
        "reach": figure.reach,
        "met": is_met(figure.reach, value),
        "peers": peers,
    }


def _claim(figure: Figure, values: Sequence[float]) -> float:
    return max(values) if figure.worst else spread(values).median


def run_topics(names: Sequence[str], effort: Effort) -> Iterator[dict[str, Any]]:
    """Measure all rows of these topics, one after the other."""
    for name in names:
        topic = load(name)
        for maker in topic.rows:
            yield measure(topic, maker, effort)


# ---- where and when ----


def about() -> dict[str, Any]:
    """The machine, the Python, the commit and the date, as they stand in the JSON."""
    return {
        "machine": {
            "cpu": _cpu(),
            "cpus": os.cpu_count(),
            "kernel": os.uname().release,
            "load": round(os.getloadavg()[0], 2),
        },
        "python": sys.version.split()[0],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else ""),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
