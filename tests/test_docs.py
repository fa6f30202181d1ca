"""The README: its Python blocks run as they stand and print what the block below them says; it stays short."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import run_python

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def _blocks() -> Iterator[tuple[str, str | None]]:
    for found in _BLOCK.finditer((ROOT / "README.md").read_text("utf-8")):
        yield found[1], found[2]


def _without_numbers(text: str) -> str:
    """Process numbers and times differ from run to run: numbers of three digits and more count as equal."""
    return re.sub(r"\d{3,}", "N", text)


@pytest.mark.parametrize(("code", "output"), list(_blocks()))
def test_readme_block(code: str, output: str | None) -> None:
    """A Python block of the README runs without a warning and prints exactly the text block that follows it."""
    done = run_python(code, flags=["-W", "error"])
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    if output is not None:
        assert _without_numbers(done.stdout) == _without_numbers(output)


def test_readme_shows_code_with_its_output_first() -> None:
    """The first block of the README has its output below it, and the README has at most 130 lines."""
    assert next(_blocks())[1]
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 130


def test_readme_has_the_two_lines() -> None:
    """The two commands that everything is promised for stand there as a person types them."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/rawsys" in lines
    assert ".venv/bin/pip install -e '.[test]' && .venv/bin/pytest" in lines


def test_the_figures_of_the_readme_are_those_of_the_run() -> None:
    """Each row of the table of ratios has the medians of the run that the docs show, one for each interpreter."""
    runs = json.loads((ROOT / "docs" / "data" / "benchmarks.json").read_text("utf-8"))["runs"]
    figures: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for row in run["rows"]:
            for peer in row.get("peers", ()):
                figures.setdefault((row["name"], peer["name"]), []).append(f"{peer['ratio'][1]:.2f}")
    table = (
        (ROOT / "README.md").read_text("utf-8").partition("| operation | against | ratios |")[2].partition("\n\n")[0]
    )
    rows = re.findall(r"^\| (.+) \| (.+) \| ([\d. /]+) \|$", table, re.MULTILINE)
    assert len(rows) > 10
    assert [" / ".join(figures[name, peer]) for name, peer, _ in rows] == [shown for _, _, shown in rows]


@pytest.mark.parametrize("page", [*PAGES, *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md")))])
def test_links_lead_somewhere(page: str) -> None:
    """Links between files of the tree name files that are there."""
    path = ROOT / page
    missing = [link for link in _LINK.findall(path.read_text("utf-8")) if not (path.parent / link).exists()]
    assert missing == []


def test_every_page_is_in_the_contents() -> None:
    """Each page of the docs is named in the contents of index.md."""
    docs = ROOT / "docs"
    pages = {p.relative_to(docs).with_suffix("").as_posix() for p in docs.rglob("*.md") if "_build" not in p.parts}
    index = (docs / "index.md").read_text("utf-8").splitlines()
    assert pages - set(index) == {"index"}


@pytest.mark.parametrize("script", ["run", "long", "lib.sh"])
def test_scripts_parse(script: str) -> None:
    """The scripts of the checks are correct bash, as far as bash can tell without running them."""
    path = ROOT / ".ci" / script
    if not path.exists():
        pytest.skip("not a clone: the checks are not in the sdist")
    subprocess.run(["bash", "-n", path], check=True)
