"""Programs: steps, dependencies, parameters, buffers, run and run_each, and what is refused."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import INTERPRETER, in_child, need, run_python, until_blocked

import rawsys
from rawsys import Fd, Program, errors, raw, syscalls, table
from rawsys.constants import AT_FDCWD, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_WRONLY
from rawsys.program import Results

ECANCELED = -errno.ECANCELED


def reader(size: int = 65536, **keywords: bool):
    """The program of the documentation: open, read, close; with its read step."""
    p = Program(**keywords)
    path, data = p.parameter("path"), p.buffer(size)
    fd = p.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    n = p.read(fd, data, size)
    p.close(fd, always=True)
    return p, n


# ---- run ----


def test_run_opens_reads_and_closes(tmp_path: Path) -> None:
    """The documentation's example: answers by step, data as bytes, length, iteration in order."""
    (tmp_path / "f").write_bytes(b"hello")
    p, n = reader()
    one = p.run(path=tmp_path / "f")
    assert one[n] == 5
    assert one.data(n) == b"hello"
    assert len(one) == len(p) == 3
    assert list(one) == [one[0], 5, 0]
    assert one.check() is one


def test_a_step_whose_input_failed_is_not_run_transitively() -> None:
    """What needs a failed step answers -ECANCELED and is not made; the others go on."""
    p = Program()
    data = p.buffer(8)
    fd = p.openat(AT_FDCWD, "/nonexistent-rawsys", O_RDONLY, 0)
    n = p.read(fd, data, 8)
    m = p.write(1, data, n)
    other = p.getpid()
    assert list(p.run()) == [-errno.ENOENT, ECANCELED, ECANCELED, os.getpid()]
    assert p.run()[m] == ECANCELED
    assert p.run()[other] == os.getpid()


def test_stop_on_error_runs_only_always_steps(tmp_path: Path) -> None:
    """After a failure only `always` steps run, and those only when their own inputs exist."""
    p = Program(stop_on_error=True)
    fd = p.openat(AT_FDCWD, str(tmp_path), O_RDONLY | O_DIRECTORY, 0)
    missing = p.openat(fd, "missing", O_RDONLY, 0)
    p.getpid()
    p.close(missing, always=True)
    p.close(fd, always=True)
    answers = list(p.run())
    assert answers[1:] == [-errno.ENOENT, ECANCELED, ECANCELED, 0]


def test_an_allowed_errno_counts_as_success(tmp_path: Path) -> None:
    """allow={EEXIST}: the step is no failure, stops nothing, and check() passes; the answer is still -EEXIST."""
    p = Program(stop_on_error=True)
    p.mkdir(str(tmp_path), 0o755, allow={errno.EEXIST})
    pid = p.getpid()
    results = p.run()
    assert results.check()[0] == -errno.EEXIST
    assert results[pid] == os.getpid()


def test_check_names_step_and_call() -> None:
    """check() raises the right subclass for the first failure, with notes that name the call, the step and its label."""
    p = Program()
    p.getpid()
    p.openat(AT_FDCWD, "/nonexistent-rawsys", O_RDONLY, 0, label="the configuration")
    with pytest.raises(FileNotFoundError) as caught:
        p.run().check()
    assert caught.value.filename == "/nonexistent-rawsys"
    notes = "\n".join(caught.value.__notes__)
    assert 'openat(AT_FDCWD, "/nonexistent-rawsys", O_RDONLY' in notes
    assert "step 1 (the configuration)" in notes


