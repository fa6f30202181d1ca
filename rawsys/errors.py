"""Exceptions of rawsys, and how an OSError of a system call is worded.

What the kernel refuses is an OSError (with the subclass that Python has for the errno, and a note that
names the call).  Our own exceptions are few and say a state::

    RawsysError
    +-- ClosedError(ValueError)             the owner was closed, or its number given away
    +-- BusyError(RuntimeError)             somebody uses or owns it now
    +-- RefusedCallError(NotImplementedError)   a call that cannot return through its caller's frame
    +-- OwnerDiedError(OSError)             who held the lock is gone, and did not release it
    +-- DeadlockError(OSError)              the thread would wait for itself
    +-- ForkUnsafeError(RuntimeError)       other threads live: a forked child could hang on their locks
    +-- StatusLostError(ChildProcessError)  somebody else reaped the child, and the kernel cannot tell how it ended
    +-- ExitError                           a command ended otherwise than with status 0, where that was asked for
    +-- CommandTimeout(TimeoutError)        a command did not end in time; it was ended, its output until then is here
"""

from __future__ import annotations

import os
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.process.status import ExitStatus

    _Output = bytes | str | None


class RawsysError(Exception):
    """Base of the exceptions that rawsys adds; what the kernel refuses is OSError instead."""


class ClosedError(RawsysError, ValueError):
    """The owner was closed, or its number given away with into_raw(); nothing was done."""


class BusyError(RawsysError, RuntimeError):
    """The resource is in use by a call in another thread, or has an owner already; nothing was done."""


class RefusedCallError(RawsysError, NotImplementedError):
    """The call cannot return through its caller's frame; the message names what to use instead."""


class OwnerDiedError(RawsysError, OSError):
    """The thread that held the lock ended, or exists only in the process that forked; the lock is not held by the caller.

    What it protects may be half-written. `acquire(recover=True)` takes the lock all the same; errno is EOWNERDEAD.
    """


class DeadlockError(RawsysError, OSError):
    """The thread holds the lock already, and would wait for itself for ever; errno is EDEADLK."""


class ForkUnsafeError(RawsysError, RuntimeError):
    """Other threads live, so the child could hang on locks that they hold; nothing was done.  `rawsys.Command` is safe."""


class StatusLostError(RawsysError, ChildProcessError):
    """The process is gone, somebody else reaped it, and this kernel does not tell how it ended (Linux 6.15 does)."""


class ExitError(RawsysError):
    """A command ended otherwise than with status 0."""

    def __init__(
        self, status: ExitStatus, command: object = None, stdout: _Output = None, stderr: _Output = None
    ) -> None:
        super().__init__(status, command, stdout, stderr)
        self.status = status
        """How it ended."""
        self.command = command
        """The `rawsys.Command`, or None."""
        self.stdout = stdout
        """What it wrote, where that was captured."""
        self.stderr = stderr

    def __str__(self) -> str:
        return f"{_command_words(self.command)} {self.status}"


class CommandTimeout(RawsysError, TimeoutError):
    """A command did not end in time.  It was killed and reaped."""

    def __init__(self, timeout: float, command: object = None, stdout: _Output = None, stderr: _Output = None) -> None:
        super().__init__(timeout, command, stdout, stderr)
        self.timeout = timeout
        """The time that it had, in seconds."""
        self.command = command
        """The `rawsys.Command`, or None."""
        self.stdout = stdout
        """What it had written, where that was captured."""
        self.stderr = stderr

    def __str__(self) -> str:
        return f"{_command_words(self.command)} did not end within {self.timeout:g} s, and was killed"


def _command_words(command: object) -> str:
    return "the process" if command is None else str(command)


_SHOWN_BYTES = 32
_ENOSYS = 38
_FAMILIES = {"dirfd": "DIRFD", "signal": "Signal"}


def _shown(value: object, family: str | None) -> str:
    """One argument as strace would show it."""
    from rawsys import constants

    if value is None:
        return "NULL"
    if isinstance(value, int):
        return constants.decode(family, value) if family else str(int(value))
    if isinstance(value, (str, os.PathLike)):
        return f'"{os.fspath(value)!s}"'
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value[:_SHOWN_BYTES]) if isinstance(value, (bytes, bytearray)) else b""
        more = "..." if len(value) > len(data) else ""
        return f"{data!r}{more}" if isinstance(value, bytes) else f"<{len(value)} bytes>"
    if hasattr(value, "fileno"):
        try:
            return str(value.fileno())
        except (ValueError, OSError):
            pass
    return repr(value) if len(repr(value)) <= 80 else f"<{type(value).__name__}>"


def describe(name: str, arguments: Sequence[object]) -> str:
    """A call with its arguments, as ``openat(AT_FDCWD, "/x", O_RDONLY)``."""
    from rawsys.table import TABLE

    shown = []
    for argument, value in zip(TABLE[name].arguments, arguments, strict=False):
        if argument.kind == "mode" and isinstance(value, int):
            shown.append(f"0o{value:o}")
        else:
            shown.append(_shown(value, _FAMILIES.get(argument.kind, argument.family)))
    return f"{name}({', '.join(shown)})"


def os_error(name: str, arguments: Sequence[object], errno: int) -> OSError:
    """The OSError for a failed call: right subclass, file names, and a note that names the call."""
    from rawsys.table import TABLE

    entry = TABLE[name]
    paths = [v for a, v in zip(entry.arguments, arguments, strict=False) if a.kind == "path" and v is not None]
    paths = [os.fspath(v) for v in paths if isinstance(v, (str, bytes, os.PathLike))]
    error = OSError(errno, os.strerror(errno), *paths[:1], *((None, paths[1]) if len(paths) > 1 else ()))
    error.add_note(f"in {describe(name, arguments)}")
    if errno == _ENOSYS and entry.since:
        error.add_note(
            f"{name} needs Linux {entry.since}; this is Linux {os.uname().release}, or a seccomp filter forbids it"
        )
    return error


def no_such_call(module: str, name: str) -> AttributeError:
    """The AttributeError for a name that no call has, with the near misses."""
    from rawsys.table import TABLE

    if name in TABLE and not TABLE[name].live:
        return AttributeError(
            f"module {module!r} has no attribute {name!r}: Linux has no such call any more", name=name
        )
    near = TABLE.near(name)
    hint = f"; did you mean {' or '.join(near)}?" if near and not name.startswith("__") else ""
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)
