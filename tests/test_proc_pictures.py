"""The drawings of an address space, and the commands that print them: width, scale, order, and what XML asks for."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import unicodedata
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import INTERPRETER, in_child, need

from rawsys import proc
from rawsys.proc import Landmark, Layout, Region
from rawsys.proc.parts import Gap, Object, bytes_text, parts

SVG = "{http://www.w3.org/2000/svg}"


def rawsys(*arguments: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """``python -m rawsys ARGUMENTS`` as it ended, on a screen so wide."""
    environment = os.environ | {"COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [INTERPRETER, "-m", "rawsys", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment,
        check=False,
    )


def width(line: str) -> int:
    """Columns on a terminal."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in line if not unicodedata.combining(c))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Address spaces as strange as they come."""
    names = st.sampled_from(
        ["", "/bin/x", '/lib/a<b>&"c', "/lib/new\nline", "/\udcff", "[anon:z]", "/lib/" + "long" * 40]
    )
    sizes = st.integers(1, 2**20) | st.integers(1, 2**34)
    regions, address = [], 4096
    for _ in range(draw(st.integers(1, 40))):
        address += 4096 * draw(st.just(0) | sizes)
        size = 4096 * draw(sizes)
        kind, name = draw(st.sampled_from(proc.KINDS)), draw(names)
        regions.append(Region(address, address + size, "rw-p", 0, 0, int(name.startswith("/")), name, kind))
        address += size
    marks = [Landmark(f"mark <{n}>", draw(st.integers(0, address)), None) for n in range(draw(st.integers(0, 8)))]
    return Layout(7, draw(st.sampled_from(["cat", "a\x1b[31m", "<&>"])), tuple(marks), tuple(regions))


@given(layouts(), st.integers(60, 160), st.booleans())
def test_the_drawing_keeps_its_width(layout: Layout, columns: int, whole: bool) -> None:
    """No line is wider than the screen, none has a control character, and colours change nothing else."""
    text = layout.draw(columns, whole=whole)
    for line in text.split("\n"):
        assert width(line) <= columns, line
        assert line.isprintable()
    assert re.sub(r"\x1b\[\d*m", "", layout.draw(columns, colour=True, whole=whole)) == text


@given(layouts())
def test_the_picture_is_well_formed(layout: Layout) -> None:
    """It parses, has a title and a description, and nothing is drawn outside of it."""
    root = ET.fromstring(layout.svg())
    assert root.attrib["role"] == "img"
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text
    assert desc is not None
    assert desc.text
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {desc.attrib['id']}"
    for element in root.iter():
        for name, most in (("x", 1280), ("y", 721), ("cx", 1280), ("cy", 721)):
            assert -1 <= float(element.attrib.get(name, 0)) <= most
    assert "prefers-color-scheme: dark" in layout.svg()


@given(layouts())
def test_parts_hold_all_that_is_mapped(layout: Layout) -> None:
    """Every region that can be touched is in one object; parts and gaps go on where the last one ended."""
    found = parts(layout.regions)
    inside = [region for part in found for thing in part.objects for region in thing.regions]
    assert {region for region in layout.regions if region.kind != "guard"} <= set(inside)
    assert len(inside) == len(set(inside))
    assert all(high.start >= low.end for high, low in itertools.pairwise(found))
    for part in found:
        assert all(low.end == high.start for low, high in zip(part.items, part.items[1:], strict=False))
        assert isinstance(part.items[0], Object)
        assert isinstance(part.items[-1], Object)
        assert all(isinstance(item, Gap) or item.size > 0 for item in part.items)


def test_to_scale() -> None:
    """Within a part, the heights of the picture and the letters of the drawing are as the sizes."""
    regions = tuple(
        Region(start << 20, (start + size) << 20, "rw-p", 0, 0, 0, f"[anon:{start}]", "anon")
        for start, size in ((0x700000, 16), (0x700010, 8), (0x700018, 4))
    )
    layout = Layout(7, "x", (), regions)
    bars = re.findall(r" (A+) +[\d.]+ MiB", layout.draw())
    assert [len(bar) for bar in bars] == [4, 8, 16]
    root = ET.fromstring(layout.svg())
    heights = [float(rect.attrib["height"]) for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.01)
    assert heights[2] == pytest.approx(4 * heights[0], rel=0.01)


