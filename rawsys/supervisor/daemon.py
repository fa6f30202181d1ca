"""Daemon: a supervisor with a configuration file and a control socket, as ``rawsys supervise`` runs it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import suppress

from rawsys.signals import SignalFlag
from rawsys.supervisor import reload as reloading
from rawsys.supervisor.change import Notice
from rawsys.supervisor.config import Config, ConfigError, load
from rawsys.supervisor.control import Control
from rawsys.supervisor.listening import ListenSocket
from rawsys.supervisor.screen import Screen
from rawsys.supervisor.supervisor import Supervisor
from rawsys.supervisor.words import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from rawsys.events import EventLoop
    from rawsys.supervisor.change import Change
    from rawsys.supervisor.instance import Instance
    from rawsys.supervisor.reload import Plan

    Steps = Generator[Callable[[], bool], None, dict[str, Any]]


_EPOLLOUT = 4


class Daemon:
    """A `Supervisor` for a file: SIGHUP reads the file again, the control socket takes the verbs.

    Raises ConfigError; OSError when the control socket or a listening socket cannot be opened.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.supervisor = Supervisor(exit_when=config.exit_when, on_death=config.on_death, own_process=True)
        self._began = time.monotonic()
        self._background: list[tuple[Steps, Callable[[], bool]]] = []
        self._files: dict[str, tuple[int, int] | None] = {}
        try:
            for name, listen in config.sockets.items():
                self.supervisor.add_socket(ListenSocket(name, listen))
            for service in config.services.values():
                self.supervisor.add(service)
            self.control = Control(self, config.socket)
        except BaseException:
            self.supervisor.close()
            raise
        self._hangup = SignalFlag(SIGNALS["HUP"])
        self.supervisor.loop.register(self._hangup, self._hung_up)
        self.supervisor.on_event(self._told)
        self.supervisor.on_end(self._ends)

    def run(self) -> int:
        """Run until the supervisor ends; its exit code."""
        try:
            return self.supervisor.run()
        finally:
            self._hangup.close()

    def _ends(self) -> None:
        """The loop is about to end: answer those who wait for that, while it can still be used."""
        self.control.close()
        self.supervisor.loop.unregister(self._hangup)

    def describe(self) -> dict[str, object]:
        """What is known of the supervisor itself."""
        return {
            "pid": os.getpid(),
            "file": os.path.abspath(self.config.path),
            "socket": os.path.abspath(self.config.socket),
            "uptime": time.monotonic() - self._began,
        }

    # ---- reload ----

    def reload(self, dry: bool = False) -> Plan:
        """Read the file again and go over to what it says; or only tell what that would do.

        Raises ConfigError, OSError: then nothing has changed.
        """
        config = load(self.config.path)
        if dry:
            return reloading.plan(self.supervisor, config)
        done = reloading.apply(self.supervisor, config)
        # The socket and the fate of the services are those of the start: a reload does not move them.
        self.config = config._replace(socket=self.config.socket, on_death=self.config.on_death)
        self.supervisor.exit_when = config.exit_when
        return done

    def _hung_up(self, flag: SignalFlag, _: int) -> None:
        flag.clear()
        try:
            done = self.reload()
        except (ConfigError, OSError) as error:
            self.supervisor.report(Notice.now("supervisor", f"SIGHUP: nothing was changed: {error}"))
        except Exception as error:  # noqa: BLE001 - a fault of ours in reading a file must not end what runs
            sys.excepthook(type(error), error, error.__traceback__)
            self.supervisor.report(
                Notice.now("supervisor", f"SIGHUP: an internal error: {type(error).__name__}: {error}")
            )
        else:
            words = "; ".join(
                f"{key}: {', '.join(names)}" for key, names in done.as_dict().items() if names and key != "unchanged"
            )
            self.supervisor.report(Notice.now("supervisor", f"SIGHUP: {words or 'nothing has changed'}"))

    def take_up_changes(self, instances: list[Instance]) -> list[Instance]:
        """Of some instances, those whose service in the file, or whose program on disk, is another than that which runs."""
        config = load(self.config.path)
        names = {instance.service.name for instance in instances}
        changed = {
            name for name in names
            if name in config.services and self.supervisor.services[name].process_differs(config.services[name])
        }  # fmt: skip
        for name in changed:
            self.supervisor.put(config.services[name])
        return [i for i in instances if i.service.name in changed or self._program_of(i) != self._files.get(i.key)]

    def _told(self, record: Change | Notice) -> None:
        """Remember which file it was started from, and go on with what goes on in the background."""
        if not isinstance(record, Notice) and record.to == "starting":
            for instance in self.supervisor.instances.get(record.service, ()):
                if instance.number == record.instance:
                    self._files[instance.key] = self._program_of(instance)
        if self._background:
            self.supervisor.loop.call_soon(self._go_on)

    def _program_of(self, instance: Instance) -> tuple[int, int] | None:
        """What identifies the program's file: its inode, and when it was changed (nanoseconds)."""
        from shutil import which

        word = os.fsdecode(instance.service.command[0])
        found = which(word, path=str(instance.service.extra_env.get("PATH") or os.environ.get("PATH") or os.defpath))
        if found is None:
            return None
        with suppress(OSError):
            about = os.stat(found)
            return about.st_ino, about.st_mtime_ns
        return None

    # ---- verbs that nobody waits for ----

    def in_background(self, steps: Steps) -> None:
        """Let the steps of a verb go on though nobody waits for its result."""
        self._background.append((steps, lambda: True))
        self._go_on()

    def _go_on(self) -> None:
        going, self._background = self._background, []
        for steps, until in going:
            try:
                while until():
                    until = next(steps)  # noqa: PLW2901 - it is what to wait for next
            except StopIteration:
                continue
            except (OSError, ValueError, KeyError) as error:
                self.supervisor.report(Notice.now("supervisor", str(error)))
                continue
            self._background.append((steps, until))


