"""The kernel writes what the row says and not a byte beyond: every call with an output, between guard bytes.

tests/data/walk_out.tsv has the calls, with buffers of exactly the extent; each runs in a child of its own.
The last part is about the guards around every test: leaks, deadlines, children.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import select
import signal
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from support import (
    ChildFailed,
    ChildLate,
    Deadline,
    children,
    extent_of,
    fail_calls,
    in_child,
    leaks,
    rows,
    run_child,
    snapshot,
)

from rawsys import raw
from rawsys.table import TABLE, Entry

ROWS = [tuple(row) for row in rows("walk_out.tsv")]
SKIPPED = 0
"""Rows that cannot be run anywhere.  A new one needs the manual page's sentence as its note, and this number raised."""

GUARD, BEFORE, AFTER = 0xC3, 256, 4096
TEXT = b"0123456789abcdef"


class Guarded:
    """A buffer that lies between guard bytes."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.store = bytearray([GUARD]) * (BEFORE + self.size + AFTER)
        self.store[BEFORE : BEFORE + self.size] = content
        self.view = memoryview(self.store)[BEFORE : BEFORE + self.size]

    def damage(self) -> str:
        """Where guard bytes were written to, if anywhere."""
        after = BEFORE + self.size
        bad = [i - BEFORE for i, byte in enumerate(self.store) if byte != GUARD and not BEFORE <= i < after]
        return f"bytes {bad[:8]} around a buffer of {self.size} were written" if bad else ""


class Things(dict[str, Any]):
    """What calls work on, by the names of walk_out.tsv; made when first used, and gone with the child."""

    def __init__(self, folder: Path) -> None:
        super().__init__(AT_FDCWD=-100, BAD=-1, NULL=None, pack=struct.pack)
        self["le"] = lambda value, n: value.to_bytes(n, "little")
        self.folder, self.guarded, self.kept = folder, list[Guarded](), list[Any]()
        self["out"] = lambda n: self.inout(bytes(n))
        self["inout"] = self.inout

    def inout(self, content: bytes) -> memoryview:
        """A guarded buffer that holds `content`."""
        self.guarded.append(Guarded(content))
        return self.guarded[-1].view

    def __missing__(self, name: str) -> Any:
        try:
            value = getattr(self, f"make_{name}")()
        except OSError as error:
            pytest.skip(f"{name} cannot be had here: {error}")
        return self.setdefault(name, value)

    def keep(self, value: Any) -> Any:
        """Hold something for as long as the child lives."""
        self.kept.append(value)
        return value

    def memory(self, content: bytes, size: int = 0) -> int:
        """The address of memory that stays."""
        return ctypes.addressof(self.keep(ctypes.create_string_buffer(content, max(size, len(content)))))

    @staticmethod
    def check(answer: int) -> int:
        """A raw answer as a value or an OSError."""
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer

    # files

    def make_path_dir(self) -> str:
        folder = self.folder / "dir"
        folder.mkdir()
        for name in "abc":
            (folder / name).touch()
        return str(folder)

    def make_path_file(self) -> str:
        path = self.folder / "file"
        path.write_bytes(bytes(range(100)))
        return str(path)

    def make_path_link(self) -> str:
        path = self.folder / "link"
        path.symlink_to(self["path_file"])
        return str(path)

    def make_fd_file(self) -> int:
        return os.open(self["path_file"], os.O_RDWR)

    def make_dirfd(self) -> int:
        return os.open(self["path_dir"], os.O_RDONLY | os.O_DIRECTORY)

    def make_attribute(self) -> str:
        try:
            os.setxattr(self["path_file"], "user.rawsys", b"value")
        except OSError:
            os.setxattr(self["path_file"], "trusted.rawsys", b"value")
            return "trusted.rawsys"
        return "user.rawsys"

    def make_device(self) -> int:
        number = os.stat(self["path_dir"]).st_dev
        major, minor = os.major(number), os.minor(number)
        return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12

    def make_mnt_id(self) -> int:
        buffer = bytearray(256)
        self.check(raw.statx(-100, "/", 0, 0x4000, buffer))  # STATX_MNT_ID_UNIQUE
        return int.from_bytes(buffer[0x90:0x98], "little")

    # pipes, sockets, events

    def make_fd_pipe_r(self) -> int:
        read, self["fd_pipe_w"] = os.pipe()
        os.write(self["fd_pipe_w"], TEXT)
        return read

    def make_fd_pipe_w(self) -> int:
        self["fd_pipe_r"] = self.make_fd_pipe_r()
        return self["fd_pipe_w"]

    def make_sock_a(self) -> int:
        a, b = self.keep(socket.socketpair())
        b.send(TEXT)
        return a.fileno()

    def make_udp(self) -> int:
        there, here = self.keep([socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)])
        there.bind(("127.0.0.1", 0))
        here.sendto(TEXT, there.getsockname())
        return there.fileno()

    def make_tcp_listen(self) -> int:
        there = self.keep(socket.create_server(("127.0.0.1", 0)))
        self.keep(socket.create_connection(there.getsockname()))
        return there.fileno()

    def make_epfd(self) -> int:
        epoll = self.keep(select.epoll())
        epoll.register(self["fd_pipe_r"], select.EPOLLIN)
        return epoll.fileno()

    def make_timerfd(self) -> int:
        fd = self.check(raw.timerfd_create(1, 0))
        self.check(raw.timerfd_settime(fd, 0, struct.pack("qqqq", 0, 0, 1000, 0), None))
        return fd

    def make_posix_timer(self) -> int:
        made = bytearray(4)
        self.check(raw.timer_create(1, None, made))
        return int.from_bytes(made, "little")

    def make_msqid(self) -> int:
        queue = self.check(raw.msgget(0, 0o600))
        self.check(raw.msgsnd(queue, struct.pack("q", 1) + TEXT, len(TEXT), 0o4000))
        return queue

    def make_mq(self) -> int:
        name = f"rawsys-{os.getpid()}"
        limits = struct.pack("qqqq32x", 0, 4, 64, 0)  # 4 messages of 64 bytes
        queue = self.check(raw.mq_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, limits))
        self.check(raw.mq_unlink(name))
        self.check(raw.mq_timedsend(queue, TEXT, len(TEXT), 1, None))
        return queue

    def _submit(self, opcode: int, fd: int, buffer: int, size: int) -> int:
        context = bytearray(8)
        self.check(raw.io_setup(8, context))
        number = int.from_bytes(context, "little")
        self["poll_iocb"] = self.memory(struct.pack("QIIHhIQQqQII", 7, 0, 0, opcode, 0, fd, buffer, size, 0, 0, 0, 0))
        self.check(raw.io_submit(number, 1, struct.pack("Q", self["poll_iocb"])))
        return number

    def make_aio_ctx(self) -> int:
        return self._submit(0, self["fd_file"], self.memory(b"", 16), 16)  # IOCB_CMD_PREAD

    def make_poll_ctx(self) -> int:
        return self._submit(5, self.keep(os.pipe())[0], select.POLLIN, 0)  # IOCB_CMD_POLL: nothing comes

    # processes, signals, memory

    def make_PID(self) -> int:
        return os.getpid()

    def make_TID(self) -> int:
        return threading.get_native_id()

    def make_child(self) -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    def make_pending(self) -> bytes:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        signal.raise_signal(signal.SIGUSR1)
        return (1 << signal.SIGUSR1 - 1).to_bytes(8, "little")

    def make_scratch(self) -> int:
        pages = self.keep(mmap.mmap(-1, 65536, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        return ctypes.addressof(ctypes.c_char.from_buffer(pages))


def call_guarded(entry: Entry, call: str, folder: Path) -> tuple[int, list[str]]:
    """Make one call; its answer, and what is wrong with its buffers."""
    things = Things(folder)
    arguments = eval(call, {"__builtins__": {}}, things)
    wrong = []
    for index, (argument, value) in enumerate(zip(entry.arguments, arguments, strict=True)):
        length = extent_of(entry, index, arguments)
        if argument.kind in ("out", "inout") and isinstance(value, memoryview) and length not in (None, len(value)):
            wrong.append(f"'{argument.name}' has {len(value)} bytes, its extent is {length}")
    try:
        answer = getattr(raw, entry.name)(*arguments)
        if entry.name == "clone":
            if answer == 0:
                raw.exit_group(0)
            os.waitpid(answer, 0)
    finally:
        if "msqid" in things:
            raw.msgctl(things["msqid"], 0, None)
    wrong += [text for guarded in things.guarded if (text := guarded.damage())]
    return answer, wrong


def allowed(answers: str, answer: int) -> bool:
    """Whether the answer is one of a row's alternatives."""
    for text in answers.split("|"):
        if text == "ok" and answer >= 0:
            return True
        if text.startswith("E") and answer == -getattr(errno, text):
            return True
        if text.isdigit() and answer == int(text):
            return True
    return False


