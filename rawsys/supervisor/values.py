"""Values of the configuration file: how each kind is read, and what is said of a wrong one."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rawsys.supervisor.listening import parts
from rawsys.supervisor.units import seconds, size
from rawsys.supervisor.words import near, signal_number

T = TypeVar("T")


class Place(NamedTuple):
    """Where in a file something stands."""

    file: str
    text: str
    path: tuple[str, ...]
    folder: Path

    def key(self, word: str) -> Place:
        """A key of this table."""
        return self._replace(path=(*self.path, word))

    @property
    def shown(self) -> str:
        """``[service.web] restart.base``."""
        depth = 2 if self.path[:1] in (("service",), ("socket",)) else 1
        table, rest = self.path[:depth], self.path[depth:]
        return " ".join(filter(None, (f"[{'.'.join(table)}]" if table else "", ".".join(rest))))

    def line(self) -> int:
        """The line of the key, or else of its table; 0 when neither is found: TOML has many ways to write one thing."""
        best, inside = 0, 0
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            if head := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
                table = tuple(word.strip().strip("\"'") for word in head[1].split("."))
                if _common(table, self.path) == len(self.path) > inside:  # [task.backup] where [task] is meant
                    best, inside = number, len(self.path)
            elif key := re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line):
                table_path = (*table, *(word.strip("\"'") for word in key[1].split(".")))
                depth = _common(table_path, self.path)
                if depth == len(table_path) and depth > inside:
                    best, inside = number, depth
                continue
            if table and _common(table, self.path) == len(table) and len(table) > inside:
                best, inside = number, len(table)
        return best


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


class Key(NamedTuple):
    """One key: its name in Python, and how its value is read."""

    name: str
    read: Callable[[Any, Place], Any]
    """ValueError for a value that is wrong; its `place`, where it has one, is nearer than the key's own."""
    words: str
    """What it is for, in a few words."""


class Misplaced(ValueError):
    """A ValueError that knows its places: each is nearer than the key where it was found."""

    def __init__(self, *problems: tuple[Place, str]) -> None:
        super().__init__("; ".join(text for _, text in problems))
        self.problems = problems


def kind_of(value: object) -> str:
    """What TOML calls it."""
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), f"a {type(value).__name__}")


def text(value: Any, place: Place) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"a string is needed, not {kind_of(value)}")
    return value


def boolean(value: Any, place: Place) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"true or false is needed, not {kind_of(value)}")
    return value


def whole(value: Any, place: Place) -> int:
    """An integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"an integer is needed, not {kind_of(value)}")
    return value


def number(value: Any, place: Place) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"a number is needed, not {kind_of(value)}")
    return value


def texts(value: Any, place: Place) -> list[str]:
    """A list of strings."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"a list of strings is needed, not {kind_of(value)}" if not isinstance(value, list) else
                         "all of the list have to be strings")  # fmt: skip
    return value


def duration(value: Any, place: Place) -> float:
    """A time: "500ms", "30s"."""
    return seconds(value)


def duration_or_never(value: Any, place: Place) -> float | None:
    """A time, or "never"."""
    return None if value in ("never", "none") else seconds(value)


def path(value: Any, place: Place) -> str:
    """A path, which starts from the folder of the file."""
    if "\0" in text(value, place):
        raise ValueError(f"embedded null byte in a path: {value!r}")
    return str((place.folder / value).absolute())


def relative(value: Any, place: Place) -> str:
    """A path that is joined to the folder of the file where it is used."""
    path(value, place)
    return str(value)


def one_of(*words: str) -> Callable[[Any, Place], str]:
    """One of some words."""

    def read(value: Any, place: Place) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)} is needed, not {value!r}")
        return str(value)

    return read


def name_or_number(value: Any, place: Place) -> str | int:
    """A name, or a number."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"a name or a number is needed, not {kind_of(value)}")
    return value


def names_or_numbers(value: Any, place: Place) -> list[str | int]:
    """A list of names and numbers."""
    if not isinstance(value, list):
        raise ValueError(f"a list of names or numbers is needed, not {kind_of(value)}")
    return [name_or_number(each, place) for each in value]


def wholes(value: Any, place: Place) -> list[int]:
    """A list of integers."""
    if not isinstance(value, list):
        raise ValueError(f"a list of integers is needed, not {kind_of(value)}")
    return [whole(each, place) for each in value]


def some_wholes(value: Any, place: Place) -> list[int]:
    """A list of integers, at least one."""
    if not wholes(value, place):
        raise ValueError("the list is empty")
    return list(value)


def octal(value: Any, place: Place) -> int:
    """A mode: "027" or 0o027."""
    if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{1,4}", value):
        return int(value.removeprefix("0o"), 8)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f'a mode such as "027" or 0o027 is needed, not {value!r}')


def environment(value: Any, place: Place) -> dict[str, str]:
    """A table of strings; numbers are written out."""
    if not isinstance(value, dict):
        raise ValueError(f"a table of variables is needed, not {kind_of(value)}")
    wrong = [(place.key(name), f"a string is needed, not {kind_of(each)}") for name, each in value.items()
             if isinstance(each, bool) or not isinstance(each, (str, int, float))]  # fmt: skip
    if wrong:
        raise Misplaced(*wrong)
    return {name: str(each) for name, each in value.items()}


def env_file(value: Any, place: Place) -> dict[str, str]:
    """Variables from a file: NAME=value on each line, quotes as a shell has them, `export` and comments allowed."""
    file = place.folder / text(value, place)
    found = {}
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    for line_number, written in enumerate(lines, 1):
        line = written.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, content = line.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            raise ValueError(f"{file}:{line_number}: this is not NAME=value: {line!r}")
        quoted = re.fullmatch(r"""\s*(?:"([^"]*)"|'([^']*)')\s*(?:#.*)?""", content)
        plain = re.split(r"\s#", content)[0].strip()
        found[name.strip()] = plain if quoted is None else quoted[1] or quoted[2] or ""
    return found


