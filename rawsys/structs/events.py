"""Waiting: poll, select, epoll, inotify, fanotify, asynchronous I/O."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._bitsets import BitSet
from rawsys.structs._layout import (
    TYPE_CHECKING,
    Numbers,
    array_of,
    fd32,
    fdu32,
    i16,
    i32,
    i64,
    layout,
    over,
    ptr,
    u8,
    u16,
    u32,
    u64,
)
from rawsys.structs.signals import sigset

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

__all__ = [
    "aio_sigset",
    "epoll_event",
    "epoll_params",
    "fanotify_event_info_error",
    "fanotify_event_info_fid",
    "fanotify_event_info_header",
    "fanotify_event_info_mnt",
    "fanotify_event_info_pidfd",
    "fanotify_event_info_range",
    "fanotify_event_metadata",
    "fanotify_response",
    "fd_set",
    "inotify_event",
    "io_event",
    "iocb",
    "pollfd",
    "sigset_argpack",
]


@layout
class pollfd(KernelStruct):
    """A descriptor and what to wait for: `poll(2)`, `ppoll(2)`; `pollfd.array([...])`."""

    fd: fd32
    events: i16
    revents: i16


@layout
class fd_set(BitSet):
    """A set of 1024 descriptors: `select(2)`, `pselect6(2)`; `fd_set([0, 5])`."""

    _words: Numbers = array_of(u64, 16)

    def _place(self, number: "Any") -> tuple[memoryview, int, int]:
        return super()._place(number.fileno() if hasattr(number, "fileno") else number)


@layout
class epoll_event(KernelStruct):
    """An event and 64 bits of the caller's: `epoll_ctl(2)`, `epoll_wait(2)`. Packed: 12 bytes.

    `data` is all 64 bits; `fd` is its low 32, as libc's union has it.
    """

    _pack_ = 1
    _layout_ = "ms"

    events: u32
    data: u64
    fd: fd32 = over("data")


@layout
class epoll_params(KernelStruct):
    """Busy polling of an epoll: `ioctl(2)` with EPIOCSPARAMS, EPIOCGPARAMS."""

    SINCE = "6.9"

    busy_poll_usecs: u32
    busy_poll_budget: u16
    prefer_busy_poll: u8
    _pad: u8


class _SignalArgument(KernelStruct):
    @classmethod
    def of(cls, signals: "Iterable[int]") -> "Self":
        """The argument for a set of signals; it keeps the set."""
        made = cls(**{cls._plan_names()[1]: 8})
        made.point(cls._plan_names()[0], sigset(signals))
        return made

    @classmethod
    def _plan_names(cls) -> tuple[str, ...]:
        return tuple(cls._plan)


@layout
class sigset_argpack(_SignalArgument):
    """The last argument of `pselect6(2)`: the address of a mask and its size; `sigset_argpack.of([SIGINT])`."""

    p: ptr
    size: u64


@layout
class aio_sigset(_SignalArgument):
    """The last argument of `io_pgetevents(2)`: a mask's address and size. The kernel's `__aio_sigset`."""

    SINCE = "4.18"

    sigmask: ptr
    sigsetsize: u64


@layout
class inotify_event(KernelStruct):
    """The head of an event read from an `inotify(7)` descriptor; `records()` walks a buffer, names end at a NUL."""

    SINCE = "2.6.13"
    TAIL = "name"

    wd: i32
    mask: u32
    cookie: u32
    len: u32

    def _record_size(self) -> int:
        return self.sizeof() + self.len


@layout
class fanotify_event_metadata(KernelStruct):
    """The head of an event read from a `fanotify(7)` descriptor; `records()` walks a buffer.

    `fd` is an open descriptor that the reader has to close. Information records
    (`fanotify_event_info_header`) follow where asked for.
    """

    SINCE = "2.6.37"

    event_len: u32
    vers: u8
    _reserved: u8
    metadata_len: u16
    mask: u64
    fd: fd32
    pid: i32

    def _record_size(self) -> int:
        return self.event_len


@layout
class fanotify_event_info_header(KernelStruct):
    """The head of an information record of `fanotify(7)`; `records()` walks them."""

    SINCE = "5.1"

    info_type: u8
    _pad: u8
    len: u16

    def _record_size(self) -> int:
        return self.len


@layout
class fanotify_event_info_fid(KernelStruct):
    """Which file an event is about; a `file_handle` follows, and a name where the type says so."""

    SINCE = "5.1"
    TAIL = "handle"

    hdr: fanotify_event_info_header
    fsid: Numbers = array_of(i32, 2)


@layout
class fanotify_event_info_pidfd(KernelStruct):
    """The pidfd of who caused an event."""

    SINCE = "5.15"

    hdr: fanotify_event_info_header
    pidfd: fd32


@layout
class fanotify_event_info_error(KernelStruct):
    """An error of the file system."""

    SINCE = "5.16"

    hdr: fanotify_event_info_header
    error: i32
    error_count: u32


@layout
class fanotify_event_info_range(KernelStruct):
    """The range of a pre-content event."""

    SINCE = "6.14"

    hdr: fanotify_event_info_header
    _pad: u32
    offset: u64
    count: u64


@layout
class fanotify_event_info_mnt(KernelStruct):
    """The mount that an event is about."""

    SINCE = "6.15"

    hdr: fanotify_event_info_header
    mnt_id: u64


@layout
class fanotify_response(KernelStruct):
    """The answer to a permission event, written to the `fanotify(7)` descriptor."""

    SINCE = "2.6.37"

    fd: fd32
    response: u32


@layout
class iocb(KernelStruct):
    """An asynchronous operation: `io_submit(2)` takes an array of addresses of them, `io_cancel(2)` one.

    Safety: the structure and its buffer have to live until the operation is done.
    """

    aio_data: u64
    aio_key: u32
    aio_rw_flags: i32
    aio_lio_opcode: u16
    aio_reqprio: i16
    aio_fildes: fdu32
    aio_buf: ptr
    aio_nbytes: u64
    aio_offset: i64
    _reserved2: u64
    aio_flags: u32
    aio_resfd: fdu32


@layout
class io_event(KernelStruct):
    """A finished asynchronous operation: `io_getevents(2)`. `obj` is the address of its `iocb`."""

    data: u64
    obj: ptr
    res: i64
    res2: i64
