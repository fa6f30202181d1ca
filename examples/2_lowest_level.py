"""getpid and write by the naked instruction, and what each register holds.  Run: python examples/2_lowest_level.py."""

from __future__ import annotations

import os
import sys

import rawsys
from rawsys import Fd, ThreadHandle, raw, syscalls, table
from rawsys.memory import Mapping


def getpid() -> None:
    """The shortest call there is: a number goes in, a number comes out."""
    number = table.TABLE["getpid"].number
    print(f"rax = {number}; syscall; rax = {rawsys.syscall(number)}")
    print(f"the same by name: {rawsys.raw_getpid()}, and from libc: {os.getpid()}")


def write() -> None:
    """Three arguments, one of them an address."""
    text = b"written by the instruction itself\n"
    sys.stdout.flush()  # print() keeps its text back; what is written past it would come first
    answer = rawsys.raw_write(1, text)
    print(f"and its answer is {answer}, the bytes that were taken")


def refused() -> None:
    """The kernel says no by a number below zero; one storey up it is an exception."""
    print(f"raw.close(-1) answers {raw.close(-1)}")
    try:
        syscalls.close(-1)
    except OSError as error:
        print(f"syscalls.close(-1) raises {type(error).__name__}: {error}, {error.__notes__[0]}")


def registers() -> None:
    """Stop a thread inside write(), and let the kernel tell what its registers hold."""
    reading, writing = Fd.pipe()
    writing.write_all(bytes(writing.pipe_size))  # the pipe is full: one more byte has to wait
    with reading, writing, Mapping(4096) as memory:
        memory[:5] = b"hello"
        print(f"write({writing.fileno()}, {memory.address:#x}, 5) waits in the kernel:")
        writer = ThreadHandle.spawn(raw.write, writing, memory.address, 5)
        number, *arguments, stack, place = inside_call(writer.tid, "write")
        print(f"  rax {number}  (the number of {table.TABLE[int(number)].name})")
        for register, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments, strict=True):
            print(f"  {register} {value}")
        print(f"  rsp {stack}  (its stack)")
        print(f"  rip {place}  (where it goes on)")
        reading.read(4096)  # there is room again
        print(f"then rax is {writer.join()}")


def inside_call(tid: int, name: str) -> list[str]:
    """Wait until a thread sits in that call: its number, six arguments, stack and instruction pointer."""
    with Fd.open(f"/proc/self/task/{tid}/syscall") as file:
        while True:
            words = file.pread(256, 0).decode().split()
            if words[0] == str(table.TABLE[name].number):
                return words
            os.sched_yield()


def main() -> None:
    """Print all of it."""
    for part in (getpid, write, refused, registers):
        part()
        print()


if __name__ == "__main__":
    main()
