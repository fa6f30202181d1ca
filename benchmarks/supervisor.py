"""The supervisor against those that people use: how fast it starts, restarts and stops, what it costs, what gets lost.

Rivals are looked for in $RAWSYS_BENCH_BIN and on PATH; those that are not there are said.  Figures are those of this
machine at this moment: all sides take turns within a round, and each starts afresh for each measurement.
"""

from __future__ import annotations

import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import BEST, Contest, Figure, Missing, Reading, Rival, Setting, Sides, Topic, peer, rival
from benchmarks.supervised.floods import LOGGERS, WRITER, by_logger, by_supervisor
from benchmarks.supervised.keepers import (
    S6,
    Circus,
    Daemontools,
    Honcho,
    Keeper,
    QuickCircus,
    Rawsys,
    Runit,
    RunitLogged,
    Supervisord,
    Systemd,
    program,
)
from benchmarks.supervised.stage import Ends, Run, Stage, living, memory, processor_ms, wakeups
from rawsys.bench import loop, spread
from rawsys.supervisor import Client, NoSupervisorError

TOPIC = Topic("supervisor", "process supervisors")

Measure = Callable[[Keeper, Sequence[str]], Reading]
_ALL = (Runit, S6, Daemontools, Supervisord, Circus, Systemd)
_AGED = 1.2
"""Seconds that children have to live before one is killed: runit and daemontools wait a second after a shorter life."""


def _names(setting: Setting, full: int, quick: int) -> list[str]:
    """Names of children.  Raises Missing where there may not be so many descriptors."""
    count = setting.size(full, quick)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4 * count + 100:
        raise Missing(f"the hard limit of descriptors is below {4 * count + 100}")
    return [f"c{number}" for number in range(count)]


def _contest(
    stage: Stage,
    figures: Sequence[Figure],
    measure: Callable[[Keeper], Reading],
    names: Sequence[str],
    keepers: Sequence[type[Keeper]],
    stop_after: int = 10,
) -> Contest:
    """All supervisors with the same children, measured in the same way."""

    def side(keeper: type[Keeper]) -> Callable[[], Reading]:
        keeper(stage, names)  # Missing, if it is
        return lambda: measure(keeper(stage, names, stop_after))

    rivals = [rival(keeper.name, partial(side, keeper)) for keeper in keepers]
    return Contest(figures, side(Rawsys), rivals)


# ---- restart ----


def _restarts(keeper: Keeper, run: Run, names: Sequence[str]) -> Reading:
    """Restarts one after the other, each of another child."""
    took = []
    for name in names[: keeper.kills]:
        took.append(run.restart(name))
        time.sleep(0.02)
    return {"of one": spread(took).median, "longest": max(took)}


_RESTART = [
    Figure("of one", "ms", "<= 1", {"runit": "<= 1.0"}),
    Figure("longest", "ms", "<= 10", worst=True),
]


@TOPIC.row("restart with 200 children: SIGKILL to the new one running", patience=0.02)
def restart(setting: Setting) -> Contest:
    """No delay of our own; the rivals have theirs."""
    stage, names = Stage(setting), _names(setting, 200, 6)

    def measure(keeper: Keeper) -> Reading:
        with keeper.start() as run:
            time.sleep(_AGED)
            return _restarts(keeper, run, names)

    return _contest(stage, _RESTART, measure, names, (Runit, S6, Daemontools, Supervisord, QuickCircus, Systemd))


@TOPIC.row("restart while another child floods its log", patience=0.02)
def restart_in_flood(setting: Setting) -> Contest:
    """A writer without end takes one processor, and whoever takes its lines another."""
    stage, names = Stage(setting), _names(setting, 20, 6)
    figures = [
        Figure("of one", "ms", against={"runit, a svlogd each": "<= 1.0"}),
        Figure("longest", "ms", "<= 10", worst=True),
    ]

    def measure(keeper: Keeper) -> Reading:
        with keeper.start() as run:
            time.sleep(_AGED)
            return _restarts(keeper, run, names)

    return _contest(stage, figures, measure, [*names, WRITER], (RunitLogged, Supervisord))


# ---- start, stop ----


def _start(keeper: Keeper) -> Reading:
    with keeper.start() as run:
        return {"last child runs": (max(start.ns for start in run.starts.values()) - run.began) / 1e9}


@TOPIC.row("start 200, output captured, from exec of the supervisor", patience=0.02)
def start_200(setting: Setting) -> Contest:
    """Our interpreter and imports included; runit alone takes no output."""
    figures = [Figure("last child runs", "s", against={"runit": "<= 1.3"})]
    return _contest(Stage(setting), figures, _start, _names(setting, 200, 6), (*_ALL, RunitLogged, Honcho))


@TOPIC.row("start 1,000, output captured, from exec of the supervisor", patience=0.012)
def start_1000(setting: Setting) -> Contest:
    """The same with more."""
    figures = [Figure("last child runs", "s", against={"runit": "<= 1.1"})]
    return _contest(Stage(setting), figures, _start, _names(setting, 1000, 8), _ALL)


