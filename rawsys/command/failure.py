"""What a spawn raises: the step that failed in the child, with its call, or the signal that ended the child before exec."""

from __future__ import annotations

import os

from rawsys import errors
from rawsys._native.program import Slot
from rawsys.command import _numbers as n
from rawsys.table import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys._native.program import Core
    from rawsys.command.steps import Plan
    from rawsys.process.status import ExitStatus


def call(parts: tuple[Core, ...], part: int, step: int) -> tuple[str, list[object]]:
    """The name and the arguments of a step."""
    number, arguments, *_ = parts[part]._step(step)
    return TABLE[number].name, [_Answer(a) if isinstance(a, Slot) else _text(a) for a in arguments]


def words(parts: tuple[Core, ...], part: int, step: int) -> str:
    """A step as ``chdir("/nope")``."""
    name, arguments = call(parts, part, step)
    if name == "execve":
        return f"execve({', '.join(map(errors._shown, arguments[:2], (None, None)))}, ...)"
    return errors.describe(name, arguments)


def step_failed(plan: Plan, part: int, step: int, errno: int, *, where: str = "in the child") -> OSError:
    """The OSError for the step that failed."""
    name, arguments = call(plan.parts, part, step)
    error = errors.os_error(name, arguments, errno)
    if name == "execve":
        error = OSError(errno, os.strerror(errno), _file(plan, arguments[0], errno))
    notes = [f"{where}: {words(plan.parts, part, step)}", *getattr(error, "__notes__", [])[1:]]
    if name == "execve" and errno == n.ENOENT and os.path.exists(str(arguments[0])):
        notes.append("the file is there: what is missing is the interpreter that its first line names, or its loader")
    error.__notes__ = notes
    return error


def _file(plan: Plan, tried: object, errno: int) -> str:
    """Of a search that found nothing, the name that was searched for; else the very file."""
    count = len(plan.parts[-1]) - plan.exec_at
    return (
        os.fsdecode(plan._command._executable or plan._command._argv[0])
        if count > 1 and errno != n.EACCES
        else str(tried)
    )


def ended_early(plan: Plan, part: int, step: int, status: ExitStatus) -> ChildProcessError:
    """The child was gone before exec."""
    return ChildProcessError(f"the child {status} before exec, in {words(plan.parts, part, step)}")


def clone_refused(plan: Plan, errno: int) -> OSError:
    """clone3 gave an error: there is no child."""
    from rawsys import constants

    flags = constants.decode("CLONE", plan.flags & ~n.CLONE_FILES)
    error = OSError(errno, os.strerror(errno))
    asked = f" with {flags}" if plan.flags & n.NAMESPACES else ""
    error.add_note(f"in clone3{asked}{' into a cgroup' if plan.cgroup is not None else ''}")
    if errno == n.ENOSYS:
        error.add_note("clone3 is not to be had here, and the older clone cannot make such a child")
    return error


def _text(value: object) -> object:
    """Paths are bytes in the steps; an error shows and has them as str."""
    if isinstance(value, bytes):
        try:
            shown = os.fsdecode(value)
        except UnicodeDecodeError:
            return value
        return shown if shown.isprintable() and shown else value
    if isinstance(value, tuple):
        return [_text(each) for each in value]
    return value


class _Answer:
    """How the answer of an earlier step shows among the arguments."""

    def __init__(self, slot: Slot) -> None:
        self._index = slot.index

    def __repr__(self) -> str:
        return f"%{self._index}"