def test_results_give_a_descriptor_once(tmp_path: Path) -> None:
    """results.fd(step) is an owned Fd; a second time, a step that gives none, and a failed step are errors."""
    p = Program()
    fd = p.openat(AT_FDCWD, str(tmp_path), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
    pid = p.getpid()
    bad = p.openat(AT_FDCWD, "/nonexistent-rawsys", O_RDONLY, 0)
    results = p.run()
    with results.fd(fd) as owned:
        assert isinstance(owned, Fd)
        assert owned.fileno() == results[fd]
    with pytest.raises(ValueError, match="taken already"):
        results.fd(fd)
    with pytest.raises(ValueError, match="gives no descriptor"):
        results.fd(pid)
    with pytest.raises(FileNotFoundError):
        results.fd(bad)


def test_results_read_like_strace(tmp_path: Path) -> None:
    """repr of a program and of its results show the calls, their dependencies and the errno names."""
    p, _ = reader(16)
    assert repr(p).startswith("<Program of 3 steps: %0 = openat(AT_FDCWD, <parameter 'path'>, O_RDONLY|O_CLOEXEC")
    assert "close(%0) = 0" in repr(p.run(path="/proc/self/comm"))
    assert "= -1 ENOENT; read(%0, <buffer 0>, 16) = -1 ECANCELED" in repr(p.run(path="/nonexistent-rawsys"))


def test_explain_tells_kinds_and_dependencies() -> None:
    """explain() has a line for each step: kinds, what it needs, always, retry, allowed errnos, label."""
    p = Program()
    fd = p.openat(AT_FDCWD, "x", O_RDONLY, 0, label="input", allow=[errno.ENOENT])
    p.close(fd, always=True, retry=True)
    first, second = p.explain().splitlines()
    assert "'input'" in first
    assert "(dirfd, path, flags, mode); allows ENOENT" in first
    assert second == "%1 = close(%0)   (fd); needs %0; always; retry"


def test_buffers_start_as_given_and_keep_no_state() -> None:
    """A buffer is zero or its initial bytes at the start of every run, whatever the run before wrote into it."""
    p = Program()
    zero, text = p.buffer(4), p.buffer(b"abcd")
    read_end, write_end = Fd.pipe()
    with read_end, write_end:
        write_end.write(b"12345678")
        p.read(read_end, zero, 2)
        p.read(read_end, text, 2)
        first, second = p.run(), p.run()
    assert (first.data(zero), first.data(text)) == (b"12\0\0", b"34cd")
    assert (second.data(zero), second.data(text)) == (b"56\0\0", b"78cd")


def test_a_buffer_may_be_sized_by_a_parameter() -> None:
    """The size is checked at each run against what the kernel may touch, before anything runs."""
    p = Program()
    size, data = p.parameter("size"), None
    data = p.buffer(size)
    n = p.getrandom(data, size, 0)
    for wanted in (0, 1, 5000):
        assert len(p.run(size=wanted).data(n)) == wanted
    with pytest.raises(ValueError, match="sizes a buffer"):
        p.run(size=-1)
    short = Program()
    count, fixed = short.parameter("count"), short.buffer(8)
    short.getrandom(fixed, count, 0)
    with pytest.raises(ValueError, match="shorter than the kernel may use"):
        short.run(count=9)


def test_a_count_that_a_step_answers_is_checked_while_running() -> None:
    """A write of as many bytes as an earlier step answered never reads past its buffer: -EFAULT, not made."""
    read_end, write_end = Fd.pipe()
    with read_end, write_end:
        p = Program()
        small = p.buffer(4)
        many = p.getpid()  # larger than 4, as a stand-in for a wrong count
        w = p.write(write_end, small, many)
        assert p.run()[w] == -errno.EFAULT
        assert not read_end.wait_readable(0)


# ---- parameters ----


def test_parameters_missing_unknown_and_of_the_wrong_kind_are_refused_before_anything_runs(tmp_path: Path) -> None:
    """Each is a clear error, and no step is made: the file that the first step would create is not there."""
    p = Program()
    path, count, data = p.parameter("path"), p.parameter("count"), p.buffer(16)
    fd = p.openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_EXCL, 0o600)
    p.write(fd, data, count)
    p.close(fd, always=True)
    target = tmp_path / "new"
    for values, error in (
        ({"path": target}, "parameter 'count' is missing"),
        ({"path": target, "count": 1, "mode": 2}, "no parameter 'mode'"),
        ({"path": target, "count": "x"}, "must be an int"),
        ({"path": target, "count": True}, "must be an int"),
        ({"path": 1.5, "count": 1}, "must be str, bytes, os.PathLike"),
    ):
        with pytest.raises(TypeError, match=re.escape(error)):
            p.run(**values)
    with pytest.raises(ValueError, match="embedded null"):
        p.run(path="a\0b", count=1)
    with pytest.raises(TypeError, match="by name"):
        p.run(target, 1)
    assert not target.exists()


