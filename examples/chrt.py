"""chrt(1): with which scheduling policy and priority a process runs.

Run: python examples/chrt.py [-b|-f|-i|-o|-r] [-R] PRIORITY COMMAND [ARG]...
     python examples/chrt.py -p [-a] [-v] [-b|-f|-i|-o|-r] [-R] [PRIORITY] PID
     python examples/chrt.py -m

The policy is batch, fifo, idle, other or rr (round robin, the default).  With -R children go back to the default policy,
with -a it is done to all threads of the process, -m shows the priorities that there are.
"""

from __future__ import annotations

import sys

from taskset import Failed, arguments, number, run, threads, trying

from rawsys import raw, sched
from rawsys.constants import Sched

LONG = {
    "batch": "b", "fifo": "f", "idle": "i", "other": "o", "rr": "r",
    "all-tasks": "a", "max": "m", "pid": "p", "reset-on-fork": "R", "verbose": "v",
}  # fmt: skip
POLICIES = {
    "o": Sched.SCHED_OTHER,
    "f": Sched.SCHED_FIFO,
    "r": Sched.SCHED_RR,
    "b": Sched.SCHED_BATCH,
    "i": Sched.SCHED_IDLE,
    "d": Sched.SCHED_DEADLINE,  # shown, but not set
}


def limits(policy: int) -> tuple[int, int]:
    """The lowest and the highest priority of a policy."""
    return raw.sched_get_priority_min(policy), raw.sched_get_priority_max(policy)


def show_limits() -> None:
    """Of all policies."""
    for policy in POLICIES.values():
        least, most = limits(policy)
        print(f"{policy.name} min/max priority\t: {least}/{most}")


def tell(tid: int, when: str) -> None:
    """Policy and priority of a thread."""
    with trying(f"get pid {tid}'s policy"):
        policy = sched.policy(tid)
    reset = "|SCHED_RESET_ON_FORK" if policy.reset_on_fork else ""
    print(f"pid {tid}'s {when} scheduling policy: {policy.policy.name}{reset}")
    print(f"pid {tid}'s {when} scheduling priority: {policy.priority}")


def change(what: str, tid: int, policy: int, text: str, reset: bool) -> None:
    """Give a thread another policy."""
    priority = number(text, "priority")
    least, most = limits(policy)
    if not least <= priority <= most:
        raise Failed(f"unsupported priority value for the policy: {priority}: see --max for valid range")
    with trying(f"set {what} {tid}'s policy"):
        sched.set_policy(policy, priority, tid, reset_on_fork=reset)


def chrt(words: list[str]) -> list[str]:
    """Policy and priority; gives the command that is to be run, if there is one."""
    options, rest = arguments(words, LONG)
    if "m" in options:
        show_limits()
        return []
    policy = next((POLICIES[letter] for letter in POLICIES if letter in options), Sched.SCHED_RR)
    reset, verbose = "R" in options, "v" in options
    if "p" not in options:
        change("pid", 0, policy, rest[0], reset)
        return rest[1:]
    for tid in threads(options, number(rest[-1], "PID")):
        if len(rest) == 1 or verbose:
            tell(tid, "current")
        if len(rest) == 2:
            change("tid" if "a" in options else "pid", tid, policy, rest[0], reset)
            if verbose:
                tell(tid, "new")
    return []


if __name__ == "__main__":
    sys.exit(run(chrt, __doc__ or ""))
