"""Every attribute of Command: its effect read from the child's /proc, alone and with all others, and a bad value."""

from __future__ import annotations

import inspect
import os
import pty
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import in_child, need_root, readable

from rawsys import NULL, PIPE, Child, Command, Fd, Program, raw, structs
from rawsys.command import Capabilities
from rawsys.constants import (
    CAP_CHOWN,
    CAP_KILL,
    CAP_NET_BIND_SERVICE,
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    IOPRIO_CLASS_BE,
    PR_SET_DUMPABLE,
    RLIMIT_CORE,
    RLIMIT_NOFILE,
    SCHED_BATCH,
    SIGHUP,
    SIGKILL,
    SIGTERM,
    SIGUSR1,
    SIGUSR2,
)
from rawsys.errors import BusyError, RefusedCallError
from rawsys.table import TABLE


def asleep(child: Child) -> None:
    """Wait until a `sleep` sleeps: exec, the loader and its own opening of files are past."""
    while True:
        with open(f"/proc/{child.pid}/syscall") as file:
            if file.read().startswith("230 "):  # clock_nanosleep
                return
        assert child.is_running()
        os.sched_yield()


@contextmanager
def sleeping(command: Command) -> Iterator[Child]:
    """A child of this command that sleeps."""
    child = command.replace("/bin/sleep", "100").spawn()
    try:
        asleep(child)
        yield child
    finally:
        child.kill()
        child.wait()
        child.close()


