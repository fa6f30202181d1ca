"""``rawsys init -- PROGRAM``, and `supervise`, as the first process of a PID namespace and as any other."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from controlling import SECONDS, on_a_terminal, shown, supervising
from support import INTERPRETER, need, need_root, readable

from rawsys.supervisor.init import FORWARDED

INIT = [INTERPRETER, "-W", "error", "-m", "rawsys", "init"]
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def run(*words: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """``rawsys init WORDS`` as it ended."""
    return subprocess.run([*before, *INIT, *words], capture_output=True, text=True, timeout=SECONDS, check=False)


@contextmanager
def running(*words: str, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """``rawsys init WORDS`` while it runs: its program has said its first line."""
    with subprocess.Popen([*before, *INIT, *words], stdout=subprocess.PIPE) as process:
        try:
            assert said(process) == "ready"
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[bytes]) -> str:
    """The next line of the program."""
    assert process.stdout is not None
    text = b""
    while not text.endswith(b"\n"):
        assert readable(process.stdout.fileno(), SECONDS), text
        part = os.read(process.stdout.fileno(), 1)
        if not part:
            break
        text += part
    return text.decode().rstrip("\n")


# ---- how it ends ----


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--", "sh", "-c", "exit 0"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["--", "sh", "-c", "kill -TERM $$"], 128 + 15),
        (["--", "/none"], 127),
        (["--", "/etc/passwd"], 126),
        (["--", "/"], 126),
        ([], 2),
        (["--"], 2),
    ],
)  # fmt: skip
def test_exit_codes(words: list[str], code: int) -> None:
    """The program's own, 128 and its signal, 127 and 126 where it cannot be run, 2 for none."""
    done = run(*words)
    assert done.returncode == code, done
    assert bool(done.stderr) == (code in (2, 126, 127))


def test_arguments_are_the_program_s_own() -> None:
    """Also those that look like options of ours."""
    done = run("--", "echo", "--group", "-g", "--")
    assert (done.stdout, done.returncode) == ("--group -g --\n", 0)


# ---- signals ----

HEARS = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("ready", flush=True)
while True:
    number = signal.sigwait(signal.valid_signals())
    print(int(number), flush=True)
    if number == signal.SIGQUIT:
        break
"""


def test_signals_are_sent_on() -> None:
    """Each but those that stop it, or end it for a fault of its own."""
    numbers = sorted({*FORWARDED} - {signal.SIGQUIT})
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, 34, 64} <= {*numbers}
    with running("--", INTERPRETER, "-S", "-c", HEARS) as process:
        for number in numbers:
            process.send_signal(number)
            assert said(process) == str(number)
        process.send_signal(signal.SIGQUIT)
        assert said(process) == "3" and process.wait(SECONDS) == 0


GROUP = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
read, write = os.pipe()
other = os.fork()
if other == 0:
    os.write(write, b"x")
    while signal.sigwait({signal.SIGTERM, signal.SIGUSR1}) == signal.SIGTERM:
        os.write(1, b"grandchild\\n")
    os._exit(0)
os.read(read, 1)
os.write(1, b"ready\\n")
while signal.sigwait({signal.SIGTERM, signal.SIGQUIT}) == signal.SIGTERM:
    os.write(1, b"child\\n")
os.kill(other, signal.SIGUSR1)
os.waitpid(other, 0)
os.write(1, b"over\\n")
os._exit(5)
"""


def test_signals_for_the_group() -> None:
    """With -g all of the program's group get them, else the program alone."""
    for options, wanted in (([], ["child"]), (["-g"], ["child", "grandchild"])):
        with running(*options, "--", INTERPRETER, "-S", "-c", GROUP) as process:
            process.send_signal(signal.SIGTERM)
            heard = sorted(said(process) for _ in wanted)
            assert heard == wanted
            process.send_signal(signal.SIGQUIT)
            assert said(process) == "over" and process.wait(SECONDS) == 5


def test_the_second_interrupt_kills() -> None:
    """A program that does not end by the first one, with its group."""
    with running("--", INTERPRETER, "-S", "-c", HEARS) as process:
        process.send_signal(signal.SIGINT)
        assert said(process) == "2"
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 128 + 9


# ---- the first process ----

