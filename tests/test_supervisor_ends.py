"""How a supervisor ends, by itself, by signals and by faults, and what it leaves as it was."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from supervising import FOREVER, Noting, down, sh, supervise, talker
from support import in_child, readable

from rawsys.errors import ClosedError
from rawsys.supervisor import Change, Restart, Service, Supervisor

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
