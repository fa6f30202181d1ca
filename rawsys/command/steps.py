"""A Command becomes Programs: each attribute a step, in one order.

signals; session, process group, terminal; user namespace's maps; scheduling; descriptors; limits; umask; root and
directory; groups, group, user; capabilities and securebits; no_new_privs; the announcement; the caller's own steps;
parent death signal (a change of credentials clears it); close-on-exec; signal mask; exec.
"""

from __future__ import annotations

import os
from struct import pack
from typing import NamedTuple

from rawsys import raw
from rawsys._native.buffers import Pinned
from rawsys._native.program import Core
from rawsys.command import _numbers as n
from rawsys.command import identity
from rawsys.command.environment import block, candidates, inherited
from rawsys.command.stdio import is_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rawsys._native.program import Slot
    from rawsys.command.command import Command
    from rawsys.command.stdio import Wiring

_SEARCH = (n.ENOENT, n.EACCES, n.ENOTDIR, n.ENODEV, n.ESTALE, n.ETIMEDOUT)
"""With these the next directory of PATH is tried, as execvp does; anything else ends the search."""

_NOBODY = (n.EPIPE, n.ECONNRESET, n.ECONNREFUSED, n.ENOTCONN)
"""An announcement that nobody hears any more."""
_DIGITS = 10
"""Of the largest number that a process can have."""


class Steps:
    """A Program in the making: it stops at the first step that fails."""

    __slots__ = ("core",)

    def __init__(self) -> None:
        self.core = Core(stop_on_error=True)

    def add(
        self, number: int, arguments: tuple[object, ...], allow: tuple[int, ...] = (), expect: int | None = None
    ) -> Slot:
        """One call more."""
        return self.core._add(number, arguments, False, True, allow, expect)

    def write_file(self, path: bytes, data: bytes) -> None:
        """Open, write, close: how /proc is told something."""
        fd = self.add(n.Call.openat, (n.AT_FDCWD, path, n.O_WRONLY | n.O_CLOEXEC, 0))
        self.add(n.Call.write, (fd, data, len(data)))
        self.add(n.Call.close, (fd,))


def plan(command: Command, wiring: Wiring) -> Plan:
    """The plan for a spawn now.

    A Program runs as often as one likes, with other descriptors too, so the last plan is kept with its command and
    serves again where all that it depends on is the same; not where it depends on more than can be compared.  It is kept
    from the second spawn on: it takes 8 kB, and most commands, and most services, are started once.
    """
    # The strings are the same object as long as the environment is the same; tell that from another list in its place
    # by keeping it: it is among the key's parts.
    now = (
        inherited()[1] if command._env is None else None,
        command._mask or _mask_now(),
        os.getpid(),
        wiring.shape,
    )
    known = command._compiled
    if known is not None and known[0][0] is now[0] and known[0][1:] == now[1:]:
        return known[1]
    made = Plan(command, wiring)
    if command._started and not command._varies:
        command._compiled = (now, made)
    command._started = True
    return made


