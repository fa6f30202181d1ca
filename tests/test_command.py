"""Command: running, output, streams, environment, exec; edge cases 37 and 58."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from support import run_child

from rawsys import INHERIT, NULL, PIPE, STDOUT, Child, Command, ExitStatus, Fd, Pid
from rawsys.errors import CommandTimeout, ExitError


def test_as_in_the_documentation() -> None:
    """run gives the status, output the text, spawn a Child whose ends are Fds."""
    assert Command("sh", "-c", "exit 3").run() == ExitStatus(0x300)
    out = Command("echo", "Hello from child process", extra_env={"MY_VAR": "my_value"}).output(text=True)
    assert out.status.success and out.stdout == "Hello from child process\n" and out.stderr == ""
    with Command("cat", stdin=PIPE, stdout=PIPE).spawn() as child:
        assert child.stdin and child.stdout and child.stderr is None
        child.stdin.write_all(b"x")
        child.stdin.close()
        assert child.stdout.read_all() == b"x"
    assert isinstance(child, Child) and child.status and child.status.success and child.stdout.closed


def test_leaving_with_closes_stdin_first() -> None:
    """A child that reads to the end of its input ends when the block is left."""
    with Command("cat", stdin=PIPE, stdout=NULL).spawn() as child:
        pass
    assert child.wait().success
    with pytest.raises(KeyError), Command("sleep", "100", stdin=PIPE).spawn() as child:
        raise KeyError
    assert child.status and child.status.signal == 15 and child.stdin and child.stdin.closed


def test_run_and_output_check() -> None:
    """check=True raises ExitError with status, command and what was written."""
    command = Command("sh", "-c", "echo out; echo err >&2; exit 4")
    with pytest.raises(ExitError, match="exited with 4") as caught:
        command.output(check=True, text=True)
    assert (caught.value.stdout, caught.value.stderr, caught.value.command) == ("out\n", "err\n", command)
    with pytest.raises(ExitError, match="killed by SIGKILL"):
        Command("sh", "-c", "kill -9 $$").run(check=True)
    assert command.output(check=False).status.code == 4


def test_environment() -> None:
    """env is all there is; extra_env adds and replaces; undecodable bytes pass (58)."""
    assert Command("/usr/bin/env", env={}).output().stdout == b""
    assert Command("/usr/bin/env", env={"A": "1", "B": "2"}, extra_env={"B": "3"}).output().stdout == b"A=1\nB=3\n"
    odd = Command("/usr/bin/env", env={"A": b"\xff\xfe"}).output().stdout
    assert odd == b"A=\xff\xfe\n"
    os.environ["RAWSYS_TEST"] = "yes"
    try:
        assert b"RAWSYS_TEST=yes\n" in Command("env").output().stdout
        os.environ["RAWSYS_TEST"] = "changed"
        assert b"RAWSYS_TEST=changed\n" in Command("env").output().stdout
    finally:
        del os.environ["RAWSYS_TEST"]
    assert b"RAWSYS_TEST" not in Command("env").output().stdout


def test_streams(tmp_path: Path) -> None:
    """Paths, Fds, ints, file objects, NULL, STDOUT; a path is opened in the parent, and cut."""
    path = tmp_path / "out"
    path.write_bytes(b"something longer")
    assert Command("sh", "-c", "echo a; echo b >&2", stdout=path, stderr=STDOUT).run().success
    assert path.read_bytes() == b"a\nb\n"
    assert Command("cat", stdin=path).output().stdout == b"a\nb\n"
    with Fd.open(path) as fd, path.open() as file:
        assert Command("cat", stdin=fd).output().stdout == b"a\nb\n"
        assert not fd.closed
        assert Command("cat", stdin=file.fileno()).output().stdout == b"a\nb\n"
        file.seek(0)
        assert Command("cat", stdin=file).output().stdout == b"a\nb\n"
    assert Command("cat", stdin=NULL).output().stdout == b""
    out = Command("sh", "-c", "echo a; echo b >&2", stderr=STDOUT).output()
    assert out.stdout == b"a\nb\n" and out.stderr is None
    assert Command("sh", "-c", "echo a; echo b >&2", stdout=NULL).output().stderr == b"b\n"


def test_executable_and_argv0() -> None:
    """The file may be another than argv[0], and argv[0] another than the name."""
    shell = Command("anything", "-c", "echo $0", executable="/bin/sh")
    assert shell.output(text=True).stdout == "anything\n"
    assert Command("sh", "-c", "echo $0", argv0="other").output(text=True).stdout == "other\n"


def test_a_command_is_a_value(tmp_path: Path) -> None:
    """It is reusable, cannot be changed, and replace makes a variant; its text is a shell line."""
    command = Command("echo", "a b", extra_env={"X": "1 2"}, cwd=tmp_path, stdout=tmp_path / "out", stderr=STDOUT)
    assert str(command) == f"cd {tmp_path} && X='1 2' echo 'a b' > {tmp_path}/out 2>&1"
    assert repr(command) == f"<Command: {command}>"
    for _ in range(3):
        assert command.run().success
    with pytest.raises(AttributeError, match="replace"):
        command.cwd = "/"
    other = command.replace("pwd", stdout=INHERIT, cwd="/")
    assert other.output(text=True).stdout == "/\n" and command.cwd == tmp_path and other.stderr is STDOUT
    assert Command("true", affinity=iter([0])).replace().affinity == (0,)
    with pytest.raises(TypeError):
        command.replace(nope=1)


def test_output_again_and_again() -> None:
    """What output() keeps of a command with pipes serves again, and not for a call with other pipes."""
    command = Command("sh", "-c", "cat; echo e >&2", stdin=NULL)
    for _ in range(3):
        assert command.output().stdout == b"" and command.output(input=b"x")[1:] == (b"x", b"e\n")
    assert command.stdin is NULL and command.stdout is INHERIT
    assert Command("cat", fds={1: 2}, stdin=NULL).output().stdout is None


def test_megabytes_both_ways() -> None:
    """Any amount of input and output at once, and both outputs, without deadlock."""
    data = os.urandom(1 << 20) * 4
    assert Command("cat").output(input=data).stdout == data
    both = Command("sh", "-c", "cat; head -c 3000000 /dev/zero >&2").output(input=memoryview(data))
    assert both.stdout == data and both.stderr == bytes(3000000)


def test_a_child_that_wants_no_input() -> None:
    """Closing stdin early is no error; input without a pipe is."""
    assert Command("true").output(input=bytes(1 << 20)).status.success
    assert Command("head", "-c", "5").output(input=b"hello world" * 100000).stdout == b"hello"
    with Command("true").spawn() as child, pytest.raises(ValueError, match="stdin is not a PIPE"):
        child.communicate(b"x")
    assert Command("cat").output(input="grün", text=True).stdout == "grün"
    assert Command("printf", r"\377").output(text=True).stdout == "\ufffd"
    assert Command("printf", r"\374").output(encoding="latin-1").stdout == "ü"


def test_timeouts_carry_what_was_read() -> None:
    """A late child is killed with the group that it leads, and reaped; CommandTimeout has its output."""
    command = Command("sh", "-c", "echo early; echo no >&2; sleep 100 & echo $!; wait", new_session=True)
    begin = time.monotonic()
    with pytest.raises(CommandTimeout, match=r"did not end within 0.2 s, and was killed") as caught:
        command.output(timeout=0.2, text=True)
    assert time.monotonic() - begin < 5
    assert isinstance(caught.value.stdout, str)
    words = caught.value.stdout.split()
    assert words[0] == "early" and caught.value.stderr == "no\n" and caught.value.command is command
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(CommandTimeout):
        Command("sleep", "100").run(timeout=0)
    with pytest.raises(ValueError, match="negative"):
        Command("true").run(timeout=-1)
    # The output has ended, the child has not.
    with pytest.raises(CommandTimeout) as caught:
        Command("sh", "-c", "echo x; exec >&- 2>&-; sleep 100", process_group=0).output(timeout=0.2)
    assert caught.value.stdout == b"x\n"


def test_communicate() -> None:
    """The pipes of a spawned child, and None for what is none."""
    with Command("sh", "-c", "cat; echo e >&2", stdin=PIPE, stdout=PIPE).spawn() as child:
        assert child.communicate(b"abc") == (b"abc", None)
    assert child.status and child.status.success
    with Command("cat", stdin=PIPE, stdout=PIPE).spawn() as child:
        assert child.communicate() == (b"", None)


def test_exec_becomes_the_program(tmp_path: Path) -> None:
    """exec() runs the steps in this process, which keeps its number."""
    out = tmp_path / "out"

    def work() -> None:
        Command("sh", "-c", "echo $$; pwd; umask", stdout=out, cwd="/", umask=0o77, fds={9: 0}).exec()

    end = run_child(work)
    assert end.exitcode == 0
    number, place, mask = out.read_text().split()
    assert number.isdigit() and (place, mask) == ("/", "0077")


def test_children_are_pids() -> None:
    """A Child is a Pid: it can be waited for with others, and signalled."""
    child = Command("sleep", "100").spawn()
    assert isinstance(child, Pid) and child.command.argv == ("sleep", "100")
    assert child.terminate(5) == child.status and "killed by SIGTERM" in repr(child)


def test_standard_error_is_whole() -> None:
    """INHERIT gives the parent's own streams."""
    end = run_child(lambda: Command(sys.executable, "-c", "import os; os.write(2, b'x')").run().check().raw)
    assert end.exitcode == 0
