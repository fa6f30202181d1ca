"""Helpers of the tests: `from support import in_child, run_python, need, ...` (pytest puts this folder on the path).

What every test gets without asking (conftest.py):
  a leak guard   descriptors, threads, children, the 64 signal actions, mask and pending signals, alternate stack, working
                 directory, umask and limits are the same after a test as before it, or the test fails and says what is not
  a deadline     60 s, another one by ``@pytest.mark.deadline(120)``: every thread's traceback is printed, and the run ends

Where a test works with something that it cannot put back, or that may hang or crash, it uses a child:
  in_child(f, *args, deadline=10)     f in a forked child: gives what f returned (anything that pickles), raises ChildFailed
                                      with the child's traceback, or with the signal that ended it; pytest.skip works in f
  run_child(f, *args, deadline=10)    the same without a judgement: how the child ended, for tests that want it to die
  run_python(code, *args, flags=, env=, deadline=30)   a script in a fresh interpreter; gives its CompletedProcess
  in_cell(f, *args)                   f in a forked child where a seccomp filter lets no system call through: each answers
                                      -REACHED, but for memory; a walk over refused calls cannot do harm there
  fail_calls(errno, *numbers)         in a child: a seccomp filter answers these call numbers with errno (ENOSYS: an old kernel)

To wait, wait for what has to happen: `readable(fd)` and `ended(pid)` wait on descriptors, `until_blocked(tid, number)` waits
until a thread sits in a system call.  A fixed sleep is never right.

need("strace") skips where a tool is missing, need_root() where privilege is.  INTERPRETER is the real python, never a script
in front of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import mmap
import os
import pickle
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rawsys import raw
from rawsys.table import Entry

DATA = Path(__file__).with_name("data")
REACHED = 4000
"""The errno with which the filter of `in_cell` answers: no call of the kernel has it."""


few_descriptors = pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1024, reason="needs room for 1,024 descriptors (ulimit -n)"
)


def _real_interpreter() -> str:
    with open(sys.executable, "rb") as file:
        return sys.executable if file.read(4) == b"\x7fELF" else os.path.realpath("/proc/self/exe")


INTERPRETER = _real_interpreter()


# ---- skips ----


def need(tool: str) -> str:
    """The path of a program; the test is skipped where it is not installed."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


def need_root() -> None:
    """Skip the test for an ordinary user."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


# ---- what a process is made of: the leak guard ----

_LIMITS = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
_STATUS = ("Umask", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
_ACTIONS, _STACK = bytearray(32 * 64), bytearray(24)
_ACTION_VIEWS = {n: memoryview(_ACTIONS)[32 * n - 32 : 32 * n] for n in range(1, 65) if n not in (32, 33)}  # libc's own


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def children() -> set[str]:
    """Process numbers of this process's children, zombies included."""
    found: set[str] = set()
    for tid in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{tid}/children") as file:
                found.update(file.read().split())
        except FileNotFoundError:  # the thread is gone, or the kernel has no such file: then only zombies are seen
            with contextlib.suppress(ChildProcessError):
                if zombie := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    found.add(str(zombie.si_pid))
    return found


