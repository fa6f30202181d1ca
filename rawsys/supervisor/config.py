"""The configuration file: read whole, checked whole, before anything starts."""

from __future__ import annotations

import os
import re
import tomllib
from glob import glob
from pathlib import Path
from typing import NamedTuple

from rawsys.supervisor import keys, values
from rawsys.supervisor.order import levels
from rawsys.supervisor.service import Service
from rawsys.supervisor.values import Place
from rawsys.supervisor.words import near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

NAME = "rawsys.toml"
"""The file that is meant where none is named."""
_LATER = {"sandbox": "sandboxes", "schedule": "schedules", "task": "scheduled tasks"}
_TABLES = ("supervisor", "defaults", "service", "socket")


class Problem(NamedTuple):
    """One thing that is wrong in a file."""

    file: str
    """Its path."""
    line: int
    """The line, from 1; 0 where that is not known."""
    place: str
    """The table and key, as ``[service.web] restart.base``."""
    text: str
    """What is wrong, and what would be right."""

    def __str__(self) -> str:
        line = f":{self.line}" if self.line else ""
        return f"{self.file}{line}: {self.place + ': ' if self.place else ''}{self.text}"


class ConfigError(ValueError):
    """A configuration that cannot be used; `problems` has all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Config(NamedTuple):
    """All that a file says, and those that it includes."""

    path: str
    """The file."""
    socket: str
    """The path of the control socket."""
    on_death: str
    """"kill" or "keep"."""
    exit_when: str
    """"never", "all-done" or "any-failed"."""
    services: dict[str, Service]
    """By name, in the order of the files."""
    sockets: dict[str, str]
    """Listening sockets: what each listens on, by name."""


def load(path: str | os.PathLike[str]) -> Config:
    """Read a configuration, and check all of it: a TOML file, or a Procfile (a file of that name, or ending in it).

    Relative paths in it start from its folder, which is also where services run that do not say `cwd`.

    Raises ConfigError with every problem; OSError when the file cannot be read.
    """
    file = Path(path)
    reader = _Reader(file)
    if file.name.endswith("Procfile"):
        reader.procfile(file)
    else:
        reader.toml(file)
    return reader.config()


def socket_of(path: str | os.PathLike[str]) -> str:
    """The control socket that a configuration names, without a look at the rest of it."""
    file = Path(path)
    table: Any = {} if file.name.endswith("Procfile") else tomllib.loads(file.read_text("utf-8")).get("supervisor", {})
    name = table.get("socket") if isinstance(table, dict) else None
    return str(file.parent / (name if isinstance(name, str) else keys.SOCKET))


class _Reader:
    """Collects what files say, and what is wrong with it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._problems: list[Problem] = []
        self._supervisor: dict[str, Any] = {}
        self._services: dict[str, Service] = {}
        self._sockets: dict[str, str] = {}
        self._places: dict[str, Place] = {}
        self._named: dict[str, dict[str, Any]] = {}
        """What each service that is written down says, as far as it could be read."""
        self._listened: set[str] = set()
        self._seen: set[str] = set()

    def config(self) -> Config:
        """What was read.  ConfigError when anything was wrong."""
        self._check_names()
        if self._problems:
            raise ConfigError(
                sorted(
                    self._problems, key=lambda problem: (problem.file != str(self._file), problem.file, problem.line)
                )
            )
        folder, told = self._file.parent, self._supervisor
        return Config(
            str(self._file), str(folder / told.get("socket", keys.SOCKET)), told.get("on_death", "kill"),
            told.get("exit_when", "never"), self._services, self._sockets,
        )  # fmt: skip

    def _check_names(self) -> None:
        """Services and sockets that others name have to be there, and nobody waits in a circle.

        What has other faults is looked at too, so that all is told at once.
        """
        for name, named in self._named.items():
            for key, there in (("after", self._named), ("requires", self._named), ("sockets", self._listened)):
                for one in named.get(key) or ():
                    if one not in there:
                        what = "socket" if key == "sockets" else "service"
                        self._wrong(self._places[name].key(key), f"there is no {what} {one}{near(one, there)}")
        try:
            levels(
                {
                    name: [*(named.get("after") or ()), *(named.get("requires") or ())]
                    for name, named in self._named.items()
                }
            )
        except ValueError as error:
            self._problems.append(Problem(str(self._file), 0, "", str(error)))

    def _wrong(self, place: Place, text: str) -> None:
        self._problems.append(Problem(place.file, place.line(), place.shown, text))

    def _text(self, file: Path) -> str | None:
        """What a file says; None, and a problem, for what is no text."""
        data = file.read_bytes()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            what = f"this is no text in UTF-8: byte 0x{data[error.start]:02x}"
            self._problems.append(Problem(str(file), line, "", what))
            return None

    # ---- TOML ----

    def toml(self, file: Path, included: bool = False) -> None:
        """Read one file and those that it includes."""
        real = os.path.realpath(file)  # not Path.resolve, which raises RuntimeError for a link to itself
        if real in self._seen:
            return
        self._seen.add(real)
        text = self._text(file)
        if text is None:
            return
        top = Place(str(file), text, (), file.parent)
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            last = len(text.splitlines())  # "at end of document"
            self._problems.append(Problem(str(file), int(line[1]) if line else last, "", f"this is no TOML: {error}"))
            return
        except RecursionError:
            self._problems.append(Problem(str(file), 0, "", "this is no TOML: too many brackets in brackets"))
            return
        for name in data:
            if name not in _TABLES:
                self._unknown(top.key(name), name, _TABLES, table=True)
        defaults = self._table(top, data, "defaults")
        if "supervisor" in data and included:
            self._wrong(
                top.key("supervisor"), "only the first file says how the supervisor is; an included one has services"
            )
        told = self._table(top, data, "supervisor")
        includes = told.pop("include", []) if isinstance(told, dict) else []
        if not included:
            self._supervisor = self._values(top.key("supervisor"), told, keys.SUPERVISOR)
        self._read_services(top, data, defaults)
        self._read_sockets(top, data)
        self._include(file, top.key("supervisor").key("include"), includes)

    def _table(self, place: Place, data: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = data.get(name, {})
        if isinstance(value, dict):
            return dict(value)
        self._wrong(place.key(name), f"[{name}] is a table, not {values.kind_of(value)}")
        return {}

    def _include(self, file: Path, place: Place, patterns: object) -> None:
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            self._wrong(place, f"a list of paths is needed, not {values.kind_of(patterns)}")
            return
        for pattern in patterns:
            found = sorted(glob(str(file.parent / pattern)))
            if not found and not set(pattern) & set("*?["):
                self._wrong(place, f"there is no file {pattern}")
            for path in found:
                self.toml(Path(path), included=True)

    def _read_services(self, top: Place, data: Mapping[str, Any], defaults: dict[str, Any]) -> None:
        common = self._values(top.key("defaults"), defaults, keys.SERVICE)
        for name, table in self._table(top, data, "service").items():
            place = top.key("service").key(name)
            if name in self._named:
                self._wrong(place, f"there is a service {name} already")
            elif not isinstance(table, dict):
                self._wrong(place, f"[service.{name}] is a table, not {values.kind_of(table)}")
            else:
                own = self._values(place, table, keys.SERVICE)
                if "env" in common and "env" in own:  # variable by variable: all other keys replace the default whole
                    own["env"] = {**common["env"], **own["env"]}
                self._read_service(name, place, {**common, **own})

    def _read_service(self, name: str, place: Place, given: dict[str, Any]) -> None:
        before = len(self._problems)
        self._named[name], self._places[name] = given, place
        given = keys.assembled(place, given, self._wrong)
        if len(self._problems) > before or any(problem.place.startswith(place.shown) for problem in self._problems):
            return
        command = given.pop("command", None)
        if command is None:
            self._wrong(place, 'command is missing: command = ["sleep", "10"]')
            return
        try:
            self._services[name] = Service(name, command, **given)
        except (TypeError, ValueError, OSError, LookupError) as error:
            self._wrong(place, str(error).removeprefix(f"service {name}: "))

    def _read_sockets(self, top: Place, data: Mapping[str, Any]) -> None:
        for name, table in self._table(top, data, "socket").items():
            place = top.key("socket").key(name)
            if not isinstance(table, dict):
                self._wrong(place, f"[socket.{name}] is a table, not {values.kind_of(table)}")
                continue
            told = self._values(place, table, keys.SOCKET_TABLE)
            self._listened.add(name)
            if "listen" in told:
                self._sockets[name] = told["listen"]
            elif "listen" not in table:
                self._wrong(place, 'listen is missing: listen = "tcp:127.0.0.1:8080"')

    def _values(self, place: Place, table: Mapping[str, Any], known: Mapping[str, values.Key]) -> dict[str, Any]:
        """The values of a table, by the names that Python knows them by."""
        found: dict[str, Any] = {}
        for word, value in table.items():
            key = known.get(word)
            if key is None:
                self._unknown(place.key(word), word, known)
                continue
            try:
                found[key.name] = key.read(value, place.key(word))
            except values.Misplaced as error:
                for where, text in error.problems:
                    self._wrong(where, text)
            except ValueError as error:
                self._wrong(place.key(word), str(error))
        return found

    def _unknown(self, place: Place, word: str, known: Iterable[str], table: bool = False) -> None:
        if word in _LATER:
            self._wrong(place, f"{_LATER[word]} are not known yet; this version of rawsys has none")
        else:
            self._wrong(place, f"unknown table{near(word, known)}" if table else values.unknown(word, known))

    # ---- Procfile ----

    def procfile(self, file: Path) -> None:
        """``name: command for the shell`` on each line; a file .env beside it is their environment."""
        text = self._text(file)
        if text is None:
            return
        top = Place(str(file), text, (), file.parent)
        env = {}
        if (file.parent / ".env").exists():
            try:
                env = values.env_file(".env", top)
            except ValueError as error:
                self._wrong(top, str(error))
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, colon, command = (part.strip() for part in line.partition(":"))
            if not colon or not command or not re.fullmatch(r"[\w-]+", name):
                self._problems.append(Problem(str(file), number, "", f"this is not NAME: COMMAND: {line.strip()!r}"))
            elif name in self._services:
                self._problems.append(Problem(str(file), number, "", f"there is a process {name} already"))
            else:
                self._services[name] = Service(
                    name,
                    ["sh", "-c", command],
                    cwd=os.path.realpath(file.parent),
                    extra_env=env,
                    restart="always",
                    log=keys.screen(),
                )
