"""Going over to another configuration: reload, SIGHUP, rolling restarts, and sockets that stay open meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from controlling import Run, supervising
from support import INTERPRETER

BASE = """
service.db = { command = ["sleep", "1000"], stop = ["TERM", "5s", "KILL"] }
service.web = { command = ["sleep", "1000"], instances = 2, after = ["db"] }
"""


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A supervisor whose file each test writes anew."""
    with supervising(tmp_path_factory.mktemp("changing"), BASE) as run:
        run.until("web/1", "running")
        yield run


@pytest.fixture
def run(changing: Run) -> Run:
    """The same, with BASE."""
    changing.write(BASE)
    with changing.client() as client:
        client.reload()
        client.start("*")
        while {row["name"] for row in client.status()} != {"db", "web", "web/1"}:
            pass  # what the test before has left is on its way out
    return changing


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("service.db = {\n", "rawsys.toml:1: this is no TOML"),
        (BASE + 'service.db.comand = "x"', "rawsys.toml:4: this is no TOML"),
        (BASE + '[service.new]\ncomand = ["x"]', "rawsys.toml:5: [service.new] comand: unknown key; did you mean command?"),
        (BASE.replace("db = {", 'db = { after = ["web"],'), "services wait for each other in a circle: "),
        (BASE + '[service.new]\ncommand = ["x"]\nafter = ["nobody"]', "there is no service nobody"),
        (BASE + '[socket.s]\nlisten = "unix:/none/s"', "socket s: No such file or directory: '/none/s'"),
        (BASE + "# caf\udce9", "rawsys.toml:4: this is no text in UTF-8: byte 0xe9"),
        ("x = " + "[" * 100_000, "this is no TOML"),
        (BASE + '[socket.s]\nlisten = "tcp:192.0.2.1:1"', "Cannot assign requested address"),
        (None, "No such file or directory"),
    ],
)  # fmt: skip
def test_a_wrong_file_changes_nothing(run: Run, text: str | None, wanted: str) -> None:
    """By the verb, dry or not, and by SIGHUP: all that is wrong is told, and the services are as they were."""
    before = run.status()
    if text is None:
        run.file.unlink()
    else:
        run.write(text)
    done = run.run("reload")
    assert (done.code, done.out) == (1, "") and wanted in done.err
    assert run.run("reload", "--json").code == 1
    run.process.send_signal(signal.SIGHUP)
    event = run.until("supervisor", "SIGHUP")
    assert event["text"].startswith("SIGHUP: nothing was changed: ") and wanted in event["text"]
    after = run.status()
    assert {n: (r["pid"], r["state"]) for n, r in after.items()} == {
        n: (r["pid"], r["state"]) for n, r in before.items()
    }


def test_nothing_to_do(run: Run) -> None:
    """It is said."""
    before = run.pids()
    assert run.run("reload") == (0, "nothing has changed\n", "")
    assert run.run("reload", "--json").json == {
        "added": [], "removed": [], "restarted": [], "changed": [], "unchanged": ["db", "web"], "sockets": []
    }  # fmt: skip
    assert run.pids() == before


def test_what_differs_is_what_changes(run: Run) -> None:
    """New services start, those that are gone stop, another program restarts; what is the same keeps its processes."""
    before = run.pids()
    run.write(
        BASE.replace('web = { command = ["sleep", "1000"]', 'web = { command = ["sleep", "1001"]')
        + 'service.new = { command = ["sleep", "1000"] }'
    )
    assert run.run("reload", "--dry-run").out == "would be added: new\nwould be restarted: web\n"
    assert run.pids() == before
    assert run.run("reload").out == "added: new\nrestarted: web\n"
    assert run.run("start", "*").code == 0
    after = run.pids()
    assert after["db"] == before["db"] and after["new"]
    assert Path(f"/proc/{after['web']}/cmdline").read_bytes() == b"sleep\x001001\0"
    run.write('service.web = { command = ["sleep", "1001"], instances = 3 }')
    assert run.run("reload").out == "removed: db, new\nchanged in place: web\n"
    assert run.run("start", "*").code == 0
    run.until("new", "stopped")
    last = run.pids()
    assert sorted(last) == ["web", "web/1", "web/2"]
    assert [last[name] for name in ("web", "web/1")] == [after[name] for name in ("web", "web/1")]


def test_rules_change_without_a_restart(run: Run) -> None:
    """Restart policy, steps of the stop, a check, an order: they hold at once, and the process goes on."""
    before = run.pids()
    run.write(
        """
        [service.db]
        command = ["sleep", "1000"]
        after = ["web"]
        stop = ["INT"]
        restart = "never"
        check = { exec = ["true"], every = "10ms" }
        [service.web]
        command = ["sleep", "1000"]
        instances = 2
        """
    )
    run.process.send_signal(signal.SIGHUP)
    assert run.until("supervisor", "SIGHUP")["text"] == "SIGHUP: changed: db, web"
    with run.client() as client:
        while client.status(["db"])[0].get("health") != "well":
            pass
    assert run.pids() == before
    done = run.run("stop", "db")
    assert "killed by SIGINT" in done.out
    assert run.run("start", "db").code == 0
    os.kill(run.pids("db")["db"], signal.SIGKILL)
    run.until("db", "failed")


def test_what_was_stopped_by_hand_stays_so(run: Run) -> None:
    """A reload does not start what somebody has stopped, though its program is another one."""
    run.run("stop", "web")
    run.write(BASE.replace('"1000"], instances', '"1001"], instances'))
    assert run.run("reload").out == "restarted: web\n"
    assert {row["state"] for row in run.status("web").values()} == {"stopped"}