def status(child: Child) -> dict[str, str]:
    with open(f"/proc/{child.pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def stat(child: Child) -> list[str]:
    """The fields of /proc/pid/stat from the third on."""
    return Path(f"/proc/{child.pid}/stat").read_text().rsplit(") ", 1)[1].split()


def proc(child: Child, name: str) -> str:
    return Path(f"/proc/{child.pid}/{name}").read_text()


def environ(child: Child) -> list[bytes]:
    return Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")[:-1]


def limits(child: Child, resource_number: int) -> tuple[int, int]:
    assert resource_number == RLIMIT_NOFILE
    line = next(line for line in proc(child, "limits").splitlines() if line.startswith("Max open files"))
    soft, hard = line.split()[3:5]
    return int(soft), int(hard)


def link(child: Child, name: str) -> str:
    return os.readlink(f"/proc/{child.pid}/{name}")


def mask(*signals: int) -> str:
    return f"{sum(1 << s - 1 for s in signals):016x}"


def capabilities(*numbers: int) -> str:
    return f"{sum(1 << number for number in numbers):016x}"


def made_umask() -> Program:
    steps = Program()
    steps.umask(0o35)
    return steps


def ioprio(child: Child) -> int:
    return raw.ioprio_get(1, child.pid)


# Attribute: (value, what is read, what it has to be).  Those that need more than a line have a test of their own below.
CASES: dict[str, tuple[Any, Callable[[Child], Any], Any]] = {
    "env": ({"A": "1"}, lambda c: b"A=1" in environ(c), True),
    "extra_env": ({"B": "2"}, lambda c: b"B=2" in environ(c), True),
    "cwd": ("/usr", lambda c: link(c, "cwd"), "/usr"),
    "stdin": (NULL, lambda c: link(c, "fd/0"), "/dev/null"),
    "stdout": ("/dev/full", lambda c: link(c, "fd/1"), "/dev/full"),
    "stderr": (PIPE, lambda c: link(c, "fd/2")[:5], "pipe:"),
    "fds": ({17: 0}, lambda c: sorted(os.listdir(f"/proc/{c.pid}/fd")), ["0", "1", "17", "2"]),
    "executable": ("/bin/sleep", lambda c: os.path.basename(link(c, "exe")), "sleep"),
    "argv0": ("zzz", lambda c: proc(c, "cmdline"), "zzz\x00100\0"),
    "user": (12345, lambda c: status(c)["Uid"], "12345\t12345\t12345\t12345"),
    "group": (23456, lambda c: status(c)["Gid"], "23456\t23456\t23456\t23456"),
    "groups": ([7, "daemon"], lambda c: status(c)["Groups"].split(), ["1", "7"]),
    "umask": (0o27, lambda c: status(c)["Umask"], "0027"),
    "nice": (7, lambda c: stat(c)[16], "7"),
    "rlimits": ({RLIMIT_CORE: 0, RLIMIT_NOFILE: (47, 59)}, lambda c: limits(c, RLIMIT_NOFILE), (47, 59)),
    "affinity": ([0], lambda c: status(c)["Cpus_allowed_list"], "0"),
    "scheduling": ((SCHED_BATCH, 0), lambda c: stat(c)[38], str(int(SCHED_BATCH))),
    "ioprio": ((IOPRIO_CLASS_BE, 6), ioprio, int(IOPRIO_CLASS_BE) << 13 | 6),
    "oom_score_adj": (321, lambda c: proc(c, "oom_score_adj"), "321\n"),
    "new_session": (True, lambda c: os.getsid(c.pid) == c.pid, True),
    "parent_death_signal": (SIGHUP, lambda c: c.is_running(), True),
    "parent_death_any_thread": (True, lambda c: c.is_running(), True),
    "signal_mask": ([SIGUSR1, SIGUSR2], lambda c: status(c)["SigBlk"], mask(SIGUSR1, SIGUSR2)),
    "default_signals": ([SIGUSR1], lambda c: status(c)["SigIgn"], mask()),
    "no_new_privs": (True, lambda c: status(c)["NoNewPrivs"], "1"),
    "capabilities": (
        ({CAP_CHOWN, CAP_KILL}, {CAP_KILL}),
        lambda c: (status(c)["CapBnd"], status(c)["CapAmb"]),
        (capabilities(CAP_CHOWN, CAP_KILL), capabilities(CAP_KILL)),
    ),
    "securebits": (0x10, lambda c: c.is_running(), True),
    "subreaper": (True, lambda c: c.is_running(), True),
    "personality": (0x0040000, lambda c: proc(c, "personality"), "00040000\n"),
    "namespaces": (int(CLONE_NEWUTS), lambda c: link(c, "ns/uts") != os.readlink("/proc/self/ns/uts"), True),
    "root": ("/", lambda c: link(c, "root"), "/"),
    "steps": (made_umask(), lambda c: c.is_running(), True),
}
PRIVILEGED = {"user", "group", "groups", "capabilities", "securebits", "namespaces", "root"}
OWN_TESTS = {"argv", "process_group", "controlling_tty", "cgroup"}


def test_every_attribute_has_its_test() -> None:
    """The cases here are the attributes of Command's signature."""
    assert {*CASES, *OWN_TESTS} == set(inspect.signature(Command).parameters)


@pytest.mark.parametrize("name", list(CASES))
def test_alone(name: str) -> None:
    """One attribute has its effect, and the rest of the child is as without it."""
    if name in PRIVILEGED:
        need_root()
    value, look, expected = CASES[name]
    with sleeping(Command("x", **{name: value})) as child:
        assert look(child) == expected


def test_all_together() -> None:
    """All attributes at once, each with its effect: the order of the steps lets every one work."""
    need_root()
    given = {name: value for name, (value, _, _) in CASES.items()}
    with sleeping(Command("x", **given)) as child:
        wrong = {}
        for name, (_, look, expected) in CASES.items():
            found = look(child)
            if name == "umask":
                expected = "0035"  # the caller's steps come later
            if found != expected:
                wrong[name] = (found, expected)
        assert not wrong


UNKNOWN = 1 << 30
BAD: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"cwd": "/nope"}, FileNotFoundError),
    ({"cwd": 987}, OSError),
    ({"stdout": "/nope/x"}, FileNotFoundError),
    ({"user": "nobody-of-that-name"}, LookupError),
    ({"user": -1}, ValueError),
    ({"user": 1.5}, TypeError),
    ({"group": "no-such-group"}, LookupError),
    ({"group": True}, TypeError),
    ({"groups": ["no-such-group"]}, LookupError),
    ({"groups": [2**32]}, ValueError),
    ({"umask": 0o1000}, ValueError),
    ({"umask": "022"}, TypeError),
    ({"nice": 1.5}, TypeError),
    ({"nice": 2**40}, OverflowError),
    ({"rlimits": {999: 1}}, OSError),
    ({"rlimits": {RLIMIT_NOFILE: (10, 5)}}, OSError),
    ({"rlimits": {RLIMIT_NOFILE: -5}}, ValueError),
    ({"affinity": [9999]}, OSError),
    ({"affinity": []}, OSError),
    ({"affinity": [-1]}, ValueError),
    ({"scheduling": (77, 0)}, OSError),
    ({"scheduling": (1, 2, 3)}, ValueError),
    ({"ioprio": (7, 0)}, OSError),
    ({"oom_score_adj": 5000}, OSError),
    ({"oom_score_adj": "x"}, TypeError),
    ({"new_session": True, "process_group": 0}, ValueError),
    ({"process_group": -1}, ValueError),
    ({"process_group": 1}, PermissionError),
    ({"controlling_tty": "/dev/null"}, ValueError),
    ({"controlling_tty": "/dev/null", "new_session": True}, OSError),
    ({"parent_death_signal": 99}, ValueError),
    ({"signal_mask": [99]}, ValueError),
    ({"signal_mask": [32]}, ValueError),
    ({"default_signals": [SIGKILL]}, ValueError),
    ({"default_signals": [65]}, ValueError),
    ({"capabilities": ({1}, {99})}, ValueError),
    ({"capabilities": ({1}, {62})}, OSError),
    ({"capabilities": 5}, TypeError),
    ({"securebits": 1 << 20}, OSError),
    ({"personality": "x"}, TypeError),
    ({"namespaces": 0x100}, ValueError),
    ({"namespaces": int(CLONE_NEWUSER), "groups": [1]}, ValueError),
    ({"namespaces": int(CLONE_NEWUSER), "user": "root"}, ValueError),
    ({"root": "/nope"}, FileNotFoundError),
    ({"root": 5}, TypeError),
    ({"cgroup": "/nope"}, FileNotFoundError),
    ({"cgroup": "/tmp"}, OSError),
    ({"steps": 5}, TypeError),
]


