"""The table of calls: complete, consistent, a mapping, and free of cost until it is asked."""

from __future__ import annotations

import re

import pytest
from support import run_python

from rawsys import table

TABLE = table.TABLE
TRAITS = {"waits", "mm", "creds", "keeps_gil", "thread", "answer32"}


def test_it_has_every_number_of_the_abi():
    """383 numbers, 366 of them calls that exist, 5 of these refused; the numbers ascend and none is there twice."""
    entries = list(TABLE)
    numbers = [entry.number for entry in entries]
    assert len(entries) == len(TABLE) == 383
    assert sum(entry.live for entry in entries) == 366
    refused = [entry.name for entry in entries if entry.status == "refused"]
    assert refused == ["rt_sigreturn", "vfork", "exit", "uretprobe", "uprobe"]
    assert numbers == sorted(set(numbers)) == [*range(336 + 1), *range(424, 470)]
    assert len({entry.name for entry in entries}) == 383


def test_it_is_a_mapping_by_name_and_by_number():
    """A name and a number find the same entry; `in` knows both; the module itself is the table."""
    import rawsys.table as module

    for entry in TABLE:
        assert module[entry.name] is module[entry.number] is entry
        assert entry.name in module
        assert entry.number in module
    assert "opennat" not in module
    assert 400 not in module
    assert -1 not in module
    assert module["openat"].number == 257


def test_a_missing_name_gives_the_near_miss():
    """KeyError names the calls that the asker may have meant, and says nothing where nothing is near."""
    with pytest.raises(KeyError, match="no system call 'opennat'; did you mean openat"):
        TABLE["opennat"]
    with pytest.raises(KeyError) as caught:
        TABLE["xyzzy_plugh"]
    assert "did you mean" not in str(caught.value)
    with pytest.raises(KeyError, match="400"):
        TABLE[400]


def test_every_row_is_consistent():
    """Status, kernel, manual page, return kind, traits, kinds, widths and families are of the known ones."""
    for entry in TABLE:
        names = [argument.name for argument in entry.arguments]
        assert entry.status in {"live", "reserved", "refused"}, entry.name
        assert entry.returns in {"none", "int", "size", "fd", "addr", "never"}, entry.name
        assert entry.traits <= TRAITS, entry.name
        assert len(names) == len(set(names)) <= 6, entry.name
        assert all(name.isidentifier() for name in entry.parameters), entry.name
        assert entry.summary, entry.name
        assert (entry.fd_condition is None) or entry.returns == "fd", entry.name
        assert entry.live or not entry.arguments, entry.name
        if entry.live:
            assert re.fullmatch(r"\d+\.\d+(\.\d+)?", entry.since or ""), entry.name
            assert entry.man is None or re.fullmatch(r"\w+\([0-9]\w*\)", entry.man), entry.name
        for argument in entry.arguments:
            where = f"{entry.name}.{argument.name}"
            assert argument.kind in table.MEMORY | table.STRINGS | table.NUMBERS, where
            assert argument.bits in {16, 32, 64}, where
            assert argument.family is None or re.fullmatch(r"\w+(\+\w+)*", argument.family), where
            assert argument.extent is None or argument.kind in table.MEMORY, where
            assert argument.ctype.isascii(), where
            if argument.kind in ("fd", "dirfd"):
                assert (argument.bits, argument.signed) == (32, True), where
            if argument.ctype.endswith("*"):
                assert argument.bits == 64, where


def test_the_kind_of_memory_agrees_with_the_c_type():
    """What the kernel declares const is never written, and a pointer to char that is read is memory or a string."""
    for entry in TABLE:
        for argument in entry.arguments:
            where = f"{entry.name}.{argument.name}"
            pointer = "*" in argument.ctype or "cap_user_" in argument.ctype
            if argument.kind in {"in", "out", "inout", "path", "str", "strings"}:
                assert pointer, where
            if argument.kind in table.NUMBERS - {"addr"}:
                assert not pointer, where
            if argument.ctype.startswith("const ") and argument.ctype.count("*") == 1:
                assert argument.kind not in {"out", "inout"}, where


