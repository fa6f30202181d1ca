"""What a Command can be told about its process, checked once when the Command is made."""

from __future__ import annotations

from struct import pack

from rawsys.command import _numbers as n
from rawsys.command.environment import arguments, pairs, text
from rawsys.command.stdio import INHERIT, PIPE, STDOUT, Special, Wiring, is_path, number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rawsys._types import HasFileno
    from rawsys.command.command import Command
    from rawsys.command.environment import Text
    from rawsys.command.identity import Capabilities
    from rawsys.command.stdio import Source
    from rawsys.command.steps import Plan
    from rawsys.fd import Handle
    from rawsys.program import Program
    from rawsys.structs import sched_attr

    Stream = Special | Source | Text
    Place = Text | Handle | int | HasFileno
    Limit = int | None | tuple[int | None, int | None]
    Sets = Capabilities | tuple[Iterable[int] | None, Iterable[int] | None]

_INFINITE = 2**64 - 1
_UNSETTABLE = {9, 19, 32, 33}
"""SIGKILL, SIGSTOP, and libc's own two."""
_SHARED = {4: "PR_SET_DUMPABLE", 35: "PR_SET_MM", 41: "PR_SET_THP_DISABLE", 65: "PR_SET_MDWE", 67: "PR_SET_MEMORY_MERGE",
           0x53564D41: "PR_SET_VMA"}  # fmt: skip
"""prctl's options that change the memory of the process, which until exec is the parent's."""


