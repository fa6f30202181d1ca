"""The steps of a Command: the caller's own, those that fail, and those that are kept for the next spawn."""

from __future__ import annotations

import os
import signal

import pytest
from sleepers import sleeping, stat, status
from support import need_root

from rawsys import Command, Program, structs
from rawsys.constants import SCHED_BATCH
from rawsys.errors import BusyError, RefusedCallError
from rawsys.table import TABLE


def test_a_step_that_fails_is_named() -> None:
    """The error says which call failed in the child."""
    with pytest.raises(OSError) as caught:
        Command("true", affinity=[9999]).spawn()
    assert caught.value.__notes__[0].startswith("in the child: sched_setaffinity(0, 1256, ")


def test_scheduling_by_structure() -> None:
    """A sched_attr of structs, its size filled in where it was left out."""
    attr = structs.sched_attr(sched_policy=int(SCHED_BATCH), sched_nice=9)
    with sleeping(Command("x", scheduling=attr)) as child:
        assert (stat(child)[38], stat(child)[16]) == ("3", "9")


def test_steps_of_the_caller() -> None:
    """A Program between no_new_privs and exec: what it opens and closes, and its failure by name."""
    steps = Program()
    fd = steps.openat(-100, "/dev/null", os.O_RDWR, 0)
    steps.dup3(fd, 21, 0)
    steps.close(fd)
    steps.close_range(21, 21, 0)
    with sleeping(Command("x", steps=steps)) as child:
        assert sorted(os.listdir(f"/proc/{child.pid}/fd")) == ["0", "1", "2"]
    failing = Program()
    failing.getpid()
    failing.openat(-100, "/no/such", os.O_RDONLY, 0)
    with pytest.raises(FileNotFoundError) as caught:
        Command("true", steps=failing).spawn()
    assert (
        caught.value.filename == "/no/such" and 'in the child: openat(AT_FDCWD, "/no/such"' in caught.value.__notes__[0]
    )
    tolerant = Program()
    tolerant.openat(-100, "/no/such", os.O_RDONLY, 0, allow={2})
    assert Command("true", steps=tolerant).run().success
    looked_at = Program()
    Command("true", steps=looked_at)
    with pytest.raises(BusyError, match="is in a Command"):  # what was looked at is what runs
        looked_at.getpid()
    asking = Program()
    asking.umask(asking.parameter("mask"))
    with pytest.raises(TypeError, match="without parameters"):
        Command("true", steps=asking).spawn()


def test_steps_that_change_memory_are_refused() -> None:
    """Until exec the child's memory is ours: mmap's family, brk, and prctl's options for memory, by name."""
    for entry in TABLE:
        if "mm" not in entry.traits or not entry.live or entry.status == "refused":
            continue
        steps = Program()
        values = [bytearray(4096) if a.direction else 0 for a in entry.arguments]
        getattr(steps, entry.name)(*values)
        with pytest.raises(RefusedCallError, match=f"{entry.name} is refused in the steps"):
            Command("true", steps=steps)
    for option in (4, 41, 65, 67, 35, 0x53564D41):
        steps = Program()
        steps.prctl(option, 0, 0, 0, 0)
        with pytest.raises(RefusedCallError, match="prctl, PR_SET_"):
            Command("true", steps=steps)
    steps = Program()
    steps.execve("/bin/true", ["true"], [])
    with pytest.raises(RefusedCallError, match="execve"):
        Command("true", steps=steps)


def test_the_second_spawn_is_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command keeps its compiled steps; what they depend on besides is looked at again: environment, mask, accounts."""
    need_root()
    import pwd

    command = Command("x", user="nobody", groups=[])
    with sleeping(command) as child:
        assert status(child)["Uid"].split()[0] == "65534"
    shown = Command("id", "-u", user="nobody", groups=[])
    assert shown.output(text=True).stdout == "65534\n"
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", 4321, 4321, "", "/", "/bin/sh")))
    assert shown.output(text=True).stdout == "4321\n"
    for number in (
        Command("/bin/sh", "-c", "exit $X", user=1234),
        Command("/bin/sh", "-c", "exit $X", extra_env={"Y": "5"}),
    ):
        for code in ("3", "4", "4"):
            monkeypatch.setenv("X", code)
            assert number.run().code == int(code)
    plain = Command("grep", "-q", "^SigBlk:.*0200$", "/proc/self/status")
    assert plain.run().code == 1
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        assert plain.run().code == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    assert plain.run().code == 1
