"""What takes signals keeps the ownership law as a descriptor's owner does: see conformance.py."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from conformance import CHECKS, Subject
from signal_places import everywhere

from rawsys._native.signals import handler
from rawsys.signals import SignalAction

_IMPORTS = "import rawsys; from rawsys.signals import *\n"


def _signal(owner: Any) -> Hashable:
    return next(iter(owner.signals))


def _taken(signal: Any) -> bool:
    return SignalAction.current(signal).handler == handler()


def _timer(owner: Any) -> Hashable:
    return os.getpid(), owner.timer_id


def _exists(resource: Any) -> bool:
    pid, number = resource
    if pid != os.getpid():
        return False  # a forked child has no timers
    with open("/proc/self/timers") as file:
        return f"ID: {number}\n" in file.read()


def _descriptor(owner: Any) -> Hashable:
    number = owner.fileno()
    return number, os.readlink(f"/proc/self/fd/{number}")


def _open(resource: Any) -> bool:
    number, target = resource
    with contextlib.suppress(FileNotFoundError):
        return bool(os.readlink(f"/proc/self/fd/{number}") == target)
    return False


_PROGRAM = "p = rawsys.Program(); p.getpid(); owner = on_signal(10, p)"
SUBJECTS = [
    Subject("SignalFlag", f"{_IMPORTS}owner = SignalFlag(10)", lambda owner: owner.wait(0), _signal, _taken),
    Subject("SignalCounter", f"{_IMPORTS}owner = SignalCounter(10)", lambda owner: owner.reset(), _signal, _taken),
    Subject("SignalQueue", f"{_IMPORTS}owner = SignalQueue(10)", lambda owner: owner.get_nowait(), _signal, _taken),
    Subject(
        "SignalQueue.fileno", f"{_IMPORTS}owner = SignalQueue(10)", lambda owner: owner.fileno(), _descriptor, _open
    ),
    Subject("on_signal", _IMPORTS + _PROGRAM, lambda owner: owner.__enter__(), _signal, _taken),
    Subject("SignalFd", f"{_IMPORTS}owner = SignalFd(40)", lambda owner: owner.get_nowait(), _descriptor, _open),
    Subject("TimerSignal", f"{_IMPORTS}owner = TimerSignal(10)", lambda owner: owner.remaining, _timer, _exists),
]


@everywhere
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_owner(subject: Subject, check: Callable[[Subject], None]) -> None:
    """What the check of this name says."""
    check(subject)
