"""The constants: their values, their classes, their laziness, and numbers written in their names."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import pickle
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
import time
from enum import IntEnum, IntFlag
from pathlib import Path
from types import ModuleType

import pytest
from c_oracle import UNITS, header_version, values

import rawsys
from rawsys import _catalog, _stubs, constants

PACKAGE = Path(constants.__file__).parent

# What differs on purpose, each with its reason.
NOT_LIBC = {
    "O_LARGEFILE": "libc has 0 where files are large anyway",
    "SIGRTMIN": "the kernel's header counts libc's own two in",
    "SIGRTMAX": "not a constant in libc",
    "PIDFD_GET_INFO": "the number holds the size of the structure, which grows with the headers",
    "HOST_NAME_MAX": "libc's",
    "CAP_LAST_CAP": "grows with the headers",
    "SECURE_ALL_BITS": "grows with the headers",
    "SECURE_ALL_LOCKS": "grows with the headers",
}


def rows() -> list[_catalog.Constant]:
    return [row for family in constants.families() for row in _catalog.rows(family)]


def same(ours: int, theirs: int) -> bool:
    """Whether two numbers are the same to the kernel: C extends the sign of an int that is 1 << 31."""
    if (ours - theirs) % (1 << 64) == 0:
        return True
    return 0 <= ours < 1 << 32 and theirs % (1 << 64) == (ours - (1 << 32)) % (1 << 64)


def everything() -> list[str]:
    """__all__, which the stub leaves out for its size."""
    names: list[str] = vars(constants)["__getattr__"]("__all__")
    return names


class TestTable:
    def test_every_row_is_well_formed(self) -> None:
        """Six columns, a kind, a name of C, a version up to 6.18."""
        for row in rows():
            assert row.kind in ("flag", "enum", "plain"), row
            assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", row.name), row
            assert re.fullmatch(r"|[2-6]\.\d+(\.\d+)?", row.since), row
            assert not row.since or tuple(map(int, row.since.split("."))) <= (6, 18), row
            assert row.kind != "flag" or row.value >= 0, row

    def test_a_family_stands_together_under_its_heading(self) -> None:
        """The look-up by text finds all of it: no rows elsewhere, one kind, one heading with words in it."""
        lines = [line for line in _catalog.text().splitlines() if not line.startswith("#")]
        order = [line.split("\t")[0] for line in lines]
        assert [name for at, name in enumerate(order) if not at or order[at - 1] != name] == list(constants.families())
        for family in constants.families():
            assert len({row.kind for row in _catalog.rows(family)}) == 1
            assert _catalog.doc(family)

    def test_names_are_unique(self) -> None:
        """A name is one constant, and no class or function is called like one."""
        names = _catalog.names()
        assert len(names) == len(set(names))
        assert len(_catalog.classes()) == sum(kind != "plain" for kind in _catalog.kinds().values())
        assert not set(names) & {*_catalog.classes(), *"family", "families", "decode", "describe"}

    def test_the_stub_is_fresh(self) -> None:
        """constants.pyi is what the table gives."""
        assert (PACKAGE / "constants.pyi").read_text() == _stubs.stub_text()


class TestValues:
    @pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
    def test_headers_agree(self, tmp_path: Path) -> None:
        """Each constant that the kernel's headers here define, or else libc's, has the value that they give."""
        table = {row.name: row for row in rows() if row.name not in NOT_LIBC}
        found: set[str] = set()
        for unit in UNITS:
            theirs = values(unit, [name for name in table if name not in found], tmp_path)
            wrong = {name: value for name, value in theirs.items() if not same(table[name].value, value)}
            assert not wrong, unit
            found |= theirs.keys()
        version = header_version()
        expected = {
            n for n, row in table.items() if not row.since or tuple(map(int, row.since.split(".")))[:2] <= version
        }
        compared = len(found & expected) / len(expected)
        print(f"{len(found)} of {len(table)} compared, {compared:.1%} of those that Linux {version} has")
        assert compared >= 0.9, sorted(expected - found)

    @pytest.mark.parametrize(
        "module",
        [errno, fcntl, mmap, os, resource, select, signal, socket, stat, termios, time],
        ids=lambda module: str(module.__name__),
    )
    def test_the_standard_library_agrees(self, module: ModuleType) -> None:
        """Each number that a module of Python has under a constant's name is that number."""
        known = {row.name: row.value for row in rows() if row.name not in NOT_LIBC or module is signal}
        theirs = {name: value for name, value in vars(module).items() if name in known and isinstance(value, int)}
        assert len(theirs) >= 5
        assert {name: value for name, value in theirs.items() if not same(known[name], int(value))} == {}

    def test_what_programs_need_is_there(self) -> None:
        """One name of each corner, with the value of the kernel's interface."""
        assert constants.O_CLOEXEC == 0o2000000
        assert constants.CLONE_INTO_CGROUP == 0x200000000
        assert constants.PIDFD_GET_INFO == 0xC040FF0B
        assert constants.SIGRTMIN == 34
        assert constants.AT_FDCWD == -100
        assert constants.NAME_MAX == 255
        assert constants.RLIM_INFINITY == 2**64 - 1
        assert getattr(constants, "__WALL") == 0x40000000  # an attribute of this name is mangled in a class


