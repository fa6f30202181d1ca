"""The C types Handle and FdIO."""

from __future__ import annotations

import sys

from rawsys._native.install import install

install(sys.modules[__name__], "types")
