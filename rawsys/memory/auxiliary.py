"""The auxiliary vector: what the kernel tells a program when it begins."""

from __future__ import annotations

from typing import NamedTuple

from rawsys import raw
from rawsys._native import handle  # noqa: F401  # comes before any other family
from rawsys._native.memory import read_process
from rawsys.fd import Fd
from rawsys.vdso import _getauxval

_PR_GET_AUXV = 0x41555856
_ENTRIES = 64  # the kernel has room for fewer


class AuxiliaryVector(NamedTuple):
    """What `getauxval(3)` gives, by name; None for what this kernel did not give.  Addresses are ints."""

    page_size: int | None
    """AT_PAGESZ: bytes of a page."""
    clock_ticks: int | None
    """AT_CLKTCK: times(2) counts so many in a second."""
    uid: int | None
    """AT_UID: the real user at the time of exec."""
    euid: int | None
    """AT_EUID: the effective user then."""
    gid: int | None
    """AT_GID: the real group then."""
    egid: int | None
    """AT_EGID: the effective group then."""
    secure: bool | None
    """AT_SECURE: exec gave privileges, so the environment is not to be trusted."""
    program: bytes | None
    """AT_EXECFN: the file name that was executed."""
    platform: str | None
    """AT_PLATFORM: "x86_64"."""
    hardware: int | None
    """AT_HWCAP: CPUID leaf 1, register EDX."""
    hardware2: int | None
    """AT_HWCAP2: bit 0 says that ring 3 has MWAIT, bit 1 that it has FSGSBASE."""
    vdso: int | None
    """AT_SYSINFO_EHDR: address of the vDSO's image."""
    entry: int | None
    """AT_ENTRY: address at which the program itself begins."""
    interpreter: int | None
    """AT_BASE: address of the dynamic loader; 0 for a static program."""
    program_headers: int | None
    """AT_PHDR: address of the program's headers."""
    program_header_size: int | None
    """AT_PHENT: bytes of each."""
    program_header_count: int | None
    """AT_PHNUM: how many there are."""
    random: int | None
    """AT_RANDOM: address of 16 random bytes.  libc makes its secrets of them: they are not for show."""
    signal_stack: int | None
    """AT_MINSIGSTKSZ: bytes that a signal frame takes on this processor."""
    rseq_size: int | None
    """AT_RSEQ_FEATURE_SIZE: bytes of struct rseq that the kernel uses."""
    rseq_align: int | None
    """AT_RSEQ_ALIGN: and their alignment."""
    entries: dict[int, int]
    """All of it by the kernel's AT numbers, those without a name here too."""


_FIELDS = {"page_size": 6, "clock_ticks": 17, "uid": 11, "euid": 12, "gid": 13, "egid": 14, "hardware": 16, "hardware2": 26,
           "vdso": 33, "entry": 9, "interpreter": 7, "program_headers": 3, "program_header_size": 4,
           "program_header_count": 5, "random": 25, "signal_stack": 51, "rseq_size": 27, "rseq_align": 28}  # fmt: skip
_SECURE, _EXECFN, _PLATFORM = 23, 31, 15


def auxv() -> AuxiliaryVector:
    """`getauxval(3)`: the auxiliary vector of this process, as the kernel keeps it.

    Asked by prctl(PR_GET_AUXV) (Linux 6.4), else read from /proc/self/auxv, else from libc's copy, which can be asked for
    known entries only and has no AT_HWCAP and AT_PLATFORM of the kernel's.
    """
    entries = _entries()
    numbers = {name: entries.get(key) for name, key in _FIELDS.items()}
    secure = entries.get(_SECURE)
    platform = _text(entries.get(_PLATFORM))
    return AuxiliaryVector(
        **numbers,
        secure=None if secure is None else bool(secure),
        program=_text(entries.get(_EXECFN)),
        platform=None if platform is None else platform.decode("ascii", "replace"),
        entries=entries,
    )


def _entries() -> dict[int, int]:
    memory = bytearray(16 * _ENTRIES)
    size = raw.prctl(_PR_GET_AUXV, memory, len(memory), 0, 0)
    data = bytes(memory[:size]) if size > 0 else _from_file()
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) & ~15, 8)]
    found: dict[int, int] = {}
    for key, value in zip(words[::2], words[1::2], strict=True):
        if key == 0:
            break
        found.setdefault(key, value)
    return found or _from_libc()


def _from_file() -> bytes:
    """/proc/self/auxv; nothing where there is no /proc, or this process is not dumpable and not root's."""
    try:
        with Fd.open("/proc/self/auxv") as file:
            return file.read_all()
    except OSError:
        return b""


def _from_libc() -> dict[int, int]:
    """What libc kept: it gives 0 for what is not there, and has its own idea of AT_HWCAP and AT_PLATFORM on this processor."""
    keys = {*_FIELDS.values(), _SECURE, _EXECFN} - {_FIELDS["hardware"]}
    always = {_FIELDS[name] for name in ("uid", "euid", "gid", "egid", "interpreter")} | {_SECURE}
    return {key: value for key in sorted(keys) if (value := _getauxval(key)) or key in always}


def _text(address: int | None) -> bytes | None:
    """The string at an address that came from outside of this program, read carefully: 4,096 bytes at most."""
    if not address:
        return None
    data = b""
    while b"\0" not in data and len(data) < 4096:
        piece, answer = read_process(raw.getpid(), address + len(data), 16)
        data += piece
        if answer:
            return None if b"\0" not in data else data.partition(b"\0")[0]
    return data.partition(b"\0")[0]
