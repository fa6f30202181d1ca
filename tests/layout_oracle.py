"""Compare the layouts of `rawsys.structs` with a C compiler's view of kernel headers.

One static assertion a line; what the headers do not know (older ones lack newer structures and fields) is told apart
from what they contradict. The headers of another kernel can be put first: RAWSYS_KERNEL_HEADERS=dir[:dir].
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from rawsys import structs

# Name here -> its C type, where that is not `struct NAME`.
C_TYPES = {
    "timespec": "struct __kernel_timespec",
    "timeval": "struct __kernel_old_timeval",
    "itimerspec": "struct __kernel_itimerspec",
    "itimerval": "struct __kernel_old_itimerval",
    "timex": "struct __kernel_timex",
    "utsname": "struct new_utsname",
    "siginfo": "siginfo_t",
    "sigset": "sigset_t",
    "stack_t": "stack_t",
    "sigevent": "sigevent_t",
    "fd_set": "__kernel_fd_set",
    "sockaddr_storage": "struct __kernel_sockaddr_storage",
    "ipc_perm": "struct ipc64_perm",
    "msqid_ds": "struct msqid64_ds",
    "semid_ds": "struct semid64_ds",
    "shmid_ds": "struct shmid64_ds",
    "shminfo": "struct shminfo64",
    "cap_user_header": "struct __user_cap_header_struct",
    "cap_user_data": "struct __user_cap_data_struct",
    "bpf_attr": "union bpf_attr",
    "bpf_map_create": "union bpf_attr",
    "bpf_map_elem": "union bpf_attr",
    "bpf_prog_load": "union bpf_attr",
    "bpf_obj": "union bpf_attr",
    "fs_disk_quota": "fs_disk_quota_t",
    "ptrace_syscall_info_entry": "__typeof__(((struct ptrace_syscall_info *)0)->entry)",
    "ptrace_syscall_info_exit": "__typeof__(((struct ptrace_syscall_info *)0)->exit)",
    "ptrace_syscall_info_seccomp": "__typeof__(((struct ptrace_syscall_info *)0)->seccomp)",
}

# Header -> the structures of ours that it defines: the kernel's, or libc's where no kernel header has them.
HEADERS = {
    "linux/time_types.h": "timespec timeval itimerspec itimerval",
    "linux/time.h": "timezone",
    "linux/timex.h": "timex",
    "linux/times.h": "tms",
    "linux/utime.h": "utimbuf",
    "asm/stat.h": "stat",
    "linux/stat.h": "statx statx_timestamp",
    "linux/openat2.h": "open_how",
    "asm/statfs.h": "statfs",
    "linux/fcntl.h": "flock f_owner_ex",
    "linux/fs.h": "fsxattr file_clone_range file_attr procmap_query",
    "linux/xattr.h": "xattr_args",
    "linux/mman.h": "cachestat cachestat_range",
    "asm/termios.h": "winsize",
    "linux/sched.h": "clone_args",
    "linux/resource.h": "rlimit rusage",
    "linux/sched/types.h": "sched_attr",
    "linux/futex.h": "futex_waitv robust_list robust_list_head",
    "linux/rseq.h": "rseq rseq_cs",
    "linux/sysinfo.h": "sysinfo",
    "linux/utsname.h": "utsname",
    "asm/ldt.h": "user_desc",
    "linux/kexec.h": "kexec_segment",
    "linux/kcmp.h": "kcmp_epoll_slot",
    "linux/prctl.h": "prctl_mm_map",
    "linux/pidfd.h": "pidfd_info",
    "asm/signal.h": "sigset sigaction stack_t",
    "asm/siginfo.h": "siginfo sigevent",
    "linux/signalfd.h": "signalfd_siginfo",
    "linux/poll.h": "pollfd",
    "linux/posix_types.h": "fd_set",
    "linux/eventpoll.h": "epoll_event epoll_params",
    "linux/inotify.h": "inotify_event",
    "linux/fanotify.h": "fanotify_event_metadata fanotify_event_info_header fanotify_event_info_fid "
    "fanotify_event_info_pidfd fanotify_event_info_error fanotify_event_info_range fanotify_event_info_mnt "
    "fanotify_response",
    "linux/aio_abi.h": "iocb io_event",
    "linux/uio.h": "iovec",
    "linux/un.h": "sockaddr_un",
    "linux/in.h": "sockaddr_in",
    "linux/in6.h": "sockaddr_in6",
    "linux/netlink.h": "sockaddr_nl",
    "linux/if_packet.h": "sockaddr_ll",
    "linux/vm_sockets.h": "sockaddr_vm",
    "linux/socket.h": "sockaddr_storage",
    "asm/ipcbuf.h": "ipc_perm",
    "asm/msgbuf.h": "msqid_ds",
    "asm/sembuf.h": "semid_ds",
    "asm/shmbuf.h": "shmid_ds shminfo",
    "linux/msg.h": "msgbuf msginfo",
    "linux/sem.h": "sembuf seminfo",
    "linux/shm.h": "shm_info",
    "linux/mqueue.h": "mq_attr",
    "linux/mount.h": "mount_attr mnt_id_req statmount",
    "linux/nsfs.h": "mnt_ns_info",
    "linux/quota.h": "if_dqblk if_nextdqblk if_dqinfo",
    "linux/dqblk_xfs.h": "fs_disk_quota",
    "linux/capability.h": "cap_user_header cap_user_data",
    "linux/seccomp.h": "seccomp_data seccomp_notif seccomp_notif_resp seccomp_notif_sizes seccomp_notif_addfd",
    "linux/filter.h": "sock_filter sock_fprog",
    "linux/landlock.h": "landlock_ruleset_attr landlock_path_beneath_attr landlock_net_port_attr",
    "linux/lsm.h": "lsm_ctx",
    "linux/keyctl.h": "keyctl_dh_params keyctl_kdf_params keyctl_pkey_query keyctl_pkey_params",
    "linux/ptrace.h": "ptrace_peeksiginfo_args ptrace_syscall_info ptrace_syscall_info_entry ptrace_syscall_info_exit "
    "ptrace_syscall_info_seccomp ptrace_rseq_configuration ptrace_sud_config seccomp_metadata",
    "linux/perf_event.h": "perf_event_attr",
    "linux/bpf.h": "bpf_attr bpf_map_create bpf_map_elem bpf_prog_load bpf_obj",
    "linux/io_uring.h": " ".join(name for name in structs.__all__ if name.startswith("io_") and name != "io_event"),
    "sys/socket.h": "msghdr mmsghdr cmsghdr ucred linger",
    "sys/user.h": "user_regs_struct user_fpregs_struct",
    "sched.h": "sched_param",
    "fcntl.h": "file_handle",
}

# Field here -> its C name, where that differs or is inside an anonymous or macro-covered union.
C_FIELDS = {
    "sigevent.sival_int": "sigev_value.sival_int",
    "sigevent.sival_ptr": "sigev_value.sival_ptr",
    "sigevent.sigev_notify_thread_id": "_sigev_un._tid",
    "siginfo.si_timerid": "si_tid",
    "fanotify_event_info_fid.fsid": "fsid",
}
# No such field in C: views of ours, and libc's names.
OURS = {
    "epoll_event.fd",
    "bpf_attr.raw",
    "bpf_attr.map_create",
    "bpf_attr.map_elem",
    "bpf_attr.prog_load",
    "bpf_attr.obj",
}
OURS |= {"mnt_id_req.spare"}
# The C structure is longer than its head: a flexible array after padding, room of ours, or a view of a union.
OTHER_SIZE = {"msgbuf", "file_handle", "io_uring_probe", "bpf_map_create", "bpf_map_elem", "bpf_prog_load", "bpf_obj"}
OTHER_SIZE |= {"bpf_attr"}  # grows with nearly every kernel
# The C type has another signedness: libc's for the kernel's.
OTHER_SIGN = {"msghdr.msg_namelen", "msghdr.msg_flags", "siginfo.si_value", "sigevent.sigev_value"}
OTHER_SIGN |= {"io_uring_sqe.rw_flags"}  # int until 6.13
# Structures that no header for programs defines: the kernel keeps them to itself.
NO_HEADER = {"aio_sigset", "cpu_set", "linux_dirent", "linux_dirent64", "sigset_argpack", "ustat"}

PREAMBLE = "#define _GNU_SOURCE\n#include <stddef.h>\n#include <linux/types.h>\n"


def c_type(name: str) -> str:
    return C_TYPES.get(name, f"struct {name}")


def assertions(name: str) -> list[tuple[str, str]]:
    """(what, C condition) for a structure: its size, and the place, size and sign of each field."""
    kind: Any = getattr(structs, name)
    kind_c = c_type(name)
    found = []
    if name not in OTHER_SIZE:
        # Older headers have an earlier version of a structure that grows, newer ones may have a later one.
        versions = [getattr(kind, f"SIZE_VER{n}") for n in range(9) if hasattr(kind, f"SIZE_VER{n}")]
        sizes = [f"sizeof({kind_c}) == {size}" for size in (*versions, kind.sizeof())]
        later = [f"sizeof({kind_c}) > {kind.sizeof()}"] if versions else []
        found.append((f"sizeof {name}", " || ".join([*sizes, *later])))
    if kind.TAIL:
        found.append((f"{name}.{kind.TAIL}", f"offsetof({kind_c}, {kind.TAIL}) == {kind.sizeof()}"))
    for field in kind.fields():
        what = f"{name}.{field}"
        place = getattr(kind, field)
        if what in OURS or isinstance(place, property) or place.size >> 16:  # bit fields have no offsetof
            continue
        inner = C_FIELDS.get(what, field)
        found.append((what, f"offsetof({kind_c}, {inner}) == {place.offset}"))
        member = f"(({kind_c} *)0)->{inner}"
        plan = kind._plan[field]
        if kind is not structs.file_handle and not (name == "io_uring_probe" and field == "ops"):
            found.append((what + " size", f"sizeof({member}) == {place.size}"))
        if plan.high and not plan.count and plan.word != "address" and what not in OTHER_SIGN:
            signed = plan.ctype(-1).value < 0
            found.append((what + " sign", f"((__typeof__({member}))-1 < 0) == {int(signed)}"))
    return found


def compare(header: str, folder: Path) -> tuple[list[str], list[str], list[str]]:
    """(agree, absent, contradict) of one header."""
    checks = [check for name in HEADERS[header].split() for check in assertions(name)]
    include = f"#include <{header}>\n"
    if header == "linux/keyctl.h":
        include = "#define private private\n" + include
    first = (PREAMBLE + include).count("\n") + 1
    source = folder / (header.replace("/", "_") + ".c")
    lines = "".join(f'_Static_assert({condition}, "");\n' for _, condition in checks)
    source.write_text(PREAMBLE + include + lines)
    extra = [f"-I{each}" for each in os.environ.get("RAWSYS_KERNEL_HEADERS", "").split(":") if each]
    run = subprocess.run(
        ["gcc", "-std=gnu11", "-fsyntax-only", "-w", "-fmax-errors=0", "-fno-diagnostics-show-caret", *extra, source],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    wrong: dict[int, str] = {}
    for line, message in re.findall(
        rf"^{re.escape(str(source))}:(\d+):\d+: (?:fatal )?error: (.*)$", run.stderr, re.MULTILINE
    ):
        wrong.setdefault(int(line), message)
    if any(line < first for line in wrong) or ("error:" in run.stderr and not wrong):
        return [], [what for what, _ in checks], []
    agree, absent, contradict = [], [], []
    for number, (what, condition) in enumerate(checks, first):
        if number not in wrong:
            agree.append(what)
        elif wrong[number].startswith("static assertion failed"):
            contradict.append(f"{what}: not {condition}")
        else:
            absent.append(what)
    return agree, absent, contradict


def bit_program(name: str, header: str) -> str:
    """A C program that prints, for each bit field of a structure, the bytes that it takes."""
    kind: Any = getattr(structs, name)
    fields = [f for f in kind.fields() if getattr(kind, f).size >> 16]
    body = "".join(
        f'memset(&s, 0, sizeof s); s.{f} = -1; printf("{f}"); '
        'for (unsigned i = 0; i < sizeof s; i++) printf(" %02x", ((unsigned char *)&s)[i]); puts("");\n'
        for f in fields
    )
    return (
        f"#include <stdio.h>\n#include <string.h>\n#include <{header}>\n"
        f"int main(void) {{ {c_type(name)} s;\n{body} return 0; }}\n"
    )


def bit_patterns(name: str) -> dict[str, bytes]:
    """The bytes of each bit field of a structure of ours, all ones."""
    kind: Any = getattr(structs, name)
    found = {}
    for field in kind.fields():
        width = getattr(kind, field).size >> 16
        if width:
            found[field] = ctypes.string_at(ctypes.addressof(made := kind(**{field: (1 << width) - 1})), made.sizeof())
    return found
