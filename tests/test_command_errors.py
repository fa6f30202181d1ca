"""What cannot be started, and how that is told: edge cases 22, 39, 52, 53, 55 to 60 and bad input."""

from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from support import in_child, need_root

import rawsys
from rawsys import INHERIT, NULL, PIPE, STDOUT, Command, Fd
from rawsys.errors import ClosedError, CommandTimeout, ExitError


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", []))


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
    with pytest.raises(OSError, match="Argument list too long"):  # and all together a quarter of the stack
        Command("true", *["x" * 131071] * 64).spawn()


def test_scripts(tmp_path: Path) -> None:
    """What follows the interpreter in the first line is one argument; five scripts deep is too deep (60)."""
    script = tmp_path / "script"
    script.write_text("#!  /bin/echo  one  two  \n")
    script.chmod(0o755)
    assert Command(script, "three").output(text=True).stdout == f"one  two {script} three\n"
    for depth in range(6):
        (tmp_path / f"s{depth}").write_text(f"#!{tmp_path}/s{depth - 1}\n" if depth else "#!/bin/true\n")
        (tmp_path / f"s{depth}").chmod(0o755)
    assert Command(tmp_path / "s3").run().success
    with pytest.raises(OSError) as caught:
        Command(tmp_path / "s5").spawn()
    assert caught.value.errno == errno.ELOOP


def test_a_closed_descriptor_is_refused() -> None:
    """An owner that is closed names nothing: not when the command is made, and not at a later spawn."""
    fd = Fd.open("/dev/null")
    commands = [Command("true", stdin=fd), Command("true", fds={9: fd}), Command("pwd", cwd=fd)]
    assert commands[0].run().success and commands[1].run().success
    fd.close()
    for command in commands:
        with pytest.raises(ClosedError):
            command.spawn()
    for attributes in ({"stdin": fd}, {"fds": {9: fd}}, {"cwd": fd}, {"cgroup": fd}):
        with pytest.raises(ClosedError):
            Command("true", **attributes)


def test_a_search_goes_on_where_it_may() -> None:
    """PATH is the child's own, /bin:/usr/bin without one; an empty part is the child's directory (55)."""
    assert Command("sh", "-c", "exit 0", env={"PATH": "/etc/passwd:/none:/bin"}).run().success
    assert Command("sh", "-c", "exit 0", env={}).run().success
    with pytest.raises(FileNotFoundError):
        Command("sh", env={"PATH": "/none"}).spawn()
    assert Command("sh", "-c", "exit 5", env={"PATH": ""}, cwd="/bin").run().code == 5
    assert Command("sh", "-c", "exit 5", env={"PATH": "/bin"}, extra_env={"PATH": "/none:"}, cwd="/bin").run().code == 5


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


@pytest.mark.parametrize(
    ("attributes", "kind", "message"),
    [
        ({"scheduling": 1}, TypeError, "scheduling is a pair of numbers"),
        ({"scheduling": ("fifo", 1)}, TypeError, "scheduling is a pair of numbers"),
        ({"ioprio": (9, 0)}, ValueError, "ioprio: a class is from 0 to 7"),
        ({"ioprio": (2, -1)}, ValueError, "ioprio: a class is from 0 to 7"),
        ({"ioprio": "idle"}, TypeError, "ioprio is a number or a pair"),
        ({"rlimits": {7: 1.5}}, TypeError, "a limit is an int or None"),
        ({"rlimits": {7: (1, 2, 3)}}, TypeError, "a limit is an int or None"),
        ({"rlimits": {"NOFILE": 10}}, TypeError, "a resource is an RLIMIT constant, not 'NOFILE'"),
        ({"rlimits": [10]}, TypeError, "rlimits is a mapping, not list"),
        ({"env": ["A=1"]}, TypeError, "env is a mapping, not list"),
        ({"fds": [1]}, TypeError, "fds is a mapping, not list"),
        ({"groups": "root"}, TypeError, "groups is several, as a list or a set, not 'root'"),
        ({"affinity": 0}, TypeError, "affinity is several, as a list or a set, not 0"),
        ({"signal_mask": 2}, TypeError, "signal_mask is several, as a list or a set, not 2"),
    ],
)
def test_arguments_of_a_wrong_kind_are_named(attributes: dict[str, Any], kind: type[Exception], message: str) -> None:
    """They are refused when the command is made, by an error with the name of the attribute and what it takes."""
    with pytest.raises(kind, match=re.escape(message)):
        Command("true", **attributes)


