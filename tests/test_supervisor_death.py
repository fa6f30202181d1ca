"""When the supervisor is killed: nothing of what it started is left, whatever it was doing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from supervising import FOREVER, Noting, down, held, marked, state_of, supervise
from support import in_child, need, need_root, readable

from rawsys.supervisor import Service, State

SCRIPT = """
import os, sys
from rawsys.supervisor import Restart, Service, Supervisor

TREE = "(trap '' TERM HUP; echo >&3; while :; do sleep 0.01; done) & exec sleep 1000"
IGNORES = "trap '' TERM HUP INT; (trap '' TERM; exec sleep 1000) & echo >&3; while :; do sleep 0.01; done"
once = Restart("never")

def sh(name, code, **rules):
    return Service(name, ["sh", "-c", code], **{"restart": once, "ready": "fd"} | rules)

def watch(supervisor, name, state, then=None):
    def listen(record):
        if record.name == name and record.to == state:
            if then is not None:
                then()
            else:
                os.write(1, f"{name} is {state}\\n".encode())
    supervisor.on_event(listen)
"""

STATES = {
    State.STOPPED: (
        "sh('one', TREE, stop=['KILL'])",
        "watch(s, 'one', 'running', lambda: s.stop('one')); watch(s, 'one', 'stopped')",
    ),
    State.WAITING: (
        "Service('one', ['true'], after=['slow']), Service('slow', ['sleep', '1000'], ready=100)",
        "watch(s, 'one', 'waiting')",
    ),
    State.STARTING: ("sh('one', TREE.replace('echo >&3', ':'))", "watch(s, 'one', 'starting')"),
    State.RUNNING: ("sh('one', TREE)", "watch(s, 'one', 'running')"),
    State.STOPPING: (
        "sh('one', IGNORES, stop=['TERM', 100])",
        "watch(s, 'one', 'running', lambda: s.stop('one')); watch(s, 'one', 'stopping')",
    ),
    State.EXITED: (
        "sh('one', \"(trap '' TERM; echo >&3; while :; do sleep 0.01; done) & sleep 0.02\", stop=['TERM', 100])",
        "watch(s, 'one', 'exited')",
    ),
    State.BACKOFF: ("sh('one', 'exit 1', restart=Restart(base=100), ready=None)", "watch(s, 'one', 'backoff')"),
    State.FAILED: ("sh('one', 'exit 1', ready=None)", "watch(s, 'one', 'failed')"),
    State.DONE: ("sh('one', 'exit 0', ready=None)", "watch(s, 'one', 'done')"),
}


def script(services: str, watches: str, options: str = "", more: str = "") -> str:
    return f"""{SCRIPT}
s = Supervisor({options})
for service in [{services}, sh("tree", TREE)]:
    s.add(service)
{watches}
watch(s, "tree", "running")
{more}
s.run()
"""


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("state", list(STATES))
def test_killed_while_a_service_is_in_each_state(state: State, own: bool) -> None:
    """SIGKILL: 100 ms later nothing lives of the service, of a tree beside it whose members ignore SIGTERM, and the guardian."""
    services, watches = STATES[state]

    def once() -> list[int]:
        with held(script(services, watches, f"own_process={own}"), lines=2) as (run, said):
            assert sorted(said) == sorted([f"one is {state}", "tree is running"])
            assert len(run.pids) >= 3  # two of the tree, and the guardian
            run.process.kill()
            late = run.left(0.1)
            run.hold()  # what was born after the first look
            return late or run.left(0)

    assert in_time(once) == []


def in_time(once: Callable[[], list[int]]) -> list[int]:
    """The 100 ms are ours, but the processor may be somebody else's for as long: the best of three."""
    late: list[int] = []
    for _ in range(3):
        late = once()
        if not late:
            break
    return late


