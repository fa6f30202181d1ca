"""The same three services under `rawsys.supervisor`, and its end by SIGKILL.  Run: python examples/7b_real_supervisor.py."""

from __future__ import annotations

import os
import select
import sys

from rawsys import PIPE, Command, Pid, proc
from rawsys.constants import SIGTERM
from rawsys.supervisor import Change, Notice, Restart, Service, Supervisor


def three_services() -> None:
    """One works, one crashes, one does not listen; when the second has failed, somebody sends SIGTERM."""
    twice = Restart("always", base=0.05, limit=2, window=None, retry_after=None)
    supervisor = Supervisor()
    supervisor.add(Service("worker", ["sleep", "60"]))
    supervisor.add(Service("crasher", ["sh", "-c", "exit 3"], restart=twice))
    supervisor.add(Service("stubborn", ["sleep", "60"], signal_mask=[SIGTERM], stop=["TERM", 0.5, "KILL"]))

    def tell(record: Change | Notice) -> None:
        if isinstance(record, Change):
            print(f"{record.name}: {record.from_} -> {record.to}: {record.reason}")
            if (record.name, record.to) == ("crasher", "failed"):
                os.kill(os.getpid(), SIGTERM)

    supervisor.on_event(tell)
    print(f"run() gives {supervisor.run()}")


def killed() -> None:
    """A supervisor that is killed can do nothing any more; yet nothing of what it started is left."""
    with Command(sys.executable, __file__, "parent", stdout=PIPE).spawn() as supervisor:
        assert supervisor.stdout is not None
        with supervisor.stdout.open_file() as lines:
            service, inside = (Pid.open(int(number)) for number in lines.readline().split())
        with service, inside:
            print(f"a service runs: {service.is_running()}, and what it has started: {inside.is_running()}")
            supervisor.kill()
            for process in (service, inside):
                select.select([process], [], [], 10)
            print(f"the supervisor {supervisor.wait()}: {service.is_running()}, {inside.is_running()}")


def a_parent() -> None:
    """A supervisor with a service that starts something itself, and says so on descriptor 3; then it tells both numbers."""

    def tell(record: Change | Notice) -> None:
        if isinstance(record, Change) and record.to == "running":
            print(record.pid, proc.Process(record.pid).children()[0].pid, flush=True)

    supervisor = Supervisor()
    supervisor.add(Service("parent", ["sh", "-c", "sleep 60 & echo >&3; wait"], ready="fd"))
    supervisor.on_event(tell)
    supervisor.run()


def main() -> None:
    """Print both."""
    if sys.argv[1:]:
        a_parent()
        return
    three_services()
    print()
    killed()


if __name__ == "__main__":
    main()
