"""The compiled side of a spawn."""

from __future__ import annotations

import sys

from rawsys._native import program  # noqa: F401  # a child runs Programs: their types come first
from rawsys._native.install import install

install(sys.modules[__name__], "process")
