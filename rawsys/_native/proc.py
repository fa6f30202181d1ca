"""The parsers of /proc's text, and the samples of `rawsys.proc.layout`."""

from __future__ import annotations

import sys

from rawsys._native.install import install

install(sys.modules[__name__], "proc")
