"""The command line, as a person types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from support import INTERPRETER, run_python

from rawsys import info, raw, table


def rawsys(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """``python -m rawsys ARGUMENTS`` as it ended."""
    return subprocess.run(
        [INTERPRETER, "-m", "rawsys", *arguments], capture_output=True, text=True, timeout=30, **options
    )


def test_without_a_command_the_tour() -> None:
    """Every chapter shows calls with their answers, and nothing on stderr."""
    done = rawsys()
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "1. The naked instruction beside libc",
        "close(-1) = -1 EBADF",
        "Hello from the kernel's own write",
        "<Fd closed>",
    ):
        assert line in done.stdout
    assert "the number is still there: True" in done.stdout
    assert "answers [-2, -125, -125]" in done.stdout


def names(pattern: str) -> list[str]:
    """The calls that ``rawsys syscalls PATTERN`` lists."""
    return [line.split()[1] for line in rawsys("syscalls", pattern).stdout.splitlines()]


def test_syscalls_lists_and_describes() -> None:
    """All of them, by part of a name, by pattern, by number, one whole, and as JSON."""
    assert len(rawsys("syscalls").stdout.splitlines()) == 383
    assert names("pidfd") == ["pidfd_send_signal", "pidfd_open", "pidfd_getfd"]
    assert names("sched_get*") == [entry.name for entry in table if entry.name.startswith("sched_get")]
    assert raw.openat2.__doc__ in rawsys("syscalls", "open*2").stdout
    assert raw.openat.__doc__ in rawsys("syscalls", "257").stdout
    assert "reserved" in rawsys("syscalls", "uselib").stdout
    rows = json.loads(rawsys("syscalls", "--json").stdout)
    assert [row["name"] for row in rows] == [entry.name for entry in table]
    assert json.loads(rawsys("syscalls", "read", "--json").stdout)[0]["arguments"][1] == {
        "name": "buf", "kind": "out", "type": "char *", "bits": 64, "constants": None, "extent": "count",
    }  # fmt: skip


def test_a_call_that_is_not_there() -> None:
    """Status 1, and the near miss on stderr."""
    done = rawsys("syscalls", "opennat")
    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean openat" in done.stderr


def test_info_tells_what_the_kernel_has() -> None:
    """Kernel, Python, and each newer call; --json has the same."""
    done = rawsys("info")
    assert (done.returncode, done.stderr) == (0, "")
    assert os.uname().release in done.stdout
    told = json.loads(rawsys("info", "--json").stdout)
    assert {f["name"]: f["present"] for f in told["features"]} == {f.name: f.present for f in info.features()}


@pytest.mark.parametrize("arguments", [["nonsense"], ["syscalls", "a", "b"], ["info", "--nonsense"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    """With a usage line on stderr."""
    done = rawsys(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: rawsys")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["tour", "--help"], ["syscalls", "--help"], ["info", "--help"], ["bench", "--help"]]
)
def test_help_everywhere(arguments: list[str]) -> None:
    """Status 0, usage and exit statuses on stdout."""
    done = rawsys(*arguments)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: rawsys")
    assert "Exit status" in done.stdout


def test_no_traceback_on_a_broken_pipe() -> None:
    """The reader goes after one line: nothing on stderr."""
    with subprocess.Popen(
        [INTERPRETER, "-m", "rawsys", "syscalls", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 1


def test_no_traceback_on_ctrl_c() -> None:
    """SIGINT in the middle of the benchmarks: status 130, nothing on stderr."""
    code = "import sys; from rawsys.cli import main; sys.exit(main(['bench']))"
    with subprocess.Popen([INTERPRETER, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.stderr.read() == b""
        assert child.wait() == 130


def test_the_installed_command_is_the_same() -> None:
    """The entry point of the package is rawsys.cli:main."""
    code = """
    from importlib.metadata import entry_points
    print([e.value for e in entry_points(group="console_scripts") if e.name == "rawsys"])
    """
    assert run_python(code).stdout in ("['rawsys.cli:main']\n", "[]\n")
