"""The commands `rawsys process`, `rawsys maps` and `rawsys ps`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence

from rawsys.proc import system
from rawsys.proc.landmarks import Layout, layout
from rawsys.proc.parts import bytes_text, printable
from rawsys.proc.process import Process
from rawsys.proc.records import OpenFile, Status
from rawsys.proc.snapshot import process_tree, processes
from rawsys.proc.stat import Stat
from rawsys.signals import SignalSet

_LARGEST_FIRST = ("rss", "time", "threads")
_STATES = {
    "R": "running", "S": "sleeping", "D": "waiting for a disk", "T": "stopped", "t": "stopped by a tracer", "Z": "zombie",
    "X": "dead", "I": "idle",
}  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """The command that `rawsys.cli` has parsed; its exit status."""
    commands = {"process": process, "maps": maps, "ps": ps}
    return commands[arguments.command](arguments)


def _failed(error: OSError, pid: int | None) -> int:
    reason = error.strerror if error.errno != 3 else "there is no such process"
    print(f"rawsys: process {pid}: {reason}" if pid else f"rawsys: {error}", file=sys.stderr)
    return 1


def _columns() -> int:
    return max(60, shutil.get_terminal_size().columns)


# ---- process ----


def process(arguments: argparse.Namespace) -> int:
    """`rawsys process [PID]`."""
    pid = os.getppid() if arguments.pid is None else arguments.pid
    try:
        lines = _process(Process(pid))
    except OSError as error:
        return _failed(error, pid)
    print("\n".join(lines))
    return 0


def _process(it: Process) -> list[str]:
    stat, status = it.stat(), it.status()
    parts = [
        ("identity", _identity(it, stat, status)),
        ("memory", _memory(it, status)),
        ("threads", _threads(it, stat)),
        ("files", _files(it)),
        ("signals", _signals(status)),
        ("rights", _rights(it, status)),
    ]
    width = _columns()
    shown = []
    for title, lines in parts:
        folded = [piece for line in lines for piece in _folded(line, width - 10)]
        shown += [f"{title if index == 0 else '':9} {line}" for index, line in enumerate(folded)]
    return shown


def _folded(line: str, width: int) -> list[str]:
    """A line in as many as it takes, none wider; what follows the first one is indented."""
    return textwrap.wrap(
        line, width, subsequent_indent="  ", break_on_hyphens=False, max_lines=4, placeholder=" …"
    ) or [""]


def _or(function: Callable[[], list[str]], otherwise: str = "not shown to this user") -> list[str]:
    """Lines, or one that says why not: another user's process tells less."""
    try:
        return function()
    except PermissionError:
        return [otherwise]


def _identity(it: Process, stat: Stat, status: Status) -> list[str]:
    age = max(0.0, system.uptime().up - stat.start_time)
    inside = f", {status.namespace_pids[-1]} in its own pid namespace" if len(status.namespace_pids) > 1 else ""
    command = " ".join(map(printable, it.cmdline())) or ("a thread of the kernel" if stat.kernel_thread else "(none)")
    return [
        f"{printable(stat.name)}, process {stat.pid}{inside}: {_STATES.get(stat.state, stat.state)}",
        f"parent {stat.ppid}, group {stat.group}, session {stat.session}; {_duration(age)} old",
        f"command    {command}",
        *_or(
            lambda: [
                f"program    {printable(it.executable() or '(none)')}",
                f"directory  {printable(it.directory() or '(none)')}",
            ]
        ),
    ]


def _memory(it: Process, status: Status) -> list[str]:
    def regions() -> list[str]:
        found = it.maps()
        kinds: dict[str, int] = {}
        for region in found:
            kinds[region.kind] = kinds.get(region.kind, 0) + region.size
        shown = sorted(
            (kind for kind in kinds if kind not in ("guard", "vsyscall", "vvar", "vdso")), key=lambda kind: -kinds[kind]
        )
        return (
            [f"{len(found)} regions: " + ", ".join(f"{kind} {bytes_text(kinds[kind])}" for kind in shown[:6])]
            if found
            else ["none"]
        )

    return [
        f"{bytes_text(status.rss)} resident (at most {bytes_text(status.rss_peak)}) of {bytes_text(status.virtual)} address space"
        + (f", {bytes_text(status.swap)} swapped" if status.swap else ""),
        *_or(regions, "regions not shown to this user"),
    ]


def _threads(it: Process, stat: Stat) -> list[str]:
    tasks, how = it.tasks(), it.scheduling()
    names = ", ".join(f"{printable(task.name)} ({task.pid}, {task.state})" for task in tasks[:4])
    more = f", {len(tasks) - 4} more" if len(tasks) > 4 else ""
    priority = f", priority {how.rt_priority}" if how.rt_priority else ""
    return [
        f"{stat.threads}: {names}{more}",
        f"{stat.user_time:.2f} s in its own code, {stat.system_time:.2f} s in the kernel; {how.policy.name}, nice {how.nice}{priority}",
    ]