def limits(value: Any, place: Place) -> dict[int, int | tuple[int | None, int | None] | None]:
    """``{ nofile = 65536, core = "unlimited", as = ["1GB", "2GB"] }``."""
    if not isinstance(value, dict):
        raise ValueError(f"a table of limits is needed, not {kind_of(value)}")
    found: dict[int, Any] = {}
    wrong: list[tuple[Place, str]] = []
    for name, limit in value.items():
        constant = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if constant is None:
            known = sorted(n.removeprefix("RLIMIT_").lower() for n in dir(resource) if n.startswith("RLIMIT_"))
            wrong.append((place.key(name), f"no such limit; there are {', '.join(known)}"))
            continue
        pair = isinstance(limit, list) and len(limit) == 2
        try:
            found[constant] = tuple(map(_limit, limit)) if pair else _limit(limit)
            if pair:
                soft, hard = found[constant]
                if hard is not None and (soft is None or soft > hard):
                    raise ValueError(f"the soft limit comes first, and is not above the hard one: {limit}")
        except ValueError as error:
            wrong.append((place.key(name), str(error)))
    if wrong:
        raise Misplaced(*wrong)
    return found


def _limit(value: Any) -> int | None:
    return None if value == "unlimited" else size(value)


def capabilities(value: Any, place: Place) -> tuple[list[int] | None, list[int] | None]:
    """``{ bounding = ["net-bind-service"], ambient = [...] }``, or one list for both."""
    if isinstance(value, list):
        value = {"bounding": value, "ambient": value}
    if not isinstance(value, dict) or not set(value) <= {"bounding", "ambient"}:
        raise ValueError("a list of capabilities, or a table with bounding and ambient, is needed")
    return _capabilities(value.get("bounding"), place), _capabilities(value.get("ambient"), place)


def _capabilities(value: Any, place: Place) -> list[int] | None:
    from rawsys import constants

    if value is None:
        return None
    found = []
    for name in texts(value, place):
        word = "CAP_" + name.upper().replace("-", "_").removeprefix("CAP_")
        try:
            found.append(int(getattr(constants, word)))
        except AttributeError as error:
            raise ValueError(f"{name!r} is no capability: net-bind-service, sys-nice, ...") from error
    return found


def table(known: dict[str, Key], value: Any, place: Place, what: str) -> dict[str, Any]:
    """A table inside a service, read by its own keys."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is needed, not {kind_of(value)}")
    found: dict[str, Any] = {}
    wrong: list[tuple[Place, str]] = []
    for word, each in value.items():
        if word not in known:
            wrong.append((place.key(word), unknown(word, known)))
            continue
        try:
            found[known[word].name] = known[word].read(each, place.key(word))
        except Misplaced as error:
            wrong += error.problems
        except ValueError as error:
            wrong.append((place.key(word), str(error)))
    if wrong:
        raise Misplaced(*wrong)
    return found


def unknown(word: str, known: Iterable[str]) -> str:
    """What to say of a key that nobody knows."""
    if word.replace("_", "-") in known:
        return f"keys are written with '-': {word.replace('_', '-')}"
    return f"unknown key{near(word, known)}"


def made(place: Place, maker: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """What a class makes of values, its complaints as those about this place."""
    try:
        return maker(*args, **kwargs)
    except (TypeError, OSError) as error:
        raise Misplaced((place, str(error))) from error


def listen(value: Any, place: Place) -> str:
    """What a socket listens on; the path of a unix one starts from the folder of the file."""
    kind, where = parts(text(value, place))
    return f"{kind}:{path(where, place)}" if kind.startswith("unix") else f"{kind}:{where}"


def steps(value: Any, place: Place) -> list[str | float]:
    """Signals, and times between them: ["TERM", "10s", "KILL"]."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f'a list such as ["TERM", "10s", "KILL"] is needed, not {kind_of(value)}')
    found: list[str | float] = []
    for word in value:
        try:
            signal_number(word if isinstance(word, str) else "")
        except ValueError:
            found.append(seconds(word))
        else:
            found.append(word)
    return found


def success_codes(value: Any, place: Place) -> list[int | str]:
    """Exit codes and names of signals."""
    return names_or_numbers(value, place)


def delays(value: Any, place: Place) -> list[float]:
    """A list of times."""
    if not isinstance(value, list):
        raise ValueError(f'a list of times such as ["100ms", "1s"] is needed, not {kind_of(value)}')
    return [seconds(each) for each in value]


def limit(value: Any, place: Place) -> int | None:
    """A number of restarts, or "none"."""
    return None if value == "none" else whole(value, place)


def file_size(value: Any, place: Place) -> int | None:
    """A size, or "none"."""
    return None if value == "none" else size(value)
