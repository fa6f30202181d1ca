"""Interpreter exits with threads in every state; `long_thread_exit.py` runs 200 of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import thread_exits


def test_exits_are_clean() -> None:
    """Edge 99: idle, blocked, busy and detached threads, in Python and in C: status 0, no word on stderr, nobody lost."""
    with ThreadPoolExecutor(2) as pool:  # an exit mostly waits
        assert [wrong for wrong in pool.map(thread_exits.run, range(20)) if wrong] == []
