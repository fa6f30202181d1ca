"""Waiting for several processes, and under asyncio."""

from __future__ import annotations

from rawsys._timeouts import Deadline
from rawsys.process import _numbers as n
from rawsys.process._polling import poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeVar

    from rawsys.process.pid import Pid
    from rawsys.process.status import ExitStatus

    P = TypeVar("P", bound=Pid)


def wait_any(pids: Iterable[P], timeout: float | None = None) -> P:
    """The first of these processes that has ended, reaped: its `status` is there.

    Of several that have ended it is the one that stands first.

    Raises TimeoutError when none has ended within `timeout` seconds, ValueError when there are none to wait for.
    """
    waiting = list(pids)
    if not waiting:
        raise ValueError("wait_any() needs a process to wait for")
    deadline = Deadline(timeout)
    while True:
        for pid in waiting:
            if pid.status is not None:
                return pid
        events = poll([(pid, _event(pid)) for pid in waiting], deadline)
        for pid, event in zip(waiting, events, strict=True):
            if event:
                pid.wait()
                return pid
        if not any(pid.status for pid in waiting):
            raise TimeoutError(f"none of {len(waiting)} processes ended within {timeout:g} s")


def wait_all(pids: Iterable[Pid], timeout: float | None = None) -> list[ExitStatus]:
    """Wait for all these processes, and reap them; their statuses in the same order.

    Raises TimeoutError when one has not ended within `timeout` seconds; those that had ended are reaped all the same.
    """
    waiting, deadline = list(pids), Deadline(timeout)
    late = 0
    for pid in waiting:
        left = deadline.left_ns()
        try:
            pid.wait(None if left is None else left / 1e9)
        except TimeoutError:
            late += 1  # the others may have ended all the same
    if late:
        raise TimeoutError(f"{late} of {len(waiting)} processes did not end within {timeout:g} s")
    return [pid.wait() for pid in waiting]


def _event(pid: Pid) -> int:
    """A process that is not ours has no status before its parent reaped it: POLLHUP, which needs no asking for."""
    return n.POLLIN if pid._told_at_end else 0


async def ended_async(pid: Pid) -> None:
    """Return when `wait` would not wait."""
    from rawsys.fd._asyncio import ready

    await ready(pid, _event(pid))
