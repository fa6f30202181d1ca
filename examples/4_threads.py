"""What threads share, how an owner moves into one, how to count without losing.  Run: python examples/4_threads.py."""

from __future__ import annotations

import rawsys
from rawsys import AtomicU64, Fd, ThreadHandle, proc, sched
from rawsys.sync import Barrier


def shared() -> None:
    """Threads have one memory, one table of descriptors, one process number; each has a number and a name of its own."""
    found: list[str] = []

    def work() -> int:
        found.append(f"process {rawsys.raw_getpid()}, thread {rawsys.raw_gettid()}, named {sched.name()!r}")
        return rawsys.raw_gettid()

    worker = ThreadHandle.spawn(work, name="worker")
    worker.join()
    work()
    print("\n".join(found))


def moved() -> None:
    """An owner goes into a thread, and is the caller's no more."""
    ours, theirs = Fd.pipe()

    def speak(text: bytes, out: Fd) -> int:
        with out:
            return out.write(text)

    speaker = ThreadHandle.spawn(speak, b"said in a thread", move=[theirs])
    print(f"here it is now {theirs}")
    print(f"the reader got {ours.read_all()!r}, and the end: the thread has closed the only writer")
    print(f"the thread gave {speaker.join()}")
    ours.close()


def lost() -> None:
    """Reading, adding and writing are three things; another thread may come in between."""
    counter = AtomicU64(0)
    value = counter.load()
    ThreadHandle.spawn(lambda: counter.store(counter.load() + 1)).join()  # what is chance elsewhere, made certain
    counter.store(value + 1)
    print(f"two threads have added one each: {counter.load()}")


def counted() -> None:
    """One instruction of the processor that does all three: nothing can come in between."""
    counter = AtomicU64(0)
    threads = [ThreadHandle.spawn_native(counter.adder(1_000_000)) for _ in range(8)]
    for thread in threads:
        thread.join()
    print(f"eight threads have added a million each: {counter.load():,}")


def pinned() -> None:
    """Each thread on a processor and a stack of its own, from its first instruction."""
    all_here = Barrier(3)

    def where() -> str:
        stack = next(mark.region for mark in proc.layout().landmarks if mark.name == "a variable on the stack")
        assert stack is not None
        all_here.wait()  # a stack of a thread that has ended would be given to the next one
        return (
            f"runs on {sorted(sched.affinity())}, {stack.size >> 10} KiB of stack from {stack.start:x} to {stack.end:x}"
        )

    cpus = sorted(sched.affinity())
    threads = [
        ThreadHandle.spawn(where, affinity={cpus[n % len(cpus)]}, stack_size=512 << 10, name=f"pinned-{n}")
        for n in range(3)
    ]
    for number, thread in enumerate(threads):
        print(f"pinned-{number} {thread.join()}")


def main() -> None:
    """Print all of it."""
    for part in (shared, moved, lost, counted, pinned):
        part()
        print()


if __name__ == "__main__":
    main()
