"""A Command becomes Programs: each attribute a step, in one order.

signals; session, process group, terminal; user namespace's maps; scheduling; descriptors; limits; umask; root and
directory; groups, group, user; capabilities and securebits; no_new_privs; the caller's own steps; parent death signal
(a change of credentials clears it); close-on-exec; signal mask; exec.
"""

from __future__ import annotations

import os

from rawsys import raw
from rawsys._native.program import Core
from rawsys.command import _numbers as n
from rawsys.command import identity
from rawsys.command.environment import block, candidates
from rawsys.command.stdio import Wiring
from rawsys.fd import Fd, Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys._native.program import Slot
    from rawsys.command.command import Command

_SEARCH = (n.ENOENT, n.EACCES, n.ENOTDIR, n.ENODEV, n.ESTALE, n.ETIMEDOUT)
"""With these the next directory of PATH is tried, as execvp does; anything else ends the search."""


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


def plan(command: Command) -> Plan:
    """The plan for a spawn now.

    A Program runs as often as one likes, so a plan is kept with its command where it holds nothing of one spawn alone:
    no pipe, no opened file, no number of a descriptor, no looked-up account.
    """
    # The strings are the same object as long as the environment is the same; tell that from another list in its place
    # by keeping it: it is among the key's parts.
    now = (
        block(command._env, command._extra_env)[1] if command._inherits else None,
        command._mask or _mask_now(),
        os.getpid(),
    )
    known = command._compiled
    if known is not None and known[0][0] is now[0] and known[0][1:] == now[1:]:
        return known[1]
    made = Plan(command)
    if made.reusable:
        command._compiled = (now, made)
    return made


