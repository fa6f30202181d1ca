"""Registers and information of `ptrace(2)`."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import Numbers, array_of, i32, i64, layout, over, u8, u16, u32, u64

__all__ = [
    "ptrace_peeksiginfo_args",
    "ptrace_rseq_configuration",
    "ptrace_sud_config",
    "ptrace_syscall_info",
    "ptrace_syscall_info_entry",
    "ptrace_syscall_info_exit",
    "ptrace_syscall_info_seccomp",
    "seccomp_metadata",
    "user_fpregs_struct",
    "user_regs_struct",
]


@layout
class user_regs_struct(KernelStruct):
    """The general registers: `ptrace(2)` with PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_GETREGSET of NT_PRSTATUS."""

    r15: u64
    r14: u64
    r13: u64
    r12: u64
    rbp: u64
    rbx: u64
    r11: u64
    r10: u64
    r9: u64
    r8: u64
    rax: u64
    rcx: u64
    rdx: u64
    rsi: u64
    rdi: u64
    orig_rax: u64
    rip: u64
    cs: u64
    eflags: u64
    rsp: u64
    ss: u64
    fs_base: u64
    gs_base: u64
    ds: u64
    es: u64
    fs: u64
    gs: u64


@layout
class user_fpregs_struct(KernelStruct):
    """The registers of FXSAVE (512 bytes): `ptrace(2)` with PTRACE_GETFPREGS, PTRACE_SETFPREGS."""

    cwd: u16
    swd: u16
    ftw: u16
    fop: u16
    rip: u64
    rdp: u64
    mxcsr: u32
    mxcr_mask: u32
    st_space: Numbers = array_of(u32, 32)
    xmm_space: Numbers = array_of(u32, 64)
    _padding: Numbers = array_of(u32, 24)


@layout
class ptrace_peeksiginfo_args(KernelStruct):
    """Which queued signals to look at: `ptrace(2)` with PTRACE_PEEKSIGINFO."""

    SINCE = "3.10"

    off: u64
    flags: u32
    nr: i32


@layout
class ptrace_syscall_info_entry(KernelStruct):
    """A call that begins."""

    SINCE = "5.3"

    nr: u64
    args: Numbers = array_of(u64, 6)


@layout
class ptrace_syscall_info_exit(KernelStruct):
    """A call that ends."""

    SINCE = "5.3"

    rval: i64
    is_error: u8


@layout
class ptrace_syscall_info_seccomp(KernelStruct):
    """A call that a seccomp filter handed to its tracer."""

    SINCE = "5.3"

    nr: u64
    args: Numbers = array_of(u64, 6)
    ret_data: u32
    _reserved2: u32


@layout
class ptrace_syscall_info(KernelStruct):
    """The stop of a call: `ptrace(2)` with PTRACE_GET_SYSCALL_INFO, PTRACE_SET_SYSCALL_INFO (6.16).

    `op` says which of `entry`, `exit` and `seccomp` counts.
    """

    SINCE = "5.3"

    op: u8
    _reserved: u8
    flags: u16
    arch: u32
    instruction_pointer: u64
    stack_pointer: u64
    seccomp: ptrace_syscall_info_seccomp
    entry: ptrace_syscall_info_entry = over("seccomp")
    exit: ptrace_syscall_info_exit = over("seccomp")

    def __repr__(self) -> str:
        part = {1: "entry", 2: "exit", 3: "seccomp"}.get(self.op)
        names = ["op", "arch", "instruction_pointer", "stack_pointer", *([part] if part else [])]
        return f"ptrace_syscall_info({', '.join(f'{name}={self._show(name)}' for name in names)})"


@layout
class ptrace_rseq_configuration(KernelStruct):
    """A thread's registration of restartable sequences: `ptrace(2)` with PTRACE_GET_RSEQ_CONFIGURATION."""

    SINCE = "5.13"

    rseq_abi_pointer: u64
    rseq_abi_size: u32
    signature: u32
    flags: u32
    _pad: u32


@layout
class ptrace_sud_config(KernelStruct):
    """Dispatch of calls to user space: `ptrace(2)` with PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG."""

    SINCE = "6.4"

    mode: u64
    selector: u64
    offset: u64
    len: u64


@layout
class seccomp_metadata(KernelStruct):
    """Flags of a seccomp filter: `ptrace(2)` with PTRACE_SECCOMP_GET_METADATA."""

    SINCE = "4.16"

    filter_off: u64
    flags: u64