class Attributes:
    """The arguments of a Command; see there."""

    __slots__ = (
        "_argv", "_changes_credentials", "_compiled", "_cpus", "_defaults", "_env", "_executable", "_extra_env",
        "_ioprio", "_limits", "_mask", "_started", "_variants", "_varies", "_wiring", "affinity", "announce", "argv",
        "argv0", "capabilities", "cgroup", "controlling_tty", "cwd", "default_signals", "env", "executable",
        "extra_env", "fds", "group", "groups", "ioprio", "namespaces", "new_session", "nice", "no_new_privs",
        "oom_score_adj", "parent_death_any_thread", "parent_death_signal", "personality", "pid_variable",
        "process_group", "rlimits", "root", "scheduling", "securebits", "signal_mask", "stderr", "stdin", "stdout",
        "steps", "subreaper", "umask", "user",
    )  # fmt: skip

    argv: tuple[Text, ...]
    env: Mapping[str, Text] | None
    extra_env: Mapping[str, Text] | None
    cwd: Place | None
    stdin: Stream
    stdout: Stream
    stderr: Stream
    fds: Mapping[int, Source]
    executable: Text | None
    argv0: Text | None
    user: str | int | None
    group: str | int | None
    groups: Iterable[str | int] | None
    umask: int | None
    nice: int | None
    rlimits: Mapping[int, Limit]
    affinity: Iterable[int] | None
    scheduling: tuple[int, int] | sched_attr | None
    ioprio: int | tuple[int, int] | None
    oom_score_adj: int | None
    new_session: bool
    process_group: int | None
    controlling_tty: Place | None
    parent_death_signal: int | None
    parent_death_any_thread: bool
    signal_mask: Iterable[int] | None
    default_signals: Iterable[int] | bool
    no_new_privs: bool
    capabilities: Sets | None
    securebits: int | None
    subreaper: bool
    personality: int | None
    pid_variable: str | None
    namespaces: int
    root: Text | None
    cgroup: Place | None
    steps: Program | None
    announce: tuple[Source, bytes] | None

    _argv: tuple[bytes, ...]
    _env: dict[bytes, bytes] | None
    _extra_env: dict[bytes, bytes] | None
    _executable: bytes | None
    _limits: dict[int, bytes]
    _cpus: bytes
    _ioprio: int
    _mask: bytes | None
    _defaults: list[int]
    _changes_credentials: bool
    _compiled: tuple[tuple[object, ...], Plan] | None
    """The plan of the last spawn, where another spawn may use it too, and what it depended on."""

    _started: bool
    """It was started before."""

    _variants: dict[tuple[str, ...], Command]
    """With pipes for these streams, as output() starts it."""
    _varies: bool
    """What its steps are depends on more than is compared: accounts, our own capabilities and ids, a scheduling structure, and
    a pipe whose numbers stand in them."""

    _wiring: Wiring | None
    """The one of all spawns, where it opens nothing and so differs in nothing."""

    def _check(self) -> None:
        self._compiled = None
        self._started = False
        self._variants = {}
        self._check_program()
        self._check_streams()
        self._check_places()
        self._check_announce()
        self._check_numbers()
        self._check_signals()
        self._check_session()
        self._check_identity()
        self._check_capabilities()
        if self.steps is not None:
            _check_steps(self.steps)
        self._varies = self._depends_on_more()
        self._wiring = None if self._opens() else Wiring(self)
        self._changes_credentials = any(
            value is not None for value in (self.user, self.group, self.groups, self.capabilities, self.securebits)
        ) or bool(self.namespaces & n.CLONE_NEWUSER or (self.steps is not None and _has_trait(self.steps, "creds")))

    def _depends_on_more(self) -> bool:
        looked_up = any(isinstance(each, str) for each in (self.user, self.group, *(self.groups or ())))
        ours = self.capabilities is not None or self.securebits is not None or self.namespaces & n.CLONE_NEWUSER
        watches_pipe = self.parent_death_signal is not None and self.namespaces & n.CLONE_NEWPID
        writes = self.pid_variable is not None
        return bool(looked_up or ours or watches_pipe or writes or hasattr(self.scheduling, "sched_policy"))

    def _opens(self) -> bool:
        streams = self.stdin, self.stdout, self.stderr
        opened = any(stream is PIPE or not isinstance(stream, Special) for stream in streams)
        places = self.cgroup, self.controlling_tty, self.announce, None if is_path(self.cwd) else self.cwd
        return opened or bool(self.fds) or any(place is not None for place in places)

    def _check_program(self) -> None:
        self._argv = arguments(self.argv)
        self._env = None if self.env is None else pairs(self.env)
        self._extra_env = pairs(self.extra_env) if self.extra_env else None
        self._executable = None if self.executable is None else text(self.executable, "executable")
        if self._executable == b"":
            raise ValueError("the name of a program cannot be empty")
        if self.argv0 is not None:
            text(self.argv0, "argv0")
        if self.pid_variable is not None:
            pairs({self.pid_variable: ""})
            if self.namespaces & n.CLONE_NEWPID:
                raise ValueError(
                    "pid_variable: in a new PID namespace, /proc tells another number than the child's own"
                )

    def _check_streams(self) -> None:
        for name in ("stdin", "stdout", "stderr"):
            stream = getattr(self, name)
            if stream is STDOUT and name != "stderr":
                raise ValueError(f"{name} cannot be STDOUT: that is for stderr")
            if is_path(stream):
                text(stream, name)
            elif not isinstance(stream, Special):
                number_of(stream)
        for target, source in self.fds.items():
            if isinstance(target, bool) or not isinstance(target, int) or target < 0:
                raise ValueError(f"fds: the child's number is an int from 0 on, not {target!r}")
            if target <= 2 and getattr(self, ("stdin", "stdout", "stderr")[target]) is not INHERIT:
                raise ValueError(f"descriptor {target} of the child is named twice")
            number_of(source)

    def _check_places(self) -> None:
        for name in ("cwd", "root", "controlling_tty", "cgroup"):
            place = getattr(self, name)
            if is_path(place):
                text(place, name)
            elif place is not None:
                if name == "root":
                    raise TypeError(f"root is a path, not {type(place).__name__}")
                number_of(place)

    def _check_announce(self) -> None:
        if self.announce is None:
            return
        if not isinstance(self.announce, (tuple, list)) or len(self.announce) != 2:
            raise TypeError(f"announce is a pair of a socket and what is sent over it, not {self.announce!r}")
        number_of(self.announce[0])
        if not isinstance(self.announce[1], bytes) or not self.announce[1]:
            raise TypeError(f"announce: what is sent is bytes, at least one, not {self.announce[1]!r}")

    def _check_numbers(self) -> None:
        for name in (
            "nice",
            "umask",
            "oom_score_adj",
            "securebits",
            "personality",
            "process_group",
            "parent_death_signal",
            "namespaces",
        ):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
        for name in ("new_session", "parent_death_any_thread", "no_new_privs", "subreaper"):
            if not isinstance(getattr(self, name), bool):  # "no" would be true
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if self.umask is not None and not 0 <= self.umask <= 0o777:
            raise ValueError(f"umask is from 0 to 0o777, not {self.umask:#o}")
        if self.process_group is not None and self.process_group < 0:
            raise ValueError("process_group is 0 for a new group, or the number of one")
        self._limits = {_resource(resource): _limit(limit) for resource, limit in self.rlimits.items()}
        self._cpus = b"" if self.affinity is None else _cpu_mask(self.affinity)
        self._check_scheduling()
        if self.ioprio is not None:
            self._ioprio = _io_priority(self.ioprio)

    def _check_scheduling(self) -> None:
        given = self.scheduling
        if given is None or hasattr(given, "sched_policy"):
            return
        if isinstance(given, tuple) and len(given) != 2:
            raise ValueError(f"scheduling is a pair of policy and priority, or a sched_attr, not {given!r}")
        if not isinstance(given, tuple) or not all(map(_is_int, given)):
            # An int has to be refused here: bytes(n) is n zeros, and these would be taken for a structure.
            raise TypeError(f"scheduling is a pair of numbers, (policy, priority), or a sched_attr, not {given!r}")

    def _check_capabilities(self) -> None:
        if self.capabilities is None:
            return
        if not isinstance(self.capabilities, (tuple, list)) or len(self.capabilities) != 2:
            raise TypeError("capabilities is a pair of sets, (bounding, ambient), each of which may be None")
        for numbers in self.capabilities:
            for number in numbers or ():
                if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 64:
                    raise ValueError(f"{number!r} is no capability")

    def _check_signals(self) -> None:
        self._mask = None
        if self.signal_mask is not None:
            from rawsys.signals import SignalSet

            self._mask = SignalSet(self.signal_mask).to_bytes()
        wanted = range(1, 65) if self.default_signals is True else self.default_signals or ()
        if (self.default_signals is not True and _UNSETTABLE & set(map(int, wanted))) or any(
            not 0 < int(s) <= 64 for s in wanted
        ):
            raise ValueError("default_signals: SIGKILL, SIGSTOP, 32, 33 and what is no signal cannot be set")
        self._defaults = sorted({n.SIGPIPE, n.SIGXFSZ, *map(int, wanted)} - _UNSETTABLE)
        if self.parent_death_signal is not None and not 0 < self.parent_death_signal <= 64:
            raise ValueError(f"{self.parent_death_signal} is no signal")

    def _check_session(self) -> None:
        if self.new_session and self.process_group is not None:
            raise ValueError(
                "new_session makes the child the leader of a new process group: process_group cannot stand beside it"
            )
        if self.controlling_tty is not None and not self.new_session:
            raise ValueError(
                "controlling_tty needs new_session: only the leader of a session without one gets a terminal"
            )
        if self.namespaces & ~n.NAMESPACES:
            raise ValueError(f"namespaces takes CLONE_NEW* flags only, not {self.namespaces & ~n.NAMESPACES:#x}")

    def _check_identity(self) -> None:
        for name in ("user", "group"):
            _check_account(name, getattr(self, name))
        if self.groups is not None:
            for each in self.groups:
                _check_account("groups", each)
            if self.namespaces & n.CLONE_NEWUSER:
                raise ValueError("groups cannot be set in a new user namespace: it has one group")
        if isinstance(self.user, str) and self.namespaces & n.CLONE_NEWUSER:
            raise ValueError("in a new user namespace, user is a number: the names are those of outside")

    def _sched_attr(self) -> bytes:
        """A copy, with its size where that was left out."""
        attr = bytearray(bytes(self.scheduling))  # type: ignore[arg-type]  # no pair: the caller has looked
        if not int.from_bytes(attr[:4], "little"):
            attr[:4] = len(attr).to_bytes(4, "little")
        return bytes(attr)


