"""The table agrees with what the running kernel says of its calls: events/syscalls/sys_enter_NAME/format in tracefs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from support import in_child, need_root

from rawsys import raw
from rawsys.table import TABLE

FUNCTIONS = {
    "stat": "newstat",
    "lstat": "newlstat",
    "fstat": "newfstat",
    "uname": "newuname",
    "umount2": "umount",
    "sendfile": "sendfile64",
}
"""Where the kernel's function, after which it names the event, is called otherwise than the call."""


def kernel_formats(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """For every call that the kernel lists: C type and name of each argument.  Mounts tracefs where nobody else sees it."""
    for answer in (
        raw.unshare(0x20000),  # CLONE_NEWNS
        raw.mount("none", "/", None, 0x4000 | 0x40000, None),  # MS_REC | MS_PRIVATE
        raw.mount("tracefs", folder, "tracefs", 0, None),
    ):
        if answer:
            pytest.skip(f"tracefs cannot be mounted: {os.strerror(-answer)}")
    events = folder / "events" / "syscalls"
    if not events.is_dir():
        pytest.skip("this kernel does not trace system calls")
    found = {}
    for event in events.glob("sys_enter_*"):
        fields = re.findall(r"field:(.*?)\s*(\w+);", (event / "format").read_text())
        names = [name for _, name in fields]
        found[event.name.removeprefix("sys_enter_")] = fields[names.index("__syscall_nr") + 1 :]
    return found


def plain(ctype: str) -> str:
    """A C type with one way of writing its stars, and without the kernel's mark of user memory."""
    return re.sub(r"\s*\*\s*", " *", ctype.replace("__user", "")).strip()


def test_the_table_agrees_with_the_running_kernel(tmp_path):
    """Each call that the kernel lists is a live row with the same argument names and C types in the same order."""
    need_root()
    formats = in_child(kernel_formats, tmp_path)
    rows = {FUNCTIONS.get(entry.name, entry.name): entry for entry in TABLE if entry.live}
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    if release <= (6, 18):  # a newer kernel may have calls that this table does not know yet
        assert formats.keys() <= rows.keys()
    compared = {name: rows[name] for name in formats.keys() & rows.keys()}
    assert len(compared) >= 300
    problems = []
    kernel: list[Any]
    table: list[Any]
    for name, entry in sorted(compared.items()):
        kernel = [(plain(ctype), argument) for ctype, argument in formats[name]]
        table = [(plain(argument.ctype), argument.name) for argument in entry.arguments]
        if release < (6, 18):  # the spelling is that of 6.18; an older kernel has the same arguments all the same
            kernel, table = [len(kernel)], [len(table)]
        if kernel != table:
            problems.append(f"{entry.name}: the kernel has {kernel}, the table {table}")
    assert not problems, "\n".join(problems)
