"""Every owner, and every way to get one, keeps the ownership law: see conformance.py."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable

import pytest
from conformance import CHECKS, Subject

from rawsys.fd import Handle


def _descriptor(owner: Handle) -> str:
    number = owner.fileno()
    return f"{number} {os.readlink(f'/proc/self/fd/{number}')}"


def _held(resource: Hashable) -> bool:
    number, target = str(resource).split(" ", 1)
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(f"/proc/self/fd/{number}") == target
    return False


def _fd(name: str, code: str, use: Callable[[Handle], object] = lambda owner: owner.stat()) -> Subject:  # type: ignore[attr-defined]
    imports = "import os, rawsys; from rawsys.fd import Fd, Handle; from rawsys import syscalls\n"
    return Subject(name, imports + code, use, _descriptor, _held)


SUBJECTS = [
    _fd(
        "Handle",
        "class Plain(Handle):\n    __slots__ = ()\nowner = Plain(os.open('/etc/passwd', os.O_CLOEXEC))",
        lambda owner: owner.fileno(),
    ),
    _fd("Fd(number)", "owner = Fd(os.memfd_create('conformance'))"),
    _fd("Fd.open", "owner = Fd.open('/etc/passwd')"),
    _fd("Fd.open resolve", "owner = Fd.open('/etc/passwd', resolve=0)"),
    _fd("Fd.pipe reading", "owner, other = Fd.pipe(); other.close()"),
    _fd("Fd.pipe writing", "other, owner = Fd.pipe(); other.close()"),
    _fd("Fd.socketpair", "owner, other = Fd.socketpair(); other.close()"),
    _fd("Fd.memfd", "owner = Fd.memfd('conformance')"),
    _fd("Fd.eventfd", "owner = Fd.eventfd(1)"),
    _fd("Fd.dup", "with Fd.memfd('conformance') as original: owner = original.dup()"),
    _fd(
        "Fd.recv_fds",
        "one, other = Fd.socketpair()\n"
        "with one, other:\n"
        "    with Fd.memfd('conformance') as original: one.send_fds(b'x', [original])\n"
        "    owner = other.recv_fds(1, 1)[1].pop()",
    ),
    _fd("syscalls.openat", "owner = syscalls.openat(-100, '/etc/passwd', os.O_CLOEXEC, 0)"),
    _fd("subclass", "class Log(Fd):\n    __slots__ = ()\nowner = Log.open('/etc/passwd')\nassert type(owner) is Log"),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_owner(subject: Subject, check: Callable[[Subject], None]) -> None:
    """What the check of this name says."""
    check(subject)