def _check_account(what: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError(f"{what}: a name or a number is needed, not {type(value).__name__}")
    if isinstance(value, int) and not 0 <= value < 2**32 - 1:
        raise ValueError(f"{what}: {value} is no id")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _resource(number: int) -> int:
    if not _is_int(number):
        raise TypeError(f"rlimits: a resource is an RLIMIT constant, not {number!r}")
    return int(number)


def _io_priority(given: int | tuple[int, int]) -> int:
    """The number that the kernel takes: the class above bit 13.  It would cut what is too large, to another class."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if not isinstance(given, tuple) or len(given) != 2 or not all(map(_is_int, given)):
        raise TypeError(f"ioprio is a number or a pair of them, (class, level), not {given!r}")
    class_, level = given
    if not (0 <= class_ < 8 and 0 <= level < 1 << 13):
        raise ValueError(
            f"ioprio: a class is from 0 to 7 and a level from 0 to 8191 (best effort has 8), not {given!r}"
        )
    return class_ << 13 | level


def _limit(limit: Limit) -> bytes:
    soft, hard = limit if isinstance(limit, tuple) and len(limit) == 2 else (limit, limit)
    if any(value is not None and not _is_int(value) for value in (soft, hard)):
        raise TypeError(f"a limit is an int or None, or a pair of them, (soft, hard), not {limit!r}")
    numbers = [_INFINITE if value is None or value == -1 else value for value in (soft, hard)]
    if any(not 0 <= value <= _INFINITE for value in numbers):
        raise ValueError(f"a limit is from 0 to 2**64-1, or None for none: {limit}")
    return pack("QQ", *numbers)


def _cpu_mask(cpus: Iterable[int]) -> bytes:
    mask = 0
    for cpu in cpus:
        if isinstance(cpu, bool) or not isinstance(cpu, int) or not 0 <= cpu < 1 << 16:
            raise ValueError(f"affinity: {cpu!r} is no number of a processor")
        mask |= 1 << cpu
    return mask.to_bytes(max(8, -(-mask.bit_length() // 64) * 8), "little")


def _has_trait(program: Program, trait: str) -> bool:
    from rawsys.table import TABLE

    return any(trait in TABLE[program._step(i)[0]].traits for i in range(len(program)))


def _check_steps(program: Program) -> None:
    """Until exec the child's memory is the parent's: no step may change it."""
    from rawsys.errors import RefusedCallError
    from rawsys.program import Program
    from rawsys.table import TABLE

    if not isinstance(program, Program):
        raise TypeError(f"steps must be a Program, not {type(program).__name__}")
    program._freeze()  # nothing comes in later that was not looked at
    for i in range(len(program)):
        number, arguments, *_ = program._step(i)
        name = TABLE[number].name
        if "mm" in TABLE[number].traits:
            raise RefusedCallError(
                f"{name} is refused in the steps of a Command: until exec the child's memory is the parent's"
            )
        option = arguments[0] if name == "prctl" else 0
        if not isinstance(option, int) or (name == "prctl" and option in _SHARED):
            what = _SHARED[option] if isinstance(option, int) else "an option that is not known yet"
            raise RefusedCallError(
                f"prctl, {what}: refused in the steps of a Command: until exec the child's memory is the parent's"
            )
        if name in ("execve", "execveat"):
            raise RefusedCallError(f"{name} is refused in the steps of a Command, which calls it itself after them")