def test_input_has_stdin_for_itself() -> None:
    """output(input=) does not push aside a file or a descriptor that the command has for its stdin."""
    for command in (Command("cat", stdin="/dev/null"), Command("cat", stdin=0), Command("cat", fds={0: 0})):
        with pytest.raises(ValueError, match="stdin from elsewhere: "):
            command.output(input=b"x")
    for nothing in (PIPE, NULL, INHERIT):
        assert Command("cat", stdin=nothing).output(input=b"x").stdout == b"x"


def test_errors_travel_between_processes() -> None:
    """ExitError and CommandTimeout pickle with their command: one that did not would break a pool of processes."""
    command = Command("sh", "-c", "echo o; exit 3", cwd="/", stderr=STDOUT, rlimits={7: (64, 64)}, groups=iter(()))
    with pytest.raises(ExitError) as failed:
        command.output(check=True)
    with pytest.raises(CommandTimeout) as late:
        Command("cat", stdin=PIPE).run(timeout=0)
    for error in (failed.value, late.value):
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error) and vars(again).keys() == vars(error).keys()
        assert isinstance(again.command, Command) and repr(again.command) == repr(error.command)
    assert pickle.loads(pickle.dumps(command)).output() == command.output()
    with Fd.open("/dev/null") as fd, pytest.raises(TypeError, match="cannot be copied or pickled"):
        pickle.dumps(Command("cat", stdin=fd))


def test_the_note_on_a_missing_interpreter_is_about_the_childs_file(tmp_path: Path) -> None:
    """It is not given for a file that only the parent sees under that name; it is for one seen from the child's cwd."""
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    commands = [(Command("./script", cwd=tmp_path), True), (Command("./pyproject.toml", cwd=tmp_path), False)]
    if os.geteuid() == 0:
        commands.append((Command("/bin/true", root=tmp_path), False))
    for command, told in commands:
        with pytest.raises(FileNotFoundError) as caught:
            command.run()
        assert ("interpreter" in notes(caught.value)) == told, command


def test_a_command_keeps_its_own_variables() -> None:
    """A dict that its owner changes later changes neither the command nor what `replace` makes of it."""
    env, more = {"A": "1"}, {"B": "1"}
    command = Command("/bin/sh", "-c", "echo $A$B", env=env, extra_env=more)
    env["A"] = more["B"] = "2"
    assert command.output().stdout == command.replace(umask=0).output().stdout == b"11\n"


def test_communicate_leaves_out_what_is_closed() -> None:
    """Who has closed an end, or given it away, talks over the others; input for a closed stdin is ValueError."""
    with Command("cat", stdin=PIPE, stdout=PIPE).spawn() as child:
        assert child.stdin
        child.stdin.write_all(b"x")
        child.stdin.close()
        with pytest.raises(ValueError, match="stdin is closed already"):
            child.communicate(b"y")
        assert child.communicate() == (b"x", None)
        assert child.communicate() == (None, None) and child.wait().success
    with Command("sh", "-c", "echo e >&2", stdout=PIPE, stderr=PIPE).spawn() as child:
        assert child.stdout
        os.close(child.stdout.into_raw())
        assert child.communicate() == (None, b"e\n")


def test_what_is_no_input() -> None:
    """It is refused by name, before anything runs; any layout of memory is one."""
    for wrong in (3, ["x"]):
        with pytest.raises(TypeError, match="input is bytes or another buffer, not"):
            Command("/no/such").output(input=wrong)  # type: ignore[arg-type]
    with Command("cat", stdin=PIPE, stdout=PIPE).spawn() as child:
        with pytest.raises(TypeError, match="input is bytes or another buffer, not str"):
            child.communicate("x")  # type: ignore[arg-type]
        assert child.communicate(memoryview(b"abcdef")[::2]) == (b"ace", None)