@pytest.mark.parametrize(("attributes", "error"), BAD, ids=lambda v: str(v)[:40])
def test_a_bad_value(attributes: dict[str, Any], error: type[Exception]) -> None:
    """The right exception, nothing leaked, no child (52)."""
    with pytest.raises(error):
        Command("true", **attributes).spawn()


def test_a_step_that_fails_is_named() -> None:
    """The error says which call failed in the child."""
    with pytest.raises(OSError) as caught:
        Command("true", affinity=[9999]).spawn()
    assert caught.value.__notes__[0].startswith("in the child: sched_setaffinity(0, 1256, ")


def test_limits_above_hard_as_an_ordinary_user() -> None:
    """EPERM from the kernel, in the child, as PermissionError; and so for every other privilege."""
    need_root()

    def work() -> list[str]:
        Command("/bin/true").run()
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        asked: list[dict[str, Any]] = [
            {"rlimits": {RLIMIT_NOFILE: hard + 1}}, {"user": 0}, {"group": 0}, {"groups": []}, {"nice": -5}, {"root": "/"},
            {"namespaces": int(CLONE_NEWUTS)}, {"capabilities": ((), None)}, {"securebits": 1},
        ]  # fmt: skip
        names = []
        for attributes in asked:
            with pytest.raises(PermissionError) as caught:
                Command("/bin/true", **attributes).spawn()
            names.append(caught.value.__notes__[0].removeprefix("in the child: ").split("(")[0])
        return names

    assert in_child(work) == [
        "prlimit64", "setresuid", "setresgid", "setgroups", "setpriority", "chroot", "in clone3 with CLONE_NEWUTS", "prctl", "prctl",
    ]  # fmt: skip


