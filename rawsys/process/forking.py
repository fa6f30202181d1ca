"""fork(): os.fork behind a gate, so that CPython and libc stay whole and the parent has a pidfd before the child goes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from rawsys import raw
from rawsys.process import _numbers as n
from rawsys.process import strays
from rawsys.process.pid import Pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Never, TypeVar

    P = TypeVar("P", bound=Pid)


_FAULTS = (4, 5, 7, 8, 11, 31)
_HANDLED = ((1 << 64) - 1 & ~sum(1 << number - 1 for number in (*_FAULTS, 32, 33))).to_bytes(8, "little")
"""All signals but those of the processor's faults, which cannot wait, and libc's own."""


def fork(*, unsafe: bool = False) -> Pid | None:
    """`fork(2)` by `os.fork`, with all at-fork hooks: a `Pid` in the parent, None in the child.

    The child waits at a gate until the parent holds its pidfd; when the parent dies before that, it exits.  It should
    end by ``rawsys.raw_exit(status)``, which runs no atexit function, flushes nothing and leaves no finally block.

    Raises ForkUnsafeError while other threads live, naming them, unless `unsafe`: what they hold locked stays locked
    in the child.  OSError (EAGAIN, ENOMEM) when the kernel refuses; then there is no child.
    """
    return _gated(Pid, unsafe)


def _gated(cls: type[P], unsafe: bool) -> P | None:
    if not unsafe:
        refuse_threads()
    strays.drain()
    # No signal handler runs until the child has its owner: one that raised behind os.fork would lose the child's number,
    # behind pidfd_open the pidfd.  The mask is read first, so that what is put back is right wherever it raises.
    before = bytearray(8)
    raw.rt_sigprocmask(n.SIG_BLOCK, None, before, 8)
    try:
        raw.rt_sigprocmask(n.SIG_BLOCK, _HANDLED, None, 8)
        return _owned(cls, unsafe)
    finally:
        raw.rt_sigprocmask(n.SIG_SETMASK, before, None, 8)


def _owned(cls: type[P], unsafe: bool) -> P | None:
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = -1
    try:
        pid = _quiet_fork() if unsafe else os.fork()
        if pid:
            fd = os.pidfd_open(pid)  # before the gate opens: where SIGCHLD is ignored, a short child leaves no zombie
            child = cls._fresh(fd)._is(pid, child=True)
            os.write(write, b"!")
            return child
    except BaseException:
        if pid > 0:
            _abandon(pid, write)
            write = -1
        raise
    finally:
        if pid:
            os.close(read)
            if write >= 0:
                os.close(write)
    _wait_at_gate(read, write)
    return None


def _quiet_fork() -> int:
    """os.fork without the DeprecationWarning of 3.12 for other threads: `unsafe` has asked for it.

    Where warnings are errors it would also be raised after the child exists, with its number lost.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _wait_at_gate(read: int, write: int) -> None:
    """In the child: raw calls only, no user code yet.  End of file says that the parent died, or could not hold us."""
    raw.close(write)
    token = bytearray(1)
    while (answer := raw.read(read, token, 1)) == -n.EINTR:
        pass
    raw.close(read)
    if answer != 1:
        raw.exit_group(127)


def _abandon(pid: int, write: int) -> None:
    """The parent could not hold its child, which still stands at the gate: let it see the end, and reap it."""
    os.close(write)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def forked(cls: type[P], work: Callable[..., object], args: tuple[object, ...], unsafe: bool) -> P:
    """`Pid.fork`."""
    flush()  # what is in the buffers now would be written twice
    parent = os.getpid()
    try:
        child = _gated(cls, unsafe)
    except BaseException:
        if os.getpid() != parent:
            raw.exit_group(1)  # a signal handler raised in the child before it had begun
        raise
    if child is None:
        _run(work, args)
    return child


def _run(work: Callable[..., object], args: tuple[object, ...]) -> Never:
    """The whole life of the child."""
    code = 1
    try:
        try:
            code = _code(work(*args))
        except SystemExit as request:
            code = _code_of_exit(request.code)
        except BaseException:  # noqa: BLE001 - whatever it is, it must not reach the parent's frames
            sys.excepthook(*sys.exc_info())
        flush()
    finally:
        raw.exit_group(code & 0xFF)
        raise SystemError("exit_group came back")


def _code(result: object) -> int:
    if result is None:
        return 0
    if isinstance(result, int):
        return int(result)
    raise TypeError(f"the work of Pid.fork gives None or an int, not {type(result).__name__}")


def _code_of_exit(code: object) -> int:
    """As the interpreter does it: None is 0, an int itself, anything else is printed and 1."""
    if code is None or isinstance(code, int):
        return _code(code)
    print(code, file=sys.stderr)
    return 1


def flush() -> None:
    """Write out the standard streams, where there are any."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


def refuse_threads() -> None:
    """Raise ForkUnsafeError, with their names, when other threads live in this process."""
    tids = os.listdir("/proc/self/task")
    if len(tids) > 1:
        tids = _after_the_joined(tids)
    if len(tids) == 1:
        return
    from rawsys.errors import ForkUnsafeError

    raise ForkUnsafeError(
        f"fork() with {len(tids) - 1} other thread{'s' * (len(tids) > 2)} alive: {', '.join(_names(tids))}; locks that they "
        "hold would stay locked in the child. Use rawsys.Command, which is safe, or unsafe=True"
    )


def _after_the_joined(tids: list[str]) -> list[str]:
    """A Python thread that was joined is in the kernel for an instant yet, on its way out: let it go."""
    import threading
    import time

    end = time.monotonic() + 0.1
    while len(tids) > threading.active_count() == 1 and time.monotonic() < end:
        os.sched_yield()
        tids = os.listdir("/proc/self/task")
    return tids


def _names(tids: list[str]) -> list[str]:
    import threading

    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    names = []
    for tid in sorted(map(int, tids)):
        if tid == threading.get_native_id():
            continue
        name = known.get(tid)
        if name is None:
            try:
                with open(f"/proc/self/task/{tid}/comm") as file:
                    name = f"{file.read().strip()} (no Python thread)"
            except OSError:
                continue
        names.append(name)
    return names
