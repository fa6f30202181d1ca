"""The order of services, and when they are ready."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from supervising import FAST, FOREVER, ONCE, Noting, down, nothing, sh, supervise, talker

from rawsys.supervisor import Ready, Service

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
    services = [Service("web", FOREVER, after=["setup"]), sh("setup", "sleep 0.1", oneshot=True)]
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
    assert outcome.path("one")[:2] == ["starting", "stopping"]
    assert outcome.one("one", "stopping").reason == "not ready within 0.1 s"


def test_ready_when_alive_for_a_time() -> None:
    outcome = supervise([Service("one", FOREVER, ready=0.05)], ("one", "running", down))
    ready, start = outcome.one("one", "running"), outcome.one("one", "starting")
    assert ready.time - start.time >= 0.045
    assert ready.reason == "alive for 0.05 s"


def test_an_end_before_it_is_ready_is_a_failed_start() -> None:
    outcome = supervise([sh("one", "exit 1", ready=5)], exit_when="all-done")
    assert outcome.path("one") == ["starting", "exited", "failed"]


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
        "import select, time; end, begin = os.pipe(); leader = os.getpid()\n"
        "say('READY=1'); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork(): os.read(end, 1); os._exit(0)\n"
        "fd = os.pidfd_open(leader); os.write(begin, b'x'); select.select([fd], [], []); time.sleep(0.05)\n"
        "for _ in range(50): say('READY=1', 'WATCHDOG=trigger'); time.sleep(0.002)"
    )
    outcome = supervise([talker("one", code, stop=["TERM", 0.3, "KILL"])], exit_when="all-done")
    assert outcome.path("one") == ["starting", "running", "exited", "done"]
    assert outcome.left == 0
