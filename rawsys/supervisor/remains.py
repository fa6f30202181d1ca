"""Remains: who leads which group, and what is left of a run when its leader has ended."""

from __future__ import annotations

import os
from contextlib import suppress

from rawsys.process import set_subreaper, subreaper
from rawsys.signals import SignalFlag
from rawsys.supervisor import group as groups
from rawsys.supervisor.guarding import Guard
from rawsys.supervisor.orphans import Orphans
from rawsys.supervisor.words import SIGNALS

_LOOK_AGAIN = 0.1
"""Seconds after which it is looked again, where no descriptor was left to look with."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rawsys.command import Child
    from rawsys.events import EventLoop
    from rawsys.fd import Fd
    from rawsys.supervisor.change import Notice
    from rawsys.supervisor.instance import Instance


class Remains:
    """The processes of all instances: their leaders, which the guardian holds too, and what those leave behind.

    With `guard` a guardian ends all groups should this process be killed.  With `adopt` this process is a subreaper.
    """

    __slots__ = ("_flag", "_guard", "_leaders", "_loop", "_mark", "_orphans", "_strangers_ended", "_to_look", "_was_subreaper",
                 "helpers")  # fmt: skip

    def __init__(self, loop: EventLoop, report: Callable[[Notice], object], *, guard: bool, adopt: bool) -> None:
        self._loop = loop
        self._leaders: dict[int, Instance] = {}
        self._to_look: dict[Instance, None] = {}
        self.helpers: set[int] = set()
        """Children of ours that are no leaders: probes."""
        self._strangers_ended: Callable[[], object] | None = None
        self._mark = f"{os.getpid()}-{int.from_bytes(os.urandom(6), 'little'):x}"
        self._was_subreaper = adopt and subreaper()
        self._orphans: Orphans | None = None
        self._flag: SignalFlag | None = None
        self._guard: Guard | None = None
        try:
            if adopt:
                set_subreaper(True)
                self._orphans = Orphans(self._is_ours)
                self._flag = SignalFlag(SIGNALS["CHLD"])
                loop.register(self._flag, self._child_ended)
            if guard:
                self._guard = Guard(loop, self._mark, self._guardian_died, report)
        except BaseException:
            self.close()
            raise

    def announcement(self, instance: Instance) -> tuple[Fd, bytes] | None:
        """How a process of an instance tells the guardian of itself; None without one."""
        return None if self._guard is None else self._guard.announcement(instance.key, instance.cgroup)

    def hold(self, instance: Instance, child: Child) -> None:
        """A process of an instance was started; it has told the guardian itself."""
        self._leaders[child.pid] = instance
        if self._guard is not None:
            self._guard.forget_release(instance.key)

    def let_go(self, instance: Instance) -> None:
        """Nothing of an instance's run is left."""
        if instance.pid is not None:
            self._leaders.pop(instance.pid, None)
        if self._guard is not None:
            self._guard.release(instance.key)

    def mark(self, instance: Instance) -> str:
        """What tells the processes of an instance from all others, in their environment."""
        return f"{self._mark}:{instance.key}"

    # ---- looking ----

    def look_at(self, instance: Instance) -> None:
        """Look for what is left of its run, once for all that ask in this turn, and tell it by `seen`."""
        if not self._to_look:
            self._loop.call_soon(self._look)
        self._to_look[instance] = None

    def _look(self) -> None:
        for instance in [instance for instance in self._to_look if instance.group is None]:
            del self._to_look[instance]
        asked = {instance: instance.group.number for instance in self._to_look if instance.group is not None}
        try:
            members = groups.members(asked.values())
            found = {instance: members[number] + self.others_of(instance) for instance, number in asked.items()}
        except OSError:
            self._loop.call_later(_LOOK_AGAIN, self._look)
            found = {one: [] for one in asked if one.group and one.group.is_gone() and self.only_its_group(one)}
            for instance in found:
                del self._to_look[instance]
        else:
            self._to_look.clear()
        for instance, living in found.items():
            instance.seen(living)

    def only_its_group(self, instance: Instance) -> bool:
        """Whether nothing lives of an instance outside its group; False, too, when that cannot be seen now."""
        try:
            return not self.others_of(instance)
        except OSError:
            return False

    def others_of(self, instance: Instance) -> list[int]:
        """What lives of an instance outside its group: orphans with its mark, and members of its cgroup."""
        found = self._orphans_of(instance)
        return found + groups.cgroup_members(instance.cgroup) if instance.cgroup else found

    def _orphans_of(self, instance: Instance) -> list[int]:
        if self._orphans is None:
            return []
        mark = self.mark(instance)
        return [pid for pid, found in self._orphans.living(self._loop.turns).items() if found == mark]

    def send_orphans(self, instance: Instance, signal: int, but: Collection[int] = ()) -> list[int]:
        """Signal the orphans of an instance, but for some; gives their numbers."""
        found: list[int] = []
        if self._orphans is not None:
            with suppress(OSError):
                for pid in self._orphans_of(instance):
                    if pid not in but:
                        self._orphans.send(pid, signal)
                        found.append(pid)
        return found

    def end_strangers(self, signal: int, ended: Callable[[], object]) -> bool:
        """Signal all orphans, whoever left them; True when there is none.  Else `ended` is called once there is none."""
        if self._orphans is None:
            return True
        self._strangers_ended = ended
        try:
            left = self._orphans.living(self._loop.turns)
        except OSError:
            return False
        for pid in left:
            self._orphans.send(pid, signal)
        return not left

    # ---- being told ----

    def _is_ours(self, pid: int) -> bool:
        return pid in self._leaders or pid in self.helpers or (self._guard is not None and pid == self._guard.pid)

    def _child_ended(self, flag: SignalFlag, _: int) -> None:
        flag.clear()  # before the look: what ends after it sets the flag again
        self._reap()

    def _reap(self) -> None:
        if self._orphans is None:
            return
        try:
            self._orphans.reap()
            if self._strangers_ended is not None and not self._orphans.living(self._loop.turns):
                self._strangers_ended()
        except OSError:
            self._loop.call_later(_LOOK_AGAIN, self._reap)

    def _guardian_died(self) -> None:
        """There is another one: it has to know of all that lives."""
        for instance in self._leaders.values():
            if instance.group is not None and self._guard is not None:
                self._guard.hold(instance.key, instance.group.number, instance.group.pidfd, instance.cgroup)

    def close(self) -> None:
        """Let all go; nothing of any instance is left."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._flag is not None:
            self._loop.unregister(self._flag)
            self._flag.close()
            self._flag = None
        if self._orphans is not None:
            self._orphans.close()
            self._orphans = None
            set_subreaper(self._was_subreaper)
        self._leaders.clear()
        self._to_look.clear()
