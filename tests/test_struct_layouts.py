"""The layouts of `rawsys.structs` against kernel headers, and against sizes that the kernel's documents state."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import layout_oracle as oracle
import pytest

from rawsys import structs

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

# From the kernel's documents and headers up to 6.18.
SIZES = {
    "bpf_attr": 168, "cachestat": 40, "cachestat_range": 16, "clone_args": 88, "epoll_event": 12, "file_attr": 24,
    "futex_waitv": 24, "io_uring_params": 120, "io_uring_sqe": 64, "io_uring_cqe": 16, "landlock_net_port_attr": 16,
    "landlock_path_beneath_attr": 12, "landlock_ruleset_attr": 24, "linux_dirent": 18, "linux_dirent64": 19,
    "lsm_ctx": 32, "mnt_id_req": 32, "mnt_ns_info": 16, "mount_attr": 32, "open_how": 24, "perf_event_attr": 136,
    "pidfd_info": 72, "procmap_query": 104, "ptrace_sud_config": 32, "ptrace_syscall_info": 88, "rseq": 32,
    "sched_attr": 56, "sigaction": 32, "siginfo": 128, "sigset": 8, "stat": 144, "statmount": 512, "statx": 256,
    "timex": 208, "user_regs_struct": 216, "user_fpregs_struct": 512, "ustat": 32, "utsname": 390, "xattr_args": 16,
}  # fmt: skip


@needs_gcc
@pytest.mark.parametrize("header", oracle.HEADERS)
def test_header_agrees(header: str, tmp_path: Path) -> None:
    """No size, offset, width or sign of a field contradicts the header; what it does not know yet is skipped."""
    agree, absent, contradict = oracle.compare(header, tmp_path)
    assert not contradict
    if not agree:
        pytest.skip(f"the headers here do not have {', '.join(absent[:3])}")


@needs_gcc
def test_enough_was_compared(tmp_path: Path) -> None:
    """The comparison is not empty: headers of 6.1 or newer know nearly all of it."""
    counts = [0, 0, 0]
    for header in oracle.HEADERS:
        for place, names in enumerate(oracle.compare(header, tmp_path)):
            counts[place] += len(names)
    agree, absent, contradict = counts
    print(f"{agree} facts agree, {absent} are not in the headers here, {contradict} contradict")
    assert agree > 1400
    assert contradict == 0


@needs_gcc
@pytest.mark.parametrize(("name", "header"), [("perf_event_attr", "linux/perf_event.h"), ("user_desc", "asm/ldt.h")])
def test_bit_fields(name: str, header: str, tmp_path: Path) -> None:
    """Each bit field sets the bits that the C compiler sets for it."""
    patterns = oracle.bit_patterns(name)
    source = oracle.bit_program(name, header)
    (tmp_path / "b.c").write_text(source)
    plain = {**os.environ, "LC_ALL": "C"}  # plain quotes in the messages
    built = subprocess.run(
        ["gcc", "-w", "-fmax-errors=0", "-o", tmp_path / "b", tmp_path / "b.c"],
        capture_output=True,
        text=True,
        env=plain,
    )
    if built.returncode:
        kept = [line for line in source.splitlines() if not any(f"s.{f} =" in line for f in missing(built.stderr))]
        (tmp_path / "b.c").write_text("\n".join(kept) + "\n")
        subprocess.run(["gcc", "-w", "-o", tmp_path / "b", tmp_path / "b.c"], check=True)
    lines = subprocess.run([tmp_path / "b"], capture_output=True, text=True, check=True).stdout.splitlines()
    for line in lines:
        field, *octets = line.split()
        seen = bytes.fromhex("".join(octets))
        assert patterns[field][: len(seen)] == seen, field
    assert len(lines) >= len(patterns) - 3


def missing(stderr: str) -> list[str]:
    return re.findall(r"has no member named '(\w+)'", stderr)


@pytest.mark.parametrize("name", SIZES)
def test_documented_size(name: str) -> None:
    """The size is the one that the kernel's documents state for 6.18."""
    assert structs.by_kernel_name(name).sizeof() == SIZES[name]


def test_every_structure_is_checked() -> None:
    """Each class is compared with a header or pinned by its size here."""
    compared = {name for names in oracle.HEADERS.values() for name in names.split()}
    classes = {n for n in structs.__all__ if isinstance(getattr(structs, n), type) and n != "KernelStruct"}
    assert classes - compared == oracle.NO_HEADER
    assert not compared - classes


def test_versions_grow() -> None:
    """SIZE_VER0 < SIZE_VER1 < ...; the last is the size of the class, where all versions are named."""
    for name in structs.__all__:
        kind = getattr(structs, name)
        sizes = [getattr(kind, f"SIZE_VER{n}") for n in range(9) if hasattr(kind, f"SIZE_VER{n}")]
        assert sizes == sorted(sizes)
        assert not sizes or sizes[-1] <= kind.sizeof()
