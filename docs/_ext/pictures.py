"""The pictures of the explanation, drawn when the docs are built, and the charts of the benchmarks.

    ```{picture} storeys
    ```
    ```{benchmark-chart} calls
    ```
    ```{live-memory}
    ```

They go into the page as they are, so that they follow the theme; what is no HTML gets their words instead.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from drawing import Drawing
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from states import states
from tables import Generated

from rawsys import proc

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "docs" / "data" / "benchmarks.json"

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # for benchmarks; last, so that the rawsys that is described is the installed one


def storeys() -> Drawing:
    """What stands on what."""
    d = Drawing(
        350,
        "Five storeys, each built on the ones below it. Tools, such as the command line and the supervisor. Owned: Fd, Pid, "
        "Command, ThreadHandle, signals, memory, locks; released once, never used afterwards. Checked: rawsys.syscalls, "
        "OSError on failure, an Fd for a new descriptor. Raw: rawsys.raw and Program, the kernel's own answer. Shim: C, the "
        "instruction. Below them the kernel. One table of all calls feeds checked, raw and shim.",
    )
    rows = [
        ("tools", "command line, supervisor, yours", "only on what is below"),
        ("owned", "Fd  Pid  Command  ThreadHandle  signals  memory", "released once, never used after it"),
        ("checked", "rawsys.syscalls.NAME(...)", "OSError; a new descriptor is an Fd"),
        ("raw", "rawsys.raw.NAME(...)   Program", "a value, or -errno"),
        ("shim", "C and the instruction", "arguments checked, then the call"),
    ]
    for number, (name, what, promise) in enumerate(rows):
        top = 8 + 56 * number
        d.box(96, top, 372, 48, kind="strong" if name == "owned" else "")
        d.text(84, top + 29, name, "head", "end")
        d.text(282, top + 29, what, "", "middle")
        d.text(480, top + 29, promise, "pale")
    d.box(96, 300, 372, 40, "the kernel", kind="open")
    d.arrow(282, 280, 282, 298)
    return d


def call() -> Drawing:
    """From the name to the register and back."""
    d = Drawing(
        470,
        "The way of a call, from top to bottom: a name such as read with its arguments; prepare checks count, widths and "
        "buffer lengths by the row of the table, and pins the buffers, or raises before the kernel is asked; the GIL is "
        "released if the call may block; the syscall instruction; the kernel; one word comes back in rax. Raw gives it as it "
        "is. Checked makes a failure an OSError with a note and a new descriptor an Fd. A Program keeps the prepared call "
        "and issues it later.",
    )
    steps = [
        ("read(fd, buffer, n)", "a built-in of CPython, no cffi on the way"),
        ("prepare(row, arguments)", "count, widths, lengths; buffers pinned"),
        ("may it block?", "yes: the GIL is released. no: it is kept"),
        ("syscall", "rax number, rdi rsi rdx r10 r8 r9 arguments"),
        ("the word in rax", "-4095 to -1 is -errno, all else a value"),
    ]
    for number, lines in enumerate(steps):
        d.box(150, 8 + 74 * number, 320, 54, *lines, kind="strong" if number == 3 else "")
        if number:
            d.arrow(310, 62 + 74 * (number - 1), 310, 6 + 74 * number)
    d.text(484, 104, "wrong: TypeError, ValueError,", "pale")
    d.text(484, 121, "OverflowError; no call is made", "pale")
    d.box(8, 82, 110, 54, "Program", "keeps it")
    d.arrow(150, 109, 120, 109)
    d.line(63, 136, 63, 257)
    d.arrow(63, 257, 148, 257)
    d.arrow(230, 358, 230, 398)
    d.arrow(390, 358, 390, 398)
    d.box(100, 400, 170, 54, "raw", "the word itself")
    d.box(350, 400, 220, 54, "checked", "OSError with a note, or Fd")
    return d


def program() -> Drawing:
    """One list of steps, four places."""
    d = Drawing(
        360,
        "A Program is a list of prepared calls, run by one small interpreter in C. It runs in four places. Here: many calls in "
        "one crossing, with the GIL released once. In a child between clone and exec: what a Command is made of. In a native "
        "thread, without the GIL. In a signal handler, inside the signal.",
    )
    d.box(240, 118, 240, 124, kind="strong")
    d.text(360, 140, "Program", "head", "middle")
    for number, line in enumerate(["%0 = openat(.., path, ..)", "%1 = read(%0, buffer, n)", "%2 = close(%0)  always"]):
        d.text(254, 165 + 20 * number, line, "mono")
    d.text(360, 232, "prepared once, run often", "pale", "middle")
    places = [
        (8, 8, "here", "run, run_each: one crossing,", "the GIL released once"),
        (470, 8, "in a child, before exec", "Command, raw_fork(program):", "no Python, no malloc, no libc"),
        (8, 282, "in a native thread", "ThreadHandle.spawn_native:", "beside Python, without the GIL"),
        (470, 282, "in a signal handler", "on_signal: done before the", "interrupted code goes on"),
    ]
    for x, y, *lines in places:
        d.box(x, y, 242, 70, *lines)
        middle = 129 if x < 300 else 591
        edge = 238 if x < 300 else 482
        height = 150 if y < 100 else 210
        d.line(edge, height, middle, height)
        d.arrow(middle, height, middle, 80 if y < 100 else 280)
    return d


def spawn() -> Drawing:
    """Who runs, who sleeps, and who holds what, from clone to exec."""
    d = Drawing(
        372,
        "A time line from clone3 to exec. The spawning thread gives up the GIL, blocks all signals and sleeps in clone3 until "
        "the child has called exec or is gone; then it has the pidfd, puts the mask back and takes the GIL. Other threads of "
        "the parent run all the time and may hold any lock. The child begins at clone3 on a stack of its own, in the "
        "parent's memory, with its own descriptor table and all signals blocked; it resets handlers, runs the steps of the "
        "Command, sets the signal mask and calls exec, after which it has memory of its own. When a step fails it writes which "
        "one and its errno into the parent's memory and exits.",
    )
    begin, end = 250, 590
    for x, name in ((begin, "clone3"), (end, "exec")):
        d.line(x, 30, x, 300, "asleep")
        d.text(x, 20, name, "head", "middle")
    d.text(8, 74, "spawning thread", "head")
    d.text(8, 154, "other threads", "head")
    d.text(8, 234, "child", "head")
    d.line(150, 70, begin, 70, "strong")
    d.line(begin, 70, end, 70, "asleep")
    d.line(end, 70, 712, 70, "strong")
    d.text(begin + 12, 92, "sleeps in the kernel, without the GIL,", "pale")
    d.text(begin + 12, 110, "all signals blocked", "pale")
    d.text(end + 8, 92, "has the pidfd, takes", "pale")
    d.text(end + 8, 110, "mask and GIL back", "pale")
    d.line(150, 150, 712, 150, "strong")
    d.text(begin + 12, 172, "run on, and may spawn too;", "pale")
    d.text(begin + 12, 190, "hold locks of Python, of malloc", "pale")
    d.line(begin, 230, 712, 230, "strong")
    d.text(begin + 12, 252, "own stack and descriptors; the parent's memory;", "pale")
    d.text(begin + 12, 270, "all signals blocked; steps: only system calls", "pale")
    d.text(end + 8, 252, "own memory", "pale")
    d.box(begin, 312, end - begin, 50, "a step fails", "its index and errno to the parent's memory, exit", kind="open")
    d.arrow(420, 280, 420, 310)
    d.text(600, 341, "spawn() raises it", "pale")
    return d


PICTURES: dict[str, Callable[[], Drawing]] = {f.__name__: f for f in (storeys, call, program, spawn, states)}


class Inline(SphinxDirective):
    """SVG that is put into the page."""

    required_arguments = 1
    has_content = False
    option_spec: ClassVar[dict[str, Any]] = {}
    classes = "picture"

    def svg(self) -> str:
        """The picture."""
        return str(PICTURES[self.arguments[0]]())

    def run(self) -> list[nodes.Node]:
        """The figure for HTML, and its words for everything else."""
        for source in ("pictures.py", "drawing.py", "states.py"):
            self.env.note_dependency(str(Path(__file__).with_name(source)))
        svg = self.svg()
        words = unescape(svg.partition('aria-label="')[2].partition('"')[0])
        other = addnodes.only("", nodes.paragraph("", words), expr="not html")
        return [nodes.raw("", f'<figure class="{self.classes}" tabindex="0">{svg}</figure>', format="html"), other]


class BenchmarkChart(Inline):
    """The ratios of one topic, from the JSON in docs/data."""

    classes = "picture chart"

    def svg(self) -> str:
        """The chart."""
        from benchmarks import chart

        self.env.note_dependency(str(RUN))
        return chart.svg(json.loads(RUN.read_text("utf-8"))["runs"], self.arguments[0])


class BenchmarkFacts(Generated):
    """Which machine, which day, which commit."""

    def markdown(self) -> str:
        """A row for each run."""
        lines = ["| Python | processor | Linux | load | day | commit |", "|---|---|---|---|---|---|"]
        for run in json.loads(RUN.read_text("utf-8"))["runs"]:
            machine = run["machine"]
            cells = [run["python"], f"{machine['cpu']} x {machine['cpus']}", machine["kernel"], str(machine["load"])]
            commit = f"`{run['commit']}`"
            lines.append(f"| {' | '.join([*cells, run['date'][:10], commit])} |")
        return "\n".join(lines)


class LiveMemory(SphinxDirective):
    """The address space of the process that builds these docs, as `rawsys maps --svg` draws it."""

    def run(self) -> list[nodes.Node]:
        """The picture lies beside the pages: it has its own ground and style."""
        if self.env.app.builder.format != "html":
            return []
        name = "memory-of-the-build.svg"
        layout = proc.layout()
        folder = Path(self.env.app.outdir) / "_images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(layout.svg(), "utf-8")
        up = "../" * self.env.docname.count("/")
        words = "The address space of the process that built this page, from the stack at the top to the program at the bottom."
        link = (
            f'<a href="{up}_images/{name}"><img src="{up}_images/{name}" alt="{words}" width="1280" height="720"/></a>'
        )
        return [nodes.raw("", f'<figure class="picture live">{link}</figure>', format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("picture", Inline)
    app.add_directive("benchmark-chart", BenchmarkChart)
    app.add_directive("benchmark-facts", BenchmarkFacts)
    app.add_directive("live-memory", LiveMemory)
    app.add_css_file("pages.css")
    return {"parallel_read_safe": True}
