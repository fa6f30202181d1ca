"""The directive `real-output`: what a program of examples/ printed when this page was built.

    ```{real-output} 1_process.py
    :part: 2
    ```

A program separates its parts by empty lines; without `part` all of it is shown.  Each program runs once a build, as a
person would run it, and has to end with status 0, in time, and without a word on stderr: else there is no build.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DEADLINE = 60  # seconds


@cache
def output_of(program: Path) -> str:
    """What the program writes, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-W", "error", str(program)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise ExtensionError(f"{program.name} did not end within {DEADLINE} s") from late
    if done.returncode or done.stderr:
        raise ExtensionError(f"{program.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class RealOutput(SphinxDirective):
    """A block of text: the program's output, or one part of it."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"part": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        """Run the program, unless another part of its output was shown before."""
        program = EXAMPLES / self.arguments[0]
        self.env.note_dependency(str(program))
        text = output_of(program).rstrip("\n")
        if part := self.options.get("part"):
            parts = text.split("\n\n")
            if part > len(parts):
                raise self.error(f"{program.name} prints {len(parts)} parts, there is no part {part}")
            text = parts[part - 1]
        return [nodes.literal_block(text, text, language="text", classes=["real-output"])]


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.add_directive("real-output", RealOutput)
    app.connect(
        "builder-inited", lambda app: app.config.html_static_path.append(str(Path(__file__).with_name("static")))
    )
    app.add_css_file("real_output.css")
    return {"parallel_read_safe": True}
