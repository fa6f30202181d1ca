"""How the documentation is built: sphinx-build -n -W docs docs/_build/html, with rawsys installed."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

with open(Path(__file__).parent.parent / "pyproject.toml", "rb") as file:
    _about = tomllib.load(file)["project"]

project = _about["name"]
release = version = _about["version"]
author = "the rawsys developers"
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "commandline",
    "pictures",
    "real_output",
    "tables",
]
exclude_patterns = ["_build", "_ext"]
default_role = "code"
nitpicky = True
# Every reference to a name of rawsys has to be there.  Names of Python, and the aliases that only the stubs know, have no
# page here.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!rawsys\.).*"),
    (r"py:.*", r"rawsys(\.\w+)*\._.*"),
    (r"py:.*", r"rawsys\.fd\.FdIO"),
]

html_theme = "furo"
html_title = f"rawsys {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
man_pages = [("reference/cli", "rawsys", "system calls of x86-64 Linux, and a supervisor of processes", author, 1)]
man_show_urls = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
myst_heading_anchors = 3

python_maximum_signature_line_length = 96  # a longer one has a line for each parameter
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Each page's examples run in a folder of their own, which is empty when they begin; `docs` is the folder of the pages.
doctest_global_setup = f"""
import os, tempfile
docs = {str(Path(__file__).parent)!r}
_folder = tempfile.TemporaryDirectory()
_before = os.getcwd()
os.chdir(_folder.name)
"""
doctest_global_cleanup = """
os.chdir(_before)
_folder.cleanup()
"""


# ---- docstrings ----


def _as_written(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings of the built-in calls are tables of plain text, with the kernel's asterisks: show them as they are."""
    if re.fullmatch(r"rawsys\.(raw|syscalls)\.[a-z_0-9]+", name) and what == "function":
        first, *rest = lines
        lines[:] = [first, "", ".. code-block:: text", "", *(f"    {line}" for line in rest), ""]


# napoleon takes what stands before the first colon of a property's docstring for its type; ours begin with the page of the
# manual.  So the colon is another sign while napoleon looks.
_COLON = "\N{MODIFIER LETTER COLON}"


def _hide_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what in ("property", "attribute") and lines:
        lines[0] = lines[0].replace(":", _COLON)


def _show_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _as_written)
    app.connect("autodoc-process-docstring", _hide_colon, priority=100)
    app.connect("autodoc-process-docstring", _show_colon, priority=900)