def test_killed_while_it_kills() -> None:
    """It comes into the state killing, and dies before it has sent the SIGKILL that belongs to that."""
    more = (
        "s.news = lambda instance, change: change.to == 'killing' and os.kill(os.getpid(), 9) or told(instance, change)"
    )
    code = script(
        "sh('one', IGNORES, stop=['TERM', 0.01, 'KILL'])", "watch(s, 'one', 'running')", "", f"told = s.news; {more}"
    )

    def once() -> list[int]:
        with held(code, lines=2) as (run, _):
            run.process.send_signal(signal.SIGTERM)
            assert run.gone()
            return run.left(0.1)

    assert set(STATES) == set(State) - {State.KILLING}
    assert in_time(once) == []


def test_killed_while_the_next_process_is_starting() -> None:
    """A service that dies and comes back all the time, without a delay: whenever the supervisor is killed, nothing is left."""
    services = "sh('one', '(sleep 1000 & exec sleep 1000) & exit 1', ready=None, restart=Restart(base=0, limit=None), stop=['KILL'])"
    for _ in range(2):
        with held(script(services, "watch(s, 'one', 'exited')"), lines=40) as (run, _):
            run.process.kill()
            assert run.gone()
            run.hold()
            assert run.left(1) == []


def test_a_guardian_that_is_killed_is_replaced_and_told_all() -> None:
    """The next one knows of what was started before it, and kills that with the supervisor."""
    more = "s.on_event(lambda r: r.service == 'guardian' and os.write(1, f'{r.text}\\n'.encode()))"
    with held(script("sh('one', TREE)", "watch(s, 'one', 'running')", "", more), lines=2) as (run, _):
        first = guardian_of(run.process.pid)
        os.kill(first, signal.SIGKILL)
        assert run.line() == "it has killed by SIGKILL; another one takes its place"
        until_guardian(run.process.pid, first)
        run.hold()
        run.process.kill()
        assert run.left(1) == []


