"""What the locks in Python are made of: 32-bit words, private or side by side in shared memory."""

from __future__ import annotations

from rawsys._native.atomic import AtomicU32
from rawsys._timeouts import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

MADE = 0x80000000
"""In the first word of what has an initial value: zeroed memory was made into it."""

MOST_WAITERS = 0x7FFFFFFF
"""As many as the kernel wakes in one call."""


class Words:
    """A lock of `COUNT` words; a subclass names them in `__slots__` and takes them from `_take` or `_take_at`."""

    __slots__ = ("_shared", "_waiting", "_word", "_words")

    COUNT = 2
    SIZE = 8
    """Bytes that it takes in a buffer."""

    _word: AtomicU32
    """What is waited on."""
    _waiting: AtomicU32
    """How many do: who changes the word wakes nobody, and makes no system call, where this is 0."""

    def _take(self) -> None:
        self._shared = False
        self._keep([AtomicU32() for _ in range(self.COUNT)])

    def _take_at(self, buffer: Buffer, offset: int) -> None:
        first = AtomicU32.at(buffer, offset)
        if offset % 8:
            raise ValueError(f"offset {offset} is not a multiple of 8")
        with memoryview(buffer) as view:
            room = view.nbytes
        if offset + self.SIZE > room:
            raise ValueError(f"{self.SIZE} bytes at offset {offset} are outside the buffer of {room} bytes")
        self._shared = True
        self._keep([first, *(AtomicU32.at(buffer, offset + 4 * n) for n in range(1, self.COUNT))])

    def _keep(self, words: list[AtomicU32]) -> None:
        self._words = words
        self._word, self._waiting = words[:2]

    def _await(self, expected: int, deadline: Deadline) -> bool:
        """Wait while the word is `expected`; False when the time is up and it still is."""
        left = deadline.left_ns()
        self._waiting.fetch_add(1)
        try:
            return self._word.wait(expected, None if left is None else left / 1e9)
        finally:
            self._waiting.fetch_sub(1)

    def _wake(self, n: int = MOST_WAITERS) -> None:
        """Wake up to n of those that wait, if any do."""
        if self._waiting.load():
            self._word.notify(n)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled; other processes use at(buffer, offset)")

    @classmethod
    def _make(cls) -> Self:
        return cls.__new__(cls)


def counted(value: int, what: str, least: int, most: int | None = None) -> int:
    """An int in a range; TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if most is None:
        if value < least:
            raise ValueError(f"{what} must be {least} or more, not {value}")
    elif not least <= value <= most:
        raise ValueError(f"{what} must be from {least} to {most}, not {value}")
    return value
