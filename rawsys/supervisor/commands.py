"""The commands of the supervisor on the command line."""

from __future__ import annotations

import argparse
import json
import sys
import time

from rawsys.supervisor.client import Client, ControlError, NoSupervisorError
from rawsys.supervisor.units import seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rawsys.supervisor.change import Change, Notice

    Adder = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]

FINE, FAILED, USAGE, SOME_DOWN, NO_SUPERVISOR = range(5)
EXIT_CODES = "Exit status: 0 fine, 1 failed, 2 wrong usage, 3 some are down (status), 4 no supervisor."


def add(command: Adder, whole: argparse.ArgumentParser) -> None:
    """Add all commands of the supervisor to the whole parser, which completions are made of."""
    supervise = command("supervise", run, "run the services of a file, in the foreground")
    supervise.add_argument("file", metavar="FILE", help="a TOML file, or a Procfile")
    supervise.add_argument("--quiet", "-q", action="store_true", help="do not print what happens")
    supervise.add_argument("--json", action="store_true", help="print what happens as JSON, one object a line")
    supervise.epilog = (
        "Exit status: 0 it was asked to stop, or all is done; the code (128 and the signal's number) of the key service that "
        "failed; 1 wrong configuration; 70 an internal error."
    )
    init = command("init", run, "run one program as the first process of a container")
    init.add_argument("--group", "-g", action="store_true", help="send signals on to its whole process group")
    init.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="-- PROGRAM ...", help="the program and its arguments"
    )
    init.epilog = (
        "Exit status: that of the program, 128 and the signal's number where a signal killed it; 126 and 127 where it could not "
        "be started; 2 wrong usage."
    )
    check = command("check", run, "tell what is wrong with a configuration")
    check.add_argument("file", metavar="FILE", help="a TOML file, or a Procfile")
    check.add_argument("--explain", action="store_true", help="print the start order and the effective configuration")
    check.add_argument("--json", action="store_true", help="print JSON")
    for name, words in _VERBS.items():
        _add_verb(command(name, run, words), name)
    completion = command("completion", run, "print completions for a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "fish"], metavar="SHELL", help="bash, zsh or fish")
    completion.set_defaults(whole=whole)


_VERBS = {
    "status": "what runs, and how",
    "start": "start services, and wait until they are ready",
    "stop": "stop services, and wait until nothing of them is left",
    "restart": "restart services, and wait until they are ready",
    "reload": "read the configuration again, and go over to it",
    "signal": "send a signal to the processes of services",
    "scale": "have another number of instances of a service",
    "reset": "forget what was counted; failed services start again",
    "logs": "the output of services",
    "events": "what has happened, and what happens",
    "shutdown": "stop all services in order, and end the supervisor",
    "metrics": "figures for a monitoring system (OpenMetrics text)",
}


def _add_verb(parser: argparse.ArgumentParser, name: str) -> None:
    parser.epilog = EXIT_CODES
    parser.add_argument(
        "--socket", metavar="PATH", help="which supervisor; else RAWSYS_SOCKET, else as rawsys.toml here says"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    names: dict[str, Any] = {"metavar": "NAME", "help": "a service, an instance (web/2), or a pattern ('web*')"}
    if name == "signal":
        parser.add_argument("signal", metavar="SIGNAL", help="HUP, USR1, 10, ...")
    if name in ("status", "logs", "events"):
        parser.add_argument("names", nargs="*", **names)
    elif name in ("start", "stop", "restart", "reset", "signal"):
        parser.add_argument("names", nargs="+", **names)
    elif name == "scale":
        parser.add_argument("names", nargs=1, metavar="NAME", help="a service")
        parser.add_argument("count", type=int, metavar="N", help="how many instances")
    if name in ("start", "stop", "restart", "scale"):
        parser.add_argument("--no-wait", dest="wait", action="store_false", help="do not wait for the end of it")
    if name in ("start", "stop", "restart", "scale", "shutdown"):
        parser.add_argument("--timeout", type=_time, metavar="TIME", help="wait so long at most (10s, 2m)")
    if name == "status":
        parser.add_argument("--watch", action="store_true", help="go on, until Ctrl-C")
    elif name == "restart":
        parser.add_argument(
            "--rolling", action="store_true", help="one after the other, each when the one before is ready"
        )
        parser.add_argument(
            "--if-changed", action="store_true", help="only those whose configuration or program has changed"
        )
    elif name == "reload":
        parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    elif name == "logs":
        parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
        parser.add_argument("-n", "--lines", type=int, default=10, metavar="N", help="lines of each (default: 10)")
    elif name == "events":
        parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C")


def _time(text: str) -> float:
    try:
        return seconds(float(text)) if text.replace(".", "", 1).isdecimal() else seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(arguments: argparse.Namespace) -> int:
    """Run one command; the exit status."""
    try:
        return _COMMANDS[arguments.command](arguments)
    except NoSupervisorError as error:
        return _complain(error, NO_SUPERVISOR)
    except ControlError as error:
        return _complain(error, USAGE if error.kind == "usage" else FAILED)
    except BrokenPipeError:
        raise  # the reader of our output has gone: main() knows what to do
    except OSError as error:  # a full disk behind our output
        return _complain(error, FAILED)


def _complain(error: object, status: int) -> int:
    print(f"rawsys: {error}", file=sys.stderr)
    return status


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


# ---- without a supervisor ----


def _supervise(arguments: argparse.Namespace) -> int:
    from rawsys.supervisor.daemon import supervise

    def words(record: Change | Notice) -> str:
        return json.dumps(record.as_dict()) if arguments.json else str(record)

    return supervise(arguments.file, None if arguments.quiet else words)


def _init(arguments: argparse.Namespace) -> int:
    from rawsys.supervisor.init import init

    words = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not words:
        return _complain("init needs a program: rawsys init -- PROGRAM ARGUMENT ...", USAGE)
    return init(words, group=arguments.group)


def _check(arguments: argparse.Namespace) -> int:
    from rawsys.supervisor.config import ConfigError, load
    from rawsys.supervisor.explain import explain, explain_json

    try:
        config = load(arguments.file)
    except ConfigError as error:
        if arguments.json:
            _print_json({"ok": False, "problems": [problem._asdict() for problem in error.problems]})
        for problem in () if arguments.json else error.problems:
            print(problem, file=sys.stderr)
        return FAILED
    except OSError as error:
        return _complain(error, FAILED)
    if arguments.json:
        _print_json({"ok": True, **explain_json(config)})
    elif arguments.explain:
        print(explain(config))
    else:
        print(f"{arguments.file}: fine, {len(config.services)} service{'s' * (len(config.services) != 1)}")
    return FINE


def _completion(arguments: argparse.Namespace) -> int:
    from rawsys.supervisor.completion import script

    print(script(arguments.shell, arguments.whole))
    return FINE


# ---- with one ----


def _status(arguments: argparse.Namespace) -> int:
    from rawsys.supervisor import screens

    with Client(arguments.socket) as client:
        if arguments.watch:
            return screens.watch(client, arguments.names, as_json=arguments.json)
        found = client.call("status", names=arguments.names)
        if arguments.json:
            _print_json(found)
        else:
            screens.show_status(found["services"])
        return FINE if all(row["state"] in ("running", "done") for row in found["services"]) else SOME_DOWN


def _change(arguments: argparse.Namespace) -> int:
    """start, stop, restart and scale: progress, then how it went."""
    from rawsys.supervisor.screens import Progress

    given = {
        key: getattr(arguments, key, None) for key in ("names", "wait", "timeout", "rolling", "if_changed", "count")
    }
    result: dict[str, Any] = {}
    with Client(arguments.socket) as client, Progress(arguments.command) as progress:
        for message in client.stream(arguments.command, **given):
            result = message.get("result", result)
            if not arguments.json:
                progress.take(message)
    if arguments.json:
        _print_json(result)
        return FINE if result.get("ok", True) else FAILED
    if arguments.command == "restart" and not result.get("services", result.get("accepted")):
        print("nothing has changed")
    for failed in result.get("failed", ()):
        print(f"rawsys: {failed['name']} is {failed['state']}: {_why(failed)}", file=sys.stderr)
        for line in failed["log"].splitlines():
            print(f"  {line}", file=sys.stderr)
    if result.get("not_restarted"):
        print(f"rawsys: left as they are: {', '.join(result['not_restarted'])}", file=sys.stderr)
    return FINE if result.get("ok", True) else FAILED


def _why(failed: dict[str, Any]) -> str:
    if failed["waits_for"]:
        return f"it waits for {', '.join(failed['waits_for'])}"
    again = "; it is tried again" if failed["state"] == "backoff" else ""
    return (failed["last_exit"] or "it has not run") + again


def _reload(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        done = client.call("reload", dry_run=arguments.dry_run)
    if arguments.json:
        _print_json(done)
        return FINE
    would = "would be " if arguments.dry_run else ""
    said = False
    for key in ("added", "removed", "restarted", "changed", "sockets"):
        if done[key]:
            said = True
            words = {"changed": "changed in place", "sockets": "opened or closed as sockets"}.get(key, key)
            print(f"{would}{words}: {', '.join(done[key])}")
    if not said:
        print("nothing has changed")
    return FINE


def _simple(arguments: argparse.Namespace) -> int:
    """signal and reset."""
    given = {key: getattr(arguments, key) for key in ("names", "signal") if hasattr(arguments, key)}
    with Client(arguments.socket) as client:
        done = client.call(arguments.command, **given)
    if arguments.json:
        _print_json(done)
    return FINE


def _logs(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        several = len(client.status(arguments.names)) > 1
        for message in client.stream("logs", names=arguments.names, lines=arguments.lines, follow=arguments.follow):
            if arguments.json:
                if "result" not in message:
                    print(json.dumps(message), flush=True)
            elif "log" in message:
                head = f"{message['name']} | " if several else ""
                for line in message["log"].splitlines():
                    print(f"{head}{line}", flush=True)
            elif "lost" in message:
                print(f"rawsys: {message['lost']} pieces were lost: this end was too slow", file=sys.stderr)
    return FINE


def _events(arguments: argparse.Namespace) -> int:
    from rawsys.supervisor.screens import event_line

    with Client(arguments.socket) as client:
        for message in client.stream("events", names=arguments.names, follow=arguments.follow):
            if "event" in message:
                print(json.dumps(message["event"]) if arguments.json else event_line(message["event"]), flush=True)
            elif "lost" in message:
                print(
                    json.dumps(message) if arguments.json else f"rawsys: {message['lost']} events were lost",
                    file=sys.stderr,
                )
    return FINE


def _shutdown(arguments: argparse.Namespace) -> int:
    from rawsys.supervisor.screens import event_line

    with Client(arguments.socket) as client:
        began = time.monotonic()
        for message in client.stream("shutdown", timeout=arguments.timeout):
            if "event" in message and not arguments.json:
                print(event_line(message["event"]), flush=True)
    if arguments.json:
        _print_json({"ok": True, "seconds": time.monotonic() - began})
    return FINE


def _metrics(arguments: argparse.Namespace) -> int:
    with Client(arguments.socket) as client:
        text = client.call("metrics")["text"]
    if arguments.json:
        _print_json({"text": text})
    else:
        print(text, end="")
    return FINE


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "supervise": _supervise, "init": _init, "check": _check, "completion": _completion, "status": _status, "start": _change,
    "stop": _change, "restart": _change, "scale": _change, "reload": _reload, "signal": _simple, "reset": _simple,
    "logs": _logs, "events": _events, "shutdown": _shutdown, "metrics": _metrics,
}  # fmt: skip
