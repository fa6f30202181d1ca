"""The configuration file: each key, and all that can be wrong, told at once with its place."""

from __future__ import annotations

import inspect
import resource
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawsys import cli, constants
from rawsys.supervisor import keys
from rawsys.supervisor.config import Config, ConfigError, load, socket_of
from rawsys.supervisor.health import Probe
from rawsys.supervisor.logs import Log
from rawsys.supervisor.restart import Restart
from rawsys.supervisor.service import ATTRIBUTES, Ready, Service
from rawsys.supervisor.supervisor import Supervisor
from rawsys.supervisor.units import seconds, size


def write(folder: Path, text: str, name: str = "rawsys.toml") -> Path:
    """A file in the folder."""
    file = folder / name
    file.write_text(dedent(text))
    return file


def read(folder: Path, text: str) -> Config:
    """The configuration of a text."""
    return load(write(folder, text))


def one(folder: Path, text: str) -> Service:
    """The service of some keys: ``command = ["true"]`` if they have none."""
    command = "" if "command" in text else 'command = ["true"]\n'
    return read(folder, f"[service.one]\n{command}{text}").services["one"]


def problems(folder: Path, text: str, name: str = "rawsys.toml") -> list[str]:
    """What is wrong with a text, each as a line with ``FILE`` for its path."""
    file = write(folder, text, name)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem).replace(str(folder) + "/", "") for problem in caught.value.problems]


# ---- every key ----

SAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "command": ('command = ["sleep", "{i}"]', {"command": ("sleep", "{i}")}),
    "shell": ('shell = true\ncommand = "a | b"', {"command": ("sh", "-c", "a | b")}),
    "instances": ("instances = 3", {"instances": 3}),
    "oneshot": ("oneshot = true", {"oneshot": True}),
    "key": ("key = true", {"key": True}),
    "watchdog": ('watchdog = "20s"', {"watchdog": 20.0}),
    "start-timeout": ('start-timeout = "never"', {"start_timeout": None}),
    "stop": ('stop = ["INT", "500ms", "KILL"]', {"stop": ((2, 0.5), (9, None))}),
    "stop-target": ('stop-target = "main"', {"stop_target": "main"}),
    "env": ('env = { PORT = 80, HOST = "::" }', {"extra_env": {"PORT": "80", "HOST": "::"}}),
    "restart": ('restart = "always"', {"restart": Restart("always")}),
    "check": ('check = { tcp = "127.0.0.1:1", every = "1s", timeout = "1s", fails = 2 }',
              {"check": Probe(tcp="127.0.0.1:1", every=1.0, timeout=1.0, fails=2)}),
    "ready": ('ready = { exec = ["true"], every = "1s", timeout = "9s" }',
              {"ready": Ready("probe", probe=Probe(exec=["true"], every=1.0)), "start_timeout": 9.0}),
}  # fmt: skip
ATTRIBUTE_SAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "user": ('user = "daemon"', {"user": "daemon"}),
    "group": ("group = 1", {"group": 1}),
    "groups": ('groups = ["daemon", 2]', {"groups": ["daemon", 2]}),
    "umask": ('umask = "027"', {"umask": 0o27}),
    "nice": ("nice = 5", {"nice": 5}),
    "affinity": ("affinity = [0]", {"affinity": [0]}),
    "rlimit": ('rlimit = { nofile = 64, core = "unlimited", as = ["1GB", "2GB"] }',
               {"rlimits": {resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CORE: None,
                            resource.RLIMIT_AS: (10**9, 2 * 10**9)}}),
    "capabilities": ('capabilities = ["net-bind-service"]',
                     {"capabilities": ([constants.CAP_NET_BIND_SERVICE], [constants.CAP_NET_BIND_SERVICE])}),
    "no-new-privs": ("no-new-privs = true", {"no_new_privs": True}),
    "oom-score-adj": ("oom-score-adj = 500", {"oom_score_adj": 500}),
    "ioprio": ("ioprio = [2, 7]", {"ioprio": (2, 7)}),
    "scheduling": ("scheduling = [3, 0]", {"scheduling": (3, 0)}),
}  # fmt: skip
LATER = ("after", "requires", "sockets", "log", "env-file", "cwd", "root", "cgroup")
"""Those that name other things; their tests are below."""


@pytest.mark.parametrize("key", SAMPLES)
def test_a_key_of_a_service(tmp_path: Path, key: str) -> None:
    """What is written is what Service gets."""
    text, wanted = SAMPLES[key]
    service = one(tmp_path, text)
    assert {name: getattr(service, name) for name in wanted} == wanted


