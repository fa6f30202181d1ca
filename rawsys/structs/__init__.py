"""Every structure that an x86-64 Linux system call takes or gives by pointer, in the kernel's layout.

Each is a `ctypes.Structure`, created by name, with its fields as attributes, and goes as it is where a call takes
memory::

    now = structs.timespec()
    raw.clock_gettime(CLOCK_MONOTONIC, now)
    print(now.tv_sec, now)                       # ... timespec(tv_sec=1, tv_nsec=5)

    how = structs.open_how(flags=O_RDONLY, resolve=RESOLVE_BENEATH)
    raw.openat2(dirfd, "file", how, how.sizeof())

The layouts are those of Linux 6.18, whatever headers the build host has. `SINCE` of a class is the first kernel with
it (empty where that is 2.6 or older); a structure that grew has the size of each version as `SIZE_VER0`, ...
Reserved fields begin with an underscore and are zero.

An address inside a structure is an int, and a structure keeps nothing alive that it points to, except through
`KernelStruct.point()` and the makers here: `iovecs`, `string_array`, `message`, `sock_fprog.of`, `sigset_argpack.of`.

The topics load when a name of theirs is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.structs._base import KernelStruct as KernelStruct
    from rawsys.structs._memory import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.events import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.files import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.ipc import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.machine import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.mounts import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.perf import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.process import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.security import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.signals import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.sockets import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.times import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.tracing import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.uring import *  # noqa: F403 - the topic's own __all__
    from rawsys.structs.uring_register import *  # noqa: F403 - the topic's own __all__

_TOPICS = {
    "_base": "KernelStruct",
    "_memory": "address_of iovecs string_array",
    "events": (
        "aio_sigset epoll_event epoll_params fanotify_event_info_error fanotify_event_info_fid "
        "fanotify_event_info_header fanotify_event_info_mnt fanotify_event_info_pidfd "
        "fanotify_event_info_range fanotify_event_metadata fanotify_response fd_set inotify_event io_event "
        "iocb pollfd sigset_argpack"
    ),
    "files": (
        "cachestat cachestat_range f_owner_ex file_attr file_clone_range file_handle flock fsxattr "
        "linux_dirent linux_dirent64 open_how stat statfs statx statx_timestamp ustat winsize xattr_args"
    ),
    "ipc": "ipc_perm mq_attr msgbuf msginfo msqid_ds sembuf semid_ds seminfo shm_info shmid_ds shminfo",
    "machine": "kexec_segment prctl_mm_map procmap_query sysinfo user_desc utsname",
    "mounts": "fs_disk_quota if_dqblk if_dqinfo if_nextdqblk mnt_id_req mnt_ns_info mount_attr statmount",
    "perf": "bpf_attr bpf_map_create bpf_map_elem bpf_obj bpf_prog_load perf_event_attr",
    "process": (
        "clone_args cpu_set futex_waitv kcmp_epoll_slot pidfd_info rlimit robust_list robust_list_head rseq "
        "rseq_cs rusage sched_attr sched_param"
    ),
    "security": (
        "cap_user_data cap_user_header keyctl_dh_params keyctl_kdf_params keyctl_pkey_params "
        "keyctl_pkey_query landlock_net_port_attr landlock_path_beneath_attr landlock_ruleset_attr lsm_ctx "
        "seccomp_data seccomp_notif seccomp_notif_addfd seccomp_notif_resp seccomp_notif_sizes sock_filter "
        "sock_fprog"
    ),
    "signals": "sigaction sigevent siginfo signalfd_siginfo sigset stack_t",
    "sockets": (
        "cmsghdr control_messages iovec linger message mmsghdr msghdr sockaddr sockaddr_in sockaddr_in6 "
        "sockaddr_ll sockaddr_nl sockaddr_storage sockaddr_un sockaddr_vm ucred"
    ),
    "times": "itimerspec itimerval timespec timeval timex timezone tms utimbuf",
    "tracing": (
        "ptrace_peeksiginfo_args ptrace_rseq_configuration ptrace_sud_config ptrace_syscall_info "
        "ptrace_syscall_info_entry ptrace_syscall_info_exit ptrace_syscall_info_seccomp seccomp_metadata "
        "user_fpregs_struct user_regs_struct"
    ),
    "uring": (
        "io_cqring_offsets io_sqring_offsets io_uring_cqe io_uring_getevents_arg io_uring_params "
        "io_uring_recvmsg_out io_uring_reg_wait io_uring_sqe"
    ),
    "uring_register": (
        "io_uring_buf io_uring_buf_reg io_uring_buf_status io_uring_clock_register io_uring_clone_buffers "
        "io_uring_file_index_range io_uring_files_update io_uring_mem_region_reg io_uring_napi io_uring_probe "
        "io_uring_probe_op io_uring_region_desc io_uring_restriction io_uring_rsrc_register "
        "io_uring_rsrc_update io_uring_rsrc_update2 io_uring_sync_cancel_reg"
    ),
}

_HOME = {name: topic for topic, names in _TOPICS.items() for name in names.split()}

KERNEL_NAMES = {
    "__aio_sigset": "aio_sigset",
    "__kernel_itimerspec": "itimerspec",
    "__kernel_old_itimerval": "itimerval",
    "__kernel_old_timeval": "timeval",
    "__kernel_timespec": "timespec",
    "__kernel_timex": "timex",
    "__user_cap_data_struct": "cap_user_data",
    "__user_cap_header_struct": "cap_user_header",
    "dqblk": "if_dqblk",
    "ipc64_perm": "ipc_perm",
    "kernel_timespec": "timespec",
    "msqid64_ds": "msqid_ds",
    "new_utsname": "utsname",
    "rlimit64": "rlimit",
    "semid64_ds": "semid_ds",
    "shmid64_ds": "shmid_ds",
    "shminfo64": "shminfo",
    "sigaltstack": "stack_t",
    "siginfo_t": "siginfo",
    "sigset_t": "sigset",
    "sockaddr": "sockaddr_storage",
    "user_msghdr": "msghdr",
}
"""Other names that the kernel's declarations use, and the name here."""

__all__ = ["KERNEL_NAMES", "by_kernel_name", *_HOME]


def by_kernel_name(name: str) -> type[KernelStruct]:
    """The structure that the kernel declares as `struct NAME`, as in `by_kernel_name("__kernel_timespec")`.

    Raises:
        KeyError: there is none.
    """
    name = KERNEL_NAMES.get(name, name)
    found = __getattr__(name) if name in _HOME else None
    if not isinstance(found, type):
        raise KeyError(name)
    return found


def __getattr__(name: str) -> type[KernelStruct]:
    topic = _HOME.get(name)
    if topic is None:
        from difflib import get_close_matches

        close = get_close_matches(name, list(_HOME), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise AttributeError(f"module 'rawsys.structs' has no attribute {name!r}{hint}")
    module = __import__(f"rawsys.structs.{topic}", fromlist=["*"])
    for each in _TOPICS[topic].split():
        globals()[each] = getattr(module, each)
    found: type[KernelStruct] = globals()[name]
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
