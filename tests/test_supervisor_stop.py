"""Stopping: the steps, the whole group, what left it, and what others left to us."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from supervising import FOREVER, ONCE, Noting, down, sh, state_of, supervise
from support import in_child, need_root, readable

from rawsys import raw
from rawsys.supervisor import Restart, Service, Supervisor

IGNORES = "trap '' TERM HUP INT; echo >&3; while :; do sleep 0.01; done"
"""A shell that obeys SIGKILL alone; it is ready when it does."""


def grandchild_of(pid: int | None) -> int:
    """The only child of a process."""
    (found,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found)


def test_the_steps_are_kept() -> None:
    """INT, then 0.1 s later TERM, then 0.1 s later KILL, and it is gone at once after that."""
    outcome = supervise(
        [sh("one", IGNORES, ready="fd", stop=["INT", 0.1, "TERM", 0.1, "KILL"])], ("one", "running", down)
    )
    stopping, killing, stopped = (outcome.one("one", state) for state in ("stopping", "killing", "stopped"))
    assert 0.195 <= killing.time - stopping.time < 1
    assert stopped.time - killing.time < 0.5
    assert (stopped.signal, killing.reason, outcome.left) == (9, "did not end in time", 0)


def test_the_steps_reach_it_in_their_order() -> None:
    code = "trap 'echo int' INT; trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    path = f"/tmp/steps-{os.getpid()}"
    outcome = supervise(
        [
            sh(
                "one",
                code.replace("echo ready", "echo ready; echo >&3"),
                ready="fd",
                log=path,
                stop=["INT", 0.2, "TERM", 5],
            )
        ],
        ("one", "running", down),
    )
    said = Path(path).read_text().splitlines()
    assert [line for line in said if line != "Terminated"] == [
        "ready",
        "int",
        "term",
    ]  # a shell tells of its sleep, too
    Path(path).unlink()
    assert outcome.one("one", "stopped").code == 3


@pytest.mark.parametrize("target", ["group", "main"])
def test_a_process_that_is_stopped_takes_the_signal(target: str) -> None:
    """SIGSTOP would keep SIGTERM from it for ever: SIGCONT goes after it."""

    def freeze(supervisor: Noting) -> None:
        os.kill(supervisor.named("one")[0].pid or 0, signal.SIGSTOP)
        down(supervisor)

    outcome = supervise([Service("one", FOREVER, stop=["TERM", 30], stop_target=target)], ("one", "running", freeze))
    assert (outcome.path("one")[-2:], outcome.one("one", "stopped").signal) == (["stopping", "stopped"], signal.SIGTERM)


# ---- the group ----


def test_a_grandchild_that_ignores_term_is_gone_before_stopped_is_told() -> None:
    """Its leader obeys at once; the record comes when the last member is dead."""
    code = "(trap '' TERM; echo >&3; while :; do sleep 0.01; done) & exec sleep 1000"

    def note(supervisor: Noting) -> None:
        supervisor.noted.append(grandchild_of(supervisor.named("one")[0].pid))
        down(supervisor)

    outcome = supervise(
        [sh("one", code, ready="fd", stop=["TERM", 0.1, "KILL"])],
        ("one", "running", note),
        ("one", "stopped", lambda s: s.noted.append(state_of(s.noted[0]))),  # type: ignore[attr-defined]
    )
    assert outcome.noted[1] in "XZ"
    assert outcome.path("one")[-3:] == ["stopping", "killing", "stopped"]
    assert outcome.one("one", "stopped").signal == signal.SIGTERM  # the leader's own end


def test_what_a_leader_leaves_in_its_group_is_ended_before_the_next_run() -> None:
    """The leader exits, its grandchild ignores TERM: the next run begins when that is dead."""
    service = sh(
        "one", "(trap '' TERM; echo >&3; while :; do sleep 0.01; done) & sleep 0.05; exit 1",
        ready="fd", stop=["TERM", 0.05, "KILL"], restart=Restart("always", base=0, limit=2, retry_after=None),
    )  # fmt: skip
    outcome = supervise([service], exit_when="all-done")
    assert outcome.path("one") == [*["starting", "running", "exited"] * 3, "failed"]
    assert outcome.left == 0
    for end, begin in zip(outcome.all("one", "exited"), outcome.all("one", "starting")[1:], strict=False):
        assert begin.time - end.time >= 0.045


def test_a_zombie_is_no_member() -> None:
    """A member of the group is dead, and its parent, which is in another session, does not reap it: stopped all the same."""
    code = (
        "import os, signal\n"
        "end, begin = os.pipe()\n"
        "if os.fork() == 0:\n"  # the parent: leaves the group, and never waits for its child
        "    group = os.getpgrp(); child = os.fork()\n"
        "    if child == 0: os._exit(0)\n"
        "    os.setsid(); os.write(begin, b'x'); os.read(9, 1); os._exit(0)\n"  # until the test closes the other end
        "os.read(end, 1); os.write(3, b'\\n'); signal.pause()"
    )
    hold, release = os.pipe()
    try:
        outcome = supervise(
            [
                Service(
                    "one",
                    [sys.executable, "-S", "-c", code],
                    ready="fd",
                    restart=ONCE,
                    stop=["TERM", 30],
                    fds={9: hold},
                )
            ],
            ("one", "running", down),
        )
    finally:
        os.close(hold)
        os.close(release)
    assert outcome.path("one")[-2:] == ["stopping", "stopped"]
    assert outcome.left == 1  # the one in its own session, see below: it is no business of a library


def test_stop_target_main_leaves_the_rest() -> None:
    """Only its process is asked and waited for; its group is its own business."""
    code = "trap 'exit 0' TERM; (trap '' TERM; echo >&3; read -r line <&9) & while :; do sleep 0.01; done"
    hold, release = os.pipe()  # what is left reads until the test closes the other end
    try:
        outcome = supervise([sh("one", code, ready="fd", stop_target="main", fds={9: hold})], ("one", "running", down))
    finally:
        os.close(hold)
        os.close(release)
    assert outcome.path("one")[-2:] == ["stopping", "stopped"]
    assert outcome.left >= 1


def test_an_old_kernel_that_cannot_signal_a_group_by_a_pidfd() -> None:
    """Before Linux 6.9: the leader stays a zombie until its group is empty, and pins the number.  Both kinds of supervisors."""
    code = "(trap '' TERM; echo >&3; while :; do sleep 0.01; done) & sleep 0.05; exit 1"
    rule = Restart("always", base=0, limit=1, retry_after=None)
    for own in (False, True):

        def spent(supervisor: Noting) -> None:
            supervisor.noted.append(supervisor.loop.turns)

        outcome = supervise(
            [sh("one", code, ready="fd", stop=["TERM", 0.2, "KILL"], restart=rule), Service("two", FOREVER)],
            ("one", "exited", spent),
            ("one", "starting", spent),
            ("one", "failed", down),
            before=_no_group_by_pidfd,
            own_process=own,
        )
        assert outcome.path("one")[:7] == [*["starting", "running", "exited"] * 2, "failed"]
        assert outcome.left == 0
        assert outcome.noted[1] - outcome.noted[0] < 50  # it waits 0.2 s there, and does not spin


def _no_group_by_pidfd() -> None:
    """A seccomp filter: pidfd_send_signal with a flag is EINVAL."""
    from support import _filter

    _filter(
        [
            (0x20, 0, 0, 0), (0x15, 0, 3, 424), (0x20, 0, 0, 40), (0x15, 1, 0, 0), (0x06, 0, 0, 0x50000 | errno.EINVAL),
            (0x06, 0, 0, 0x7FFF0000),
        ]
    )  # fmt: skip


# ---- orphans ----


def escape(path: Path, trap: str = ":") -> str:
    """Shell code: a daemon in a session of its own, which becomes an orphan when its parent ends."""
    return f"(setsid sh -c '{trap}; echo $$ > {path}; echo >&3; while :; do sleep 0.01; done' &) ; exec sleep 1000"


@pytest.mark.parametrize("trap", [":", 'trap "" TERM'])
def test_an_orphan_in_its_own_session_is_ended_with_its_service(tmp_path: Path, trap: str) -> None:
    """Found by the mark in its environment, asked to end, and killed where it does not; gone before stopped is told."""
    path = tmp_path / "pid"
    outcome = supervise(
        [sh("one", escape(path, trap), ready="fd", stop=["TERM", 0.1, "KILL"]), Service("two", FOREVER)],
        ("one", "running", lambda s: s.stop("one")),
        ("one", "stopped", lambda s: (s.noted.append(state_of(int(path.read_text()))), down(s))),  # type: ignore[attr-defined]
        own_process=True,
    )
    assert outcome.noted[0] in "XZ"
    assert outcome.left == 0
    assert ("killing" in outcome.path("one")) == (trap != ":")
    assert len(outcome.all("two", "starting")) == 1


def test_an_orphan_is_ended_before_the_next_run(tmp_path: Path) -> None:
    """The service dies by itself: its daemon does not stay beside the daemon of the next run."""
    path = tmp_path / "pid"
    code = f"(setsid sh -c 'echo $$ >> {path}; echo >&3; exec sleep 1000' &); sleep 0.05; exit 1"
    outcome = supervise(
        [sh("one", code, ready="fd", restart=Restart("always", base=0, limit=3, retry_after=None))],
        exit_when="all-done",
        own_process=True,
    )
    assert len(path.read_text().split()) == 4
    assert outcome.left == 0


def test_the_orphan_of_one_service_is_not_ended_with_another(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("a", "b")}
    outcome = supervise(
        [sh(name, escape(path), ready="fd") for name, path in paths.items()]
        + [Service("c", FOREVER, after=["a", "b"])],
        ("c", "running", lambda s: s.stop("a")),
        ("a", "stopped", lambda s: (s.noted.extend(state_of(int(p.read_text())) for p in paths.values()), down(s))),  # type: ignore[attr-defined]
        own_process=True,
    )
    assert outcome.noted[0] in "XZ" and outcome.noted[1] not in "XZ"
    assert outcome.left == 0


@pytest.mark.parametrize("obeys", [True, False])
def test_an_orphan_without_a_mark_is_ended_at_shutdown(tmp_path: Path, obeys: bool) -> None:
    """Nobody knows whose it is: it is left alone while services run, then asked to end, and killed a second later."""
    path = tmp_path / "pid"
    trap = ":" if obeys else 'trap "" TERM'
    inner = f"{trap}; echo $$ > {path}; echo >&3; while :; do sleep 0.01; done"
    code = f"(env -i PATH=$PATH setsid sh -c '{inner}' &); exec sleep 1000"

    def note(supervisor: Noting) -> None:
        supervisor.noted.append(state_of(int(path.read_text())))
        supervisor.noted.append(time.monotonic())
        down(supervisor)

    outcome = supervise(
        [sh("one", code, ready="fd")],
        ("one", "running", lambda s: s.stop("one")),
        ("one", "stopped", note),
        own_process=True,
    )
    assert outcome.noted[0] not in "XZ"
    assert state_of(int(path.read_text())) == "X"
    took = time.monotonic() - outcome.noted[1]
    assert took < 0.9 if obeys else took > 0.9


def test_as_a_library_it_is_no_subreaper_and_reaps_no_stranger(tmp_path: Path) -> None:
    """A child of the program around it is not touched: its status is there for whom it belongs to."""
    path = tmp_path / "pid"

    def body() -> tuple[int, int, bool]:
        stranger = subprocess.Popen(["sh", "-c", "exit 23"])
        other = subprocess.Popen(["sleep", "1000"])
        supervisor = Supervisor()
        supervisor.add(sh("one", escape(path), ready="fd"))
        found = bytearray(4)

        def look(record: Any) -> None:
            if record.to == "running":
                raw.prctl(37, found, 0, 0, 0)  # PR_GET_CHILD_SUBREAPER
                os.waitid(os.P_PIDFD, os.pidfd_open(stranger.pid), os.WEXITED | os.WNOWAIT)
                supervisor.shutdown()

        supervisor.on_event(look)
        supervisor.run()
        alive = other.poll() is None
        other.kill()
        other.wait()
        return stranger.wait(), found[0], alive

    try:
        assert in_child(body) == (23, 0, True)
        assert state_of(int(path.read_text())) not in "XZ"
    finally:
        os.kill(int(path.read_text()), signal.SIGKILL)


def test_somebody_else_reaps_everything() -> None:
    """A SIGCHLD handler of the program around it waits for all children: the end comes all the same, told or lost."""

    def body() -> list[str]:
        import signal

        def reap(*_: object) -> None:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass

        signal.signal(signal.SIGCHLD, reap)
        supervisor = Supervisor(exit_when="all-done", on_death="keep")
        seen: list[str] = []
        supervisor.on_event(lambda record: seen.append(str(record.to)))  # type: ignore[union-attr]
        supervisor.add(sh("one", "sleep 0.05; exit 3"))
        supervisor.run()
        return seen

    assert in_child(body) == ["starting", "running", "exited", "failed"]


# ---- many at once ----


@pytest.mark.parametrize(("own", "count"), [(False, 300), (True, 1000)])
@pytest.mark.deadline(120)
def test_a_thousand_exits_in_one_turn(own: bool, count: int) -> None:
    """All are killed before the loop looks: each is reaped and told once, in a few turns, and all can be started again."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
        pytest.skip("needs room for 4,096 descriptors (ulimit -Hn)")

    def kill(supervisor: Noting) -> None:
        instances = supervisor.named("many")
        if any(instance.state != "running" for instance in instances):
            supervisor.loop.call_later(0.02, kill, supervisor)
            return
        fds = [os.pidfd_open(instance.pid or 0) for instance in instances]
        for instance in instances:
            os.kill(instance.pid or 0, signal.SIGKILL)
        assert all(readable(fd, 5) for fd in fds)
        for fd in fds:
            os.close(fd)
        supervisor.noted.append(supervisor.loop.turns)
        supervisor.loop.call_later(0, wait, supervisor)

    def wait(supervisor: Noting) -> None:
        if all(instance.state == "done" for instance in supervisor.named("many")):
            supervisor.noted.append(supervisor.loop.turns)
            down(supervisor)
        else:
            supervisor.loop.call_soon(lambda: wait(supervisor))

    outcome = supervise(
        [Service("many", FOREVER, instances=count, restart=Restart("on-failure", success_codes=["KILL"]))],
        prepare=lambda s: s.loop.call_later(0.2, kill, s),
        own_process=own,
        deadline=60,
    )
    ends = [change for change in outcome.changes if change.to == "exited"]
    assert len(ends) == count == len({change.instance for change in ends})
    assert all(change.signal == 9 for change in ends)
    assert outcome.noted[1] - outcome.noted[0] <= 20
    assert outcome.left == 0


