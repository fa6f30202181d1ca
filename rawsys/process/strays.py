"""Children that were let go before they ended: their pidfds wait here until they can be reaped.

They are looked at whenever something is spawned or waited for, and at exit.  A helper thread that waits for them was
the other way: it would make every later fork of the process unsafe.
"""

from __future__ import annotations

import atexit
import os
from contextlib import suppress

from rawsys import raw
from rawsys._native.handle import Handle
from rawsys.fd._calls import Number
from rawsys.process import _numbers as n


class Stray(Handle):
    """The pidfd of a child that was let go."""

    __slots__ = ()

    # Without the warning of an owner that is forgotten: at exit the rest goes, and the child has had its own.  In C, so
    # that no signal handler runs in it, whose exception would be swallowed.
    __del__ = Handle.close


kept: list[Stray] = []


def keep(child: Handle) -> None:
    """Reap this child later; its descriptor is ours from here on."""
    child._pass_on(Stray, kept)


def drain() -> None:
    """Reap those that have ended; does not wait.

    There is no lock.  A signal handler that raises behind `acquire`, before a `try` has begun, would leave it locked, and
    from then on no child would be reaped any more.  Threads that meet here may all ask for the same child: one reaps it,
    the others hear that it is gone, and a stray is closed once however often one says so.  What is interrupted half-way is
    done by the next.
    """
    for stray in tuple(kept):
        if _gone(stray):
            stray.close()
            with suppress(ValueError):  # another thread has taken it off
                kept.remove(stray)


def _gone(stray: Stray) -> bool:
    """True when nothing is left to reap."""
    try:
        number = Number(stray)
    except ValueError:  # ClosedError: somebody else has done it
        return True
    info = bytearray(128)
    try:
        answer = raw.waitid(n.P_PIDFD, number.value, info, n.WEXITED | n.WNOHANG, None)
    finally:
        number.release()
    return answer < 0 or any(info[16:20])  # gone with another's wait, or si_pid: reaped now


def _forget() -> None:
    """In a forked child: they are the parent's children."""
    for stray in kept:
        stray.close()
    kept.clear()


atexit.register(drain)
os.register_at_fork(after_in_child=_forget)
