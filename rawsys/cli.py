"""The command line: ``rawsys`` and ``python -m rawsys``."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from rawsys.table import Entry

_EPILOG = "Exit status: 0 fine, 1 nothing found or failed, 2 wrong usage."


def _tour(_: argparse.Namespace) -> int:
    from rawsys import tour

    tour.main()
    return 0


def _find(pattern: str | None) -> list[Entry]:
    """Calls by number, name or pattern; a plain word also finds the names that contain it."""
    import fnmatch

    from rawsys.table import TABLE

    if pattern is None:
        return list(TABLE)
    if pattern.isdecimal():
        return [TABLE[int(pattern)]] if int(pattern) in TABLE else []
    if pattern in TABLE:
        return [TABLE[pattern]]
    shape = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    return [entry for entry in TABLE if fnmatch.fnmatchcase(entry.name, shape)]


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "number": entry.number,
        "name": entry.name,
        "status": entry.status,
        "since": entry.since,
        "summary": entry.summary if entry.live else None,
        "man": entry.man,
        "declaration": entry.declaration,
        "arguments": [
            {"name": a.name, "kind": a.kind, "type": a.ctype, "bits": a.bits, "constants": a.family}
            | ({"extent": a.extent.text} if a.extent else {})
            for a in entry.arguments
        ],
        "returns": entry.returns + (f" if {entry.fd_condition}" if entry.fd_condition else ""),
        "may_block": entry.may_block,
        "traits": sorted(entry.traits),
        "instead": entry.instead,
    }


def _describe(entry: Entry) -> None:
    """One call, whole: what its built-in says of it."""
    if not entry.live:
        print(f"{entry.name}: number {entry.number} is reserved; Linux has no such call any more.")
        return
    from rawsys import raw

    print(f"rawsys.raw.{entry.signature}\n")
    print(getattr(raw, entry.name).__doc__)


def _syscalls(arguments: argparse.Namespace) -> int:
    import json

    from rawsys.table import TABLE

    found = _find(arguments.pattern)
    if arguments.json:
        print(json.dumps([_as_json(entry) for entry in found], indent=2))
    elif len(found) == 1:
        _describe(found[0])
    else:
        for entry in found:
            print(f"{entry.number:4}  {entry.name:24} {entry.summary if entry.live else '(reserved)'}")
    if not found:
        print(f"rawsys: {TABLE.missing(arguments.pattern)}", file=sys.stderr)
    return 0 if found else 1


def _info(arguments: argparse.Namespace) -> int:
    import json

    from rawsys import info

    if arguments.json:
        print(json.dumps(info.system() | {"features": [f._asdict() for f in info.features()]}, indent=2))
    else:
        info.report(print)
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from rawsys import bench

    return bench.main([])


def parser() -> argparse.ArgumentParser:
    """The parser of the command line, with all commands."""
    import argparse

    made = argparse.ArgumentParser(
        prog="rawsys",
        description="System calls of x86-64 Linux, raw and owned. Without a command: the tour.",
        epilog=_EPILOG,
    )
    made.set_defaults(run=_tour)
    commands = made.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: object, words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", epilog=_EPILOG)
        added.set_defaults(run=run, command=name)
        return added

    command("tour", _tour, "what the library does, shown on the live kernel")
    syscalls = command("syscalls", _syscalls, "list the system calls, or describe one")
    syscalls.add_argument(
        "pattern",
        nargs="?",
        metavar="NAME|NUMBER|PATTERN",
        help="a name, a number, a part of a name, or a pattern",
    )
    syscalls.add_argument("--json", action="store_true", help="print JSON")
    info = command("info", _info, "the kernel, and which newer calls it has")
    info.add_argument("--json", action="store_true", help="print JSON")
    command("bench", _bench, "a few benchmarks against the standard library, in seconds")
    _processes(command)
    from rawsys.supervisor import commands as supervision

    supervision.add(command, made)
    return made


def _processes(command: Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]) -> None:
    """The commands about processes."""
    shown = command("process", _proc, "the parts of a process on one screen")
    shown.add_argument("pid", nargs="?", type=int, metavar="PID", help="default: what called this, a shell")
    drawn = command("maps", _proc, "where the memory of a process lies, drawn")
    drawn.add_argument(
        "pid", nargs="?", type=int, metavar="PID", help="default: this process, with landmarks of its own"
    )
    drawn.add_argument("--all", action="store_true", help="show every object, the small ones too")
    drawn.add_argument("--svg", metavar="FILE", help="write a picture for a slide ('-': to standard output)")
    drawn.add_argument("--json", action="store_true", help="print the regions and landmarks as JSON")
    listed = command("ps", _proc, "all processes")
    listed.add_argument("--tree", action="store_true", help="children below their parents")
    keys = ["pid", "ppid", "name", "state", "rss", "time", "start", "threads", "nice"]
    words = f"one of {', '.join(keys)}; rss, time and threads: the largest first"
    listed.add_argument("--sort", choices=keys, metavar="KEY", help=words)
    listed.add_argument("--json", action="store_true", help="print JSON")


def _proc(arguments: argparse.Namespace) -> int:
    from rawsys.proc import commands

    return commands.run(arguments)


def _program(words: list[str]) -> list[str] | None:
    """The program of a plain ``init``: a container waits for it, and the parser takes longer than the interpreter's start."""
    if words[:1] != ["init"]:
        return None
    program = words[2:] if words[1:2] and words[1] in ("-g", "--group") else words[1:]
    if program[:1] == ["--"]:
        return program[1:] or None
    return program if program and not program[0].startswith("-") else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    program = _program(words)
    if program is not None:
        from rawsys.supervisor.init import init

        return init(program, group=words[1] in ("-g", "--group"))
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        if sys.stdout is not None:  # it was closed before we began (`>&-`)
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader has gone (`| head`).  Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
