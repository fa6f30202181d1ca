"""200 interpreter exits with threads in every state; pytest tests/long_thread_exit.py."""

from __future__ import annotations

import pytest
import thread_exits


@pytest.mark.deadline(900)
def test_200_exits_are_clean() -> None:
    """Edge 99, as often as it takes to see what happens once in a hundred times."""
    for index in range(200):
        assert thread_exits.run(index) is None
