"""Which descriptors a child has, and under which numbers; edge cases 23, 24, 54, 62 and 114."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sleepers import asleep
from support import in_child

from rawsys import NULL, PIPE, STDOUT, Command, Fd, Pid, Program
from rawsys._native.process import spawn as native_spawn
from rawsys.errors import ClosedError

NAMES = ("stdin", "stdout", "stderr")


def descriptors(command: Command) -> dict[int, str]:
    """What a child of this command has open, by number; told by /proc while it sleeps."""
    return opened(command.replace("sleep", "100", env={"PATH": "/bin:/usr/bin"}))


def opened(sleeper: Command) -> dict[int, str]:
    """The same of a command that sleeps, which is spawned as it is: with the steps that it kept."""
    child = sleeper.spawn()
    try:
        asleep(child)
        place = f"/proc/{child.pid}/fd"
        return {int(n): os.path.basename(os.readlink(f"{place}/{n}")) for n in os.listdir(place)}
    finally:
        child.kill()
        child.wait()
        child.close()


def files(tmp_path: Path, count: int) -> list[Fd]:
    made = []
    for i in range(count):
        path = tmp_path / f"f{i}"
        path.touch()
        made.append(Fd.open(path))
    return made


def test_nothing_but_the_streams(tmp_path: Path) -> None:
    """Whatever is open here, inheritable or not, the child has 0, 1 and 2, on both ways (62, 114)."""
    made = files(tmp_path, 3)
    made[1].cloexec = False
    for command in (
        Command("x"),
        Command("x", stdin=NULL),
        Command("x", stdin=NULL, stdout=NULL, stderr=NULL),
        Command("x", stdin=PIPE),
        Command("x", stderr=STDOUT),
        Command("x", stdin=made[0]),
        Command("x", stdout=2, stderr=1),
    ):
        assert set(descriptors(command)) == {0, 1, 2}, command
    for fd in made:
        fd.close()


def test_named_ones_are_kept(tmp_path: Path) -> None:
    """fds= gives each its number, twice the same too, and the parent keeps its own."""
    made = files(tmp_path, 3)
    a, b, c = made
    found = descriptors(Command("x", fds={5: a, 6: a, 20: b, c.fileno(): c}))
    assert {n: found[n] for n in found if n > 2} == {5: "f0", 6: "f0", 20: "f1", c.fileno(): "f2"}
    assert not a.closed and a.cloexec
    for fd in made:
        fd.close()


def test_swaps_and_circles(tmp_path: Path) -> None:
    """0, 1 and 2 exchanged among themselves, and any two numbers, and circles (24)."""

    def work() -> tuple[list[str], list[str], list[str]]:
        a, b, c, d = (fd.into_raw() for fd in files(tmp_path, 4))
        two = descriptors(Command("x", fds={a: b, b: a}))
        four = descriptors(Command("x", fds={a: b, b: c, c: d, d: a}))
        for number, fd in ((0, a), (1, b), (2, c)):
            os.dup2(fd, number)
        three = descriptors(Command("x", stdin=1, stdout=2, stderr=0))
        return [two[n] for n in (a, b)], [four[n] for n in (a, b, c, d)], [three[n] for n in (0, 1, 2)]

    assert in_child(work) == (["f1", "f0"], ["f1", "f2", "f3", "f0"], ["f1", "f2", "f0"])


def test_streams_closed_in_the_parent(tmp_path: Path) -> None:
    """With 0, 1 and 2 closed here, pipes and files get these numbers, and the child's are right all the same (23)."""

    def work(closed: tuple[int, ...]) -> None:
        for n in closed:
            os.close(n)
        out = Command("sh", "-c", "cat; echo e >&2", stderr=STDOUT).output(input=b"in\n")
        assert out.stdout == b"in\ne\n", out
        err = Command("sh", "-c", "cat; echo e >&2").output(input=b"in\n")
        assert (err.stdout, err.stderr) == (b"in\n", b"e\n")
        for streams in ({"stdin": NULL}, dict.fromkeys(NAMES, NULL), {"stdout": NULL, "stderr": STDOUT}):
            found = descriptors(Command("x", **streams))  # type: ignore[arg-type]
            for number, name in enumerate(NAMES):
                if name in streams:
                    assert found[number] == "null", (closed, streams, found)
                else:
                    assert (number in found) == (number not in closed), (closed, streams, found)
        assert descriptors(Command("x", stdin=tmp_path / "f0", fds={4: 0} if 0 not in closed else {}))[0] == "f0"

    files(tmp_path, 1)[0].close()
    for closed in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        in_child(work, closed)


def test_a_target_where_an_own_pipe_lies(tmp_path: Path) -> None:
    """The numbers that our pipes get may be asked for by the child (54)."""
    made = files(tmp_path, 1)
    number = made[0].fileno() + 1
    for target in range(number, number + 8):
        command = Command("x", stdin=PIPE, stdout=PIPE, stderr=PIPE, fds={target: made[0]})
        found = descriptors(command)
        assert found[target] == "f0" and all(found[n].startswith("pipe:") for n in range(3)) and len(found) == 4
        found = descriptors(command.replace(stdin=NULL, stderr=NULL))
        assert (found[target], found[0], found[2]) == ("f0", "null", "null") and len(found) == 4
    made[0].close()


