"""Check the built site offline: every link leads to a page, a file or an anchor that is there; pictures have words.

python .ci/docs.py FOLDER, where sphinx-build -b html has put the pages.  Links to other hosts are not followed, only looked
at: https, a host, no spaces.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_HOST = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}")


class Page(HTMLParser):
    """The anchors of a page, what it links to, and its pictures without words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.mute: list[str] = []
        self.words = 0
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag has."""
        have = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := have.get(key))}
        self.links += [value for key in ("href", "src") if (value := have.get(key))]
        picture = (tag == "img" and "alt" not in have) or (tag == "svg" and have.get("role") == "img")
        if picture and not have.get("aria-label"):
            self.mute.append(f"<{tag} {have}>")
        self._depth += tag == "article"

    def handle_endtag(self, tag: str) -> None:
        """Leave the text of the page."""
        self._depth -= tag == "article"

    def handle_data(self, data: str) -> None:
        """Count the words of the page itself, not those around it."""
        if self._depth:
            self.words += len(data.split())


def faults(folder: Path) -> Iterator[str]:
    """One line for each fault of the site."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}
    if not pages:
        yield f"no pages in {folder}"
    for path, page in pages.items():
        name = path.relative_to(folder)
        yield from (f"{name}: a picture without words: {tag}" for tag in page.mute)
        if page.words < 20 and path.stem not in ("search", "genindex", "py-modindex"):
            yield f"{name}: hardly a word on it"
        for link in dict.fromkeys(page.links):
            if fault := _fault(link, path, folder, pages):
                yield f"{name}: {link}: {fault}"


def _fault(link: str, path: Path, folder: Path, pages: dict[Path, Page]) -> str:
    """What is wrong with a link, or nothing."""
    parts = urlsplit(link)
    if parts.scheme in ("data", "mailto"):
        return ""
    if parts.scheme or parts.netloc:
        well_formed = parts.scheme == "https" and _HOST.fullmatch(parts.netloc) and " " not in link
        return "" if well_formed else "not a well-formed https link"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(folder) or not target.is_file():
        return "no such file"
    anchors = pages[target].anchors if target in pages else set()
    return "" if not parts.fragment or unquote(parts.fragment) in anchors else "no such anchor"


def main() -> int:
    """Print the faults; 1 if there are any."""
    folder = Path(sys.argv[1]).resolve()
    found = list(faults(folder))
    print("\n".join(found) if found else f"{len(list(folder.rglob('*.html')))} pages, their links and pictures: fine")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
