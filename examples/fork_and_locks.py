"""Why fork() refuses while other threads live, and what to do instead.  Run: python examples/fork_and_locks.py."""

from __future__ import annotations

import threading

from rawsys import Command, Pid
from rawsys.errors import ForkUnsafeError


def main() -> None:
    """Hold a lock in a thread, and make children."""
    lock, held, leave = threading.Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            leave.wait()

    thread = threading.Thread(target=hold, name="holder")
    thread.start()
    held.wait()
    try:
        Pid.fork(lambda: 0)
    except ForkUnsafeError as error:
        print(f"fork() refuses: {error}")
    # What would happen: the lock is locked in the child, and the thread that would unlock it does not exist there.
    stuck = Pid.fork(lambda: 0 if lock.acquire(timeout=0.2) else 1, unsafe=True)
    print(f"the child that was forked all the same could not take the lock: it {stuck.wait()}")
    print(f"Command has no Python in the child: it {Command('true').run()}")
    leave.set()
    thread.join()


if __name__ == "__main__":
    main()
