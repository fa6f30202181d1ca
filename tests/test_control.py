"""The control socket: each verb against a running supervisor, from the command line and by the protocol."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from controlling import SECONDS, Done, Run, command, supervising
from support import INTERPRETER, fail_call_when, few_descriptors, in_child, need_root, readable

from rawsys.supervisor import Change, Client, ControlError, NoSupervisorError, Notice, State
from rawsys.supervisor.config import load
from rawsys.supervisor.daemon import Daemon

SHOP = """
[defaults]
stop = ["TERM", "2s", "KILL"]
[service.web]
command = ["sh", "-c", "echo web {i} up; exec sleep 1000"]
instances = 2
[service.db]
command = ["sleep", "1000"]
[service.app]
command = ["sleep", "1000"]
requires = ["db"]
[service.bad]
command = ["sh", "-c", "echo one; echo boom >&2; exit 3"]
restart = "never"
ready = "5s"
[service.poor]
command = ["sleep", "1000"]
after = ["bad"]
[service.slow]
command = ["sleep", "1000"]
ready = "notify"
[service.hard]
command = ["sh", "-c", "trap '' TERM; echo armoured; while :; do sleep 1000; done"]
ready = { log = "armoured" }
stop = ["TERM", "300ms", "KILL"]
[service.job]
command = ["true"]
oneshot = true
[service.talker]
command = ["sh", "-c", "trap 'echo heard' USR1; echo ready; while :; do sleep 1000 & wait $!; done"]
log = { file = "talker.log", prefix = "<{name}> " }
ready = { log = "ready" }
"""
NAMES = ["app", "bad", "db", "hard", "job", "poor", "slow", "talker", "web", "web/1"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One supervisor for all tests that leave it as it was: all that can be up is up."""
    with supervising(tmp_path_factory.mktemp("shop"), SHOP) as run:
        for name in ("web", "web/1", "app", "hard", "talker"):
            with run.client() as client:
                assert client.start(name)["ok"]
        run.until("web/1", "running")
        yield run


@pytest.fixture
def calm(shop: Run) -> Iterator[Run]:
    """The same, which is put back into order afterwards."""
    yield shop
    with shop.client() as client:
        client.start("web", "db", "app", "hard", "talker")
        client.start("slow", wait=False)


# ---- what there is ----


def test_status(shop: Run) -> None:
    """A line for each; 3 when some are down, 0 when those that were named are up; names and patterns."""
    done = shop.run("status")
    head, *lines = done.out.splitlines()
    assert (done.code, done.err) == (3, "")
    assert head.split()[:5] == ["NAME", "STATE", "PID", "UPTIME", "RESTARTS"]
    assert sorted(line.split()[0] for line in lines) == NAMES
    assert [line.split()[:2] for line in shop.run("status", "w*").out.splitlines()[1:]] == [
        ["web", "running"],
        ["web/1", "running"],
    ]
    assert shop.run("status", "web/1", "db", "job").code == 0
    assert re.search(r"bad +failed +- +- +0 +exit 3 ", shop.run("status", "bad").out)


def test_status_as_json(shop: Run) -> None:
    """All that is known, of the supervisor too."""
    done = shop.run("status", "web/1", "bad", "--json")
    web, bad = done.json["services"]
    assert (done.code, web["state"], web["goal"], web["restarts"], bad["state"], bad["last_exit"]) == (
        3, "running", "up", 0, "failed", "exited with 3"
    )  # fmt: skip
    assert Path(f"/proc/{web['pid']}/cmdline").read_bytes() == b"sleep\x001000\0"
    own = done.json["supervisor"]
    assert (own["pid"], own["file"], own["socket"]) == (shop.process.pid, str(shop.file), shop.socket)


@pytest.mark.parametrize("verb", ["status", "start", "stop", "restart", "reset", "logs", "events"])
def test_a_name_that_nobody_has(shop: Run, verb: str) -> None:
    """1, and the nearest name; a pattern that means nothing is the same."""
    done = shop.run(verb, "wep")
    assert done == (1, "", "rawsys: no service wep; did you mean web?\n")
    assert shop.run(verb, "x*").code == 1


@pytest.mark.parametrize(
    "words",
    [["start"], ["stop"], ["signal", "HUP"], ["scale", "web"], ["scale", "web", "many"], ["restart", "a", "--timeout", "soon"],
     ["status", "--wtch"], ["completion", "tcsh"], ["supervise"], ["init"], ["logs", "-n", "x"]],
)  # fmt: skip
def test_wrong_usage(words: list[str]) -> None:
    """2, and what is wrong on standard error."""
    done = command(*words)
    assert done.code == 2 and done.out == "" and done.err


