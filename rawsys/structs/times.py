"""Times, timers and clocks."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import chars, i32, i64, layout, u32

__all__ = ["itimerspec", "itimerval", "timespec", "timeval", "timex", "timezone", "tms", "utimbuf"]


@layout
class timespec(KernelStruct):
    """Seconds and nanoseconds: `clock_gettime(2)`, `nanosleep(2)`, `utimensat(2)` (two), and every timeout in ns.

    The kernel's `__kernel_timespec`.
    """

    tv_sec: i64
    tv_nsec: i64


@layout
class timeval(KernelStruct):
    """Seconds and microseconds: `gettimeofday(2)`, `select(2)`, `utimes(2)` (two). `__kernel_old_timeval`."""

    tv_sec: i64
    tv_usec: i64


@layout
class itimerspec(KernelStruct):
    """Interval and first expiration of a timer: `timer_settime(2)`, `timerfd_settime(2)` and their `gettime`."""

    it_interval: timespec
    it_value: timespec


@layout
class itimerval(KernelStruct):
    """Interval and first expiration in microseconds: `setitimer(2)`, `getitimer(2)`."""

    it_interval: timeval
    it_value: timeval


@layout
class timezone(KernelStruct):
    """The kernel's time zone: `gettimeofday(2)`, `settimeofday(2)`. Programs give None instead."""

    tz_minuteswest: i32
    tz_dsttime: i32


@layout
class timex(KernelStruct):
    """The state of the clock's discipline: `adjtimex(2)`, `clock_adjtime(2)`. `modes=0` only reads."""

    modes: u32
    _pad1: i32
    offset: i64
    freq: i64
    maxerror: i64
    esterror: i64
    status: i32
    _pad2: i32
    constant: i64
    precision: i64
    tolerance: i64
    time: timeval
    tick: i64
    ppsfreq: i64
    jitter: i64
    shift: i32
    _pad3: i32
    stabil: i64
    jitcnt: i64
    calcnt: i64
    errcnt: i64
    stbcnt: i64
    tai: i32
    _reserved: bytes = chars(44)


@layout
class tms(KernelStruct):
    """Processor times in clock ticks (1/100 s on x86-64): `times(2)`."""

    tms_utime: i64
    tms_stime: i64
    tms_cutime: i64
    tms_cstime: i64


@layout
class utimbuf(KernelStruct):
    """Access and modification time in seconds: `utime(2)`."""

    actime: i64
    modtime: i64