def test_every_row_with_an_output_is_there():
    """Each row with an out or inout argument has a line; the lines that cannot be run are counted, and say what is written."""
    with_output = {entry.name for entry in TABLE if any(a.kind in ("out", "inout") for a in entry.arguments)}
    assert {name for name, *_ in ROWS} == with_output
    skipped = [note for _, _, answer, note in ROWS if answer == "skip"]
    assert len(skipped) == SKIPPED
    assert all(note.strip() for note in skipped)


def test_every_output_is_a_guarded_buffer_somewhere():
    """Of every row, each out and inout argument gets a buffer in one of its lines, unless the line is skipped."""
    for entry in TABLE:
        lines = [call for name, call, answer, _ in ROWS if name == entry.name and answer != "skip"]
        outputs = [a.name for a in entry.arguments if a.kind in ("out", "inout")]
        assert not lines or sum(line.count("out(") for line in lines) >= len(outputs), entry.name


RUN = [row for row in ROWS if row[2] != "skip"]


@pytest.mark.parametrize(("name", "call", "answers", "note"), RUN, ids=[row[0] for row in RUN])
def test_the_kernel_stays_within_the_buffer(name, call, answers, note, tmp_path):
    """The call gives what its line says, the buffers are of exactly the extent, and no guard byte changed."""
    entry = TABLE[name]
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    if tuple(map(int, (entry.since or "0.0").split(".")[:2])) > release:
        pytest.skip(f"{name} needs Linux {entry.since}")
    answer, wrong = in_child(call_guarded, entry, call, tmp_path)
    assert allowed(answers, answer), f"{name}{call} gave {answer}, not {answers} ({note})"
    assert not wrong