class Teller:
    """Writes records to standard error, and waits for no reader: what one that is too slow misses is counted, and told."""

    MOST = 1000
    """Lines that wait for it."""

    def __init__(self, loop: EventLoop, words: Callable[[Change | Notice], str]) -> None:
        self._loop, self._words = loop, words
        self._screen = Screen(2)
        self._watched = False
        self._waiting = self._lost = 0

    def __call__(self, record: Change | Notice) -> None:
        """Write one, or put it behind those that wait."""
        if self._waiting >= self.MOST:
            self._lost += 1
            return
        self._put(self._words(record))

    def _put(self, line: str) -> None:
        self._screen.put(line.encode("utf-8", "replace") + b"\n")
        if self._screen.waiting:
            self._waiting += 1
            if not self._watched:
                self._watched = True
                self._loop.register(self._screen, self._ready, _EPOLLOUT)

    def _ready(self, screen: Screen, _: int) -> None:
        if not screen.flush():
            return
        self._loop.unregister(screen)
        self._watched, self._waiting = False, 0
        if self._lost:
            lost, self._lost = self._lost, 0
            self._put(
                self._words(Notice.now("supervisor", f"{lost} events are not told here: the reader was too slow"))
            )


def supervise(path: str, words: Callable[[Change | Notice], str] | None) -> int:
    """``rawsys supervise FILE``: the exit code.  Records go to standard error as `words` makes lines of them."""
    try:
        daemon = Daemon(load(path))
    except ConfigError as error:
        for problem in error.problems:
            print(f"rawsys: {problem}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"rawsys: {error}", file=sys.stderr)
        return 1
    if words is not None:
        daemon.supervisor.on_event(Teller(daemon.supervisor.loop, words))
    try:
        return daemon.run()
    except Exception:  # noqa: BLE001 - a fault of this program: the services have been ended, and whoever started it is told
        traceback.print_exc()
        return 70
