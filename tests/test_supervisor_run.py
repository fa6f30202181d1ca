"""Services that run: restarts, programs that cannot be started, what people ask for, listening sockets."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from supervising import FAST, FOREVER, ONCE, Noting, down, nothing, sh, supervise
from support import run_python

from rawsys.supervisor import Restart, Service, Supervisor

# ---- restarts ----


def test_the_example() -> None:
    """At most three restarts, ever: then it has failed, and all has been told, line by line."""
    ran = run_python(
        """
        import sys
        from rawsys.supervisor import Restart, Service, Supervisor
        s = Supervisor(exit_when="all-done")
        s.add(Service("worker", ["sleep", "0.01"], restart=Restart("always", base=0.01, limit=3, window=None, retry_after=None)))
        s.on_event(print)
        sys.exit(s.run())
        """
    )
    assert (ran.returncode, ran.stderr) == (1, "")
    lines = [line[13:] for line in ran.stdout.splitlines()]
    assert [line.split(" (pid")[0] for line in lines] == (
        ["worker: stopped -> starting", "worker: starting -> running", "worker: running -> exited"]
        + [
            "worker: exited -> backoff", "worker: backoff -> starting", "worker: starting -> running",
            "worker: running -> exited",
        ] * 3
        + ["worker: exited -> failed"]
    )  # fmt: skip
    assert lines[-1].endswith("exited with 0, after 3 restarts")


@pytest.mark.parametrize(
    ("policy", "code", "state"),
    [("never", 0, "done"), ("never", 3, "failed"), ("on-failure", 0, "done"), ("on-failure", 3, "failed")],
)
def test_the_end_of_a_service_by_its_policy(policy: str, code: int, state: str) -> None:
    rule = Restart(policy, base=0, limit=1, retry_after=None)
    outcome = supervise([sh("one", f"exit {code}", restart=rule)], exit_when="all-done")
    assert outcome.path("one")[-1] == state
    assert len(outcome.all("one", "starting")) == (2 if (policy, code) == ("on-failure", 3) else 1)
    assert (outcome.code, outcome.left) == (code, 0)
    end = outcome.all("one", state)[0]
    assert (end.code, end.signal) == (code, None)
    assert end.rusage is not None and end.rusage.max_rss > 100_000


def test_the_delays_are_kept() -> None:
    """Each restart comes at its time, not before, and the records say when that is."""
    rule = Restart("always", delays=[0.05, 0.1, 0], jitter=0, limit=3, retry_after=None)
    outcome = supervise([sh("one", "exit 1", restart=rule)], exit_when="all-done")
    waits = outcome.all("one", "backoff")
    starts = outcome.all("one", "starting")[1:]
    assert [round(w.next_start - w.time, 3) for w in waits if w.next_start] == [0.05, 0.1]  # none for a delay of 0
    for wait, start in zip(waits, starts, strict=False):
        assert wait.next_start is not None and start.time >= wait.next_start - 0.002


def test_killed_by_a_signal_is_told_as_that() -> None:
    outcome = supervise([sh("one", "kill -SEGV $$")], exit_when="any-failed")
    end = outcome.one("one", "failed")
    assert (end.signal, end.code, end.reason) == (11, None, "killed by SIGSEGV")
    assert outcome.code == 128 + 11


def test_a_failed_one_is_tried_again_after_a_time() -> None:
    rule = Restart("always", base=0, limit=1, window=None, retry_after=0.05)
    outcome = supervise(
        [sh("one", "exit 1", restart=rule)],
        ("one", "failed", nothing),
        ("one", "failed", nothing),
        ("one", "failed", down),
    )
    assert len(outcome.all("one", "starting")) == 6
    again = outcome.all("one", "failed")[0]
    assert again.next_start == pytest.approx(again.time + 0.05)


def test_a_oneshot_is_done_and_can_be_run_again() -> None:
    outcome = supervise(
        [sh("job", "exit 0", oneshot=True, restart="always")],
        ("job", "done", lambda s: s.start("job")),
        ("job", "done", down),
    )
    assert outcome.path("job") == [*["starting", "running", "exited", "done"] * 2, "stopped"]
    assert outcome.code == 0


def test_only_the_monotonic_clock_decides() -> None:
    """The wall clock is read for records and stamps alone: where it says 1970 or 2100 nothing else happens."""

    def step(supervisor: Noting) -> None:
        real = time.time
        jumps = iter([0.0, 4102444800.0] * 1000)
        time.time = lambda: next(jumps) + real() % 1

    outcome = supervise(
        [
            sh(
                "one",
                "exit 1",
                restart=Restart(base=0.02, factor=1, jitter=0, limit=5, window=60, retry_after=None),
                log="/dev/null",
            ),
            Service("two", FOREVER, ready=0.05),
        ],
        ("two", "running", nothing),
        ("one", "failed", down),
        prepare=step,
    )
    assert len(outcome.all("one", "starting")) == 6
    assert len(outcome.all("two", "running")) == 1


# ---- programs that cannot be started ----


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["/nonexistent/program"], 127, "No such file"),
        (["rawsys-no-such-program"], 127, "No such file"),
        (["{tmp}/plain"], 126, "Permission denied"),
        (["{tmp}/garbage"], 126, "Exec format error"),
        (["/"], 126, "Permission denied"),
        (["sh", "-c", "x" * (1 << 18)], 126, "Argument list too long"),
    ],
)
def test_an_exec_error_is_shown_as_such(words: list[str], code: int, text: str, tmp_path: Path) -> None:
    """ENOENT, EACCES, ENOEXEC and E2BIG are told with errno's words, and end as a shell would."""
    (tmp_path / "plain").write_text("no program")
    (tmp_path / "garbage").write_bytes(b"\0\1\2")
    (tmp_path / "garbage").chmod(0o755)
    words = [word.replace("{tmp}", str(tmp_path)) for word in words]
    outcome = supervise([Service("one", words, restart=ONCE, key=True)])
    end = outcome.one("one", "failed")
    assert text in end.reason
    assert (outcome.code, end.pid) == (code, None)
    assert outcome.path("one") == ["starting", "failed", "stopped"]


