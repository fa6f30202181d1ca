"""Waiting for a descriptor under asyncio; imported only there."""

from __future__ import annotations

import asyncio


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def readable(number: int) -> None:
    """Wait until the descriptor can be read.  One task at a time for each descriptor: asyncio keeps one reader."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(number, _tell, ready)
    try:
        await ready
    finally:
        loop.remove_reader(number)
