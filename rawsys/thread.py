"""Threads with their own stack, CPUs, policy and name from the first instruction; bodies in Python or without the GIL::

    handle = ThreadHandle.spawn(work, 42, name="worker", affinity={1})
    result = handle.join()                       # what work gave, or its exception

    counter = AtomicU64()
    with ThreadHandle.spawn_native(counter.adder(1_000_000)):    # leaving `with` joins
        ...

A thread is joined or detached exactly once. The kernel keeps affinity, policy, nice value, name and signal mask for each
thread: what is not given is as in the creator.
"""

from __future__ import annotations

import os

from rawsys import sched
from rawsys._native import threading_hooks as hooks
from rawsys._native.threads import NativeBody, ThreadCore, native_body
from rawsys.errors import ClosedError, os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Self

    from rawsys.fd import Handle
    from rawsys.program import Program

__all__ = ["NativeBody", "ThreadHandle"]

_PYTHON, _NATIVE, _PROGRAM = 0, 1, 2
_NOTHING = (None,) * 7
_PYTHON_STACK = 32 << 10  # CPython's own least


class ThreadHandle(ThreadCore):
    """A thread of this process, to be joined or detached exactly once.

    Made by `spawn` (a Python body) and `spawn_native` (a body in C or a Program, which runs without the GIL). Both take:

    stack_size, guard_size
        bytes; a Python body needs 32 KiB, a native one 16 KiB, and deep recursion or large frames more. Running over
        the guard page is SIGSEGV.
    affinity
        CPU numbers; what the cpuset makes of it is in the attribute `affinity`.
    policy, priority
        SCHED_*; 1 to 99 for SCHED_FIFO and SCHED_RR. For SCHED_DEADLINE see `rawsys.sched.set_attr`.
    nice
        -20 to 19.
    name
        up to 15 bytes; also the name of `threading.current_thread()` there.
    signal_mask
        the signals that are blocked in it, from its first instruction.
    detached
        nobody joins it.

    They return when the thread exists, has its Python state (for a Python body) and all of that holds; the body may
    have begun.

    Raises OSError when the kernel refuses one of them (the note names the call): then no body runs. EAGAIN: a limit of
    threads, or no memory for the stack.

    Dropped while it runs, a thread is detached with a ResourceWarning. At exit all that are not detached are waited for;
    detached ones are ended there when they next want the GIL. In a forked child the threads of the parent do not exist:
    `is_alive()` is False and `join()` ClosedError.
    """

    __slots__ = ("__weakref__", "_name", "_thread")

    _name: str | None
    _thread: Any

    def __init__(self) -> None:
        raise TypeError("threads are made by ThreadHandle.spawn() and spawn_native()")

    @classmethod
    def spawn(
        cls,
        function: Callable[..., object],
        /,
        *args: object,
        stack_size: int | None = None,
        guard_size: int | None = None,
        affinity: Iterable[int] | None = None,
        policy: int | None = None,
        priority: int = 0,
        nice: int | None = None,
        name: str | None = None,
        signal_mask: Iterable[int | str] | None = None,
        detached: bool = False,
        move: Iterable[Handle] = (),
    ) -> Self:
        """A thread that calls ``function(*args)``; keyword arguments of the function go into `functools.partial`.

        Inside, `threading` behaves as in a thread of its own: `current_thread()`, thread-local data, tracing. An
        exception is raised by `join()`; it goes to `threading.excepthook` only where nobody can join. SystemExit ends
        the thread, and `join()` gives None.

        `move` gives owners away: the body gets new owners of the same descriptors after its other arguments, and the
        caller's are released, so that any later use of them is ClosedError.

        Raises OSError as the class says; TypeError, ValueError; BusyError or ClosedError for what cannot be moved;
        RuntimeError while the interpreter exits.
        """
        if not callable(function):
            raise TypeError(f"a body is callable, {type(function).__name__} is not; a body in C goes to spawn_native()")
        if hooks.exiting:
            raise RuntimeError("the interpreter exits: no thread can be spawned any more")
        owners = [*_every(move, "move", "owners")] if move else None
        wishes = None
        asked = (stack_size, guard_size, affinity, policy, nice, name, signal_mask)
        if asked != _NOTHING or priority:
            wishes = _wishes(stack_size, guard_size, affinity, policy, priority, nice, name, signal_mask)
            if stack_size is not None and stack_size < _PYTHON_STACK:
                raise _refused("pthread_create", 22, wishes)
        self = cls.__new__(cls)
        self._name = name
        self._thread = thread = hooks.prepare(function, name, detached)
        if owners:
            self._start_moving(owners, thread, function, [*args], wishes)
        else:
            failed = self._start(_PYTHON, hooks.bootstrap, (thread, function, args), wishes, False)
            if failed is not None:
                raise _refused(*failed, wishes)
        if detached:
            self.detach()
        return self

    @classmethod
    def spawn_native(
        cls,
        body: NativeBody | Program | object,
        argument: object = None,
        *,
        stack_size: int | None = None,
        guard_size: int | None = None,
        affinity: Iterable[int] | None = None,
        policy: int | None = None,
        priority: int = 0,
        nice: int | None = None,
        name: str | None = None,
        signal_mask: Iterable[int | str] | None = None,
        detached: bool = False,
    ) -> Self:
        """A thread without Python: ``void *body(void *argument)``, a Program, or ``counter.adder(n)``.

        `body` is an address (int), a cffi or ctypes pointer to the function; `argument` an int, a pointer, a writable
        buffer (pinned until the end) or None for NULL. `join()` gives what the function returned, as an int. Of a
        Program, `argument` is a dict of its parameters, and `join()` gives its Results.

        What the body was given is kept until it has been joined; when it was detached, until it has ended and something
        else is done with rawsys.

        Raises OSError as the class says; ValueError for address 0; TypeError; RefusedCallError for a Program that execs.

        Safety: the function must not touch Python without taking the GIL, and one that does must not outlive the
        interpreter. What its argument points to is not checked.
        """
        from rawsys.program import Program

        if hooks.exiting:
            raise RuntimeError("the interpreter exits: no thread can be spawned any more")
        wishes = _wishes(stack_size, guard_size, affinity, policy, priority, nice, name, signal_mask)
        self = cls.__new__(cls)
        self._name = name
        self._thread = None
        if isinstance(body, Program):
            failed = self._start(_PROGRAM, body, _parameters(argument), wishes, False)
        else:
            entry, place, keep = native_body(body, argument)
            failed = self._start(_NATIVE, keep, (entry, place), wishes, False)
        if failed is not None:
            raise _refused(*failed, wishes)
        if detached:
            self.detach()
        return self

    def _start_moving(
        self,
        owners: list[Handle],
        thread: object,
        function: object,
        args: list[object],
        wishes: tuple[object, ...] | None,
    ) -> None:
        """In two phases: the thread waits at its gate, so nothing of the caller's is gone if it cannot start."""
        from rawsys._native.handle import Handle

        failed = self._start(_PYTHON, hooks.bootstrap, (thread, function, args), wishes, True)
        if failed is not None:
            raise _refused(*failed, wishes)
        try:
            if len({id(owner) for owner in owners}) < len(owners):
                raise ClosedError("an owner can be moved once, and is given twice")
            fresh = Handle._move_all(*owners)
            for old, new in zip(owners, fresh, strict=True):
                _carry(old, new)
            args.extend(fresh)
        except BaseException:
            self._open(False)
            self.join()
            raise
        self._open(True)

    # ---- what it is ----

    @property
    def name(self) -> str:
        """The thread's name as the kernel has it now; after its end the one that it was given."""
        if self.is_alive():
            try:
                return sched.name(self.tid)
            except OSError:
                pass  # it ended meanwhile
        return self._name or ""

    @property
    def affinity(self) -> frozenset[int]:
        """The CPUs that it may run on, as the kernel has them now.

        Raises: OSError (ESRCH) after its end.
        """
        if not self.is_alive():
            raise os_error("sched_getaffinity", (self.tid, 0, None), 3)
        return sched.affinity(self.tid)

    def send_signal(self, signal: int) -> None:
        """`tgkill(2)`: send a signal to this thread; what it does (a fatal one, a stop) it does to the whole process.

        Python's handlers run in the main thread whichever thread got the signal.

        Raises: OSError (ESRCH) after its end, never hitting a newcomer with its number; ValueError for no signal.
        """
        from rawsys.signals import Signal

        number = int(signal)
        if number:
            Signal(number)
        if number in (32, 33):
            raise ValueError(f"signal {number} is libc's own")
        answer = self._signal(number)
        if answer < 0:
            raise os_error("tgkill", (os.getpid(), self.tid, number), -answer)

    # ---- letting it go ----

    def __enter__(self) -> Self:
        if self.closed:
            raise ClosedError(f"{self!r} can no longer be used")
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Joins; nothing where it was joined or detached inside.

        An exception of the block goes first: then that of the thread goes to `threading.excepthook`. What a signal
        handler raises meanwhile ends the waiting, and goes on; the thread is then still to be joined.
        """
        if self.closed:
            return
        if kind is None:
            self.join()
            return
        try:
            self.join()
        except BaseException as error:
            if not self.closed:  # of a signal handler: the thread runs on, and can be joined
                raise
            hooks.report((self._thread, None, error))

    def __repr__(self) -> str:
        name = f" {self._name!r}" if self._name else ""
        return f"<{type(self).__name__} {self.tid}{name} {self._state}>"


def _carry(old: Handle, new: Handle) -> None:
    """What an owner knows besides its number (a Pid its status, an Epoll what it watches) goes to the new one.

    The old one keeps what it needs to be asked and closed, but empty: closing an Epoll lets go of all that it watches.
    """
    for kind in type(old).__mro__:
        for name in vars(kind).get("__slots__", ()):
            if name != "__weakref__" and hasattr(old, name):
                value = getattr(old, name)
                setattr(new, name, value)
                if isinstance(value, (dict, list)):
                    setattr(old, name, type(value)())
    if hasattr(old, "__dict__"):
        new.__dict__.update(old.__dict__)


def _wishes(
    stack_size: int | None,
    guard_size: int | None,
    affinity: Iterable[int] | None,
    policy: int | None,
    priority: int,
    nice: int | None,
    name: str | None,
    signal_mask: Iterable[int | str] | None,
) -> tuple[object, ...]:
    """What the C side reads: sizes, masks and names as the kernel takes them."""
    signals = None
    if signal_mask is not None:
        from rawsys.signals import SignalSet

        signals = SignalSet(_every(signal_mask, "signal_mask", "signals")).mask
    _checked(stack_size=stack_size, guard_size=guard_size, policy=policy, priority=priority, nice=nice)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name is a str, not {type(name).__name__}")
    if priority and policy is None:
        raise ValueError("a priority needs a policy")
    mask = None if affinity is None else sched.mask_of(_every(affinity, "affinity", "CPU numbers"))
    text = None if name is None else sched.checked_name(name)
    return (_stack(stack_size), guard_size, mask, policy, priority, nice, text, signals)


def _checked(**numbers: int | None) -> None:
    for what, number in numbers.items():
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{what} is an int, not {type(number).__name__}")
        if what.endswith("_size") and not 0 <= number < 1 << 63:
            raise ValueError(f"{what} is a number of bytes, not {number}")


def _every(given: Iterable[Any], what: str, of: str) -> Iterable[Any]:
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise TypeError(f"{what} is an iterable of {of}, not {type(given).__name__}")
    return given


def _stack(size: int | None) -> int:
    return 0 if size is None else max(size, 1)  # 0 is libc's default in C, and no size for a caller


def _parameters(argument: Mapping[str, object] | object) -> dict[str, object]:
    if argument is None:
        return {}
    if not isinstance(argument, dict):
        raise TypeError(f"the argument of a Program is a dict of its parameters, not {type(argument).__name__}")
    return argument


_ARGUMENTS: dict[str, Callable[[tuple[Any, ...]], tuple[object, ...]]] = {
    "sched_setaffinity": lambda wishes: (0, len(wishes[2]), wishes[2]),
    "sched_setscheduler": lambda wishes: (0, wishes[3], wishes[4].to_bytes(4, "little", signed=True)),
    "setpriority": lambda wishes: (0, 0, wishes[5]),
    "prctl": lambda wishes: (15, wishes[6], 0, 0, 0),
    "rt_sigprocmask": lambda wishes: (2, wishes[7], None, 8),
}


def _refused(call: str, errno: int, wishes: tuple[Any, ...] | None) -> OSError:
    if call in _ARGUMENTS and wishes is not None:
        return os_error(call, _ARGUMENTS[call](wishes), errno)
    error = OSError(errno, os.strerror(errno))
    given = zip(("stack_size", "guard_size"), wishes[:2], strict=True) if wishes else ()
    error.add_note(f"in {call}({', '.join(f'{what}={size}' for what, size in given if size)})")
    return error