def snapshot() -> dict[str, Any]:
    """All that the leak guard compares, by name; each a dict, a set or one value.  Takes about 0.2 ms."""
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if line.startswith(_STATUS))
    status["SigCgt"] = f"{int(status['SigCgt'], 16) & ~(3 << 31):016x}"  # libc installs 32 and 33 with the first thread
    for number, view in _ACTION_VIEWS.items():
        raw.rt_sigaction(number, None, view, 8)
    raw.sigaltstack(None, _STACK)
    return {
        "descriptors": _descriptors(),
        "threads": set(os.listdir("/proc/self/task")),
        "threading": {f"{t.name} ({t.ident})" for t in list(threading._dangling)},  # type: ignore[attr-defined]
        "children": children(),
        "status": status,
        "signal actions": {n: bytes(view).hex() for n, view in _ACTION_VIEWS.items() if any(view)},
        "alternate stack": bytes(_STACK).hex(),
        "working directory": os.getcwd(),
        "limits": {name: resource.prlimit(0, number) for name, number in _LIMITS.items()},
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not as it was, one sentence for each difference."""
    found = []
    for name, old in before.items():
        new = after[name]
        if old == new:
            continue
        if isinstance(old, dict):
            for key in sorted(old.keys() | new.keys(), key=str):
                if key not in new:
                    found.append(f"{name}: {key} ({old[key]}) is gone")
                elif key not in old:
                    found.append(f"{name}: {key} ({new[key]}) is new")
                elif old[key] != new[key]:
                    found.append(f"{name}: {key} was {old[key]}, is {new[key]}")
        elif isinstance(old, set):
            found += [f"{name}: {key} is gone" for key in sorted(old - new)]
            found += [f"{name}: {key} is new" for key in sorted(new - old)]
        else:
            found.append(f"{name}: was {old}, is {new}")
    return found


def leaks(before: dict[str, Any], patience: float = 2.0) -> list[str]:
    """`differences` from now, after rubbish is collected and threads that were joined have left the kernel."""
    found = differences(before, snapshot())
    if found:
        gc.collect()
        end = time.monotonic() + patience
        while (found := differences(before, snapshot())) and time.monotonic() < end:
            if not all(text.startswith("thread") for text in found):
                break
            os.sched_yield()  # a joined thread may have its last instructions before it
    return found


# ---- handlers ----


@contextlib.contextmanager
def handled(number: int, handler: Any) -> Iterator[None]:
    """A Python handler for a while; the kernel's action comes back bit for bit."""
    before = bytearray(32)
    raw.rt_sigaction(number, None, before, 8)
    old = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, old)
        raw.rt_sigaction(number, before, None, 8)


# ---- the deadline of a test ----


class Deadline:
    """Ends this process when a test takes too long, without a thread, a child or a signal that a test could meet.

    Two kernel timers: the first sends SIGABRT, on which faulthandler prints the stack of every thread; the second sends
    SIGKILL 5 s later, for a test that blocks or catches SIGABRT.  A forked child does not inherit them.
    """

    def __init__(self) -> None:
        self.timers = [self._create(signal.SIGABRT), self._create(signal.SIGKILL)]

    @staticmethod
    def _create(number: int) -> int:
        made = bytearray(4)
        event = struct.pack("Qii48x", 0, number, 0)  # SIGEV_SIGNAL
        if raw.timer_create(1, event, made) != 0:  # CLOCK_MONOTONIC
            raise RuntimeError("no timer for the deadline of tests")
        return int.from_bytes(made, "little")

    def set(self, seconds: float) -> None:
        """Begin to count; 0 stops it."""
        for timer, late in zip(self.timers, (0, 5), strict=True):
            at = seconds + late if seconds else 0
            raw.timer_settime(timer, 0, struct.pack("qqqq", 0, 0, int(at), int(at % 1 * 1e9)), None)


# ---- children ----


class ChildFailed(AssertionError):
    """The function raised, or the child ended in another way than by returning; the text says all that is known."""


class ChildLate(ChildFailed):
    """The child did not end before its deadline; the text has the stack it hung in."""


class Ended(NamedTuple):
    """How a child of `run_child` ended."""

    returned: bool
    """Whether the function returned; `value` is what."""
    value: Any
    exitcode: int
    """As os.waitstatus_to_exitcode gives it: the exit status, or minus the signal."""
    error: str
    """The traceback, where the function raised."""
    skipped: str | None
    """The reason, where it called pytest.skip."""
    stacks: str
    """What faulthandler wrote at a fatal signal."""
    late: bool

    def describe(self) -> str:
        """One text with everything."""
        how = f"exit status {self.exitcode}" if self.exitcode >= 0 else f"{signal.Signals(-self.exitcode).name}"
        late = " after its deadline" if self.late else ""
        stacks = re.sub(r'  File "[^"]*support.py", line \d+ in _report\n(  File .*\n)*', "", self.stacks)
        return f"the child ended by {how}{late}\n{self.error}{stacks}".rstrip()


_ROOM = 8 << 20


def _report(room: mmap.mmap, function: Callable[..., Any], args: Sequence[Any]) -> None:
    """The child's side: run, and leave the outcome in the shared memory."""
    try:
        outcome = ("value", function(*args))
    except pytest.skip.Exception as skip:
        outcome = ("skip", str(skip))
    except BaseException:  # noqa: BLE001 - whatever it is, the parent is to see it
        outcome = ("error", traceback.format_exc())
    try:
        data = pickle.dumps(outcome)
    except Exception as problem:  # noqa: BLE001 - pickle raises what it likes
        data = pickle.dumps(("error", f"the result does not pickle: {problem}"))
    if len(data) > _ROOM - 8:
        data = pickle.dumps(("error", f"the result is too large: {len(data)} bytes"))
    room[8 : 8 + len(data)] = data
    room[:8] = len(data).to_bytes(8, "little")  # last: a child that dies before it has returned nothing


