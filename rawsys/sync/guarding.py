"""Condition and RWLock."""

from __future__ import annotations

from rawsys._native.lock import Mutex
from rawsys._timeouts import Deadline
from rawsys.sync._words import MOST_WAITERS, Words, counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["Condition", "RWLock"]


class Condition(Words):
    """Waiting for something to become true that a `Mutex` protects::

        with condition:
            condition.wait_for(lambda: queue)

    The mutex knows its owner, so an owner that dies is OwnerDiedError for the next; the condition itself knows nobody: a
    waiter that dies costs a system call at each later `notify`, and nothing else.
    """

    # The word is a number that each notification changes: who read it before he let the mutex go cannot miss one.
    __slots__ = ("mutex",)

    mutex: Mutex
    """The lock that it works with."""

    def __init__(self, mutex: Mutex | None = None) -> None:
        """With a mutex of its own, or the one that is given."""
        self.mutex = Mutex() if mutex is None else _checked(mutex)
        self._take()

    @classmethod
    def at(cls, buffer: Buffer, offset: int, mutex: Mutex) -> Self:
        """The condition that lies there (zeroed memory is one), with a mutex that is shared as well.

        Raises: ValueError outside the buffer, unaligned, or for a private mutex.
        """
        if not _checked(mutex)._shared:
            raise ValueError("a Condition in shared memory needs a mutex there: Mutex.at(buffer, offset)")
        self = cls._make()
        self.mutex = mutex
        self._take_at(buffer, offset)
        return self

    def acquire(self, timeout: float | None = None, recover: bool = False) -> bool:
        """As `Mutex.acquire`."""
        return self.mutex.acquire(timeout, recover)

    def release(self) -> None:
        """As `Mutex.release`."""
        self.mutex.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Let the mutex go, wait for a notification, take the mutex again: True, or False when `timeout` is over.

        It may return without a notification, so ask for what you wait for, or use `wait_for`. The mutex is held again
        in any case, also when a signal handler raises, but for OwnerDiedError.

        Raises: RuntimeError when this thread does not hold the mutex; OwnerDiedError.
        """
        seen = self._word.load()
        self._waiting.fetch_add(1)
        try:
            return self.mutex._yield_to(self._word, seen, timeout)
        finally:
            self._waiting.fetch_sub(1)

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until `predicate()` is true: True, or False when `timeout` (seconds) is over and it is not.

        Raises: as `wait`, and what the predicate raises.
        """
        deadline = Deadline(timeout)
        while not predicate():
            left = deadline.left_ns()
            if left == 0:
                return False
            if not self.wait(None if left is None else left / 1e9):
                return bool(predicate())
        return True

    def notify(self, n: int = 1) -> None:
        """Wake up to n waiters (perhaps more); best with the mutex held, which it does not ask for.

        Raises: ValueError for n below 0.
        """
        n = min(counted(n, "n", 0), MOST_WAITERS)
        if self._waiting.load():
            self._word.fetch_add(1)
            self._word.notify(n)

    def notify_all(self) -> None:
        """Wake all waiters."""
        self.notify(MOST_WAITERS)

    def __enter__(self) -> Self:
        self.mutex.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.mutex.release()

    def __repr__(self) -> str:
        return f"<Condition of {self.mutex!r}, {self._waiting.load()} waiting>"


def _checked(mutex: Mutex) -> Mutex:
    if not isinstance(mutex, Mutex):
        raise TypeError(f"a Condition works with a Mutex, not {type(mutex).__name__}")
    return mutex


class RWLock(Words):
    """Many readers or one writer; a writer that waits goes before new readers, so that it gets its turn::

        with lock.read(): ...
        with lock.write(timeout=1): ...

    Knows no owner: a reader or writer that dies, or that is another thread at a fork, holds it for ever there; the
    others wait until their timeouts. Taking it twice in one thread may wait for ever too.
    """

    # The word: bit 31 a writer holds it, below that the readers. A third word counts the writers that wait.
    __slots__ = ("_writers",)

    COUNT = 4
    SIZE = 16
    _WRITER = 0x80000000

    def __init__(self) -> None:
        self._take()
        self._writers = self._words[2]

    @classmethod
    def at(cls, buffer: Buffer, offset: int = 0) -> Self:
        """The lock that lies there; zeroed memory is one that nobody holds.

        Raises: ValueError outside the buffer or unaligned.
        """
        self = cls._make()
        self._take_at(buffer, offset)
        self._writers = self._words[2]
        return self

    def read(self, timeout: float | None = None) -> _Guard:
        """For ``with``: hold it as one of many readers. TimeoutError when `timeout` (seconds) is over."""
        return _Guard(self.acquire_read, self.release_read, timeout)

    def write(self, timeout: float | None = None) -> _Guard:
        """For ``with``: hold it alone. TimeoutError when `timeout` (seconds) is over."""
        return _Guard(self.acquire_write, self.release_write, timeout)

    def acquire_read(self, timeout: float | None = None) -> bool:
        """Hold it as a reader: True, or False when `timeout` (seconds) is over."""
        deadline = Deadline(timeout)
        while True:
            word = self._word.load()
            while not word & self._WRITER and not self._writers.load():
                done, word = self._word.compare_exchange(word, word + 1)
                if done:
                    return True
            if not word & self._WRITER:
                # Nobody holds it alone, but a writer waits: its turn comes with the last reader.
                if not self._await_writers(deadline):
                    return False
            elif not self._await(word, deadline):
                return False

    def _await_writers(self, deadline: Deadline) -> bool:
        """Wait while writers wait; they say when they got it or gave up."""
        waiting = self._writers.load()
        left = deadline.left_ns()
        self._words[3].fetch_add(1)
        try:
            return waiting == 0 or self._writers.wait(waiting, None if left is None else left / 1e9)
        finally:
            self._words[3].fetch_sub(1)

    def release_read(self) -> None:
        """Raises: RuntimeError when nobody reads."""
        word = self._word.load()
        while True:
            if word & self._WRITER or word == 0:
                raise RuntimeError(f"{self!r}: nobody reads")
            done, word = self._word.compare_exchange(word, word - 1)
            if done:
                break
        if word == 1:
            self._wake()

    def acquire_write(self, timeout: float | None = None) -> bool:
        """Hold it alone: True, or False when `timeout` (seconds) is over."""
        deadline = Deadline(timeout)
        if self._word.compare_exchange(0, self._WRITER)[0]:
            return True
        self._writers.fetch_add(1)
        try:
            while True:
                done, word = self._word.compare_exchange(0, self._WRITER)
                if done:
                    return True
                if not self._await(word, deadline):
                    return False
        finally:
            self._writers.fetch_sub(1)
            if self._words[3].load():
                self._writers.notify(0x7FFFFFFF)

    def release_write(self) -> None:
        """Raises: RuntimeError when nobody writes."""
        if not self._word.compare_exchange(self._WRITER, 0)[0]:
            raise RuntimeError(f"{self!r}: nobody writes")
        self._wake()

    def __repr__(self) -> str:
        word = self._word.load()
        state = "written" if word & self._WRITER else f"{word} reading" if word else "free"
        return f"<RWLock {state}>"


class _Guard:
    """What read() and write() give."""

    __slots__ = ("_acquire", "_release", "_timeout")

    def __init__(
        self, acquire: Callable[[float | None], bool], release: Callable[[], None], timeout: float | None
    ) -> None:
        self._acquire, self._release, self._timeout = acquire, release, timeout

    def __enter__(self) -> None:
        if not self._acquire(self._timeout):
            raise TimeoutError("the RWLock is held by others")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()