def test_extents_refer_to_what_can_bear_them():
    """A count is a number, a length in memory is a 4-byte inout or out argument, and a constant is not 0."""
    for entry in TABLE:
        for argument in entry.arguments:
            extent = argument.extent
            if extent is None:
                continue
            where = f"{entry.name}.{argument.name} [{extent.text}]"
            other = entry.arguments[extent.argument]
            if extent.form == "constant":
                assert extent.plus > 0, where
            elif extent.form == "pointed":
                assert other.kind in {"out", "inout"}, where
                assert other.extent is not None, where
                assert (other.extent.form, other.extent.plus) == ("constant", 4), where
            elif extent.form in ("computed", "own_size"):
                names = {argument.name for argument in entry.arguments} | {"max", "u32"}
                assert set(re.findall(r"[a-z]\w*", extent.text)) <= names, where
            else:
                assert extent.form in {"scaled", "bits", "pages"}, where
                assert other.kind == "size", where


def test_calls_that_keep_the_gil_are_a_closed_list():
    """`blocks no` has a reason, and none of them takes a descriptor, a path, an address range or waits."""
    for entry in TABLE:
        if entry.may_block:
            assert entry.why_not is None, entry.name
            continue
        kinds = {argument.kind for argument in entry.arguments}
        assert entry.why_not, entry.name
        assert not kinds & {"fd", "dirfd", "path", "str", "strings"}, entry.name
        assert not entry.traits & {"waits", "mm"}, entry.name
        assert entry.returns not in {"fd", "addr", "never"}, entry.name


def test_refused_calls_name_the_right_tool():
    """Each refused call, and clone and clone3, say what to use instead; no other row does."""
    with_tool = {entry.name for entry in TABLE if entry.instead}
    refused = {entry.name for entry in TABLE if entry.status == "refused"}
    assert with_tool == refused | {"clone", "clone3"}


def test_known_facts():
    """Single facts that everybody can check in the manual."""
    assert TABLE["read"].number == 0
    assert TABLE["write"].arguments[1].kind == "in"
    assert TABLE["read"].arguments[1].kind == "out"
    assert TABLE["openat"].returns == "fd"
    assert TABLE["openat"].signature == "openat(dfd, filename, flags, mode, /)"
    assert TABLE["getpid"].signature == "getpid()"
    assert TABLE["ioperm"].parameters[0] == "from_"
    assert TABLE["poll"].arguments[0].extent.text == "nfds*8"
    assert TABLE["mincore"].arguments[2].extent.form == "pages"
    assert TABLE["accept"].arguments[1].extent.form == "pointed"
    assert TABLE["getpid"].may_block is False
    assert TABLE["read"].may_block is True
    assert TABLE["uselib"].status == "reserved"
    assert TABLE["read"].declaration == "read(unsigned int fd, char *buf, size_t count)"


@pytest.mark.parametrize(
    "bad",
    [
        "999\tx\t1.0\tlive\tint\tyes\t-\tx(2)\tx\tint strange_t a\t-",
        "999\tx\t1.0\tlive\tint\tyes\t-\tx(2)\tx\tthing int a\t-",
        "999\tx\t1.0\tlive\tint\tyes\t-\tx(2)\tx\tin void *a [b]\t-",
        "999\tx\t1.0\tlive\tint\tyes\t-\tx(2)\tx\tin void *a [max(a, b)]\t-",
        "999\tx\t1.0\tlive",
    ],
    ids=["unknown type", "unknown kind", "extent of nothing", "computed of nothing", "missing columns"],
)
def test_a_bad_line_is_refused(bad):
    """No width, kind or extent is guessed: `parse` raises for what it does not know."""
    with pytest.raises((ValueError, KeyError)):
        table.parse(bad)


def test_it_is_not_parsed_at_import():
    """Importing the package, both doors and the table reads no line of it; a call needs none either."""
    end = run_python(
        """
        import rawsys, rawsys.raw, rawsys.syscalls, rawsys.table
        rawsys.raw.getpid(); rawsys.raw.close(-1)
        assert not rawsys.table._by_number and not rawsys.table._by_name
        assert len(rawsys.table) == 383
        assert rawsys.table._by_number
        """
    )
    assert (end.returncode, end.stderr) == (0, "")
