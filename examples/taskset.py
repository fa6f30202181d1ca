"""taskset(1): on which processors a process runs.

Run: python examples/taskset.py [-a] [-c] MASK COMMAND [ARG]...
     python examples/taskset.py -p [-a] [-c] [MASK] PID

MASK is hexadecimal, bit n for processor n; with -c it is a list such as 0,2-7:2.  With -a it is done to all threads of
the process.  The exit status is that of the command, 1 when something failed, 126 and 127 when the command cannot be run
or found.
"""

from __future__ import annotations

import getopt
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rawsys import Command, proc, sched
from rawsys.constants import O_CLOEXEC

LONG = {"all-tasks": "a", "cpu-list": "c", "pid": "p"}


class Failed(Exception):
    """The text is what the person is told."""


# ---- what chrt.py uses too ----


def arguments(words: list[str], long: dict[str, str]) -> tuple[set[str], list[str]]:
    """Options by their letters, and what begins with the first word that is none."""
    try:
        found, rest = getopt.getopt(words, "".join(long.values()), list(long))
    except getopt.GetoptError as error:
        raise Failed(error.msg) from None
    letters = {long.get(name[2:], name[1:]) for name, _ in found}
    enough = 1 <= len(rest) <= 2 if "p" in letters else len(rest) >= 2
    if not enough and "m" not in letters:
        raise Failed("bad usage")
    return letters, rest


def number(text: str, what: str) -> int:
    """What a person has typed for one."""
    if not re.fullmatch(r"[+-]?\d+", text):
        raise Failed(f"invalid {what} argument: '{text}'")
    return int(text)


def threads(options: set[str], pid: int) -> list[int]:
    """The threads that are meant."""
    try:
        return [task.pid for task in proc.Process(pid).tasks()] if "a" in options else [pid]
    except OSError as error:
        raise Failed(f"cannot obtain the list of task IDs: {error.strerror}") from error


@contextmanager
def trying(action: str) -> Iterator[None]:
    """What the person is told when the kernel refuses."""
    try:
        yield
    except OSError as error:
        raise Failed(f"failed to {action}: {error.strerror}") from error


def run(tool: Callable[[list[str]], list[str]], usage: str) -> int:
    """Do what the tool does to this process, then become the command that it gives; the exit status where there is none."""
    name, words = tool.__name__, sys.argv[1:]
    if {"-h", "--help"} & set(words[:1]):
        print(usage)
        return 0
    try:
        command = tool(words)
    except Failed as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    if not command:
        return 0
    # A Command gives nothing away that it was not told to; this one keeps whatever was meant to be inherited.
    kept = {file.fd: file.fd for file in proc.Process().fds() if file.fd > 2 and not file.flags & O_CLOEXEC}
    sys.stdout.flush()
    try:
        Command(*command, fds=kept).exec()
    except OSError as error:
        print(f"{name}: failed to execute {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126


# ---- taskset ----


def cpus_of(text: str, as_list: bool) -> set[int]:
    """``0,2-7:2`` as a list; else a mask in hexadecimal, whose commas are for people."""
    try:
        if not as_list:
            mask = int(text.replace(",", ""), 16)
            return {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1}
        cpus: set[int] = set()
        for part in text.split(","):
            first, last, step = re.fullmatch(r"(\d+)(?:-(\d+)(?::([1-9]\d*))?)?", part).groups()  # type: ignore[union-attr]
            cpus.update(range(int(first), int(last or first) + 1, int(step or 1)))
    except (ValueError, AttributeError):
        raise Failed(f"failed to parse CPU {'list' if as_list else 'mask'}: {text}") from None
    return cpus


def shown(cpus: frozenset[int], as_list: bool) -> str:
    """As taskset writes it: ``0,1,4-7`` or ``f3``; a range has three numbers at least."""
    if not as_list:
        return f"{sum(1 << cpu for cpu in cpus):x}"
    words: list[str] = []
    rest = sorted(cpus)
    while rest:
        run = next((n for n in range(1, len(rest)) if rest[n] != rest[0] + n), len(rest))
        words += [f"{rest[0]}-{rest[run - 1]}"] if run > 2 else map(str, rest[:run])
        rest = rest[run:]
    return ",".join(words)


def taskset(words: list[str]) -> list[str]:
    """Processors; gives the command that is to be run, if there is one."""
    options, rest = arguments(words, LONG)
    as_list, existing = "c" in options, "p" in options
    wanted = cpus_of(rest[0], as_list) if not existing or len(rest) == 2 else None
    pid = number(rest[-1], "PID") if existing else os.getpid()
    kind = "list" if as_list else "mask"
    for tid in threads(options, pid):
        with trying(f"get pid {tid}'s affinity"):
            before = sched.affinity(tid)
        if existing:
            print(f"pid {tid}'s current affinity {kind}: {shown(before, as_list)}")
        if wanted is not None:
            with trying(f"set pid {tid}'s affinity"):
                now = sched.set_affinity(wanted, tid)
            if existing:
                print(f"pid {tid}'s new affinity {kind}: {shown(now, as_list)}")
    return [] if existing else rest[1:]


if __name__ == "__main__":
    sys.exit(run(taskset, __doc__ or ""))
