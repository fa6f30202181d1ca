"""Which thread a guard belongs to."""

from __future__ import annotations

from _thread import _local

from rawsys import raw

_mine = _local()


class Here:
    """The thread that made it; its mask and its alternate stack are that thread's own."""

    __slots__ = ("_token", "tid")

    def __init__(self) -> None:
        self.tid, self._token = raw.gettid(), _token()

    def mine(self) -> bool:
        """It is the calling one."""
        # Not by the tid: a child that this thread forks is this thread still, mask and stack included, and has to leave
        # what it entered (block, fork, leave in both is how a fork is kept from signals), but its tid is new.  And a tid
        # is given again once its thread has ended, to one that never entered.
        return self._token is _token()

    def check(self, what: str) -> None:
        """Raise RuntimeError in another thread."""
        if not self.mine():
            raise RuntimeError(
                f"{what} belongs to thread {self.tid}, which entered; it cannot be put back from another one"
            )


def _token() -> object:
    return _mine.__dict__.setdefault("token", object())  # one step: a collection may come here between two
