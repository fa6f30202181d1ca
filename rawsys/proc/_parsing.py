"""Texts of /proc as the records of `rawsys.proc.records`."""

from __future__ import annotations

import os
import re

from rawsys.constants import Cap
from rawsys.proc import _reading as r
from rawsys.proc.records import Capabilities, Cgroup, Credentials, Ids, Mount, OpenFile, ProcessLimit, Status
from rawsys.signals import SignalSet

_ESCAPED = re.compile(rb"\\([0-7]{3}|n|\\)")


def unescaped(text: bytes) -> str:
    """A name as the kernel escapes it: octal numbers, and in status also a letter n and a doubled backslash."""
    plain = {b"n": b"\n", b"\\": b"\\"}
    return os.fsdecode(_ESCAPED.sub(lambda found: plain.get(found[1]) or bytes([int(found[1], 8) & 255]), text))


def cpu_list(text: str) -> tuple[int, ...]:
    """``0-3,7`` as numbers."""
    parts = (part.partition("-") for part in text.split(",") if part)
    return tuple(n for first, _, last in parts for n in range(int(first), int(last or first) + 1))


def capabilities(rows: dict[str, str]) -> Capabilities:
    """The five masks of status."""

    def those(name: str) -> tuple[Cap, ...]:
        mask = int(rows.get(name, "0"), 16)
        return tuple(Cap(bit) for bit in range(64) if mask >> bit & 1)

    return Capabilities(those("CapInh"), those("CapPrm"), those("CapEff"), those("CapBnd"), those("CapAmb"))


def credentials(rows: dict[str, str]) -> Credentials:
    """Who the thread of a status is."""
    return Credentials(
        uid=Ids(*map(int, rows["Uid"].split())),
        gid=Ids(*map(int, rows["Gid"].split())),
        groups=tuple(map(int, rows["Groups"].split())),
        capabilities=capabilities(rows),
        no_new_privs=rows.get("NoNewPrivs") == "1",
        seccomp=int(rows.get("Seccomp", "0")),
    )


def status(text: bytes) -> Status:
    """`proc_pid_status(5)`."""
    rows = r.table(text)

    def size(name: str) -> int:
        return r.kilobytes(rows, name)

    def signals(name: str) -> SignalSet:
        return SignalSet.from_mask(int(rows[name], 16))

    queued, _, limit = rows["SigQ"].partition("/")
    return Status(
        name=unescaped(text.split(b"\n", 1)[0].partition(b":\t")[2]),
        umask=int(rows["Umask"], 8) if "Umask" in rows else None,
        state=rows["State"][0],
        tgid=int(rows["Tgid"]),
        pid=int(rows["Pid"]),
        ppid=int(rows["PPid"]),
        tracer=int(rows["TracerPid"]),
        credentials=credentials(rows),
        fd_slots=int(rows["FDSize"]),
        namespace_pids=tuple(map(int, rows.get("NSpid", rows["Pid"]).split())),
        virtual_peak=size("VmPeak"),
        virtual=size("VmSize"),
        locked=size("VmLck"),
        rss_peak=size("VmHWM"),
        rss=size("VmRSS"),
        rss_anonymous=size("RssAnon"),
        rss_file=size("RssFile"),
        rss_shared=size("RssShmem"),
        data=size("VmData"),
        stack=size("VmStk"),
        text=size("VmExe"),
        libraries=size("VmLib"),
        page_tables=size("VmPTE"),
        swap=size("VmSwap"),
        threads=int(rows["Threads"]),
        queued_signals=int(queued),
        queued_limit=int(limit),
        pending=signals("SigPnd"),
        shared_pending=signals("ShdPnd"),
        blocked=signals("SigBlk"),
        ignored=signals("SigIgn"),
        caught=signals("SigCgt"),
        cpus_allowed=cpu_list(rows.get("Cpus_allowed_list", "")),
        voluntary_switches=int(rows.get("voluntary_ctxt_switches", "0")),
        involuntary_switches=int(rows.get("nonvoluntary_ctxt_switches", "0")),
    )


_LIMITS = {
    "cpu time": "CPU", "file size": "FSIZE", "data size": "DATA", "stack size": "STACK", "core file size": "CORE",
    "resident set": "RSS", "processes": "NPROC", "open files": "NOFILE", "locked memory": "MEMLOCK", "address space": "AS",
    "file locks": "LOCKS", "pending signals": "SIGPENDING", "msgqueue size": "MSGQUEUE", "nice priority": "NICE",
    "realtime priority": "RTPRIO", "realtime timeout": "RTTIME",
}  # fmt: skip


def limits(text: bytes) -> dict[str, ProcessLimit]:
    """`proc_pid_limits(5)` by the names of `getrlimit(2)`."""

    def number(word: str) -> int | None:
        return None if word == "unlimited" else int(word)

    found = {}
    for line in text.decode().splitlines()[1:]:
        name, soft, hard, unit = line[4:26].strip(), line[26:47].strip(), line[47:68].strip(), line[68:].strip()
        found[f"RLIMIT_{_LIMITS.get(name, name)}"] = ProcessLimit(number(soft), number(hard), unit)
    return found


def mounts(text: bytes) -> list[Mount]:
    """`proc_pid_mountinfo(5)`."""
    found = []
    for line in text.split(b"\n")[:-1]:
        words = line.split(b" ")
        dash = words.index(b"-", 6)
        major, minor = map(int, words[2].split(b":"))
        options, more = os.fsdecode(words[5]).split(","), unescaped(words[dash + 3]).split(",")
        found.append(
            Mount(
                id=int(words[0]),
                parent=int(words[1]),
                device=os.makedev(major, minor),
                root=unescaped(words[3]),
                point=unescaped(words[4]),
                options=tuple(options),
                propagation=tuple(os.fsdecode(word) for word in words[6:dash]),
                filesystem=unescaped(words[dash + 1]),
                source=unescaped(words[dash + 2]),
                super_options=tuple(more),
            )
        )
    return found


def cgroups(text: bytes) -> list[Cgroup]:
    """`cgroups(7)`: /proc/PID/cgroup."""
    found = []
    for line in os.fsdecode(text).split("\n"):
        if line:
            hierarchy, controllers, path = line.split(":", 2)
            found.append(Cgroup(int(hierarchy), tuple(controllers.split(",")) if controllers else (), path))
    return found


def open_file(fd: int, target: str, mode: int | None, info: dict[str, str]) -> OpenFile:
    """One entry of a descriptor table; `mode` is that of the file itself, None where it cannot be asked."""
    return OpenFile(
        fd=fd,
        kind=_kind(target, mode),
        target=target,
        flags=int(info.pop("flags", "0"), 8),
        position=int(info.pop("pos", "0")),
        mount=int(info.pop("mnt_id", "0")),
        details=info,
    )


_TYPES = {
    0o040000: "directory",
    0o020000: "device",
    0o060000: "device",
    0o010000: "pipe",
    0o140000: "socket",
    0o120000: "symlink",
}


def _kind(target: str, mode: int | None) -> str:
    if target.startswith("anon_inode:"):
        return target[11:].strip("[]")
    if target.startswith("/memfd:"):
        return "memfd"
    if target.startswith(("pipe:", "socket:")):
        return target.partition(":")[0]
    return "file" if mode is None else _TYPES.get(mode & 0o170000, "file")
