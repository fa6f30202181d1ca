"""What the C compiler of this machine takes a constant's name for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

# Kernel and libc headers define the same types; those that quarrel stand in different units.
UNITS = (
    (
        "linux/types.h linux/fcntl.h linux/stat.h linux/falloc.h linux/fadvise.h linux/mman.h linux/mempolicy.h linux/sched.h "
        "linux/sched/types.h linux/prctl.h asm/prctl.h linux/securebits.h linux/capability.h linux/resource.h linux/time.h "
        "linux/timerfd.h linux/signalfd.h linux/eventpoll.h linux/poll.h linux/inotify.h linux/fanotify.h linux/memfd.h "
        "linux/wait.h linux/uio.h linux/aio_abi.h linux/kcmp.h linux/membarrier.h linux/keyctl.h linux/limits.h linux/mqueue.h "
        "linux/random.h linux/ioprio.h linux/futex.h linux/ptrace.h asm/ptrace-abi.h linux/seccomp.h linux/landlock.h "
        "linux/perf_event.h linux/userfaultfd.h linux/openat2.h linux/pidfd.h linux/close_range.h linux/kexec.h linux/module.h "
        "linux/reboot.h linux/personality.h linux/nsfs.h asm/ioctls.h linux/tty.h linux/errno.h linux/quota.h linux/dqblk_xfs.h "
        "linux/timex.h linux/auxvec.h linux/magic.h linux/rseq.h linux/audit.h linux/elf.h linux/coff.h linux/watch_queue.h"
    ),
    "linux/types.h linux/fs.h linux/mount.h linux/io_uring.h linux/fsverity.h linux/fscrypt.h linux/fiemap.h linux/loop.h",
    "linux/types.h asm/signal.h",
    "linux/types.h asm/siginfo.h",
    (
        "linux/types.h linux/in.h linux/in6.h linux/tcp.h linux/udp.h linux/netlink.h asm/socket.h linux/net_tstamp.h "
        "linux/sockios.h asm/sockios.h linux/if_tun.h"
    ),
    "linux/types.h linux/bpf.h linux/bpf_common.h linux/filter.h",
    "linux/types.h linux/vt.h linux/kd.h linux/watchdog.h asm/termbits.h linux/termios.h",
    "linux/types.h linux/xattr.h linux/signal.h",
    "sys/socket.h linux/vm_sockets.h",
    "linux/types.h linux/shm.h",
    "linux/types.h linux/ipc.h linux/msg.h linux/sem.h",
    "linux/types.h linux/eventfd.h linux/lsm.h",
    (
        "fcntl.h sys/stat.h dirent.h unistd.h sys/mman.h sys/mount.h sys/statvfs.h sys/wait.h sys/resource.h sys/time.h time.h "
        "sys/timerfd.h sys/eventfd.h sys/signalfd.h sys/epoll.h poll.h sys/inotify.h sys/fanotify.h sys/xattr.h sys/file.h "
        "sys/swap.h sys/shm.h sys/sem.h sys/msg.h sys/socket.h netinet/in.h netinet/tcp.h netinet/udp.h sys/un.h sched.h "
        "signal.h sys/ptrace.h errno.h limits.h sys/personality.h sys/ioctl.h sys/timex.h sys/quota.h mqueue.h elf.h"
    ),
)

_INCLUDE = """
#if __has_include(<{header}>)
#include <{header}>
#endif
"""

# No stdio.h: it brings types of libc that quarrel with the kernel's.
_MAIN = """
int printf(const char *, ...);
struct entry {{ const char *name; unsigned long long value; }};
static const struct entry table[] = {{
#line 1 "names"
{entries}
}};
int main(void)
{{
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        printf("%s %llu\\n", table[i].name, table[i].value);
    return 0;
}}
"""


def header_version() -> tuple[int, int]:
    """The kernel whose headers this machine has."""
    text = "#include <linux/version.h>\nLINUX_VERSION_CODE\n"
    code = int(_gcc("-E", "-P", "-", text=text).stdout.split()[-1])
    return code >> 16, code >> 8 & 0xFF


def values(unit: str, names: list[str], folder: Path) -> dict[str, int]:
    """The names that the headers of one unit define as constants, with their values as 64 bits."""
    includes = "#define _GNU_SOURCE\n" + "".join(_INCLUDE.format(header=header) for header in unit.split())
    # Only names that occur at all: the compiler looks for a likeness of each one that it does not know, for seconds.
    words = set(re.findall(r"\w+", _gcc("-E", "-dD", "-P", "-", text=includes).stdout))
    names = [name for name in names if name in words]
    for _ in range(4):
        entries = "\n".join(f'{{"{name}", (unsigned long long)({name})}},' for name in names)
        built = _gcc("-o", str(folder / "oracle"), "-", text=includes + _MAIN.format(entries=entries))
        if built.returncode == 0:
            printed = subprocess.run([folder / "oracle"], capture_output=True, text=True, check=True).stdout
            return {name: int(value) for name, value in map(str.split, printed.splitlines())}
        # A name that the headers do not have is an error in its line: out with it, and once more.
        wrong = {int(line) - 1 for line in re.findall(r"^names:(\d+):", built.stderr, re.MULTILINE)}
        assert wrong, built.stderr[:2000]
        names = [name for index, name in enumerate(names) if index not in wrong]
    raise AssertionError("the oracle does not compile")


def _gcc(*arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    command = ["cc", "-w", "-xc", "-fmax-errors=0", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)
