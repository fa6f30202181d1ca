"""Group: the process group that a child leads, and whether something of it lives."""

from __future__ import annotations

import os

from rawsys import raw
from rawsys.fd import Fd, Handle
from rawsys.process import Pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rawsys.process import ExitStatus

_WHOLE_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
_ESRCH, _EINVAL = -3, -22
_P_PIDFD, _EXITED = 3, 4
_known: bool | None = None


class Group:
    """A child that leads a process group; it holds the group after the child itself is reaped.

    A pidfd keeps the kernel's own record of the number, so that a signal through it reaches this group or nobody, also
    when the leader is gone (Linux 6.9).  On older kernels the leader is not reaped before the group is empty, and
    pins the number.
    """

    __slots__ = ("_held", "_reaped", "leader", "number")

    def __init__(self, leader: Pid) -> None:
        self.leader = leader
        self.number = leader.pid
        self._held: Fd | None = None
        """A copy of the pidfd, once the leader has ended."""
        self._reaped = False
        """It was reaped past `leader`, which holds the pidfd still."""

    @property
    def pidfd(self) -> Handle:
        """What holds it now."""
        return self._held or self.leader

    def leader_ended(self) -> ExitStatus:
        """Reap the leader, where the group can be held without it; how it ended.

        Raises StatusLostError when somebody else has reaped it.
        """
        if not by_pidfd(self.leader):
            return self.leader.wait(0, reap=False)
        copy = raw.fcntl(self.leader, 1030, 0)  # F_DUPFD_CLOEXEC; taken before the reaping closes the pidfd
        if copy >= 0:
            self._held = Fd(copy)
            return self.leader.wait(0)
        # No descriptor is left.  A zombie would count as a member until there is one, and perhaps there is none before this
        # group is gone: reaped past its owner, which then keeps the pidfd open.
        status = self.leader.wait(0, reap=False)
        raw.waitid(_P_PIDFD, self.leader.fileno(), None, _EXITED, None)
        self._reaped = True
        return status

    def send(self, signal: int) -> bool:
        """Signal all members; False when there is none."""
        answer = raw.pidfd_send_signal(self.pidfd, signal, None, _WHOLE_GROUP)
        if answer == _EINVAL:
            answer = raw.kill(-self.number, signal)  # the leader is not reaped: see above
        return answer != _ESRCH

    def is_gone(self) -> bool:
        """True when no member is left, not even a zombie; False may mean that there are zombies only."""
        if self._held is None and not self._reaped:
            return False
        return raw.pidfd_send_signal(self.pidfd, 0, None, _WHOLE_GROUP) == _ESRCH

    def release(self) -> None:
        """Nothing of it is left: let go of it, and reap a leader that pinned it."""
        if self._held is not None:
            self._held.close()
            self._held = None
        elif self._reaped:
            self.leader.close()
        else:
            self.leader.poll()


def by_pidfd(pidfd: Pid) -> bool:
    """Whether this kernel signals a group through a pidfd; asked once."""
    global _known
    if _known is None:
        _known = raw.pidfd_send_signal(pidfd, 0, None, _WHOLE_GROUP) != _EINVAL
    return _known


def members(groups: Iterable[int]) -> dict[int, list[int]]:
    """The processes of some groups, by one look at /proc; a zombie is no member."""
    from rawsys.proc import processes

    found: dict[int, list[int]] = {number: [] for number in groups}
    for process in processes():
        if process.group in found and process.state not in ("Z", "X"):
            found[process.group].append(process.pid)
    return found


def kill_cgroup(path: str) -> None:
    """SIGKILL for all that is in a cgroup and below (Linux 5.14)."""
    try:
        with Fd.open(f"{path}/cgroup.kill", 1) as file:
            file.write(b"1")
    except OSError:
        return  # it is gone, or not ours to kill: whoever is in the group gets the signal all the same


def cgroup_members(path: str) -> list[int]:
    """The processes in a cgroup and below."""
    found: list[int] = []
    for folder, _, _ in os.walk(path):
        try:
            with Fd.open(f"{folder}/cgroup.procs") as file:
                found += map(int, file.read_all().split())
        except OSError:
            continue
    return found