@pytest.mark.parametrize("key", ATTRIBUTE_SAMPLES)
def test_a_key_for_the_process(tmp_path: Path, key: str) -> None:
    """What is written is what Command gets, beside the directory of the file."""
    text, wanted = ATTRIBUTE_SAMPLES[key]
    assert one(tmp_path, text).attributes == {"cwd": str(tmp_path), **wanted}


def test_there_is_a_sample_of_every_key() -> None:
    """A key that nobody tried is no key."""
    assert {*SAMPLES, *ATTRIBUTE_SAMPLES, *LATER} == {*keys.SERVICE}


def test_words_of_the_file_are_words_of_python() -> None:
    """A key is an argument of its class, with ``-`` for ``_``; the only other words are those that the issue names."""

    def arguments(of: Any) -> set[str]:
        return {name for name, p in inspect.signature(of).parameters.items() if p.kind is not p.VAR_KEYWORD}

    service = arguments(Service) | {*ATTRIBUTES}
    others = {"shell": None, "env_file": None, "env": "extra_env", "rlimits": "rlimits"}
    for known, there in (
        (keys.SERVICE, service), (keys.RESTART, arguments(Restart)), (keys.LOG, arguments(Log)),
        (keys.CHECK, arguments(Probe)), (keys.SUPERVISOR, arguments(Supervisor) | {"socket", "include"}),
    ):  # fmt: skip
        for word, key in known.items():
            if (word, key.name) != ("rlimit", "rlimits"):
                assert word.replace("-", "_") == key.name
            wanted = others.get(key.name, key.name)
            assert wanted is None or wanted in there, word
    assert arguments(Restart) == {key.name for key in keys.RESTART.values()}
    assert arguments(Log) == {key.name for key in keys.LOG.values()}
    assert arguments(Probe) - {"log"} == {key.name for key in keys.CHECK.values()}


def test_restart_as_a_table(tmp_path: Path) -> None:
    """All of its keys; a limit, a window and a time of none."""
    service = one(
        tmp_path,
        """
        [service.one.restart]
        policy = "always"
        base = "100ms"
        factor = 3
        max = "1m"
        jitter = 0
        reset = "10s"
        limit = "none"
        window = "never"
        retry-after = "never"
        delays = ["100ms", 1, "5s"]
        success-codes = [0, 3, "SIGTERM"]
        """,
    )
    assert service.restart == Restart(
        "always", base=0.1, factor=3, max=60.0, jitter=0, reset=10.0, limit=None, window=None, retry_after=None,
        delays=[0.1, 1.0, 5.0], success_codes=[0, 3, "SIGTERM"],
    )  # fmt: skip


def test_ready_in_all_its_forms(tmp_path: Path) -> None:
    """Words, a time to be alive, tables."""
    for text, wanted in (
        ('"none"', Ready("none")), ('"fd"', Ready("fd")), ('"notify"', Ready("notify")), ('"2s"', Ready("alive", seconds=2.0)),
        ("{ fd = 5 }", Ready("fd", fd=5)), ("{ notify = true }", Ready("notify")), ('{ alive = "1s" }', Ready("alive", seconds=1.0)),
        ('{ log = "up$" }', Ready("probe", probe=Probe(log="up$", every=0.2))),
        ('{ http = "http://127.0.0.1/x" }', Ready("probe", probe=Probe(http="http://127.0.0.1:80/x", every=0.2))),
    ):  # fmt: skip
        found = one(tmp_path, f"ready = {text}").ready
        if found.probe is None or found.probe.http is None:
            assert found == wanted
        else:
            assert (found.probe.address, found.probe.path, found.probe.every) == (("127.0.0.1", 80), "/x", 0.2)


