"""Every test of signals runs in every place of signal_places.py, or stands here with its reason."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

from signal_places import PLACES

VALUES = {"test_signals_set": "sets are values: no signal is sent, taken or blocked"}
"""Files without a test that the places could matter to."""

EXCEPTIONS = {
    "test_ctrl_c_when_nobody_took_it": "asyncio.run takes SIGINT itself, and raises KeyboardInterrupt when it ends",
    "test_ctrl_c_ends_a_wait": "asyncio.run takes SIGINT itself, and raises KeyboardInterrupt when it ends",
    "test_import_is_lazy": "looks at the modules of a fresh interpreter: no signal",
    "test_families_that_wait": "looks at the table: no signal",
}


def all_of_them() -> Iterator[tuple[str, Callable[..., None]]]:
    """All tests of signals but those here."""
    for path in sorted(Path(__file__).parent.glob("test_signals_*.py")):
        if path.stem == Path(__file__).stem or path.stem in VALUES:
            continue
        module = importlib.import_module(path.stem)
        yield from ((name, test) for name, test in vars(module).items() if name.startswith("test_"))


def test_every_test_of_signals_runs_everywhere() -> None:
    """Bare, beside signal.signal and under asyncio with faulthandler; the exceptions are those that are named, no more."""
    elsewhere = {name for name, test in all_of_them() if getattr(test, "places", 0) != len(PLACES)}
    assert elsewhere == set(EXCEPTIONS)
    assert len(list(all_of_them())) > 100
