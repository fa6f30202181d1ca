"""What the machine does not give: processes, descriptors, time; and what a service must not get from its supervisor."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from supervising import FOREVER, ONCE, Noting, down, held, sh, supervise
from support import fail_call_when, fail_calls, in_child, need, need_root, readable
from test_supervisor_death import guardian_of

from rawsys.supervisor import Log, Probe, Restart, Service, Supervisor

CLONE, FORK, VFORK, CLONE3 = 56, 57, 58, 435
EPOLL_CTL, EPOLL_CTL_ADD = 233, 1


# ---- what a service gets ----

LOOK = """
import os, resource, signal
status = dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status") if line[:3] in ("Sig", "Shd"))
def kind(n):
    try:
        return os.readlink("/proc/self/fd/%d" % n).split(":")[0]
    except OSError:
        return ""
open_ = [n for n in range(1000) if kind(n)]
print(open_, [kind(n) for n in (0, 1, 2)], status["SigBlk"], status["SigIgn"], status["SigCgt"], resource.getrlimit(7)[0],
      os.getsid(0) == os.getpid() == os.getpgrp(), os.environ.get("NOTIFY_SOCKET"), os.environ["RAWSYS_INSTANCE"])
"""


@pytest.mark.parametrize("options", [{}, {"own_process": True}, {"on_death": "keep", "signals": False}])
def test_a_service_gets_nothing_of_its_supervisor(tmp_path: Path, options: dict[str, Any]) -> None:
    """Three descriptors, an empty mask, no ignored signal, the soft limit that was, a session of its own.

    A shell looks, since an interpreter ignores SIGPIPE by itself; the interpreter tells of the rest.
    """
    look = "grep -E 'Sig(Blk|Ign)' /proc/self/status; ulimit -Sn; ls /proc/self/fd"
    others = [Service(f"s{n}", FOREVER, log=str(tmp_path / f"s{n}"), ready=[None, 0.05][n % 2]) for n in range(4)]
    talk = Service("talk", FOREVER, watchdog=100)
    outcome = supervise(
        [*others, talk, Service("python", [sys.executable, "-S", "-c", LOOK], log=str(tmp_path / "python"), restart=ONCE),
         sh("shell", look, log=str(tmp_path / "shell"), after=["s0", "s1", "s2", "s3", "talk"])],
        ("shell", "done", down),
        before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4000)),
        **options,
    )  # fmt: skip
    assert outcome.left == 0
    said = (tmp_path / "python").read_text()
    assert said.startswith("[0, 1, 2] ['/dev/null', 'pipe', 'pipe'] 0000000000000000 ")
    assert said.endswith(" 200 True None 0\n")
    shell = (tmp_path / "shell").read_text().splitlines()
    assert [line.split()[-1] for line in shell[:2]] == ["0000000000000000"] * 2  # of grep, a child of the shell
    assert shell[2] == "200"
    assert shell[3:] == ["0", "1", "2", "3"]  # the last one is of ls


def test_its_own_limit_is_raised_and_put_back() -> None:
    """The supervisor takes all that the hard limit allows, while it runs."""

    def body() -> list[tuple[int, int]]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4000))
        found = [resource.getrlimit(resource.RLIMIT_NOFILE)]
        supervisor = Supervisor()
        supervisor.loop.call_later(
            0, lambda: (found.append(resource.getrlimit(resource.RLIMIT_NOFILE)), supervisor.shutdown())
        )
        supervisor.run()
        return [*found, resource.getrlimit(resource.RLIMIT_NOFILE)]

    assert in_child(body) == [(200, 4000), (4000, 4000), (200, 4000)]


def test_a_service_may_have_another_limit(tmp_path: Path) -> None:
    supervise(
        [sh("one", "ulimit -Sn", rlimits={resource.RLIMIT_NOFILE: (77, 100)}, log=str(tmp_path / "log"))],
        exit_when="all-done",
        before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4000)),
    )
    assert (tmp_path / "log").read_text() == "77\n"


# ---- what the machine does not give ----


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_no_process_is_to_be_had(number: int) -> None:
    """Every clone fails from some moment on: what dies goes into backoff, again and again, and the others run on."""

    def begin(supervisor: Noting) -> None:
        fail_calls(number, CLONE, FORK, VFORK, CLONE3)
        os.kill(supervisor.named("one")[0].pid or 0, signal.SIGKILL)

    outcome = supervise(
        [Service("one", FOREVER, restart=Restart(base=0.01, limit=1, retry_after=None)), Service("two", FOREVER)],
        ("two", "running", begin),
        *[("one", "backoff", lambda s: None)] * 4,
        ("one", "backoff", down),
    )
    waits = outcome.all("one", "backoff")
    assert [os.strerror(number) in wait.reason for wait in waits] == [False] + [True] * 4
    assert outcome.path("two") == ["starting", "running", "stopping", "stopped"]
    assert (outcome.code, outcome.left) == (0, 0)


@pytest.mark.parametrize("ready", ["none", "fd"])
def test_nothing_more_can_be_watched(ready: str) -> None:
    """From some moment on epoll takes no descriptor (ENOSPC): what dies goes into backoff, and no child runs unknown."""

    def begin(supervisor: Noting) -> None:
        fail_call_when(errno.ENOSPC, EPOLL_CTL, 1, EPOLL_CTL_ADD)
        os.kill(supervisor.named("one")[0].pid or 0, signal.SIGKILL)

    service = sh("one", "echo >&3; exec sleep 1000", ready=ready, restart=Restart(base=0.01, limit=9, retry_after=None))
    if ready == "none":
        service = service.replace(command=FOREVER)
    outcome = supervise(
        [service, Service("two", FOREVER, after=["one"])],
        ("two", "running", begin),
        *[("one", "backoff", lambda s: None)] * 4,
        ("one", "backoff", down),
    )
    waits = outcome.all("one", "backoff")
    assert [os.strerror(errno.ENOSPC) in wait.reason for wait in waits] == [False] + [True] * 4
    assert outcome.path("two")[-3:] == ["running", "stopping", "stopped"]
    assert (outcome.code, outcome.left) == (0, 0)


def test_what_a_leader_leaves_cannot_be_watched() -> None:
    """Epoll takes no member of its group: it is looked at again and again until it is gone."""

    def begin(supervisor: Noting) -> None:
        fail_call_when(errno.ENOSPC, EPOLL_CTL, 1, EPOLL_CTL_ADD)
        os.kill(supervisor.named("one")[0].pid or 0, signal.SIGKILL)

    code = "(trap '' TERM; echo >&3; while :; do sleep 0.01; done) & wait"
    outcome = supervise(
        [sh("one", code, ready="fd", stop=["TERM", 0.1, "KILL"], restart=ONCE)],
        ("one", "running", begin),
        exit_when="all-done",
    )
    assert outcome.path("one")[:3] == ["starting", "running", "exited"]
    assert outcome.left == 0


@pytest.mark.parametrize("kind", ["exec", "tcp"])
def test_a_probe_cannot_be_watched(kind: str) -> None:
    """Epoll takes neither its child nor its socket: that counts as a failure, and nothing of the probe is left."""

    def begin(supervisor: Noting) -> None:
        fail_call_when(errno.ENOSPC, EPOLL_CTL, 1, EPOLL_CTL_ADD)

    told: dict[str, Any] = {"exec": FOREVER} if kind == "exec" else {"tcp": "127.0.0.1:1"}
    service = Service("one", FOREVER, check=Probe(every=0.02, fails=2, **told), restart=ONCE)
    outcome = supervise([service], ("one", "running", begin), exit_when="all-done")
    assert os.strerror(errno.ENOSPC) in outcome.all("one", "stopping")[0].reason
    assert outcome.left == 0


def test_no_guardian_is_to_be_had() -> None:
    """It is killed, and no other one can be started: that is told, tried again, and the services run on."""

    def begin(supervisor: Noting) -> None:
        fail_calls(errno.EAGAIN, CLONE, FORK, VFORK, CLONE3)
        os.kill(guardian_of(os.getpid()), signal.SIGKILL)
        supervisor.loop.call_later(0.2, down, supervisor)

    outcome = supervise([Service("one", FOREVER)], ("one", "running", begin))
    assert [n.text.split(":")[0] for n in outcome.notices] == [
        "it has killed by SIGKILL; another one takes its place",
        "it cannot be started",
    ]
    assert outcome.path("one") == ["starting", "running", "stopping", "stopped"]
    assert outcome.left == 0


def test_the_users_processes_are_at_their_limit() -> None:
    """EAGAIN by RLIMIT_NPROC: some run, the others wait in backoff, and come as soon as they may."""
    need_root()

    def before() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (4, 100))
        os.setresuid(64321, 64321, 64321)

    def more(supervisor: Noting) -> None:
        running = [instance for instance in supervisor.all() if instance.state == "running"]
        supervisor.noted.append(len(running))
        resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
        look(supervisor)

    def look(supervisor: Noting) -> None:
        if all(instance.state == "running" for instance in supervisor.all()):
            down(supervisor)
        else:
            supervisor.loop.call_later(0.01, look, supervisor)

    outcome = supervise(
        [Service("many", FOREVER, instances=8, restart=Restart(base=0.05, max=0.1))],
        before=before,
        prepare=lambda s: s.loop.call_later(0.3, more, s),
        on_death="keep",
    )
    assert outcome.noted == [3]
    waits = [change for change in outcome.changes if change.to == "backoff"]
    assert waits and all(os.strerror(errno.EAGAIN) in change.reason for change in waits)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_no_descriptor_is_left_for_all(own: bool, log: bool) -> None:
    """EMFILE: as many run as there is room for; those live, die and come back; all ends well."""

    def settled(supervisor: Noting) -> None:
        running = [instance for instance in supervisor.all() if instance.state == "running"]
        supervisor.noted.append(len(running))
        for instance in running[:3]:
            os.kill(instance.pid or 0, signal.SIGKILL)
        supervisor.loop.call_later(0.3, look, supervisor)

    def look(supervisor: Noting) -> None:
        supervisor.noted.append(sum(instance.state == "running" for instance in supervisor.all()))
        down(supervisor)

    outcome = supervise(
        [Service("many", FOREVER, instances=50, restart=Restart("always", base=0.05, max=0.1),
                 log=Log("/dev/null", size=None) if log else None)],
        before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        prepare=lambda s: s.loop.call_later(0.3, settled, s),
        own_process=own,
    )  # fmt: skip
    assert 5 < outcome.noted[0] < 50
    assert outcome.noted[1] >= outcome.noted[0] - 3
    assert any("Too many open files" in change.reason for change in outcome.changes if change.to == "backoff")
    assert (outcome.code, outcome.left) == (0, 0)


@pytest.mark.parametrize("own", [False, True])
def test_no_descriptor_is_left_when_a_leader_ends(own: bool) -> None:
    """Not one for the group, none to look into /proc, none for the guardian: it waits, looks again, and goes on."""
    code = "(trap '' TERM; echo >&3; while :; do sleep 0.01; done) & sleep 0.1; exit 1"

    def close(supervisor: Noting) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        used = max(map(int, os.listdir("/proc/self/fd"))) + 1
        for number in range(used):  # no gap is left either
            try:
                os.fstat(number)
            except OSError:
                os.dup2(0, number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        supervisor.loop.call_later(0.35, open_, supervisor, hard)

    def open_(supervisor: Noting, hard: int) -> None:
        supervisor.noted.append(str(supervisor.named("one")[0].state))
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    outcome = supervise(
        [sh("one", code, ready="fd", stop=["TERM", 0.05, "KILL"], restart=Restart(base=0.01)), Service("two", FOREVER)],
        ("one", "running", close),
        ("one", "running", down),
        own_process=own,
    )
    # Without orphans to look for it may be known to be gone, where whoever adopts its members reaps them.
    assert outcome.noted[0] in (["exited"] if own else ["exited", "backoff"])
    assert outcome.all("one", "exited")[0].code == 1
    assert outcome.path("two") == ["starting", "running", "stopping", "stopped"]
    assert outcome.left == 0


def test_a_look_that_was_asked_for_a_run_before_this_one_counts_nothing() -> None:
    """It finds nothing of a group that is gone, when the next run has begun: that one is not over."""
    outcome = supervise(
        [Service("one", FOREVER)],
        ("one", "running", lambda s: (s.named("one")[0].seen([]), s.loop.call_later(0.05, down, s))),
    )
    assert outcome.path("one") == ["starting", "running", "stopping", "stopped"]
    assert outcome.left == 0


def test_a_storm_of_short_runs_with_members_left() -> None:
    """Each run leaves a child that ends at about the same time: no run is taken for the one before it."""
    for own in (False, True):
        rule = Restart("always", base=0, limit=20, window=None, retry_after=None)
        outcome = supervise(
            [sh(f"s{n}", "sleep 0.00{i} & true & exit 1", restart=rule) for n in range(2)],
            exit_when="all-done",
            own_process=own,
            deadline=30,
        )
        for n in range(2):
            assert outcome.path(f"s{n}") == [*["starting", "running", "exited"] * 21, "failed"]
        assert outcome.left == 0


# ---- idle ----

IDLE = """
import os
from rawsys.supervisor import Log, Restart, Service, Supervisor
s = Supervisor(own_process=True)
s.add(Service("many", ["sleep", "1000"], instances=200, log=Log("/dev/null", size=None), stop=["KILL"]))
left = [200]
def listen(record):
    if record.to == "running":
        left[0] -= 1
        if not left[0]:
            s.loop.call_later(0.3, os.write, 1, b"up\\n")
