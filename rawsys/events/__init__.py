"""Events: descriptors that tell, and a loop that waits for all of them at once.

`Epoll` waits for many descriptors, `TimerFd` is a clock that can be waited for, `Inotify` tells what happens to files.
`EventLoop` calls a function for each source that is ready, and at the times it was told: any `Fd`, a `Pid` (its end), a
`SignalFd`, `SignalFlag` or `SignalQueue`, a socket.  It sleeps until something happens; there is no tick::

    with EventLoop() as loop, Command("sleep", "1").spawn() as child:
        loop.register(child, lambda source, events: loop.stop())
        loop.call_later(5, child.kill)
        loop.run()

Under asyncio each source has ``await source.wait_async()`` instead.
"""

from __future__ import annotations

from rawsys.events.epoll import Epoll
from rawsys.events.loop import EventLoop, Timer
from rawsys.events.timerfd import TimerFd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.events.inotify import Inotify, InotifyEvent

__all__ = ["Epoll", "EventLoop", "Inotify", "InotifyEvent", "Timer", "TimerFd"]


def __getattr__(name: str) -> object:
    if name not in ("Inotify", "InotifyEvent"):
        raise AttributeError(f"module 'rawsys.events' has no attribute {name!r}", name=name)
    from rawsys.events import inotify

    value = globals()[name] = getattr(inotify, name)
    return value
