"""Interpreter exits with threads in every state; `long_thread_exit.py` runs 200 of them."""

from __future__ import annotations

import pytest
import thread_exits


@pytest.mark.parametrize("index", range(8))
def test_exit_is_clean(index: int) -> None:
    """Edge 99: idle, blocked, busy and detached threads, in Python and in C: status 0, no word on stderr, nobody lost."""
    assert thread_exits.run(index) is None
