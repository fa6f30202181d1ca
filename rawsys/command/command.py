"""Command: a program with all that its process is to be, started as often as one likes."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from rawsys._timeouts import nanoseconds
from rawsys.command import spawning
from rawsys.command.attributes import Attributes
from rawsys.command.child import content
from rawsys.command.stdio import INHERIT, NULL, PIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Never

    from typing_extensions import Buffer

    from rawsys.command.attributes import Limit, Place, Sets, Stream
    from rawsys.command.child import Child
    from rawsys.command.environment import Text
    from rawsys.command.stdio import Source
    from rawsys.process.status import ExitStatus
    from rawsys.program import Program
    from rawsys.structs import sched_attr


class Output(NamedTuple):
    """How a command ended, and what it wrote: bytes, or str where text was asked for; None for what was not captured."""

    status: ExitStatus
    """How it ended."""
    stdout: Any
    """What it wrote there; None where that was not captured."""
    stderr: Any
    """The same of standard error."""


class Command(Attributes):
    """A program, its arguments, and all that its process is to be: ``Command("ls", "-l", cwd="/tmp")``.

    It cannot be changed, holds nothing open, and starts as many processes as one likes; `replace` makes a variant.
    It starts them by clone3 with the parent's memory shared until exec, so that the size of the parent costs nothing, and
    between clone and exec the child runs system calls only: it is safe while other threads live, and holds locks.

    What is what:

    - ``env``: all variables; else the parent's.  ``extra_env``: some more, or others.
    - ``executable``: the file, where it is not argv[0].  A name without a slash is looked for in the child's own PATH.
      ``argv0``: what the program is told as its own name.  ``pid_variable``: a variable that has its own number, such as
      LISTEN_PID for `sd_listen_fds(3)`; the child takes it from /proc.
    - ``stdin``, ``stdout``, ``stderr``: INHERIT, NULL, PIPE, an Fd, an int, a file object, or a path, which is opened (and
      cut to nothing for output) in the parent; ``stderr`` also STDOUT.  ``fds``: more descriptors, as number in the
      child: Fd.  All others are closed.
    - ``cwd``: a path (in ``root``, where there is one) or a directory's Fd.  ``root``: `chroot(2)`.  ``umask``.
    - ``user``, ``group``, ``groups``: names or numbers.  A user by name brings its group and groups where those are not
      given; a number does not.  ``capabilities``: (bounding, ambient).  ``securebits``, ``no_new_privs``.
    - ``nice``: the value, not a difference.  ``scheduling``: (policy, priority) or a sched_attr.  ``affinity``: numbers of
      processors, of which the kernel ignores missing ones unless all are.  ``ioprio``: (class, level).  ``oom_score_adj``.
    - ``rlimits``: resource to a limit for both, or (soft, hard); None is unlimited.  ``personality``.
    - ``new_session``, ``process_group`` (0 for a new one), ``controlling_tty`` (a path or Fd; needs new_session), ``subreaper``.
    - ``parent_death_signal``: what the child gets when the thread that started it ends: refused from any but the main
      thread, unless ``parent_death_any_thread``.
    - ``signal_mask``: signals that the child has blocked; else those of the calling thread.  ``default_signals``: those
      put back to their default; True for all.  SIGPIPE and SIGXFSZ always are, ignored others stay ignored.
    - ``namespaces``: CLONE_NEW* flags; with CLONE_NEWUSER the child maps our own id to ``user`` and ``group``, or to
      itself.  ``cgroup``: the directory of a cgroup v2, which the child is born in.
    - ``steps``: a Program without parameters, run between no_new_privs and the parent death signal, after the
      descriptors are placed; calls that change memory are refused in it, and it cannot grow any more.
    - ``announce``: (socket, bytes), which the child sends over that socket before it executes.  A receiver with SO_PASSPIDFD
      gets a pidfd of the child with it, before the program's first instruction; one that is gone is no error, one that
      takes nothing for the moment (EAGAIN) fails the spawn.

    Raises TypeError and ValueError for what cannot be right, RefusedCallError for steps that may not be.
    """

    __slots__ = ()

    def __init__(
        self,
        *argv: Text,
        env: Mapping[str, Text] | None = None,
        extra_env: Mapping[str, Text] | None = None,
        cwd: Place | None = None,
        stdin: Stream = INHERIT,
        stdout: Stream = INHERIT,
        stderr: Stream = INHERIT,
        fds: Mapping[int, Source] | None = None,
        executable: Text | None = None,
        argv0: Text | None = None,
        user: str | int | None = None,
        group: str | int | None = None,
        groups: Iterable[str | int] | None = None,
        umask: int | None = None,
        nice: int | None = None,
        rlimits: Mapping[int, Limit] | None = None,
        affinity: Iterable[int] | None = None,
        scheduling: tuple[int, int] | sched_attr | None = None,
        ioprio: int | tuple[int, int] | None = None,
        oom_score_adj: int | None = None,
        new_session: bool = False,
        process_group: int | None = None,
        controlling_tty: Place | None = None,
        parent_death_signal: int | None = None,
        parent_death_any_thread: bool = False,
        signal_mask: Iterable[int] | None = None,
        default_signals: Iterable[int] | bool = (),
        no_new_privs: bool = False,
        capabilities: Sets | None = None,
        securebits: int | None = None,
        subreaper: bool = False,
        personality: int | None = None,
        pid_variable: str | None = None,
        namespaces: int = 0,
        root: Text | None = None,
        cgroup: Place | None = None,
        steps: Program | None = None,
        announce: tuple[Source, bytes] | None = None,
    ) -> None:
        given = dict(locals())
        given["fds"], given["rlimits"] = {} if fds is None else fds, {} if rlimits is None else rlimits
        for name in NAMES:
            object.__setattr__(self, name, _settled(name, given[name]))
        self._check()

    def __reduce__(self) -> tuple[Callable[..., Command], tuple[dict[str, Any]]]:
        # An exception with its command travels from a worker process to its pool; what cannot (an Fd among the streams) is
        # refused by its own owner.
        return _made_of, ({name: getattr(self, name) for name in NAMES},)

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"a Command cannot be changed: replace({name}=...) makes another one")
        object.__setattr__(self, name, value)

    def replace(self, *argv: Text, **attributes: Any) -> Command:
        """The same command with other attributes, and, where any are given, another program and arguments."""
        kept = {name: getattr(self, name) for name in NAMES if name != "argv"}
        return Command(*(argv or self.argv), **{**kept, **attributes})

    def spawn(self) -> Child:
        """Start it.  The `Child` is there when the program runs: what fails before that is raised here, and leaves nothing.

        Raises OSError for the step that failed in the child (its notes name the call): FileNotFoundError and
        PermissionError for the program, BlockingIOError (EAGAIN) at a limit of processes; ChildProcessError when the child
        was killed before exec; LookupError for an unknown user or group.
        """
        return spawning.spawn(self)

    def run(self, timeout: float | None = None, check: bool = False) -> ExitStatus:
        """Start it and wait for its end; a PIPE among its streams is closed, or read and thrown away.

        Raises as `spawn` does; CommandTimeout after `timeout` seconds, when the child (and the group that it leads) is
        killed and reaped; ExitError with `check` when it does not exit with 0.
        """
        if PIPE in (self.stdin, self.stdout, self.stderr):
            return self._finish(None, timeout, check, None, None).status
        nanoseconds(timeout)  # a wrong one is refused before anything runs
        with self.spawn() as child:
            status = self._wait(child, timeout)
        if check and status.raw:
            from rawsys.errors import ExitError

            raise ExitError(status, self)
        return status

    def output(
        self,
        timeout: float | None = None,
        check: bool = False,
        text: bool = False,
        encoding: str | None = None,
        input: Buffer | str | None = None,
    ) -> Output:
        """Start it and read what it writes to stdout and stderr, unless the command sends these elsewhere.

        `input` is written to its stdin; ValueError when the command has that from a file or a descriptor.  With `text`
        (or `encoding`; utf-8 else) the output is str, with U+FFFD for what does not decode.  The output ends when the
        last process that has the pipe closes it.

        Raises as `run` does; the exceptions have what was read.
        """
        if input is not None and (self.stdin not in (INHERIT, NULL, PIPE) or 0 in self.fds):
            raise ValueError(f"there is input, but the command has its stdin from elsewhere: {self}")
        piped: tuple[str, ...] = ("stdin",) if input is not None else ()
        if self.stdout is INHERIT and 1 not in self.fds:
            piped += ("stdout",)
        if self.stderr is INHERIT and 2 not in self.fds:
            piped += ("stderr",)
        coding = encoding or ("utf-8" if text else None)
        if isinstance(input, str):
            input = input.encode(coding or "utf-8")
        if input is not None:
            input = content(input)  # what is no input is refused before anything runs
        return self._piped(piped)._finish(input, timeout, check, coding, self)

    def _piped(self, names: tuple[str, ...]) -> Command:
        """The same with a PIPE for these streams; kept, so that its steps are too."""
        if not names:
            return self
        if names not in self._variants:
            other = Command.__new__(Command)
            for name in Attributes.__slots__:
                if hasattr(self, name):
                    object.__setattr__(other, name, PIPE if name in names else getattr(self, name))
            other._compiled, other._variants, other._wiring = None, {}, None
            self._variants[names] = other
        return self._variants[names]

    def _finish(
        self, input: Buffer | None, timeout: float | None, check: bool, coding: str | None, shown: Command | None
    ) -> Output:
        from rawsys.errors import CommandTimeout, ExitError

        nanoseconds(timeout)  # a wrong one is refused before anything runs
        with self.spawn() as child:
            try:
                read = _decoded(child.communicate(input, timeout), coding)
            except CommandTimeout as late:
                late.command = shown or self
                late.stdout, late.stderr = _decoded((late.stdout, late.stderr), coding)
                raise
        status = child.wait()
        if check and not status.success:
            raise ExitError(status, shown or self, *read)
        return Output(status, *read)

    def _wait(self, child: Child, timeout: float | None) -> ExitStatus:
        try:
            return child.wait(timeout)
        except TimeoutError:
            from rawsys.errors import CommandTimeout

            assert timeout is not None
            child._end()
            raise CommandTimeout(timeout, self) from None

    def exec(self) -> Never:
        """Become it: `execve(2)` after all steps, in this process, which keeps its number.  Other threads end.

        Nothing is flushed, no atexit function runs.  PIPE, namespaces and cgroup are refused.

        Raises OSError when a step fails; a note tells what has changed in this process already, which nobody can undo.
        """
        spawning.become(self)

    def __str__(self) -> str:
        words = [f"{os.fsdecode(k)}={shlex.quote(os.fsdecode(v))}" for k, v in (self._extra_env or {}).items()]
        words += [shlex.quote(os.fsdecode(argument)) for argument in self._argv]
        for sign, stream in (("<", self.stdin), (">", self.stdout), ("2>", self.stderr)):
            if isinstance(stream, (str, bytes, os.PathLike)):
                words.append(f"{sign} {shlex.quote(os.fsdecode(stream))}")
            elif stream is NULL:
                words.append(f"{sign} /dev/null")
            elif repr(stream) == "STDOUT":
                words.append("2>&1")
        place = (
            f"cd {shlex.quote(os.fsdecode(self.cwd))} && " if isinstance(self.cwd, (str, bytes, os.PathLike)) else ""
        )
        return place + " ".join(words)

    def __repr__(self) -> str:
        return f"<Command: {self}>"


def _made_of(given: dict[str, Any]) -> Command:
    return Command(*given.pop("argv"), **given)


NAMES = tuple(name for name in Attributes.__slots__ if name[0] != "_")
"""The arguments of Command."""
_MAPPINGS = ("env", "extra_env", "fds", "rlimits")
_LISTS = ("groups", "affinity", "signal_mask", "default_signals")


def _settled(name: str, value: Any) -> Any:
    """An argument as it is kept: an iterator would be empty at the second spawn, a dict may be changed by its owner."""
    if name in _MAPPINGS and value is not None:
        if not hasattr(value, "items"):
            raise TypeError(f"{name} is a mapping, not {type(value).__name__}")
        return dict(value)
    if name == "capabilities" and isinstance(value, (tuple, list)):
        return tuple(each if each is None or not hasattr(each, "__iter__") else frozenset(each) for each in value)
    if name not in _LISTS or isinstance(value, (bool, type(None))):
        return value
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):  # "root" is four groups of one letter else
        raise TypeError(f"{name} is several, as a list or a set, not {value!r}")
    return tuple(value)


def _decoded(read: tuple[Any, Any], coding: str | None) -> tuple[Any, Any]:
    if coding is None:
        return read
    out, err = (data.decode(coding, "replace") if isinstance(data, bytes) else data for data in read)
    return out, err
