"""Locks that count: Event, Semaphore, Barrier, Once."""

from __future__ import annotations

from threading import BrokenBarrierError, get_ident

from rawsys._timeouts import Deadline
from rawsys.errors import DeadlockError
from rawsys.sync._words import MADE, Words, counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["Barrier", "BrokenBarrierError", "Event", "Once", "Semaphore"]

_EDEADLK = 35


class Event(Words):
    """A flag that threads wait for.

    Knows no owner: after a fork or a death it is set or not, as it was.
    """

    __slots__ = ()

    def __init__(self) -> None:
        self._take()

    @classmethod
    def at(cls, buffer: Buffer, offset: int = 0) -> Self:
        """The event that lies there; zeroed memory is one that is not set.

        Raises: ValueError outside the buffer or unaligned.
        """
        self = cls._make()
        self._take_at(buffer, offset)
        return self

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._word.load() != 0

    def set(self) -> None:
        """Set it, and wake all that wait."""
        if self._word.swap(1) == 0:
            self._wake()

    def clear(self) -> None:
        """Reset it: who waits from now on waits for the next `set`."""
        self._word.store(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set: True, or False when `timeout` (seconds) is over."""
        deadline = Deadline(timeout)
        return self._word.load() != 0 or self._await(0, deadline)

    def __repr__(self) -> str:
        return f"<Event {'set' if self.is_set() else 'not set'}>"


class Semaphore(Words):
    """A count of permits: `acquire` takes one and waits while there is none, `release` gives some.

    Knows no owner: a permit that a thread or process holds when it dies is lost, and so are, in a forked child, those
    that other threads held. `release` once more to put one back.
    """

    __slots__ = ()

    MOST = 0x7FFFFFFF

    def __init__(self, value: int = 1) -> None:
        """`value` permits, 0 to `MOST`."""
        self._take()
        self._word.store(MADE | counted(value, "value", 0, self.MOST))

    @classmethod
    def at(cls, buffer: Buffer, offset: int = 0, value: int = 1) -> Self:
        """The semaphore that lies there; the first one to come makes it, with `value` permits.

        Raises: ValueError outside the buffer or unaligned.
        """
        self = cls._make()
        counted(value, "value", 0, cls.MOST)
        self._take_at(buffer, offset)
        self._word.compare_exchange(0, MADE | value)
        return self

    @property
    def value(self) -> int:
        """How many permits there are at this moment."""
        return self._word.load() & self.MOST

    def acquire(self, timeout: float | None = None) -> bool:
        """Take a permit: True, or False when `timeout` (seconds) is over."""
        deadline = Deadline(timeout)
        word = self._word
        while True:
            value = word.load()
            while value != MADE:
                taken, value = word.compare_exchange(value, value - 1)
                if taken:
                    return True
            if not self._await(MADE, deadline):
                return False

    def release(self, n: int = 1) -> None:
        """Give n permits.

        Raises: ValueError for n below 1, OverflowError above `MOST` permits.
        """
        counted(n, "n", 1, self.MOST)
        value = self._word.load()
        while True:
            if (value & self.MOST) + n > self.MOST:
                raise OverflowError(f"a semaphore holds up to {self.MOST} permits")
            done, value = self._word.compare_exchange(value, value + n)
            if done:
                break
        self._wake(n)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Semaphore {self.value}>"


class Barrier(Words):
    """A point where `parties` threads wait for each other, again and again.

    Knows no owner: a party that dies while it waits still counts as arrived, and one that dies elsewhere never arrives:
    the others wait until a timeout or `abort()` breaks the barrier. In a forked child the parties that waited are gone,
    but counted: `reset()` it there.
    """

    # The word is one value, so that arriving is one step: 8 bits of a phase that goes on with each round, a bit that
    # says broken, and how many have arrived.
    __slots__ = ("_parties",)

    COUNT = 4
    SIZE = 16
    _BROKEN, _MOST, _PHASE = 0x00800000, 0x007FFFFF, 0x01000000

    def __init__(self, parties: int) -> None:
        """`parties` threads, 1 to 8,388,607."""
        self._parties = counted(parties, "parties", 1, self._MOST)
        self._take()

    @classmethod
    def at(cls, buffer: Buffer, offset: int, parties: int) -> Self:
        """The barrier that lies there; zeroed memory is a new one. All give the same number of parties.

        Raises: ValueError outside the buffer, unaligned, or for another number of parties than the first one gave.
        """
        self = cls._make()
        self._parties = counted(parties, "parties", 1, cls._MOST)
        self._take_at(buffer, offset)
        made, before = self._words[2].compare_exchange(0, parties)
        if not made and before != parties:
            raise ValueError(f"the barrier there is one of {before} parties, not of {parties}")
        return self

    @property
    def parties(self) -> int:
        """How many threads it takes."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many have arrived."""
        return self._word.load() & self._MOST

    @property
    def broken(self) -> bool:
        """Whether it was aborted, or a timeout broke it."""
        return bool(self._word.load() & self._BROKEN)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the others: a number from 0 to parties - 1, different for each; the last to arrive gets 0.

        Raises: BrokenBarrierError (of `threading`) when it is or becomes broken; a timeout, or an exception of a signal
        handler, breaks it for all.
        """
        deadline = Deadline(timeout)
        word = self._word.load()
        while True:
            if word & self._BROKEN:
                raise BrokenBarrierError
            last = (word & self._MOST) + 1 == self._parties
            next_word = ((word & ~self._MOST) + self._PHASE & 0xFFFFFFFF) if last else word + 1
            done, word = self._word.compare_exchange(word, next_word)
            if done:
                break
        if last:
            self._wake()
            return 0
        place = self._parties - (next_word & self._MOST)
        try:
            arrived = self._await_phase(next_word & -self._PHASE & 0xFFFFFFFF, deadline)
        except BaseException:
            self._break(next_word)
            raise
        if not arrived:
            self._break(next_word)
            raise BrokenBarrierError
        return place

    def _await_phase(self, phase: int, deadline: Deadline) -> bool:
        while True:
            word = self._word.load()
            passed = (word - phase & 0xFFFFFFFF) // self._PHASE
            if passed % 2:
                return True  # all arrived: one phase on, and two more for each reset since
            if passed or word & self._BROKEN:
                raise BrokenBarrierError
            if not self._await(word, deadline) and self._word.load() == word:
                return False

    def _break(self, mine: int) -> None:
        """Break the phase in which this thread waits, if it is that phase still."""
        word = self._word.load()
        while word & -self._PHASE == mine & -self._PHASE and not word & self._BROKEN:
            done, word = self._word.compare_exchange(word, word | self._BROKEN)
            if done:
                self._wake()
                return

    def abort(self) -> None:
        """Break it: all that wait, and all that come, get BrokenBarrierError, until `reset()`."""
        self._word.fetch_or(self._BROKEN)
        self._wake()

    def reset(self) -> None:
        """Make it as new. Those that wait get BrokenBarrierError."""
        word = self._word.load()
        if word & self._MOST and not word & self._BROKEN:
            self.abort()
        while True:
            word = self._word.load()
            # Two phases on: those of the old one must not take the new one for their own end.
            done, _ = self._word.compare_exchange(word, (word & -self._PHASE) + 2 * self._PHASE & 0xFFFFFFFF)
            if done:
                self._wake()
                return

    def __repr__(self) -> str:
        return f"<Barrier {self.n_waiting} of {self._parties}{' broken' if self.broken else ''}>"


class Once(Words):
    """Something that is done once, by whoever comes first; the others wait until it is done.

    Knows no owner: when the one that does it dies, it stays "being done", and the others wait for ever or until their
    timeout; so does a forked child where another thread was doing it. `reset()` lets the next one try.
    """

    __slots__ = ("_runner",)

    _NEW, _RUNNING, _DONE = 0, 1, 2

    def __init__(self) -> None:
        self._runner = 0
        self._take()

    @classmethod
    def at(cls, buffer: Buffer, offset: int = 0) -> Self:
        """What lies there; zeroed memory is not done.

        Raises: ValueError outside the buffer or unaligned.
        """
        self = cls._make()
        self._runner = 0
        self._take_at(buffer, offset)
        return self

    @property
    def done(self) -> bool:
        """Whether it has been done."""
        return self._word.load() == self._DONE

    def call(self, function: Callable[..., object], /, *args: object, timeout: float | None = None) -> bool:
        """Do it, if nobody has: True where this call did it, False where it was done.

        When the function raises, the exception is raised here, and the next one tries.

        Raises: DeadlockError from inside the function itself, TimeoutError when `timeout` (seconds) is over.
        """
        deadline = Deadline(timeout)
        while True:
            first, state = self._word.compare_exchange(self._NEW, self._RUNNING)
            if first:
                self._do(function, args)
                return True
            if state == self._DONE:
                return False
            if self._runner == get_ident():
                raise DeadlockError(
                    _EDEADLK, "the function of this Once calls it again, and would wait for itself for ever"
                )
            if not self._await(self._RUNNING, deadline):
                raise TimeoutError(f"{self!r} is still being done")

    def _do(self, function: Callable[..., object], args: tuple[object, ...]) -> None:
        state = self._NEW
        self._runner = get_ident()
        try:
            function(*args)
            state = self._DONE
        finally:
            self._runner = 0
            self._word.store(state)
            self._wake()

    def reset(self) -> None:
        """Let it be done again, also after the one that did it has died."""
        self._runner = 0
        self._word.store(self._NEW)
        self._wake()

    def __repr__(self) -> str:
        return f"<Once {('not done', 'being done', 'done')[min(self._word.load(), 2)]}>"
