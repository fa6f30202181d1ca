"""Durations and sizes as configuration files and command lines write them."""

from __future__ import annotations

import re

_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4,
          "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def seconds(text: str | float) -> float:
    """``"500ms"``, ``"30s"``, ``"1h 30m"`` as seconds; a plain number is seconds already.

    Raises ValueError, with the units that there are.
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError(f'a time such as "500ms", "30s" or "1h 30m" is needed, not {text!r}')
    if not isinstance(text, str):
        if not 0 <= text < float("inf"):
            raise ValueError(f"a time cannot be {text}")
        return float(text)
    total, place, rest = 0.0, 0, text.strip()
    while place < len(rest):
        found = _PART.match(rest, place)
        if found is None or found[2] not in _SECONDS:
            raise ValueError(f'{text!r} is no time: "500ms", "30s", "1h 30m"; units are {", ".join(_SECONDS)}')
        total += float(found[1]) * _SECONDS[found[2]]
        place = found.end()
    if not rest:
        raise ValueError('a time cannot be empty: "500ms", "30s"')
    return total


def size(text: str | int) -> int:
    """``"10MB"``, ``"64KiB"`` as bytes; a plain number is bytes already.

    Raises ValueError, with the units that there are.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise ValueError(f"a size cannot be negative: {text}")
        return text
    found = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None or found[2] not in _BYTES:
        raise ValueError(f'{text!r} is no size: "10MB", "64KiB"; units are {", ".join(filter(None, _BYTES))}')
    return int(float(found[1]) * _BYTES[found[2]])
