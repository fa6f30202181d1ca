"""The C types AtomicU64, AtomicI64, AtomicU32, AtomicBool."""

from __future__ import annotations

import sys

from rawsys._native.install import install

install(sys.modules[__name__], "atomic")
