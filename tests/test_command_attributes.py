"""Every attribute of Command: its effect read from the child's /proc, alone and with all others, and a bad value."""

from __future__ import annotations

import inspect
import os
import pty
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sleepers import (
    build_root,
    capabilities,
    cgroup_made,
    environ,
    limit,
    link,
    mask,
    proc,
    sleeping,
    stat,
    status,
    told,
)
from support import need_root

from rawsys import PIPE, Child, Command, Program, raw
from rawsys.constants import (
    CAP_CHOWN,
    CAP_KILL,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    IOPRIO_CLASS_BE,
    RLIMIT_CORE,
    RLIMIT_NOFILE,
    SCHED_BATCH,
    SIGHUP,
    SIGKILL,
    SIGUSR1,
    SIGUSR2,
)


class Case(NamedTuple):
    """An attribute's value, what is read of the child, and what that has to be, which it is not in a plain child."""

    value: Any
    look: Callable[[Child], Any]
    expected: Any


def made_umask() -> Program:
    steps = Program()
    steps.umask(0o35)
    return steps


def cases(place: Path, tty: str, cgroup: Path) -> dict[str, Case]:
    """`place` is a root with programs that sleep, where its own path leads back to it."""
    first_cpu = min(os.sched_getaffinity(0))
    terminal = os.stat(tty).st_rdev
    given: dict[str, tuple[Any, Callable[[Child], Any], Any]] = {
        "env": ({"A": "1"}, lambda c: [v for v in environ(c) if not v.startswith((b"B=", b"NUMBER="))], [b"A=1"]),
        "extra_env": ({"B": "2"}, lambda c: b"B=2" in environ(c), True),
        "cwd": (f"{place}/usr", lambda c: link(c, "cwd"), f"{place}/usr"),
        "stdin": (
            PIPE,
            lambda c: c.stdin is not None and link(c, "fd/0") == os.readlink(f"/proc/self/fd/{c.stdin.fileno()}"),
            True,
        ),
        "stdout": ("/dev/full", lambda c: link(c, "fd/1"), "/dev/full"),
        "stderr": ("/dev/zero", lambda c: link(c, "fd/2"), "/dev/zero"),
        "fds": ({17: 0}, lambda c: sorted(os.listdir(f"/proc/{c.pid}/fd")), ["0", "1", "17", "2"]),
        "executable": (f"{place}/bin/other", lambda c: link(c, "exe"), f"{place}/bin/other"),
        "argv0": ("zzz", lambda c: proc(c, "cmdline"), "zzz\x00100\0"),
        "user": (12345, lambda c: status(c)["Uid"], "12345\t12345\t12345\t12345"),
        "group": (23456, lambda c: status(c)["Gid"], "23456\t23456\t23456\t23456"),
        "groups": ([7, "daemon"], lambda c: status(c)["Groups"].split(), ["1", "7"]),
        "umask": (0o27, lambda c: status(c)["Umask"], "0027"),
        "nice": (7, lambda c: stat(c)[16], "7"),
        "rlimits": (
            {RLIMIT_CORE: 4096, RLIMIT_NOFILE: (47, 59)},
            lambda c: (limit(c, "Max core file size"), limit(c, "Max open files")),
            (["4096", "4096"], ["47", "59"]),
        ),
        "affinity": ([first_cpu], lambda c: status(c)["Cpus_allowed_list"], str(first_cpu)),
        "scheduling": ((SCHED_BATCH, 0), lambda c: stat(c)[38], str(int(SCHED_BATCH))),
        "ioprio": ((IOPRIO_CLASS_BE, 6), lambda c: raw.ioprio_get(1, c.pid), int(IOPRIO_CLASS_BE) << 13 | 6),
        "oom_score_adj": (321, lambda c: proc(c, "oom_score_adj"), "321\n"),
        "new_session": (True, lambda c: os.getsid(c.pid) == c.pid, True),
        "process_group": (0, lambda c: os.getpgid(c.pid) == c.pid, True),
        "controlling_tty": (tty, lambda c: int(stat(c)[4]), terminal),
        "parent_death_signal": (SIGHUP, lambda c: told(c)[0], int(SIGHUP)),
        "signal_mask": ([SIGUSR1, SIGUSR2], lambda c: status(c)["SigBlk"], mask(SIGUSR1, SIGUSR2)),
        "default_signals": ([SIGUSR1], lambda c: status(c)["SigIgn"], mask(SIGUSR2)),  # the test has both ignored
        "no_new_privs": (True, lambda c: status(c)["NoNewPrivs"], "1"),
        "capabilities": (
            ({CAP_CHOWN, CAP_KILL}, {CAP_KILL}),
            lambda c: (status(c)["CapBnd"], status(c)["CapAmb"]),
            (capabilities(CAP_CHOWN, CAP_KILL), capabilities(CAP_KILL)),
        ),
        "securebits": (0x2F, lambda c: told(c)[1], 0x2F),  # all but KEEP_CAPS, which exec clears
        "subreaper": (True, lambda c: told(c)[2], 1),
        "personality": (0x0040000, lambda c: proc(c, "personality"), "00040000\n"),
        "pid_variable": ("NUMBER", lambda c: b"NUMBER=%d" % c.pid in environ(c), True),
        "namespaces": (int(CLONE_NEWUTS), lambda c: link(c, "ns/uts") != os.readlink("/proc/self/ns/uts"), True),
        "root": (place, lambda c: link(c, "root"), str(place)),
        "cgroup": (cgroup, lambda c: f"0::/{cgroup.name}\n" in proc(c, "cgroup"), True),
        "steps": (made_umask(), lambda c: status(c)["Umask"], "0035"),
    }  # fmt: skip
    return {name: Case(*case) for name, case in given.items()}


