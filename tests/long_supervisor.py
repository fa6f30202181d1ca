"""100,000 restarts that leave memory and descriptors flat; SIGKILL in each state, again and again; ten idle seconds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from supervising import held
from support import in_child, need
from test_supervisor_death import STATES, in_time, script
from test_supervisor_limits import idle_calls

from rawsys.supervisor import Log, Restart, Service, State, Supervisor

COUNT = 100_000
PROGRAM = """
#include <unistd.h>
int main(int argc, char **argv) { write(argc > 1 ? 3 : 1, "\\n", 1); return 1; }
"""


def measure() -> tuple[int, int]:
    """Resident memory in kB, and open descriptors."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4, len(os.listdir("/proc/self/fd"))


def restarts(program: str, folder: str, own: bool) -> tuple[list[tuple[int, int]], int]:
    """Restart four services without a delay until all have died COUNT times together; what was measured, and how often."""
    always = Restart("always", base=0, limit=None)
    supervisor = Supervisor(own_process=own)
    supervisor.add(Service("plain", [program], restart=always, stdout=os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)))
    supervisor.add(Service("log", [program], restart=always, log=Log(f"{folder}/log", size=10_000, keep=2)))
    supervisor.add(Service("ready", [program, "fd"], restart=always, ready="fd"))
    supervisor.add(
        Service("windowed", [program, "fd"], restart=Restart("always", base=0, limit=10**9, window=0.5), ready="fd")
    )
    measured: list[tuple[int, int]] = []
    deaths = 0

    def listen(record: object) -> None:
        nonlocal deaths
        if getattr(record, "to", None) == State.EXITED:
            deaths += 1
            if deaths % (COUNT // 10) == 0:
                measured.append(measure())
            if deaths == COUNT:
                supervisor.shutdown()

    supervisor.on_event(listen)
    supervisor.run()
    return measured, deaths


@pytest.mark.deadline(900)
@pytest.mark.parametrize("own", [False, True])
def test_a_hundred_thousand_restarts_leave_nothing(own: bool, tmp_path: Path) -> None:
    """Hardly more memory from the first tenth to the last, none in the second half, and no descriptor."""
    source, program = tmp_path / "die.c", tmp_path / "die"
    source.write_text(PROGRAM)
    subprocess.run([need("gcc"), "-O1", "-static", "-w", "-o", program, source], check=True)
    measured, deaths = in_child(restarts, str(program), str(tmp_path), own, deadline=800)
    print(f"own_process={own}: kB and descriptors after each tenth: {measured}")
    assert deaths >= COUNT
    assert measured[-1][0] - measured[0][0] < 2048
    assert measured[-1][0] - measured[COUNT // 2 // (COUNT // 10)][0] < 256
    assert max(fds for _, fds in measured) - min(fds for _, fds in measured) <= 20


@pytest.mark.deadline(600)
@pytest.mark.parametrize("state", list(STATES))
def test_killed_many_times_in_each_state(state: State) -> None:
    """Thirty times, as a library and as a process of its own: after 100 ms nothing is left."""
    services, watches = STATES[state]

    def once(own: bool) -> list[int]:
        with held(script(services, watches, f"own_process={own}"), lines=2) as (run, _):
            run.process.kill()
            late = run.left(0.1)
            run.hold()
            return late or run.left(0)

    for number in range(30):
        assert in_time(lambda own=bool(number % 2): once(own)) == []  # type: ignore[misc]


@pytest.mark.deadline(120)
def test_ten_idle_seconds() -> None:
    """With 200 services whose logs are captured strace shows not one line."""
    assert idle_calls(10) == []