def _files(it: Process) -> list[str]:
    def opened() -> list[str]:
        files, limit = it.fds(), it.limits()["RLIMIT_NOFILE"].soft
        lines = [f"{len(files)} descriptors open, at most {'unlimited' if limit is None else limit}"]
        lines += [_file(file) for file in files[:6]]
        return lines + ([f"and {len(files) - 6} more"] if len(files) > 6 else [])

    return _or(opened)


def _file(file: OpenFile) -> str:
    mode = ("read", "write", "read, write", "path")[3 if file.flags & 0o10000000 else file.flags & 3]
    return f"{file.fd:>3}  {file.kind:9} {printable(file.target)} ({mode})"


def _signals(status: Status) -> list[str]:
    sets = [
        ("caught", status.caught), ("ignored", status.ignored), ("blocked", status.blocked),
        ("pending", status.pending | status.shared_pending),
    ]  # fmt: skip
    return [f"{name:9} {_names(those)}" for name, those in sets]


def _names(signals: SignalSet) -> str:
    if len(signals) > 32:
        missing = ~signals
        return "all" + (f" but {', '.join(name.removeprefix('SIG') for name in missing.names)}" if missing else "")
    return ", ".join(name.removeprefix("SIG") for name in signals.names) or "none"


def _rights(it: Process, status: Status) -> list[str]:
    who = status.credentials
    caps, top = who.capabilities.effective, who.capabilities.bounding
    names = [cap.name.removeprefix("CAP_").lower() for cap in caps]
    held = "none" if not caps else f"all {len(caps)} that there are" if caps == top else ", ".join(names)
    extra = (", no new privileges" if who.no_new_privs else "") + (", a seccomp filter" if who.seccomp == 2 else "")
    groups = f", also in {', '.join(map(str, who.groups))}" if who.groups else ""
    return [
        f"user {who.uid.effective} (real {who.uid.real}), group {who.gid.effective}{groups}{extra}",
        f"capabilities: {held}",
        *_or(lambda: ["namespaces: " + ", ".join(f"{n.kind} {n.inode}" for n in it.namespaces().values() if "_for_" not in n.kind)],
             "namespaces not shown to this user"),
    ]  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (
        f"{days} d {hours} h"
        if days
        else f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


# ---- maps ----


def maps(arguments: argparse.Namespace) -> int:
    """`rawsys maps [PID]`."""
    try:
        found = layout(arguments.pid)
    except OSError as error:
        return _failed(error, arguments.pid)
    if not found.regions:
        print(f"rawsys: process {found.pid} has no memory: it is a kernel thread or has ended", file=sys.stderr)
        return 1
    if arguments.svg is not None:
        return _write(arguments.svg, found.svg())
    if arguments.json:
        print(json.dumps(_as_json(found), indent=2))
        return 0
    print(found.draw(_columns(), colour=_colour(), whole=arguments.all))
    if arguments.pid is None:
        print()
        for sentence in found.order():
            print("\n".join(_folded(sentence, _columns())))
    return 0


def _write(name: str, text: str) -> int:
    try:
        if name == "-":
            sys.stdout.write(text)
        else:
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"rawsys: {name}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _colour() -> bool:
    """On a terminal, but for those who have asked for none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _as_json(found: Layout) -> dict[str, object]:
    return {
        "pid": found.pid,
        "name": found.name,
        "landmarks": [
            {"name": m.name, "address": m.address, "region": m.region.start if m.region else None}
            for m in found.landmarks
        ],
        "regions": [region._asdict() for region in found.regions],
    }


# ---- ps ----


def ps(arguments: argparse.Namespace) -> int:
    """`rawsys ps`."""
    found = list(processes())
    if arguments.sort:
        found.sort(key=lambda it: _key(it, arguments.sort), reverse=arguments.sort in _LARGEST_FIRST)
    rows = [(0, it) for it in found]
    if arguments.tree:
        rows = [row for tree in process_tree(found) for row in tree.walk()]
    if arguments.json:
        print(json.dumps([it._asdict() | ({"depth": depth} if arguments.tree else {}) for depth, it in rows], indent=2))
    else:
        _table(rows)
    return 0


def _key(it: Stat, key: str) -> tuple[float | str, int]:
    value = it.user_time + it.system_time if key == "time" else getattr(it, "start_time" if key == "start" else key)
    return value, it.pid


def _table(rows: Sequence[tuple[int, Stat]]) -> None:
    up, width = system.uptime().up, _columns() if sys.stdout.isatty() else 1 << 16
    print(f"{'PID':>7} {'PPID':>7} S {'NI':>3} {'THR':>4} {'RSS':>8} {'TIME':>9} {'AGE':>12}  NAME")
    for depth, it in rows:
        age, time = _duration(max(0.0, up - it.start_time)), it.user_time + it.system_time
        name = "  " * depth + (f"[{printable(it.name)}]" if it.kernel_thread else printable(it.name))
        row = f"{it.pid:>7} {it.ppid:>7} {it.state} {it.nice:>3} {it.threads:>4} {bytes_text(it.rss):>8} {time:>9.2f} {age:>12}  {name}"
        print(row if len(row) <= width else row[: width - 1] + "…")
