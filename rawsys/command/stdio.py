"""Where a command's standard streams and other descriptors come from: opened in the parent, placed in the child."""

from __future__ import annotations

import os

from rawsys.command import _numbers as n
from rawsys.fd import Fd, Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import TypeIs

    from rawsys._native.program import Slot
    from rawsys._types import HasFileno
    from rawsys.command.attributes import Attributes

    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Source = Handle | int | HasFileno


class Special:
    """One of INHERIT, NULL, PIPE and STDOUT."""

    __slots__ = ("_name", "_words")

    def __init__(self, name: str, words: str) -> None:
        self._name = name
        self._words = words

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        return self._name

    @property
    def words(self) -> str:
        """What it means, in a few words."""
        return self._words


INHERIT = Special("INHERIT", "the parent's own")
NULL = Special("NULL", "/dev/null")
PIPE = Special("PIPE", "a pipe to the parent")
STDOUT = Special("STDOUT", "where standard output goes")

_NAMES = ("stdin", "stdout", "stderr")
_FLAGS = (n.O_RDONLY, n.O_WRONLY | n.O_CREAT | n.O_TRUNC, n.O_WRONLY | n.O_CREAT | n.O_TRUNC)


def is_path(value: object) -> TypeIs[Path]:
    """True for what names a file."""
    return isinstance(value, (str, bytes, os.PathLike))


def number_of(source: Source) -> int:
    """The number of a descriptor in the parent."""
    if isinstance(source, bool) or (not isinstance(source, int) and not hasattr(source, "fileno")):
        raise TypeError(f"a descriptor is an Fd, an int or an object with fileno(), not {type(source).__name__}")
    return int(source) if isinstance(source, int) else source.fileno()


