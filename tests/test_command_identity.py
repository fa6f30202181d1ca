"""Who a Command's child is and where: users, capabilities, namespaces, root."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest
from sleepers import capabilities, cgroup_made, proc, sleeping, status
from support import in_child, need_root

from rawsys import NULL, Command, Fd, Program, raw
from rawsys.command import Capabilities
from rawsys.constants import (
    CAP_CHOWN,
    CAP_NET_BIND_SERVICE,
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    PR_SET_DUMPABLE,
    RLIMIT_NOFILE,
    SIGKILL,
)


def test_limits_above_hard_as_an_ordinary_user() -> None:
    """EPERM from the kernel, in the child, as PermissionError; and so for every other privilege."""
    need_root()

    def work() -> list[str]:
        Command("/bin/true").run()
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        asked: list[dict[str, Any]] = [
            {"rlimits": {RLIMIT_NOFILE: hard + 1}}, {"user": 0}, {"group": 0}, {"groups": []}, {"nice": -5}, {"root": "/"},
            {"namespaces": int(CLONE_NEWUTS)}, {"capabilities": ((), None)}, {"securebits": 1},
        ]  # fmt: skip
        names = []
        for attributes in asked:
            with pytest.raises(PermissionError) as caught:
                Command("/bin/true", **attributes).spawn()
            names.append(caught.value.__notes__[0].removeprefix("in the child: ").split("(")[0])
        return names

    assert in_child(work) == [
        "prlimit64", "setresuid", "setresgid", "setgroups", "setpriority", "chroot", "in clone3 with CLONE_NEWUTS", "prctl", "prctl",
    ]  # fmt: skip


def test_a_user_by_name_brings_its_groups() -> None:
    """By name: the account's group and groups, unless given; by number: only the user."""
    need_root()
    shown = Command("id", user="nobody").output(text=True).stdout
    assert "uid=65534" in shown and "gid=65534" in shown and "groups=65534" in shown
    with sleeping(Command("x", user="nobody", group=5, groups=[])) as child:
        found = status(child)
        assert found["Gid"].split()[0] == "5" and found["Groups"].split() == []
    with sleeping(Command("x", user=65534)) as child:
        assert status(child)["Gid"].split()[0] == str(os.getgid())


def test_ambient_capabilities_of_an_ordinary_user() -> None:
    """A user that is not root keeps just the capabilities asked for, over setresuid and exec; the others go."""
    need_root()
    wanted = Capabilities(bounding={CAP_NET_BIND_SERVICE, CAP_CHOWN}, ambient={CAP_NET_BIND_SERVICE})
    with sleeping(Command("x", user=65534, group=65534, groups=[], capabilities=wanted, no_new_privs=True)) as child:
        found = status(child)
        only = capabilities(CAP_NET_BIND_SERVICE)
        assert (found["CapEff"], found["CapPrm"], found["CapInh"], found["CapAmb"]) == (only, only, only, only)
        assert found["CapBnd"] == capabilities(CAP_NET_BIND_SERVICE, CAP_CHOWN) and found["Uid"].startswith("65534")
    with sleeping(Command("x", user=65534, capabilities=(set(), None))) as child:
        found = status(child)
        assert {found[n] for n in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")} == {capabilities()}


def test_a_user_namespace() -> None:
    """The child maps our own id: to the user that is asked for, or to itself; an ordinary user may do that."""
    need_root()

    def work() -> list[list[str]]:
        Command("/bin/true").run()
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        raw.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        found = []
        asked: list[dict[str, Any]] = [{}, {"user": 0, "group": 0}]
        for attributes in asked:
            command = Command(
                "/bin/sh", "-c", "id -u; id -g; cat /proc/self/uid_map", namespaces=int(CLONE_NEWUSER), **attributes
            )
            try:
                found.append(command.output(text=True, check=True).stdout.split())
            except PermissionError as error:
                pytest.skip(f"no user namespaces here: {error}")
        return found

    assert in_child(work) == [["65534", "65534", "65534", "65534", "1"], ["0", "0", "0", "65534", "1"]]


def test_several_namespaces() -> None:
    """A PID namespace: the child is 1 there; with a network of its own; the parent death signal uses the pipe."""
    need_root()
    flags = int(CLONE_NEWPID | CLONE_NEWNET)
    out = Command(
        "sh", "-c", "echo $$; cat /proc/net/dev | wc -l", namespaces=flags, parent_death_signal=SIGKILL
    ).output(text=True)
    assert out.stdout.split()[0] == "1"
    with sleeping(Command("x", namespaces=flags, parent_death_signal=SIGKILL, stdin=NULL)) as child:
        assert sorted(os.listdir(f"/proc/{child.pid}/fd")) == ["0", "1", "2"]


def test_root_and_directory(tmp_path: Path) -> None:
    """chroot, and cwd inside it; without cwd the child stands at the new root."""
    need_root()
    (tmp_path / "in").mkdir()
    steps = Program()
    steps.openat(-100, "/in", os.O_DIRECTORY, 0)
    asked: list[dict[str, Any]] = [{}, {"cwd": "/in"}]
    for attributes in asked:
        command = Command("/bin/true", root=tmp_path, steps=steps, **attributes)
        with pytest.raises(FileNotFoundError):  # nothing to execute in there
            command.spawn()
    with pytest.raises(FileNotFoundError) as caught:
        Command("/bin/true", root=tmp_path, cwd="/etc").spawn()
    assert 'in the child: chdir("/etc")' in caught.value.__notes__


def test_cgroup_by_descriptor() -> None:
    """The child is born in the cgroup whose directory is given, also when that lies where a descriptor is placed."""
    need_root()
    with cgroup_made() as place:
        if place is None:
            pytest.skip("no cgroup v2 can be made here")
        with Fd.open(place, os.O_DIRECTORY) as fd:
            for fds in (dict[int, int](), {fd.fileno(): 0}):
                with sleeping(Command("x", cgroup=fd, fds=fds)) as child:
                    assert f"0::/{place.name}\n" in proc(child, "cgroup")