# ---- rolling, and if changed ----


def test_rolling(run: Run) -> None:
    """One after the other, each when the one before is ready."""
    before = run.pids("web")
    done = run.run("restart", "--rolling", "web")
    assert done.code == 0
    assert re.findall(r"(web(?:/1)?): \w+ -> (\w+)", done.out) == [
        (name, state) for name in ("web", "web/1") for state in ("stopping", "stopped", "starting", "running")
    ]
    assert not set(before.values()) & set(run.pids("web").values())


def test_rolling_stops_at_the_first_that_fails(run: Run) -> None:
    """The others keep running the old program."""
    flag = run.folder / "flag"
    flag.touch()
    run.write(
        f"""
        [service.db]
        command = ["sleep", "1000"]
        stop = ["TERM", "5s", "KILL"]
        [service.web]
        command = ["sh", "-c", "test -e {flag} && exec sleep 1000; echo no flag; exit 4"]
        instances = 3
        ready = "20ms"
        restart = {{ base = "10s" }}
        """
    )
    run.run("reload")
    assert run.run("start", "web").code == 0
    before = run.pids("web")
    flag.unlink()
    done = run.run("restart", "--rolling", "web")
    assert done.code == 1
    assert done.err == (
        "rawsys: web is backoff: exited with 4; it is tried again\n  no flag\nrawsys: left as they are: web/1, web/2\n"
    )
    after = run.pids("web/1", "web/2")
    assert after == {name: before[name] for name in after}
    flag.touch()
    assert run.run("start", "web").code == 0
    assert run.run("restart", "--rolling", "--no-wait", "web").code == 0
    while set(before.values()) & set(run.pids("web").values()):
        run.until("web/2", "running")


def test_if_changed(run: Run) -> None:
    """Nothing for what is as it was; another program on disk, or another line in the file, is a reason."""
    program = run.folder / "sleeper"
    shutil.copy(os.path.realpath(shutil.which("sleep") or "/bin/sleep"), program)
    run.write(
        f"""
        service.db = {{ command = ["sleep", "1000"], stop = ["TERM", "5s", "KILL"] }}
        service.own = {{ command = ["{program}", "1000"] }}
        """
    )
    run.run("reload")
    run.run("start", "*")
    before = run.pids()
    assert run.run("restart", "--if-changed", "*") == (0, "nothing has changed\n", "")
    assert run.pids() == before
    fresh = run.folder / "fresh"
    shutil.copy(program, fresh)
    fresh.rename(program)
    done = run.run("restart", "--if-changed", "*", "--json")
    assert (done.code, [row["name"] for row in done.json["services"]]) == (0, ["own"])
    after = run.pids()
    assert after["db"] == before["db"] and after["own"] != before["own"]
    run.write(run.file.read_text().replace('"sleep", "1000"', '"sleep", "1001"'))
    done = run.run("restart", "--if-changed", "db", "own", "--json")
    assert [row["name"] for row in done.json["services"]] == ["db"]
    assert run.pids()["own"] == after["own"]


# ---- sockets ----

ACCEPTS = """
import os, socket
assert int(os.environ["LISTEN_PID"]) == os.getpid()
names = os.environ["LISTEN_FDNAMES"].split(":")
assert len(names) == int(os.environ["LISTEN_FDS"])
server = socket.socket(fileno=3 + names.index("http"))
while True:
    peer, _ = server.accept()
    try:
        peer.sendall(f"{os.getpid()} {names}".encode())
    except BrokenPipeError:  # who only looked whether somebody listens
        pass
    peer.close()
"""


def ask(path: Path) -> tuple[int, str]:
    """What the server says: its number, and the names of its sockets."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        number, _, names = client.recv(1000).decode().partition(" ")
        return int(number), names


def test_sockets_stay_open_over_restarts_and_reloads(tmp_path: Path) -> None:
    """A client is never refused: it waits in the socket while the service is down."""
    (tmp_path / "server.py").write_text(ACCEPTS)
    text = f"""
        [service.server]
        command = ["{INTERPRETER}", "-S", "server.py"]
        sockets = ["other", "http"]
        [socket.http]
        listen = "unix:http"
        [socket.other]
        listen = "tcp:127.0.0.1:0"
        """
    with supervising(tmp_path, text) as run:
        first, names = ask(tmp_path / "http")
        assert (first, names) == (run.pids()["server"], "['other', 'http']")
        assert run.run("stop", "server").code == 0
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(str(tmp_path / "http"))
            assert run.run("start", "server").code == 0
            early.settimeout(20)
            assert int(early.recv(1000).split()[0]) == run.pids()["server"] != first
        before = run.pids()
        run.write(text + '[service.more]\ncommand = ["sleep", "1000"]')
        assert run.run("reload").out == "added: more\n"
        assert ask(tmp_path / "http")[0] == before["server"]
        run.write(text.replace("unix:http", "unix:web").replace('"other", ', ""))
        done = run.run("reload")
        assert done.out == "removed: more\nrestarted: server\nopened or closed as sockets: http\n"
        number, names = ask(tmp_path / "web")
        assert (number, names) == (run.pids()["server"], "['http']") and number != before["server"]
        assert not (tmp_path / "http").exists()
        run.write(text.replace("unix:http", "unix:web").replace("tcp:127.0.0.1:0", "unix:web"))
        done = run.run("reload")
        assert done.code == 1 and "somebody listens on this socket" in done.err
        assert ask(tmp_path / "web")[0] == number
    assert not (tmp_path / "web").exists()