def test_one_parameter_of_two_kinds_is_an_error_when_added() -> None:
    """A parameter's kind is that of the argument where it stands; of two widths the narrower one holds."""
    p = Program()
    x = p.parameter("x")
    p.chdir(x)
    with pytest.raises(TypeError, match="is a path in chdir"):
        p.umask(x)
    q = Program()
    n = q.parameter("n")
    q.getrandom(q.buffer(8), n, 0)
    q.umask(n)
    with pytest.raises(OverflowError):
        q.run(n=1 << 40)


def test_a_parameter_that_stands_nowhere_is_refused() -> None:
    """It would be given and never used: a mistake of the program's author."""
    p = Program()
    p.parameter("path")
    p.getpid()
    with pytest.raises(ValueError, match="stands in no step"):
        p.run(path="x")


def test_steps_of_another_program_are_refused() -> None:
    """A step, parameter or buffer works only in its own program, as an argument and as a key."""
    p, n = reader()
    other = Program()
    with pytest.raises(ValueError, match="belongs to another Program"):
        other.close(n)
    with pytest.raises(ValueError, match="belongs to another Program"):
        other.read(0, p.buffer(4), 4)
    other.getpid()
    with pytest.raises(ValueError, match="no step of the Program"):
        other.run()[n]
    with pytest.raises(ValueError, match="belongs to another"):
        other.run_each([1], collect=n)


def test_memory_and_owners_are_kept_alive() -> None:
    """A program holds the buffers and the Fds among its arguments as long as it lives."""
    read_end, write_end = Fd.pipe()
    p = Program()
    p.write(write_end, bytearray(b"held"), 4)
    number = write_end.fileno()
    del write_end
    assert p.run()[0] == 4
    assert read_end.read(4) == b"held"
    assert os.path.exists(f"/proc/self/fd/{number}")
    with pytest.warns(ResourceWarning, match=f"unclosed <Fd {number}>"):
        del p
    read_end.close()


def test_a_run_after_the_close_is_refused() -> None:
    """ClosedError before anything runs."""
    read_end, write_end = Fd.pipe()
    p = Program()
    p.getpid()
    p.write(write_end, b"x", 1)
    read_end.close()
    write_end.close()
    with pytest.raises(errors.ClosedError):
        p.run()


def test_a_close_waits_for_the_running_program() -> None:
    """While a program in another thread uses an Fd, close() takes the number away and the end of the run closes it."""
    read_end, write_end = Fd.pipe()
    number, answers = read_end.fileno(), []
    p = Program()
    data = p.buffer(1)
    p.read(read_end, data, 1)
    thread = threading.Thread(target=lambda: answers.append(p.run()[0]))
    thread.start()
    until_blocked(thread.native_id, table["read"].number)
    read_end.close()
    assert os.path.exists(f"/proc/self/fd/{number}")
    write_end.write(b"x")
    thread.join()
    assert answers == [1]
    assert not os.path.exists(f"/proc/self/fd/{number}")
    write_end.close()


def test_one_program_runs_in_several_threads_at_once(tmp_path: Path) -> None:
    """Runs share nothing: eight threads read eight files a hundred times each, and every answer is its own."""
    p, n = reader(4096)
    wrong: list[int] = []

    def work(i: int) -> None:
        path, content = tmp_path / str(i), bytes([65 + i]) * (i + 1) * 100
        path.write_bytes(content)
        wrong.extend(i for _ in range(100) if p.run(path=path).data(n) != content)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_program_cannot_grow_after_its_first_run() -> None:
    """Another thread may be in the middle of it."""
    p = Program()
    p.getpid()
    p.run()
    with pytest.raises(errors.BusyError):
        p.getpid()


# ---- refusals when a step is added ----


