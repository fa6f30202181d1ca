"""Floods: a writer of many lines, who takes them, and what of them is in the rotated files afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Reading
from benchmarks.supervised.keepers import Keeper, program
from benchmarks.supervised.stage import PATIENCE, Stage, end_all

WRITER = "flood"
LINE = 100
_WHOLE = re.compile(rb"(?m)^(?:\S+ )?(\d{10}) x{88}\n")
LOGGERS = {
    "s6-log": "s6-log t n20 s10000000 {place}",
    "svlogd": "svlogd -tt {place}",
    "multilog": "multilog t s10000000 n20 {place}",
}
"""Programs that are nothing but a logger, as they are told to put times before lines and keep 20 files of 10 MB."""


class Found(NamedTuple):
    """What came through: how many lines are not there at all, and how many pieces are there that are no whole line."""

    lost: int
    cut: int


def look(files: Sequence[Path], lines: int) -> Found:
    """Read the files of a log."""
    seen: set[int] = set()
    cut = 0
    for file in files:
        data = file.read_bytes()
        whole = _WHOLE.findall(data)
        seen.update(map(int, whole))
        cut += data.count(b"\n") + (not data.endswith(b"\n") and bool(data)) - len(whole)
    return Found(lines - len(seen & set(range(lines))), cut)


def _reading(stage: Stage, files: Callable[[], list[Path]], lines: int) -> Reading:
    """Seconds for 100 MB by the writer's own clock, from its first line to its last.

    A pipe holds at most 1 MiB of them by then, 1 % of what a full run writes.
    """
    told = stage.wait_for([WRITER + "-end"], rest=0.05)
    seconds = (told[WRITER + "-end"].ns - told[WRITER].ns) / 1e9
    _settled(files)
    found = look(files(), lines)
    return {"100 MB": seconds * 1e8 / (lines * LINE), "lost lines": found.lost, "cut lines": found.cut}


def _settled(files: Callable[[], list[Path]]) -> None:
    """Wait until the files do not grow any more."""
    until = time.monotonic() + PATIENCE
    before = -1
    while (now := sum(file.stat().st_size for file in files())) != before:
        if time.monotonic() > until:
            raise TimeoutError("the log does not stop growing")
        before = now
        time.sleep(0.3)


def by_supervisor(stage: Stage, keeper: type[Keeper], lines: int) -> Callable[[], Reading]:
    """A supervisor that takes the lines itself.  Raises Missing."""
    keeper(stage, [WRITER])

    def measure() -> Reading:
        made = keeper(stage, [WRITER])
        with made.begin(lines):
            return _reading(stage, lambda: list(made.place.glob(f"{WRITER}.log*")), lines)

    return measure


def by_logger(stage: Stage, name: str, lines: int) -> Callable[[], Reading]:
    """A program that takes the lines from a pipe.  Raises Missing."""
    found = program(name)

    def measure() -> Reading:
        place = stage.place()
        (place / "config").write_text("s10000000\nn20\n", "utf-8")  # svlogd's, which has no options for it
        if name != "svlogd":
            (place / "config").unlink()
        command = [found, *LOGGERS[name].format(place=place).split()[1:]]
        environment = stage.environment(lines)
        read, write = os.pipe()
        logger = subprocess.Popen(command, stdin=read, env=environment, stderr=subprocess.DEVNULL)
        writer = subprocess.Popen([stage.child, WRITER], stdout=write, env=environment)
        os.close(read)
        os.close(write)
        try:
            return _reading(stage, lambda: [*place.glob("@*"), *place.glob("current")], lines)
        finally:
            for process in (writer, logger):
                process.kill()
                process.wait()
            end_all()

    return measure
