"""What stands on a terminal: the status, also while it is watched, the progress of many starts, and completion in the shells."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from controlling import SECONDS, Run, command, on_a_terminal, shown, supervising
from support import INTERPRETER, few_descriptors, need, script

from rawsys.supervisor import screens

SERVICES = """
[defaults]
stop = ["TERM", "2s", "KILL"]
[service.web]
command = ["sleep", "1000"]
instances = 2
[service.broken]
command = ["sh", "-c", "kill -SEGV $$"]
restart = { delays = ["1h"] }
[service.worker]
command = ["sleep", "1000"]
check = { exec = ["false"], every = "100ms", fails = 9999 }
"""
RAWSYS = [INTERPRETER, "-W", "error", "-m", "rawsys"]
WITHOUT_RICH = [
    INTERPRETER, "-W", "error", "-c",
    script("import sys; sys.modules['rich'] = None; from rawsys.cli import main; sys.exit(main(sys.argv[1:]))"),
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One supervisor for all."""
    with supervising(tmp_path_factory.mktemp("screens"), SERVICES) as run:
        run.until("broken", "backoff")
        run.reached("worker", "running")
        while "health" not in run.status()["worker"]:
            pass
        yield run


@pytest.fixture(params=[RAWSYS, WITHOUT_RICH], ids=["rich", "plain"])
def words(request: pytest.FixtureRequest) -> list[str]:
    """The command with and without the terminal library."""
    if request.param is RAWSYS:
        pytest.importorskip("rich")
    found: list[str] = request.param
    return found


def bare(text: bytes) -> str:
    """A text of a terminal without its colours and moves; what goes back to the begin of a line is another one."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?=\n)", "", text.decode()).replace("\r", "\n")


def test_status_fits_the_screen(run: Run, words: list[str]) -> None:
    """One line for each in 80 columns, whatever has happened to it."""
    with on_a_terminal(*words, "status", "--socket", run.socket) as (master, process):
        text = bare(shown(master))
        assert process.wait(SECONDS) == 3
    head, *lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert head.split() == "NAME STATE PID UPTIME RESTARTS LAST EXIT STARTS IN HEALTH".split()  # noqa: SIM905
    assert [line.split()[0] for line in lines] == ["web", "web/1", "broken", "worker"]
    assert all(len(line) <= 80 for line in (head, *lines))
    assert re.fullmatch(r"broken +backoff +- +- +0 +SIGSEGV +\d+[hm]\d\d[ms] +-", lines[2])
    assert re.search(r"running +\d+ +\d+\.\ds +0 +- +- +not well \d+/9999", lines[3])


def test_status_has_colours_on_a_terminal_only(run: Run) -> None:
    """And none where the user does not want any."""
    pytest.importorskip("rich")
    with on_a_terminal(*RAWSYS, "status", "--socket", run.socket) as (master, _):
        assert b"\x1b[32mrunning" in shown(master)
    done = subprocess.run(
        [*RAWSYS, "status", "--socket", run.socket], capture_output=True, timeout=SECONDS, check=False
    )
    assert b"\x1b" not in done.stdout


def test_watch(run: Run, words: list[str]) -> None:
    """It shows what happens as it happens, without clearing the screen in between, and Ctrl-C ends it with 0."""
    with on_a_terminal(*words, "status", "--watch", "web", "--socket", run.socket) as (master, process):
        text = shown(master, b"running")
        with run.client() as client:
            client.stop("web/1")
            text = shown(master, b"stopped")
            client.start("web/1")
            assert b"\x1b[2J" not in text
            pid = run.pids("web/1")["web/1"]
            shown(master, str(pid).encode())
        os.write(master, b"\x03")
        text = shown(master)
        assert process.wait(SECONDS) == 0
        assert b"Traceback" not in text and b"Interrupt" not in text
        if words is RAWSYS:
            assert b"\x1b[?1049l" in text and b"\x1b[?25h" in text  # the screen of before, and the cursor


def test_watch_ends_with_the_supervisor(tmp_path: Path, words: list[str]) -> None:
    """4, and it is told."""
    with supervising(tmp_path, 'service.a.command = ["sleep", "1000"]') as run:
        with on_a_terminal(*words, "status", "--watch", "--socket", run.socket) as (master, process):
            shown(master, b"running")
            run.process.send_signal(signal.SIGTERM)
            assert bare(shown(master)).rstrip().endswith("rawsys: the supervisor has ended")
            assert process.wait(SECONDS) == 4
        assert run.end() == 0


def test_watch_in_a_pipe(run: Run) -> None:
    """Whole tables one after the other, and nothing of a terminal."""
    watching = [*WITHOUT_RICH, "status", "--watch", "web/0", "--socket", run.socket]
    with subprocess.Popen(watching, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        head = process.stdout.readline()
        assert head.startswith(b"NAME") and process.stdout.readline().startswith(b"web ")
        assert process.stdout.readline() == head  # a second later
        process.send_signal(signal.SIGINT)
        assert b"\x1b" not in process.stdout.read() and process.wait(SECONDS) == 0


def test_what_a_service_says_of_itself_does_not_control_the_terminal() -> None:
    """STATUS= of sd_notify is anybody's text: no escape goes through, and the columns stay."""
    row = {
        "name": "web",
        "state": "running",
        "pid": 7,
        "uptime": 1.0,
        "restarts": 0,
        "last_exit": None,
        "next_start": None,
    }
    for said, wanted in (
        ("\x1b]0;x\x07 \x9b1m \u202e", "\ufffd]0;x\ufffd \ufffd1m \ufffd"),
        ("x" * 4000, "x" * 57 + "..."),
    ):
        assert screens.cells({**row, "status_text": said})[-1] == wanted
        assert screens.plain([{**row, "status_text": said}]).splitlines()[1].endswith(f"  {wanted}")


