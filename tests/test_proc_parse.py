"""The parsers of /proc's text: generated lines come back as what made them, and no text harms."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawsys._native.proc import parse_maps, parse_smaps, parse_stats
from rawsys.proc.regions import KINDS, MemoryRegion, Region
from rawsys.proc.stat import Stat

WORD = st.integers(0, 2**64 - 1)
NAMES = st.one_of(
    st.just(b""),
    st.sampled_from([b"[heap]", b"[stack]", b"[vdso]", b"[vvar]", b"[anon:x y]", b"anon_inode:[io_uring]"]),
    st.binary(max_size=40).map(lambda name: b"/" + name.replace(b"\n", b"\\012").replace(b"\0", b"")),
)
FIELDS = [
    "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean",
    "Private_Dirty", "Referenced", "Anonymous", "KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped",
    "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss", "Locked", "THPeligible", "ProtectionKey",
]  # fmt: skip


@st.composite
def regions(draw: st.DrawFn) -> tuple[int, int, str, int, tuple[int, int], int, bytes]:
    """What a line of maps says."""
    perms = "".join(draw(st.sampled_from(pair)) for pair in ("r-", "w-", "x-", "ps"))
    device = (draw(st.integers(0, 2**12 - 1)), draw(st.integers(0, 2**20 - 1)))
    return draw(WORD), draw(WORD), perms, draw(WORD), device, draw(WORD), draw(NAMES)


def line(region: tuple[int, int, str, int, tuple[int, int], int, bytes]) -> bytes:
    """As show_map_vma of the kernel writes it."""
    start, end, perms, offset, (major, minor), inode, name = region
    head = f"{start:08x}-{end:08x} {perms} {offset:08x} {major:02x}:{minor:02x} {inode} "
    return (head.ljust(73).encode() + name if name else head.encode()) + b"\n"


def fields(record: Any) -> tuple[object, ...]:
    """What does not depend on other regions."""
    return record[:7]


@given(st.lists(regions(), max_size=20))
def test_maps_lines_come_back(made: list[tuple[Any, ...]]) -> None:
    """Addresses, rights, offset, device as st_dev, inode and name are those that made the line."""
    found = parse_maps(b"".join(map(line, made)), Region, b"", False)
    assert [fields(region) for region in found] == [
        (start, end, perms, offset, os.makedev(*device), inode, os.fsdecode(name))
        for start, end, perms, offset, device, inode, name in made
    ]
    assert all(region.kind in KINDS and region.deleted is False for region in found)


@given(st.lists(st.tuples(regions(), st.lists(st.integers(0, 2**50), min_size=23, max_size=23)), max_size=5), st.data())
def test_smaps_entries_come_back(made: list[tuple[Any, list[int]]], data: st.DataObject) -> None:
    """Each count is in its field, in bytes, in whatever order and however many the kernel has; unknown ones are skipped."""
    text = b""
    kept = data.draw(st.lists(st.sampled_from(range(23)), unique=True))
    for region, counts in made:
        rows = [f"{FIELDS[i]}:{counts[i]:>20}{' kB' if i < 21 else ''}\n" for i in kept]
        text += line(region) + "".join(["Size: 4 kB\n", *rows, "Brand_New: 7 kB\n", "VmFlags: rd ex mr \n"]).encode()
    found = parse_smaps(text, MemoryRegion, b"", False)
    assert [tuple(record[9:32]) for record in found] == [
        tuple((counts[i] * (1024 if i < 21 else 1)) if i in kept else 0 for i in range(23)) for _, counts in made
    ]
    assert {record.vm_flags for record in found} <= {"rd ex mr"}
    assert [fields(r) for r in found] == [
        fields(r) for r in parse_maps(b"".join(line(region) for region, _ in made), Region, b"", False)
    ]


STAT_NUMBERS = st.lists(st.integers(-(2**31), 2**63 - 1), min_size=49, max_size=49)


@given(
    st.integers(1, 2**22),
    st.binary(max_size=15).map(lambda name: name.replace(b"\0", b"")),
    st.sampled_from("RSDTtZXI"),
    STAT_NUMBERS,
)
def test_stat_lines_come_back(pid: int, name: bytes, state: str, numbers: list[int]) -> None:
    """Edge case 110: whatever the name is, `) R (` and newlines too, all fields are those that made the line."""
    text = b"%d (%b) %b " % (pid, name, state.encode()) + " ".join(map(str, numbers)).encode() + b"\n"
    (found,) = parse_stats([text], Stat)
    field = dict(enumerate(numbers, 4))
    assert (found.pid, found.name, found.state) == (pid, os.fsdecode(name), state)
    assert (found.ppid, found.group, found.session, found.priority, found.nice) == tuple(
        field[n] for n in (4, 5, 6, 18, 19)
    )
    assert (found.user_time, found.start_time) == (field[14] / 100, field[22] / 100)
    assert found.rss == max(field[24], 0) * 4096 % 2**64
    assert (found.virtual, found.policy, found.env_end, found.exit_code) == tuple(field[n] for n in (23, 41, 51, 52))


@pytest.mark.parametrize("name", [b") R (", b"a b", b"x\ny", b"", b"((((", b"))))", b"\xff\xfe"])
def test_names_that_look_like_the_line(name: bytes) -> None:
    """The last bracket of the line closes the name."""
    (found,) = parse_stats([b"7 (%b) S 1 2 3\n" % name], Stat)
    assert (os.fsencode(found.name), found.state, found.ppid, found.session) == (name, "S", 1, 3)


@given(
    st.lists(st.one_of(st.binary(max_size=200), st.sampled_from([b"7 (a) S 1\n", b"00-01 r--p 0 0:0 0\n"])), max_size=4)
)
def test_no_text_harms(pieces: list[bytes]) -> None:
    """Rubbish is ValueError or a record, never a crash or a read behind its end."""
    text = b"".join(pieces)
    for parse in (parse_maps, parse_smaps):
        with contextlib.suppress(ValueError):
            parse(text, Region if parse is parse_maps else MemoryRegion, b"", True)
    with contextlib.suppress(ValueError):
        parse_stats([text], Stat)


def test_arguments() -> None:
    """Wrong types are TypeError; errnos among the texts are left out."""
    assert parse_stats([-2, -3], Stat) == []
    with pytest.raises(TypeError):
        parse_stats(["x"], Stat)  # type: ignore[list-item]
    with pytest.raises(TypeError):
        parse_maps(b"00-01 r--p 0 0:0 0\n", int, b"", False)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="at byte 19"):
        parse_maps(b"00-01 r--p 0 0:0 0\nrubbish\n", Region, b"", False)
    with pytest.raises(ValueError, match="not the text"):
        parse_stats([b"7 a S"], Stat)


KIND_CASES = {
    "program": [
        ("400-500 r--p 0 8:1 9 /p", "rodata"),
        ("500-600 r-xp 0 8:1 9 /p", "text"),
        ("600-700 rw-p 0 8:1 9 /p", "data"),
        ("700-800 rw-p 0 0:0 0", "bss"),
        ("900-a00 rw-p 0 0:0 0 [heap]", "heap"),
        ("a00-b00 r--p 0 8:1 8 /locale", "file"),
        ("b00-c00 rw-s 0 8:1 9 /p", "shared"),
        ("c00-d00 ---p 0 0:0 0", "guard"),
        ("d00-e00 rw-p 0 0:0 0", "anon"),
        ("e00-f00 r-xp 0 0:0 0", "text"),
        ("f00-1000 rw-p 0 0:0 0 [anon:arena]", "anon"),
        ("1000-1100 r--p 0 0:0 0 [vvar_vclock]", "vvar"),
        ("1100-1200 r-xp 0 0:0 0 [vdso]", "vdso"),
        ("1200-1300 rw-p 0 0:0 0 [stack]", "stack"),
        ("1300-1400 r--p 0 8:1 7 [stack]", "file"),
        ("1400-1500 --xp 0 0:0 0 [vsyscall]", "vsyscall"),
    ],
}


def test_kinds() -> None:
    """Each rule of `Kind`, and that a file called [stack] is a file."""
    rows = KIND_CASES["program"]
    found = parse_maps("".join(f"{text}\n" for text, _ in rows).encode(), Region, b"", False)
    assert [region.kind for region in found] == [kind for _, kind in rows]


def test_thread_stacks_by_pointer_and_by_guard() -> None:
    """A known stack pointer tells a stack; only when one is missing, the guard page does."""
    text = b"1000-2000 ---p 0 0:0 0\n2000-9000 rw-p 0 0:0 0\n10000-20000 rw-p 0 0:0 0\n"

    def kinds(pointers: bytes, guess: bool) -> list[str]:
        return [region.kind for region in parse_maps(text, Region, pointers, guess)]

    assert kinds(b"", False) == ["guard", "anon", "anon"]
    assert kinds(b"", True) == ["guard", "thread_stack", "anon"]
    assert kinds((0x1FFF8).to_bytes(8, "little"), False) == ["guard", "anon", "thread_stack"]