def _child(room: mmap.mmap, stacks: int, parent: int, function: Callable[..., Any], args: Sequence[Any]) -> None:
    try:
        raw.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: no child outlives a run that is killed
        if os.getppid() == parent:
            faulthandler.enable(stacks)
            _report(room, function, args)
    finally:
        os._exit(0)


def _fork(*child: Any) -> int:
    with warnings.catch_warnings():  # 3.12 and newer warn when other threads live; a test may want just that
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _child(*child)
    return pid


def ended(pidfd: int, seconds: float) -> bool:
    """Wait until the process of a pidfd has ended; False when it has not by then."""
    return readable(pidfd, seconds)


def run_child(function: Callable[..., Any], *args: Any, deadline: float = 10) -> Ended:
    """Run `function` in a forked child, and say how that ended; see `in_child` for the plain case.

    The outcome travels through shared memory, so the child may close every descriptor and change every right it has.
    It has one descriptor more than its parent (where a fatal signal's stack goes).  At the deadline it gets SIGABRT.
    """
    stacks = os.memfd_create("stacks")
    with mmap.mmap(-1, _ROOM) as room, open(stacks, "rb+", buffering=0) as file:
        pid = _fork(room, stacks, os.getpid(), function, args)
        pidfd = os.pidfd_open(pid)
        try:
            late = not ended(pidfd, deadline)
            if late:
                signal.pidfd_send_signal(pidfd, signal.SIGABRT)
            if not ended(pidfd, 2 if late else 0):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            exitcode = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.close(pidfd)
        file.seek(0)
        length = int.from_bytes(room[:8], "little")
        kind, value = pickle.loads(room[8 : 8 + length]) if length else ("nothing", None)
        text = file.read().decode(errors="replace")
    return Ended(
        returned=kind == "value" and not late,
        value=value if kind == "value" else None,
        exitcode=exitcode,
        error=str(value) if kind == "error" else "",
        skipped=value if kind == "skip" else None,
        stacks=text,
        late=late,
    )


def in_child(function: Callable[..., Any], *args: Any, deadline: float = 10) -> Any:
    """What `function` returns in a forked child.  ChildFailed has its traceback, or the signal that ended it."""
    end = run_child(function, *args, deadline=deadline)
    if end.skipped is not None:
        pytest.skip(end.skipped)
    if end.late:
        raise ChildLate(end.describe())
    if not end.returned or end.exitcode:
        raise ChildFailed(end.describe())
    return end.value


