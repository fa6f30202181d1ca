"""The small tools of examples/ beside the programs that they replace: same status, same output, same effect."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _cffi_backend
import pytest
from support import INTERPRETER, need

import rawsys
from rawsys import Pid, ThreadHandle, proc, sched
from rawsys.signals import blocked
from rawsys.sync import Event

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TOOLS = ("timeout", "taskset", "chrt", "du")
PLACES = os.pathsep.join(
    str(Path(module.__file__ or "").parents[up]) for module, up in ((rawsys, 1), (_cffi_backend, 0))
)
pytestmark = pytest.mark.no_sanitizer


def commands(tool: str) -> list[list[str]]:
    """The beginning of the command line: of the original, and of ours."""
    return [[need(tool)], [INTERPRETER, "-W", "error", str(EXAMPLES / f"{tool}.py")]]


def started(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
    """In a group of its own, so that what it sends to its group does not come here."""
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if not more.get("start_new_session"):
        settings["process_group"] = 0
    return subprocess.Popen(command, env=os.environ | {"LC_ALL": "C", "PYTHONPATH": PLACES}, **settings | more)


def ended(process: subprocess.Popen[bytes], deadline: float = 20) -> tuple[int, bytes, list[str]]:
    """Status, output and first words of complaint; the hint at --help is not compared."""
    try:
        out, err = process.communicate(timeout=deadline)
    finally:
        if process.returncode is None:
            process.kill()
            process.communicate()
    lines = [line for line in err.decode().splitlines() if "--help" not in line]
    return process.returncode, out, [re.sub(r"^\S*/", "", line) for line in lines]


def both(tool: str, *arguments: str, **more: Any) -> tuple[tuple[int, bytes, list[str]], ...]:
    """What the original does, and what ours does."""
    running = [started([*command, *arguments], **more) for command in commands(tool)]
    original, ours = (ended(process) for process in running)
    return original, ours


def until_asleep(pid: int) -> None:
    """Wait until a process waits for something, or is a zombie."""
    process = proc.Process(pid)
    while process.stat().state not in "SZ":
        os.sched_yield()


# ---- all of them ----


@pytest.mark.parametrize("tool", TOOLS)
def test_is_short_and_public(tool: str) -> None:
    """Each has less than 150 lines, no private name of rawsys, and starts no process behind its back."""
    text = (EXAMPLES / f"{tool}.py").read_text("utf-8")
    assert len(text.splitlines()) < 150
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute):
            assert not re.match(r"_(?!_)", node.attr)
        if isinstance(node, ast.ImportFrom):
            assert node.module and not re.search(r"\b_(?!_)", node.module)
            assert not any(name.name.startswith("_") for name in node.names)
    assert not re.search(r"\bsubprocess\b|\bos\.(exec|spawn|system|popen|fork)", text)


# ---- timeout ----

TIMEOUT = {
    "own status": ["5", "sh", "-c", "exit 3"],
    "output": ["5", "sh", "-c", "echo out; echo err >&2"],
    "no limit": ["0", "true"],
    "late": ["0.1", "sleep", "20"],
    "units": ["0.002m", "sleep", "20"],
    "exponent": ["1e-1s", "sleep", "20"],
    "very long": ["1e400", "true"],
    "days": ["10000000d", "true"],
    "signal by name": ["-s", "INT", "0.1", "sleep", "20"],
    "signal by full name": ["--signal=sighup", "0.1", "sleep", "20"],
    "signal by number": ["-s10", "0.1", "sleep", "20"],
    "real-time signal": ["-s", "RTMIN+1", "0.1", "sleep", "20"],
    "signal that kills": ["-s", "KILL", "0.1", "sleep", "20"],
    "signal that kills, foreground": ["--foreground", "-s", "KILL", "0.1", "sleep", "20"],
    "status of the killed": ["--preserve-status", "0.1", "sleep", "20"],
    "kill after, obeying": ["--kill-after=20", "0.1", "sleep", "20"],
    "killed by itself": ["5", "sh", "-c", "ulimit -c 0; kill -SEGV $$"],
    "killed by KILL": ["5", "sh", "-c", "kill -KILL $$"],
    "killed, status kept": ["--preserve-status", "5", "sh", "-c", "kill -USR1 $$"],
    "a stopped one": ["0.2", "sh", "-c", "kill -STOP $$"],
    "its group": ["0.2", "sh", "-c", "sleep 20 & sleep 20"],
    "its mask": ["5", "grep", "SigBlk", "/proc/self/status"],
    "not found": ["5", "no-such-command"],
    "not executable": ["5", "/etc/passwd"],
    "a directory": ["5", "/"],
    "nothing": [],
    "no command": ["5"],
    "no duration": ["five", "true"],
    "wrong unit": ["5x", "true"],
    "not a number": ["nan", "true"],
    "no signal": ["-s", "FOO", "5", "true"],
    "wrong kill": ["-k", "x", "5", "true"],
    "options end": ["5", "-k", "3"],
}


@pytest.mark.parametrize("name", TIMEOUT)
def test_timeout(name: str) -> None:
    """Status, output and message are the original's."""
    original, ours = both("timeout", *TIMEOUT[name])
    if name == "nothing" or name == "no command":
        original, ours = (original[0], b"", []), (ours[0], b"", [])  # the original has only the hint at --help
    assert ours == original