@pytest.mark.parametrize("name", ["fork", "vfork", "clone", "clone3", "rt_sigreturn", "exit", "uretprobe"])
def test_calls_that_would_go_on_twice_are_refused(name: str) -> None:
    """They are refused by name, and the message names a tool to use instead."""
    count = len(table[name].arguments)
    with pytest.raises(errors.RefusedCallError, match=rf"^{name} is refused.*use "):
        getattr(Program(), name)(*[0] * count)


def test_the_descriptor_of_any_step_can_be_taken() -> None:
    """However long the program is, and once."""
    p = Program()
    for _ in range(300):
        p.getpid()
    late = p.memfd_create("late", 1)
    results = p.run()
    with results.fd(late) as owned:
        assert owned.fileno() == results[late]
    with pytest.raises(ValueError, match="taken already"):
        results.fd(late)


def test_execve_ends_a_program_and_runs_only_in_a_child() -> None:
    """No step can follow it; run() refuses; raw_fork runs it."""
    p = Program()
    p.execve("/bin/true", ["true"], [])
    with pytest.raises(errors.RefusedCallError, match="no step can follow"):
        p.getpid()
    with pytest.raises(errors.RefusedCallError, match="raw_fork"):
        p.run()
    pid = rawsys.raw_fork(p)
    assert os.waitpid(pid, 0)[1] == 0


def test_what_raw_refuses_is_refused_when_added() -> None:
    """The pointer law and the widths hold as in rawsys.raw, and the program is as it was."""
    p = Program()
    with pytest.raises(OverflowError):
        p.read(2**32 + 1, p.buffer(1), 1)
    with pytest.raises(ValueError, match="3 bytes"):
        p.read(0, bytearray(3), 4)
    with pytest.raises(ValueError, match="2 bytes"):
        p.read(0, p.buffer(2), 4)
    with pytest.raises(TypeError, match="bytes"):
        p.read(0, b"xx", 2)
    with pytest.raises(TypeError, match="takes 3 arguments, got 1"):
        p.read(0)
    with pytest.raises(TypeError):
        p.chdir(p.buffer(3))
    with pytest.raises(AttributeError, match="did you mean openat"):
        p.opanat  # noqa: B018 - the look-up itself is tested
    with pytest.raises(ValueError, match="no errno"):
        p.getpid(allow=[0])
    with Fd.memfd("x") as fd, pytest.raises(TypeError, match="closed by its owner"):
        p.close(fd)
    assert len(p) == 0


def test_no_method_of_program_hides_a_call() -> None:
    """Whatever Program defines itself, no system call has that name."""
    ours = {name for name in dir(Program) if not name.startswith("__")}
    assert not ours & {entry.name for entry in table}


# ---- run_each ----


def test_run_each_gives_bytes_or_the_errno_of_each_input(tmp_path: Path) -> None:
    """In the order of the inputs; str, bytes and PathLike alike."""
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"")
    p, n = reader(4096)
    inputs = [tmp_path / "a", str(tmp_path / "missing"), os.fsencode(tmp_path / "b"), str(tmp_path)]
    assert p.run_each(inputs, collect=n) == [b"first", -errno.ENOENT, b"", -errno.EISDIR]
    assert p.run_each([], collect=n) == []


def test_a_result_is_never_cut(tmp_path: Path) -> None:
    """A read that fills its window is -EFBIG; with more=True the step is repeated until it answers 0."""
    for size in (63, 64, 65, 5000):
        (tmp_path / str(size)).write_bytes(os.urandom(size))
    paths = [tmp_path / str(size) for size in (63, 64, 65, 5000)]
    p, n = reader(64)
    assert p.run_each(paths, collect=n) == [paths[0].read_bytes(), -errno.EFBIG, -errno.EFBIG, -errno.EFBIG]
    assert p.run_each(paths, collect=n, more=True) == [path.read_bytes() for path in paths]


def test_more_than_the_arena_holds(tmp_path: Path) -> None:
    """Inputs of many MiB, in pieces and whole, come out right on both sides of the arena's end."""
    sizes = [300_000, 900_000, 1_048_576, 3_500_000, 0, 1]
    for i, size in enumerate(sizes):
        (tmp_path / str(i)).write_bytes(os.urandom(size))
    paths = [tmp_path / str(i) for i in range(len(sizes))] * 3
    p, n = reader(65536)
    assert p.run_each(paths, collect=n, more=True) == [path.read_bytes() for path in paths]