class Plan:
    """All that spawns and execs of one shape need: the parts, clone's flags, and which step is the first exec.

    The first part has parameters: the `values` of a `Wiring`.
    """

    __slots__ = ("_announce", "_pid", "_tty", "_where", "command", "exec_at", "flags", "parts")

    def __init__(self, command: Command, wiring: Wiring, *, here: bool = False) -> None:
        self.command = command
        self.flags = command.namespaces
        self._compile(wiring, here)

    def _compile(self, wiring: Wiring, here: bool) -> None:
        c, first = self.command, Steps()
        slots = {target: first.core.parameter(f"for {target}") for target in wiring.sources}
        self._tty = None if c.controlling_tty is None else first.core.parameter("controlling_tty")
        self._where = None if c.cwd is None or is_path(c.cwd) else first.core.parameter("cwd")
        self._announce = None if c.announce is None else first.core.parameter("announce")
        fast = not here and self._needs_no_fds() and wiring.nothing_above_2
        if fast:
            # The table of descriptors is shared with the child for a moment, instead of copied: with 10,000 open that
            # copy, and closing it, is most of a spawn.  The first step gives the child a table with 0, 1 and 2.
            self.flags |= n.CLONE_FILES
            first.add(n.Call.close_range, (3, n.ALL_FDS, n.CLOSE_RANGE_UNSHARE))
        self._signals(first)
        self._pid = None if c.pid_variable is None else OwnNumber(first, c.pid_variable)
        self._session(first)
        if self.flags & n.CLONE_NEWUSER:
            identity.maps(first, c.user, c.group)
        self._scheduling(first)
        wiring.place(first.add, slots)
        self._limits_and_places(first)
        identity.credentials(first, c, new_user=bool(self.flags & n.CLONE_NEWUSER))
        if c.no_new_privs:
            first.add(n.Call.prctl, (n.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        if c.announce is not None:
            text = c.announce[1]
            first.add(n.Call.sendto, (self._announce, text, len(text), n.MSG_NOSIGNAL, None, 0), _NOBODY)
        last = first if c.steps is None else Steps()
        self._end(last, wiring, here, fast)
        self.parts = (first.core,) if c.steps is None else (first.core, c.steps, last.core)

    def _needs_no_fds(self) -> bool:
        c = self.command
        watches_pipe = c.parent_death_signal is not None and c.namespaces & n.CLONE_NEWPID
        given = (c.steps, self._tty, self._where, self._announce)
        return not watches_pipe and all(each is None for each in given)

    def _signals(self, steps: Steps) -> None:
        default = bytes(32)
        for signal in self.command._defaults:
            steps.add(n.Call.rt_sigaction, (signal, default, None, 8))

    def _session(self, steps: Steps) -> None:
        c = self.command
        if c.new_session:
            steps.add(n.Call.setsid, ())
        if c.process_group is not None:
            steps.add(n.Call.setpgid, (0, c.process_group))
        if self._tty is not None:
            steps.add(n.Call.ioctl, (self._tty, n.TIOCSCTTY, 0))
        if c.subreaper:
            steps.add(n.Call.prctl, (n.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))

    def _scheduling(self, steps: Steps) -> None:
        c = self.command
        if c.nice is not None:
            steps.add(n.Call.setpriority, (n.PRIO_PROCESS, 0, c.nice))
        if c.affinity is not None:
            steps.add(n.Call.sched_setaffinity, (0, len(c._cpus), c._cpus))
        if isinstance(c.scheduling, tuple):
            policy, priority = c.scheduling
            steps.add(n.Call.sched_setscheduler, (0, policy, int(priority).to_bytes(4, "little", signed=True)))
        elif c.scheduling is not None:
            steps.add(n.Call.sched_setattr, (0, steps.core.buffer(c._sched_attr()), 0))
        if c.ioprio is not None:
            steps.add(n.Call.ioprio_set, (n.IOPRIO_WHO_PROCESS, 0, c._ioprio))
        if c.oom_score_adj is not None:
            steps.write_file(b"/proc/self/oom_score_adj", b"%d" % c.oom_score_adj)
        if c.personality is not None:
            steps.add(n.Call.personality, (c.personality,))

    def _limits_and_places(self, steps: Steps) -> None:
        c = self.command
        for resource, limit in c._limits.items():
            steps.add(n.Call.prlimit64, (0, resource, limit, None))
        if c.umask is not None:
            steps.add(n.Call.umask, (c.umask,))
        if c.root is not None:
            steps.add(n.Call.chroot, (c.root,))
        if self._where is not None:
            steps.add(n.Call.fchdir, (self._where,))
        elif c.cwd is not None:
            steps.add(n.Call.chdir, (c.cwd,))
        elif c.root is not None:
            steps.add(n.Call.chdir, (b"/",))  # or the child would still stand outside

    def _end(self, steps: Steps, wiring: Wiring, here: bool, fast: bool) -> None:
        c = self.command
        if c.parent_death_signal is not None:
            self._parent_death(steps, wiring, c.parent_death_signal, here)
        if not fast:
            wiring.keep_only(steps.add)
        if c.signal_mask is not None or not here:
            steps.add(n.Call.rt_sigprocmask, (n.SIG_SETMASK, c._mask or _mask_now(), None, 8))
        variables, strings = block(c._env, c._extra_env)
        files = candidates(c._executable or c._argv[0], variables)
        argv = c._argv if c.argv0 is None else (os.fsencode(c.argv0), *c._argv[1:])
        self.exec_at = len(steps.core)
        environment = strings if self._pid is None else self._pid.beside(strings)
        for file in files:
            steps.add(n.Call.execve, (file, argv, environment), _SEARCH if len(files) > 1 else ())

    def _parent_death(self, steps: Steps, wiring: Wiring, signal: int, here: bool) -> None:
        """When the parent is gone already, its death signal never comes, and the child must not begin.

        In a new PID namespace the parent has no number: there a pipe, whose other end only the parent has, tells.
        """
        if here or not self.flags & n.CLONE_NEWPID:
            steps.add(n.Call.prctl, (n.PR_SET_PDEATHSIG, signal, 0, 0, 0))
            if not here:
                steps.add(n.Call.getppid, (), (), os.getpid())
            return
        read, write = wiring.pipe()
        steps.add(n.Call.prctl, (n.PR_SET_PDEATHSIG, signal, 0, 0, 0))
        steps.add(n.Call.close, (write,))
        asked = bytearray(read.to_bytes(4, "little") + b"\x01\0\0\0")
        steps.add(n.Call.poll, (asked, 1, 0), (), 0)


class OwnNumber:
    """A variable with the child's own number, which nobody knows before there is a child.

    The link /proc/self is that number as text: the child reads it into the variable, which lies in memory that both have.
    So these steps serve one spawn: of two at once, each child would write into the other's variable.
    """

    __slots__ = ("_name", "_pins", "_variable")

    def __init__(self, steps: Steps, name: str) -> None:
        self._name = os.fsencode(name) + b"="
        self._variable = bytearray(self._name + bytes(_DIGITS + 1))
        number = memoryview(self._variable)[len(self._name) : -1]
        steps.add(n.Call.readlink, (b"/proc/self", number, _DIGITS))

    def beside(self, strings: Sequence[bytes]) -> bytearray:
        """The array of addresses that execve takes: of these strings, and of the variable."""
        others = [each + b"\0" for each in strings if not each.startswith(self._name)]
        self._pins = Pinned([*others, self._variable])
        addresses = [self._pins.place(i)[0] for i in range(len(others) + 1)]
        return bytearray(pack(f"{len(addresses)}QQ", *addresses, 0))


class Ran(NamedTuple):
    """How far a plan came in a process of its own, or in this one."""

    plan: Plan
    values: Sequence[object]
    """Of the parameters of its first part."""
    part: int
    step: int
    errno: int


def _mask_now() -> bytes:
    """The calling thread's signal mask, which the child gets: around clone all signals are blocked."""
    mask = bytearray(8)
    raw.rt_sigprocmask(n.SIG_SETMASK, None, mask, 8)
    return bytes(mask)