@pytest.mark.parametrize(
    ("width", "heads"),
    [(80, "NAME STATE PID UPTIME RESTARTS LAST EXIT STARTS IN HEALTH"), (64, "NAME STATE PID LAST EXIT STARTS IN HEALTH"),
     (40, "NAME STATE PID HEALTH"), (24, "NAME STATE PID"), (1, "NAME STATE PID")],
)  # fmt: skip
def test_a_narrow_terminal_has_fewer_columns(run: Run, width: int, heads: str) -> None:
    """Who it is, what it does and its pid can be read, and what else there is room for."""
    pytest.importorskip("rich")
    with on_a_terminal(*RAWSYS, "status", "--socket", run.socket, width=width) as (master, process):
        text = bare(shown(master))
        process.wait(SECONDS)
    if width > 1:
        head, *lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        assert head.split() == heads.split()
        assert [line.split()[:2] for line in lines] == [
            ["web", "running"], ["web/1", "running"], ["broken", "backoff"], ["worker", "running"]
        ]  # fmt: skip
        assert all(len(line) <= width for line in (head, *lines))


def test_standard_output_that_is_full_or_closed(run: Run) -> None:
    """A complaint of one line, or nothing: no traceback."""
    words = [*RAWSYS, "status", "web", "--socket", run.socket]
    for buffered in ("", "1"):  # while it is printed, and at the end
        env = {**os.environ, "PYTHONUNBUFFERED": buffered}
        for command_ in (words, [*RAWSYS, "syscalls"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run(
                    command_, stdout=full, stderr=subprocess.PIPE, timeout=SECONDS, check=False, env=env
                )
            assert (done.returncode, done.stderr) == (1, b"rawsys: [Errno 28] No space left on device\n")
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *words]
    done = subprocess.run(closed, stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_watch_as_json(run: Run) -> None:
    """One object a line, for each look."""
    watching = [*WITHOUT_RICH, "status", "--watch", "--json", "web/0", "--socket", run.socket]
    with subprocess.Popen(watching, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(2):
            (web,) = json.loads(process.stdout.readline())["services"]
            assert (web["name"], web["state"]) == ("web", "running")
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(SECONDS) == 0


@few_descriptors
def test_more_services_than_lines(tmp_path: Path, words: list[str]) -> None:
    """The screen is not left by a line that scrolls it."""
    text = "".join(f'service.s{i:02}.command = ["sleep", "1000"]\n' for i in range(40))
    with supervising(tmp_path, text) as run:
        run.until("s39", "running")
        with on_a_terminal(*words, "status", "--watch", "--socket", run.socket) as (master, _):
            text = bare(shown(master, b"... 18 more" if words is RAWSYS else b"... 19 more"))
            assert "s20" in text and "s22" not in text


@few_descriptors
def test_the_progress_of_many_starts(tmp_path: Path) -> None:
    """One bar on a terminal with rich, lines without; then what failed, with the end of its log."""
    text = "".join(f'service.s{i}.command = ["sleep", "1000"]\n' for i in range(30))
    text += 'service.bad = { command = ["sh", "-c", "echo no database; exit 3"], ready = "10s", restart = "never" }\n'
    with supervising(tmp_path, text) as run:
        run.until("bad", "failed")
        for words in (RAWSYS, WITHOUT_RICH):
            assert run.run("stop", "*", "--json").code == 0
            with on_a_terminal(*words, "start", "*", "--socket", run.socket) as (master, process):
                text = bare(shown(master))
                assert process.wait(SECONDS) == 1
            end = "rawsys: bad is failed: exited with 3\n"
            assert end in text and text.rstrip().endswith("  no database")
            told = text[: text.index(end)].splitlines()
            if words is WITHOUT_RICH:
                assert sum("-> running" in line for line in told) == 30
            elif pytest.importorskip("rich"):
                assert told[-1].startswith("start ") and told[-1].rstrip().endswith("30/31 1 failed")
                assert all(line.startswith("start ") and len(line) <= 80 for line in told)


# ---- completion ----


@pytest.fixture
def shell(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `rawsys` in it, on the path, and the completions for each shell."""
    program = tmp_path / "rawsys"
    program.write_text(f'#!/bin/sh\nexec "{INTERPRETER}" -m rawsys "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("RAWSYS_SOCKET", run.socket)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("bash", "zsh", "fish"):
        done = command("completion", name)
        assert done.code == 0
        (tmp_path / f"rawsys.{name}").write_text(done.out)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def output(*words: str) -> list[str]:
    """The lines that a program prints; it must say nothing else."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("rawsys re", ["restart", "reload", "reset"]),
        ("rawsys restart --", ["--help", "--socket", "--json", "--no-wait", "--timeout", "--rolling", "--if-changed"]),
        ("rawsys restart w", ["web", "web/1", "worker"]),
        ("rawsys logs b", ["broken"]),
        ("rawsys completion ", ["bash", "zsh", "fish"]),
        ("rawsys check rawsys.f", ["rawsys.fish"]),
    ],
)  # fmt: skip
def test_completion_in_bash(shell: Path, line: str, wanted: list[str]) -> None:
    """Commands, options, services of the supervisor that runs, shells, files."""
    need("bash")
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    code = f"source rawsys.bash; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _rawsys; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    assert sorted({*output("bash", "--norc", "-c", code)} - {"-h"}) == sorted(wanted)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("rawsys re", ["reload", "reset", "restart"]),
        ("rawsys restart --ro", ["--rolling"]),
        ("rawsys restart w", ["web", "web/1", "worker"]),
        ("rawsys completion ", ["bash", "fish", "zsh"]),
    ],
)  # fmt: skip
def test_completion_in_fish(shell: Path, line: str, wanted: list[str]) -> None:
    """The same there, with what each is for."""
    need("fish")
    lines = output("fish", "--no-config", "-c", f"source rawsys.fish; complete -C '{line}'")
    assert sorted(line.split("\t")[0] for line in lines) == wanted


def test_completion_in_zsh(shell: Path) -> None:
    """On a terminal, for there is no other way to ask it."""
    need("zsh")
    with on_a_terminal("zsh", "-f", "-i") as (master, _):
        os.write(master, b"PS1='> '; autoload -U compinit; compinit -u; source rawsys.zsh; echo 're''ady'\n")
        shown(master, b"ready\r\n")
        os.write(master, b"rawsys resta\t")
        shown(master, b"restart")
        os.write(master, b"wor\t")
        shown(master, b"worker")
        os.write(master, b"--rol\t")
        shown(master, b"ling")