def guardian_of(pid: int) -> int:
    """The number of a supervisor's guardian; 0 while there is none."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError):
            if b"guardian.py" in Path(f"/proc/{child}/cmdline").read_bytes() and state_of(int(child)) in "SR":
                return int(child)
    return 0


def until_guardian(pid: int, other_than: int) -> int:
    """Wait until there is another guardian that waits for messages, having taken all that came before."""
    import time

    end = time.monotonic() + 5
    while time.monotonic() < end:
        found = guardian_of(pid)
        if found not in (0, other_than):
            text = Path(f"/proc/{found}/syscall").read_text()
            if text.startswith("47 "):  # recvmsg
                return found
        os.sched_yield()
    raise AssertionError("no other guardian has come")


def test_guardians_that_die_at_once_do_not_keep_it_busy() -> None:
    """The second one that dies soon is replaced a second later: the loop runs on, and so do the services."""

    def kill(supervisor: Noting) -> None:
        supervisor.noted.append(guardian_of(os.getpid()))
        os.kill(supervisor.noted[-1], signal.SIGKILL)

    def again(supervisor: Noting) -> None:
        if guardian_of(os.getpid()) in (0, supervisor.noted[0]):
            supervisor.loop.call_later(0.01, again, supervisor)
            return
        kill(supervisor)
        supervisor.loop.call_later(0.3, last, supervisor)

    def last(supervisor: Noting) -> None:
        supervisor.noted.append(guardian_of(os.getpid()))
        down(supervisor)

    outcome = supervise(
        [Service("one", FOREVER)], ("one", "running", kill), prepare=lambda s: s.loop.call_later(0.1, again, s)
    )
    assert outcome.noted[2] == 0
    assert [n.service for n in outcome.notices] == ["guardian", "guardian"]
    assert outcome.path("one") == ["starting", "running", "stopping", "stopped"]


def test_keep_leaves_all() -> None:
    """on_death="keep": there is no guardian, and the services live on."""
    with held(script("sh('one', TREE)", "watch(s, 'one', 'running')", "on_death='keep'"), lines=2) as (run, _):
        before = len(run.pids)
        run.process.kill()
        run.process.wait()
        assert before >= 4
        assert len(run.left(0.1)) >= 4  # the shells' little sleeps come and go
        for pid in marked(run.token):
            with suppress(FileNotFoundError, ProcessLookupError):  # one of the little sleeps
                assert b"guardian" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_an_ordinary_end_leaves_nothing_either() -> None:
    """SIGTERM: all stops in order, and the guardian goes last."""
    services = "sh('one', TREE, stop=['TERM', 0.05, 'KILL'])"
    more = "s.services.pop('tree'); s.instances.pop('tree')"
    code = script(services, "watch(s, 'one', 'running')", "", more)
    with held(code, lines=1) as (run, _):
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(10) == 0
        assert marked(run.token) == []


# ---- what gets away ----


@pytest.mark.parametrize("marked_", [True, False])
def test_what_is_in_a_session_of_its_own_when_the_supervisor_is_killed(tmp_path: Path, marked_: bool) -> None:
    """It is in no group that the guardian holds, and is found by its mark; without that it takes a cgroup (the next test)."""
    path = tmp_path / "pid"
    clean = "" if marked_ else "env -u RAWSYS_MARK "
    code = f"({clean}setsid sh -c 'echo $$ > {path}; echo >&3; exec sleep 1000' &); exec sleep 1000"
    with held(script(f"sh('one', {code!r})", "watch(s, 'one', 'running')", "own_process=True"), lines=2) as (run, _):
        run.process.kill()
        escaped = int(path.read_text())
        assert run.left(0.5) == ([] if marked_ else [escaped])


def unified() -> Path:
    """A cgroup v2 file system that can be written."""
    need_root()
    for place in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (place / "cgroup.procs").exists() and os.access(place, os.W_OK):
            return place
    pytest.skip("no cgroup v2 that can be written")


def remove(group: Path) -> None:
    """Remove a cgroup; those that were killed in it leave it in a moment."""
    import time

    end = time.monotonic() + 5
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            os.sched_yield()


def test_a_cgroup_keeps_it(tmp_path: Path) -> None:
    """With a cgroup the guardian kills what is in a session of its own as well."""
    group = unified() / f"rawsys-test-{os.getpid()}"
    group.mkdir()
    try:
        path = tmp_path / "pid"
        code = f"(env -u RAWSYS_MARK setsid sh -c 'echo $$ > {path}; echo >&3; exec sleep 1000' &); exec sleep 1000"
        services = f"sh('one', {code!r}, cgroup={str(group)!r})"
        with held(script(services, "watch(s, 'one', 'running')"), lines=2) as (run, _):
            run.process.kill()
            assert run.left(0.5) == []
            assert state_of(int(path.read_text())) in "XZ"
    finally:
        remove(group)


def test_what_left_its_session_is_ended_with_its_service_by_the_cgroup(tmp_path: Path) -> None:
    """No subreaper, an empty environment: the members of the cgroup are found, asked, and gone before stopped is told."""
    group = unified() / f"rawsys-test-{os.getpid()}"
    group.mkdir()
    try:
        path = tmp_path / "pid"
        code = f"(env -i setsid sh -c 'echo $$ > {path}; echo >&3; exec /bin/sleep 1000' &); exec sleep 1000"
        service = Service("one", ["sh", "-c", code], ready="fd", cgroup=str(group), stop=["TERM", 0.1, "KILL"])
        outcome = supervise(
            [service],
            ("one", "running", lambda s: s.stop("one")),
            ("one", "stopped", lambda s: (s.noted.append(state_of(int(path.read_text()))), down(s))),  # type: ignore[attr-defined]
        )
        assert outcome.noted[0] in "XZ"
        assert outcome.path("one")[-3:] == ["stopping", "killing", "stopped"]
    finally:
        remove(group)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter, which pytest's is not."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def set_uid_program(folder: Path, owner: int, code: str = "") -> Path:
    """A program that runs as its owner, says that it runs, and waits for ever."""
    need_root()
    source, program = folder / "wait.c", folder / "wait"
    source.write_text(
        f'#define _GNU_SOURCE\n#include <unistd.h>\nint main(void) {{ {code} write(3, "\\n", 1); for (;;) pause(); }}\n'
    )
    subprocess.run([need("gcc"), "-O1", "-w", "-o", program, source], check=True)
    shutil.chown(program, owner)
    program.chmod(0o4755)
    return program


def test_a_set_uid_program_loses_the_death_signal_and_the_guardian_kills_it(tmp_path: Path) -> None:
    """The kernel clears the death signal at the exec of a set-uid program; its group is held by the guardian, run by root."""
    program = set_uid_program(tmp_path, 65534)
    services = f"Service('one', [{str(program)!r}], ready='fd')"
    for options, lives in (("on_death='keep'", True), ("", False)):
        with held(script(services, "watch(s, 'one', 'running')", options), lines=2) as (run, _):
            run.process.kill()
            left = run.left(0.2 if lives else 1)
            assert any(Path(f"/proc/{pid}/comm").read_text() == "wait\n" for pid in left) is lives


@pytest.mark.parametrize("target", ["group", "main"])
def test_a_program_of_another_user_that_we_may_not_signal(open_folder: Path, target: str) -> None:
    """An ordinary user's supervisor cannot end a program that became root: it stays in killing until that ends by itself."""
    open_folder.chmod(0o755)
    program = set_uid_program(open_folder, 0, "setresuid(0, 0, 0);")

    def prepare(supervisor: Noting) -> None:
        reading, writing = os.pipe()
        supervisor.noted.append(writing)
        if os.fork() == 0:  # the hand that ends it at last: it stays root
            os.close(writing)
            pid = int(os.read(reading, 100))
            os.kill(pid, signal.SIGKILL)
            os._exit(0)
        os.close(reading)
        os.setresuid(65534, 65534, 65534)

    outcome = supervise(
        [Service("one", [str(program)], ready="fd", stop=["TERM", 0.05, "KILL"], stop_target=target)],
        ("one", "running", lambda s: s.stop("one")),
        ("one", "killing", lambda s: os.write(s.noted.pop(), b"%d" % s.named("one")[0].pid)),  # type: ignore[attr-defined]
        ("one", "stopped", down),
        prepare=prepare,
        on_death="keep",
    )
    assert outcome.path("one") == ["starting", "running", "stopping", "killing", "stopped"]