@pytest.mark.parametrize("more", [[], ["--foreground"], ["-v", "--foreground"], ["--preserve-status"]], ids=" ".join)
def test_timeout_kills_what_does_not_listen(more: list[str]) -> None:
    """With -k; the command has SIGTERM blocked from its first instruction on."""
    with blocked(signal.SIGTERM):
        original, ours = both("timeout", *more, "-k", "0.1", "0.1", "sleep", "20")
    assert ours == original
    assert ours[0] == (137 if "--foreground" in more else -9)


@pytest.mark.parametrize("option", ["-9", "--no-such-option"])
def test_timeout_does_not_know_the_option(option: str) -> None:
    """Status 125, in words of its own."""
    original, ours = both("timeout", option, "5", "true")
    assert ours[0] == original[0] == 125
    assert ours[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM])
@pytest.mark.parametrize("more", [[], ["--foreground"], ["--preserve-status"]], ids=" ".join)
def test_timeout_passes_signals_on(number: int, more: list[str]) -> None:
    """What is sent to it reaches the command, whose status counts; SIGALRM is the end of the time."""
    found = []
    waits = "trap 'kill $! 2>/dev/null; echo got it; exit 7' TERM INT HUP QUIT; sleep 20 >&- 2>&- & echo ready; wait"
    for command in commands("timeout"):
        process = started([*command, *more, "20", "sh", "-c", waits])
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        until_asleep(process.pid)  # the original ends by itself where a signal comes before it knows its child
        os.kill(process.pid, number)
        found.append(ended(process))
    assert found[1] == found[0]
    late = number == signal.SIGALRM and more != ["--preserve-status"]
    assert found[0][:2] == (124 if late else 7, b"got it\n")


def test_timeout_in_a_session_of_its_own() -> None:
    """The leader of a session cannot found a group; it has one."""
    original, ours = both("timeout", "0.1", "sleep", "20", start_new_session=True)
    assert ours == original


def test_timeout_leaves_others_alone_in_the_foreground() -> None:
    """With --foreground only the command gets the signal; what it has started lives on."""
    for command in commands("timeout"):
        process = started([*command, "--foreground", "20", "sh", "-c", "sleep 20 >&- 2>&- & echo $!; wait"])
        assert process.stdout
        number = int(process.stdout.readline())
        until_asleep(process.pid)
        os.kill(process.pid, signal.SIGALRM)
        assert ended(process)[0] == 124
        with Pid.open(number) as left:
            assert left.is_running()
            left.kill()


# ---- taskset and chrt ----


@pytest.fixture
def sleepers() -> Iterator[list[int]]:
    """Two processes that do nothing: one for the original, one for ours."""
    processes = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    yield [process.pid for process in processes]
    for process in processes:
        process.kill()
        process.wait()


def each(tool: str, sleepers: list[int], *arguments: str) -> list[tuple[int, bytes, list[str]]]:
    """`both` on a process each; ``PID`` among the arguments is its number, and so it is in what they say."""
    found = []
    for command, pid in zip(commands(tool), sleepers, strict=True):
        status, out, err = ended(started([*command, *(word.replace("PID", str(pid)) for word in arguments)]))
        found.append((status, out.replace(str(pid).encode(), b"PID"), [line.replace(str(pid), "PID") for line in err]))
    return found


def test_taskset_shows_and_sets(sleepers: list[int]) -> None:
    """Masks and lists of a process that runs: the words of the original, and the effect."""
    cpu = min(sched.affinity())
    mask = f"{1 << cpu:#x}"
    steps = [["-p", "PID"], ["-p", mask, "PID"], ["-c", "-p", "PID"], ["-pc", "0-4095:1", "PID"], ["-cp", str(cpu), "PID"],
             ["-ap", "PID"], ["-p", "ffffffff,ffffffff", "PID"], ["--pid", "--cpu-list", f"{cpu},{cpu}-{cpu}", "PID"],
             ["-p", "0", "PID"], ["-p", "zz", "PID"], ["-cp", "1-", "PID"], ["-p", "x"], ["-p", "999999999"]]  # fmt: skip
    for step in steps:
        original, ours = each("taskset", sleepers, *step)
        assert ours == original, step
        assert sched.affinity(sleepers[0]) == sched.affinity(sleepers[1])
    assert sched.affinity(sleepers[1]) == {cpu}


