"""Orphans: processes that others left to us, because this process is a subreaper, or the first of its namespace."""

from __future__ import annotations

import os
from contextlib import suppress

from rawsys import raw
from rawsys.fd import Fd
from rawsys.process import Pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_P_ALL, _P_PID = 0, 1
_NOHANG, _EXITED, _NOWAIT = 1, 4, 0x1000000
_MARK = b"RAWSYS_MARK="


class Orphans:
    """All children of this process that nobody here started.

    Their end is told by SIGCHLD alone, and whose they are by the mark in their environment.
    """

    __slots__ = ("_ours", "_seen", "_turn")

    def __init__(self, ours: Callable[[int], bool]) -> None:
        self._ours = ours
        """Tells whether a child was started here."""
        self._seen: dict[int, tuple[Pid, str]] = {}
        """Those that live, held, each with its mark."""
        self._turn = -1

    def reap(self) -> None:
        """Reap those that have ended, and no child of ours: its pidfd tells of it, in this turn or the next.

        On a kernel that cannot signal a group by a pidfd a leader stays a zombie while its group lives, for minutes perhaps,
        and stands before all others that have ended: they are then found one by one.

        Raises OSError when no descriptor is left to look with.
        """
        info = bytearray(128)
        while True:
            info[16:20] = bytes(4)
            if raw.waitid(_P_ALL, 0, info, _EXITED | _NOHANG | _NOWAIT, None) < 0:
                return
            pid = int.from_bytes(info[16:20], "little")
            if not pid:
                return
            if self._ours(pid):
                self._reap_others()
                return
            self._reap_one(pid)

    def _reap_one(self, pid: int) -> None:
        raw.waitid(_P_PID, pid, None, _EXITED | _NOHANG, None)
        held = self._seen.pop(pid, None)
        if held is not None:
            held[0].close()

    def _reap_others(self) -> None:
        """One by one, past a child of ours that is not to be reaped yet."""
        for pid in children():
            if not self._ours(pid):
                info = bytearray(128)
                answer = raw.waitid(_P_PID, pid, info, _EXITED | _NOHANG | _NOWAIT, None)
                if answer == 0 and any(info[16:20]):
                    self._reap_one(pid)

    def living(self, turn: int) -> dict[int, str]:
        """Those that live, with their marks, by one look in each turn: what ended before a turn left its own before it, too.

        Raises OSError when no descriptor is left to look with.
        """
        if turn != self._turn:
            self._turn = turn
            found = {pid for pid in children() if not self._ours(pid)}
            for pid in self._seen.keys() - found:
                self._seen.pop(pid)[0].close()
            for pid in found - self._seen.keys():
                self._meet(pid)
        return {pid: mark for pid, (held, mark) in self._seen.items() if held.is_running()}

    def _meet(self, pid: int) -> None:
        try:
            self._seen[pid] = Pid.open(pid), mark_of(pid)
        except OSError:
            return  # no descriptor is left: it is met the next time

    def send(self, pid: int, signal: int) -> None:
        """Signal one of those that `living` told."""
        held = self._seen.get(pid)
        if held is not None:
            with suppress(ProcessLookupError, PermissionError):
                held[0].send_signal(signal)

    def close(self) -> None:
        """Let all go."""
        while self._seen:
            self._seen.popitem()[1][0].close()


def children() -> list[int]:
    """The children of this process, zombies among them."""
    found: list[int] = []
    for tid in os.listdir("/proc/self/task"):
        try:
            with Fd.open(f"/proc/self/task/{tid}/children") as file:
                found += map(int, file.read_all().split())
        except FileNotFoundError:
            continue
    return found


def mark_of(pid: int) -> str:
    """The mark in the environment that a process was started with; nothing where it has none, or is not to be read."""
    try:
        with Fd.open(f"/proc/{pid}/environ") as file:
            variables = file.read_all()
    except OSError:
        return ""
    for variable in variables.split(b"\0"):
        if variable.startswith(_MARK):
            return os.fsdecode(variable[len(_MARK) :])
    return ""
