"""Child: a process that a Command started, and the talk with it over its pipes."""

from __future__ import annotations

from rawsys._timeouts import Deadline
from rawsys.process import Pid
from rawsys.process import _numbers as n
from rawsys.process._polling import poll
from rawsys.process.pid import GRACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

    from rawsys.command.command import Command
    from rawsys.fd import Fd

_CHUNK = 1 << 16


class Child(Pid):
    """A process that `Command.spawn` started: a `Pid` with the ends of its pipes.

    `stdin`, `stdout` and `stderr` are an Fd where the command has PIPE there, else None.  Leaving `with` closes them,
    stdin first, and waits for the child; by an exception it terminates the child, kills it after 5 s, and reaps it.
    """

    __slots__ = ("_ends", "command", "stderr", "stdin", "stdout")

    command: Command
    """What it was started by."""
    stdin: Fd | None
    stdout: Fd | None
    stderr: Fd | None

    def _has(self, command: Command, ends: list[Fd | None]) -> Self:
        self.command = command
        self._ends = ends
        self.stdin, self.stdout, self.stderr = ends
        self._leads = command.new_session or command.process_group == 0
        return self

    def communicate(
        self, input: Buffer | None = None, timeout: float | None = None
    ) -> tuple[bytes | None, bytes | None]:
        """Write `input` to its stdin and close that, read its stdout and stderr to their ends, and wait for the child.

        Gives what it wrote, None for what is no pipe, or closed already.  Any amount goes both ways at once; a child that
        does not read all of its input is no error.

        Raises CommandTimeout after `timeout` seconds: the child (and the group that it leads) is killed and reaped, and
        the exception has what was read.  ValueError for input where stdin is no pipe, or closed already.
        """
        data = content(input)
        if input is not None and (self.stdin is None or self.stdin.closed):
            raise ValueError(f"there is input, but stdin is {'not a PIPE' if self.stdin is None else 'closed already'}")
        deadline = Deadline(timeout)
        talk = Talk(self, data)
        try:
            whole = talk.run(deadline)
            if whole:
                left = deadline.left_ns()
                self.wait(None if left is None else left / 1e9)
        except TimeoutError:
            whole = False
        finally:
            self._close_pipes()
        if not whole:
            assert timeout is not None
            self._end()
            from rawsys.errors import CommandTimeout

            raise CommandTimeout(timeout, self.command, *talk.read)
        return talk.read

    def _close_pipes(self) -> None:
        for end in getattr(self, "_ends", ()):
            if end is not None:
                end.close()

    def close(self) -> None:
        """Let the child go, and close its pipes.  Unreaped, it runs on, and is reaped in passing when it has ended."""
        self._close_pipes()
        super().close()

    def __exit__(self, *exception: object) -> None:
        if self._status is not None:
            return self._close_pipes()
        try:
            if not any(exception):
                self._close_pipes()
                if self.is_child and not self.closed:
                    self.wait()
            elif self.is_child and not self.closed:
                self.terminate(GRACE)
        finally:
            self.close()


def content(input: Buffer | None) -> memoryview:
    """The bytes of an input, which nothing to write has none of.

    Raises TypeError for what has no bytes.
    """
    if input is None:
        return memoryview(b"")
    try:
        view = memoryview(input)
    except TypeError:
        raise TypeError(f"input is bytes or another buffer, not {type(input).__name__}") from None
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


class Talk:
    """Both directions of a conversation, in one loop over what is ready."""

    def __init__(self, child: Child, input: memoryview) -> None:
        self._input = input
        self._stdin, *self._outputs = (None if fd is None or fd.closed else fd for fd in child._ends)
        self._sinks = [(fd, list[bytes]()) for fd in self._outputs if fd is not None]
        if self._stdin is not None:
            self._stdin.nonblocking = True
        if not self._input:
            self._hang_up()

    @property
    def read(self) -> tuple[bytes | None, bytes | None]:
        """What came from stdout and stderr; None for what is no pipe."""
        found = {id(fd): b"".join(chunks) for fd, chunks in self._sinks}
        out, err = (None if fd is None else found[id(fd)] for fd in self._outputs)
        return out, err

    def _hang_up(self) -> None:
        if self._stdin is not None:
            self._stdin.close()
            self._stdin = None

    def run(self, deadline: Deadline) -> bool:
        """Until all is written and both ends are reached; False when time was up before."""
        open_ = list(self._sinks)
        while open_ or self._stdin is not None:
            waits = [(fd, n.POLLIN) for fd, _ in open_]
            if self._stdin is not None:
                waits.append((self._stdin, n.POLLOUT))
            events = poll(waits, deadline)
            if not any(events):
                return False
            if self._stdin is not None and events[-1]:
                self._write()
            ready = [sink for sink, event in zip(open_, events, strict=False) if event]
            for sink in ready:
                chunk = sink[0].read(_CHUNK)
                sink[1].append(chunk)
                if not chunk:
                    open_.remove(sink)
        return True

    def _write(self) -> None:
        assert self._stdin is not None
        try:
            self._input = self._input[self._stdin.write(self._input[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the child wants no more
            self._input = self._input[:0]
        if not self._input:
            self._hang_up()
