"""Program: many system calls, prepared once and run in one crossing.

A program is built like this::

    p = Program()
    path, data = p.parameter("path"), p.buffer(65536)
    fd = p.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)   # a Step: later steps take it as an argument
    n = p.read(fd, data, 65536)
    p.close(fd, always=True)

and run with ``p.run(path="/etc/hostname")`` or, over many inputs, ``p.run_each(paths, collect=n)``.
The steps run in C without Python between them: the same program also runs in a child before exec
(`rawsys.raw_fork`), where no Python may run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rawsys import errors
from rawsys._native.program import Core, ResultsCore, Slot, register_results
from rawsys.table import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from rawsys._calls import Calls
    from rawsys.fd import Fd
else:
    Calls = object

__all__ = ["Program", "Results", "Slot"]

_ANSWERS, _DATA, _MORE = range(3)


class Program(Core, Calls):
    """A list of prepared calls; each call of `rawsys.table` is a method that adds a step.

    A step takes the kernel's arguments in the kernel's order.  In the place of any of them may stand the
    answer of an earlier step, a `parameter` or (for memory) a `buffer`.  Keyword arguments are ours:

    - ``label``: a name for the step in messages.
    - ``always``: runs whenever its own inputs exist, also after the program was stopped.
    - ``retry``: after EINTR, Python's handlers run and the step is made again.
    - ``allow``: errnos that count as success.

    A step one of whose inputs failed is not run and answers -ECANCELED; the others go on, unless the program
    is ``Program(stop_on_error=True)``, where only ``always`` steps run after a failure.  A step whose buffer
    would be too short for what the kernel may touch, known only while it runs, answers -EFAULT and is not made.

    The program keeps alive what its arguments refer to, has no state between runs, and may run in several
    threads at once.  While it runs, an Fd among its arguments is not closed under it.  It cannot grow any more
    after its first run.

    Raises, when a step is added: the same exceptions as rawsys.raw, RefusedCallError for a call whose child
    would go on with the steps, BusyError after the first run.

    Safety: as in rawsys.raw, an int in the place of memory is an address and unchecked, and so is the answer of
    a step (mmap) that is used as one.
    """

    __slots__ = ("_labels",)

    def __init__(self, *, stop_on_error: bool = False) -> None:
        self._labels: dict[int, str] = {}

    def __getattr__(self, name: str) -> Callable[..., Slot]:
        if name not in TABLE or not TABLE[name].live:
            raise errors.no_such_call("Program", name)
        number = TABLE[name].number

        def add(
            *arguments: object,
            label: str | None = None,
            always: bool = False,
            retry: bool = False,
            allow: Iterable[int] = (),
        ) -> Slot:
            step = self._add(number, arguments, always, retry, tuple(allow))
            if label is not None:
                self._labels[step.index] = label
            return step

        add.__name__, add.__qualname__ = name, f"Program.{name}"
        return add

    def run_each(
        self, inputs: Iterable[object], *, collect: Slot | None = None, more: bool = False
    ) -> list[bytes | int]:
        """Run once for each input, all in one crossing; a list in the order of the inputs.

        `inputs` are the values of the parameter where there is one, else dicts or tuples of the values in the
        order in which the parameters were made.  For each input the list has:

        - with ``collect=step``: the bytes that the step put into its buffer, or -errno of the first step that
          failed.  A read that filled the whole buffer may not be all: that is -EFBIG (-27), or, with
          ``more=True``, the step is repeated until it answers 0, and the bytes are all of them.
        - without: the answer of the last step, or -errno of the first one that failed.

        All inputs are converted before the first one runs.  Python's signal handlers run at least every 50 ms
        between inputs and after each EINTR of a ``retry`` step.

        Raises TypeError or ValueError for an input that does not fit, before anything runs, and what a signal
        handler raises (KeyboardInterrupt): then the results are lost and the ``always`` steps of the running
        input were made.
        """
        if collect is None and more:
            raise ValueError("more=True needs collect=: the step that is repeated")
        mode = _ANSWERS if collect is None else _MORE if more else _DATA
        step = max(len(self) - 1, 0) if collect is None else self._index(collect)
        results: list[bytes | int] = self._run_each(inputs, step, mode)
        return results

    def _index(self, step: Slot) -> int:
        if not isinstance(step, Slot) or step.kind != "step":
            raise TypeError(f"a step of this Program is needed, not {step!r}")
        if step.program is not self:
            raise ValueError(f"{step!r} belongs to another Program")
        return step.index

    def explain(self) -> str:
        """The steps, one a line: what each one calls, its kinds, and what it depends on."""
        lines = []
        for index in range(len(self)):
            number, arguments, always, retry, allow = self._step(index)
            entry = TABLE[number]
            needs = [f"%{a.index}" for a in arguments if isinstance(a, Slot) and a.kind == "step"]
            notes = [f"needs {', '.join(dict.fromkeys(needs))}"] if needs else []
            notes += [word for word, on in (("always", always), ("retry", retry)) if on]
            notes += [f"allows {', '.join(_errno_name(e) for e in allow)}"] if allow else []
            kinds = ", ".join(a.kind for a in entry.arguments)
            label = f" {self._labels[index]!r}" if index in self._labels else ""
            call = self._shown(index)
            lines.append(f"%{index}{label} = {call}   ({kinds}){'; ' if notes else ''}{'; '.join(notes)}")
        return "\n".join(lines)

    def _shown(self, index: int) -> str:
        number, arguments, *_ = self._step(index)
        return errors.describe(TABLE[number].name, [_Named(a) if isinstance(a, Slot) else a for a in arguments])

    def __repr__(self) -> str:
        steps = [f"%{index} = {self._shown(index)}" for index in range(len(self))]
        return f"<Program of {len(steps)} step{'s' * (len(steps) != 1)}: {'; '.join(steps)}>"


class _Named:
    """How a slot shows among the arguments of a call."""

    def __init__(self, slot: Slot) -> None:
        name = f"%{slot.index}" if slot.kind == "step" else repr(slot)
        self.shown = name

    def __repr__(self) -> str:
        return self.shown


def _errno_name(number: int) -> str:
    from rawsys import constants

    return constants.decode("E", number)


class Results(ResultsCore):
    """What each step of one run answered: ``results[step]``, ``results[0]``, ``len``, iteration in order."""

    __slots__ = ()

    def check(self) -> Results:
        """These results, if no step failed; else OSError for the first one that did.

        The exception's notes name the step and the call.  Steps that were not run because of it (-ECANCELED)
        come after it and are not reported.
        """
        if self.failed_index is not None:
            self._raise(self.failed_index)
        return self

    def _raise(self, index: int) -> NoReturn:
        number, arguments, *_ = self.program._step(index)
        shown = [_Named(a) if isinstance(a, Slot) else a for a in arguments]
        error = errors.os_error(TABLE[number].name, shown, -self[index])
        label = self.program._labels.get(index)
        error.add_note(f"step {index}{f' ({label})' if label else ''} of a Program of {len(self)}")
        raise error

    def fd(self, step: Slot) -> Fd:
        """The descriptor that a step gave, as an owned Fd; once.

        Raises OSError when that step failed, ValueError when it gives no descriptor or was taken already.

        Safety: a program that closes the descriptor in a later step leaves nothing to own here.
        """
        owner: Fd | int = self._take(step)
        if isinstance(owner, int):
            self._raise(self._index(step))
        return owner

    def _index(self, step: Slot | int) -> int:
        return step.index if isinstance(step, Slot) else range(len(self))[step]

    def __iter__(self) -> Iterator[int]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        lines = [f"{self.program._shown(i)} = {_answer(self[i])}" for i in range(len(self))]
        return "<Results: " + "; ".join(lines) + ">"


def _answer(answer: int) -> str:
    if -4095 <= answer < 0:
        return f"-1 {_errno_name(-answer)}"
    return str(answer) if answer < 1 << 32 else hex(answer)


register_results(Results)
