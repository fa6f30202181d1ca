"""Waiting for a descriptor under asyncio; imported only there."""

from __future__ import annotations

import asyncio

from rawsys import raw
from rawsys.fd import _numbers as n
from rawsys.fd._calls import Number, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys._types import Descriptor


async def ready(fd: Descriptor, events: int = n.POLLIN) -> None:
    """Return when one of the POLL events, an error or a hang-up is there; at once for a file, which is always ready.

    The loop watches an epoll of our own: its readers are known by their number, and two tasks that wait for one
    descriptor would take each other's place; and it cannot be told to watch for POLLHUP alone (`events` 0).
    """
    from rawsys.fd import Fd

    with Fd._fresh(_made(raw.epoll_create1(n.O_CLOEXEC))) as watch:
        number = Number(fd)
        try:
            event = events.to_bytes(4, "little") + bytes(8)
            answer = raw.epoll_ctl(watch, n.EPOLL_CTL_ADD, number.value, event)
            if answer == -n.EPERM:
                return
            if answer < 0:
                fail("epoll_ctl", (watch, n.EPOLL_CTL_ADD, number.value, event), answer)
            await _readable(watch.fileno())
        finally:
            number.release()


def _made(answer: int) -> int:
    if answer < 0:
        fail("epoll_create1", (n.O_CLOEXEC,), answer)
    return answer


async def _readable(number: int) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(number, _settle, done)
    try:
        await done
    finally:
        loop.remove_reader(number)


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
