"""Health: readiness and checks by each means, the watchdog; probes never hold the loop up and leave nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from controlling import SECONDS, Run, supervising
from supervising import marked, state_of
from support import INTERPRETER, children, readable

# A server that answers as its command line says: "ok", "bad" (500), "garbage", "hangup", "silent"; with a file named
# "sick" beside it, it answers 503 instead.
SERVER = """
import os, socket, sys
how = sys.argv[1]
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
held = []
while True:
    peer, _ = server.accept()
    if how == "silent":
        held.append(peer)
        continue
    try:
        if how == "hangup":
            peer.close()
            continue
        text = peer.recv(4096)
        if not text:  # it only looked whether somebody listens
            continue
        assert text.startswith(b"GET /health HTTP/1.0\\r\\nHost: 127.0.0.1:"), text
        code = {"bad": b"500", "moved": b"302"}.get(how, b"200")
        if os.path.exists("sick"):
            code = b"503"
        peer.sendall(b"SSH-2.0-x\\n" if how == "garbage" else b"HTTP/1.1 " + code + b" Words\\r\\n\\r\\n")
        peer.close()
    except OSError:
        pass
"""


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def server(folder: Path, how: str) -> Iterator[int]:
    """A server that is not supervised; its port."""
    words = [INTERPRETER, "-S", "-c", SERVER, how]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


# ---- ready ----


def test_ready_by_every_means(tmp_path: Path) -> None:
    """Nothing is running before its probe, its log, its descriptor or its message says so."""
    notify = (
        "import os, signal, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
        "s.connect(chr(0) + os.environ['NOTIFY_SOCKET'][1:]); s.send(b'STATUS=warm\\\\nREADY=1'); signal.pause()"
    )
    text = f"""
        [defaults]
        stop = ["KILL"]
        [service.exec]
        command = ["sh", "-c", "touch it; exec sleep 1000"]
        ready = {{ exec = ["sh", "-c", "test -e it && test $RAWSYS_INSTANCE = 0 && test $A = b"], every = "20ms" }}
        env = {{ A = "b" }}
        [service.log]
        command = ["sh", "-c", "printf 'it is '; printf 'up\\n'; exec sleep 1000"]
        ready = {{ log = "^it is up$" }}
        [service.logfile]
        command = ["sh", "-c", "echo noise; echo it is up; exec sleep 1000"]
        ready = {{ log = "^it is up$" }}
        log = {{ file = "file.log", prefix = "{{time}} " }}
        [service.fd]
        command = ["sh", "-c", "echo >&5; exec sleep 1000"]
        ready = {{ fd = 5 }}
        [service.notify]
        command = ["{INTERPRETER}", "-S", "-c", "{notify}"]
        ready = "notify"
        [service.alive]
        command = ["sleep", "1000"]
        ready = "20ms"
        [service.never]
        command = ["sleep", "1000"]
        ready = {{ exec = ["false"], every = "10ms", timeout = "200ms" }}
        restart = "never"
        """
    with server(tmp_path, "ok") as port:
        text += f"""
        [service.tcp]
        command = ["sleep", "1000"]
        ready = {{ tcp = "localhost:{port}", every = "20ms" }}
        [service.http]
        command = ["sleep", "1000"]
        ready = {{ http = "http://127.0.0.1:{port}/health", every = "20ms" }}
        """
        with supervising(tmp_path, text) as run:
            reasons = {
                "exec": "exec answers", "log": "its log says so", "logfile": "its log says so", "fd": "ready", "notify": "ready",
                "alive": "alive for 0.02 s", "tcp": "tcp answers", "http": "http answers",
            }  # fmt: skip
            assert {name: run.reached(name, "running")["reason"] for name in reasons} == reasons
            assert run.status("notify")["notify"]["status_text"] == "warm"
            assert run.reached("never", "stopping")["reason"] == "not ready within 0.2 s"
            assert run.reached("never", "failed")["reason"] == "it was not ready in time"


def test_a_line_of_the_log_in_pieces(tmp_path: Path) -> None:
    """A line is one, however it is written."""
    text = """
        [service.a]
        command = ["sh", "-c", "printf 'it is '; kill -STOP $$; printf 'up\\n'; exec sleep 1000"]
        ready = { log = "^it is up$" }
        stop = ["KILL"]
        """
    with supervising(tmp_path, text) as run, run.client() as client:
        run.until("a", "starting")
        pid = run.pids()["a"]
        while state_of(pid) != "T":
            client.status()
        os.kill(pid, signal.SIGCONT)
        assert run.until("a", "running")["reason"] == "its log says so"


# ---- check ----


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("bad", "http: the answer is 500"),
        ("garbage", "http: the answer is not HTTP"),
        ("hangup", "http: "),
        ("silent", "http: no answer within 0.1 s"),
        ("nobody", "http: Connection refused"),
    ],
)  # fmt: skip
def test_a_check_that_fails_restarts(tmp_path: Path, how: str, wrong: str) -> None:
    """After as many failures in a row as it says, with what was wrong; the loop goes on meanwhile."""

    def text(port: int) -> str:
        return f"""
        [service.a]
        command = ["sleep", "1000"]
        check = {{ http = "http://127.0.0.1:{port}/health", every = "10ms", timeout = "100ms", fails = 2 }}
        restart = {{ delays = ["10ms"] }}
        """

    if how == "nobody":
        with supervising(tmp_path, text(free_port())) as run:
            _sick(run, wrong)
        return
    with server(tmp_path, how) as port, supervising(tmp_path, text(port)) as run:
        _sick(run, wrong)


def _sick(run: Run, wrong: str) -> None:
    reason = run.until("a", "stopping")["reason"]
    assert reason.startswith(f"not well: {wrong}") and reason.endswith(", 2 times")
    assert run.until("a", "backoff")["reason"] == "it was not well"
    run.until("a", "running")


def test_a_check_counts_failures_in_a_row(tmp_path: Path) -> None:
    """One that goes well between them begins the count anew; a 3xx is well; the word stands in the status."""
    with server(tmp_path, "moved") as port:
        text = f"""
        [service.a]
        command = ["sleep", "1000"]
        check = {{ http = "http://127.0.0.1:{port}/health", every = "10ms", fails = 1000000 }}
        """
        with supervising(tmp_path, text) as run, run.client() as client:

            def wait_for(word: str) -> None:
                while word not in client.status()[0].get("health", ""):
                    pass

            wait_for("well")
            (tmp_path / "sick").touch()
            wait_for("not well (3 of 1000000)")
            assert 'rawsys_healthy{service="a",instance="0"} 0' in run.run("metrics").out
            (tmp_path / "sick").unlink()
            while client.status()[0]["health"] != "well":
                pass
            assert 'rawsys_healthy{service="a",instance="0"} 1' in run.run("metrics").out
            (tmp_path / "sick").touch()
            wait_for("not well (1 of 1000000)")


def test_a_probe_that_hangs_is_ended_and_leaves_nothing(tmp_path: Path) -> None:
    """With all that it started; nor does one that ends by itself leave its children."""
    text = """
        [service.hangs]
        command = ["sleep", "1000"]
        check = { exec = ["sh", "-c", "echo $$ >>hung; sleep 999 & sleep 999"], every = "10ms", timeout = "50ms", fails = 3 }
        restart = { delays = ["10ms"] }
        [service.leaves]
        command = ["sleep", "1000"]
        check = { exec = ["sh", "-c", "sleep 998 & echo $! >>left; exit 0"], every = "10ms" }
        """
    with supervising(tmp_path, text) as run, run.client() as client:
        reason = run.until("hangs", "stopping")["reason"]
        assert reason == "not well: exec: no answer within 0.05 s, 3 times"
        run.until("hangs", "running")
        left = tmp_path / "left"
        while not left.exists() or len(left.read_text().split()) < 5:
            client.status()
        assert run.run("stop", "*").code == 0
        for pid in marked(run.token):  # what was killed is on its way: wait for it, whoever reaps it
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\x0099"):
                fd = os.pidfd_open(pid)
                assert readable(fd, SECONDS), f"{pid} was left"
                os.close(fd)
        with open(f"/proc/{run.process.pid}/task/{run.process.pid}/children") as file:
            assert [pid for pid in file.read().split() if state_of(int(pid)) == "Z"] == []
    assert children() == set()


def test_a_probe_that_cannot_be_run(tmp_path: Path) -> None:
    """It is a failure, told as such."""
    text = """
        [service.a]
        command = ["sleep", "1000"]
        check = { exec = ["/none"], every = "10ms", fails = 1 }
        restart = "never"
        """
    with supervising(tmp_path, text) as run:
        assert "No such file or directory" in run.until("a", "stopping")["reason"]
        run.until("a", "failed")


def test_a_probe_runs_as_its_service(tmp_path: Path) -> None:
    """In its directory, with its environment and mask; without its descriptors."""
    (tmp_path / "sub").mkdir()
    text = """
        [service.a]
        command = ["sh", "-c", "echo up; exec sleep 1000"]
        ready = { log = "up" }
        cwd = "sub"
        umask = "077"
        env = { N = "{i}" }
        instances = 2
        [service.a.check]
        every = "10ms"
        exec = ["sh", "-c", "echo $(pwd) $(umask) $N $(ls /proc/self/fd | wc -l) >n-{i}; mv n-{i} probe-{i}"]
        """
    with supervising(tmp_path, text) as run, run.client() as client:
        for number in range(2):
            file = tmp_path / "sub" / f"probe-{number}"
            while not file.exists():
                client.status()
            assert file.read_text().split() == [str(tmp_path / "sub"), "0077", str(number), "4"]


# ---- the watchdog ----


def test_watchdog(tmp_path: Path) -> None:
    """Who says nothing for that time is restarted; who goes on saying it is not."""
    (tmp_path / "dog.py").write_text(
        "import os, signal, socket, sys, time\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.connect(chr(0) + os.environ['NOTIFY_SOCKET'][1:])\n"
        "assert os.environ['WATCHDOG_USEC'] == '300000'\n"
        "s.send(b'READY=1')\n"
        "end = time.monotonic() + 1\n"
        "while sys.argv[1] == 'barks' and time.monotonic() < end:\n"
        "    s.send(b'WATCHDOG=1')\n"
        "    time.sleep(0.05)\n"
        "if sys.argv[1] == 'barks':\n"
        "    s.send(b'WATCHDOG=trigger')\n"
        "signal.pause()\n"
    )
    text = "".join(
        f"""
        [service.{name}]
        command = ["{INTERPRETER}", "-S", "dog.py", "{name}"]
        ready = "notify"
        watchdog = "300ms"
        restart = "never"
        """
        for name in ("sleeps", "barks")
    )
    with supervising(tmp_path, text) as run:
        times: dict[str, Any] = {}
        for name in ("sleeps", "barks"):
            started, stopping = run.reached(name, "running"), run.reached(name, "stopping")
            times[name] = stopping["reason"], stopping["time"] - started["time"]
        assert times["sleeps"][0] == "no WATCHDOG=1 within 0.3 s" and times["sleeps"][1] >= 0.29
        assert times["barks"][0] == "it triggered its watchdog" and times["barks"][1] >= 0.9