def test_a_step_before_the_program_that_fails_is_shown_as_such() -> None:
    outcome = supervise([Service("one", ["true"], restart=ONCE, cwd="/nonexistent")], exit_when="any-failed")
    assert "/nonexistent" in outcome.one("one", "failed").reason


# ---- what people ask for ----


def test_stop_while_starting() -> None:
    outcome = supervise(
        [Service("one", FOREVER, ready=30)], ("one", "starting", lambda s: s.stop("one")), ("one", "stopped", down)
    )
    assert outcome.path("one") == ["starting", "stopping", "stopped"]
    assert outcome.one("one", "stopped").signal == signal.SIGTERM


def test_stop_in_backoff_waiting_and_failed() -> None:
    services = [
        sh("back", "exit 1", restart=Restart(base=50)),
        Service("wait", FOREVER, after=["back"]),
        sh("fail", "exit 1", restart=ONCE),
    ]

    def stop(supervisor: Supervisor) -> None:
        for name in ("wait", "back", "fail"):
            supervisor.stop(name)
        down(supervisor)

    outcome = supervise(services, ("fail", "failed", lambda s: s.loop.call_later(0.05, stop, s)))
    assert outcome.path("back") == ["starting", "running", "exited", "backoff", "stopped"]
    assert outcome.path("fail")[-2:] == ["failed", "stopped"]
    assert outcome.path("wait")[-1] == "stopped"


def test_kill_in_every_state_that_a_process_has() -> None:
    """In starting, running, stopping, killing and exited: SIGKILL, and down."""
    stubborn = "trap '' TERM; sleep 1000 & sleep 1000"
    services = [
        Service("starting", FOREVER, ready=30),
        Service("running", FOREVER),
        sh("stopping", stubborn, ready=0.05),
        sh("exited", "trap '' TERM; sleep 1000 & echo >&3; sleep 0.02", ready="fd"),
    ]

    def kill(supervisor: Noting) -> None:
        for name in ("starting", "running", "stopping", "exited"):
            supervisor.noted.append(str(supervisor.named(name)[0].state))
            supervisor.kill(name)
            supervisor.kill(name)
        down(supervisor)

    outcome = supervise(
        services,
        ("stopping", "running", lambda s: s.stop("stopping")),
        prepare=lambda s: s.loop.call_later(0.3, kill, s),
    )
    assert outcome.noted == ["starting", "running", "stopping", "exited"]
    for name in outcome.noted:
        assert outcome.path(name)[-1] == "stopped"
    assert outcome.left == 0


def test_an_instance_is_told_apart() -> None:
    """Each has its number in its words and environment; one is restarted, and the others keep their processes."""
    path = f"/tmp/instances-{os.getpid()}"
    service = sh(
        "web",
        f"echo {{i:02}} $RAWSYS_INSTANCE $X >> {path}; echo >&3; exec sleep 1000",
        ready="fd",
        instances=3,
        extra_env={"X": "x{i}"},
    )
    outcome = supervise(
        [service, Service("last", FOREVER, after=["web"])],
        ("last", "running", lambda s: s.restart("web/1")),
        ("web/1", "running", down),
    )
    assert sorted(Path(path).read_text().split("\n")) == ["", "00 0 x0", "01 1 x1", "01 1 x1", "02 2 x2"]
    Path(path).unlink()
    assert len(outcome.all("web", "starting")) == len(outcome.all("web/2", "starting")) == 1
    assert len(outcome.all("last", "starting")) == 1


