"""Descriptors that are owned: closed once, never used afterwards, never a stranger's.

`Fd` is the owner that people work with; checked calls (`rawsys.syscalls`) give one for each new descriptor, and
every call of rawsys takes one where it takes a number.  `Handle` is the base of all owners that hold a descriptor::

    with Fd.open("/etc/hostname") as file:
        name = file.read_all()

What is forgotten is closed all the same when the object goes, with a ResourceWarning.  Calls are retried after a
signal whose Python handler did not raise; `rawsys.raw` and `rawsys.syscalls` report EINTR instead.
"""

from __future__ import annotations

from rawsys._native.handle import Handle, register_fd
from rawsys.fd.files import Files
from rawsys.fd.making import Making
from rawsys.fd.moving import Moving
from rawsys.fd.sockets import Sockets
from rawsys.fd.state import State

__all__ = ["Fd", "Handle"]


class Fd(Making, Moving, Files, State, Sockets):
    """An owned file descriptor.

    ``Fd(number)`` adopts an open number, which is closed with this object; ``Fd.open``, ``pipe``, ``socketpair``,
    ``memfd`` and ``eventfd`` make new ones; ``Fd.borrow(number)`` uses one that somebody else closes.  `close()` may be
    called again; any other use after it is ClosedError.  `with` closes at the end; `into_raw()` gives the number away.

    Threads may share an Fd.  `close()` while another thread is inside a call with it takes the number away from new
    calls; the last running call closes it, so a reader that waits goes on waiting, and gets its data.

    A forked child has its own copies of all descriptors: its Fds close the child's, the parent's live on.

    Raises OSError (EBADF) when the number is not open, BusyError when an owner in this process holds it.
    """

    __slots__ = ("__weakref__",)


register_fd(Fd)