def run(code: str) -> str:
    """Runs code in an interpreter that has imported nothing."""
    source = f"import sys; sys.path[:] = {[str(PACKAGE.parent), *sys.path]!r}\n{code}"
    return subprocess.run([sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, check=True).stdout


class TestLaziness:
    def test_import_reads_nothing(self) -> None:
        """Importing the module loads neither enum nor the table."""
        code = """
import rawsys
opened = []
before = set(sys.modules)
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
import rawsys.constants
assert set(sys.modules) - before == {"rawsys.constants"}, set(sys.modules) - before
assert not [path for path in opened if str(path).endswith(".tsv")], opened
rawsys.constants.O_CLOEXEC
assert [path for path in opened if str(path).endswith(".tsv")]
"""
        assert run(code) == ""

    def test_a_family_is_built_alone(self) -> None:
        """The first constant of a family builds its class and no other; numbers are written without any class."""
        code = """
from rawsys import constants
assert constants.decode("O", 0) == "O_RDONLY"
assert constants.describe("O_RDWR").value == 2
assert "enum" not in sys.modules and "rawsys._families" not in sys.modules
constants.CLOCK_TAI
assert list(sys.modules["rawsys._families"]._built) == ["CLOCK"]
assert "CLOCK_MONOTONIC" in vars(constants) and "O_RDWR" not in vars(constants)
"""
        assert run(code) == ""

    def test_questions_of_the_import_system_are_free(self) -> None:
        """A dunder that is not there is refused without a look into the table."""
        code = """
from rawsys import constants
assert not hasattr(constants, "__path__") and not hasattr(constants, "__wrapped__")
assert "rawsys._catalog" not in sys.modules
"""
        assert run(code) == ""

    def test_threads_see_one_class(self) -> None:
        """Threads that ask for a family at the same time get the same class."""
        code = """
import threading
from rawsys import constants
sys.setswitchinterval(1e-6)
gate, seen = threading.Barrier(8), []
def ask():
    gate.wait()
    seen.append(type(constants.PR_SET_NAME))
threads = [threading.Thread(target=ask) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(set(seen)) == 1 and len(seen) == 8
"""
        assert run(code) == ""


class TestModule:
    def test_all_is_complete(self) -> None:
        """__all__ and dir() are the same, and each name in them is there."""
        names = everything()
        assert names == dir(constants) == sorted(names)
        assert {row.name for row in rows()} < set(names)
        assert all(hasattr(constants, name) for name in names)

    def test_star_import(self) -> None:
        """from rawsys.constants import * brings every name."""
        namespace: dict[str, object] = {}
        exec("from rawsys.constants import *", namespace)  # noqa: S102  # the statement is what is tested
        assert set(everything()) <= set(namespace)

    @pytest.mark.parametrize(
        ("wrong", "right"),
        [("O_CLOEXC", "O_CLOEXEC"), ("sigint", "SIGINT"), ("Oflags", "OFlags"), ("MAP_ANONIMOUS", "MAP_ANONYMOUS")],
    )
    def test_a_wrong_name_tells_the_near_one(self, wrong: str, right: str) -> None:
        """AttributeError names what was probably meant."""
        with pytest.raises(AttributeError, match=f"no attribute '{wrong}'; did you mean '{right}'"):
            getattr(constants, wrong)

    def test_nothing_near(self) -> None:
        """A name like no other is refused without advice."""
        with pytest.raises(AttributeError, match=r"no attribute 'quite_different'$"):
            constants.quite_different  # type: ignore[attr-defined]  # noqa: B018  # the look-up is what is tested

    def test_family_and_describe(self) -> None:
        """A prefix gives the class, a name its row, and wrong ones a ValueError with the near one."""
        assert constants.family("O") is constants.OFlags
        assert constants.family("Signal") is constants.Signal
        assert constants.family("LIMIT") is int
        assert {constants.family(name) for name in constants.families()} >= {
            constants.Pr,
            constants.E,
            constants.MapFlags,
        }
        row = constants.describe("PIDFD_INFO_EXIT")
        assert (row.family, row.kind, row.value, row.since) == ("PIDFD_INFO", "flag", 8, "6.15")
        assert repr(row) == "<flag PIDFD_INFO_EXIT = 0x8, family PIDFD_INFO, since Linux 6.15>"
        with pytest.raises(ValueError, match="no family of constants 'CLOK'; did you mean 'CLOCK'"):
            constants.family("CLOK")
        with pytest.raises(ValueError, match="no constant 'O_RDONL'; did you mean 'O_RDONLY'"):
            constants.describe("O_RDONL")
        for odd in ("", "O\tflag", "O+S", "\n"):
            with pytest.raises(ValueError, match="no family"):
                constants.family(odd)

    @pytest.mark.parametrize("family", constants.families())
    def test_members_are_the_module_s(self, family: str) -> None:
        """Each constant is a member of its family's class under its own name, and an int."""
        made = constants.family(family)
        for row in _catalog.rows(family):
            value = getattr(constants, row.name)
            assert type(value) is made
            assert value == row.value
            if made is not int:
                assert made[row.name] is value
                assert made.__module__ == "rawsys.constants"
                assert getattr(constants, made.__name__) is made
                assert made.__doc__

    def test_classes_follow_the_rule(self) -> None:
        """FOO_* bits are FooFlags, exclusive BAR_* are Bar, a FLAG at the end is not said twice."""
        assert _catalog.class_name("MOUNT_ATTR", "flag") == "MountAttrFlags"
        assert _catalog.class_name("SCHED_FLAG", "flag") == "SchedFlags"
        assert _catalog.class_name("PR_CAP_AMBIENT", "enum") == "PrCapAmbient"
        assert _catalog.class_name("Signal", "enum") == "Signal"


class TestClasses:
    def test_flags_keep_unknown_bits(self) -> None:
        """A bit that the table does not know survives every operation."""
        flags = constants.OFlags(0o2000001 | 1 << 40)
        assert isinstance(flags, IntFlag)
        assert flags == 0o2000001 | 1 << 40
        assert flags & ~constants.O_CLOEXEC == 1 | 1 << 40
        assert (flags | constants.O_APPEND) ^ constants.O_APPEND == flags
        assert repr(flags) == "<OFlags.O_WRONLY|O_CLOEXEC|0x10000000000: 0x10000080001>"

    def test_zero_and_several_bits(self) -> None:
        """O_RDONLY is 0, O_ACCMODE and O_TMPFILE are several bits, and all of them are members."""
        assert repr(constants.O_RDONLY) == "<OFlags.O_RDONLY: 0x0>"
        assert not constants.O_RDONLY
        assert (constants.O_RDWR | constants.O_CLOEXEC) & constants.O_ACCMODE is constants.O_RDWR
        assert constants.O_DIRECTORY in constants.O_TMPFILE
        assert repr(constants.O_TMPFILE | constants.O_RDWR) == "<OFlags.O_RDWR|O_TMPFILE: 0x410002>"
        assert constants.O_SYNC.name == "O_SYNC"

    def test_enums_accept_what_is_newer(self) -> None:
        """A number without a name is a member with its number for a name; what is no int is refused."""
        newer = constants.Pr(4321)
        assert isinstance(newer, IntEnum)
        assert (newer, newer.value, newer.name) == (4321, 4321, "4321")
        assert repr(newer) == "<Pr.4321: 4321>"
        assert constants.Pr(15) is constants.PR_SET_NAME
        assert 4321 not in list(constants.Pr)
        with pytest.raises(ValueError, match="is not a valid"):
            constants.Pr("PR_SET_NAME")  # type: ignore[arg-type]  # what is tested

    def test_aliases(self) -> None:
        """Of two names for one number both are there, and the first is its name."""
        assert constants.EWOULDBLOCK is constants.EAGAIN
        assert constants.EWOULDBLOCK.name == "EAGAIN"
        assert constants.SIGPOLL is constants.SIGIO

    def test_numbers_stay_numbers(self) -> None:
        """Written into a string, a constant is its number, as every IntEnum is."""
        assert f"{constants.ENOENT}" == str(constants.ENOENT) == "2"
        assert f"{constants.O_CLOEXEC:#o}" == "0o2000000"
        assert constants.MAP_HUGETLB | constants.MAP_HUGE_2MB == 0x54040000

    def test_pickle(self) -> None:
        """A constant comes back as itself, an unknown one as its number in its class."""
        for value in (
            constants.O_CLOEXEC,
            constants.ENOENT,
            constants.SIGRTMIN,
            constants.O_RDWR | constants.O_CLOEXEC,
        ):
            assert pickle.loads(pickle.dumps(value)) is value
        newer = pickle.loads(pickle.dumps(constants.Pr(4321)))
        assert type(newer) is constants.Pr
        assert newer == 4321


class TestDecode:
    @pytest.mark.parametrize(
        ("family", "value", "text"),
        [
            ("O", 0, "O_RDONLY"),
            ("O", 0o2000000, "O_RDONLY|O_CLOEXEC"),
            ("O", 0o2000002 | 1 << 40, "O_RDWR|O_CLOEXEC|0x10000000000"),
            ("O", 3, "O_ACCMODE"),
            ("O", 0o20200002, "O_RDWR|O_TMPFILE"),
            ("O", 0o4010001, "O_WRONLY|O_SYNC"),
            ("DIRFD", -100, "AT_FDCWD"),
            ("DIRFD", 5, "5"),
            ("AT", 0, "0"),
            ("AT", 0x300, "AT_SYMLINK_NOFOLLOW|AT_REMOVEDIR"),
            ("AT_EACCESS+AT", 0x300, "AT_EACCESS|AT_SYMLINK_NOFOLLOW"),
            ("S", 0o100644, "S_IFREG|S_IROTH|S_IRGRP|S_IWUSR|S_IRUSR"),
            ("PROT", 0, "PROT_NONE"),
            ("MAP", 0x22, "MAP_PRIVATE|MAP_ANONYMOUS"),
            ("MAP", 3, "MAP_SHARED_VALIDATE"),
            ("MAP+MAP_HUGE", 0x40022 | 21 << 26, "MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|MAP_HUGE_2MB"),
            ("SOCK+SOCK_FLAG", 0o2000001, "SOCK_STREAM|SOCK_CLOEXEC"),
            ("CLONE+Signal", 0x4111, "CLONE_VM|CLONE_VFORK|SIGCHLD"),
            ("CLONE+Signal", 0x111 | 1 << 50, "CLONE_VM|0x4000000000011"),
            ("FUTEX+FUTEX_FLAG", 128, "FUTEX_WAIT_PRIVATE"),
            ("FUTEX+FUTEX_FLAG", 256, "FUTEX_WAIT|FUTEX_CLOCK_REALTIME"),
            ("MOUNT_ATTR", 0x32, "MOUNT_ATTR_NOSUID|0x30"),
            ("EPOLL", 0x80000001, "EPOLLIN|EPOLLET"),
            ("EPOLL", -0x7FFFFFFF, "EPOLLIN|EPOLLET"),
            ("E", 2, "ENOENT"),
            ("E", 9999, "0x270f"),
            ("Signal", 9, "SIGKILL"),
            ("Signal", 37, "SIGRTMIN+3"),
            ("Signal", 32, "32"),
            ("IOCTL", 0x5401, "TCGETS"),
            ("LIMIT", 255, "NAME_MAX"),
            ("SECCOMP_RET", 0x7FFF0000, "SECCOMP_RET_ALLOW"),
        ],
    )
    def test_as_strace_writes_it(self, family: str, value: int, text: str) -> None:
        """Names by family, unknown bits in hexadecimal, zero by its name."""
        assert constants.decode(family, value) == text

    @pytest.mark.parametrize("family", constants.families())
    def test_every_number_is_its_name(self, family: str) -> None:
        """A constant alone is written in its name, or in that of the first with its value."""
        first: dict[int, str] = {}
        for row in _catalog.rows(family):
            first.setdefault(row.value, row.name)
        masks = {row.value for row in _catalog.rows(family) if row.remark.startswith("field")}
        for value, name in first.items():
            if value not in masks:
                assert name in constants.decode(family, value).split("|")

    def test_unknown_family(self) -> None:
        """Only a family can be wrong, a number never."""
        with pytest.raises(ValueError, match="no family of constants 'OO'"):
            constants.decode("OO", 0)
        for value in (-1, -(2**63), 2**64 - 1, 2**70):
            assert constants.decode("PROT", value)


def test_the_package_is_the_one_under_test() -> None:
    """The tests run against the files beside them or the installed ones, not against a stray copy."""
    assert PACKAGE == Path(rawsys.__file__).parent
    assert threading.active_count() == 1
