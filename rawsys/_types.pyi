"""What the stubs of raw, syscalls and Program call their arguments.  For type checkers only: no such module at run time."""

from collections.abc import Sequence
from os import PathLike
from typing import Protocol, SupportsBytes, SupportsIndex, TypeAlias

from typing_extensions import Buffer

class HasFileno(Protocol):
    def fileno(self) -> int: ...

Int: TypeAlias = SupportsIndex
Descriptor: TypeAlias = SupportsIndex | HasFileno
Path: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes] | SupportsIndex | None
String: TypeAlias = str | bytes | SupportsIndex | None
Strings: TypeAlias = Sequence[str | bytes | PathLike[str] | PathLike[bytes]] | Buffer | SupportsIndex | None
Readable: TypeAlias = Buffer | SupportsBytes | SupportsIndex | None
Writable: TypeAlias = Buffer | SupportsIndex | None
Address: TypeAlias = SupportsIndex | None
