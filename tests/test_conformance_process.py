"""Pid and Child keep the ownership law; what a child's release is different in has its tests in test_pid_status.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable

import conformance
import pytest
from conformance import CHECKS, Subject

from rawsys import Pid


def _pidfd(owner: Pid) -> str:
    number = owner.fileno()
    with open(f"/proc/self/fdinfo/{number}") as file:
        pid = next(line.split()[1] for line in file if line.startswith("Pid:"))
    return f"{number} {pid}"


def _held(resource: Hashable) -> bool:
    number, pid = str(resource).split()
    try:
        with open(f"/proc/self/fdinfo/{number}") as file:
            return f"Pid:\t{pid}\n" in file.read()
    except FileNotFoundError:
        return False


def _use(owner: Pid) -> None:
    owner.send_signal(0)


STRANGER = Subject("Pid.open", "import os, rawsys; owner = rawsys.Pid.open(os.getpid())", _use, _pidfd, _held)
CHILD = Subject("Command.spawn", "import rawsys; owner = rawsys.Command('true').spawn()", _use, _pidfd, _held)

# A child that is closed or forgotten unreaped goes to the list of those to be reaped in passing, with its pidfd; in a
# forked child it is no child of that process.
_CHILD_CHECKS = (
    conformance.with_releases,
    conformance.exception_inside_with,
    conformance.neither_copied_nor_pickled,
    conformance.no_stray_attributes,
    conformance.eight_threads_each_their_own,
    conformance.interpreter_exit,
)


@pytest.fixture(autouse=True)
def reaped() -> object:
    """Children that were let go are reaped before the leak guard looks."""
    from rawsys.process import strays

    yield
    while strays.kept:
        strays.drain()
        os.sched_yield()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_stranger(check: Callable[[Subject], None]) -> None:
    """What the check of this name says, for a process that is not ours."""
    check(STRANGER)


@pytest.mark.parametrize("check", _CHILD_CHECKS, ids=lambda check: check.__name__)
def test_child(check: Callable[[Subject], None]) -> None:
    """What the check of this name says, for a child."""
    check(CHILD)
