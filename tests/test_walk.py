"""Every call of the table is made once for real, so that it fails safely with the errno of its manual page.

tests/data/walk_fail.tsv has the calls and the answers.  They run in children, since some change the process that makes
them (setsid, umask, setuid), each through both doors, and by an ordinary user as well.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from support import ChildFailed, in_child, need_root, rows, run_child

import rawsys.constants  # before an ordinary user needs it, to whom its place may be closed
import rawsys.fd  # noqa: F401
from rawsys import raw, syscalls
from rawsys.errors import RefusedCallError
from rawsys.table import TABLE, Entry

ROWS = {name: (call, frozenset(answer.split("|"))) for name, call, answer, _ in rows("walk_fail.tsv")}
NAMES = {"AT_FDCWD": -100, "BAD": -1, "NULL": None, "EFAULT_ADDR": 1, "NOFILE": "/nonexistent-rawsys", "buf": bytearray}
ALONE = {"pause", "fork", "exit_group", "vhangup", "sync"}
BATCH = 30

DOORS = [raw, syscalls]
USERS = [None, 65534]


def arguments_of(name: str) -> tuple[Any, ...]:
    """The arguments of a row, made anew."""
    call = ROWS[name][0]
    return () if call == "-" else eval(call, {"__builtins__": {}}, NAMES)


def allowed_errnos(entry: Entry) -> set[int]:
    """The numbers of the row's errno names; ENOSYS where this kernel is older than the call."""
    numbers = {getattr(errno, name) for name in ROWS[entry.name][1] if name.startswith("E")}
    release = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in os.uname().release.split(".")[:2])
    since = tuple(map(int, (entry.since or "0.0").split(".")[:2]))
    return numbers | ({errno.ENOSYS} if since > release else set())


def judge_error(entry: Entry, arguments: tuple[Any, ...], error: OSError) -> str:
    """What is wrong with the OSError of a checked call; nothing is the empty string."""
    paths = [v for a, v in zip(entry.arguments, arguments, strict=True) if a.kind == "path" and v is not None]
    if type(error) is not type(OSError(error.errno, "")):
        return f"is a {type(error).__name__}"
    if error.strerror != os.strerror(error.errno or 0):
        return f"says {error.strerror!r}"
    if (error.filename, error.filename2) != (*paths[:2], None, None)[:2]:
        return f"names the files {error.filename!r}, {error.filename2!r}"
    if not error.__notes__[0].startswith(f"in {entry.name}("):
        return f"has the notes {error.__notes__}"
    return ""


def judge_value(entry: Entry, value: Any) -> str:
    """What is wrong with the value of a checked call, by the row's return kind."""
    if entry.returns == "none":
        return "" if value is None else f"gives {value!r}, not None"
    if entry.returns == "fd":
        number = value.fileno()
        value.close()
        return f"left {number} open" if os.path.exists(f"/proc/self/fd/{number}") else ""
    return "" if type(value) is int and value >= 0 else f"gives {value!r}"


def complaint(door: Any, name: str) -> str:
    """Make the call of one row through one door, and say what is not as it should be."""
    entry, answers = TABLE[name], ROWS[name][1]
    arguments = arguments_of(name)
    number, wrong, value = 0, "", None
    try:
        value = getattr(door, name)(*arguments)
        if door is raw:
            number = max(-value, 0) if value >= -4095 else 0
        else:
            wrong = judge_value(entry, value)
    except RefusedCallError:
        return "" if answers == {"refused"} else f"{name}: refused"
    except OSError as error:
        number = error.errno or -1
        wrong = "raised through the raw door" if door is raw else judge_error(entry, arguments, error)
    good = number in allowed_errnos(entry) if number else "ok" in answers
    if not good:
        wrong = f"{wrong} answers {errno.errorcode.get(number, value)}, not {'|'.join(sorted(answers))}"
    return f"{door.__name__}.{name}{arguments} {wrong}" if wrong else ""


def _batch(door: Any, names: list[str], user: int | None) -> list[str]:
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    return [text for name in names if (text := complaint(door, name))]


def walk(door: Any, names: list[str], user: int | None, deadline: float = 10) -> list[str]:
    """Run rows in one child; where it dies or hangs, once more with a child for each row, to name the one."""
    try:
        return in_child(_batch, door, names, user, deadline=deadline)
    except ChildFailed as failure:
        if len(names) == 1:
            return [f"{door.__name__}.{names[0]}: {failure}"]
        alone = [text for name in names for text in walk(door, [name], user)]
        return alone or [f"only together: {names}: {failure}"]


@pytest.fixture(params=USERS, ids=["as we are", "as an ordinary user"])
def user(request: pytest.FixtureRequest) -> int | None:
    """None, or the user to become."""
    if request.param is not None:
        need_root()
    return request.param


@pytest.fixture(params=DOORS, ids=["raw", "checked"])
def door(request: pytest.FixtureRequest) -> Any:
    """The module with the calls."""
    return request.param


def test_the_data_names_every_live_row_exactly_once():
    """No row is left out, refused ones included; each answer is an errno that exists, `ok` or `refused`."""
    names = [row[0] for row in rows("walk_fail.tsv")]
    assert names == [entry.name for entry in TABLE if entry.live]
    assert len(names) == 366
    for name, (_, answers) in ROWS.items():
        assert all(answer in {"ok", "refused"} or hasattr(errno, answer) for answer in answers), name
        assert (answers == {"refused"}) == (TABLE[name].status == "refused"), name
        assert len(arguments_of(name)) == len(TABLE[name].arguments) or answers == {"refused"}, name


def test_every_call_answers_as_its_manual_page_says(door, user):
    """Raw gives -errno; checked raises the OSError subclass, with file names and a note that names the call."""
    names = [name for name in ROWS if name not in ALONE]
    problems = [text for i in range(0, len(names), BATCH) for text in walk(door, names[i : i + BATCH], user)]
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems)


def test_pause_is_ended_by_a_signal(door, user):
    """pause gives EINTR once a handler has run; a timer that repeats comes late enough for one of them to meet it."""

    def go() -> list[str]:
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        found = _batch(door, ["pause"], user)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return found

    assert in_child(go) == []


@pytest.mark.deadline(100)
def test_sync_succeeds(door):
    """sync cannot fail, but may take its time."""
    assert walk(door, ["sync"], None, deadline=90) == []


def test_vhangup_without_a_terminal(door, user):
    """A fresh session has no terminal: root hangs nothing up, anybody else gets EPERM."""

    def go() -> list[str]:
        os.setsid()
        return _batch(door, ["vhangup"], user)

    assert in_child(go) == []


def test_fork_returns_twice(door):
    """0 in the new process, its number in the old one, which reaps it."""

    def go() -> bool:
        pid = door.fork()
        if pid == 0:
            raw.exit_group(5)
        return os.waitpid(pid, 0) == (pid, 5 << 8)

    assert in_child(go)


def test_exit_group_ends_the_process(door):
    """Nothing after it runs, and the status is the argument."""

    def go(function: Callable[[int], Any]) -> None:
        try:
            function(*arguments_of("exit_group"))
        finally:
            os._exit(99)

    end = run_child(go, door.exit_group)
    assert (end.returned, end.exitcode) == (False, 7)
