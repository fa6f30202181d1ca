"""What holds around every test: it leaks nothing, and it ends.  See support.py for the helpers."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest
from support import Deadline, leaks, snapshot

DEFAULT_DEADLINE = 60.0


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of this file."""
    config.addinivalue_line(
        "markers", "deadline(seconds): the time after which a test is ended with the stacks of all threads"
    )
    # A shell's `&` and nohup start us with these ignored, which our children would inherit, and then tests of them lie.
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, action in defaults.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, action)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take what was imported and collected out of the collector's sight: some tests collect, and have nothing to find there."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _deadline() -> Deadline:
    return Deadline()


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest, _deadline: Deadline) -> Iterator[None]:
    """Compare what the process is made of before and after the test, and end a test that hangs.

    It is set up before and torn down after the test's other fixtures, so those have to put things back as well.
    """
    marker = request.node.get_closest_marker("deadline")
    before = snapshot()
    _deadline.set(marker.args[0] if marker else DEFAULT_DEADLINE)
    try:
        yield
    finally:
        _deadline.set(0)
    found = leaks(before)
    if found:
        pytest.fail("the test left something behind:\n  " + "\n  ".join(found), pytrace=False)
