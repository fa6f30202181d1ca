"""The supervisors: how each is configured, started and asked to stop.  All get the smallest delay that they offer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Missing
from benchmarks.supervised.stage import Run, Stage

OURS = """\
import sys
from rawsys.supervisor import Log, Restart, Service, Supervisor

supervisor = Supervisor()
for name in sys.argv[1:]:
    supervisor.add(Service(
        name, [{child!r}, name], stop=["TERM", {stop_after}, "KILL"],
        restart=Restart("always", base=0, jitter=0, limit=None), log=Log(name + ".log", size=10_000_000, keep=20, prefix="{{time}} "),
    ))
sys.exit(supervisor.run())
"""


def program(name: str) -> str:
    """A program in $RAWSYS_BENCH_BIN or on PATH.  Raises Missing."""
    path = os.pathsep.join(filter(None, [os.environ.get("RAWSYS_BENCH_BIN"), os.environ.get("PATH")]))
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is neither on PATH nor in RAWSYS_BENCH_BIN")
    return found


class Keeper:
    """A supervisor; a subclass for each.

    `kills`: how many restarts of it are measured in a round: fewer for those that wait for a second before each.
    """

    name = ""
    programs: Sequence[str] = ()
    kills = 20

    def __init__(self, stage: Stage, names: Sequence[str], stop_after: int = 10) -> None:
        self.stage, self.names, self.stop_after = stage, names, stop_after
        self.found = {name: program(name) for name in self.programs}
        self.place = stage.place()

    def command(self) -> list[str]:
        """Write what it reads; gives the command that starts it."""
        raise NotImplementedError

    def begin(self, lines: int = 0) -> Run:
        """Start it, and wait for nothing."""
        return Run(self.stage, self.command(), self.place, lines)

    def start(self, lines: int = 0) -> Run:
        """Start it, until all children run."""
        run = self.begin(lines)
        try:
            run.wait_for(self.names)
        except BaseException:
            run.close()
            raise
        return run

    def begin_stop(self, run: Run) -> None:
        """Ask it to stop with all its children."""
        run.top.send_signal(signal.SIGTERM)


class Rawsys(Keeper):
    """Ours: a script with nothing but the public interface, run by this interpreter."""

    name = "rawsys"

    def command(self) -> list[str]:
        script = self.place / "supervise.py"
        script.write_text(OURS.format(child=str(self.stage.child), stop_after=self.stop_after), "utf-8")
        return [sys.executable, str(script), *self.names]


class Scanned(Keeper):
    """Those that have a directory for each service, in a directory that is scanned, and a process each to supervise it."""

    logger = ""
    """A shell command that takes the output of each service; nothing: it goes nowhere."""

    def write_services(self) -> Path:
        """Make the directories."""
        scanned = self.place / "service"
        for name in self.names:
            directory = scanned / name
            directory.mkdir(parents=True, exist_ok=True)
            os.link(self.stage.child, directory / "run")  # the child itself: no shell before it
            if self.logger:
                (directory / "log" / "main").mkdir(parents=True)
                log = directory / "log" / "run"
                log.write_text(f"#!/bin/sh\nexec {self.logger}\n", "utf-8")
                log.chmod(0o755)
        os.utime(scanned, (0, 0))  # runsvdir waits until a directory has not been changed for a second
        return scanned


class Runit(Scanned):
    """runsvdir."""

    name = "runit"
    programs: Sequence[str] = ("runsvdir", "runsv")

    def command(self) -> list[str]:
        return [self.found["runsvdir"], "-P", str(self.write_services())]

    def begin_stop(self, run: Run) -> None:
        run.top.send_signal(signal.SIGHUP)  # on SIGTERM it would leave all runsv


class RunitLogged(Runit):
    """runsvdir with a svlogd for each service."""

    name = "runit, a svlogd each"
    programs = ("runsvdir", "runsv", "svlogd")
    logger = "svlogd -tt ./main"


class S6(Scanned):
    """s6-svscan."""

    name = "s6"
    programs = ("s6-svscan", "s6-supervise")
    kills = 3

    def command(self) -> list[str]:
        scanned = self.write_services()
        for name in self.names:
            (scanned / name / "timeout-kill").write_text(f"{self.stop_after * 1000}\n", "utf-8")
        return [self.found["s6-svscan"], "-c", "2500", str(scanned)]


class Daemontools(Scanned):
    """svscan; it has no stop of its own, so all services are asked by svc."""

    name = "daemontools"
    programs = ("svscan", "supervise", "svc")

    def command(self) -> list[str]:
        return [self.found["svscan"], str(self.write_services())]

    def begin_stop(self, run: Run) -> None:
        run.top.kill()
        services = [str(self.place / "service" / name) for name in self.names]
        subprocess.run([self.found["svc"], "-dx", *services], check=True)


class Supervisord(Keeper):
    """supervisord, a section for each service."""

    name = "supervisord"
    programs = ("supervisord",)
    kills = 3

    def command(self) -> list[str]:
        file = self.place / "supervisord.conf"
        lines = ["[supervisord]", "nodaemon=true", "minfds=4096", f"logfile={self.place}/supervisord.log",
                 f"pidfile={self.place}/pid", f"childlogdir={self.place}"]  # fmt: skip
        for name in self.names:
            lines += [f"[program:{name}]", f"command={self.stage.child} {name}", "startsecs=0", "autorestart=true",
                      f"stdout_logfile={self.place}/{name}.log", "stdout_logfile_maxbytes=10MB",
                      "stdout_logfile_backups=20", "redirect_stderr=true", f"stopwaitsecs={self.stop_after}"]  # fmt: skip
        file.write_text("\n".join(lines) + "\n", "utf-8")
        return [self.found["supervisord"], "-c", str(file)]


class Circus(Keeper):
    """circusd as it comes: it looks for ended children every five seconds, so a restart is not worth waiting for."""

    name = "circus"
    programs = ("circusd",)
    delay = 5.0
    kills = 1

    def command(self) -> list[str]:
        file = self.place / "circus.ini"
        lines = ["[circus]", f"check_delay={self.delay:g}", f"endpoint=ipc://{self.place}/endpoint",
                 f"pubsub_endpoint=ipc://{self.place}/pubsub", "statsd=False"]  # fmt: skip
        for name in self.names:
            lines += [f"[watcher:{name}]", f"cmd={self.stage.child}", f"args={name}", "copy_env=True", "warmup_delay=0",
                      f"graceful_timeout={self.stop_after}", "stdout_stream.class=FileStream",
                      f"stdout_stream.filename={self.place}/{name}.log", "stdout_stream.max_bytes=10000000",
                      "stdout_stream.backup_count=20"]  # fmt: skip
        file.write_text("\n".join(lines) + "\n", "utf-8")
        return [self.found["circusd"], str(file)]


class QuickCircus(Circus):
    """circusd that looks ten times a second."""

    name = "circus, check_delay 0.1"
    delay = 0.1
    kills = 10


class Honcho(Keeper):
    """honcho, which starts and stops, and restarts nothing."""

    name = "honcho"
    programs = ("honcho",)

    def command(self) -> list[str]:
        lines = [f"{name}: exec {self.stage.child} {name}\n" for name in self.names]
        (self.place / "Procfile").write_text("".join(lines), "utf-8")
        return [self.found["honcho"], "start"]


class Systemd(Keeper):
    """Not measured: said, so that nobody looks for it in vain."""

    name = "systemd"

    def __init__(self, stage: Stage, names: Sequence[str], stop_after: int = 10) -> None:
        raise Missing("it supervises as process 1 only, of the machine or of a namespace that is made for it")
