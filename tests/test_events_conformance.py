"""Epoll, TimerFd, Inotify and EventLoop keep the ownership law as a descriptor's owner does: see conformance.py."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from conformance import CHECKS, Subject

_IMPORTS = "from rawsys.events import *; from rawsys import Fd\n"


def _descriptor(owner: Any) -> Hashable:
    number = owner.fileno()
    return number, os.readlink(f"/proc/self/fd/{number}")


def _descriptors_of_loop(loop: Any) -> Hashable:
    return tuple(_descriptor(own) for own in (loop._epoll, loop._timer, loop._wake))


def _open(resource: Any) -> bool:
    number, target = resource
    with contextlib.suppress(FileNotFoundError):
        return bool(os.readlink(f"/proc/self/fd/{number}") == target)
    return False


def _any_open(resource: Any) -> bool:
    return any(map(_open, resource))


SUBJECTS = [
    Subject("Epoll", f"{_IMPORTS}owner = Epoll()", lambda owner: owner.wait(0), _descriptor, _open),
    Subject(
        "Epoll watching",
        f"{_IMPORTS}owner = Epoll()\nwith Fd.eventfd(1) as source: owner.add(source)\nowner.wait(0)",
        lambda owner: owner.wait(0),
        _descriptor,
        _open,
    ),
    Subject("TimerFd", f"{_IMPORTS}owner = TimerFd()", lambda owner: owner.remaining_ns, _descriptor, _open),
    Subject("TimerFd.get", f"{_IMPORTS}owner = TimerFd()", lambda owner: owner.get_nowait(), _descriptor, _open),
    Subject("Inotify", f"{_IMPORTS}owner = Inotify()", lambda owner: owner.get_nowait(), _descriptor, _open),
    Subject(
        "EventLoop", f"{_IMPORTS}owner = EventLoop()", lambda owner: owner.call_soon(int), _descriptors_of_loop, _any_open
    ),
]  # fmt: skip


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_owner(subject: Subject, check: Callable[[Subject], None]) -> None:
    """What the check of this name says."""
    check(subject)