class Wiring:
    """What one spawn opens, and which of its numbers becomes which number in the child.

    The steps that place descriptors have these as parameters, so that they are made once for each `shape`.
    """

    __slots__ = ("_numbers", "_opened", "cgroup", "ends", "join", "nulls", "shape", "sources", "targets", "values")

    def __init__(self, command: Attributes) -> None:
        self.sources: dict[int, Source] = dict(command.fds)
        """Number in the child: descriptor of the parent."""
        self.nulls: list[int] = []
        self.join = False
        """Standard error goes where standard output goes."""
        self.ends: list[Fd | None] = [None, None, None]
        """Our ends of the pipes."""
        self.cgroup: Source = -1
        self._opened: list[Fd] = []
        try:
            self._open(command)
        except BaseException:
            self.abandon()
            raise

    def _open(self, command: Attributes) -> None:
        for target, stream in enumerate((command.stdin, command.stdout, command.stderr)):
            if stream is not INHERIT:
                self._stream(target, stream)
        self.targets = {*self.sources, *self.nulls}
        self._numbers = {target: number_of(source) for target, source in self.sources.items()}
        # A number that the child uses too decides in which order they are placed; so does one of the streams, without
        # which nothing above 2 is needed.  All others are as good as any.
        self.shape = tuple(n if n <= 2 or n in self.targets else -1 for n in self._numbers.values())
        self.values: list[Source] = [s if isinstance(s, Handle) else self._numbers[t] for t, s in self.sources.items()]
        if command.controlling_tty is not None:
            self.values.append(self._place(command.controlling_tty, n.O_RDWR | n.O_NOCTTY))
        if command.cwd is not None and not is_path(command.cwd):
            self.values.append(self.clear_of_targets(command.cwd))
        if command.announce is not None:
            self.values.append(self.clear_of_targets(command.announce[0]))
        if command.cgroup is not None:
            self.cgroup = self._place(command.cgroup, n.O_RDONLY | n.O_DIRECTORY)

    def _place(self, place: Source | Path, flags: int) -> Source:
        return self._open_path(place, flags) if is_path(place) else place

    def _stream(self, target: int, stream: Special | Source | Path) -> None:
        if stream is NULL:
            self.nulls.append(target)
        elif stream is STDOUT:
            self.join = True
        elif stream is PIPE:
            ends = Fd.pipe()
            self._opened.append(ends[target > 0])
            self.ends[target] = ends[target == 0]
            self.sources[target] = ends[target > 0]
        elif is_path(stream):
            self.sources[target] = self._open_path(stream, _FLAGS[target])
        elif not isinstance(stream, Special):
            self.sources[target] = stream

    def _open_path(self, path: Path, flags: int) -> Fd:
        """Open a file in the parent, for the time of the spawn."""
        fd = Fd.open(path, flags)
        self._opened.append(fd)
        return fd

    def pipe(self) -> tuple[int, int]:
        """The numbers of a pipe for the time of the spawn, where no descriptor of the child will come to lie."""
        return tuple(number_of(self.clear_of_targets(end)) for end in self._keep(*Fd.pipe()))  # type: ignore[return-value]  # a pipe has two ends

    def _keep(self, *fds: Fd) -> tuple[Fd, ...]:
        self._opened.extend(fds)
        return fds

    def clear_of_targets(self, source: Source) -> Source:
        """`source`, under a number that stays what it is when the child's descriptors are placed."""
        if number_of(source) not in self.targets:
            return source
        from rawsys import syscalls

        high = syscalls.fcntl(source, n.F_DUPFD_CLOEXEC, max(self.targets) + 1)
        return self._keep(Fd._fresh(high if isinstance(high, int) else high.into_raw()))[0]

    @property
    def nothing_above_2(self) -> bool:
        """True when the child needs no descriptor but its streams, and those come from 0, 1, 2 or /dev/null."""
        return all(target <= 2 and number <= 2 for target, number in self._numbers.items())

    def place(self, add: Callable[..., Slot], slots: Mapping[int, Slot]) -> None:
        """Steps that bring each descriptor to its number: permutations too, and with 0, 1 or 2 closed in the parent."""
        pending: dict[int, Slot] = {}
        numbers: dict[int, int] = {}
        for target, number in self._numbers.items():
            if number == target:
                add(n.Call.fcntl, (slots[target], n.F_SETFD, 0))
            else:
                pending[target], numbers[target] = slots[target], number
        while pending:
            free = [target for target in pending if target not in numbers.values()]
            for target in free:
                add(n.Call.dup3, (pending.pop(target), target, 0))
                del numbers[target]
            if not free:
                self._break_circle(add, pending, numbers)
        if self.nulls:
            self._place_nulls(add)
        if self.join:
            add(n.Call.dup3, (1, 2, 0))

    def _break_circle(self, add: Callable[..., Slot], pending: dict[int, Slot], numbers: dict[int, int]) -> None:
        """Every number left is needed once more: what lies at one of them is saved above all, and is taken from there."""
        target = next(iter(pending))
        other = next(t for t, number in numbers.items() if number == target)
        pending[other] = add(n.Call.fcntl, (pending[other], n.F_DUPFD_CLOEXEC, max(self.targets) + 1))
        numbers[other] = -1

    def _place_nulls(self, add: Callable[..., Slot]) -> None:
        """Opened by the child, after all others are placed: it gets a free number, or already the one it is to have.

        dup3 onto itself is EINVAL, and then only its close-on-exec flag has to go.
        """
        null = add(n.Call.openat, (n.AT_FDCWD, b"/dev/null", n.O_RDWR | n.O_CLOEXEC, 0))
        for target in self.nulls:
            add(n.Call.dup3, (null, target, 0), (n.EINVAL,))
            add(n.Call.fcntl, (target, n.F_SETFD, 0))

    def keep_only(self, add: Callable[..., Slot]) -> None:
        """Steps that leave nothing open above 2 but what was named."""
        add(n.Call.close_range, (3, n.ALL_FDS, n.CLOSE_RANGE_CLOEXEC))
        for target in self.targets:
            if target > 2:
                add(n.Call.fcntl, (target, n.F_SETFD, 0))

    def done(self) -> None:
        """The child has its own copies: close ours."""
        for fd in self._opened:
            fd.close()
        self._opened.clear()

    def abandon(self) -> None:
        """There is no child: close our ends of the pipes too."""
        self.done()
        for end in self.ends:
            if end is not None:
                end.close()
