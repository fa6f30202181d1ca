"""What services write to the supervisor's own output: whole lines, with names, at the pace of who reads them."""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path

import pytest
from supervising import held, sh
from support import in_child, readable

from rawsys.supervisor import Log, Supervisor

PASS = """
import os, sys
from rawsys.supervisor import Log, Restart, Service, Supervisor
s = Supervisor(exit_when="all-done", on_death="keep")
code = "import os, sys\\nfor n in range(int(sys.argv[2])): os.write(1, (sys.argv[1] + '%07d' % n).ljust(99, 'x').encode() + b'\\\\n')"
for name in ("one", "two"):
    s.add(Service(name, [sys.executable, "-S", "-c", code, name, "COUNT"], log=Log(), restart="never"))
s.add(Service("last", ["sh", "-c", "printf tail"], log=Log(), restart="never"))
s.run()
"""


def test_a_slow_reader_gets_all_lines_whole_and_the_services_wait_for_it() -> None:
    """20 MB into a pipe that nobody reads at first: the supervisor keeps little, the services block, and nothing is lost."""
    count = 100_000
    with held(PASS.replace("COUNT", str(count)), lines=1) as (run, said):
        services = [pid for pid in run.hold() if b"sys.argv" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        for pid in services:
            until_in_call(pid, 1)  # write: it waits for us
        peak = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{run.process.pid}/status").read_text())[1])  # type: ignore[index]
        assert run.process.stdout is not None
        data = said[0].encode() + b"\n" + run._text
        while readable(run.process.stdout.fileno(), 10) and (part := os.read(run.process.stdout.fileno(), 1 << 16)):
            data += part
    found = data.decode().splitlines()
    for name in ("one", "two"):
        mine = [line for line in found if line.startswith(f"{name} | ")]
        assert mine == [f"{name} | " + f"{name}{n:07}".ljust(99, "x") for n in range(count)]
    assert found.count("last | tail") == 1
    assert len(found) == 2 * count + 1
    assert peak < 40_000


def until_in_call(pid: int, number: int) -> None:
    """Wait until a process waits in a system call."""
    end = time.monotonic() + 10
    while not Path(f"/proc/{pid}/syscall").read_text().startswith(f"{number} "):
        assert time.monotonic() < end
        os.sched_yield()


def test_a_reader_that_goes_away_does_no_harm() -> None:
    """What is written is dropped from then on; neither the supervisor nor a service dies of it."""

    def body() -> list[str]:
        reading, writing = os.pipe()
        os.dup2(writing, 1)
        os.close(writing)
        os.close(reading)
        seen: list[str] = []
        supervisor = Supervisor(exit_when="all-done")
        supervisor.add(sh("one", "yes | head -n 100000; exit 0", log=Log()))
        supervisor.on_event(lambda record: seen.append(str(record.to)))  # type: ignore[union-attr]
        supervisor.run()
        return seen

    assert in_child(body) == ["starting", "running", "exited", "done"]


@pytest.mark.parametrize("plain", [False, True])
def test_names_are_coloured_on_a_terminal(plain: bool) -> None:
    def body() -> bytes:
        import pty
        import tty

        reading, writing = pty.openpty()
        tty.setraw(writing)
        os.dup2(writing, 1)
        os.environ.pop("NO_COLOR", None)
        if plain:
            os.environ["NO_COLOR"] = "1"
        supervisor = Supervisor(exit_when="all-done")
        for name in ("one", "two"):
            supervisor.add(sh(name, "echo hello", log=Log(), after=["one"] if name == "two" else []))
        supervisor.run()
        return os.read(reading, 4096)

    head = [b"one | ", b"two | "] if plain else [b"\x1b[36mone | \x1b[0m", b"\x1b[33mtwo | \x1b[0m"]
    assert sorted(in_child(body).splitlines()) == sorted(part + b"hello" for part in head)


def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    def body() -> bytes:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 1)
            supervisor = Supervisor(exit_when="all-done")
            supervisor.add(sh("one", "head -c 300000 /dev/zero | tr '\\0' x", log=Log()))
            supervisor.run()
            file.seek(0)
            return file.read()

    found = in_child(body).splitlines()
    assert all(line.startswith(b"one | xxx") for line in found)
    assert sum(len(line) - 6 for line in found) == 300_000
    assert len(found) > 1


def test_a_closed_output_does_no_harm() -> None:
    def body() -> str:
        supervisor = Supervisor(exit_when="all-done")
        os.close(1)
        supervisor.add(sh("one", "echo hello", log=Log()))
        supervisor.run()
        return str(supervisor.services["one"].name)

    assert in_child(body) == "one"
