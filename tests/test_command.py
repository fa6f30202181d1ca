"""Command: running, output, streams, errors, exec; edge cases 37, 52, 55 to 60 and bad input."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest
from support import in_child, need_root, run_child

import rawsys
from rawsys import INHERIT, NULL, PIPE, STDOUT, Child, Command, ExitStatus, Fd, Pid
from rawsys.errors import CommandTimeout, ExitError


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", []))


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


def test_exec_errors_leave_nothing(tmp_path: Path) -> None:
    """What exec refuses is the OSError of its errno with the file, the step in a note, and no zombie (52, 55, 60)."""
    script, empty, directory = tmp_path / "script", tmp_path / "empty", tmp_path / "bin"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    empty.write_bytes(b"\x01nothing that the kernel knows")
    empty.chmod(0o755)
    directory.mkdir()
    (directory / "tool").write_text("not executable")
    path = f"{tmp_path}/none:{directory}:/bin"
    cases: list[tuple[Command, type[OSError], int, str, str]] = [
        (Command("/no/such"), FileNotFoundError, errno.ENOENT, "/no/such", 'in the child: execve("/no/such"'),
        (
            Command("no-such", env={"PATH": "/none:/bin"}),
            FileNotFoundError,
            errno.ENOENT,
            "no-such",
            "in the child: execve(",
        ),
        (Command("/etc/passwd"), PermissionError, errno.EACCES, "/etc/passwd", "execve"),
        (Command("/etc"), PermissionError, errno.EACCES, "/etc", "execve"),
        (Command(script), FileNotFoundError, errno.ENOENT, str(script), "interpreter that its first line names"),
        (Command(empty), OSError, errno.ENOEXEC, str(empty), "execve"),
        (Command("tool", env={"PATH": path}), PermissionError, errno.EACCES, f"{directory}/tool", "execve"),
        (Command("/bin/true/x"), NotADirectoryError, errno.ENOTDIR, "/bin/true/x", "execve"),
        (Command("true", "x" * 131072), OSError, errno.E2BIG, "true", "execve"),
        (Command("true", cwd="/nope"), FileNotFoundError, errno.ENOENT, "/nope", 'in the child: chdir("/nope")'),
        (Command("true", cwd="/etc/passwd"), NotADirectoryError, errno.ENOTDIR, "/etc/passwd", "chdir"),
        (Command("true", stdin="/nope"), FileNotFoundError, errno.ENOENT, "/nope", "openat"),
        (Command("true", stdin=987), OSError, errno.EBADF, "None", "dup3(987, 0"),
        (Command("true", fds={5: 987}), OSError, errno.EBADF, "None", "dup3(987, 5"),
        (Command("true", fds={987: 987}), OSError, errno.EBADF, "None", "fcntl(987"),
    ]
    for command, kind, number, filename, note in cases:
        with pytest.raises(kind) as caught:
            command.spawn()
        assert caught.value.errno == number, command
        assert str(caught.value.filename) == filename, command
        assert note in notes(caught.value), notes(caught.value)
    assert Command("true", "x" * 131071).run().success  # one string may be that long (57)


def test_a_search_goes_on_where_it_may() -> None:
    """PATH is the child's own, /bin:/usr/bin without one; an empty part is the child's directory (55)."""
    assert Command("sh", "-c", "exit 0", env={"PATH": "/etc/passwd:/none:/bin"}).run().success
    assert Command("sh", "-c", "exit 0", env={}).run().success
    with pytest.raises(FileNotFoundError):
        Command("sh", env={"PATH": "/none"}).spawn()
    assert Command("sh", "-c", "exit 5", env={"PATH": ""}, cwd="/bin").run().code == 5
    assert Command("sh", "-c", "exit 5", env={"PATH": "/bin"}, extra_env={"PATH": "/none:"}, cwd="/bin").run().code == 5


def test_executable_and_argv0() -> None:
    """The file may be another than argv[0], and argv[0] another than the name."""
    shell = Command("anything", "-c", "echo $0", executable="/bin/sh")
    assert shell.output(text=True).stdout == "anything\n"
    assert Command("sh", "-c", "echo $0", argv0="other").output(text=True).stdout == "other\n"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Command(), ValueError, "at least the name"),
        (lambda: Command(""), ValueError, "cannot be empty"),
        (lambda: Command("a\0b"), ValueError, "null byte in an argument"),
        (lambda: Command("true", "a\0b"), ValueError, "null byte"),
        (lambda: Command("true", cwd="a\0b"), ValueError, "null byte in cwd"),
        (lambda: Command("true", stdin="a\0b"), ValueError, "null byte in stdin"),
        (lambda: Command("true", executable="a\0b"), ValueError, "null byte in executable"),
        (lambda: Command("true", executable=""), ValueError, "cannot be empty"),
        (lambda: Command("true", env={"A": "a\0b"}), ValueError, "null byte"),
        (lambda: Command("true", env={"A=B": "x"}), ValueError, "has no '='"),
        (lambda: Command("true", extra_env={"": "x"}), ValueError, "not empty"),
        (lambda: Command("true", env={"A": 1}), TypeError, "must be str, bytes"),  # type: ignore[dict-item]
        (lambda: Command(1), TypeError, "an argument must be str"),  # type: ignore[arg-type]
        (lambda: Command("true", stdin=STDOUT), ValueError, "is for stderr"),
        (lambda: Command("true", stdin=3.5), TypeError, "a descriptor is"),  # type: ignore[arg-type]
        (lambda: Command("true", stdin=True), TypeError, "a descriptor is"),
        (lambda: Command("true", fds={0: 1}, stdin=PIPE), ValueError, "named twice"),
        (lambda: Command("true", fds={-1: 1}), ValueError, "from 0 on"),
        (lambda: Command("true", fds={True: 1}), ValueError, "from 0 on"),
        (lambda: Command("true", nope=1), TypeError, "nope"),  # type: ignore[call-arg]
    ],
)
def test_what_cannot_be_right_is_refused_at_once(make: object, error: type[Exception], words: str) -> None:
    """NUL, empty argv (59), '=' in a key (58), wrong kinds: before anything is made."""
    with pytest.raises(error, match=words):
        make()  # type: ignore[operator]


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


def test_killed_before_exec() -> None:
    """A signal between clone and exec is ChildProcessError with signal and step, not success (53)."""
    steps = rawsys.Program()
    steps.kill(steps.getpid(), 9)
    steps.getpid()
    command = Command("true", steps=steps)
    with pytest.raises(ChildProcessError, match=r"killed by SIGKILL before exec, in kill\(%0, SIGKILL\)"):
        command.spawn()
    leaves = rawsys.Program()
    leaves.exit_group(9)
    with pytest.raises(ChildProcessError, match="exited with 9 before exec, in exit_group"):
        Command("true", steps=leaves).spawn()


def test_text_file_busy(tmp_path: Path) -> None:
    """A file that somebody has open for writing cannot be executed: ETXTBSY (56)."""
    tool = tmp_path / "tool"
    tool.write_bytes(Path("/bin/true").read_bytes())
    tool.chmod(0o755)
    with tool.open("ab"), pytest.raises(OSError) as caught:
        Command(tool).spawn()
    assert caught.value.errno == errno.ETXTBSY
    assert Command(tool).run().success


def test_exec_becomes_the_program(tmp_path: Path) -> None:
    """exec() runs the steps in this process, which keeps its number."""
    out = tmp_path / "out"

    def work() -> None:
        Command("sh", "-c", "echo $$; pwd; umask", stdout=out, cwd="/", umask=0o77, fds={9: 0}).exec()

    end = run_child(work)
    assert end.exitcode == 0
    number, place, mask = out.read_text().split()
    assert number.isdigit() and (place, mask) == ("/", "0077")


def test_exec_that_fails_tells_what_has_changed() -> None:
    """What cannot be undone is in a note."""

    def work() -> tuple[str, str, str, list[str]]:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(FileNotFoundError) as caught:
            Command("/no/such", cwd="/", umask=0o11, stdin="/dev/null").exec()
        assert os.listdir("/proc/self/fd") == before
        with pytest.raises(ValueError, match="PIPE"):
            Command("true", stdin=PIPE).exec()
        with pytest.raises(ValueError, match="makes no process"):
            Command("true", namespaces=0x20000).exec()
        return str(caught.value.filename), os.getcwd(), f"{os.umask(0):#o}", list(caught.value.__notes__)

    name, place, mask, told = in_child(work)
    assert (name, place, mask) == ("/no/such", "/", "0o11")
    assert told[0].startswith('in this process: execve("/no/such"')
    assert 'umask(0o11), chdir("/")' in told[-1] and told[-1].startswith("changed already")


def test_errors_leave_no_descriptor_at_the_limit() -> None:
    """EMFILE while the pipes are made: the error, and nothing half open (22)."""
    import resource

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2, 64))
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError) as caught:
            Command("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE).spawn()
        assert os.listdir("/proc/self/fd") == before
        return caught.value.errno or 0

    assert in_child(work) == errno.EMFILE


def test_no_more_processes() -> None:
    """RLIMIT_NPROC reached: BlockingIOError from clone3, nothing leaked (39)."""
    need_root()
    import resource

    def work() -> str:
        Command("true").run()  # what loads late is loaded
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        before = os.listdir("/proc/self/fd")
        with pytest.raises(BlockingIOError) as caught:
            Command("/bin/true", stdout=PIPE).spawn()
        assert os.listdir("/proc/self/fd") == before
        return notes(caught.value)

    assert in_child(work) == "in clone3"


def test_children_are_pids() -> None:
    """A Child is a Pid: it can be waited for with others, and signalled."""
    child = Command("sleep", "100").spawn()
    assert isinstance(child, Pid) and child.command.argv == ("sleep", "100")
    assert child.terminate(5) == child.status and "killed by SIGTERM" in repr(child)


def test_standard_error_is_whole() -> None:
    """INHERIT gives the parent's own streams."""
    end = run_child(lambda: Command(sys.executable, "-c", "import os; os.write(2, b'x')").run().check().raw)
    assert end.exitcode == 0
