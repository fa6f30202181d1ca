"""The C type of Mapping, and copies between processes."""

from __future__ import annotations

import sys

from rawsys._native import handle  # noqa: F401  # a mapping counts Handles: their type, and the fork generation, come first
from rawsys._native.install import install

install(sys.modules[__name__], "memory")