def test_taskset_runs(sleepers: list[int]) -> None:
    """A command gets the processors, our descriptors, and its own status; without one there is an error."""
    cpu = min(sched.affinity())
    show = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    for step in (["-c", str(cpu), *show], [f"{1 << cpu:x}", *show], [f"{1 << cpu:x}", "sh", "-c", "exit 5"],
                 ["1", "no-such-command"], ["1", "/etc/passwd"], ["xyz", "true"], ["1"], []):  # fmt: skip
        original, ours = both("taskset", *step)
        assert ours == original, step
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file:
        both("taskset", "-c", str(cpu), "sh", "-c", f"echo here >/proc/self/fd/{writing}", pass_fds=[writing])
        os.close(writing)
        assert file.read() == b"here\n" * 2


@pytest.mark.parametrize("cpus", [{0}, {0, 1}, {0, 1, 2}, {0, 2}, {1, 2, 5, 6, 7, 9}, {63, 64, 65}, set(range(130))])
def test_taskset_reads_and_writes_lists(cpus: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A list or mask that it writes is read back as the same processors; ranges begin at three."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import taskset

    try:
        assert taskset.cpus_of(taskset.shown(frozenset(cpus), True), True) == cpus
        assert taskset.cpus_of(taskset.shown(frozenset(cpus), False), False) == cpus
        assert taskset.shown(frozenset({0, 1, 4, 5, 6, 9}), True) == "0,1,4-6,9"
        assert taskset.cpus_of("0-8:4,3", True) == {0, 3, 4, 8}
    finally:
        del sys.modules["taskset"]


@pytest.mark.parametrize("tool", ["taskset", "chrt"])
def test_bad_usage(tool: str) -> None:
    """Status 1; the original takes the option for a number."""
    for words in (["-p"], ["-Q"], ["--no-such-option"]):
        original, ours = both(tool, *words)
        assert ours[:2] == original[:2] == (1, b"")
        assert ours[2]


@pytest.mark.parametrize("tool", ["taskset", "chrt"])
def test_all_threads_of_a_process(tool: str) -> None:
    """-a shows each thread, in the order of their numbers."""
    leave = Event()
    threads = [ThreadHandle.spawn(leave.wait) for _ in range(2)]
    try:
        original, ours = both(tool, "-a", "-p", str(os.getpid()))
    finally:
        leave.set()
        for thread in threads:
            thread.join()
    assert ours == original
    assert ours[1].count(b"pid ") >= 3


def test_chrt_shows_and_sets(sleepers: list[int]) -> None:
    """Policies and priorities of a process that runs: the words of the original, and the effect."""
    for step in (["-p", "PID"], ["-b", "-p", "0", "PID"], ["-p", "PID"], ["-i", "-p", "0", "PID"], ["-v", "-p", "PID"],
                 ["-f", "-p", "10", "PID"], ["-p", "PID"], ["-v", "-r", "-p", "5", "PID"], ["-R", "-f", "-p", "6", "PID"],
                 ["--pid", "PID"], ["-p", "7", "PID"], ["-p", "PID"], ["-o", "-p", "0", "PID"], ["--batch", "--pid", "0", "PID"],
                 ["-a", "-o", "-p", "0", "PID"], ["-o", "-p", "1", "PID"], ["-f", "-p", "100", "PID"], ["-f", "-p", "x", "PID"],
                 ["-p", "x"], ["-p", "999999999"], ["-f", "-p", "1", "999999999"]):  # fmt: skip
        original, ours = each("chrt", sleepers, *step)
        assert ours == original, step
        assert sched.policy(sleepers[0]) == sched.policy(sleepers[1])


def test_chrt_runs() -> None:
    """A command gets the policy, and its own status; without one there is an error."""
    show = ["sh", "-c", "chrt -p $$ | sed 's/pid [0-9]*/pid N/'"]
    for step in (["-b", "0", *show], ["-i", "0", *show], ["-f", "3", *show], ["2", *show], ["-o", "0", "sh", "-c", "exit 5"],
                 ["-b", "0", "no-such-command"], ["-b", "0", "/etc/passwd"], ["-b", "x", "true"], ["-b", "0"], ["-b"], []):  # fmt: skip
        original, ours = both("chrt", *step)
        assert ours == original, step


def test_chrt_shows_the_priorities() -> None:
    """-m: a line of the original for each policy that ours knows."""
    original, ours = both("chrt", "-m")
    assert ours[0] == original[0] == 0
    assert len(ours[1].splitlines()) == 6
    assert set(ours[1].splitlines()) <= set(original[1].splitlines())


# ---- du ----


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of several depths, files of many sizes, holes, links of both kinds, odd names."""
    root = tmp_path_factory.mktemp("du")
    for number in range(300):
        folder = root / f"many/{number % 7}" / ("deep/" * (number % 5))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}").write_bytes(b"x" * (number * 37))
    (root / "empty").mkdir()
    (root / "new\nline and ' quote").mkdir()
    (root / "new\nline and ' quote" / os.fsdecode(b"\xff")).write_bytes(b"y" * 5000)
    with open(root / "hole", "wb") as file:
        file.truncate(1 << 30)
    (root / "large").write_bytes(bytes(3 << 20))
    (root / "link").symlink_to("large")
    (root / "dangling").symlink_to("nowhere")
    (root / "folder link").symlink_to("many")
    os.link(root / "large", root / "many" / "0" / "the same")
    os.link(root / "many" / "1" / "deep" / "file1", root / "again")
    os.mkfifo(root / "pipe")
    return root


def _apparent(options: list[str]) -> bool:
    return any("b" in option for option in options if not option.startswith("--")) or "--bytes" in options


@pytest.mark.parametrize(
    "options",
    [[], ["-s"], ["-a"], ["-h"], ["-b"], ["-ab"], ["-ah"], ["-sh"], ["-d1"], ["-d", "0"], ["-a", "-d", "2"], ["--max-depth=3"],
     ["--summarize", "--bytes"], ["--all", "--human-readable"]],
    ids=" ".join,
)  # fmt: skip
def test_du(tree: Path, options: list[str]) -> None:
    """Every line of the original, in its order."""
    version = subprocess.run([need("du"), "--version"], capture_output=True, check=True, text=True).stdout.split()[3]
    if _apparent(options) and tuple(map(int, version.split("."))) >= (9, 2):
        pytest.skip("from coreutils 9.2 on -b leaves out the lengths of directories, which this tool counts")
    os.sync()  # some file systems give room to a file when they write it
    original, ours = both("du", *options, cwd=tree)
    assert ours == original
    assert ours[0] == 0 and ours[1]


@pytest.mark.parametrize(
    "arguments",
    [["many", "large"], ["many", "many"], ["many/", "many"], ["many/0", "many"], ["many", "many/0"], ["large", "many/0/the same"],
     ["-a", "again", "many", "link", "folder link"], ["link"], ["folder link"], ["folder link/"], ["hole", "pipe"], ["./many/"],
     ["nowhere"], ["nowhere", "empty"], ["dangling", "large/x"], ["-s", "many", "empty"]],
    ids=" ".join,
)  # fmt: skip
def test_du_of_arguments(tree: Path, arguments: list[str]) -> None:
    """Several arguments count what they have in common once; what cannot be found is told, and the others are counted."""
    original, ours = both("du", *arguments, cwd=tree)
    assert ours == original


def test_du_cannot_look(tree: Path) -> None:
    """A directory that may not be read is told and counts itself."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    closed = tree / "closed"
    closed.mkdir(mode=0)
    try:
        original, ours = both("du", "closed", "empty", cwd=tree)
    finally:
        closed.rmdir()
    assert ours == original
    assert ours[0] == 1


def test_du_of_a_path_that_is_too_long(tmp_path: Path) -> None:
    """What no path leads to is told, the status is 1, and the rest is counted."""
    here, fds = os.open(tmp_path, os.O_PATH), []
    try:
        for _ in range(18):
            os.mkdir("d" * 250, dir_fd=here)
            fds.append(here)
            here = os.open("d" * 250, os.O_PATH, dir_fd=here)
    finally:
        for fd in [*fds, here]:
            os.close(fd)
    status, out, err = ended(started([*commands("du")[1], str(tmp_path)]))
    assert status == 1
    assert len(err) == 1 and err[0].endswith("File name too long")
    assert len(out.splitlines()) >= 16


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "1"), (1023, "1023"), (1024, "1.0K"), (1025, "1.1K"), (10 * 1024 - 1, "10K"), (10 * 1024 + 1, "11K"),
     (1023 * 1024, "1023K"), (1023 * 1024 + 1, "1.0M"), (1 << 30, "1.0G"), (999 << 40, "999T")],
)  # fmt: skip
def test_du_for_people(size: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are rounded up, with one digit behind the point below ten."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import du

    try:
        assert du.human(size) == text
    finally:
        del sys.modules["du"]
