"""The C types of signals, and what a forked child has to do for them."""

from __future__ import annotations

import os
import sys

from rawsys._native import program  # noqa: F401  # an action holds a Program: its type comes first
from rawsys._native.install import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys._native.signals import after_fork

install(sys.modules[__name__], "signals")
os.register_at_fork(after_in_child=after_fork)
