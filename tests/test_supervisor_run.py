"""Services that run: restarts, order, readiness, what people ask for, and how the supervisor ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from supervising import FAST, FOREVER, ONCE, Noting, down, nothing, supervise
from support import in_child, readable, run_python

from rawsys.errors import ClosedError
from rawsys.supervisor import Change, Ready, Restart, Service, Supervisor


def sh(name: str, code: str, **rules: Any) -> Service:
    rules.setdefault("restart", ONCE)
    return Service(name, ["sh", "-c", code], **rules)


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


# ---- order ----


def test_after_waits_until_it_is_ready_and_stops_in_reverse() -> None:
    """db, then cache and web in the order of what they need; they stop the other way round."""
    services = [
        Service("web", FOREVER, after=["db", "cache"]),
        Service("cache", FOREVER, after=["db"]),
        Service("db", FOREVER, ready=0.05),
    ]
    outcome = supervise(services, ("web", "running", down))
    begin = outcome.order(("db", "running"), ("cache", "starting"), ("cache", "running"), ("web", "starting"))
    assert begin == [("db", "running"), ("cache", "starting"), ("cache", "running"), ("web", "starting")]
    names = [n for n, _ in outcome.order(*((n, s) for n in ("db", "cache", "web") for s in ("stopping", "stopped")))]
    assert names == ["web", "web", "cache", "cache", "db", "db"]
    assert (outcome.left, outcome.code) == (0, 0)


def test_a_level_stops_side_by_side() -> None:
    """Two that take their time are asked in the same turn."""
    slow = "trap 'sleep 0.2; exit 0' TERM; while :; do sleep 0.01; done"
    outcome = supervise([sh("a", slow), sh("b", slow, ready=0.05)], ("b", "running", down))
    gap = outcome.one("b", "stopping").time - outcome.one("a", "stopping").time
    assert abs(gap) < 0.1
    assert outcome.order(("a", "stopping"), ("b", "stopping"), ("a", "stopped"), ("b", "stopped"))[:2] == [
        ("a", "stopping"), ("b", "stopping"),
    ]  # fmt: skip


def test_after_a_oneshot_waits_until_it_is_done() -> None:
    services = [Service("web", FOREVER, after=["setup"]), sh("setup", "exit 0", oneshot=True)]
    outcome = supervise(services, ("web", "running", down))
    assert outcome.path("web") == ["waiting", "starting", "running", "stopping", "stopped"]
    assert outcome.order(("setup", "done"), ("web", "starting")) == [("setup", "done"), ("web", "starting")]


def test_after_does_not_stop_with_it() -> None:
    """What merely comes after another one runs on when that ends."""
    services = [sh("db", "sleep 0.1; exit 1", restart=FAST), Service("web", FOREVER, after=["db"])]
    outcome = supervise(services, ("web", "running", nothing), ("db", "exited", nothing), ("db", "running", down))
    assert outcome.path("web") == ["starting", "running", "stopping", "stopped"]


def test_requires_stops_and_restarts_with_it() -> None:
    """db dies: web, which requires it, is stopped, waits, and comes back when db is ready again."""
    services = [
        Service("db", FOREVER, ready=0.02, restart=FAST),
        Service("web", FOREVER, requires=["db"], restart=ONCE),
    ]
    outcome = supervise(
        services,
        ("web", "running", lambda s: os.kill(s.named("db")[0].pid, signal.SIGKILL)),
        ("web", "running", down),
    )
    assert outcome.path("web")[:7] == ["waiting", "starting", "running", "stopping", "stopped", "waiting", "starting"]
    assert outcome.all("web", "stopping")[0].reason == "db is exited"
    steps = outcome.order(("db", "running"), ("web", "starting"))
    assert steps == [("db", "running"), ("web", "starting")] * 2


def test_a_restart_takes_along_what_requires_it() -> None:
    """web stops before db does, and starts after it is back; what only comes after db keeps its process."""
    services = [
        Service("db", FOREVER),
        Service("web", FOREVER, requires=["db"]),
        Service("log", FOREVER, after=["db"]),
    ]
    outcome = supervise(services, ("web", "running", lambda s: s.restart("db")), ("web", "running", down))
    wanted = [
        ("web", "stopping"),
        ("web", "stopped"),
        ("db", "stopping"),
        ("db", "stopped"),
        ("db", "running"),
        ("web", "running"),
    ]
    assert outcome.order(*wanted)[2:8] == wanted
    assert len(outcome.all("log", "starting")) == 1


def test_a_stop_takes_along_what_requires_it() -> None:
    services = [Service("db", FOREVER), Service("web", FOREVER, requires=["db"])]
    outcome = supervise(
        services,
        ("web", "running", lambda s: s.stop("db")),
        ("db", "stopped", lambda s: s.noted.append(str(s.named("web")[0].state))),  # type: ignore[attr-defined]
        prepare=lambda s: s.loop.call_later(0.3, s.shutdown),
    )
    assert outcome.noted == ["waiting"]
    assert outcome.order(("web", "stopped"), ("db", "stopping"))[:2] == [("web", "stopped"), ("db", "stopping")]


# ---- readiness ----


def test_ready_by_a_line_on_a_descriptor() -> None:
    code = "printf x >&3; printf '\\n' >&3; exec sleep 1000"
    outcome = supervise([sh("one", code, ready="fd"), sh("two", "echo >&7; exec sleep 1000", ready=Ready("fd", fd=7), after=["one"])],
                        ("two", "running", down))  # fmt: skip
    assert outcome.path("two") == ["waiting", "starting", "running", "stopping", "stopped"]


def test_a_descriptor_that_is_closed_without_a_line_is_not_ready() -> None:
    services = [sh("one", "exec 3>&-; exec sleep 1000", ready="fd", start_timeout=0.1)]
    outcome = supervise(services, ("one", "stopping", down))
    assert outcome.path("one") == ["starting", "stopping", "stopped"]
    assert outcome.one("one", "stopping").reason == "not ready within 0.1 s"


def test_ready_when_alive_for_a_time() -> None:
    outcome = supervise([Service("one", FOREVER, ready=0.05)], ("one", "running", down))
    ready, start = outcome.one("one", "running"), outcome.one("one", "starting")
    assert ready.time - start.time >= 0.045
    assert ready.reason == "alive for 0.05 s"


def test_an_end_before_it_is_ready_is_a_failed_start() -> None:
    outcome = supervise([sh("one", "exit 1", ready=5)], exit_when="all-done")
    assert outcome.path("one") == ["starting", "exited", "failed"]


NOTIFY = """
import os, socket, signal, sys
said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1)
def say(*lines):
    said.sendto("\\n".join(lines).encode(), address)
{}
while True:
    signal.pause()