class Plan:
    """All that a spawn or an exec needs: the parts, clone's flags, the cgroup, and which step is the first exec."""

    __slots__ = ("_command", "cgroup", "credentials", "exec_at", "flags", "parts", "wiring")

    def __init__(self, command: Command, *, here: bool = False) -> None:
        self._command = command
        self.flags = command.namespaces
        self.cgroup: Fd | None = None
        self.credentials = command._changes_credentials
        """The child's credentials change: that makes the parent undumpable for a time."""
        self.wiring = Wiring((command.stdin, command.stdout, command.stderr), command.fds)
        try:
            self._compile(here)
        except BaseException:
            self.wiring.abandon()
            raise

    def _compile(self, here: bool) -> None:
        c, first = self._command, Steps()
        fast = not here and self._needs_no_fds()
        if fast:
            # The table of descriptors is shared with the child for a moment, instead of copied: with 10,000 open that
            # copy, and closing it, is most of a spawn.  The first step gives the child a table with 0, 1 and 2.
            self.flags |= n.CLONE_FILES
            first.add(n.Call.close_range, (3, n.ALL_FDS, n.CLOSE_RANGE_UNSHARE))
        self._signals(first)
        self._session(first)
        if self.flags & n.CLONE_NEWUSER:
            identity.maps(first, c.user, c.group)
        self._scheduling(first)
        self.wiring.place(first.add)
        self._limits_and_places(first)
        identity.credentials(first, c, new_user=bool(self.flags & n.CLONE_NEWUSER))
        if c.no_new_privs:
            first.add(n.Call.prctl, (n.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        last = first if c.steps is None else Steps()
        self._end(last, here, fast)
        self.parts = (first.core,) if c.steps is None else (first.core, c.steps, last.core)
        if c.cgroup is not None:
            self.cgroup = self._cgroup(c.cgroup)

    @property
    def reusable(self) -> bool:
        """True when nothing in it belongs to one spawn alone."""
        return not (self.wiring.sources or self.wiring.opened or self._command._varies)

    def _needs_no_fds(self) -> bool:
        c = self._command
        watches_pipe = c.parent_death_signal is not None and c.namespaces & n.CLONE_NEWPID
        paths = not any(isinstance(place, (int, Handle)) for place in (c.cwd, c.controlling_tty))
        return (
            c.steps is None and not watches_pipe and paths and c.controlling_tty is None and self.wiring.nothing_above_2
        )

    def _signals(self, steps: Steps) -> None:
        default = bytes(32)
        for signal in self._command._defaults:
            steps.add(n.Call.rt_sigaction, (signal, default, None, 8))

    def _session(self, steps: Steps) -> None:
        c = self._command
        if c.new_session:
            steps.add(n.Call.setsid, ())
        if c.process_group is not None:
            steps.add(n.Call.setpgid, (0, c.process_group))
        if c.controlling_tty is not None:
            tty = c.controlling_tty
            fd = self.wiring.open(tty, n.O_RDWR | n.O_NOCTTY) if isinstance(tty, (str, bytes, os.PathLike)) else tty
            steps.add(n.Call.ioctl, (fd, n.TIOCSCTTY, 0))
        if c.subreaper:
            steps.add(n.Call.prctl, (n.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))

    def _scheduling(self, steps: Steps) -> None:
        c = self._command
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
        c = self._command
        for resource, limit in c._limits.items():
            steps.add(n.Call.prlimit64, (0, resource, limit, None))
        if c.umask is not None:
            steps.add(n.Call.umask, (c.umask,))
        if c.root is not None:
            steps.add(n.Call.chroot, (c.root,))
        if isinstance(c.cwd, (str, bytes, os.PathLike)):
            steps.add(n.Call.chdir, (c.cwd,))
        elif c.cwd is not None:
            steps.add(n.Call.fchdir, (self.wiring.clear_of_targets(c.cwd),))
        elif c.root is not None:
            steps.add(n.Call.chdir, (b"/",))  # or the child would still stand outside

    def _end(self, steps: Steps, here: bool, fast: bool) -> None:
        c = self._command
        if c.parent_death_signal is not None:
            self._parent_death(steps, c.parent_death_signal, here)
        if not fast:
            self.wiring.keep_only(steps.add)
        if c.signal_mask is not None or not here:
            steps.add(n.Call.rt_sigprocmask, (n.SIG_SETMASK, c._mask or _mask_now(), None, 8))
        variables, strings = block(c._env, c._extra_env)
        files = candidates(c._executable or c._argv[0], variables)
        argv = c._argv if c.argv0 is None else (os.fsencode(c.argv0), *c._argv[1:])
        self.exec_at = len(steps.core)
        for file in files:
            steps.add(n.Call.execve, (file, argv, strings), _SEARCH if len(files) > 1 else ())

    def _parent_death(self, steps: Steps, signal: int, here: bool) -> None:
        """When the parent is gone already, its death signal never comes, and the child must not begin.

        In a new PID namespace the parent has no number: there a pipe, whose other end only the parent has, tells.
        """
        if here or not self.flags & n.CLONE_NEWPID:
            steps.add(n.Call.prctl, (n.PR_SET_PDEATHSIG, signal, 0, 0, 0))
            if not here:
                steps.add(n.Call.getppid, (), (), os.getpid())
            return
        read, write = self.wiring.pipe()
        steps.add(n.Call.prctl, (n.PR_SET_PDEATHSIG, signal, 0, 0, 0))
        steps.add(n.Call.close, (write,))
        asked = bytearray(read.to_bytes(4, "little") + b"\x01\0\0\0")
        steps.add(n.Call.poll, (asked, 1, 0), (), 0)

    def _cgroup(self, cgroup: object) -> Fd:
        if isinstance(cgroup, (str, bytes, os.PathLike)):
            return self.wiring.open(cgroup, n.O_RDONLY | n.O_DIRECTORY)
        return cgroup if isinstance(cgroup, Fd) else Fd.borrow(cgroup)  # type: ignore[arg-type]  # checked by Command


def _mask_now() -> bytes:
    """The calling thread's signal mask, which the child gets: around clone all signals are blocked."""
    mask = bytearray(8)
    raw.rt_sigprocmask(n.SIG_SETMASK, None, mask, 8)
    return bytes(mask)
