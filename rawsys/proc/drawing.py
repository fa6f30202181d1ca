"""An address space in the terminal."""

from __future__ import annotations

from rawsys.proc.parts import Gap, Object, Part, bytes_text, parts, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.proc.landmarks import Landmark, Layout

_LETTERS = {
    "text": ("T", 34, "code"), "rodata": ("R", 36, "constants"), "data": ("D", 33, "data"), "bss": ("B", 93, "BSS"),
    "heap": ("H", 32, "heap"), "anon": ("A", 92, "anonymous"), "stack": ("S", 31, "stack"), "thread_stack": ("s", 91, "thread's stack"),
    "file": ("F", 96, "file"), "shared": ("M", 35, "shared"), "vdso": ("K", 90, "kernel's"), "vvar": ("K", 90, "kernel's"),
    "vsyscall": ("K", 90, "kernel's"), "guard": (" ", 0, ""),
}  # fmt: skip
_LONG, _KEPT = 14, 10
_ADDRESS = 16


class _Pen:
    """Writes lines of at most a width; colours do not count."""

    def __init__(self, width: int, colour: bool) -> None:
        self.width = max(width, 60)
        self.bar = max(16, min(40, self.width - 52))
        self.colour = colour
        self.lines: list[str] = []

    def paint(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text.strip() else text

    def row(self, address: str, middle: str, size: str, name: str, code: int = 0) -> None:
        """`middle` may be painted and is as wide as the bar."""
        room = self.width - _ADDRESS - self.bar - 14
        name = name if len(name) <= room else name[: room - 1] + "…"
        self.lines.append(f"{address:>{_ADDRESS}}  {middle}  {size:>8}  {self.paint(name, code)}".rstrip())


def draw(layout: Layout, width: int, *, colour: bool, whole: bool) -> str:
    """See `Layout.draw`."""
    pen = _Pen(width, colour)
    found = parts(layout.regions)
    title = f"The address space of {printable(layout.name)}, process {layout.pid}; high addresses first"
    pen.lines.append(pen.paint(title if len(title) <= pen.width else title[: pen.width - 1] + "…", 1))
    for index, part in enumerate(found):
        _part(pen, part, layout.landmarks, whole)
        if index + 1 < len(found):
            gap = part.start - found[index + 1].end
            pen.lines.append("")
            pen.lines.append(f"{'':{_ADDRESS}}  ⋮  {bytes_text(gap)} free")
            pen.lines.append("")
    pen.lines += ["", *_legend(pen, layout)]
    return "\n".join(pen.lines)


def _legend(pen: _Pen, layout: Layout) -> list[str]:
    used = {region.kind for region in layout.regions}
    shown = dict.fromkeys(
        (letter, code, words) for kind, (letter, code, words) in _LETTERS.items() if kind in used and words
    )
    lines, line, length = [], "", 0
    for letter, code, words in shown:
        if length + len(words) + 4 > pen.width:
            lines.append(line)
            line, length = "", 0
        line += f"{pen.paint(letter, code)} {words}  "
        length += len(words) + 4
    return [*lines, line.rstrip()]


def _unit(part: Part, room: int) -> int:
    """Bytes that a letter stands for: a power of two, so that the largest object fits."""
    unit = 4096
    while max(thing.size for thing in part.objects) > unit * room:
        unit *= 2
    return unit


def _part(pen: _Pen, part: Part, landmarks: tuple[Landmark, ...], whole: bool) -> None:
    unit = _unit(part, pen.bar)
    total = sum(thing.size for thing in part.objects)
    title = f"── {part.title}: {bytes_text(total)}, one letter is {bytes_text(unit)} "
    pen.lines.append(pen.paint(title + "─" * (pen.width - len(title)), 1))
    pen.row(f"{part.end:x}", " " * pen.bar, "", "")
    for shown in _shown(part, landmarks, whole):
        if isinstance(shown, list):
            size = sum(thing.size for thing in shown if isinstance(thing, Object))
            count = sum(isinstance(thing, Object) for thing in shown)
            pen.row("", f"{'…':<{pen.bar}}", bytes_text(size), f"{count} more", 90)
        elif isinstance(shown, Gap):
            words = "reserved" if shown.reserved else "free"
            pen.row("", f"{'·':<{pen.bar}}", bytes_text(shown.size), words, 90)
        else:
            _object(pen, shown, unit, landmarks)


def _object(pen: _Pen, thing: Object, unit: int, landmarks: tuple[Landmark, ...]) -> None:
    """A row, and one above it for each landmark inside."""
    marks = sorted((m for m in landmarks if thing.start <= m.address < thing.end), key=lambda m: -m.address)
    for mark in marks:
        pen.lines.append(f"{mark.address:>{_ADDRESS}x}  {pen.paint(f'◄ {mark.name}', 1)}")
    pen.row(f"{thing.start:x}", _bar(pen, thing, unit), bytes_text(thing.size), printable(thing.name))


def _bar(pen: _Pen, thing: Object, unit: int) -> str:
    """The regions of an object, each with its share of the letters."""
    letters = min(pen.bar, max(1, round(thing.size / unit)))
    bar, used, seen = "", 0, 0
    regions = [region for region in thing.regions if region.kind != "guard" or len(thing.regions) == 1]
    for region in regions:
        seen += region.size
        count = min(letters, round(seen * letters / thing.size)) - used
        letter, code, _ = _LETTERS[region.kind]
        bar += pen.paint(letter * count, code)
        used += max(count, 0)
    return bar + " " * (pen.bar - used)


def _shown(part: Part, landmarks: tuple[Landmark, ...], whole: bool) -> list[Object | Gap | list[Object | Gap]]:
    """From high to low; in a long part the small objects that follow each other become one list."""
    items = part.items[::-1]
    if whole or len(part.objects) <= _LONG:
        return [item for item in items if isinstance(item, Object) or item.size >= 1 << 16]
    large = set(sorted(part.objects, key=lambda thing: -thing.size)[:_KEPT])
    shown: list[Object | Gap | list[Object | Gap]] = []
    for item in items:
        if isinstance(item, Object):
            kept = item in large or any(item.start <= mark.address < item.end for mark in landmarks)
        else:
            kept = item.size >= 1 << 20
        if kept:
            shown.append(item)
        elif shown and isinstance(shown[-1], list):
            shown[-1].append(item)
        elif isinstance(item, Object):
            shown.append([item])
    return shown
