"""Pid: a process, held by a pidfd, so that no signal and no wait ever goes to a stranger with its number."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from rawsys import raw, syscalls
from rawsys._native.handle import Handle
from rawsys._timeouts import Deadline, nanoseconds
from rawsys.fd._calls import Number, again, fail
from rawsys.process import _numbers as n
from rawsys.process import lost, strays
from rawsys.process._polling import poll
from rawsys.process._siginfo import ended, queued

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from rawsys.constants import Signal
    from rawsys.process.status import ExitStatus

GRACE = 5.0
"""Seconds that a child has after SIGTERM when its `with` block is left by an exception."""


_LOST = -1
"""In the place of the parent's number: reaped by somebody else, and nobody tells how it ended."""


class Pid(Handle):
    """A process, held by its pidfd: signals and waits reach this one or nobody, whatever becomes of its number.

    `Pid.fork`, `rawsys.fork` and `Command.spawn` give one for a new child; ``Pid.open(number)`` one for any process.
    `fileno()` is the pidfd, readable when the process has ended: it works with select, poll, epoll and asyncio, and is
    ClosedError once the process is reaped or let go.

    A child is reaped by `wait`; then its pidfd is closed and its status kept, and nothing is left to release.  Leaving
    `with` waits for a child; by an exception it terminates it, kills it after 5 s, and reaps it.  `close()` lets an
    unreaped child go: it runs on, and is reaped in passing, by a later spawn or wait, or at exit.  The same becomes of
    a child that is forgotten, with a ResourceWarning.  A process that is no child of ours is only let go.

    Threads may share a Pid.  In a forked child, a Pid of the parent's is the handle of a process that is not ours.
    """

    __slots__ = ("__weakref__", "_beside", "_leads", "_lock", "_parent", "_status", "pid")

    pid: int
    """Its number, in our PID namespace; somebody else may have it once the process is reaped."""

    def __new__(cls, *_: object) -> Self:  # noqa: D102 - it is refused
        raise TypeError(
            f"{cls.__name__}.open(number), {cls.__name__}.fork(work) or Command(...).spawn() gives a {cls.__name__}"
        )

    def _is(self, pid: int, child: bool) -> Self:
        self.pid = pid
        self._status: ExitStatus | None = None
        self._lock = threading.Lock()
        self._leads = False
        self._beside = 0
        # Last: until it is there, a signal handler may have raised anywhere above, and `close` takes it for a child.
        self._parent = os.getpid() if child else 0
        return self

    @classmethod
    def open(cls, number: int) -> Self:
        """`pidfd_open(2)`: hold the process with that number, which may be anybody's.

        Of a process that is not ours the kernel tells the end, and how it ended from Linux 6.15 on.  A child of this
        process that somebody else here started (`subprocess`, another Pid) is theirs to reap: this one only looks.

        Raises ProcessLookupError when there is none, OSError (EINVAL, ENOENT) for the number of a thread.
        """
        fd = again(syscalls.pidfd_open, number, 0)
        made = cls._fresh(fd.into_raw())._is(int(number), child=False)
        if made._ask(n.WEXITED | n.WNOWAIT | n.WNOHANG)[0] == 0:
            made._beside = os.getpid()
        return made

    @classmethod
    def fork(cls, work: Callable[..., object], *args: object, unsafe: bool = False) -> Self:
        """A child that runs ``work(*args)`` and exits: with 0 for None, with an int's low 8 bits, as SystemExit says.

        An exception prints its traceback, and the child exits with 1.  It never returns into the frames of the caller:
        no atexit function and no finally block of theirs runs in it.  Its standard streams are flushed.

        Raises ForkUnsafeError while other threads live, unless `unsafe`; OSError (EAGAIN, ENOMEM) from the kernel.
        """
        from rawsys.process.forking import forked

        return forked(cls, work, args, unsafe)

    # ---- its end ----

    @property
    def status(self) -> ExitStatus | None:
        """How it ended, once that was waited for; None until then."""
        return self._status

    @property
    def is_child(self) -> bool:
        """True for a child of this process that nobody here has reaped."""
        return self._status is None and self._parent == os.getpid()

    def wait(self, timeout: float | None = None, *, reap: bool = True) -> ExitStatus:
        """`waitid(2)`: wait until it has ended, at most `timeout` seconds, and reap it.

        With ``reap=False`` it is only looked at, and stays waitable.  Once it is reaped, this gives its status again.
        A process that is not our child has a status when its parent has reaped it.

        Raises TimeoutError; StatusLostError when somebody else reaped it and the kernel does not tell; ClosedError
        after `close()`.
        """
        if timeout is not None:
            nanoseconds(timeout)  # a wrong one is refused, also where nothing is to be waited for
        if strays.kept:
            strays.drain()
        if self._status is not None:
            return self._status
        try:
            return self._wait(timeout, reap)
        except ValueError:  # ClosedError: another thread has reaped it meanwhile, or let it go
            if self._status is None:
                raise
            return self._status

    def _wait(self, timeout: float | None, reap: bool) -> ExitStatus:
        if self._parent == _LOST:
            raise self._lost()
        if self._parent != os.getpid():
            return self._foreign(timeout)
        if timeout is not None and not poll([(self, n.POLLIN)], Deadline(timeout))[0]:
            raise TimeoutError(f"{self!r} did not end within {timeout:g} s")
        return self._reap() if reap else self._look()

    def _ask(self, options: int) -> tuple[int, bytearray, bytearray]:
        """`waitid(2)` for this child: its answer, a siginfo, a rusage."""
        info, usage = bytearray(128), bytearray(144)
        number = Number(self)
        try:
            while (answer := raw.waitid(n.P_PIDFD, number.value, info, options, usage)) == -n.EINTR:
                pass
        finally:
            number.release()
        if answer < 0 and answer != -n.ECHILD:
            fail("waitid", (n.P_PIDFD, number.value, info, options, usage), answer)
        return answer, info, usage

    def _look(self) -> ExitStatus:
        answer, info, usage = self._ask(n.WEXITED | n.WNOWAIT)
        return ended(info, usage) if answer == 0 else self._taken()

    def _reap(self) -> ExitStatus:
        # One thread at a time sleeps in waitid: another one that came second would get ECHILD before the first has
        # stored the status, and could not tell that from a thief.
        with self._lock:
            if self._status is None:
                answer, info, usage = self._ask(n.WEXITED)
                self._keep(ended(info, usage) if answer == 0 else self._taken())
            assert self._status is not None
            return self._status

    def _keep(self, status: ExitStatus) -> None:
        """It is reaped: the status stays, the pidfd goes."""
        self._status = status
        Handle.close(self)

    def _taken(self) -> ExitStatus:
        """ECHILD: somebody else reaped it, or the kernel itself where SIGCHLD is ignored."""
        status = lost.told(self)
        if status is None and lost.kernel_tells():
            poll([(self, 0)], Deadline(None))  # POLLHUP says that the kernel has written it down
            status = lost.told(self)
        if status is None:
            self._parent = _LOST
            Handle.close(self)
            raise self._lost()
        return status

    def _lost(self) -> Exception:
        from rawsys.errors import StatusLostError

        return StatusLostError(
            f"process {self.pid} has ended, somebody else reaped it, and this kernel does not tell how it ended"
        )

    @property
    def _told_at_end(self) -> bool:
        """True where the status is there when the process ends (POLLIN); else when its parent has reaped it (POLLHUP)."""
        return os.getpid() in (self._parent, self._beside) or not lost.kernel_tells()

    def _foreign(self, timeout: float | None) -> ExitStatus:
        if not poll([(self, n.POLLIN if self._told_at_end else 0)], Deadline(timeout))[0]:
            raise self._late(timeout)
        status = self._look() if self._beside == os.getpid() else lost.told(self)
        if status is None:
            raise self._lost()
        self._keep(status)
        return status

    def _late(self, timeout: float | None) -> Exception:
        if not self.is_running():
            return TimeoutError(f"{self!r} has ended, but its parent did not reap it within {timeout:g} s")
        return TimeoutError(f"{self!r} did not end within {timeout:g} s")

    def poll(self) -> ExitStatus | None:
        """Its status when it has ended, reaping it; None while it runs.  Does not wait."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    async def wait_async(self) -> ExitStatus:
        """`wait` under asyncio: the event loop goes on meanwhile."""
        from rawsys.process.waiting import ended_async

        if self._status is None:
            await ended_async(self)
        return self.wait()

    def is_running(self) -> bool:
        """True until it has ended; a zombie does not run."""
        try:
            return self._status is None and not poll([(self, n.POLLIN)], Deadline(0))[0]
        except ValueError:
            if self._status is None:
                raise
            return False

    # ---- stops ----

    def wait_stopped(self) -> Signal:
        """`waitid(2)`: wait until a signal stops the child; which one it was.

        Raises ChildProcessError when it ends instead (`wait` then has its status), or is no child of ours.
        """
        return self._change(n.WSTOPPED, n.CLD_STOPPED)

    def wait_continued(self) -> Signal:
        """`waitid(2)`: wait until SIGCONT lets the stopped child go on.

        Raises ChildProcessError when it ends instead (`wait` then has its status), or is no child of ours.
        """
        return self._change(n.WCONTINUED, n.CLD_CONTINUED)

    def _change(self, option: int, code: int) -> Signal:
        from rawsys.constants import Signal

        answer, info, _ = self._ask(option | n.WEXITED | n.WNOWAIT)
        if answer == 0 and info[8] == code:
            self._ask(option | n.WNOHANG)
            return Signal(info[24])
        raise ChildProcessError(
            n.ECHILD, f"{self!r} has ended" if answer == 0 else f"{self!r} is no child of this process"
        )

    # ---- signals ----

    def send_signal(self, signal: int, *, value: int | None = None, group: bool = False) -> None:
        """`pidfd_send_signal(2)`: send a signal; 0 only checks.  Sending to a zombie succeeds and does nothing.

        With `value` (an int of 64 bits) it carries that as its `sigqueue(3)` value.  With `group` it goes to the process
        group that this process leads.

        Raises ProcessLookupError when it is reaped, or leads no group; PermissionError; ClosedError after `close()`.
        """
        if self._status is not None:
            raise ProcessLookupError(n.ESRCH, f"process {self.pid} has ended and is reaped")
        info = None if value is None else queued(signal, value)
        flags = n.PIDFD_SIGNAL_PROCESS_GROUP if group else 0
        try:
            answer = raw.pidfd_send_signal(self, signal, info, flags)
        except ValueError:
            if self._status is None:
                raise
            answer = -n.ESRCH  # reaped by another thread meanwhile
        if answer == -n.EINVAL and group:
            answer = self._old_group(signal)
        if answer:
            fail("pidfd_send_signal", (self, signal, info, flags), answer)

    def _old_group(self, signal: int) -> int:
        """Before Linux 6.9: kill(-pgid), while the child that leads the group is not reaped and so pins its number."""
        with self._lock:
            if not self.is_child:
                return -n.EINVAL
            if raw.getpgid(self.pid) != self.pid:
                return -n.ESRCH
            return raw.kill(-self.pid, signal)

    def terminate(self, grace: float | None = None) -> ExitStatus | None:
        """Ask it to end, by SIGTERM.

        With `grace` (seconds) wait that long, then SIGKILL what is left, its group too where the child was made to lead
        one; reap it and give its status.  A process that has ended already is no error.
        """
        self._signal_quietly(n.SIGTERM)
        if grace is None:
            return None
        try:
            return self.wait(grace)
        except TimeoutError:
            return self._end()

    def kill(self) -> None:
        """SIGKILL, which it cannot refuse.  A process that has ended already is no error."""
        self._signal_quietly(n.SIGKILL)

    def _end(self) -> ExitStatus:
        """Kill it, and the group that it leads by our doing, and reap it."""
        if self._leads:
            self._signal_quietly(n.SIGKILL, group=True)
        self._signal_quietly(n.SIGKILL)
        return self.wait()

    def _signal_quietly(self, signal: int, group: bool = False) -> None:
        with suppress(ProcessLookupError):
            self.send_signal(signal, group=group)

    # ---- the owner ----

    def close(self) -> None:
        """Let the process go.  An unreaped child runs on, and is reaped in passing when it has ended."""
        if self.closed:
            return
        if getattr(self, "_parent", None) is None or self.is_child:  # None: interrupted before it knew whose it was
            strays.keep(self)
        else:
            super().close()

    def __enter__(self) -> Self:
        if self._status is None:
            super().__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.closed or not self.is_child:
            self.close()
        elif not any(exception):
            self.wait()
        else:
            self.terminate(GRACE)

    def __repr__(self) -> str:
        name = type(self).__name__
        if getattr(self, "_parent", None) is None:  # interrupted before it knew what it holds
            return super().__repr__()
        if self._status is not None:
            return f"<{name} {self.pid} {self._status}>"
        if self.closed:
            return f"<{name} {self.pid} closed>"
        if self.is_child:
            return f"<{name} {self.pid}>"
        return f"<{name} {self.pid} (not {'ours to reap' if self._beside == os.getpid() else 'our child'})>"
