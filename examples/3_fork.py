"""What fork() copies and what it shares, why locks are a trap, and why Command is none.  Run: python examples/3_fork.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rawsys import Command, Fd, Pid
from rawsys.constants import O_CREAT, O_RDWR
from rawsys.errors import ForkUnsafeError


def copied() -> None:
    """The child has a copy of all memory: what it changes there, nobody else sees."""
    words = ["parent's"]

    def change() -> int:
        words.append("child's")
        return len(words)

    status = Pid.fork(change).wait()
    print(f"the child had {status.code} words, the parent has {len(words)}: {words}")


def shared() -> None:
    """An open file is not copied: both have a number for the same one, with one position."""
    with Fd.memfd("notes") as file:
        file.write_all(b"first second")
        file.seek(0)
        Pid.fork(lambda: len(file.read(6))).wait()
        print(f"the child read six bytes, so the parent reads on behind them: {file.read(6)!r}")


@contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Another thread holds the lock, as long as this lasts."""
    taken, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            leave.wait()

    thread = threading.Thread(target=hold, name="holder")
    thread.start()
    taken.wait()
    try:
        yield
    finally:
        leave.set()
        thread.join()


def a_held_lock() -> None:
    """The lock is copied in the state that it has, but the thread that would open it is not."""
    lock = threading.Lock()
    with held(lock):
        try:
            Pid.fork(lambda: 0)
        except ForkUnsafeError as error:
            print(f"refused: {error}")
        # So that it can be seen all the same.  The child gives up after a while; without a timeout it would hang for ever.
        stuck = Pid.fork(lambda: 0 if lock.acquire(timeout=0.2) else 1, unsafe=True)
        print(f"a child forked all the same could not take the lock: it {stuck.wait()}")


def is_free(path: str) -> bool:
    """Whether the file can be locked by somebody who opens it now."""
    with Fd.open(path, O_RDWR) as file:
        try:
            file.lock(blocking=False)
        except BlockingIOError:
            return False
        return True


def an_open_lock_file() -> None:
    """A file lock belongs to the open file: a child that has it too keeps it locked."""
    reading, writing = Fd.pipe()
    file = Fd.open("only-one.lock", O_RDWR | O_CREAT)
    file.lock()
    child = Pid.fork(lambda: len(reading.read(1)))  # does nothing with the file, and lives until it is told
    file.close()
    print(f"the parent has closed the lock file; can it be locked? {is_free('only-one.lock')}")
    writing.write(b"!")
    child.wait()
    print(f"the child is gone; can it be locked? {is_free('only-one.lock')}")
    for end in (reading, writing):
        end.close()
    os.unlink("only-one.lock")


def command_is_none() -> None:
    """Between clone and exec no Python runs, so no lock is asked for; and no descriptor goes along by accident."""
    lock = threading.Lock()
    with held(lock), Fd.open("only-one.lock", O_RDWR | O_CREAT) as file:
        file.lock()
        print(f"beside a thread that holds a lock: it {Command('true').run()}")
        sleeper = Command("sleep", "60").spawn()
        file.close()
        print(f"a child runs, the parent has closed the lock file; can it be locked? {is_free('only-one.lock')}")
        sleeper.kill()
        sleeper.wait()
    os.unlink("only-one.lock")


def main() -> None:
    """Print all of it."""
    for part in (copied, shared, a_held_lock, an_open_lock_file, command_is_none):
        part()
        print()


if __name__ == "__main__":
    main()
