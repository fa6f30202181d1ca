"""A child's arguments, environment and the files that PATH offers, as execve takes them."""

from __future__ import annotations

import os
from os import fsencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Text = str | bytes | os.PathLike[str] | os.PathLike[bytes]

DEFAULT_PATH = b"/bin:/usr/bin"
"""Where commands are looked for when the child has no PATH."""


def text(value: Text, what: str) -> bytes:
    """A string for the kernel.

    Raises TypeError for what is no string, ValueError for one with a null byte, which would be cut there.
    """
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{what} must be str, bytes or os.PathLike, not {type(value).__name__}")
    encoded = fsencode(value)
    if b"\0" in encoded:
        raise ValueError(f"embedded null byte in {what}: {value!r}")
    return encoded


def arguments(argv: Iterable[Text]) -> tuple[bytes, ...]:
    """The checked arguments; a program without its own name is refused, since many read past the end of such a list."""
    encoded = tuple(text(argument, "an argument") for argument in argv)
    if not encoded:
        raise ValueError("a Command needs at least the name of a program")
    if not encoded[0]:
        raise ValueError("the name of a program cannot be empty")
    return encoded


def pairs(variables: Mapping[str, Text] | Mapping[bytes, Text]) -> dict[bytes, bytes]:
    """Checked variables of an environment."""
    found = {}
    for key, value in variables.items():
        name = text(key, "a variable's name")
        if not name or b"=" in name:
            raise ValueError(f"a variable's name is not empty and has no '=': {key!r}")
        found[name] = text(value, f"variable {key!r}")
    return found


_inherited: tuple[dict[bytes, bytes], list[bytes]] = ({}, [])
"""The parent's variables as they were at the last look, and as strings: they seldom change between two spawns."""


def inherited() -> tuple[dict[bytes, bytes], list[bytes]]:
    """This process's variables, and the same as ``KEY=value``; neither may be changed."""
    global _inherited
    # os.environb is a mapping in Python over this dict, and takes 20 times as long to read.
    data = getattr(os.environb, "_data", None)
    now: dict[bytes, bytes] = data if type(data) is dict else dict(os.environb)
    known = _inherited
    if now != known[0]:
        copy = dict(now)
        known = _inherited = (copy, strings(copy))
    return known


def strings(variables: Mapping[bytes, bytes]) -> list[bytes]:
    """Variables as execve takes them."""
    return [key + b"=" + value for key, value in variables.items()]


def block(env: dict[bytes, bytes] | None, extra: dict[bytes, bytes] | None) -> tuple[dict[bytes, bytes], list[bytes]]:
    """All variables of the child, and the same as strings."""
    if env is None:
        ours, known = inherited()
        if not extra:
            return ours, known
        if ours.keys().isdisjoint(extra):  # the strings of ours are shared by all commands that add to them
            return {**ours, **extra}, [*known, *strings(extra)]
    whole = {**(inherited()[0] if env is None else env), **(extra or {})}
    return whole, strings(whole)


def candidates(program: bytes, variables: Mapping[bytes, bytes]) -> list[bytes]:
    """The files that may be meant by `program`, in the order in which the child tries them."""
    if b"/" in program:
        return [program]
    directories = variables.get(b"PATH", DEFAULT_PATH).split(b":")
    return [(directory or b".") + b"/" + program for directory in directories]
