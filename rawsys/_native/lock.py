"""The C type Mutex."""

from __future__ import annotations

import sys

from rawsys._native import handle  # noqa: F401  # the fork generation comes with it
from rawsys._native.install import install

install(sys.modules[__name__], "lock")