def test_run_each_without_collect_gives_the_last_answer(tmp_path: Path) -> None:
    """Or -errno of the first step that failed."""
    (tmp_path / "x").touch()
    p = Program()
    p.unlink(p.parameter("path"))
    assert p.run_each([tmp_path / "x", tmp_path / "x"]) == [0, -errno.ENOENT]


def test_run_each_takes_tuples_and_dicts_for_several_parameters(tmp_path: Path) -> None:
    """Tuples in the order in which the parameters were made, dicts by name; memory and owners among the values."""
    p = Program()
    fd, data, count = p.parameter("fd"), p.parameter("data"), p.parameter("count")
    p.write(fd, data, count)
    with Fd.memfd("m") as m:
        assert p.run_each([(m, b"abc", 3), {"count": 2, "data": bytearray(b"de"), "fd": m.fileno()}]) == [3, 2]
        assert m.pread(10, 0) == b"abcde"
        for bad, error in (
            ((m, b"abc"), "tuple of 3"),
            ({"fd": m, "data": b"x"}, "'count' is missing"),
            ({"fd": m, "data": b"x", "count": 1, "more": 1}, "more than the 3"),
            (7, "dict, or a tuple"),
        ):
            with pytest.raises(TypeError, match=re.escape(error)):
                p.run_each([(m, b"ok", 2), bad])
        with pytest.raises(ValueError, match="shorter than the kernel may use"):
            p.run_each([(m, b"ok", 2), (m, b"short", 6)])
        assert m.stat().size == 5  # nothing ran in any of them


def test_run_each_refuses_what_it_cannot_do() -> None:
    """No parameters, a collected step without a buffer, more without collect, and an empty program."""
    p = Program()
    step = p.getpid()
    with pytest.raises(TypeError, match="needs a Program with parameters"):
        p.run_each([1], collect=step)
    q = Program()
    step = q.umask(q.parameter("mask"))
    with pytest.raises(ValueError, match="no buffer"):
        q.run_each([0o22], collect=step)
    with pytest.raises(ValueError, match="more=True needs collect"):
        q.run_each([0o22], more=True)
    with pytest.raises(ValueError):
        Program().run_each([1])


@pytest.mark.parametrize(("mib", "alone"), [(0.8, True), (200, False)])
def test_run_each_takes_the_gil_at_most_once_a_mib(mib: float, alone: bool) -> None:
    """While another thread holds the GIL without a pause, 0.8 MiB are read to the last input, and 200 MiB are not.

    The first input tells that the run has begun, the last one writes a mark that the holder of the GIL watches.  The
    second case shows that the first one could fail: there the arena is full long before the mark, and is to be emptied.
    """

    def child() -> bool:
        sys.setswitchinterval(1000)
        mark = bytearray(1)
        source = Fd.memfd("source")
        source.write_all(bytes(4096) + b"!")
        nowhere = Fd.open("/dev/null", O_WRONLY)
        reading, writing = Fd.pipe()
        p = Program()
        tell, offset = p.parameter("tell"), p.parameter("offset")
        p.write(tell, b"x", 1)
        n = p.pread64(source, p.buffer(8192), 4096, 0)
        p.pread64(source, mark, 1, offset)
        inputs = [(writing, 0), *[(nowhere, 0)] * int(mib * 256), (nowhere, 4096)]
        thread = threading.Thread(target=p.run_each, args=(inputs,), kwargs={"collect": n})
        thread.start()
        reading.read(1)
        end = time.monotonic() + 2
        while not mark[0] and time.monotonic() < end:
            pass  # nothing here gives the GIL away
        seen = bool(mark[0])
        thread.join()
        assert mark == b"!"
        return seen

    assert in_child(child) is alone


# ---- EINTR ----


