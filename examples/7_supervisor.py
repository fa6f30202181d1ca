"""A supervisor from Command, Pid, SignalFlag and poll, in a hundred lines.  Run: python examples/7_supervisor.py."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

from rawsys import Child, Command
from rawsys.constants import SIGINT, SIGKILL, SIGTERM
from rawsys.signals import SignalFlag


@dataclass
class Service:
    """What is to run, and what has become of it."""

    name: str
    command: Command
    restarts: int = 3  # how many are left
    delay: float = 0.05  # seconds before the next one; doubled each time
    child: Child | None = None
    start_at: float | None = 0  # on the monotonic clock; None: not again
    kill_at: float | None = None


class Supervisor:
    """Keeps services running until a signal comes, then ends them."""

    def __init__(self, *services: Service, grace: float = 0.5, tell: Callable[[str, str], None]) -> None:
        self.services = services
        self.grace = grace
        self.tell = tell
        self.stopping = False

    def start(self, service: Service) -> None:
        """A group of its own, so that all of it can be ended; and nothing of it survives us."""
        service.start_at = None
        command = service.command.replace(process_group=0, parent_death_signal=SIGKILL)
        try:
            service.child = command.spawn()
        except OSError as error:
            self.tell(service.name, f"cannot start: {error}")
        else:
            self.tell(service.name, f"started as {service.child.pid}")

    def ended(self, service: Service, child: Child) -> None:
        """The child is gone: end the rest of its group while the number is still ours, then reap it and plan the next."""
        child.send_signal(SIGKILL, group=True)
        self.tell(service.name, f"{child.pid} {child.wait()}")
        service.child = service.kill_at = None
        if self.stopping:
            return
        if service.restarts == 0:
            self.tell(service.name, "given up")
            return
        service.restarts -= 1
        service.start_at = time.monotonic() + service.delay
        service.delay *= 2

    def stop(self) -> None:
        """Ask all to end; who does not is killed when its grace is over."""
        self.stopping = True
        for service in self.services:
            service.start_at = None
            if service.child is not None:
                self.tell(service.name, "asked to end")
                service.child.send_signal(SIGTERM, group=True)
                service.kill_at = time.monotonic() + self.grace

    def do_what_is_due(self) -> None:
        """Start and kill what is to be started and killed by now."""
        now = time.monotonic()
        for service in self.services:
            if service.start_at is not None and service.start_at <= now:
                self.start(service)
            if service.child is not None and service.kill_at is not None and service.kill_at <= now:
                service.child.send_signal(SIGKILL, group=True)
                service.kill_at = None

    def wait(self, stop: SignalFlag) -> None:
        """Sleep until a child ends, a signal comes or something is due: never longer, never in between."""
        poll = select.poll()
        running = {service.child.fileno(): service for service in self.services if service.child is not None}
        for number in [*running, *([] if self.stopping else [stop.fileno()])]:
            poll.register(number, select.POLLIN)
        due = [at for service in self.services for at in (service.start_at, service.kill_at) if at is not None]
        left = max(min(due) - time.monotonic(), 0) * 1000 + 1 if due else None
        for number, _ in poll.poll(left):
            if number == stop.fileno():
                self.stop()
            elif (child := running[number].child) is not None:
                self.ended(running[number], child)

    def run(self) -> None:
        """Until SIGTERM or SIGINT, or until nothing runs and nothing is to come."""
        with SignalFlag(SIGTERM, SIGINT) as stop:
            while any(service.child is not None or service.start_at is not None for service in self.services):
                self.do_what_is_due()
                self.wait(stop)


def main() -> None:
    """One service works, one crashes, one does not listen; when the second is given up, somebody sends SIGTERM."""

    def tell(name: str, what: str) -> None:
        print(f"{name}: {what}")
        if (name, what) == ("crasher", "given up"):
            os.kill(os.getpid(), SIGTERM)

    Supervisor(
        Service("worker", Command("sleep", "60")),
        Service("crasher", Command("sh", "-c", "exit 3"), restarts=2),
        Service("stubborn", Command("sleep", "60", signal_mask=[SIGTERM])),
        tell=tell,
    ).run()


if __name__ == "__main__":
    main()