ORPHANS = """
import os, sys
pipe = os.pipe()
for _ in range(50):
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.close(pipe[0])
            os.read(0, 1)  # until the one in the middle has ended, and longer: there is nothing to read
            os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
os.close(pipe[1])
os.read(pipe[0], 1)  # all of them have ended
def state(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
while True:
    try:
        if "Z" not in [state(name) for name in os.listdir("/proc") if name.isdecimal()]:
            break
    except FileNotFoundError:
        continue
print(os.getppid(), "clean", flush=True)
sys.exit(4)
"""


def test_orphans_are_reaped_as_the_first_process() -> None:
    """Fifty that nobody here started leave no zombie."""
    need_root()
    need("unshare")
    done = subprocess.run(
        [*NAMESPACE, *INIT, "--", INTERPRETER, "-S", "-c", ORPHANS],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("1 clean\n", "", 4)


def test_orphans_are_reaped_as_any_process() -> None:
    """It is a subreaper then."""
    listing = 'open(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read().split()'
    script = ORPHANS.replace('os.listdir("/proc")', listing)
    words = [*INIT, "--", INTERPRETER, "-S", "-c", script]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert readable(process.stdout.fileno(), SECONDS)
        assert process.stdout.read() == f"{process.pid} clean\n".encode()
        assert process.wait(SECONDS) == 4


def first_of(unshare: int) -> int:
    """The first process of the namespace that an `unshare` has made, by its number here."""
    (pid,) = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    return int(pid)


def test_signals_as_the_first_process() -> None:
    """They are sent on though the kernel protects the first process from those that it does not handle."""
    need_root()
    need("unshare")
    with running("--", INTERPRETER, "-S", "-c", HEARS, before=NAMESPACE) as process:
        pid = first_of(process.pid)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            os.kill(pid, number)
            assert said(process) == str(int(number))
        os.kill(pid, signal.SIGINT)
        assert said(process) == "2"
        os.kill(pid, signal.SIGINT)
        assert process.wait(SECONDS) == 128 + 9


def test_supervise_as_the_first_process(tmp_path: Path) -> None:
    """Orphans of services are reaped, a stop ends what got away, too, and the code is the supervisor's."""
    need_root()
    need("unshare")
    text = """
        [service.job]
        command = ["sh", "-c", "for i in 1 2 3 4 5; do setsid sh -c 'sleep 0 & exec true' & done; exit 0"]
        oneshot = true
        [service.daemon]
        command = ["sh", "-c", "setsid sleep 1000 & exec sleep 1000"]
        """
    with supervising(tmp_path, text, before=NAMESPACE) as run:
        run.until("job", "done")
        run.reached("daemon", "running")
        pid = first_of(run.process.pid)
        assert os.path.realpath(f"/proc/{pid}/ns/pid") != os.path.realpath("/proc/self/ns/pid")
        assert Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
        with run.client() as client:
            while "Z" in states_of_children(pid):
                client.status()
        os.kill(pid, signal.SIGTERM)
        assert run.end() == 0


def states_of_children(pid: int) -> set[str]:
    """The letters of their states."""
    found = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError):
            found.add(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0])
    return found


# ---- the terminal ----


FOREGROUND = """
import os, signal
print("foreground:", os.tcgetpgrp(0) == os.getpgrp(), os.getpgrp() == os.getpid(), flush=True)
print("echo of", input(), flush=True)
signal.pause()
"""


def test_the_terminal_is_the_program_s() -> None:
    """Its group is in the foreground: it reads, Ctrl-C reaches it, and the code is that of its death."""
    with on_a_terminal(*INIT, "--", INTERPRETER, "-S", "-c", FOREGROUND) as (master, process):
        shown(master, b"foreground: True True\r\n")
        os.write(master, b"words\n")
        shown(master, b"echo of words\r\n")
        os.write(master, b"\x03")
        shown(master, b"KeyboardInterrupt")
        assert process.wait(SECONDS) == 128 + 2


def test_the_terminal_is_given_back() -> None:
    """Whoever started it can read again."""
    script = f'"{INTERPRETER}" -m rawsys init -- sh -c "exit 3"; echo "ended with $?"; read line; echo "got $line"'
    with on_a_terminal("sh", "-c", script) as (master, process):
        assert shown(master, b"\n") == b"ended with 3\r\n"
        os.write(master, b"words\n")
        shown(master, b"got words\r\n")
        assert process.wait(SECONDS) == 0
