"""What both Python callers and files write: names of signals, steps of a stop."""

from __future__ import annotations

from rawsys._timeouts import nanoseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
    "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
)  # fmt: skip
SIGNALS = {name: number for number, name in enumerate(_NAMES, 1)}
"""Plain numbers: the enum of rawsys.constants costs time and memory at a start."""

KILL = SIGNALS["KILL"]


def signal_number(signal: int | str) -> int:
    """The number of a signal: ``"TERM"``, ``"SIGTERM"``, ``"RTMIN+1"`` or a number.  ValueError for what is none."""
    if isinstance(signal, str):
        name = signal.upper().removeprefix("SIG")
        if name in SIGNALS:
            return SIGNALS[name]
        if name.startswith("RTMIN"):
            offset = name.removeprefix("RTMIN") or "+0"
            if offset[0] == "+" and offset[1:].isdecimal() and 34 + int(offset[1:]) <= 64:
                return 34 + int(offset[1:])
        raise ValueError(f"{signal!r} is no signal: TERM, INT, QUIT, HUP, USR1, ..., RTMIN+1 are")
    if isinstance(signal, bool) or not isinstance(signal, int):
        raise TypeError(f"a signal is a name or a number, not {type(signal).__name__}")
    if not 0 < signal <= 64:
        raise ValueError(f"{signal} is no signal: they go from 1 to 64")
    return int(signal)


def signal_name(number: int) -> str:
    """``SIGTERM`` for 15."""
    for name, value in SIGNALS.items():
        if value == number:
            return f"SIG{name}"
    return f"SIGRTMIN+{number - 34}" if number >= 34 else f"signal {number}"


def ignored_signals() -> list[int]:
    """The signals that this process ignores."""
    from rawsys.fd import Fd

    with Fd.open("/proc/self/status") as file:
        for line in file.read_all().splitlines():
            if line.startswith(b"SigIgn:"):
                mask = int(line.split()[1], 16)
                return [number for number in range(1, 65) if mask >> number - 1 & 1 and number not in (32, 33)]
    return []


def near(word: str, known: Iterable[str]) -> str:
    """``; did you mean web?`` where a known word is near, else the words that there are, if they are few."""
    from difflib import get_close_matches

    names = list(known)
    found = get_close_matches(word, names, 1)
    if found:
        return f"; did you mean {found[0]}?"
    return f"; there are {', '.join(sorted(names))}" if 0 < len(names) <= 12 else ""


Steps = tuple[tuple[int, float | None], ...]
"""Signals, each with the seconds to wait after it; None: for ever."""


def stop_steps(words: Iterable[int | str | float]) -> Steps:
    """The steps of a stop: ``["TERM", 10, "KILL"]`` is SIGTERM, 10 seconds, SIGKILL.

    Signals are names (a number would be a time).  After the last one it is waited for ever; two signals in a row follow
    each other at once.  Raises ValueError and TypeError for what cannot be right.
    """
    if isinstance(words, (str, bytes)):
        words = [words]  # type: ignore[list-item]  # bytes are refused below
    steps: list[tuple[int, float | None]] = []
    for word in words:
        if isinstance(word, str):
            if steps and steps[-1][1] is None:
                steps[-1] = steps[-1][0], 0
            steps.append((signal_number(word), None))
            continue
        if nanoseconds(word) is None:
            raise TypeError("stop has names of signals and seconds, not None")
        if not steps or steps[-1][1] is not None:
            raise ValueError(f"stop: {word!r} seconds after what? A signal comes first, then the time to wait")
        steps[-1] = steps[-1][0], float(word)
    if not steps:
        raise ValueError('stop has at least one signal: ["TERM", 10, "KILL"]')
    return tuple(steps)