def test_the_first_process_of_a_namespace_reaps_what_is_left_to_it() -> None:
    """As PID 1: orphans that nobody here started are reaped, and no status of a service is lost by that."""
    need_root()
    code = "for i in 1 2 3 4 5; do (setsid true &) ; (env -i setsid sleep 0.01 &); done; sleep 0.05; exit 7"

    def body() -> list[str]:
        if raw.unshare(0x20000000) < 0:  # CLONE_NEWPID
            pytest.skip("no namespace of processes can be made here")
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            supervisor = Supervisor(exit_when="all-done", own_process=True)
            supervisor.add(sh("one", code, restart=Restart("always", base=0, limit=2, retry_after=None)))
            supervisor.on_event(lambda record: os.write(writing, f"{record.to}:{record.code} ".encode()))  # type: ignore[union-attr]
            found = supervisor.run()
            from rawsys.supervisor.orphans import children

            os.write(writing, f"{children()}".encode())
            os._exit(found)
        os.close(writing)
        said = b""
        while part := os.read(reading, 4096):
            said += part
        os.waitpid(pid, 0)
        return said.decode().split()

    said = in_child(body)
    assert said[-1] == "[]"
    assert said[:-1] == [*["starting:None", "running:None", "exited:7"] * 3, "failed:7"]
