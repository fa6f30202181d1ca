"""What holds for every owner, written once: `test_conformance.py` runs CHECKS over each Subject.

An owner that comes later adds a Subject: the code that makes one, a use of it that a released owner refuses, and how to
see from outside (in /proc, by a raw call) whether this process still has what it owns.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Hashable
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from support import in_child, run_python

import rawsys
from rawsys.errors import BusyError, ClosedError


@dataclass(frozen=True)
class Subject:
    """One way to get one kind of owner."""

    name: str
    code: str
    """Statements that leave a new owner in `owner` and nothing else open; they run in a fresh interpreter too."""
    use: Callable[[Any], object]
    """A use that works while it is owned, and is ClosedError afterwards."""
    resource: Callable[[Any], Hashable]
    """What the kernel knows the resource by, taken while it is owned."""
    held: Callable[[Hashable], bool]
    """Whether this process has that resource, asked of the kernel and not of the owner."""

    def make(self) -> Any:
        """A new owner."""
        names: dict[str, Any] = {}
        exec(self.code, names)
        return names.pop("owner")

    def __str__(self) -> str:
        return self.name


# ---- the checks ----


def released_once(subject: Subject) -> None:
    """close() releases and says so; the second does nothing."""
    owner = subject.make()
    resource = subject.resource(owner)
    subject.use(owner)
    assert subject.held(resource)
    assert not owner.closed
    assert "closed" not in repr(owner)
    owner.close()
    assert not subject.held(resource)
    assert owner.closed
    assert "closed" in repr(owner)
    owner.close()
    assert owner.closed


def refused_after_release(subject: Subject) -> None:
    """Whatever is done with a released owner is ClosedError, which is a ValueError; `with` too."""
    owner = subject.make()
    owner.close()
    for use in (subject.use, lambda o: o.__enter__()):
        with pytest.raises(ClosedError) as caught:
            use(owner)
        assert isinstance(caught.value, ValueError)
        assert type(owner).__name__ in str(caught.value)


def with_releases(subject: Subject) -> None:
    """Leaving `with` releases, and `with` gives the owner itself; it may be closed inside."""
    with (owner := subject.make()) as same:
        assert same is owner
        resource = subject.resource(owner)
    assert owner.closed
    assert not subject.held(resource)
    with subject.make() as owner:
        owner.close()


def exception_inside_with(subject: Subject) -> None:
    """An exception leaves `with` as it was raised, and the resource is released."""
    problem = KeyError("mine")
    with pytest.raises(KeyError) as caught, subject.make() as owner:
        resource = subject.resource(owner)
        raise problem
    assert caught.value is problem
    assert owner.closed
    assert not subject.held(resource)


def forgotten_is_told_and_released(subject: Subject) -> None:
    """An owner that is dropped without release warns with its repr, and is released all the same."""
    owner = subject.make()
    resource, text = subject.resource(owner), repr(owner)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del owner
        gc.collect()
    assert [(w.category, str(w.message)) for w in caught] == [(ResourceWarning, f"unclosed {text}")]
    assert not subject.held(resource)


def forgotten_in_a_cycle(subject: Subject) -> None:
    """The same for one that garbage collection finds in a cycle."""
    cycle: list[Any] = [subject.make()]
    resource = subject.resource(cycle[0])
    cycle.append(cycle)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del cycle
        gc.collect()
    assert [w.category for w in caught] == [ResourceWarning]
    assert not subject.held(resource)


def forgotten_where_warnings_are_errors(subject: Subject) -> None:
    """When the warning is made an error, it goes to sys.unraisablehook, and the resource is released all the same."""
    owner = subject.make()
    resource = subject.resource(owner)
    seen: list[Any] = []
    old, sys.unraisablehook = sys.unraisablehook, lambda event: seen.append(event.exc_type)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del owner
            gc.collect()
    finally:
        sys.unraisablehook = old
    assert seen == [ResourceWarning]
    assert not subject.held(resource)


def released_is_silent(subject: Subject) -> None:
    """An owner that was released leaves without a word."""
    owner = subject.make()
    owner.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del owner
        gc.collect()
    assert caught == []


def neither_copied_nor_pickled(subject: Subject) -> None:
    """There is one owner: copies are refused."""
    with subject.make() as owner:
        for attempt in (copy, deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                attempt(owner)


def no_stray_attributes(subject: Subject) -> None:
    """A misspelt attribute is an error, not a new attribute."""
    with subject.make() as owner, pytest.raises(AttributeError):
        owner.non_blocking = True


def child_of_raw_fork(subject: Subject) -> None:
    """In a raw fork's child close() really releases the child's copy; the parent's lives."""

    def test() -> None:
        owner = subject.make()
        resource = subject.resource(owner)
        pid = rawsys.raw_fork()
        if pid == 0:
            status = 2
            try:
                owner.close()
                status = int(subject.held(resource))
            finally:
                rawsys.raw_exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert subject.held(resource)
        subject.use(owner)
        owner.close()

    in_child(test)


def child_of_fork(subject: Subject) -> None:
    """In a fork's child close(), and garbage collection, release the child's copy only."""
    kept = [subject.make()]
    resource = subject.resource(kept[0])

    def close() -> bool:
        kept[0].close()
        return subject.held(resource)

    def forget() -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept.clear()
            gc.collect()
        return subject.held(resource)

    for release in (close, forget):
        assert in_child(release) is False
        assert subject.held(resource)
    subject.use(kept[0])
    kept[0].close()


def eight_threads_each_their_own(subject: Subject) -> None:
    """Eight threads make, use and release at once; nothing of another's is hit."""
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(30):
                with subject.make() as owner:
                    subject.use(owner)
        except BaseException as problem:
            problems.append(problem)

    _run_all([threading.Thread(target=work) for _ in range(8)])
    assert problems == []


def eight_threads_on_one(subject: Subject) -> None:
    """Eight threads use and close one owner: each use works or is ClosedError, and it is released once."""
    for _ in range(10):
        owner = subject.make()
        resource = subject.resource(owner)
        start = threading.Barrier(8)
        problems: list[BaseException] = []

        def work(
            closes: bool, owner: Any = owner, start: threading.Barrier = start, problems: list[Any] = problems
        ) -> None:
            start.wait()
            try:
                for _ in range(20):
                    subject.use(owner)
                if closes:
                    owner.close()
            except (ClosedError, BusyError):
                pass
            except BaseException as problem:
                problems.append(problem)

        _run_all([threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(8)])
        assert problems == []
        assert owner.closed
        assert not subject.held(resource)


def interpreter_exit(subject: Subject) -> None:
    """An interpreter that ends with owners alive (a global, a cycle, one in a module, a closed one) ends cleanly."""
    done = run_python(
        f"""
        import builtins
        make = {subject.code!r}
        def new():
            names = {{}}
            exec(make, names)
            return names["owner"]
        alive, cycle, closed = new(), [new()], new()
        cycle.append(cycle)
        builtins.kept = new()
        closed.close()
        print("end", flush=True)
        """,
        flags=("-X", "faulthandler", "-W", "ignore::ResourceWarning"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def _run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CHECKS: tuple[Callable[[Subject], None], ...] = (
    released_once,
    refused_after_release,
    with_releases,
    exception_inside_with,
    forgotten_is_told_and_released,
    forgotten_in_a_cycle,
    forgotten_where_warnings_are_errors,
    released_is_silent,
    neither_copied_nor_pickled,
    no_stray_attributes,
    child_of_raw_fork,
    child_of_fork,
    eight_threads_each_their_own,
    eight_threads_on_one,
    interpreter_exit,
)