def test_the_guard_itself_notices():
    """A write before or behind the buffer is damage, one inside is not."""
    for offset, bad in ((-BEFORE, True), (-1, True), (0, False), (7, False), (8, True), (7 + AFTER, True)):
        guarded = Guarded(bytes(8))
        guarded.store[BEFORE + offset] = 0
        assert bool(guarded.damage()) is bad


# ---- the guards around every test ----


def _leave_descriptor() -> None:
    os.open("/", os.O_RDONLY)


def _leave_child() -> None:
    if os.fork() == 0:
        os._exit(0)


def _leave_thread() -> None:
    threading.Thread(target=os.read, args=(os.pipe()[0], 1), daemon=True).start()


def _leave_handler() -> None:
    signal.signal(signal.SIGUSR2, lambda *_: None)


def _leave_mask() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})


def _leave_limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def _leave_stack() -> None:
    memory = mmap.mmap(-1, 1 << 16)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    raw.sigaltstack(struct.pack("QixxxxQ", address, 0, 1 << 16), None)


LEAVINGS = {
    "descriptors: ": _leave_descriptor,
    "children: ": _leave_child,
    "threads: ": _leave_thread,
    "threading: ": _leave_thread,
    "signal actions: 12 ": _leave_handler,
    "status: SigCgt ": _leave_handler,
    "status: SigBlk ": _leave_mask,
    "status: Umask ": lambda: os.umask(0o123),
    "working directory: ": lambda: os.chdir("/proc/self"),
    "limits: RLIMIT_CORE ": _leave_limit,
    "alternate stack: ": _leave_stack,
}


@pytest.mark.parametrize("text", list(LEAVINGS))
def test_the_leak_guard_names_what_is_left_behind(text):
    """A descriptor, child, thread, handler, mask, umask, directory, limit or stack that stays is named; nothing else is."""

    def check() -> tuple[list[str], list[str]]:
        before = snapshot()
        first = leaks(before)
        LEAVINGS[text]()
        found = leaks(before, patience=0)
        for pid in children():
            os.waitid(os.P_PID, int(pid), os.WEXITED)  # where this runs as process 1, the next test would inherit it
        return first, found

    first, then = in_child(check)
    assert first == []
    assert any(line.startswith(text) for line in then), then


def test_a_child_reports_every_way_to_end():
    """A value, an exception with its traceback, a skip, a status, a signal with the stack, and a hang are told apart."""

    def crash() -> None:
        ctypes.string_at(1)

    assert in_child(lambda: {"a": b"b"}) == {"a": b"b"}
    with pytest.raises(ChildFailed, match="ZeroDivisionError"):
        in_child(lambda: 1 // 0)
    with pytest.raises(ChildFailed, match="exit status 3"):
        in_child(os._exit, 3)
    with pytest.raises(ChildFailed, match=r"(?s)SIGSEGV.*in crash"):
        in_child(crash)
    with pytest.raises(pytest.skip.Exception, match="why"):
        in_child(pytest.skip, "why")
    with pytest.raises(ChildLate, match=r"(?s)after its deadline.*in child_that_hangs"):
        in_child(child_that_hangs, deadline=0.05)
    assert in_child(os.closerange, 3, 100) is None


def child_that_hangs() -> None:
    """Wait for ever."""
    os.read(os.pipe()[0], 1)


def test_a_test_that_hangs_is_ended_with_its_stack():
    """At the deadline SIGABRT prints where it hangs, and the run ends; no thread and no child is used for that."""

    def hang() -> None:
        Deadline().set(0.05)
        child_that_hangs()

    end = run_child(hang)
    assert (end.returned, end.exitcode) == (False, -signal.SIGABRT)
    assert "in child_that_hangs" in end.stacks


def test_an_injected_errno_meets_the_named_calls_only():
    """fail_calls answers the given numbers, and no others."""

    def check() -> list[int]:
        fail_calls(errno.ENOSYS, TABLE["getppid"].number, TABLE["pidfd_open"].number)
        return [raw.getppid(), raw.pidfd_open(os.getpid(), 0), raw.getpid() - os.getpid()]

    assert in_child(check) == [-errno.ENOSYS, -errno.ENOSYS, 0]