def test_this_process_drawn() -> None:
    """The parts, the landmarks and the gaps are in both pictures, high addresses first."""
    layout = in_child(proc.layout)
    titles = re.findall("^── (.*):", layout.draw(), re.MULTILINE)
    assert [title for title in titles if title != "vsyscall"] == ["stack", "mapped memory", "heap", "program"]
    for text in (layout.draw(), layout.svg()):
        for mark in layout.landmarks:
            assert mark.name in text
            assert f"{mark.address:x}" in text
        assert "free" in text
    assert str(layout) == layout.draw(80)
    assert [line.partition(":")[0] for line in layout.order()][-4:] == ["Stack", "Mapped memory", "Heap", "Program"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (10 * 2**20 + 1, "10 MiB"), (2**64, "16 EiB")],
)
def test_sizes(size: int, text: str) -> None:
    """As a person reads them."""
    assert bytes_text(size) == text


def test_in_a_browser(tmp_path: Path) -> None:
    """A browser draws it: paper, ink and most of the colours are there, in light and in dark."""
    browser = need("chromium")
    (tmp_path / "x.svg").write_text(in_child(proc.layout).svg())
    shots = []
    for dark in ("0", "1"):
        shot = tmp_path / f"{dark}.png"
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1280,720",
        ]
        command += [f"--blink-settings=preferredColorScheme={dark}", f"--user-data-dir={tmp_path / 'profile'}"]
        done = subprocess.run(
            [*command, f"--screenshot={shot}", f"file://{tmp_path / 'x.svg'}"],
            capture_output=True,
            timeout=50,
            check=False,
        )
        if not shot.exists():
            pytest.skip(f"the browser does not run here: {done.stderr[-200:]!r}")
        shots.append(shot.read_bytes())
    assert all(len(shot) > 20_000 for shot in shots)
    assert shots[0] != shots[1]


# ---- commands ----


def test_maps_command(tmp_path: Path) -> None:
    """Drawn within 80 columns; as JSON; as a picture in a file and on standard output; of another process."""
    done = rawsys("maps")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(width, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert "◄ a small malloc" in done.stdout
    found = json.loads(rawsys("maps", str(os.getpid()), "--json").stdout)
    assert found["pid"] == os.getpid()
    assert {region["kind"] for region in found["regions"]} <= set(proc.KINDS)
    assert rawsys("maps", "--svg", str(tmp_path / "x.svg")).returncode == 0
    ET.parse(tmp_path / "x.svg")
    ET.fromstring(rawsys("maps", str(os.getpid()), "--svg", "-").stdout)
    assert len(rawsys("maps", "--all").stdout.splitlines()) > len(done.stdout.splitlines())


def test_process_command() -> None:
    """The six parts, within 80 columns; without a number the process that called it."""
    done = rawsys("process")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(width, done.stdout.splitlines())) <= 80
    assert [line.split()[0] for line in done.stdout.splitlines() if line[0] != " "] == [
        "identity",
        "memory",
        "threads",
        "files",
        "signals",
        "rights",
    ]
    assert f"process {os.getpid()}:" in done.stdout
    assert len(done.stdout.splitlines()) <= 40


def test_ps_command() -> None:
    """All processes; sorted; as a tree; as JSON."""
    done = rawsys("ps")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(os.getpid()) in [line.split()[0] for line in done.stdout.splitlines()]
    rows = json.loads(rawsys("ps", "--sort", "rss", "--json").stdout)
    sizes = [row["rss"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    tree = {row["pid"]: row for row in json.loads(rawsys("ps", "--tree", "--json").stdout)}
    parent = tree[os.getpid()]["ppid"]
    if parent in tree:
        assert tree[os.getpid()]["depth"] == tree[parent]["depth"] + 1


def test_commands_that_fail(tmp_path: Path) -> None:
    """Status 1 and one line where there is no such process or the file cannot be written; 2 for wrong usage."""
    for arguments in (
        ("process", "2147483647"),
        ("maps", "2147483647"),
        ("maps", "--svg", str(tmp_path / "no" / "x.svg")),
    ):
        done = rawsys(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1
    assert rawsys("ps", "--sort", "nothing").returncode == 2
    assert rawsys("maps", "x").returncode == 2
