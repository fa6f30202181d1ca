"""The same three services under `rawsys.supervisor`, and its end by SIGKILL.  Run: python examples/7b_real_supervisor.py."""

from __future__ import annotations

import os
import select
import sys

from rawsys import PIPE, Command, Pid
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
        grandchild = Pid.open(int(supervisor.stdout.read(100)))
        print(f"a supervisor runs, its service has started a process of its own: {grandchild.is_running()}")
        supervisor.kill()
        select.select([grandchild], [], [], 10)
        print(f"the supervisor {supervisor.wait()}; that process runs: {grandchild.is_running()}")
        grandchild.close()


def a_parent() -> None:
    """A supervisor with a service that starts something itself."""
    supervisor = Supervisor()
    supervisor.add(Service("parent", ["sh", "-c", "sleep 60 & echo $!; wait"]))
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
