"""Limits in C: compiled when a row asks for one, loaded by ctypes, timed inside."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Missing
from rawsys.bench import Side

FRAME = Path(__file__).with_name("limits.c")


@functools.cache
def compile_c(source: str) -> ctypes.CDLL:
    """Load a C source, compiled with -O2 beside limits.c, as a shared object.

    Raises Missing where there is no compiler.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Missing("no C compiler for the limit")
    with tempfile.TemporaryDirectory() as directory:
        shared = Path(directory) / "limit.so"
        command = [
            compiler,
            "-std=gnu11",
            "-O2",
            "-shared",
            "-fPIC",
            f"-I{FRAME.parent}",
            "-xc",
            "-",
            "-o",
            str(shared),
        ]
        subprocess.run(command, input=source, text=True, check=True)
        return ctypes.CDLL(str(shared))


def c_limit(statement: str, arguments: Sequence[int] = (), keep: object = None) -> Side:
    """A side that runs a C statement in a loop, with limits.c before it.

    The statement finds `arguments` as ``long a[]``; `keep` lives as long as the side, for memory behind addresses.
    """
    one_line = " ".join(statement.split())
    function = compile_c(f"#define STATEMENT {one_line}\n#include <limits.c>\n").limit
    function.restype, function.argtypes = ctypes.c_long, [ctypes.c_long, ctypes.POINTER(ctypes.c_long)]
    values = (ctypes.c_long * max(1, len(arguments)))(*arguments)

    def side(count: int, kept: object = keep) -> int:
        return int(function(count, values))

    return side


class Memory:
    """Memory for a limit: so many bytes that stay where they are."""

    def __init__(self, size: int) -> None:
        self._buffer = ctypes.create_string_buffer(size)
        self.address = ctypes.addressof(self._buffer)

    def write(self, data: bytes) -> None:
        """Put bytes at its beginning."""
        ctypes.memmove(self._buffer, data, len(data))


class Strings:
    """A ``const char *[]`` for a limit."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._array = (ctypes.c_char_p * len(strings))(*(text.encode() for text in strings))
        self.address = ctypes.addressof(self._array)