def run_python(
    code: str,
    *args: str,
    flags: Sequence[str] = ("-W", "error"),
    env: dict[str, str] | None = None,
    deadline: float = 30,
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter that finds the same rawsys, also with ``-I``; its output is captured as text.

    `env` is added to this process's environment.  Line numbers in tracebacks are those of `code`.
    """
    return subprocess.run(
        [INTERPRETER, *flags, "-c", script(code), *args],
        env=os.environ | (env or {}),
        check=False,
        capture_output=True,
        text=True,
        timeout=deadline,
    )


def script(code: str) -> str:
    """`code`, dedented, able to import this rawsys and its cffi wherever it runs."""
    import _cffi_backend

    import rawsys

    assert rawsys.__file__
    places = [str(Path(rawsys.__file__).parents[1]), str(Path(_cffi_backend.__file__).parent)]
    return f"import sys; sys.path += {places!r}; del sys; {textwrap.dedent(code).lstrip()}"


# ---- waiting for what has to happen ----


def readable(fd: int, seconds: float = 5) -> bool:
    """Wait until a descriptor can be read; False when it cannot by then."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def until_blocked(tid: int, number: int, seconds: float = 5, *, first: int | None = None) -> None:
    """Wait until the thread `tid`, of this process or a child's, sits in the system call `number`; RuntimeError if not.

    `first` is the call's first argument: a wait for the GIL is a futex call (202) too.
    """
    wanted = f"{number} " if first is None else f"{number} {first:#x} "
    end = time.monotonic() + seconds
    text = ""
    while time.monotonic() < end:
        with open(f"/proc/{tid}/syscall") as file:
            text = file.read()
        if text.startswith(wanted):
            return
        os.sched_yield()
    raise RuntimeError(f"thread {tid} is not blocked in call {number}, but in: {text}")


# ---- seccomp: a child where calls fail, or none gets through ----

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def _filter(code: list[tuple[int, int, int, int]]) -> None:
    """Install a classic BPF program for the rest of this process's life."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    fprog = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(program))
    raw.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    answer = raw.seccomp(1, 0, bytearray(fprog))  # SECCOMP_SET_MODE_FILTER
    if answer:
        pytest.skip(f"no seccomp filter can be set here: {os.strerror(-answer)}")


def fail_calls(errno: int, *numbers: int) -> None:
    """From now on these calls fail with `errno` in this process; for children only, since it cannot be undone."""
    _filter(
        [
            (_LOAD, 0, 0, 0),
            *((_EQUAL, len(numbers) - i, 0, n) for i, n in enumerate(numbers)),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _ERRNO | errno),
        ]
    )


def fail_call_when(errno: int, number: int, argument: int, value: int) -> None:
    """As `fail_calls`, for one call where one of its arguments, from 0, has a value of 32 bits."""
    _filter(
        [
            (_LOAD, 0, 0, 0),
            (_EQUAL, 0, 3, number),
            (_LOAD, 0, 0, 16 + 8 * argument),
            (_EQUAL, 0, 1, value),
            (_RETURN, 0, 0, _ERRNO | errno),
            (_RETURN, 0, 0, _ALLOW),
        ]
    )


def _close_the_cell() -> None:
    """Let only memory (mmap, munmap, brk, mremap, madvise) and exit_group(0) through."""
    memory = (9, 11, 12, 25, 28)
    end = len(memory)
    _filter(
        [
            (_LOAD, 0, 0, 0),
            *((_EQUAL, end - i + 4, 0, n) for i, n in enumerate(memory)),
            (_EQUAL, 0, 2, 231),
            (_LOAD, 0, 0, 16),
            (_EQUAL, 2, 1, 0),
            (_EQUAL, 1, 0, 15),  # rt_sigreturn
            (_RETURN, 0, 0, _ERRNO | REACHED),
            (_RETURN, 0, 0, _ALLOW),
        ]
    )


def _celled(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    import rawsys._native.foreign
    import rawsys.errors  # noqa: F401 - nothing can be imported in the cell

    gc.disable()
    _close_the_cell()
    return function(*args)


def in_cell(function: Callable[..., Any], *args: Any, deadline: float = 20) -> Any:
    """`in_child`, where a filter answers -REACHED to whatever call gets as far as the kernel (memory excepted)."""
    return in_child(_celled, function, args, deadline=deadline)


# ---- rows of the table and of data ----


def extent_of(entry: Entry, index: int, arguments: Sequence[Any]) -> int | None:
    """Bytes that the kernel may touch behind one argument: what the row says, worked out a second time, in Python."""
    extent = entry.arguments[index].extent
    if extent is None:
        return None
    if extent.form == "constant":
        return extent.plus
    if extent.form in ("computed", "own_size"):
        python = re.sub(r"(.*) \? (.*) : (.*)", r"(\2) if (\1) else (\3)", extent.text).replace("u32(", "_u32(")
        names = {a.name: value for a, value in zip(entry.arguments, arguments, strict=True)}
        return int(eval(python, {"_u32": _number_at, "max": max}, names))
    other = arguments[extent.argument]
    if extent.form == "pointed":
        return _number_at(other, 0)
    argument = entry.arguments[extent.argument]
    number: int = other % 2**argument.bits
    if argument.signed and number >= 2 ** (argument.bits - 1):
        return 0
    if extent.form == "scaled":
        return number * extent.scale + extent.plus
    if extent.form == "bits":
        return -(-max(number - extent.plus, 0) // 64) * 8
    return -(-number // 4096)


def _number_at(memory: Any, offset: int) -> int:
    if memory is None or isinstance(memory, int):
        return 0
    return int.from_bytes(memory[offset : offset + 4], "little")


def rows(name: str) -> Iterator[list[str]]:
    """The rows of a tab separated file in tests/data, without comments."""
    for line in (DATA / name).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")
