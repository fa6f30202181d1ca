"""A random walk over owners: what the model says is open is what /proc/self/fd shows, exactly."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import few_descriptors
from test_fd_owning import Plain, descriptors

from rawsys import raw, syscalls
from rawsys.errors import BusyError, ClosedError
from rawsys.fd import Fd, Handle

pytestmark = few_descriptors


class Owners(RuleBasedStateMachine):
    """The model: owners that live and their numbers; numbers given away; owners whose number was closed behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.before: set[int] = set()
        self.alive: dict[int, Fd | Handle] = {}
        self.raw: set[int] = set()
        self.noted: set[int] = set()  # numbers whose owner in the table may be a stale one
        self.gone: list[Fd | Handle] = []
        self.stale: list[Fd | Handle] = []

    @initialize()
    def look(self) -> None:
        self.before = descriptors()

    def add(self, *fds: Any) -> None:
        for fd in fds:
            assert fd.fileno() not in self.alive
            assert fd.fileno() not in self.raw
            self.alive[fd.fileno()] = fd

    def adopt(self, owner: type[Handle], number: int) -> None:
        try:
            self.add(owner(number))
        except BusyError:  # its last owner has not noticed yet that it was closed behind its back
            assert number in self.noted
            os.close(number)

    def pick(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.alive)))

    # ---- making ----

    @rule(way=st.sampled_from(["open", "openat2", "memfd", "eventfd", "checked", "Fd", "Plain"]))
    def make(self, way: str) -> None:
        makers: dict[str, Any] = {
            "open": lambda: Fd.open("/dev/null"),
            "openat2": lambda: Fd.open("/dev/null", resolve=0),
            "memfd": lambda: Fd.memfd("machine"),
            "eventfd": Fd.eventfd,
            "checked": lambda: syscalls.openat(-100, "/dev/null", os.O_CLOEXEC, 0),
        }
        if way not in makers:
            self.adopt({"Fd": Fd, "Plain": Plain}[way], os.memfd_create("machine"))
        else:
            self.add(makers[way]())

    @rule(way=st.sampled_from(["pipe", "socketpair"]))
    def make_pair(self, way: str) -> None:
        self.add(*getattr(Fd, way)())

    @rule()
    def make_that_fails(self) -> None:
        attempts: list[Callable[[], object]] = [
            lambda: Fd.open("/nonexistent"),
            lambda: Fd.pipe(1 << 20),
            lambda: Fd.socketpair(999),
            lambda: Fd.memfd("x" * 300),
        ]
        for attempt in attempts:
            with pytest.raises(OSError):
                attempt()

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), lowest=st.sampled_from([0, 0, 30]))
    def dup(self, data: st.DataObject, lowest: int) -> None:
        fd = self.alive[self.pick(data)]
        if isinstance(fd, Fd):
            self.add(fd.dup(lowest=lowest))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), place=st.integers(20, 40))
    def dup_to(self, data: st.DataObject, place: int) -> None:
        fd = self.alive[self.pick(data)]
        if not isinstance(fd, Fd) or place in self.before:
            return
        try:
            made = fd.dup_to(place)
        except BusyError:
            assert place in self.alive or place in self.noted
        else:
            assert place not in self.alive
            self.raw.discard(place)  # what was given away is replaced
            self.add(made)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        numbers = [self.pick(data) for _ in range(3)]
        one, other = Fd.socketpair()
        with one, other:
            one.send_fds(b"x", [self.alive[number] for number in numbers])
            self.add(*other.recv_fds(1, 3)[1])

    # ---- giving up ----

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), way=st.sampled_from(["close", "with", "exit", "syscalls", "raw"]))
    def close(self, data: st.DataObject, way: str) -> None:
        fd = self.alive.pop(self.pick(data))
        if way == "with":
            with fd:
                pass
        else:
            ways: dict[str, Callable[[], object]] = {
                "close": fd.close,
                "exit": lambda: fd.__exit__(None, None, None),
                "syscalls": lambda: syscalls.close(fd),
                "raw": lambda: raw.close(fd),
            }
            ways[way]()
        self.gone.append(fd)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        number = self.pick(data)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del self.alive[number]
            gc.collect()
        assert [str(w.message).split()[0] for w in caught] == ["unclosed"]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def give_away(self, data: st.DataObject) -> None:
        number = self.pick(data)
        fd = self.alive.pop(number)
        assert fd.into_raw() == number
        self.raw.add(number)
        self.gone.append(fd)

    @precondition(lambda self: self.raw)
    @rule(data=st.data(), adopt=st.booleans())
    def take_or_close_what_was_given_away(self, data: st.DataObject, adopt: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.raw)))
        self.raw.remove(number)
        if adopt:
            self.adopt(Fd, number)
        else:
            os.close(number)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def close_behind_its_back(self, data: st.DataObject) -> None:
        number = self.pick(data)
        os.close(number)
        self.stale.append(self.alive.pop(number))
        self.noted.add(number)

    @precondition(lambda self: self.stale)
    @rule()
    def notice(self) -> None:
        fd = self.stale.pop()
        with pytest.raises(OSError):
            fd.close()
        self.gone.append(fd)

    # ---- what changes nothing ----

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def borrow(self, data: st.DataObject) -> None:
        number = self.pick(data)
        with Fd.borrow(number) as borrowed:
            assert borrowed.fileno() == number
            with pytest.raises(BusyError):
                Fd(number)

    @precondition(lambda self: self.gone)
    @rule()
    def use_what_is_gone(self) -> None:
        fd = self.gone[-1]
        fd.close()
        for use in (fd.fileno, fd.into_raw, fd.__enter__, lambda: raw.fcntl(fd, 1, 0), lambda: Fd.open("x", dir_fd=fd)):
            with pytest.raises(ClosedError):
                use()

    @invariant()
    def open_is_what_the_model_says(self) -> None:
        if self.before:
            assert descriptors() == self.before | set(self.alive) | self.raw
        for number, fd in self.alive.items():
            assert (fd.fileno(), fd.closed) == (number, False)

    def teardown(self) -> None:
        for fd in self.stale:
            with pytest.raises(OSError):
                fd.close()
        for fd in self.alive.values():
            fd.close()
        for number in self.raw:
            os.close(number)


_EXAMPLES = 200 if os.environ.get("RAWSYS_LONG") else 50  # set by .ci/long, which runs all tests as well
Owners.TestCase.settings = settings(max_examples=_EXAMPLES, stateful_step_count=30, deadline=None)
test_owners = Owners.TestCase
