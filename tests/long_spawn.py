"""10,000 spawns from 8 threads: no descriptor in a wrong child, the process as dumpable as before."""

from __future__ import annotations

import os
import threading

import pytest
from support import in_child

from rawsys import PIPE, Command, raw


def storm(each: int, threads: int) -> list[str]:
    """Spawn from all threads at once, with pipes, and let every child count its descriptors; what was wrong."""
    wrong: list[str] = []
    dumpable = raw.prctl(3, 0, 0, 0, 0)

    def body(number: int) -> None:
        try:
            for i in range(each):
                credentials = {"user": 65534} if os.geteuid() == 0 and i % 10 == 0 else {}
                command = Command("ls", "-U", "/proc/self/fd", stdin=PIPE, stderr=PIPE, **credentials)  # type: ignore[arg-type]
                out = command.output(text=True)
                if sorted(out.stdout.split()) != ["0", "1", "2", "3"] or not out.status.success:
                    wrong.append(f"thread {number}, spawn {i}: {out}")
        except Exception as error:  # noqa: BLE001 - the caller tells it
            wrong.append(f"thread {number}: {error!r}")

    running = [threading.Thread(target=body, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if raw.prctl(3, 0, 0, 0, 0) != dumpable:
        wrong.append("PR_GET_DUMPABLE has changed")
    return wrong


@pytest.mark.deadline(600)
def test_ten_thousand_spawns_from_eight_threads() -> None:
    """As it says at the top."""
    assert in_child(storm, 1250, 8, deadline=500) == []
