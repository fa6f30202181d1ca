"""An address space as a picture: SVG, written by hand, for light and dark, with text alternatives."""

from __future__ import annotations

from typing import NamedTuple
from xml.sax.saxutils import escape

from rawsys.proc.parts import WORDS, Gap, Object, Part, bytes_text, parts, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rawsys.proc.landmarks import Layout

_WIDTH, _HEIGHT = 1280, 720
_TOP, _BOTTOM = 96, 660
_LEFT, _COLUMN = 200, 250
_LABEL, _NAME, _NOTE = 510, 640, 950
_LINE = 17
_BREAK = 30
_THIN = 4
_SEEN = 1.5

# Mid tones: they stand out from white and from black alike.
_COLOURS = {
    "text": "#4c78a8", "rodata": "#86a9cf", "data": "#e08a2e", "bss": "#d9ac6a", "heap": "#4f9a47", "anon": "#86b880",
    "stack": "#d6494b", "thread_stack": "#e38384", "file": "#57a5a0", "shared": "#a3709b", "vdso": "#8d7b68", "vvar": "#ab9c8b",
    "vsyscall": "#8d7b68", "guard": "#9a9a9a",
}  # fmt: skip
_SVG = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
    'role="img" aria-labelledby="title desc">'
)
_HOW = "High addresses are at the top. To scale within each part; gaps are marked with their size."
_STYLE = """
  .paper { fill: #ffffff } .ink { fill: #1d1d1f } .pale { fill: #5f6368 } .rule { stroke: #8a8f94; fill: none }
  .edge { stroke: #1d1d1f; fill: none }
  text { font: 13px system-ui, sans-serif } .mono { font: 12px ui-monospace, Menlo, Consolas, monospace }
  .head { font-size: 22px; font-weight: 600 } .part { font-weight: 600 } .mark { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #16181c } .ink { fill: #eceef0 } .pale { fill: #a5abb2 } .rule { stroke: #737a82 } .edge { stroke: #eceef0 }
  }"""


class _Label(NamedTuple):
    """A line of text beside the column."""

    at: float
    """The height of what it names."""
    address: int
    """For its text, and for the order."""
    text: str
    """What it says."""
    size: str
    """Of an object, "" for a landmark."""
    mark: bool
    """A landmark, or the name of an object."""


class _Placed(NamedTuple):
    """Where a part is drawn."""

    part: Part
    """What."""
    top: float
    """Its upper edge."""
    height: float
    """Its height."""
    scale: float
    """Points a byte."""


def svg(layout: Layout) -> str:
    """See `Layout.svg`."""
    placed = _place(parts(layout.regions))
    body: list[str] = []
    for index, place in enumerate(placed):
        body += _part(place)
        if index + 1 < len(placed):
            body += _break(place, placed[index + 1])
    body += _labels(_spread(_wanted(placed, layout)))
    body += _notes(placed)
    body += _legend(layout)
    name = escape(printable(layout.name))
    head = f"The address space of {name}, process {layout.pid}"
    return "\n".join(
        [
            _SVG,
            f'<title id="title">{head}</title>',
            f'<desc id="desc">{_described(placed, layout)}</desc>',
            f"<style>{_STYLE}\n</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}"/>',
            f'<text class="ink head" x="40" y="46">{head}</text>',
            f'<text class="pale" x="40" y="70">{_HOW}</text>',
            *body,
            "</svg>",
            "",
        ]
    )


# ---- where things are ----


def _place(found: Sequence[Part]) -> list[_Placed]:
    """Heights by the logarithm of the sizes, so that a page and a gigabyte both can be seen; within a part by the size."""
    room = _BOTTOM - _TOP - _BREAK * (len(found) - 1)
    weights = [max(1.0, (_mapped(part) / 4096) ** 0.3 + 2 * len(part.objects) ** 0.5) for part in found]
    least = min(26.0, room / max(len(found), 1))
    spare = room - least * len(found)
    placed, top = [], float(_TOP)
    for part, weight in zip(found, weights, strict=True):
        height = least + spare * weight / sum(weights)
        gaps = sum(_THIN for item in part.items if isinstance(item, Gap))
        scale = max(height - gaps, height / 2) / _mapped(part)
        placed.append(_Placed(part, top, height, scale))
        top += height + _BREAK
    return placed


def _mapped(part: Part) -> int:
    return sum(thing.size for thing in part.objects)


def _thin(place: _Placed) -> float:
    """Height of a gap inside a part, which is not to scale."""
    gaps = sum(isinstance(item, Gap) for item in place.part.items)
    return min(_THIN, place.height / 2 / gaps) if gaps else 0.0


def _rows(place: _Placed) -> list[tuple[Object | Gap, float, float]]:
    """Each item with its upper edge and height, from the top."""
    rows, top = [], place.top
    for item in reversed(place.part.items):
        height = _thin(place) if isinstance(item, Gap) else item.size * place.scale
        rows.append((item, top, height))
        top += height
    return rows


