"""The tutorial: each program prints what it is to print, and its chapter shows the program and its output, whole and real."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import _cffi_backend
import pytest
from support import INTERPRETER

import rawsys

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES, TUTORIAL = ROOT / "examples", ROOT / "docs" / "tutorial"
CHAPTERS = sorted(path.stem for path in EXAMPLES.glob("[0-9]*_*.py"))
_INCLUDE = re.compile(r"^```\{literalinclude\} \.\./\.\./examples/(.+)\n((?::.*\n)*)```$", re.MULTILINE)
_OUTPUT = re.compile(r"^```\{real-output\} (.+)\n((?::.*\n)*)```$", re.MULTILINE)
_HEX = "[0-9a-f]+"

SHAPES = {
    "1_process": rf"""
        this process is \d+, running /.+
        its parent is \d+, named '.*'

        1 identity       pid \d+, parent \d+, name '.+'
        2 address space  \d+ regions, \d+ MiB of them in memory
        3 threads        1, the first one is thread \d+
        4 descriptors    \d+ open, number 0 is /dev/null
        5 signals        \d+ caught, \d+ ignored, \d+ blocked
        6 credentials    user \d+, group \d+, \d+ more groups

        {_HEX}-{_HEX} r--p {_HEX} .+ /.+
        {_HEX}-{_HEX} .{{4}} {_HEX} .+ /.+
        {_HEX}-{_HEX} .{{4}} {_HEX} .+ /.+
        {_HEX}-{_HEX} .{{4}} {_HEX} .+
        {_HEX}, \d+ KiB, r--p: rodata
        {_HEX}, \d+ KiB, .{{4}}: \w+
        {_HEX}, \d+ KiB, .{{4}}: \w+
        {_HEX}, \d+ KiB, .{{4}}: \w+

        a child exited with 0, and said that its parent is \d+
        """,
    "2_lowest_level": rf"""
        rax = 39; syscall; rax = (\d+)
        the same by name: \1, and from libc: \1

        written by the instruction itself
        and its answer is 34, the bytes that were taken

        raw\.close\(-1\) answers -9
        syscalls\.close\(-1\) raises OSError: \[Errno 9\] Bad file descriptor, in close\(-1\)

        write\(4, (0x{_HEX}), 5\) waits in the kernel:
          rax 1  \(the number of write\)
          rdi 0x4
          rsi \2
          rdx 0x5
          r10 0x{_HEX}
          r8 0x{_HEX}
          r9 0x{_HEX}
          rsp 0x{_HEX}  \(its stack\)
          rip 0x{_HEX}  \(where it goes on\)
        then rax is 5
        """,
    "3_fork": r"""
        the child had 2 words, the parent has 1: \["parent's"\]

        the child read six bytes, so the parent reads on behind them: b'second'

        refused: fork\(\) with 1 other thread alive: holder; .* Use rawsys\.Command, which is safe, or unsafe=True
        a child forked all the same could not take the lock: it exited with 1

        the parent has closed the lock file; can it be locked\? False
        the child is gone; can it be locked\? True

        beside a thread that holds a lock: it exited with 0
        a child runs, the parent has closed the lock file; can it be locked\? True
        """,
    "4_threads": rf"""
        process (\d+), thread (?!\1,)\d+, named 'worker'
        process \1, thread \1, named '.+'

        here it is now <Fd closed>
        the reader got b'said in a thread', and the end: the thread has closed the only writer
        the thread gave 16

        two threads have added one each: 1

        eight threads have added a million each: 8,000,000

        pinned-0 runs on \[\d+\], \d+ KiB of stack from {_HEX} to {_HEX}
        pinned-1 runs on \[\d+\], \d+ KiB of stack from {_HEX} to {_HEX}
        pinned-2 runs on \[\d+\], \d+ KiB of stack from {_HEX} to {_HEX}
        """,
    "5_signals": r"""
        asked to end after 3 rounds: <SignalFlag SIGTERM set>

        of five signals each, Python's handler saw 1, the counter in C 5

        of twenty sent while they were blocked: SIGUSR1 1, SIGRTMIN 20

        the handler wrote b'caught\\n', and ran 1 time

        refused: step 0, pause, waits: the interrupted thread would stand still in the handler
        """,
    "6_memory": rf"""
        The address space of .+, process \d+; high addresses first
        (?:.*\n)*── stack: .* ─+
        (?:.*\n)* +{_HEX}  ◄ a variable on the stack
        (?:.*\n)*── mapped memory: .* ─+
        (?:.*\n)* +{_HEX}  ◄ a large malloc
        (?:.*\n)*── heap: .* ─+
        (?:.*\n)* +{_HEX}  ◄ a small malloc
        (?:.*\n)*── program: .* ─+
        (?:.*\n)*T code  R constants  D data  B BSS  .*
        .*

        (?:.*\n)*?Stack: .*
        (?:    .*\n)*Mapped memory: .*
        (?:    .*\n)*Heap: .*
        (?:    .*\n)*Program: .*
        (?:    .*\n)*(?:    .*)

        64 bytes: 0x{_HEX}, in \d+ KiB rw-p of kind \w+
        64 MiB: 0x{_HEX}, in \d+ KiB rw-p of kind anon
        a function of libc: 0x{_HEX}, in \d+ KiB r-xp of kind text

        mapped: 64 MiB, resident 0 KiB
        after a byte in each of two pages: resident \d+ KiB
        now it may only be read: r--p
        """,
    "7_supervisor": r"""
        worker: started as (\d+)
        crasher: started as (\d+)
        stubborn: started as (\d+)
        crasher: \2 exited with 3
        crasher: started as (\d+)
        crasher: \4 exited with 3
        crasher: started as (\d+)
        crasher: \5 exited with 3
        crasher: given up
        worker: asked to end
        stubborn: asked to end
        worker: \1 killed by SIGTERM
        stubborn: \3 killed by SIGKILL
        """,
    "7b_real_supervisor": r"""
        crasher: stopped -> starting: .*
        crasher: starting -> running: .*
        crasher: running -> exited: exited with 3
        crasher: exited -> backoff: .*
        crasher: backoff -> starting: .*
        crasher: starting -> running: .*
        crasher: running -> exited: exited with 3
        crasher: exited -> backoff: .*
        crasher: backoff -> starting: .*
        crasher: starting -> running: .*
        crasher: running -> exited: exited with 3
        crasher: exited -> failed: .*, after 2 restarts
        crasher: failed -> stopped: SIGTERM received
        run\(\) gives 0
        stubborn: stopped -> starting: .*
        stubborn: starting -> running: .*
        stubborn: running -> stopping: SIGTERM received
        stubborn: stopping -> killing: .*
        stubborn: killing -> stopped: killed by SIGKILL
        worker: stopped -> starting: .*
        worker: starting -> running: .*
        worker: running -> stopping: SIGTERM received
        worker: stopping -> stopped: killed by SIGTERM

        a service runs: True, and what it has started: True
        the supervisor killed by SIGKILL: False, False
        """,
    "8_boundary": r"""
        a second owner: BusyError: descriptor \d+ has an owner already; .*
        use after close: ClosedError: <Fd closed> can no longer be used
        a buffer that is too short: ValueError: read\(\): 'buf' has 10 bytes, but the kernel may use 4096 of them
        memory that cannot change: TypeError: read\(\): argument 'buf' must be a writable, contiguous buffer, .*
        a number that is too wide: OverflowError: close\(\): descriptor 4294967297 in 'fd' is outside a C int
        a child in our own memory: RefusedCallError: vfork is refused: .* use rawsys\.Command, .*
        the end of one thread: RefusedCallError: exit is refused: .* use rawsys\.raw_exit\(status\), .*

        the stranger's file has 19 bytes, written through <Fd \d+>
        and it was closed through it too: closing it again gives -9

        to address 8: -14, which is -EFAULT
        a child that takes its own heap away: it killed by SIGSEGV

        a child that was confined and tries to unlink: it killed by SIGKILL
        """,
}


PLACES = os.pathsep.join(
    str(Path(module.__file__ or "").parents[up]) for module, up in ((rawsys, 1), (_cffi_backend, 0))
)


def shape(chapter: str) -> str:
    """The pattern of all that a program prints."""
    return "\n".join(line[8:] for line in SHAPES[chapter].strip("\n").splitlines()).rstrip()


def output(chapter: str, folder: Path) -> str:
    """What the program prints, in an empty folder; it ends with 0 and complains of nothing."""
    done = subprocess.run(
        [INTERPRETER, "-W", "error", str(EXAMPLES / f"{chapter}.py")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": PLACES},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(folder.iterdir()) == []
    if chapter != "7b_real_supervisor":
        return done.stdout.rstrip("\n")
    records, end = done.stdout.rstrip("\n").split("\n\n")  # the order among services is chance, that of each is not
    return "\n".join(sorted(records.splitlines(), key=lambda line: line.split(":")[0])) + f"\n\n{end}"


def page(chapter: str) -> str:
    """The chapter that goes with the program."""
    (path,) = TUTORIAL.glob(f"{chapter[0]}-*.md")
    return path.read_text("utf-8")


def test_there_are_eight_chapters() -> None:
    """Eight pages, each named as its program; the supervisor's has a second one; a shape for each."""
    pages = sorted(path.stem.replace("-", "_") for path in TUTORIAL.glob("*.md"))
    assert [name[0] for name in pages] == list("12345678")
    assert sorted([*pages, "7b_real_supervisor"]) == sorted(CHAPTERS) == sorted(SHAPES)
    for path in TUTORIAL.glob("*.md"):
        text = path.read_text("utf-8")
        shown = {found[1] for found in [*_INCLUDE.finditer(text), *_OUTPUT.finditer(text)]}
        assert shown == {f"{chapter}.py" for chapter in CHAPTERS if chapter[0] == path.stem[0]}
        assert len(_INCLUDE.findall(text)) == text.count("{literalinclude}")
        assert len(_OUTPUT.findall(text)) == text.count("{real-output}")
        assert "```python" not in text and "```{doctest}" not in text


