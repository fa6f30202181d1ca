"""A few shapes of SVG, enough for the pictures of these docs; docs/_static/pages.css has their colours."""

from __future__ import annotations

from html import escape


class Drawing:
    """Shapes on a canvas 720 wide; `words` is what the picture says, for who cannot see it."""

    def __init__(self, height: int, words: str) -> None:
        self._height, self._words = height, words
        self._parts: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """One line; `kind` is head, mono or pale."""
        self._parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def box(self, x: float, y: float, width: float, height: float, *lines: str, kind: str = "") -> None:
        """A box with lines in its middle, the first one as a head where there are more; `kind` is strong or open."""
        self._parts.append(f'<g class="{kind}"><rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/></g>')
        top = y + height / 2 + 5 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            style = ("head" if len(lines) > 1 else "") if number == 0 else "pale"
            self.text(x + width / 2, top + 18 * number, line, style, "middle")

    def line(self, x: float, y: float, to_x: float, to_y: float, kind: str = "") -> None:
        """A stroke; `kind` is strong or asleep."""
        self._parts.append(f'<path class="{kind}" d="M{x:g} {y:g}L{to_x:g} {to_y:g}"/>')

    def arrow(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Upright or level, with a tip at its end."""
        self.line(x, y, to_x, to_y)
        if x == to_x:
            back = -7 if to_y > y else 7
            tip = f"M{to_x:g} {to_y:g}l-4 {back}h8z"
        else:
            back = -7 if to_x > x else 7
            tip = f"M{to_x:g} {to_y:g}l{back} -4v8z"
        self._parts.append(f'<path class="tip" d="{tip}"/>')

    def __str__(self) -> str:
        words = escape(self._words)
        box = f"0 0 720 {self._height}"
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" aria-label="{words}">'
        return "\n".join([head, *self._parts, "</svg>"])