def _height_of(address: int, thing: Object, top: float, scale: float) -> float:
    """How high an address of an object is drawn; parts without access take no room."""
    above = 0
    for region in reversed(thing.regions):
        if region.start <= address:
            return top + (above + (region.end - address if _drawn(region.kind, thing) else 0)) * scale
        above += region.size if _drawn(region.kind, thing) else 0
    return top + above * scale


def _drawn(kind: str, thing: Object) -> bool:
    return kind != "guard" or all(region.kind == "guard" for region in thing.regions)


# ---- the column ----


def _part(place: _Placed) -> list[str]:
    lines = [f"<g><title>{escape(place.part.title)}, {bytes_text(_mapped(place.part))}</title>"]
    for item, top, height in _rows(place):
        lines += _gap(item, top, height) if isinstance(item, Gap) else _object(item, top, place.scale)
    lines.append(f'<rect class="edge" x="{_LEFT}" y="{place.top:.1f}" width="{_COLUMN}" height="{place.height:.1f}"/>')
    lines.append(
        f'<text class="pale mono" x="{_LEFT - 10}" y="{place.top + 9:.1f}" text-anchor="end">{place.part.end:x}</text>'
    )
    if place.height >= 24:
        low = place.top + place.height
        lines.append(
            f'<text class="pale mono" x="{_LEFT - 10}" y="{low:.1f}" text-anchor="end">{place.part.start:x}</text>'
        )
    if place.height >= 44:
        middle = place.top + place.height / 2 + 4
        lines.append(
            f'<text class="ink part" x="{_LEFT - 10}" y="{middle:.1f}" text-anchor="end">{escape(place.part.title)}</text>'
        )
    return [*lines, "</g>"]


def _object(thing: Object, top: float, scale: float) -> list[str]:
    lines = []
    for region in reversed(thing.regions):
        if _drawn(region.kind, thing):
            height = region.size * scale
            where = f"{region.start:x}-{region.end:x} {region.perms}"
            words = f"{printable(thing.name)}: {WORDS[region.kind]}, {bytes_text(region.size)}, {where}"
            lines.append(
                f'<rect x="{_LEFT}" y="{top:.2f}" width="{_COLUMN}" height="{max(height, 0.6):.2f}" fill="{_COLOURS[region.kind]}">'
                f"<title>{escape(words)}</title></rect>"
            )
            top += height
    return lines


def _gap(gap: Gap, top: float, height: float) -> list[str]:
    words = f"{bytes_text(gap.size)} {'reserved' if gap.reserved else 'free'}"
    middle = top + height / 2
    return [
        f'<path class="rule" d="M{_LEFT} {middle:.1f}h{_COLUMN}" stroke-dasharray="2 4"><title>{words}</title></path>'
    ]


def _break(upper: _Placed, lower: _Placed) -> list[str]:
    """Between two parts: a broken line and the size of what is free."""
    size = bytes_text(upper.part.start - lower.part.end)
    top = upper.top + upper.height
    sides = [
        f'<path class="rule" stroke-dasharray="3 4" d="M{x} {top:.1f}v{_BREAK}"/>' for x in (_LEFT, _LEFT + _COLUMN)
    ]
    middle = top + _BREAK / 2 + 4
    return [
        *sides,
        f'<text class="pale" x="{_LEFT + _COLUMN / 2}" y="{middle:.1f}" text-anchor="middle">{size} free</text>',
    ]


# ---- the labels ----


def _wanted(placed: list[_Placed], layout: Layout) -> list[_Label]:
    """All landmarks, and as many names of objects as there is room for, the largest ones first."""
    marks, names = [], []
    for place in placed:
        for item, top, height in _rows(place):
            if isinstance(item, Gap):
                continue
            if height >= _SEEN or len(place.part.objects) <= 4:
                names.append(
                    (height, _Label(top + height / 2, item.start, printable(item.name), bytes_text(item.size), False))
                )
            for mark in layout.landmarks:
                if item.start <= mark.address < item.end:
                    at = _height_of(mark.address, item, top, place.scale)
                    marks.append(_Label(at, mark.address, mark.name, "", True))
    room = int((_BOTTOM - _TOP) / _LINE) - len(marks)
    names.sort(key=lambda pair: -pair[0])
    kept = [label for _, label in names[: max(room - 2, 0)]]
    return sorted([*marks, *kept], key=lambda label: (label.at, -label.address))


def _spread(labels: list[_Label]) -> list[tuple[_Label, float]]:
    """Each label with its own line, as near to what it names as the others leave room: crowds spread both ways."""
    crowds: list[tuple[float, int]] = []  # of labels on neighbouring lines: where their first one wants to be, how many
    for label in labels:
        first, count = label.at, 1
        while crowds and crowds[-1][0] + crowds[-1][1] * _LINE > first:
            other, others = crowds.pop()
            first = (other * others + (first - others * _LINE) * count) / (others + count)
            count += others
        crowds.append((first, count))
    places: list[float] = []
    for first, count in crowds:
        places += [max(first, _TOP) + index * _LINE for index in range(count)]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + _LINE)
    limit = float(_BOTTOM)
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], limit)
        limit = places[index] - _LINE
    return list(zip(labels, places, strict=True))