def test_process_group() -> None:
    """0 is a new group; a number joins that of a child which is there already."""
    with sleeping(Command("x", process_group=0)) as leader:
        assert os.getpgid(leader.pid) == leader.pid
        with sleeping(Command("x", process_group=leader.pid)) as other:
            assert os.getpgid(other.pid) == leader.pid
    with sleeping(Command("x")) as plain:
        assert os.getpgid(plain.pid) == os.getpgrp()


def test_controlling_tty() -> None:
    """The session's terminal, by path or Fd."""
    main, second = pty.openpty()
    try:
        for tty in (os.ttyname(second), second):
            with sleeping(Command("x", new_session=True, controlling_tty=tty)) as child:
                assert int(stat(child)[4]) == os.stat(os.ttyname(second)).st_rdev
                assert len(os.listdir(f"/proc/{child.pid}/fd")) == 3
    finally:
        os.close(main)
        os.close(second)


def test_cgroup() -> None:
    """The child is born in the cgroup."""
    need_root()
    top = (
        Path("/sys/fs/cgroup/unified")
        if Path("/sys/fs/cgroup/unified/cgroup.procs").exists()
        else Path("/sys/fs/cgroup")
    )
    if not (top / "cgroup.procs").exists() or not (top / "cgroup.controllers").exists():
        pytest.skip("no cgroup v2 is mounted")
    place = top / f"rawsys-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        with sleeping(Command("x", cgroup=place)) as child:
            assert f"0::/{place.name}\n" in proc(child, "cgroup")
        with Fd.open(place, os.O_DIRECTORY) as fd, sleeping(Command("x", cgroup=fd)) as child:
            assert f"0::/{place.name}\n" in proc(child, "cgroup")
    finally:
        place.rmdir()


def test_a_user_by_name_brings_its_groups() -> None:
    """By name: the account's group and groups, unless given; by number: only the user."""
    need_root()
    shown = Command("id", user="nobody").output(text=True).stdout
    assert "uid=65534" in shown and "gid=65534" in shown and "groups=65534" in shown
    with sleeping(Command("x", user="nobody", group=5, groups=[])) as child:
        found = status(child)
        assert found["Gid"].split()[0] == "5" and found["Groups"].split() == []
    with sleeping(Command("x", user=65534)) as child:
        assert status(child)["Gid"].split()[0] == str(os.getgid())


def test_scheduling_by_structure() -> None:
    """A sched_attr of structs, its size filled in where it was left out."""
    attr = structs.sched_attr(sched_policy=int(SCHED_BATCH), sched_nice=9)
    with sleeping(Command("x", scheduling=attr)) as child:
        assert (stat(child)[38], stat(child)[16]) == ("3", "9")