@pytest.mark.no_sanitizer
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_output_has_its_shape(chapter: str, tmp_path: Path) -> None:
    """Line by line the program prints what its chapter speaks of; only numbers and names of files differ."""
    text = output(chapter, tmp_path)
    expected = shape(chapter)
    if not re.fullmatch(expected, text):
        wrong = [
            f"{line}\n    is not  {want}" for line, want in zip(text.splitlines(), expected.splitlines(), strict=False)
        ]
        pytest.fail("the output has another shape:\n" + "\n".join(wrong) + f"\n\nall of it:\n{text}")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_chapter_shows_the_program_itself(chapter: str) -> None:
    """Every function and class of the program is included from its file once, and no code is written into the page."""
    text = page(chapter)
    shown = [found[2] for found in _INCLUDE.finditer(text) if found[1] == f"{chapter}.py"]
    names = [options.split(":pyobject: ")[1].strip() for options in shown if ":pyobject:" in options]
    tree = ast.parse((EXAMPLES / f"{chapter}.py").read_text("utf-8"))
    written = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in names:
            inner = [f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)]
            written += inner or [node.name]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            written.append(node.name)
    assert sorted(names) == sorted(name for name in written if name != "main" or name in names)
    assert sum(":start-at:" in options for options in shown) == 1


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_chapter_shows_all_of_the_output(chapter: str) -> None:
    """Each part of the program's output stands in the page once, taken from a run."""
    parts = [found[2].strip() for found in _OUTPUT.finditer(page(chapter)) if found[1] == f"{chapter}.py"]
    if parts != [""]:
        count = len(shape(chapter).split("\n\n"))
        assert sorted(parts) == [f":part: {number}" for number in range(1, count + 1)]


def test_the_supervisor_has_a_hundred_lines() -> None:
    """What chapter 7 says of its program."""
    lines = (EXAMPLES / "7_supervisor.py").read_text("utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 105