s.on_event(listen)
s.run()
"""


def idle_calls(seconds: float) -> list[str]:
    """What strace shows of an idle supervisor with 200 services, and of its guardian, but for the calls that they sit in."""
    strace = need("strace")
    with held(IDLE) as (run, said):
        assert said == ["up"]
        guardian = guardian_of(run.process.pid)
        command = [strace, "-f", "-p", str(run.process.pid), "-p", str(guardian), "-o", "/dev/stdout"]
        tracer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert tracer.stdout is not None and tracer.stderr is not None
        said_by = b""
        while said_by.count(b"attached") < 2:
            if not readable(tracer.stderr.fileno(), 10) or not (part := os.read(tracer.stderr.fileno(), 4096)):
                tracer.kill()
                tracer.communicate()
                pytest.skip(f"strace cannot attach here: {said_by.decode()}")
            said_by += part
        ended = os.pidfd_open(run.process.pid)
        assert not readable(ended, seconds)
        os.close(ended)
        tracer.send_signal(signal.SIGINT)
        out = tracer.communicate()[0].decode()
        tracer.stdout.close()
        run.process.send_signal(signal.SIGTERM)
        assert run.gone()
    return [line for line in out.splitlines() if "<detached ...>" not in line and "<unfinished ...>" not in line]


def test_an_idle_supervisor_makes_no_call() -> None:
    """200 services with their logs captured: for 1.5 s strace shows nothing but what it and the guardian sit in."""
    assert idle_calls(1.5) == []


def test_watchdog_and_backoff_wake_it_once_each() -> None:
    """What waits for a time costs the one turn in which the time comes."""

    def begin(supervisor: Noting) -> None:
        supervisor.noted.append(supervisor.loop.turns)

    outcome = supervise(
        [sh("one", "exit 1", restart=Restart(delays=[0.3], jitter=0))],
        ("one", "backoff", begin),
        ("one", "starting", begin),
        ("one", "running", down),
    )
    assert outcome.noted[1] - outcome.noted[0] <= 3