def test_logs(tmp_path: Path) -> None:
    """Without a word the supervisor's own output; a path; a table, with another log for standard error."""
    assert one(tmp_path, "").log == Log()
    assert one(tmp_path, 'log = "screen"').log == Log()
    assert one(tmp_path, 'log = "logs/{i}.log"').log == Log(f"{tmp_path}/logs/{{i}}.log")
    table = 'log = { file = "a", size = "1KiB", keep = 2, prefix = "{name} ", stderr = { file = "b", size = "none" } }'
    assert one(tmp_path, table).log == Log(
        f"{tmp_path}/a", size=1024, keep=2, prefix="{name} ", stderr=Log(f"{tmp_path}/b", size=None)
    )


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the supervisor is started."""
    config = write(
        tmp_path,
        """
        supervisor.socket = "run/s"
        service.a = { command = ["true"], cwd = "sub", cgroup = "/sys/fs/cgroup/x", root = "jail" }
        service.b = { command = ["true"], sockets = ["here"] }
        socket.here = { listen = "unix:run/here" }
        """,
    )
    monkeypatch.chdir(tmp_path)
    found = load("rawsys.toml")
    assert (found.socket, socket_of("rawsys.toml"), socket_of(config)) == ("run/s", "run/s", f"{tmp_path}/run/s")
    attributes = {"cwd": f"{tmp_path}/sub", "cgroup": "/sys/fs/cgroup/x", "root": f"{tmp_path}/jail"}
    assert found.services["a"].attributes == attributes
    assert found.services["b"].attributes == {"cwd": str(tmp_path)}
    assert found.sockets == {"here": f"unix:{tmp_path}/run/here"}


def test_environment_and_its_file(tmp_path: Path) -> None:
    """The file as a shell writes it; what `env` says is stronger."""
    write(
        tmp_path,
        """
        # a comment
        export A=1
        B = "two # words"  # a comment
        C='three'
        D=four # a comment
        E=#five
        F=
        G="
        """,
        "variables",
    )
    found = one(tmp_path, 'env-file = "variables"\nenv = { C = "3" }').extra_env
    assert found == {"A": "1", "B": "two # words", "C": "3", "D": "four", "E": "#five", "F": "", "G": '"'}


def test_defaults(tmp_path: Path) -> None:
    """A service's own key replaces the default; variables come together one by one."""
    config = read(
        tmp_path,
        """
        [defaults]
        restart = "never"
        nice = 3
        env = { A = "1", B = "1" }
        [service.one]
        command = ["true"]
        nice = 4
        env = { B = "2" }
        [service.two]
        command = ["true"]
        """,
    )
    one, two = config.services.values()
    assert (one.restart.policy, one.attributes["nice"], one.extra_env) == ("never", 4, {"A": "1", "B": "2"})
    assert (two.restart.policy, two.attributes["nice"], two.extra_env) == ("never", 3, {"A": "1", "B": "1"})


def test_include(tmp_path: Path) -> None:
    """Patterns; the folder of the included file is that of its paths; the defaults of each file are its own."""
    (tmp_path / "d").mkdir()
    write(tmp_path, '[defaults]\nnice = 1\n[service.b]\ncommand = ["true"]\n[socket.s]\nlisten = "tcp::0"', "d/b.toml")
    write(tmp_path, '[service.c]\ncommand = ["true"]\nafter = ["a", "b"]\nsockets = ["s"]', "d/c.toml")
    config = read(tmp_path, 'supervisor.include = ["d/*.toml", "none/*"]\n[service.a]\ncommand = ["true"]')
    assert list(config.services) == ["a", "b", "c"]
    assert config.services["b"].attributes == {"cwd": str(tmp_path / "d"), "nice": 1}
    assert config.sockets == {"s": "tcp::0"}


def test_the_supervisor_itself(tmp_path: Path) -> None:
    """Its keys, and what holds without them."""
    told = '[supervisor]\non-death = "keep"\nexit-when = "any-failed"'
    assert read(tmp_path, "")[1:4] == (f"{tmp_path}/rawsys.sock", "kill", "never")
    assert read(tmp_path, told)[1:4] == (f"{tmp_path}/rawsys.sock", "keep", "any-failed")


# ---- what is wrong ----