def test_a_signal_goes_to_its_process() -> None:
    code = "trap 'exit 7' USR1; echo >&3; while :; do sleep 0.01; done"
    outcome = supervise(
        [sh("one", code, ready="fd")], ("one", "running", lambda s: s.signal("one", "USR1")), exit_when="any-failed"
    )
    assert outcome.code == 7


def test_a_signal_to_what_does_not_run_is_an_error() -> None:
    def ask(supervisor: Noting) -> None:
        try:
            supervisor.signal("one", "USR1")
        except ProcessLookupError as error:
            supervisor.noted.append(error.args[1])
        down(supervisor)

    assert supervise([sh("one", "exit 0")], ("one", "done", ask)).noted == ["one has no process"]


def test_services_are_added_while_it_runs() -> None:
    def add(supervisor: Noting) -> None:
        supervisor.add(Service("two", FOREVER, after=["one"]))
        try:
            supervisor.add(Service("three", FOREVER, after=["nothing"]))
        except ValueError as error:
            supervisor.noted.append(str(error))

    outcome = supervise([Service("one", FOREVER)], ("one", "running", add), ("two", "running", down))
    assert len(outcome.noted) == 1
    assert outcome.noted[0].startswith("service three comes after nothing, which does not exist")
    assert outcome.path("three") == []


def test_the_processes_of_others_never_change() -> None:
    """While one service dies 30 times, and another is restarted, all others keep their numbers."""
    services = [Service(f"s{n}", FOREVER) for n in range(5)]
    services += [
        sh("dying", "exit 1", restart=Restart("always", base=0, limit=30, retry_after=None)),
        Service("asked", FOREVER),
    ]
    outcome = supervise(services, ("dying", "failed", lambda s: s.restart("asked")), ("asked", "running", down))
    for n in range(5):
        pids = {change.pid for change in outcome.changes if change.service == f"s{n}" and change.pid is not None}
        assert len(pids) == 1
        assert len(outcome.all(f"s{n}", "running")) == 1
    assert len(outcome.all("dying", "running")) == 31


# ---- listening sockets ----


def test_a_socket_is_opened_and_removed(tmp_path: Path) -> None:
    """A path in the way that nobody listens on is taken over, one that somebody does is not."""
    from rawsys.supervisor import ListenSocket

    path = tmp_path / "socket"
    first = ListenSocket("a", f"unix:{path}", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="somebody listens"):
        ListenSocket("b", f"unix:{path}")
    first.socket.close()
    second = ListenSocket("b", f"unix-dgram:{path}")
    second.close()
    assert not path.exists()
    path.write_text("a file")
    with pytest.raises(OSError):
        ListenSocket("c", f"unix:{path}")
    assert path.read_text() == "a file"


def test_a_port_of_0_is_a_free_one() -> None:
    from rawsys.supervisor import ListenSocket

    made = ListenSocket("http", "tcp:127.0.0.1:0")
    host, port = made.address  # type: ignore[misc]
    with socket.create_connection((host, port)):
        pass
    with pytest.raises(OSError):
        ListenSocket("other", f"tcp:127.0.0.1:{port}")
    made.close()


def test_a_socket_is_kept_over_restarts() -> None:
    """The service accepts one connection and dies: who connects meanwhile waits in the backlog, and nobody is refused."""
    from rawsys.supervisor import ListenSocket

    serve = (
        "import os, socket\n"
        "names = os.environ['LISTEN_FDNAMES']\n"
        "assert os.environ['LISTEN_FDS'] == '2', names\n"
        "one, _ = socket.socket(fileno=3 + names.split(':').index('http')).accept()\n"
        "one.sendall(f'{names} {os.getpid()}'.encode())"
    )

    def connect(supervisor: Noting) -> None:
        for _ in range(3):
            one = socket.create_connection(supervisor.sockets["http"].address, 5)  # type: ignore[arg-type]
            supervisor.loop.register(one, lambda one, _: answered(supervisor, one))

    def answered(supervisor: Noting, one: socket.socket) -> None:
        supervisor.noted.append(one.recv(100).decode().split())
        supervisor.loop.unregister(one)
        one.close()
        if len(supervisor.noted) == 3:
            down(supervisor)

    outcome = supervise(
        [Service("web", [sys.executable, "-S", "-c", serve], sockets=["other", "http"], restart=FAST)],
        ("web", "running", connect),
        prepare=lambda s: [s.add_socket(ListenSocket(name, "tcp:127.0.0.1:0")) for name in ("http", "other", "unused")],
    )
    assert [names for names, _ in outcome.noted] == ["other:http"] * 3
    pids = [int(pid) for _, pid in outcome.noted]
    assert len(set(pids)) == 3
    assert pids == [change.pid for change in outcome.all("web", "starting")][:3]