def _stop(keeper: Keeper) -> Reading:
    with keeper.start() as run:
        time.sleep(_AGED)
        children, all_of_it = Ends(run.children), Ends([*run.supervising(), *run.children])
        begin = time.monotonic_ns()
        keeper.begin_stop(run)
        gone = children.wait()
        return {"children gone": (gone - begin) / 1e9, "supervisor gone": (all_of_it.wait() - begin) / 1e9}


_STOP = [Figure("children gone", "s"), Figure("supervisor gone", "s", against={BEST: "<= 1.2"})]


@TOPIC.row("stop 200 children that obey", patience=0.02)
def stop_200(setting: Setting) -> Contest:
    """Until the supervisor and all its helpers are gone."""
    return _contest(Stage(setting), _STOP, _stop, _names(setting, 200, 6), (*_ALL, Honcho))


@TOPIC.row("stop 1,000 children that obey", patience=0.012)
def stop_1000(setting: Setting) -> Contest:
    """The same with more."""
    return _contest(Stage(setting), _STOP, _stop, _names(setting, 1000, 8), _ALL)


@TOPIC.row("a child that ignores SIGTERM, stop timeout 1 s", patience=0.012)
def stubborn(setting: Setting) -> Contest:
    """How much later than its time it is gone; runit and daemontools have no such time."""

    def measure(keeper: Keeper) -> Reading:
        with keeper.start() as run:
            time.sleep(_AGED)
            children = Ends(run.children)
            begin = time.monotonic_ns()
            keeper.begin_stop(run)
            return {"gone after the timeout": (children.wait() - begin) / 1e6 - 1000}

    figures = [Figure("gone after the timeout", "ms", "<= 20", worst=True)]
    return _contest(Stage(setting), figures, measure, ["stubborn"], (S6, Supervisord, Circus), stop_after=1)


# ---- what it costs ----


def _memory(keeper: Keeper) -> Reading:
    with keeper.start() as run:
        time.sleep(_AGED)
        rss, pss = memory(run.supervising())
        return {"resident, main process": memory([run.top.pid])[0], "resident, all": rss, "proportional, all": pss}


def _sizes(reach: str) -> list[Figure]:
    return [
        Figure("resident, main process", "MB", reach),
        Figure("resident, all", "MB"),
        Figure("proportional, all", "MB"),
    ]


@TOPIC.row("memory with 200 children, output captured", patience=0.002)
def memory_200(setting: Setting) -> Contest:
    """Pages that processes share count once in `proportional`; our guardian is in both sums."""
    return _contest(Stage(setting), _sizes("<= 18"), _memory, _names(setting, 200, 6), (*_ALL, RunitLogged, Honcho))


@TOPIC.row("memory with 1,000 children, output captured", patience=0.002)
def memory_1000(setting: Setting) -> Contest:
    """The same with more."""
    return _contest(Stage(setting), _sizes("<= 25"), _memory, _names(setting, 1000, 8), _ALL)


_CALL = re.compile(r"^(?:\d+ +)?(\d+\.\d+) ")