"""


def talker(name: str, code: str, **rules: Any) -> Service:
    return Service(
        name, [sys.executable, "-S", "-c", NOTIFY.format(code)], **{"ready": "notify", "restart": ONCE} | rules
    )


def test_ready_by_notify_and_what_it_says_of_itself() -> None:
    outcome = supervise(
        [talker("one", "say('STATUS=loading'); say('READY=1', 'STATUS=42 users', 'X'); say('nonsense')")],
        ("one", "running", lambda s: s.loop.call_later(0.05, _note_status, s)),
    )
    assert outcome.noted == ["42 users"]


def _note_status(supervisor: Noting) -> None:
    supervisor.noted.append(supervisor.named("one")[0].describe()["status_text"])
    supervisor.shutdown()


@pytest.mark.parametrize(("word", "text"), [("RELOADING", "reloading"), ("STOPPING", "stopping")])
def test_reloading_and_stopping_are_told_as_its_status(word: str, text: str) -> None:
    outcome = supervise(
        [talker("one", f"say('READY=1'); say('{word}=1')")],
        ("one", "running", lambda s: s.loop.call_later(0.05, _note_status, s)),
    )
    assert outcome.noted == [text]


def test_a_watchdog_that_is_not_fed_ends_its_service() -> None:
    """Fed five times, 50 ms apart, it is well longer than its 150 ms; then it is sick, stopped, and started again."""
    code = "import time; say('READY=1'); [(time.sleep(0.05), say('WATCHDOG=1')) for _ in range(5)]"
    outcome = supervise(
        [talker("one", code, watchdog=0.15, restart=FAST)], ("one", "stopping", nothing), ("one", "running", down)
    )
    sick = outcome.all("one", "stopping")[0]
    assert sick.reason == "no WATCHDOG=1 within 0.15 s"
    assert sick.time - outcome.all("one", "running")[0].time > 0.35
    assert outcome.path("one")[:6] == ["starting", "running", "stopping", "backoff", "starting", "running"]


def test_a_watchdog_can_be_triggered() -> None:
    outcome = supervise(
        [talker("one", "say('READY=1'); say('WATCHDOG=trigger')", watchdog=5)], ("one", "stopping", down)
    )
    assert outcome.one("one", "stopping").reason == "it triggered its watchdog"


def test_only_its_own_group_is_heard() -> None:
    """What another process says to the socket of a service, by its address or in its name, counts nothing."""
    thief = (
        "import os, pathlib, time; victim = int(pathlib.Path('{f}').read_text()); "
        "os.environ['NOTIFY_SOCKET'] = [v[14:] for v in pathlib.Path('/proc/%d/environ' % victim).read_text().split(chr(0)) "
        "if v.startswith('NOTIFY_SOCKET=')][0]; address = os.environ['NOTIFY_SOCKET'].replace('@', chr(0), 1); "
        "say('READY=1', 'STATUS=stolen'); sys.exit()"
    )
    path = f"/tmp/victim-{os.getpid()}"
    services = [talker("one", "", start_timeout=0.6), talker("thief", thief.replace("{f}", path), restart=ONCE)]
    outcome = supervise(
        services,
        ("one", "starting", lambda s: Path(path).write_text(str(s.named("one")[0].pid))),
        ("thief", "done", nothing),
        ("one", "stopping", down),
    )
    Path(path).unlink()
    assert "running" not in outcome.path("one")


def test_what_a_left_over_says_after_the_end_of_its_leader_does_no_harm() -> None:
    """READY=1 and a triggered watchdog from a member of the group, when the leader is gone and the group is being ended."""
    code = (
        "say('READY=1'); signal.signal(signal.SIGTERM, signal.SIG_IGN); end, begin = os.pipe()\n"
        "if os.fork(): os._exit(0)\n"
        "import time; os.close(begin); os.read(end, 1)\n"
        "for _ in range(50): say('READY=1', 'WATCHDOG=trigger'); time.sleep(0.002)"
    )
    outcome = supervise([talker("one", code, stop=["TERM", 0.3, "KILL"])], exit_when="all-done")
    assert outcome.path("one") == ["starting", "running", "exited", "done"]
    assert outcome.left == 0


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


# ---- how the supervisor ends ----


def test_exit_when_all_is_done() -> None:
    outcome = supervise([sh("a", "exit 0"), sh("b", "sleep 0.05", oneshot=True)], exit_when="all-done")
    assert (outcome.code, outcome.path("a")[-1], outcome.path("b")[-1]) == (0, "done", "done")
    assert supervise([], exit_when="all-done").code == 0
    assert supervise([Service("none", FOREVER, instances=0)], exit_when="all-done").code == 0


def test_exit_when_any_has_failed_stops_the_others() -> None:
    outcome = supervise([Service("web", FOREVER), sh("bad", "exit 9", after=["web"])], exit_when="any-failed")
    assert (outcome.code, outcome.left) == (9, 0)
    assert outcome.one("web", "stopping").reason == "bad has failed"


def test_never_goes_on_with_nothing_left() -> None:
    outcome = supervise(
        [sh("bad", "exit 9")],
        ("bad", "failed", lambda s: s.loop.call_later(0.05, s.start, "bad")),
        ("bad", "failed", down),
    )
    assert outcome.code == 0


def test_a_key_service_ends_it_with_its_code() -> None:
    outcome = supervise([Service("web", FOREVER), sh("key", "exit 4", key=True, after=["web"]), sh("other", "exit 1")])
    assert (outcome.code, outcome.path("web")[-1]) == (4, "stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(number: int) -> None:
    outcome = supervise(
        [Service("db", FOREVER), Service("web", FOREVER, after=["db"])],
        ("web", "running", lambda s: os.kill(os.getpid(), number)),
    )
    assert outcome.code == 0
    assert outcome.one("web", "stopping").reason == f"{signal.Signals(number).name} received"
    assert outcome.order(("web", "stopped"), ("db", "stopping")) == [("web", "stopped"), ("db", "stopping")]


def test_the_second_interrupt_kills() -> None:
    """A service that ignores SIGTERM for a minute is gone with the second ^C."""
    outcome = supervise(
        [sh("one", "trap '' TERM INT; echo >&3; while :; do sleep 0.01; done", ready="fd", stop=["TERM", 60])],
        ("one", "running", lambda s: os.kill(os.getpid(), signal.SIGINT)),
        ("one", "stopping", lambda s: os.kill(os.getpid(), signal.SIGINT)),
    )
    assert outcome.path("one")[-3:] == ["stopping", "killing", "stopped"]
    assert outcome.all("one", "killing")[0].reason == "interrupted again"
    assert outcome.left == 0


def test_shutdown_from_another_thread() -> None:
    import threading

    def ask(supervisor: Supervisor) -> None:
        thread = threading.Thread(target=supervisor.shutdown, args=("from a thread", 5))
        thread.start()
        thread.join()

    outcome = supervise([Service("one", FOREVER)], ("one", "running", ask))
    assert (outcome.code, outcome.one("one", "stopping").reason) == (5, "from a thread")


def test_a_listener_that_raises_does_no_harm() -> None:
    told: list[str] = []

    def prepare(supervisor: Noting) -> None:
        sys.excepthook = lambda kind, error, trace: supervisor.noted.append(str(error))

        def bad(record: object) -> None:
            raise RuntimeError("a listener's fault")

        supervisor.on_event(bad)

    outcome = supervise([sh("one", "exit 0")], prepare=prepare, exit_when="all-done")
    assert outcome.noted == ["a listener's fault"] * 4
    assert told == []


def test_an_exception_in_the_loop_ends_the_services_too() -> None:
    """Whatever ends `run`: nothing that it started stays."""

    def body() -> tuple[str, bool, bool]:
        supervisor = Supervisor()
        supervisor.add(sh("one", "trap '' TERM; sleep 1000 & echo >&3; wait", ready="fd"))
        held: list[int] = []

        def fail() -> None:
            pid = supervisor.named("one")[0].pid
            (grandchild,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            held.append(os.pidfd_open(int(grandchild)))
            raise ArithmeticError("somebody's callback")

        supervisor.on_event(lambda record: record.to == "running" and supervisor.loop.call_soon(fail))  # type: ignore[union-attr]
        with pytest.raises(ArithmeticError) as caught:
            supervisor.run()
        return str(caught.value), supervisor.loop.closed, readable(held[0], 2)

    assert in_child(body) == ("somebody's callback", True, True)


def test_it_runs_once() -> None:
    def body() -> str:
        supervisor = Supervisor(exit_when="all-done")
        supervisor.run()
        with pytest.raises(ClosedError, match="has run: make another one"):
            supervisor.run()
        return "ok"

    assert in_child(body) == "ok"


def test_another_thread_may_run_it_if_it_keeps() -> None:
    """With on_death="kill" the death signal would come when that thread ends, so it is refused there."""

    def body() -> list[str]:
        import threading

        found: list[str] = []

        def run() -> None:
            try:
                Supervisor(exit_when="all-done").run()
            except RuntimeError as error:
                found.append(str(error))
            supervisor = Supervisor(exit_when="all-done", on_death="keep")
            supervisor.add(sh("one", "exit 3"))
            found.append(str(supervisor.run()))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found

    refusal, code = in_child(body)
    assert "runs in the main thread" in refusal and 'on_death="keep"' in refusal
    assert code == "3"


def test_records_go_into_json() -> None:
    outcome = supervise(
        [sh("one", "exit 3", restart=Restart(limit=1, base=0.01, retry_after=9))], ("one", "failed", down)
    )
    for change in outcome.changes:
        found = json.loads(json.dumps(change.as_dict()))
        assert (
            Change(**{("from_" if k == "from" else k): v for k, v in found.items() if k != "rusage"})[:6] == change[:6]
        )


def test_the_world_is_as_it_was_afterwards() -> None:
    """Descriptors, signal actions, mask, limits: what the run changed is put back, whatever way it took."""

    def body() -> list[str]:
        from support import differences, snapshot

        Supervisor(exit_when="all-done").run()  # what is made once for the process is there now
        before = snapshot()
        for options in ({}, {"own_process": True}, {"on_death": "keep"}):
            supervisor = Supervisor(exit_when="all-done", **options)  # type: ignore[arg-type]
            supervisor.add(
                sh("one", "sleep 0.01; exit 1", log="/dev/null", restart=Restart(base=0, limit=2, retry_after=None))
            )
            supervisor.add(talker("two", "say('READY=1'); sys.exit()"))
            supervisor.run()
        return differences(before, snapshot())

    assert in_child(body) == []


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
