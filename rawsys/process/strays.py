"""Children that were let go before they ended: their pidfds wait here until they can be reaped.

They are looked at whenever something is spawned or waited for, and at exit.  A helper thread that waits for them was
the other way: it would make every later fork of the process unsafe.
"""

from __future__ import annotations

import atexit
import os
import threading

from rawsys import raw
from rawsys.process import _numbers as n

kept: list[int] = []
"""Their pidfds."""
_lock = threading.Lock()


def keep(pidfd: int) -> None:
    """Reap this child later; the descriptor is ours from here on."""
    kept.append(pidfd)


def drain() -> None:
    """Reap those that have ended.  Does not wait, also not for another thread that is at it."""
    if not kept or not _lock.acquire(blocking=False):
        return
    try:
        for pidfd in tuple(kept):
            info = bytearray(128)
            answer = raw.waitid(n.P_PIDFD, pidfd, info, n.WEXITED | n.WNOHANG, None)
            if answer < 0 or any(info[16:20]):  # gone with another's wait, or si_pid: reaped now
                kept.remove(pidfd)
                raw.close(pidfd)
    finally:
        _lock.release()


def _forget() -> None:
    """In a forked child: they are the parent's children."""
    global _lock
    _lock = threading.Lock()
    for pidfd in kept:
        raw.close(pidfd)
    kept.clear()


atexit.register(drain)
os.register_at_fork(after_in_child=_forget)