def test_directories_as_descriptors(tmp_path: Path) -> None:
    """cwd as an Fd, also where the child's descriptors are placed over its number."""
    with Fd.open(tmp_path, os.O_DIRECTORY) as place, Fd.open("/dev/null") as null:
        for fds in (dict[int, Fd](), {place.fileno(): null}, {place.fileno(): null, 50: null}):
            assert Command("pwd", cwd=place, fds=fds, env={"PATH": "/bin"}).output(text=True).stdout == f"{tmp_path}\n"


def test_after_the_limit_was_lowered(tmp_path: Path) -> None:
    """Descriptors above a limit that was lowered are closed too (62)."""

    def work() -> tuple[set[int], set[int]]:
        import resource

        os.dup2(0, 50, inheritable=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return set(descriptors(Command("x"))), set(descriptors(Command("x", fds={7: 0})))

    assert in_child(work) == ({0, 1, 2}, {0, 1, 2, 7})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 12), st.integers(0, 5), max_size=8))
def test_any_mapping_is_right(tmp_path: Path, wanted: dict[int, int]) -> None:
    """Any numbers from any descriptors that lie among them: the child has exactly these."""

    def work() -> dict[int, str]:
        for i, fd in enumerate([fd.into_raw() for fd in files(tmp_path, 6)]):
            os.dup2(fd, 50 + i)
        for i in range(6):  # at 3 to 8: among the targets
            os.dup2(50 + i, 3 + i)
        os.closerange(9, 50)
        return descriptors(Command("x", fds={target: 3 + i for target, i in wanted.items()}))

    found = in_child(work)
    assert set(found) == {0, 1, 2, *wanted}
    assert {target: found[target] for target in wanted} == {target: f"f{i}" for target, i in wanted.items()}


class Moving:
    """Something with a fileno() that is another at each spawn."""

    def __init__(self) -> None:
        self.number = 0

    def fileno(self) -> int:
        """Where it is now."""
        return self.number


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    st.lists(st.lists(st.integers(0, 11), min_size=4, max_size=4), min_size=2, max_size=4),
)
@example(targets=[1], places=[[2, 0, 0, 0], [7, 0, 0, 0], [2, 0, 0, 0]])  # nothing above 2 is needed, but once
def test_any_numbers_are_right_in_one_command(tmp_path: Path, targets: list[int], places: list[list[int]]) -> None:
    """A command keeps its steps for other numbers; where these would need other steps, others are made (24)."""

    def work() -> list[dict[int, str]]:
        high = [fd.into_raw() for fd in files(tmp_path, 12)]
        for i, fd in enumerate(high):
            os.dup2(fd, 50 + i)
        sources = [Moving() for _ in targets]
        command = Command("/bin/sleep", "100", fds=dict(zip(targets, sources, strict=True)))
        seen = []
        for numbers in places:
            for i in range(12):  # at 0 to 11: among the targets
                os.dup2(50 + i, i)
            os.closerange(12, 50)
            for source, number in zip(sources, numbers, strict=False):
                source.number = number
            seen.append(opened(command))
        return seen

    for numbers, found in zip(places, in_child(work), strict=True):
        wanted = {0: "f0", 1: "f1", 2: "f2"} | {t: f"f{n}" for t, n in zip(targets, numbers, strict=False)}
        assert found == wanted


def test_steps_are_kept_while_the_shape_is_the_same(tmp_path: Path) -> None:
    """Pipes, files and a directory's descriptor come under other numbers at the next spawn: the same steps serve.

    They are kept from the second spawn on.
    """
    with Fd.open(tmp_path, os.O_DIRECTORY) as place:
        command = Command("pwd", stdin=PIPE, stdout=PIPE, stderr=tmp_path / "err", cwd=place, extra_env={"A": "1"})
        plans, between = [], []
        for _ in range(4):
            with command.spawn() as child:
                assert child.communicate() == (f"{tmp_path}\n".encode(), None)
            plans.append(command._compiled)
            between.append(os.open("/dev/null", os.O_RDONLY))
        for fd in between:
            os.close(fd)
    assert plans[0] is None
    assert plans[1] is not None and plans[1] is plans[2] is plans[3]


def test_a_failing_step_shows_the_numbers_of_its_own_spawn() -> None:
    """The error of steps that are kept names the descriptor that it was this time."""
    source = Moving()
    command = Command("true", fds={5: source})
    assert command.run().success
    for source.number in (987, 654):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            command.spawn()
        assert caught.value.__notes__[0].startswith(f"in the child: dup3({source.number}, 5, ")


def test_values_and_parameters_have_to_match() -> None:
    """The door to C refuses a number of values that is not that of the parameters, and a value that is no descriptor."""
    steps = Program()
    steps.fcntl(steps.parameter("fd"), 1, 0)
    steps.exit_group(0)
    for values in ((), (0, 0)):
        with pytest.raises(TypeError, match=r"Program without parameters|1 parameters, and there are 2 values"):
            native_spawn(Pid, (steps,), 0, -1, *values)
    for wrong, error in ((1.5, TypeError), (True, TypeError), (2**40, OverflowError), (closed(), ClosedError)):
        with pytest.raises(error):
            native_spawn(Pid, (steps,), 0, -1, wrong)
    with pytest.raises(TypeError, match="without parameters"):
        native_spawn(Pid, (steps, steps), 0, -1, 0)


def closed() -> Fd:
    fd = Fd.open("/dev/null")
    fd.close()
    return fd