WRONG = """\
[supervisor]
exit-wen = "never"
on-death = "maybe"

[service.web]
command = "gunicorn app:app"
after = ["dbb"]
restart = { policy = "always", bsae = "1s", max = "3 weeks" }
nice = "much"
env = { A = true }
sockets = ["http"]

[service.db]
comand = ["postgres"]

[service.db.rlimit]
nofiles = 3

[servic.x]

[socket.htp]
listen = "tcp:80"
"""


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """With file, line, place and the nearest right name."""
    found = problems(tmp_path, WRONG)
    assert found == [
        "rawsys.toml:2: [supervisor] exit-wen: unknown key; did you mean exit-when?",
        "rawsys.toml:3: [supervisor] on-death: one of kill, keep is needed, not 'maybe'",
        (
            'rawsys.toml:6: [service.web] command: a list is needed: ["program", "argument"]; a string only with '
            "shell = true ('gunicorn app:app')"
        ),
        "rawsys.toml:7: [service.web] after: there is no service dbb; did you mean db?",
        "rawsys.toml:8: [service.web] restart.bsae: unknown key; did you mean base?",
        (
            'rawsys.toml:8: [service.web] restart.max: \'3 weeks\' is no time: "500ms", "30s", "1h 30m"; units are '
            "ns, us, ms, s, m, min, h, d"
        ),
        "rawsys.toml:9: [service.web] nice: an integer is needed, not a string",
        "rawsys.toml:10: [service.web] env.A: a string is needed, not a boolean",
        "rawsys.toml:11: [service.web] sockets: there is no socket http; did you mean htp?",
        "rawsys.toml:14: [service.db] comand: unknown key; did you mean command?",
        "rawsys.toml:17: [service.db] rlimit.nofiles: no such limit; there are "
        + ", ".join(sorted(n[7:].lower() for n in dir(resource) if n.startswith("RLIMIT_"))),
        "rawsys.toml:19: [servic]: unknown table; did you mean service?",
        "rawsys.toml:22: [socket.htp] listen: 'tcp:80' is not tcp:HOST:PORT, udp:HOST:PORT, unix:PATH or unix-dgram:PATH",
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[service.a\n", "rawsys.toml:1: this is no TOML: Expected ']' at the end of a table declaration (at line 1, column 11)"),
        ("[service.a]\nnice = 1", '[service.a]: command is missing: command = ["sleep", "10"]'),
        ("service = 3", "rawsys.toml:1: [service]: [service] is a table, not an integer"),
        ("[service]\na = 3", "rawsys.toml:2: [service.a]: [service.a] is a table, not an integer"),
        ("[service.a]\ncommand = []", "rawsys.toml:2: [service.a] command: the list is empty"),
        ("[service.a]\ncommand = [1]", "rawsys.toml:2: [service.a] command: all of the list have to be strings"),
        ('[service.a]\ncommand = ["a"]\nshell = true', "[service.a] command: with shell = true the command is one string"),
        ('[service.a]\ncommand = ["a"]\nstop_target = "main"', "[service.a] stop_target: keys are written with '-': stop-target"),
        ('[service.a]\ncommand = ["a"]\nsandbox = {}', "[service.a] sandbox: sandboxes are not known yet"),
        ('[service.a]\ncommand = ["a"]\nschedule = "daily"', "[service.a] schedule: schedules are not known yet"),
        ("[task.a]", "rawsys.toml:1: [task]: scheduled tasks are not known yet"),
        ('[service.a]\ncommand = ["a"]\nwatchdog = 0', "[service.a]: watchdog is a number of seconds above 0, or None"),
        ('[service."a/b"]\ncommand = ["a"]', "'a/b' is no name: letters, digits and _ . @ : - make one"),
        ('[service.a]\ncommand = ["a"]\ncheck = { log = "x" }', "[service.a] check.log: unknown key"),
        ('[service.a]\ncommand = ["a"]\ncheck = { tcp = "x" }', "'x': host:port is needed"),
        ('[service.a]\ncommand = ["a"]\ncheck = { tcp = "h:1", exec = ["a"] }', "a probe has one of exec, tcp, http, log"),
        ('[service.a]\ncommand = ["a"]\nready = { log = "(" }', "log: '(' is no pattern"),
        ('[service.a]\ncommand = ["a"]\nready = "soon"', "[service.a] ready: none, fd, notify, a time to be alive, or a table"),
        ('[service.a]\ncommand = ["a"]\nenv-file = "none"', "none: No such file or directory"),
        ('[service.a]\ncommand = ["a"]\nstop = ["TERM", "KILLL"]', "[service.a] stop: 'KILLL' is no time"),
        ('[service.a]\ncommand = ["a"]\numask = "9"', "[service.a] umask: a mode such as"),
        ('[service.a]\ncommand = ["a"]\ncapabilities = ["fly"]', "[service.a] capabilities: 'fly' is no capability"),
        ('[service.a]\ncommand = ["a"]\nlog = { size = -1 }', "[service.a] log.size: a size cannot be negative: -1"),
        ("[socket.s]", "rawsys.toml:1: [socket.s]: listen is missing"),
        ('[socket.s]\nlisten = "tcp:h:99999"', "rawsys.toml:2: [socket.s] listen: 'tcp:h:99999': the port is a number up to 65535"),
        ('supervisor.include = ["none.toml"]', "rawsys.toml:1: [supervisor] include: there is no file none.toml"),
        ("supervisor.include = 3", "rawsys.toml:1: [supervisor] include: a list of paths is needed, not an integer"),
        ("supervisor = 3", "rawsys.toml:1: [supervisor]: [supervisor] is a table, not an integer"),
        ('[service.a]\ncommand = ["a"]\naffinity = []', "rawsys.toml:3: [service.a] affinity: the list is empty"),
        ('[service.a]\ncommand = ["a"]\nrlimit = { nofile = [9, 5] }', "rlimit.nofile: the soft limit comes first, and is not above"),
        ('[service.a]\ncommand = ["a"]\nrlimit = { core = ["unlimited", 5] }', "rlimit.core: the soft limit comes first"),
        ('[service.a]\ncommand = ["a"]\ninstances = 10001', "instances is a number from 0 to 10000, not 10001"),
        ('[service.a]\ncommand = ["a"]\nlog = ""', "rawsys.toml:3: [service.a] log: the path is empty"),
        ("x = " + "[" * 100_000, "this is no TOML"),
        ("[defaults]\nnise = 3", "rawsys.toml:2: [defaults] nise: unknown key; did you mean nice?"),
    ],
)  # fmt: skip
def test_a_fault_and_its_place(tmp_path: Path, text: str, wanted: str) -> None:
    """One problem, which says what would be right."""
    (found,) = problems(tmp_path, text)
    assert wanted in found