def test_the_death_signal_comes_to_the_leaders_without_a_guardian() -> None:
    """Both were killed, the guardian first and frozen so that no other one comes: the leaders die by the kernel's hand."""
    with held(script("sh('one', TREE)", "watch(s, 'one', 'running')"), lines=2) as (run, _):
        leaders = list(map(int, Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()))
        guardian = guardian_of(run.process.pid)
        leaders.remove(guardian)
        os.kill(run.process.pid, signal.SIGSTOP)
        os.kill(guardian, signal.SIGKILL)
        run.process.kill()
        late = run.left(0.5)
        assert not set(late) & set(leaders)
        assert len(leaders) == 2 <= len(late)  # their grandchildren, which only the guardian held


def test_the_guardian_outlives_signals_to_the_terminal() -> None:
    """An interrupt, a hang-up: it is in a session of its own, and what comes all the same is blocked."""

    def body() -> bool:
        from rawsys.supervisor import Supervisor

        supervisor = Supervisor()
        supervisor.add(Service("one", FOREVER))
        found: list[bool] = []

        def look() -> None:
            guardian = guardian_of(os.getpid())
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
                os.kill(guardian, number)
            fd = os.pidfd_open(guardian)
            found.append(readable(fd, 0.1) or os.getsid(guardian) != guardian)
            os.close(fd)
            supervisor.shutdown()

        supervisor.loop.call_later(0.2, look)
        supervisor.run()
        return found[0]

    assert in_child(body) is False
