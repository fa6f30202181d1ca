"""How the owned storey makes a call: again after EINTR, counts checked, what arrives owned at once."""

from __future__ import annotations

from operator import index

from rawsys import raw
from rawsys._native.handle import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn, ParamSpec, TypeVar

    from rawsys._types import Descriptor

    P = ParamSpec("P")
    T = TypeVar("T")
    H = TypeVar("H", bound=Handle)


def again(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a checked call, once more after each EINTR; Python's signal handlers run at the jump back, and may raise."""
    while True:
        try:
            return call(*args, **kwargs)
        except InterruptedError:
            pass


def fail(name: str, arguments: tuple[object, ...], answer: int) -> NoReturn:
    """Raise the OSError for a raw call's answer."""
    from rawsys.errors import os_error

    raise os_error(name, arguments, -answer)


def so_far(error: OSError, done: int) -> None:
    """Say on an error how many bytes the calls before it moved."""
    error.characters_written = done  # type: ignore[attr-defined]  # typeshed knows it for BlockingIOError only
    if done:
        error.add_note(f"after {done} bytes")


def whole(value: int, what: str) -> int:
    """`value` as a plain int by the doors' rule, no bool, no float: for numbers that are worked with before a door."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    return index(value)


def counted(value: int, what: str) -> int:
    """`value` as a plain int that is not negative."""
    number = whole(value, what)
    if number < 0:
        raise ValueError(f"{what} cannot be negative, got {number}")
    return number


class Number:
    """The number of a descriptor that stands in memory for a call, where no door sees and counts it.

    An owner's number has to stay open until the call is over.  `Handle._use()` gives an object that counts as a call
    in flight until it is released or gone; without that an owner closed by another thread in the instructions between
    here and the kernel would leave us a stranger's number.
    """

    __slots__ = ("_use", "value")

    def __init__(self, fd: Descriptor) -> None:
        self._use = fd._use() if isinstance(fd, Handle) else None
        self.value = self._use.number if self._use else _number_of(fd)

    def release(self) -> None:
        """The call is over."""
        if self._use:
            self._use.release()


def _number_of(fd: Descriptor) -> int:
    if not hasattr(type(fd), "__index__") and hasattr(fd, "fileno"):
        fd = fd.fileno()
    number = whole(fd, "a descriptor")  # type: ignore[arg-type]  # what is neither is refused there
    if not -(2**31) <= number < 2**31:
        raise OverflowError(f"descriptor {number} is outside a C int")
    return number


def mine(cls: type[H], fd: Handle | int) -> H:
    """What a checked call gave, as an owner of the class that was asked."""
    if isinstance(fd, cls):
        return fd
    return cls._fresh(fd if isinstance(fd, int) else fd.into_raw())


def own(cls: type[H], numbers: memoryview) -> list[H]:
    """Owners for the descriptors that a call left in memory; -1 replaces each number as it gets its owner.

    Between the -1 and the owner nothing can interrupt: signal handlers run after a call only, and then the owner is
    there and is released like any other.  So the caller's `discard` finds exactly what nobody owns yet.
    """
    owners: list[H] = []
    fresh = cls._fresh
    try:
        for place in range(len(numbers)):
            number = numbers[place]
            numbers[place] = -1
            owners.append(fresh(number))
    except BaseException:
        for owner in owners:
            owner.close()
        raise
    return owners


def discard(numbers: Iterable[int]) -> None:
    """Close what arrived and has no owner, on the way to an exception."""
    for number in numbers:
        if number >= 0:
            raw.close(number)