def test_a_circle(tmp_path: Path) -> None:
    """It is printed, beside what else is wrong."""
    found = problems(
        tmp_path,
        """
        service.a = { command = ["a"], after = ["c"] }
        service.b = { command = ["b"], requires = ["a"] }
        service.c = { command = ["c"], after = ["b"], nice = "x" }
        """,
    )
    assert found == [
        "rawsys.toml: services wait for each other in a circle: a -> c -> b -> a",
        "rawsys.toml:4: [service.c] nice: an integer is needed, not a string",
    ]


def test_faults_of_included_files(tmp_path: Path) -> None:
    """They are told with the name of that file, after those of the first one."""
    write(tmp_path, '[supervisor]\n[service.a]\ncommand = ["x"]\n', "more.toml")
    found = problems(tmp_path, 'service.a = { command = ["x"], nise = 1 }\nsupervisor.include = ["more.toml"]')
    assert found == [
        "rawsys.toml:1: [service.a] nise: unknown key; did you mean nice?",
        "more.toml:1: [supervisor]: only the first file says how the supervisor is; an included one has services",
        "more.toml:2: [service.a]: there is a service a already",
    ]


# ---- Procfile ----


def test_procfile(tmp_path: Path) -> None:
    """Each line is a service of the shell; .env beside it is the environment."""
    write(tmp_path, 'PORT=5000\nNAME="x y"\n', ".env")
    config = load(write(tmp_path, "# two\nweb: serve -p $PORT | tee log\n\nworker-1: work\n", "Procfile"))
    web, worker = config.services.values()
    assert (web.name, web.command) == ("web", ("sh", "-c", "serve -p $PORT | tee log"))
    assert (web.extra_env, web.restart.policy) == ({"PORT": "5000", "NAME": "x y"}, "always")
    assert (worker.name, worker.attributes) == ("worker-1", {"cwd": str(tmp_path)})
    assert config.socket == f"{tmp_path}/rawsys.sock"


def test_faults_of_a_procfile(tmp_path: Path) -> None:
    """With their lines."""
    write(tmp_path, "A B=1", ".env")
    assert problems(tmp_path, "web: a\nweb: b\nnothing\nw b: x\n", "dev.Procfile") == [
        f"dev.Procfile: {tmp_path}/.env:1: this is not NAME=value: 'A B=1'".replace(f"{tmp_path}/", ""),
        "dev.Procfile:2: there is a process web already",
        "dev.Procfile:3: this is not NAME: COMMAND: 'nothing'",
        "dev.Procfile:4: this is not NAME: COMMAND: 'w b: x'",
    ]


