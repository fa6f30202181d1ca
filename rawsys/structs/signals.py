"""Signals: sets, what came with one, actions, stacks, notifications."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._bitsets import BitSet
from rawsys.structs._layout import Numbers, array_of, i16, i32, i64, layout, over, ptr, u8, u16, u32, u64

__all__ = ["sigaction", "sigevent", "siginfo", "signalfd_siginfo", "sigset", "stack_t"]


@layout
class sigset(BitSet):
    """A set of signals, the kernel's 8 bytes: `rt_sigprocmask(2)`, `signalfd4(2)`, `ppoll(2)`; `sigset([SIGINT])`.

    The size that those calls take is 8. A raw set may hold 32 and 33, which libc uses: blocking them hangs
    `setuid` and its kin in other threads.
    """

    FIRST = 1

    _words: Numbers = array_of(u64, 1)


@layout
class sigaction(KernelStruct):
    """What a signal does, the kernel's 32 bytes: `rt_sigaction(2)`. `sa_handler` and `sa_restorer` are addresses.

    A handler needs SA_RESTORER and a restorer: the kernel returns through it.
    """

    sa_handler: ptr
    sa_flags: u64
    sa_restorer: ptr
    sa_mask: sigset


@layout
class stack_t(KernelStruct):
    """An alternate stack for handlers: `sigaltstack(2)`."""

    ss_sp: ptr
    ss_flags: i32
    ss_size: u64


@layout
class sigevent(KernelStruct):
    """How to tell: `timer_create(2)`, `mq_notify(2)`. `sigev_notify_thread_id` is for SIGEV_THREAD_ID."""

    sigev_value: u64
    sival_int: i32 = over("sigev_value")
    sival_ptr: ptr = over("sigev_value")
    sigev_signo: i32
    sigev_notify: i32
    _pad: Numbers = array_of(i32, 12)
    sigev_notify_thread_id: i32 = over("_pad")


_SIGILL, _SIGTRAP, _SIGBUS, _SIGFPE, _SIGSEGV, _SIGCHLD, _SIGPOLL, _SIGSYS = 4, 5, 7, 8, 11, 17, 29, 31
_FAULTS = (_SIGILL, _SIGTRAP, _SIGBUS, _SIGFPE, _SIGSEGV)


@layout
class siginfo(KernelStruct):
    """What came with a signal (128 bytes): `rt_sigtimedwait(2)`, `waitid(2)`, `rt_sigqueueinfo(2)`,
    `pidfd_send_signal(2)`, `ptrace(2)` with PTRACE_GETSIGINFO.

    The fields after `si_code` share memory: which of them count depends on the signal and on `si_code`, and the
    repr shows those. `si_value` is all 64 bits of the value, `si_int` its low 32, `si_ptr` the same as an address.
    """

    si_signo: i32
    si_errno: i32
    si_code: i32
    _pad0: i32
    _sifields: Numbers = array_of(u64, 14)
    si_pid: i32 = over("_sifields")
    si_uid: u32 = over("_sifields", 4)
    si_status: i32 = over("_sifields", 8)
    si_utime: i64 = over("_sifields", 16)
    si_stime: i64 = over("_sifields", 24)
    si_timerid: i32 = over("_sifields")
    si_overrun: i32 = over("_sifields", 4)
    si_value: u64 = over("_sifields", 8)
    si_int: i32 = over("_sifields", 8)
    si_ptr: ptr = over("_sifields", 8)
    si_addr: ptr = over("_sifields")
    si_trapno: i32 = over("_sifields", 8)
    si_addr_lsb: i16 = over("_sifields", 8)
    si_lower: ptr = over("_sifields", 16)
    si_upper: ptr = over("_sifields", 24)
    si_pkey: u32 = over("_sifields", 16)
    si_perf_data: u64 = over("_sifields", 8)
    si_perf_type: u32 = over("_sifields", 16)
    si_perf_flags: u32 = over("_sifields", 20)
    si_band: i64 = over("_sifields")
    si_fd: i32 = over("_sifields", 8)
    si_call_addr: ptr = over("_sifields")
    si_syscall: i32 = over("_sifields", 8)
    si_arch: u32 = over("_sifields", 12)

    def _views(self) -> tuple[str, ...]:
        if self.si_signo == 0:
            return ()
        if self.si_code == -2:
            return ("si_timerid", "si_overrun", "si_value")
        if self.si_code > 0 and self.si_code != 0x80:
            if self.si_signo == _SIGCHLD:
                return ("si_pid", "si_uid", "si_status")
            if self.si_signo in _FAULTS:
                return ("si_addr",)
            if self.si_signo == _SIGPOLL:
                return ("si_band", "si_fd")
            if self.si_signo == _SIGSYS:
                return ("si_call_addr", "si_syscall", "si_arch")
        if self.si_code == -5:
            return ("si_band", "si_fd")
        return ("si_pid", "si_uid", "si_value") if self.si_code in (-1, -3, -4) else ("si_pid", "si_uid")

    def __repr__(self) -> str:
        shown = ("si_signo", "si_errno", "si_code", *self._views())
        return f"siginfo({', '.join(f'{name}={self._show(name)}' for name in shown)})"


@layout
class signalfd_siginfo(KernelStruct):
    """A signal read from a `signalfd(2)` (128 bytes)."""

    SINCE = "2.6.22"

    ssi_signo: u32
    ssi_errno: i32
    ssi_code: i32
    ssi_pid: u32
    ssi_uid: u32
    ssi_fd: i32
    ssi_tid: u32
    ssi_band: u32
    ssi_overrun: u32
    ssi_trapno: u32
    ssi_status: i32
    ssi_int: i32
    ssi_ptr: u64
    ssi_utime: u64
    ssi_stime: u64
    ssi_addr: u64
    ssi_addr_lsb: u16
    _pad2: u16
    ssi_syscall: i32
    ssi_call_addr: u64
    ssi_arch: u32
    _pad: Numbers = array_of(u8, 28)