def test_a_retry_step_lets_python_handlers_run_and_goes_on() -> None:
    """EINTR of a blocked read: the Python handler runs, writes what the read waits for, and the step is made again."""

    def child() -> bytes:
        read_end, write_end = Fd.pipe()
        p = Program()
        data = p.buffer(8)
        n = p.read(read_end, data, 8, retry=True)
        main = threading.get_native_id()
        signal.signal(signal.SIGUSR1, lambda *_: write_end.write(b"handled"))

        def interrupt() -> None:
            until_blocked(main, table["read"].number)
            syscalls.tgkill(os.getpid(), main, signal.SIGUSR1)

        thread = threading.Thread(target=interrupt)
        thread.start()
        results = p.run()
        thread.join()
        return results.data(n)

    assert in_child(child) == b"handled"


def test_a_raising_handler_ends_a_run_with_its_always_steps() -> None:
    """KeyboardInterrupt out of a blocked read: what the program opened is closed, and the exception is raised."""

    def child() -> list[str]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        read_end, _write_end = Fd.pipe()
        p = Program()
        fd = p.openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        p.read(read_end, p.buffer(1), 1, retry=True)
        p.close(fd, always=True)
        before = os.listdir("/proc/self/fd")
        main = threading.get_native_id()

        def interrupt() -> None:
            until_blocked(main, table["read"].number)
            syscalls.tgkill(os.getpid(), main, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            p.run()
        except KeyboardInterrupt:
            thread.join()
            return sorted(set(os.listdir("/proc/self/fd")) ^ set(before))
        return ["no KeyboardInterrupt"]

    assert in_child(child) == []


def test_ctrl_c_ends_a_run_of_a_million_inputs() -> None:
    """run_each of far more inputs than a deadline allows ends with KeyboardInterrupt, with nothing left open."""

    def child() -> tuple[bool, int]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        p, n = reader(64)
        before = len(os.listdir("/proc/self/fd"))
        inputs = ["/proc/self/status"] * 1_000_000
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            p.run_each(inputs, collect=n)
        except KeyboardInterrupt:
            timer.join()
            return True, len(os.listdir("/proc/self/fd")) - before
        return False, 0

    assert in_child(child, deadline=50) == (True, 0)


# ---- the other places ----


def test_raw_fork_runs_a_program_in_the_child() -> None:
    """The child writes, and exits with 0; with 127 when a step failed; the parent gets the raw answer."""
    read_end, write_end = Fd.pipe()
    p = Program()
    p.write(write_end, b"from the child", 14)
    pid = rawsys.raw_fork(p)
    assert pid > 0
    assert os.waitpid(pid, 0) == (pid, 0)
    assert read_end.read(20) == b"from the child"
    bad = Program()
    bad.close(-1)
    assert os.waitstatus_to_exitcode(os.waitpid(rawsys.raw_fork(bad), 0)[1]) == 127
    with pytest.raises(TypeError, match="without parameters"):
        rawsys.raw_fork(reader()[0])
    read_end.close()
    write_end.close()


def test_raw_fork_of_a_program_is_sound_while_threads_live() -> None:
    """Fifty forks while another thread allocates without pause: none of the children hangs."""
    stop = threading.Event()

    def allocate() -> None:
        while not stop.is_set():
            [bytes(1000) for _ in range(100)]

    thread = threading.Thread(target=allocate)
    thread.start()
    p = Program()
    p.getpid()
    statuses = {os.waitpid(rawsys.raw_fork(p), 0)[1] for _ in range(50)}
    stop.set()
    thread.join()
    assert statuses == {0}


def test_one_interpreter_in_four_places(tmp_path: Path) -> None:
    """The C interface: the same program here, in a child sharing memory, in a thread and in a handler."""
    compiler = need("gcc")
    here = Path(__file__).parent
    source = here.parent / "rawsys" / "csrc"
    if not source.is_dir():
        pytest.skip("the C sources are not beside the tests")
    binary = tmp_path / "four_places"
    files = [here / "c" / "four_places.c", source / "program.c", source / "extent.c"]
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{source}", "-pthread"]
    subprocess.run([compiler, *flags, *files, "-o", binary], check=True)
    done = subprocess.run([binary], capture_output=True, text=True, timeout=20)
    assert done.stdout.split("\n")[:4] == ["here: right", "child: right", "thread: right", "handler: right"]
    assert done.returncode == 0


# ---- many files ----


def test_read_files_reads_whole_files_of_any_size(tmp_path: Path) -> None:
    """Few or many, small or large, links, folders, missing ones; /proc files of several pages are whole."""
    for i in range(100):
        (tmp_path / str(i)).write_bytes(bytes([i]) * i * 37)
    (tmp_path / "large").write_bytes(os.urandom(200_000))
    (tmp_path / "link").symlink_to(tmp_path / "large")
    paths = [*(tmp_path / str(i) for i in range(100)), tmp_path / "large", tmp_path / "link"]
    expected = [path.read_bytes() for path in paths]
    assert rawsys.read_files(paths) == expected
    assert rawsys.read_files(paths[-4:]) == expected[-4:]
    assert rawsys.read_files(str(path) for path in paths) == expected
    assert rawsys.read_files([os.fsencode(path) for path in paths]) == expected
    limits = Path("/proc/self/limits").read_bytes()
    assert rawsys.read_files(["/proc/self/limits"] * 70) == [limits] * 70
    assert rawsys.read_files([tmp_path, tmp_path / "no"] * 40) == [-errno.EISDIR, -errno.ENOENT] * 40


@pytest.mark.parametrize("many", [1, 100])
def test_a_file_of_several_short_reads_is_whole(many: int) -> None:
    """/proc gives a long file in pieces of a page: a short read is not its end, and nothing is cut."""
    path = "/proc/kallsyms"
    with open(path, "rb") as file:
        whole = file.read()
    if len(whole) < 100_000:
        pytest.skip("/proc/kallsyms is short here")
    assert {len(data) for data in rawsys.read_files([path] + ["/proc/self/comm"] * (many - 1)) if len(data) > 100} == {
        len(whole)
    }


def test_read_files_reads_pipes_to_their_end(tmp_path: Path) -> None:
    """A named pipe among many files is read until its writers have gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "plain").write_bytes(b"p")

    def write() -> None:
        for _ in range(2):  # the first opening finds out that it is a pipe
            try:
                with open(pipe, "wb", buffering=0) as file:
                    file.writelines((b"one ", b"two ", b"three"))
            except BrokenPipeError:
                continue
            return

    thread = threading.Thread(target=write)
    thread.start()
    results = rawsys.read_files([tmp_path / "plain"] * 10 + [pipe])
    thread.join()
    assert results == [b"p"] * 10 + [b"one two three"]


def test_stat_many_is_a_sequence_of_records(tmp_path: Path) -> None:
    """Objects when asked for, -errno where one failed, links followed or not."""
    (tmp_path / "f").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("f")
    stats = rawsys.stat_many([tmp_path / "f", tmp_path / "missing", tmp_path / "link"])
    assert len(stats) == 3
    assert stats[0].size == 5
    assert stats[0].mtime_ns == os.stat(tmp_path / "f").st_mtime_ns
    assert stats[1] == stats[-2] == -errno.ENOENT
    assert stats[2].inode == stats[0].inode
    assert [type(s).__name__ for s in stats[:2]] == ["FileStat", "int"]
    assert rawsys.stat_many([tmp_path / "link"], follow_symlinks=False)[0].is_symlink()
    with pytest.raises(IndexError):
        stats[3]
    assert "1 failed" in repr(stats)


def test_read_files_makes_three_calls_a_file(tmp_path: Path) -> None:
    """strace -c over 10,000 files: 30,000 calls, and few more."""
    strace = need("strace")
    for i in range(10_000):
        (tmp_path / f"f{i}").write_bytes(b"content")
    code = f"""
import os, rawsys
paths = [f"{tmp_path}/f{{i}}" for i in range(10_000)]
rawsys.read_files(paths[:1])
os.getpgid(0)
assert set(rawsys.read_files(paths)) == {{b"content"}}
os.getpgid(0)
"""
    log = tmp_path / "strace.log"
    subprocess.run([strace, "-f", "-o", log, INTERPRETER, "-c", code], check=True, timeout=50)
    calls = [line.split(" ", 1)[1].split("(")[0].strip() for line in log.read_text().splitlines() if "(" in line]
    first, last = (i for i, name in enumerate(calls) if name == "getpgid")
    made = calls[first + 1 : last]
    counts = {name: made.count(name) for name in ("openat", "pread64", "close")}
    assert all(10_000 <= count <= 10_010 for count in counts.values()), counts
    assert len(made) <= 30_400


# ---- all rules at once ----

_CALLS: list[tuple[str, Callable[[], tuple[object, ...]]]] = [
    ("getpid", tuple),
    ("close", lambda: (-1,)),
    ("umask", lambda: (0o22,)),
    ("access", lambda: ("/", 0)),
    ("access", lambda: ("/nonexistent-rawsys", 0)),
]


class Model:
    """The rules of a run in Python, with the calls made one by one."""

    def __init__(self, stop_on_error: bool) -> None:
        self.stop_on_error = stop_on_error
        self.answers: list[int] = []
        self.failed: list[bool] = []
        self.stopped = False

    def step(
        self, name: str, arguments: tuple[object, ...], needs: int | None, always: bool, allow: tuple[int, ...]
    ) -> None:
        if (self.stopped and not always) or (needs is not None and self.failed[needs]):
            answer = ECANCELED
        else:
            if needs is not None:
                arguments = (self.answers[needs], *arguments[1:])
            answer = getattr(raw, name)(*arguments)
        failed = -4095 <= answer < 0 and -answer not in allow
        self.answers.append(answer)
        self.failed.append(failed)
        self.stopped = self.stopped or (self.stop_on_error and failed)


@settings(max_examples=200, deadline=None)
@given(
    stop=st.booleans(),
    plan=st.lists(
        st.tuples(
            st.integers(0, len(_CALLS) - 1),
            st.one_of(st.none(), st.integers(0, 30)),
            st.booleans(),
            st.lists(st.sampled_from([errno.EBADF, errno.ENOENT, errno.ECANCELED, errno.ESRCH]), max_size=2),
        ),
        min_size=1,
        max_size=30,
    ),
)
def test_random_programs_agree_with_a_model(stop: bool, plan: list[tuple[int, int | None, bool, list[int]]]) -> None:
    """Random programs of harmless calls answer as a model in Python that makes the calls one by one."""
    p, model, steps = Program(stop_on_error=stop), Model(stop), []
    for choice, needs, always, allow in plan:
        name, make = _CALLS[choice]
        arguments = make()
        if needs is not None and needs < len(steps):
            name, arguments = "getpgid", (steps[needs],)  # takes any number: ESRCH or EINVAL for most
        else:
            needs = None
        steps.append(getattr(p, name)(*arguments, always=always, allow=allow))
        model.step(name, arguments, needs, always, tuple(allow))
    results = p.run()
    assert list(results) == model.answers
    first = next((i for i, failed in enumerate(model.failed) if failed), None)
    assert results.failed_index == first
    if first is None:
        assert results.check() is results
    else:
        with pytest.raises(OSError) as caught:
            results.check()
        assert caught.value.errno == -model.answers[first]


def test_memory_stays_flat() -> None:
    """A hundred thousand runs, with buffers, parameters and failures, leave the resident memory where it was."""
    done = run_python(
        """
        import os, rawsys
        p = rawsys.Program()
        path, data = p.parameter("path"), p.buffer(256)
        fd = p.openat(-100, path, 0, 0)
        n = p.read(fd, data, 256)
        p.close(fd, always=True)
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4
        def work(count):
            for _ in range(count):
                p.run(path="/proc/self/comm").data(n)
                try:
                    p.run(path=1.5)
                except TypeError:
                    pass
            p.run_each(["/nonexistent", "/proc/self/comm"] * (count // 10), collect=n)
        work(5000)
        before = resident()
        work(50_000)
        print(resident() - before)
        """,
        deadline=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1024, "kB more than before"


def test_results_cannot_be_made_by_hand() -> None:
    """Results and steps come from programs: an empty one would point nowhere."""
    with pytest.raises(TypeError):
        Results()
    with pytest.raises(TypeError):
        type(Program().getpid())()