@pytest.mark.parametrize(("name", "line"), [("rawsys.toml", 3), ("Procfile", 3)])
def test_what_is_no_text(tmp_path: Path, name: str, line: int) -> None:
    """A problem with its line like all others, not an exception of a codec."""
    (tmp_path / name).write_bytes(b"# 1\n# 2\n# caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / name)
    (found,) = caught.value.problems
    assert (found.line, found.text) == (line, "this is no text in UTF-8: byte 0xe9")


def test_a_link_to_itself(tmp_path: Path) -> None:
    """It cannot be read, and that is all."""
    (tmp_path / "rawsys.toml").symlink_to("rawsys.toml")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        load(tmp_path / "rawsys.toml")


# ---- units ----


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(["ns", "us", "ms", "s", "m", "min", "h", "d"])), min_size=1
    )
)
def test_durations_add_up(parts: list[tuple[int, str]]) -> None:
    """Whatever parts a time is written in."""
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
    wanted = sum(number * units[unit] for number, unit in parts)
    assert seconds(" ".join(f"{number}{unit}" for number, unit in parts)) == pytest.approx(wanted)
    assert seconds("".join(f"{number} {unit}" for number, unit in parts)) == pytest.approx(wanted)


@given(st.integers(0, 10**9), st.sampled_from([("B", 1), ("kB", 1000), ("MB", 10**6), ("MiB", 2**20), ("TiB", 2**40)]))
def test_sizes_are_exact(number: int, unit: tuple[str, int]) -> None:
    """Whole numbers are never rounded, a plain one is bytes."""
    assert size(f"{number}{unit[0]}") == size(f" {number} {unit[0]} ") == number * unit[1]
    assert size(number) == size(str(number)) == number


@given(st.text(max_size=8))
def test_any_text_is_a_unit_or_a_complaint(text: str) -> None:
    """ValueError and nothing else, with the text in it; a time is a number that can be waited."""
    for read in (seconds, size):
        try:
            assert 0 <= read(text)  # type: ignore[operator]  # both take a text
        except ValueError as error:
            assert repr(text) in str(error) or "empty" in str(error)


@pytest.mark.parametrize(
    "value", [True, None, [], -1, -0.5, float("nan"), float("inf"), "1", "s", "1 s 2", "-1s", "1x"]
)
def test_no_durations(value: Any) -> None:
    """What is no time is refused."""
    with pytest.raises(ValueError):
        seconds(value)


@pytest.mark.parametrize("value", [True, None, 1.5, -1, "", "MB", "1 mb", "1XB", "-1B"])
def test_no_sizes(value: Any) -> None:
    """What is no size is refused."""
    with pytest.raises(ValueError):
        size(value)


# ---- the command ----


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 and a word when it is fine; 1 and all problems when it is not, or not there."""
    fine, wrong = write(tmp_path, 'service.a.command = ["a"]'), write(tmp_path, WRONG, "wrong.toml")
    assert cli.main(["check", str(fine)]) == 0
    assert capsys.readouterr() == (f"{fine}: fine, 1 service\n", "")
    assert cli.main(["check", str(wrong)]) == 1
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 13
    assert cli.main(["check", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    import json

    fine, wrong = write(tmp_path, 'service.a.command = ["a"]'), write(tmp_path, "[task.x]", "wrong.toml")
    assert cli.main(["check", "--json", str(fine)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["order"], found["services"]["a"]["command"]) == (True, [["a"]], "a")
    assert cli.main(["check", "--json", str(wrong)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False and found["problems"][0]["line"] == 1


def test_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The order of starts, and each service with what it did not say."""
    file = write(
        tmp_path,
        """
        [service.web]
        command = ["serve", "two words"]
        after = ["db"]
        check = { http = "http://127.0.0.1:8000/health" }
        [service.db]
        command = ["db"]
        ready = { tcp = "127.0.0.1:5432", timeout = "30s" }
        umask = "027"
        rlimit = { nofile = ["1KiB", "unlimited"], core = 0 }
        [service.job]
        command = ["job"]
        restart = "never"
        """,
    )
    assert cli.main(["check", "--explain", str(file)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for wanted in (
        "1. db, job", "2. web", "command serve 'two words'", "after db", "start-timeout 30s", "start-timeout 60s",
        "ready tcp = 127.0.0.1:5432, every = 0.2s, timeout = 3s", "umask 0o27", "restart policy = never",
        "check http = http://127.0.0.1:8000/health, every = 10s, timeout = 3s, fails = 3", "stop TERM, 10s, KILL",
        "rlimit nofile = 1024, unlimited, core = 0",
    ):  # fmt: skip
        assert wanted in lines, lines
