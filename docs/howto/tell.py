"""tell: run a command, pass signals on, and say what it cost."""

import selectors
import sys

from rawsys import Command
from rawsys.signals import SignalQueue


def main(argv: list[str]) -> int:
    """Run it; the exit status is its own."""
    wanted = ("SIGINT", "SIGTERM", "SIGHUP")
    with SignalQueue(*wanted) as signals, selectors.DefaultSelector() as ready:
        try:
            child = Command(*argv).spawn()
        except OSError as error:
            print(f"tell: {error}", file=sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        ready.register(child, selectors.EVENT_READ)
        ready.register(signals, selectors.EVENT_READ)
        while child.is_running():
            ready.select()
            for info in signals:
                child.send_signal(info.signal)
        status = child.wait()
    usage = status.rusage
    print(f"{argv[0]} {status}, {usage.max_rss // 1024} KiB", file=sys.stderr)
    return 128 + status.signal if status.signal else status.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
