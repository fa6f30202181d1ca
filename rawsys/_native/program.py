"""The C types of Programs."""

from __future__ import annotations

import sys

from rawsys._native import handle  # noqa: F401  # steps hold Handles: their type comes first
from rawsys._native.install import install

install(sys.modules[__name__], "program")
