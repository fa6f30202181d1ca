"""What a spawn raises: the step that failed in the child, with its call, or the signal that ended the child before exec."""

from __future__ import annotations

import os

from rawsys import errors
from rawsys._native.program import Slot
from rawsys.command import _numbers as n
from rawsys.command.stdio import is_path
from rawsys.table import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.command.command import Command
    from rawsys.command.steps import Plan, Ran
    from rawsys.process.status import ExitStatus


def call(ran: Ran, part: int, step: int) -> tuple[str, list[object]]:
    """The name and the arguments of a step."""
    number, arguments, *_ = ran.plan.parts[part]._step(step)
    return TABLE[number].name, [_shown(ran, a) if isinstance(a, Slot) else _text(a) for a in arguments]


def words(ran: Ran, part: int, step: int) -> str:
    """A step as ``chdir("/nope")``."""
    name, arguments = call(ran, part, step)
    if name == "execve":
        return f"execve({', '.join(map(errors._shown, arguments[:2], (None, None)))}, ...)"
    return errors.describe(name, arguments)


def step_failed(ran: Ran, *, where: str = "in the child") -> OSError:
    """The OSError for the step that failed."""
    name, arguments = call(ran, ran.part, ran.step)
    error = errors.os_error(name, arguments, ran.errno)
    if name == "execve":
        error = OSError(ran.errno, os.strerror(ran.errno), _file(ran, arguments[0]))
    notes = [f"{where}: {words(ran, ran.part, ran.step)}", *getattr(error, "__notes__", [])[1:]]
    if name == "execve" and ran.errno == n.ENOENT and _is_there(ran.plan.command, str(arguments[0])):
        notes.append("the file is there: what is missing is the interpreter that its first line names, or its loader")
    error.__notes__ = notes
    return error


def _is_there(command: Command, file: str) -> bool:
    """True where the child meant a file that is there, as far as we can see it: in our own root, from the child's cwd."""
    if command.root is not None or command.steps is not None:
        return False
    if not os.path.isabs(file) and command.cwd is not None:
        return is_path(command.cwd) and os.path.exists(os.path.join(os.fsdecode(command.cwd), file))
    return os.path.exists(file)


def _file(ran: Ran, tried: object) -> str:
    """Of a search that found nothing, the name that was searched for; else the very file."""
    count, command = len(ran.plan.parts[-1]) - ran.plan.exec_at, ran.plan.command
    if count > 1 and ran.errno != n.EACCES:
        return os.fsdecode(command._executable or command._argv[0])
    return str(tried)


def ended_early(ran: Ran, status: ExitStatus) -> ChildProcessError:
    """The child was gone before exec."""
    return ChildProcessError(f"the child {status} before exec, in {words(ran, ran.part, ran.step)}")


def could_not_become(ran: Ran) -> OSError:
    """exec() failed: what this process has become meanwhile is in a note."""
    error = step_failed(ran, where="in this process")
    parts = ran.plan.parts
    done = [words(ran, p, s) for p in range(ran.part + 1) for s in range(ran.step if p == ran.part else len(parts[p]))]
    changed = [each for each in done if not each.startswith("execve")]
    if changed:
        error.add_note(f"changed already in this process: {', '.join(changed)}")
    return error


def clone_refused(plan: Plan, errno: int) -> OSError:
    """clone3 gave an error: there is no child."""
    from rawsys import constants

    flags = constants.decode("CLONE", plan.flags & ~n.CLONE_FILES)
    error = OSError(errno, os.strerror(errno))
    asked = f" with {flags}" if plan.flags & n.NAMESPACES else ""
    error.add_note(f"in clone3{asked}{' into a cgroup' if plan.command.cgroup is not None else ''}")
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


def _shown(ran: Ran, slot: Slot) -> object:
    return ran.values[slot.index] if slot.kind == "parameter" and ran.part == 0 else _Answer(slot)


class _Answer:
    """How the answer of an earlier step shows among the arguments."""

    def __init__(self, slot: Slot) -> None:
        self._index = slot.index

    def __repr__(self) -> str:
        return f"%{self._index}"
