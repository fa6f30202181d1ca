"""Interpreter exits with threads in every state; run by test_thread_exit.py a few times, by long_thread_exit.py often.

``python tests/thread_exits.py COUNT`` runs COUNT exits of this interpreter, and fails with the first bad one.
"""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys, threading
from rawsys import AtomicU32, AtomicU64, ThreadHandle
ready = AtomicU32()
never = AtomicU32()
counter = AtomicU64()
ended = []
def started(): ready.fetch_add(1); ready.notify()
def idle(): started()
def blocked_native(): started(); never.wait(0)
def blocked_lock(): lock = threading.Lock(); lock.acquire(); started(); lock.acquire()
def blocked_read(): started(); os.read(pipe[0], 1)
def busy():
    started()
    while True: sum(range(100))
def outlives():
    started()
    threading.main_thread().join(0.001)
    sum(range(20000)); ended.append(1); os.write(1, b"outlived\\n")
def spawns():
    started(); idle(); ThreadHandle.spawn(idle).join()
pipe = os.pipe()
handles = [ThreadHandle.spawn(body, detached=True) for body in (blocked_native, blocked_lock, blocked_read, busy, busy)]
handles += [ThreadHandle.spawn(body) for body in (idle, outlives, spawns)]
handles += [ThreadHandle.spawn_native(counter.adder(100_000), detached=n % 2) for n in range(4)]
handles += [ThreadHandle.spawn_native(counter.adder(10**13), detached=True)]
while (n := ready.load()) < 8: ready.wait(n)
MORE
os.write(1, b"end\\n")
"""

ENDS = ["", "sys.exit(0)", "del handles[:5]", "threading.Thread(target=busy, daemon=True).start()"]


def run(index: int) -> str | None:
    """One exit; what was wrong with it, or None."""
    program = PROGRAM.replace("MORE", ENDS[index % len(ENDS)])
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60)
    lines = done.stdout.split()
    wanted = {"outlived"} if index % len(ENDS) == 1 else {"outlived", "end"}
    if done.returncode or done.stderr or set(lines) != wanted:
        return f"exit {index}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return None


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        wrong = run(number)
        if wrong:
            sys.exit(wrong)