NAMES = list(cases(Path("/"), "/dev/null", Path("/")))
PRIVILEGED = {"user", "group", "groups", "capabilities", "securebits", "namespaces", "root", "cgroup"}
OTHERS = {"announce", "argv", "parent_death_any_thread"}
"""The program itself, and what changes nothing in the child: test_command_announce.py has the first one,
test_parent_death_signal_from_another_thread the last."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A root directory that any user can go through, which pytest's own are not."""
    path = Path(tempfile.gettempdir(), f"rawsys-root-{os.getpid()}")
    try:
        build_root(path)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def known(place: Path) -> Iterator[dict[str, Case]]:
    """The cases that can be had here, in a process that ignores SIGUSR1 and SIGUSR2."""
    before = {int(each): bytearray(32) for each in (SIGUSR1, SIGUSR2)}
    for each, action in before.items():
        raw.rt_sigaction(each, (1).to_bytes(32, "little"), action, 8)  # SIG_IGN, without what libc adds
    ends = pty.openpty()
    try:
        with cgroup_made() as cgroup:
            found = cases(place, os.ttyname(ends[1]), cgroup or Path("/"))
            if cgroup is None:
                del found["cgroup"]
            yield found
    finally:
        for end in ends:
            os.close(end)
        for each, action in before.items():
            raw.rt_sigaction(each, action, None, 8)


def test_every_attribute_has_its_test() -> None:
    """The cases here are the attributes of Command's signature, and each has a bad value."""
    names = set(inspect.signature(Command).parameters) - OTHERS
    assert set(NAMES) == names
    assert names - {name for attributes, _ in BAD for name in attributes} == set()


@pytest.mark.parametrize("name", NAMES)
def test_alone(name: str, known: dict[str, Case], place: Path) -> None:
    """One attribute has its effect, which a child without it does not show."""
    if name in PRIVILEGED:
        need_root()
    if name not in known:
        pytest.skip(f"{name} cannot be had here")
    value, look, expected = known[name]
    given: dict[str, Any] = {"new_session": True} if name == "controlling_tty" else {}
    program = str(place / "bin/sleep")
    with sleeping(Command("x", **given, **{name: value}), program) as child:
        assert look(child) == expected
    with sleeping(Command("x"), program) as child:
        if name != "affinity" or os.sched_getaffinity(0) != set(value):
            assert look(child) != expected


@pytest.mark.parametrize("without", [{"process_group"}, {"new_session", "controlling_tty"}])
def test_all_together(without: set[str], known: dict[str, Case], place: Path) -> None:
    """All attributes that go together at once, each with its effect: the order of the steps lets every one work."""
    need_root()
    given = {name: case.value for name, case in known.items() if name not in without}
    with sleeping(Command("x", **given, parent_death_any_thread=True), str(place / "bin/sleep")) as child:
        wanted = {name: known[name].expected for name in given} | {"umask": "0035"}  # the caller's steps come later
        assert {name: known[name].look(child) for name in given} == wanted


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
    ({"pid_variable": "A=B"}, ValueError),
    ({"announce": b"x"}, TypeError),
    ({"announce": (0, "x")}, TypeError),
    ({"announce": (987, b"x")}, OSError),
    ({"pid_variable": "A", "namespaces": int(CLONE_NEWPID)}, ValueError),
    ({"namespaces": 0x100}, ValueError),
    ({"namespaces": int(CLONE_NEWUSER), "groups": [1]}, ValueError),
    ({"namespaces": int(CLONE_NEWUSER), "user": "root"}, ValueError),
    ({"root": "/nope"}, FileNotFoundError),
    ({"root": 5}, TypeError),
    ({"cgroup": "/nope"}, FileNotFoundError),
    ({"cgroup": 987}, OSError),
    ({"cgroup": "/tmp"}, OSError),
    ({"steps": 5}, TypeError),
    ({"env": {"A=B": "1"}}, ValueError),
    ({"extra_env": {"A": "x\0"}}, ValueError),
    ({"stdin": "/nope"}, FileNotFoundError),
    ({"stderr": 987}, OSError),
    ({"fds": {5: 987}}, OSError),
    ({"executable": "/nope"}, FileNotFoundError),
    ({"argv0": "a\0b"}, ValueError),
    ({"new_session": "no"}, TypeError),
    ({"no_new_privs": "no"}, TypeError),
    ({"subreaper": 1}, TypeError),
    ({"parent_death_any_thread": 0}, TypeError),
]


@pytest.mark.parametrize(("attributes", "error"), BAD, ids=lambda v: str(v)[:40])
def test_a_bad_value(attributes: dict[str, Any], error: type[Exception]) -> None:
    """The right exception, nothing leaked, no child (52)."""
    with pytest.raises(error):
        Command("true", **attributes).spawn()