def _labels(placed: list[tuple[_Label, float]]) -> list[str]:
    lines, edge = [], _LEFT + _COLUMN
    for label, y in placed:
        way = f"M{edge} {label.at:.1f}H{edge + 22}L{_LABEL - 26} {y:.1f}H{_LABEL - 6}"
        lines.append(f'<path class="{"edge" if label.mark else "rule"}" d="{way}"/>')
        lines.append(f'<text class="pale mono" x="{_LABEL}" y="{y + 4:.1f}">{label.address:x}</text>')
        if label.mark:
            lines.append(f'<circle class="ink" cx="{edge}" cy="{label.at:.1f}" r="3"/>')
            lines.append(f'<text class="ink mark" x="{_NAME}" y="{y + 4:.1f}">{escape(label.text)}</text>')
        else:
            text = label.text if len(label.text) <= 26 else label.text[:25] + "…"
            lines.append(
                f'<text class="ink" x="{_NAME}" y="{y + 4:.1f}">{escape(text)} <tspan class="pale">{label.size}</tspan></text>'
            )
    return lines


_NOTES = {
    "stack": ("The first thread's stack:", "it grows down"),
    "mapped memory": (
        "Libraries, large mallocs, the vDSO,",
        "stacks of other threads:",
        "each new mapping goes below the last",
    ),
    "heap": ("Small mallocs:", "it grows up"),
    "program": ("The program as its file has it:", "code, constants, data, BSS"),
    "vsyscall": ("At the same place in every process",),
}
_ARROWS = {"stack": 1, "mapped memory": 1, "heap": -1}


def _notes(placed: list[_Placed]) -> list[str]:
    """What each part is for, beside it; an arrow shows where it grows to."""
    lines: list[str] = []
    for title, y in _note_places(placed):
        words = _NOTES[title]
        for index, text in enumerate(words):
            style = "ink" if index == 0 else "pale"
            lines.append(f'<text class="{style}" x="{_NOTE}" y="{y + 17 * index:.1f}">{text}</text>')
        if title in _ARROWS:
            way = _ARROWS[title]
            middle = y + 17 * (len(words) - 1) / 2 - 4
            arrow = f"M{_NOTE - 16} {middle - 12 * way:.1f}v{24 * way}m-5 {-6 * way}l5 {6 * way}l5 {-6 * way}"
            lines.append(f'<path class="edge" stroke-width="1.5" d="{arrow}"/>')
    return lines


def _note_places(placed: list[_Placed]) -> list[tuple[str, float]]:
    """The part and the first line of each note: in the middle of its part, or as near as the notes beside it let it be."""
    found: list[tuple[str, float]] = []
    free = float(_TOP)
    for place in sorted({place.part.title: place for place in placed}.values(), key=lambda place: place.top):
        count = len(_NOTES.get(place.part.title, ()))
        if count:
            y = max(free, place.top + place.height / 2 - 8 * count + 10)
            found.append((place.part.title, y))
            free = y + 17 * count + 8
    lowest = float(_BOTTOM)
    for index in reversed(range(len(found))):  # small parts at the bottom: what does not fit there moves up
        title, y = found[index]
        y = min(y, lowest - 17 * (len(_NOTES[title]) - 1))
        found[index] = title, y
        lowest = y - 25
    return found


def _legend(layout: Layout) -> list[str]:
    used = {region.kind for region in layout.regions} - {"guard", "vsyscall"}
    lines, x = [], 40
    for kind, colour in _COLOURS.items():
        if kind in used:
            lines.append(f'<rect x="{x}" y="686" width="13" height="13" fill="{colour}"/>')
            lines.append(f'<text class="ink" x="{x + 19}" y="697">{WORDS[kind]}</text>')
            x += round(38 + 7.6 * len(WORDS[kind]))
    return lines


def _described(placed: list[_Placed], layout: Layout) -> str:
    """The picture in words, for who cannot see it."""
    said = ["From high addresses to low ones."]
    for place in placed:
        part = place.part
        largest = sorted(part.objects, key=lambda thing: -thing.size)[:4]
        names = ", ".join(f"{printable(thing.name)} ({bytes_text(thing.size)})" for thing in largest)
        said.append(
            f"{part.title.capitalize()}: {part.start:x} to {part.end:x}, {bytes_text(_mapped(part))}, with {names}."
        )
    said += [f"{mark.name.capitalize()} lies at {mark.address:x}." for mark in layout.landmarks]
    return escape(" ".join(said + layout.order()))
