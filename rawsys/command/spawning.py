"""Starting a Command's process, and becoming it."""

from __future__ import annotations

import os
import threading

from rawsys import raw
from rawsys._native.process import become as native_become
from rawsys._native.process import spawn as native_spawn
from rawsys.command import _numbers as n
from rawsys.command.child import Child
from rawsys.command.stdio import PIPE, Wiring, number_of
from rawsys.command.steps import Plan, Ran, plan
from rawsys.process import strays

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Never

    from rawsys.command.command import Command

# A child that changes its credentials shares the parent's memory, and the kernel marks that memory undumpable: the
# parent's own /proc files belong to root then, and nobody may trace it.  The mark has to be put back when the child has
# left the memory, and by the last one: two such spawns at once would put back each other's.
_credentials = threading.Lock()


def _renew() -> None:
    global _credentials
    _credentials = threading.Lock()  # a thread that held it does not exist in a forked child


os.register_at_fork(after_in_child=_renew)


def spawn(command: Command) -> Child:
    """`Command.spawn`."""
    if command.parent_death_signal is not None:
        check_thread(command)
    if strays.kept:
        strays.drain()
    wiring = command._wiring or Wiring(command)
    try:
        child = _start(plan(command, wiring), wiring)
    except BaseException:
        wiring.abandon()
        raise
    wiring.done()
    return child


def _start(plan: Plan, wiring: Wiring) -> Child:
    cgroup = number_of(wiring.cgroup)
    if plan.command._changes_credentials:
        with _credentials:
            before = raw.prctl(n.PR_GET_DUMPABLE, 0, 0, 0, 0)
            try:
                pid, child, part, step, errno = native_spawn(Child, plan.parts, plan.flags, cgroup, *wiring.values)
            finally:
                if before == 1 and raw.prctl(n.PR_GET_DUMPABLE, 0, 0, 0, 0) != 1:
                    raw.prctl(n.PR_SET_DUMPABLE, 1, 0, 0, 0)
    else:
        pid, child, part, step, errno = native_spawn(Child, plan.parts, plan.flags, cgroup, *wiring.values)
    if child is None:
        from rawsys.command.failure import clone_refused

        raise clone_refused(plan, -pid)
    child._is(pid, child=True)
    child._has(plan.command, wiring.ends)
    if errno or part < len(plan.parts) - 1 or step < plan.exec_at:
        _never_ran(Ran(plan, wiring.values, part, step, errno), child)
    return child


def _never_ran(ran: Ran, child: Child) -> Never:
    from rawsys.command.failure import ended_early, step_failed

    status = child.wait()
    raise step_failed(ran) if ran.errno else ended_early(ran, status)


def check_thread(command: Command) -> None:
    """The kernel sends a parent death signal when the *thread* ends that started the child."""
    if command.parent_death_any_thread or raw.gettid() == os.getpid():
        return
    raise RuntimeError(
        "parent_death_signal from a thread that is not the main one: it would come when this thread ends. "
        "parent_death_any_thread=True allows it"
    )


def become(command: Command) -> Never:
    """`Command.exec`."""
    from rawsys.command.failure import could_not_become

    if PIPE in (command.stdin, command.stdout, command.stderr):
        raise ValueError("exec() has no parent at the other end of a PIPE")
    if command.namespaces or command.cgroup is not None:
        raise ValueError(
            "exec() makes no process: namespaces and cgroup are for spawn(); see unshare and the cgroup's own files"
        )
    wiring = Wiring(command)
    try:
        plan = Plan(command, wiring, here=True)
        raise could_not_become(Ran(plan, wiring.values, *native_become(plan.parts, *wiring.values)))
    finally:
        wiring.abandon()