def test_ambient_capabilities_of_an_ordinary_user() -> None:
    """A user that is not root keeps just the capabilities asked for, over setresuid and exec; the others go."""
    need_root()
    wanted = Capabilities(bounding={CAP_NET_BIND_SERVICE, CAP_CHOWN}, ambient={CAP_NET_BIND_SERVICE})
    with sleeping(Command("x", user=65534, group=65534, groups=[], capabilities=wanted, no_new_privs=True)) as child:
        found = status(child)
        only = capabilities(CAP_NET_BIND_SERVICE)
        assert (found["CapEff"], found["CapPrm"], found["CapInh"], found["CapAmb"]) == (only, only, only, only)
        assert found["CapBnd"] == capabilities(CAP_NET_BIND_SERVICE, CAP_CHOWN) and found["Uid"].startswith("65534")
    with sleeping(Command("x", user=65534, capabilities=(set(), None))) as child:
        found = status(child)
        assert {found[n] for n in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")} == {capabilities()}


def test_securebits_and_subreaper_are_set() -> None:
    """Told by the child itself: prctl is the only way to ask."""
    need_root()
    code = "import ctypes, sys; c = ctypes.CDLL(None); b = ctypes.c_int(); c.prctl(37, ctypes.byref(b)); print(c.prctl(27), b.value)"
    import sys

    out = Command(sys.executable, "-S", "-c", code, securebits=0x2F & ~0x10, subreaper=True).output(
        text=True, check=True
    )
    assert out.stdout == "47 1\n"


def test_a_user_namespace() -> None:
    """The child maps our own id: to the user that is asked for, or to itself; an ordinary user may do that."""
    need_root()

    def work() -> list[list[str]]:
        Command("/bin/true").run()
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        raw.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        found = []
        asked: list[dict[str, Any]] = [{}, {"user": 0, "group": 0}]
        for attributes in asked:
            command = Command(
                "/bin/sh", "-c", "id -u; id -g; cat /proc/self/uid_map", namespaces=int(CLONE_NEWUSER), **attributes
            )
            try:
                found.append(command.output(text=True, check=True).stdout.split())
            except PermissionError as error:
                pytest.skip(f"no user namespaces here: {error}")
        return found

    assert in_child(work) == [["65534", "65534", "65534", "65534", "1"], ["0", "0", "0", "65534", "1"]]


def test_several_namespaces() -> None:
    """A PID namespace: the child is 1 there; with a network of its own; the parent death signal uses the pipe."""
    need_root()
    flags = int(CLONE_NEWPID | CLONE_NEWNET)
    out = Command(
        "sh", "-c", "echo $$; cat /proc/net/dev | wc -l", namespaces=flags, parent_death_signal=SIGKILL
    ).output(text=True)
    assert out.stdout.split()[0] == "1"
    with sleeping(Command("x", namespaces=flags, parent_death_signal=SIGKILL, stdin=NULL)) as child:
        assert sorted(os.listdir(f"/proc/{child.pid}/fd")) == ["0", "1", "2"]


def test_root_and_directory(tmp_path: Path) -> None:
    """chroot, and cwd inside it; without cwd the child stands at the new root."""
    need_root()
    (tmp_path / "in").mkdir()
    steps = Program()
    steps.openat(-100, "/in", os.O_DIRECTORY, 0)
    asked: list[dict[str, Any]] = [{}, {"cwd": "/in"}]
    for attributes in asked:
        command = Command("/bin/true", root=tmp_path, steps=steps, **attributes)
        with pytest.raises(FileNotFoundError):  # nothing to execute in there
            command.spawn()
    with pytest.raises(FileNotFoundError) as caught:
        Command("/bin/true", root=tmp_path, cwd="/etc").spawn()
    assert 'in the child: chdir("/etc")' in caught.value.__notes__


def test_signals_of_the_child() -> None:
    """SIGPIPE and SIGXFSZ are at their default; ignored ones stay so unless named; the mask is the thread's (28, 61)."""

    def work() -> list[tuple[str, str]]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        found = []
        asked: list[dict[str, Any]] = [
            {},
            {"default_signals": [SIGHUP]},
            {"default_signals": True},
            {"signal_mask": []},
        ]
        for attributes in asked:
            with sleeping(Command("x", **attributes)) as child:
                found.append((status(child)["SigIgn"], status(child)["SigBlk"]))
        return found

    usr2, hup, none = mask(SIGUSR2), mask(SIGHUP), mask()
    assert in_child(work) == [(hup, usr2), (none, usr2), (none, usr2), (hup, none)]


def test_parent_death_signal_comes() -> None:
    """When the parent ends, the child gets it; also after a change of credentials, which clears it in the kernel."""
    need_root()
    from rawsys import Pid

    # The first process of a PID namespace is spared by all signals that it does not handle, but SIGKILL from outside.
    asked: list[dict[str, Any]] = [
        {},
        {"user": 65534},
        {"namespaces": int(CLONE_NEWPID), "parent_death_signal": SIGKILL},
    ]
    for attributes in asked:
        read, write = os.pipe()

        def parent(attributes: dict[str, Any] = attributes, write: int = write) -> None:
            Command("sleep", "100", fds={9: write}, **{"parent_death_signal": SIGTERM, **attributes}).spawn().close()

        assert Pid.fork(parent).wait().success
        os.close(write)
        assert readable(read, 10) and os.read(read, 1) == b""  # the sleeper, who alone held the pipe, is gone
        os.close(read)


def test_parent_death_signal_from_another_thread() -> None:
    """It would come at the end of that thread: refused there, unless it is asked for by name."""
    import threading

    errors: list[Exception] = []
    children: list[Child] = []

    def body() -> None:
        try:
            Command("sleep", "100", parent_death_signal=SIGTERM).spawn()
        except RuntimeError as error:
            errors.append(error)
        children.append(Command("sleep", "100", parent_death_signal=SIGTERM, parent_death_any_thread=True).spawn())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert "not the main one" in str(errors[0])
    assert children[0].wait(10).signal is SIGTERM  # the thread has ended


def test_steps_of_the_caller() -> None:
    """A Program between no_new_privs and exec: what it opens and closes, and its failure by name."""
    steps = Program()
    fd = steps.openat(-100, "/dev/null", os.O_RDWR, 0)
    steps.dup3(fd, 21, 0)
    steps.close(fd)
    steps.close_range(21, 21, 0)
    with sleeping(Command("x", steps=steps)) as child:
        assert sorted(os.listdir(f"/proc/{child.pid}/fd")) == ["0", "1", "2"]
    failing = Program()
    failing.getpid()
    failing.openat(-100, "/no/such", os.O_RDONLY, 0)
    with pytest.raises(FileNotFoundError) as caught:
        Command("true", steps=failing).spawn()
    assert (
        caught.value.filename == "/no/such" and 'in the child: openat(AT_FDCWD, "/no/such"' in caught.value.__notes__[0]
    )
    tolerant = Program()
    tolerant.openat(-100, "/no/such", os.O_RDONLY, 0, allow={2})
    assert Command("true", steps=tolerant).run().success
    with pytest.raises(BusyError, match="is in a Command"):  # what was looked at is what runs
        tolerant.getpid()
    asking = Program()
    asking.umask(asking.parameter("mask"))
    with pytest.raises(TypeError, match="without parameters"):
        Command("true", steps=asking).spawn()


def test_steps_that_change_memory_are_refused() -> None:
    """Until exec the child's memory is ours: mmap's family, brk, and prctl's options for memory, by name."""
    for entry in TABLE:
        if "mm" not in entry.traits or not entry.live or entry.status == "refused":
            continue
        steps = Program()
        values = [bytearray(4096) if a.direction else 0 for a in entry.arguments]
        getattr(steps, entry.name)(*values)
        with pytest.raises(RefusedCallError, match=f"{entry.name} is refused in the steps"):
            Command("true", steps=steps)
    for option in (4, 41, 65, 67, 35, 0x53564D41):
        steps = Program()
        steps.prctl(option, 0, 0, 0, 0)
        with pytest.raises(RefusedCallError, match="prctl, PR_SET_"):
            Command("true", steps=steps)
    steps = Program()
    steps.execve("/bin/true", ["true"], [])
    with pytest.raises(RefusedCallError, match="execve"):
        Command("true", steps=steps)


def test_the_second_spawn_is_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command keeps its compiled steps; what they depend on besides is looked at again: environment, mask, accounts."""
    need_root()
    import pwd

    command = Command("x", user="nobody", groups=[])
    with sleeping(command) as child:
        assert status(child)["Uid"].split()[0] == "65534"
    shown = Command("id", "-u", user="nobody", groups=[])
    assert shown.output(text=True).stdout == "65534\n"
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", 4321, 4321, "", "/", "/bin/sh")))
    assert shown.output(text=True).stdout == "4321\n"
    for number in (
        Command("/bin/sh", "-c", "exit $X", user=1234),
        Command("/bin/sh", "-c", "exit $X", extra_env={"Y": "5"}),
    ):
        for code in ("3", "4", "4"):
            monkeypatch.setenv("X", code)
            assert number.run().code == int(code)
    plain = Command("grep", "-q", "^SigBlk:.*0200$", "/proc/self/status")
    assert plain.run().code == 1
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        assert plain.run().code == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    assert plain.run().code == 1