def test_which_supervisor(shop: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--socket before RAWSYS_SOCKET before the file in the folder; 4 when nobody is there."""
    monkeypatch.delenv("RAWSYS_SOCKET", raising=False)
    monkeypatch.chdir(tmp_path)
    done = command("status")
    assert done.code == 4 and "--socket PATH or RAWSYS_SOCKET says it, or a rawsys.toml" in done.err
    (tmp_path / "rawsys.toml").write_text(f'supervisor.socket = "{shop.socket}"')
    assert command("status", "db").code == 0
    (tmp_path / "rawsys.toml").write_text("supervisor.socket = ")
    done = command("status", "db")
    assert done.code == 4 and "rawsys.toml does not tell the control socket" in done.err
    monkeypatch.setenv("RAWSYS_SOCKET", shop.socket)
    assert command("status", "db").code == 0
    done = command("status", "db", "--socket", str(tmp_path / "none"))
    assert done == (4, "", f"rawsys: no supervisor listens on {tmp_path}/none: No such file or directory\n")
    monkeypatch.undo()
    monkeypatch.chdir(shop.folder)
    assert command("status", "db").code == 0


# ---- start, stop, restart ----


def test_stop_and_start(calm: Run) -> None:
    """Each step is a line as it happens; when the command ends, so it is."""
    before = calm.pids("web*")
    done = calm.run("stop", "we*")
    assert (done.code, done.err) == (0, "")
    steps = re.findall(r"(web(?:/1)?): \w+ -> (\w+)", done.out)
    assert sorted(steps[:2]) == [("web", "stopping"), ("web/1", "stopping")]
    assert sorted(steps[2:]) == [("web", "stopped"), ("web/1", "stopped")]
    assert calm.pids("web*") == {"web": None, "web/1": None}
    assert calm.run("stop", "web") == (0, "", "")
    done = calm.run("start", "web", "--json")
    assert (done.code, done.err, done.json["ok"]) == (0, "", True)
    assert [row["state"] for row in done.json["services"]] == ["running", "running"]
    assert not set(before.values()) & set(calm.pids("web*").values())
    assert calm.run("start", "web") == (0, "", "")


def test_restart(calm: Run) -> None:
    """One instance, and what requires a service with it."""
    before = calm.pids("web*", "db", "app")
    assert calm.run("restart", "web/1").code == 0
    done = calm.run("restart", "db", "--json")
    assert (done.code, [row["name"] for row in done.json["services"]]) == (0, ["db"])
    calm.run("start", "app")
    after = calm.pids("web*", "db", "app")
    assert [name for name in before if after[name] == before[name]] == ["web"]


def test_a_start_that_fails_shows_the_end_of_its_log(calm: Run) -> None:
    """1, what happened, and its last lines; in JSON the same."""
    done = calm.run("start", "bad")
    assert (done.code, done.err) == (1, "rawsys: bad is failed: exited with 3\n  one\n  boom\n  one\n  boom\n")
    done = calm.run("start", "bad", "web", "--json")
    (failed,) = done.json["failed"]
    assert (done.code, failed["name"], failed["state"], failed["last_exit"]) == (1, "bad", "failed", "exited with 3")
    assert failed["log"].endswith("one\nboom\n")


def test_a_start_in_vain_ends(calm: Run) -> None:
    """What waits for a service that has failed, or that nobody wants up, is not waited for."""
    assert calm.run("start", "poor")[::2] == (1, "rawsys: poor is waiting: it waits for bad\n")
    assert calm.run("stop", "db").code == 0
    assert calm.run("start", "app")[::2] == (1, "rawsys: app is waiting: it waits for db\n")


def test_without_waiting(calm: Run) -> None:
    """It is accepted, and goes on."""
    done = calm.run("stop", "hard", "--no-wait", "--json")
    assert (done.code, done.json) == (0, {"accepted": ["hard"]})
    assert calm.status("hard")["hard"]["state"] == "stopping"
    assert calm.run("start", "slow", "--no-wait") == (0, "", "")


def test_not_in_time(calm: Run) -> None:
    """1 after the time; it goes on."""
    began = time.monotonic()
    done = calm.run("start", "slow", "--timeout", "100ms")
    assert done[::2] == (1, "rawsys: not done in time; it goes on\n")
    assert 0.1 <= time.monotonic() - began < 10
    assert calm.status("slow")["slow"]["state"] == "starting"


def test_a_command_in_transition_replaces_the_goal(calm: Run) -> None:
    """Nobody is told that something is already going on; who waited for the other goal is told at once."""
    with calm.client() as one, calm.client() as two:
        waiting = one.stream("start", names=["slow"])
        assert next(waiting) == {"accepted": ["slow"]}
        assert two.stop("slow")["ok"]
        *_, last = waiting
        assert last["result"]["ok"] is False
        assert last["result"]["failed"][0]["state"] in ("stopping", "stopped")
        before = calm.pids("hard")
        stopping = one.stream("stop", names=["hard"])
        assert next(stopping) == {"accepted": ["hard"]}
        assert next(stopping)["event"]["to"] == "stopping"
        assert two.start("hard")["services"][0]["state"] == "running"
        *_, last = stopping
        assert last["result"]["ok"] is False
        assert calm.pids("hard") != before


def test_what_was_asked_for_is_done_though_nobody_waits(calm: Run) -> None:
    """A client hangs up before its answer."""
    with calm.client() as client:
        client._send({"id": 1, "verb": "restart", "names": ["hard"]})
    with calm.client() as other:
        before = calm.pids("web")
        assert other.restart("web")["ok"]
    calm.until("hard", "killing")
    calm.until("hard", "running")
    assert calm.pids("web") != before


# ---- the others ----


def test_signal(calm: Run) -> None:
    """It goes to the process; 1 where there is none, or no such signal."""
    pids = calm.pids("talker")
    with calm.client() as client:
        log = client.stream("logs", names=["talker"], lines=1, follow=True)
        next(log)  # it follows: what comes now is told
        assert calm.run("signal", "USR1", "talker", "--json").json == {"signalled": ["talker"]}
        assert next(log) == {"name": "talker", "log": "<talker> heard\n"}
    assert calm.pids("talker") == pids
    assert calm.run("signal", "USR1", "bad")[::2] == (1, "rawsys: no process of bad runs\n")
    assert calm.run("signal", "KILLL", "web").code == 1


def test_scale(calm: Run) -> None:
    """Up, and down to nothing, and back; the others keep their processes."""
    before = calm.pids("web*")
    done = calm.run("scale", "web", "4", "--json")
    assert (done.code, [row["name"] for row in done.json["services"]]) == (0, ["web", "web/1", "web/2", "web/3"])
    after = calm.pids("web*")
    assert {name: after[name] for name in before} == before
    assert all(Path(f"/proc/{pid}").exists() for pid in after.values())
    assert calm.run("scale", "web", "2").code == 0
    assert calm.pids("web*") == before
    assert not any(Path(f"/proc/{after[name]}").exists() for name in ("web/2", "web/3"))
    assert calm.run("scale", "web", "0", "--no-wait").code == 0
    assert calm.run("scale", "web", "2").code == 0
    assert calm.run("scale", "wb", "2")[::2] == (1, "rawsys: no service wb; did you mean web?\n")
    assert calm.run("scale", "web", "-1").code == 2


def test_what_is_on_the_way_out_is_not_called_back(calm: Run) -> None:
    """A start of all starts those that stay; of those that leave alone it fails."""
    with calm.client() as client:
        client.call("scale", names=["hard"], count=2)
        assert client.call("scale", names=["hard"], count=1, wait=False) == {"accepted": ["hard", "hard/1"]}
        done = client.start("hard")
        assert (done["ok"], [row["name"] for row in done["services"]]) == (True, ["hard"])
        with pytest.raises(ControlError, match="hard/1: removed, and on the way out"):
            client.restart("hard/1")
        client.stop("hard/1")
        assert [row["name"] for row in client.status(["hard"])] == ["hard"]


def test_reset(calm: Run) -> None:
    """A failed one is tried again."""
    restarts = calm.status("bad")["bad"]["restarts"]
    assert calm.run("reset", "bad", "--json").json == {"reset": ["bad"]}
    calm.run("start", "bad")
    assert calm.status("bad")["bad"]["restarts"] > restarts


def test_logs(calm: Run) -> None:
    """The last lines, with names where there are several; in JSON too; the screen's lines are kept as well."""
    assert calm.run("logs", "talker", "-n", "1").out in ("<talker> ready\n", "<talker> heard\n")
    assert calm.run("logs", "talker", "-n", "0").out == ""
    both = calm.run("logs", "web*").out.splitlines()
    assert both[0].startswith("web | web 0 up") and both[-1] == "web/1 | web 1 up"
    (line,) = calm.run("logs", "web/1", "-n", "1", "--json").lines
    assert (line["name"], line["log"]) == ("web/1", "web 1 up\n")
    assert calm.run("logs").code == 0


def test_events(calm: Run) -> None:
    """What has been, of all or of some; one object a line in JSON; followed, what comes."""
    lines = calm.run("events", "job").out.splitlines()
    assert [line.split(": ", 1)[1].split(" (")[0] for line in lines[:2]] == [
        "stopped -> starting",
        "starting -> running",
    ]
    events = calm.run("events", "bad", "--json").lines
    assert {event["service"] for event in events} == {"bad"}
    failed = next(event for event in events if event["to"] == "failed")
    assert (failed["from"], failed["code"], failed["reason"]) == ("exited", 3, "exited with 3")
    assert failed["rusage"]["max_rss"] > 0 and failed["pid"] > 0
    with calm.client() as client:
        news = client.events(["web"])
        calm.run("restart", "web/1")
        for event in news:
            assert event["service"] == "web"
            if event["instance"] == 1 and event["to"] == "running" and event["pid"] == calm.pids("web/1")["web/1"]:
                break


def line(log: Iterator[dict[str, Any]]) -> str:
    """The next whole line of a log that is followed; who begins in the middle of a line hears it in two pieces."""
    text = ""
    while not text.endswith("\n"):
        text += next(log)["log"]
    return text


def test_followed_logs_over_reload(tmp_path: Path) -> None:
    """Who follows a log hears the next process too, whatever its pipes."""
    text = """
        service.a.command = ["sh", "-c", "printf 'half '; echo %s; exec sleep 1000"]
        service.a.log = "a.log"
        """
    with supervising(tmp_path, text % "one") as run, run.client() as client:
        log = client.stream("logs", names=["a"], follow=True)
        assert line(log) == "half one\n"
        run.write(text % "two")
        assert run.run("reload").out == "restarted: a\n"
        assert line(log) == "half two\n"


# ---- metrics ----

SAMPLE = re.compile(
    r'(?P<name>rawsys_[a-z_]+)\{(?P<labels>[a-z_]+="[^"\\]*"(?:,[a-z_]+="[^"\\]*")*)\} (?P<value>-?\d+(?:\.\d+)?)'
)


def openmetrics(text: str) -> dict[str, dict[str, float]]:
    """The samples of a text by family and labels; its grammar is checked (OpenMetrics 1.0, section 3)."""
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    kinds: dict[str, str] = {}
    found: dict[str, dict[str, float]] = {}
    family = ""
    for line in lines[:-2]:
        if line.startswith("# "):
            _, word, name, content = line.split(" ", 3)
            assert word in ("TYPE", "UNIT", "HELP")
            if word == "TYPE":
                assert name not in kinds and content in ("gauge", "counter", "stateset")
                kinds[name], family = content, name
            assert name == family
            assert word != "UNIT" or name.endswith(f"_{content}")
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        assert sample["name"] == family + ("_total" if kinds[family] == "counter" else "")
        assert kinds[family] != "stateset" or f'{family}="' in sample["labels"]
        assert sample["labels"] not in found.setdefault(family, {})
        found[family][sample["labels"]] = float(sample["value"])
    return found


def test_metrics(shop: Run) -> None:
    """The text is OpenMetrics, and its figures are true."""
    done = shop.run("metrics")
    found = openmetrics(done.out)
    assert done.code == 0
    assert found["rawsys_up"]['service="web",instance="1"'] == 1
    assert found["rawsys_up"]['service="bad",instance="0"'] == 0
    assert 'service="bad",instance="0"' not in found["rawsys_uptime_seconds"]
    assert found["rawsys_restarts"]['service="web",instance="0"'] == shop.status("web/0")["web"]["restarts"]
    states = {key: value for key, value in found["rawsys_state"].items() if 'service="bad"' in key}
    assert len(states) == 10 and [key for key, value in states.items() if value] == [
        'service="bad",instance="0",rawsys_state="failed"'
    ]
    assert openmetrics(shop.run("metrics", "--json").json["text"]).keys() == found.keys()


# ---- the protocol ----


class Line:
    """A connection as a stranger makes it."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def next(self) -> Any:
        """The next answer; None when it was hung up."""
        line = self.file.readline()
        return json.loads(line) if line else None

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()
        self.socket.close()


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (b"{", "this is no JSON"),
        (b"\xff\xfe", "this is no JSON"),
        (b"[" * 200_000, "this is no JSON"),
        (b"[]", "a request is one JSON object"),
        (b'"status"', "a request is one JSON object"),
        (b"{}", "no verb None; there are status, start"),
        (b'{"verb": "stauts"}', "no verb 'stauts'"),
        (b'{"verb": ["status"]}', "no verb ['status']"),
        (b'{"verb": "status", "id": []}', "an id is a number or a string"),
        (b'{"verb": "status", "name": "web"}', "unknown argument 'name'"),
        (b'{"verb": "status", "names": "web"}', "names is of the wrong type"),
        (b'{"verb": "status", "names": [1]}', "names is a list of strings"),
        (b'{"verb": "start"}', "which services?"),
        (b'{"verb": "start", "names": ["web"], "wait": 1}', "wait is of the wrong type"),
        (b'{"verb": "start", "names": ["web"], "timeout": true}', "timeout is of the wrong type"),
        (b'{"verb": "start", "names": ["web"], "timeout": -1}', "timeout is a number of seconds"),
        (b'{"verb": "start", "names": ["web"], "timeout": NaN}', "timeout is a number of seconds"),
        (b'{"verb": "start", "names": ["web"], "timeout": 1e400}', "timeout is a number of seconds"),
        (b'{"verb": "shutdown", "timeout": "1s"}', "timeout is of the wrong type"),
        (b'{"verb": "scale", "names": ["web"]}', "how many instances?"),
        (b'{"verb": "scale", "names": ["web"], "count": -1}', "how many instances? A number from 0 to 10000, not -1"),
        (b'{"verb": "scale", "names": ["web"], "count": 2000000}', "A number from 0 to 10000, not 2000000"),
        (b'{"verb": "scale", "names": ["web"], "count": 1.5}', "count is of the wrong type"),
        (b'{"verb": "signal", "names": ["web"]}', "which signal?"),
        (b'{"verb": "signal", "names": ["web"], "signal": true}', "signal is of the wrong type"),
        (b'{"verb": "logs", "lines": "3"}', "lines is of the wrong type"),
        (b'{"verb": "logs", "lines": -1}', "how many lines? A number from 0 on, not -1"),
        (b'{"verb": "metrics", "x": 1}', "unknown argument 'x'"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood(shop: Run, request_: bytes, wanted: str) -> None:
    """It is said what is wrong, the connection goes on, and nothing was done."""
    with Line(shop.socket) as line:
        line.send(request_ + b"\n")
        answer = line.next()
        assert (answer["kind"], wanted in answer["error"]) == ("usage", True), answer
        line.send(b'\n  \n{"id": "x", "verb": "ping"}\n')
        assert line.next() == {"id": "x", "result": {"pid": shop.process.pid}}


def test_lines_in_pieces_and_many_at_once(shop: Run) -> None:
    """A request is a line, however it comes; what has no end is not done; answers have the ids of their requests."""
    with Line(shop.socket) as line:
        for piece in (b'{"id": 1, "ver', b'b": "pi', b'ng"}\n{"id": 2, "verb": "ping"}\n{"id"'):
            line.send(piece)
        assert [line.next()["id"], line.next()["id"]] == [1, 2]
        line.send(b"".join(b'{"id": %d, "verb": "ping"}\n' % i for i in range(500)).replace(b'{"id"', b"", 1))
        assert [line.next()["id"] for _ in range(500)] == list(range(500))
        line.send(b'{"id": 9, "verb": "stop", "names": ["db"]}')
    assert shop.status("db")["db"]["state"] == "running"


def test_a_request_without_end(shop: Run) -> None:
    """It is refused, and the connection with it, before it fills the memory."""
    with Line(shop.socket) as line:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(64):
                line.send(b"x" * (1 << 16))
        assert line.next() == {"error": "a request is longer than 1048576 bytes", "kind": "usage"}
        with pytest.raises(ConnectionResetError):
            line.next()
    assert shop.run("status", "db").code == 0


def test_requests_of_one_connection_go_on_side_by_side(shop: Run) -> None:
    """One that waits holds up none behind it."""
    with Line(shop.socket) as line:
        line.send(b'{"id": 1, "verb": "start", "names": ["slow"], "timeout": 60}\n{"id": 2, "verb": "ping"}\n')
        assert line.next() == {"id": 1, "accepted": ["slow"]}
        assert line.next()["id"] == 2


@contextmanager
def slow_reader(path: str, streams: int) -> Iterator[Line]:
    """A connection with some streams of events, from which nothing is read."""
    with Line(path) as line:
        line.send(
            b"".join(b'{"id": %d, "verb": "events", "follow": true, "names": ["web"]}\n' % i for i in range(streams))
        )
        line.send(b'{"id": "last", "verb": "ping"}\n')
        while line.next()["id"] != "last":
            pass
        yield line


@pytest.mark.deadline(120)
def test_a_slow_reader_loses_what_is_counted_and_delays_nobody(calm: Run) -> None:
    """Every verb is answered beside it, and what it did not get is told to a number."""
    streams, rounds = 200, 5
    with slow_reader(calm.socket, streams) as line:
        for _ in range(rounds):
            assert calm.run("restart", "web", "--json").code == 0
        for verb in ("status", "events", "logs", "metrics", "reset"):
            assert calm.run(verb, *([] if verb == "metrics" else ["web"])).code == 0
        got = [0] * streams
        lost = [0] * streams
        wanted = None
        line.send(b'{"id": "last", "verb": "ping"}\n')
        while wanted is None or any(g + n != wanted for g, n in zip(got, lost, strict=True)):
            said = line.next()
            if said["id"] == "last":
                wanted = rounds * 2 * 4  # stopping, stopped, starting, running of two instances
            elif "lost" in said:
                lost[said["id"]] += said["lost"]
            else:
                got[said["id"]] += 1
    assert sum(lost) > 0, "it was not slow enough"


def test_a_thousand_questions_while_services_restart(tmp_path: Path) -> None:
    """Over one connection, none delayed."""
    text = """
        [service.flap]
        command = ["true"]
        instances = 8
        restart = { policy = "always", delays = ["20ms"], limit = "none" }
        """
    with supervising(tmp_path, text) as run, run.client() as client:
        took = []
        for _ in range(1000):
            began = time.perf_counter()
            assert len(client.status()) == 8
            took.append(time.perf_counter() - began)
        assert sum(row["restarts"] for row in client.status()) > 8
    took.sort()
    print(f"{1000 / sum(took):.0f} a second, median {took[500] * 1e3:.2f} ms, longest {took[-1] * 1e3:.1f} ms")
    assert took[500] < 0.05 and took[-1] < 1


# ---- who may ----


def test_the_socket_is_for_its_user(shop: Run) -> None:
    """0600."""
    assert stat.S_IMODE(os.stat(shop.socket).st_mode) == 0o600


def test_another_user_is_refused() -> None:
    """By the credentials that the kernel tells, where the path has been opened to all."""
    need_root()

    def ask(path: str) -> tuple[Any, ...]:
        os.setresuid(65534, 65534, 65534)
        with Line(path) as line:
            first = line.next(), line.next()
        try:
            Client(path).status()
        except ControlError as error:
            return *first, str(error)
        return first

    with tempfile.TemporaryDirectory() as name, supervising(Path(name), 'service.a.command = ["sleep", "1000"]') as run:
        os.chmod(name, 0o755)
        os.chmod(run.socket, 0o666)
        text = "user 65534 may not control this supervisor, user 0 and root may"
        assert in_child(ask, run.socket) == ({"error": text, "kind": "failed"}, None, text)


def test_what_a_dead_supervisor_left(tmp_path: Path) -> None:
    """A socket that nobody listens on is replaced."""
    text = 'service.a.command = ["sleep", "1000"]'
    with supervising(tmp_path, text) as run:
        run.process.kill()
        assert run.end() == -signal.SIGKILL
        assert os.path.exists(run.socket)
    with supervising(tmp_path, text) as run:
        assert run.run("status").code == 0
    assert not os.path.exists(run.socket)


def test_two_supervisors_on_one_socket(tmp_path: Path) -> None:
    """The second one ends with 1 and leaves the first alone; a file that is no socket stays, too."""
    text = 'service.a.command = ["sleep", "1000"]'
    with supervising(tmp_path, text) as run:
        second = run_supervise(run.file)
        assert second.code == 1 and "somebody listens on this socket" in second.err
        assert run.run("status").code == 0
    (tmp_path / "rawsys.sock").write_text("precious")
    second = run_supervise(tmp_path / "rawsys.toml")
    assert second.code == 1 and "control socket: Address already in use" in second.err
    assert (tmp_path / "rawsys.sock").read_text() == "precious"


def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    """It is told, with the limit."""
    (tmp_path / "rawsys.toml").write_text(f'supervisor.socket = "{"x" * 120}"\nservice.a.command = ["true"]')
    done = run_supervise(tmp_path / "rawsys.toml")
    assert done.code == 1 and "107 at most" in done.err and "Success" not in done.err


def run_supervise(file: Path, *options: str) -> Done:
    """Run a supervisor to its end."""
    done = subprocess.run(
        [INTERPRETER, "-W", "error", "-m", "rawsys", "supervise", *options, str(file)],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


# ---- the end ----


def test_shutdown(tmp_path: Path) -> None:
    """All stop in order, whoever waited for a start is told, and the command ends when the supervisor has."""
    text = """
        service.db = { command = ["sleep", "1000"] }
        service.web = { command = ["sleep", "1000"], after = ["db"] }
        service.slow = { command = ["sleep", "1000"], ready = "notify" }
        """
    with supervising(tmp_path, text) as run, run.client() as client:
        run.until("web", "running")
        waiting = client.stream("start", names=["slow"])
        assert next(waiting) == {"accepted": ["slow"]}
        done = run.run("shutdown")
        assert (done.code, done.err) == (0, "")
        stopped = re.findall(r"(\w+): stopping -> stopped", done.out)
        assert sorted(stopped) == ["db", "slow", "web"] and stopped.index("web") < stopped.index("db")
        *_, last = waiting
        assert last["result"]["failed"][0]["name"] == "slow"
        assert run.end() == 0
        assert not os.path.exists(run.socket)
        assert run.run("status").code == 4
        with pytest.raises(NoSupervisorError):
            client.status()


def test_shutdown_as_json_and_not_in_time(tmp_path: Path) -> None:
    """1 after the time; the shutdown goes on."""
    text = """
        [service.hard]
        command = ["sh", "-c", "trap '' TERM; echo armoured; while :; do sleep 1000; done"]
        ready = { log = "armoured" }
        stop = ["TERM", "500ms", "KILL"]
        """
    with supervising(tmp_path, text) as run:
        run.until("hard", "running")
        assert run.run("shutdown", "--timeout", "50ms")[::2] == (1, "rawsys: not done in time; it goes on\n")
        done = run.run("shutdown", "--json")
        assert done.json["ok"] is True and 0.2 < done.json["seconds"] < SECONDS
        assert run.end() == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('supervisor.exit-when = "all-done"\nservice.a = { command = ["true"] }', 0),
        ('service.a = { command = ["sh", "-c", "exit 7"], key = true, restart = "never" }\nservice.b.command = ["sleep", "1000"]', 7),
        ('service.a = { command = ["sh", "-c", "kill -9 $$"], restart = "never" }\nsupervisor.exit-when = "any-failed"', 137),
        ('service.a = { command = ["/none"], key = true, restart = "never" }', 127),
        ("service.a = 3", 1),
    ],
)  # fmt: skip
def test_exit_codes_of_the_supervisor(tmp_path: Path, text: str, code: int) -> None:
    """0 when all is done, a failed service's code, 128 and its signal, 1 for what cannot be read."""
    (tmp_path / "rawsys.toml").write_text(text)
    done = run_supervise(tmp_path / "rawsys.toml")
    assert done.code == code, done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_supervisor_that_is_asked_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    """0."""
    with supervising(tmp_path, 'service.a.command = ["sleep", "1000"]') as run:
        run.process.send_signal(number)
        assert run.end() == 0


def test_a_fault_of_a_verb_ends_nothing(tmp_path: Path) -> None:
    """Reading the file again fails in a way that nobody thought of: told and shown, by the verb and by SIGHUP, and no more."""
    code = """
        import os, signal, sys, threading
        from rawsys.supervisor import daemon
        from rawsys.supervisor.client import Client, ControlError

        def broken(path):
            raise ZeroDivisionError("nobody thought of this")

        def ask():
            with Client(sys.argv[2]) as client:
                before = client.status()[0]["pid"]
                for _ in range(2):
                    try:
                        client.reload()
                    except ControlError as error:
                        print(error, flush=True)
                os.kill(os.getpid(), signal.SIGHUP)
                for message in client.events(["a"], follow=False):
                    pass
                print(client.status()[0]["pid"] == before, flush=True)
                client.call("shutdown")

        def words(record):
            if getattr(record, "to", "") == "running":
                daemon.load = broken
                threading.Thread(target=ask).start()
            return f"{record}"

        sys.exit(daemon.supervise(sys.argv[1], words))
        """
    from support import run_python

    (tmp_path / "rawsys.toml").write_text('service.a = { command = ["sleep", "1000"] }')
    done = run_python(code, str(tmp_path / "rawsys.toml"), str(tmp_path / "rawsys.sock"))
    told = "an internal error: ZeroDivisionError: nobody thought of this"
    assert (done.returncode, done.stdout) == (0, f"{told}\n{told}\nTrue\n")
    assert f"supervisor: SIGHUP: {told}" in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 3


def test_a_fault_of_the_supervisor_itself(tmp_path: Path) -> None:
    """Its epoll is closed under it: the services are ended, the traceback is shown, and it ends with 70."""
    code = """
        import os, sys
        from rawsys.supervisor import daemon

        def words(record):
            if getattr(record, "to", "") == "running":
                for number in os.listdir("/proc/self/fd"):
                    try:
                        if "eventpoll" in os.readlink(f"/proc/self/fd/{number}"):
                            os.close(int(number))
                    except FileNotFoundError:
                        pass
            return f"{record}"

        sys.exit(daemon.supervise(sys.argv[1], words))
        """
    from support import run_python

    (tmp_path / "rawsys.toml").write_text('service.a = { command = ["sleep", "1000"] }')
    done = run_python(code, str(tmp_path / "rawsys.toml"))
    assert done.returncode == 70
    assert "Traceback (most recent call last)" in done.stderr and "Bad file descriptor" in done.stderr
    (pid,) = set(re.findall(r"pid (\d+)", done.stderr))
    assert not Path(f"/proc/{pid}").exists()


@few_descriptors
def test_standard_error_that_nobody_reads(tmp_path: Path) -> None:
    """The supervisor goes on, and says later how much was not said."""
    text = """
        [service.flap]
        command = ["true"]
        instances = 50
        restart = { policy = "always", delays = [0], limit = "none" }
        """
    with supervising(tmp_path, text) as run, run.client() as client:
        while sum(row["restarts"] for row in client.status()) < 600:
            readable(client.fileno(), 0.02)
        client.stop("*")
        run.hear(b"events are not told here: the reader was too slow")
        assert run.run("status").code == 3


def test_what_becomes_an_orphan_in_a_stop_gets_the_signal_of_its_step(tmp_path: Path) -> None:
    """It has a session of its own, and nobody's child is it before its parent has ended: it does not wait for the SIGKILL."""
    (tmp_path / "daemon.sh").write_text("trap 'echo bye; exit' TERM; echo up; while :; do sleep 1000 & wait $!; done")
    text = """
        [service.a]
        command = ["sh", "-c", "setsid sh daemon.sh & exec sleep 1000"]
        ready = { log = "up" }
        stop = ["TERM", "10m", "KILL"]
        log = "log"
        """
    with supervising(tmp_path, text) as run:
        run.until("a", "running")
        assert run.run("stop", "a").code == 0
        assert run.run("logs", "a").out == "up\nbye\n"
        assert not [event for event in run.seen if event.get("to") == "killing"]


def test_logs_that_cannot_be_written(tmp_path: Path) -> None:
    """It is told when it happens, and stands in the status for as long as it is so."""
    text = """
        service.stuck = { command = ["sh", "-c", "echo stuck; exec sleep 1000"], log = "rawsys.toml/no/folder" }
        """
    with supervising(tmp_path, text) as run:
        assert "Not a directory" in run.until("stuck", "its log cannot be written")["text"]
        assert "Not a directory" in run.status("stuck")["stuck"]["log_trouble"]
        assert run.run("status", "stuck").out.rstrip().endswith("log stuck")
        run.write('service.stuck = { command = ["sh", "-c", "echo fine; exec sleep 1000"], log = "log" }')
        assert run.run("reload").code == 0
        assert run.run("start", "stuck").code == 0
        assert "log_trouble" not in run.status("stuck")["stuck"]


def test_a_client_that_cannot_be_watched_is_hung_up_on(tmp_path: Path) -> None:
    """Epoll takes no descriptor any more (ENOSPC): the services run on, and end in order."""
    (tmp_path / "rawsys.toml").write_text('service.a.command = ["sleep", "1000"]')

    def served() -> tuple[bytes, bool, int]:
        daemon = Daemon(load(tmp_path / "rawsys.toml"))
        supervisor = daemon.supervisor
        said = []

        def ask() -> None:
            fail_call_when(errno.ENOSPC, 233, 1, 1)  # epoll_ctl, EPOLL_CTL_ADD
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(tmp_path / "rawsys.sock"))
            supervisor.loop.call_later(0.05, answered, client)

        def answered(client: socket.socket) -> None:
            client.setblocking(False)
            said.append((client.recv(1), supervisor.named("a")[0].state is State.RUNNING))
            client.close()
            supervisor.shutdown()

        def told(record: Change | Notice) -> None:
            if isinstance(record, Change) and record.to is State.RUNNING:
                supervisor.loop.call_soon(ask)

        supervisor.on_event(told)
        code = daemon.run()
        return *said[0], code

    assert in_child(served) == (b"", True, 0)


@pytest.mark.deadline(120)
@few_descriptors
def test_two_hundred_services_of_one_file(tmp_path: Path) -> None:
    """All come up, stop and start by one command each."""
    text = "".join(f'[service.s{i}]\ncommand = ["sleep", "1000"]\n' for i in range(200))
    with supervising(tmp_path, text) as run:
        done = run.run("start", "*", "--json")
        assert done.code == 0 and len(done.json["services"]) == 200
        assert run.run("status").code == 0
        assert run.run("stop", "s1*", "--json").code == 0
        states = [row["state"] for row in run.status().values()]
        assert (states.count("running"), states.count("stopped")) == (89, 111)
        done = run.run("start", "*")
        assert done.code == 0 and done.out.count("-> running") == 111