def _calls(pids: Sequence[int], seconds: float) -> int:
    """System calls that processes begin within some seconds, by strace."""
    with tempfile.NamedTemporaryFile() as file:
        command = [program("strace"), "-f", "-qq", "-ttt", "-o", file.name, *(f"-p{pid}" for pid in pids)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(1)  # attaching interrupts a wait, which is begun again: that is strace's doing
            begin = time.time()
            time.sleep(seconds)
            end = time.time()
        finally:
            trouble = _end_tracer(tracer)
        lines = Path(file.name).read_text("utf-8", "replace").splitlines()
        if not lines and trouble:
            raise Missing(f"strace: {trouble.splitlines()[0]}")
    times = [float(found[1]) for found in map(_CALL.match, lines) if found]
    return sum(begin <= when <= end for when in times)


def _end_tracer(tracer: subprocess.Popen[str]) -> str:
    """End strace and give what it said; the kernel lets go of what it traced, also where it does not obey."""
    tracer.terminate()
    try:
        return tracer.communicate(timeout=3)[1]
    except subprocess.TimeoutExpired:
        tracer.kill()
        return tracer.communicate()[1]


@TOPIC.row("idle with 200 children for 10 s", patience=0.002)
def idle(setting: Setting) -> Contest:
    """First without strace, then with it."""
    stage, names, seconds = Stage(setting), _names(setting, 200, 6), setting.size(10, 1)
    program("strace")

    def measure(keeper: Keeper) -> Reading:
        with keeper.start() as run:
            time.sleep(2 * _AGED)
            pids = run.supervising()
            before = processor_ms(pids), wakeups(pids)
            time.sleep(seconds)
            after = processor_ms(pids), wakeups(pids)
            return {
                "processor time": after[0] - before[0],
                "wake-ups": after[1] - before[1],
                "system calls": _calls(pids, seconds),
            }

    figures = [
        Figure("system calls", reach="<= 0", worst=True, compared=False),
        Figure("wake-ups", reach="<= 0", worst=True, compared=False),
        Figure("processor time", "ms", compared=False),
    ]
    return _contest(stage, figures, measure, names, (Runit, S6, Daemontools, Supervisord, Circus, QuickCircus, Systemd))


# ---- what gets lost ----


@TOPIC.row("100 MB of lines, one write a line, to rotated files", patience=0.02)
def flood(setting: Setting) -> Contest:
    """With the time before each line, but for supervisord and circus, which cannot."""
    stage, lines = Stage(setting), setting.size(1_000_000, 20_000)
    rivals = [rival(name, partial(by_logger, stage, name, lines)) for name in LOGGERS]
    for keeper in (Supervisord, Circus):
        rivals.append(rival(f"{keeper.name}, no times", partial(by_supervisor, stage, keeper, lines)))
    figures = [
        Figure("100 MB", "s", against={"s6-log": "<= 1.0"}),
        Figure("lost lines", reach="<= 0", worst=True, compared=False),
        Figure("cut lines", reach="<= 0", worst=True, compared=False),
    ]
    return Contest(figures, by_supervisor(stage, Rawsys, lines), rivals)


@TOPIC.row("the supervisor is killed: 10 children, each with one of its own", patience=0.012)
def killed(setting: Setting) -> Contest:
    """What of them lives 100 ms after SIGKILL for the supervisor's main process."""
    names = [f"family{number}" for number in range(10)]

    def measure(keeper: Keeper) -> Reading:
        with keeper.begin() as run:
            run.wait_for([*names, *(f"{name}-grandchild" for name in names)])
            time.sleep(_AGED)
            run.top.kill()
            time.sleep(0.1)
            return {"left after 100 ms": len(living(run.children))}

    figures = [Figure("left after 100 ms", reach="<= 0", worst=True, compared=False)]
    return _contest(Stage(setting), figures, measure, names, (*_ALL, Honcho))


# ---- one child ----


def _runs(stage: Stage, words: Sequence[str]) -> Reading:
    """From exec of something that starts one child, until that runs."""
    with Run(stage, [*words, str(stage.child), "c0"], stage.place()) as run:
        run.wait_for(["c0"])
        return {"it runs": (run.starts["c0"].ns - run.began) / 1e6}


@TOPIC.row("one child, from exec of the supervisor, and of init", patience=0.05)
def one(setting: Setting) -> Contest:
    """What an interpreter costs, beside the smallest of inits."""
    stage = Stage(setting)

    def under_tini() -> Callable[[], Reading]:
        tini = program("tini")
        return lambda: _runs(stage, [tini, "-s", "--"])

    def ours() -> Reading:
        with Rawsys(stage, ["c0"]).start() as run:
            return {"it runs": (run.starts["c0"].ns - run.began) / 1e6}

    becomes = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    return Contest(
        [Figure("it runs", "ms")],
        ours,
        [
            rival("tini", under_tini),
            Rival("rawsys init", lambda: _runs(stage, [sys.executable, "-m", "rawsys", "init", "--"])),
            Rival("Python that becomes the child", lambda: _runs(stage, [sys.executable, "-c", becomes])),
        ],
    )


# ---- control ----

_FLAPPING = """
[defaults]
restart = { policy = "always", base = "0ms", limit = "none" }
"""
_ECHO = """
import socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
while data := line.recv(1 << 16):
    line.sendall(data)
"""


@TOPIC.row("status of 8 services over one connection, while one of them restarts all the time")
def status(setting: Setting) -> Sides:
    """A request and its answer in JSON; beside it a Python process that gives back what it gets."""
    directory = setting.directory()
    services = [f'[service.s{number}]\ncommand = ["sleep", "{number or 0.02}000"]\n' for number in range(8)]
    (directory / "rawsys.toml").write_text(_FLAPPING + "".join(services).replace('"0.02000"', '"0.02"'), "utf-8")
    command = [sys.executable, "-m", "rawsys", "supervise", "--quiet", str(directory / "rawsys.toml")]
    running = setting.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    setting.callback(running.terminate)
    client = _client(directory / "rawsys.sock")
    setting.callback(client.close)
    ours, theirs = socket.socketpair()
    echo = subprocess.Popen([sys.executable, "-S", "-c", _ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    setting.enter_context(echo)
    setting.callback(ours.close)
    theirs.close()

    def there_and_back() -> bytes:
        ours.sendall(b'{"id": 1, "verb": "status", "names": []}\n')
        return ours.recv(1 << 16)

    return Sides(
        loop("call('status')", call=client.call),
        [peer("an echo by a Python process", loop("call()", call=there_and_back))],
    )


def _client(path: Path) -> Client:
    """A connection, as soon as the supervisor listens."""
    while True:
        try:
            return Client(str(path))
        except NoSupervisorError:
            time.sleep(0.02)
