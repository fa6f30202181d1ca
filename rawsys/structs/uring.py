"""io_uring: set-up, submissions, completions, registrations."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import Numbers, array_of, fd32, fdu32, i32, layout, over, ptr, u8, u16, u32, u64
from rawsys.structs.times import timespec

__all__ = [
    "io_cqring_offsets",
    "io_sqring_offsets",
    "io_uring_cqe",
    "io_uring_getevents_arg",
    "io_uring_params",
    "io_uring_recvmsg_out",
    "io_uring_reg_wait",
    "io_uring_sqe",
]


@layout
class io_sqring_offsets(KernelStruct):
    """Where the parts of the submission ring are."""

    SINCE = "5.1"

    head: u32
    tail: u32
    ring_mask: u32
    ring_entries: u32
    flags: u32
    dropped: u32
    array: u32  # type: ignore[assignment]  # a method of the base has that name
    _resv1: u32
    user_addr: ptr


@layout
class io_cqring_offsets(KernelStruct):
    """Where the parts of the completion ring are."""

    SINCE = "5.1"

    head: u32
    tail: u32
    ring_mask: u32
    ring_entries: u32
    overflow: u32
    cqes: u32
    flags: u32
    _resv1: u32
    user_addr: ptr


@layout
class io_uring_params(KernelStruct):
    """Wishes and answer: `io_uring_setup(2)`."""

    SINCE = "5.1"

    sq_entries: u32
    cq_entries: u32
    flags: u32
    sq_thread_cpu: u32
    sq_thread_idle: u32
    features: u32
    wq_fd: fdu32
    _resv: Numbers = array_of(u32, 3)
    sq_off: io_sqring_offsets
    cq_off: io_cqring_offsets


@layout
class io_uring_sqe(KernelStruct):
    """A submission (64 bytes); `from_buffer()` lays it over an entry of the mapped ring.

    Fields that share memory belong to different operations; the repr shows the first of each.
    """

    SINCE = "5.1"

    opcode: u8
    flags: u8
    ioprio: u16
    fd: fd32
    off: u64
    addr2: ptr = over("off")
    cmd_op: u32 = over("off")
    addr: ptr
    splice_off_in: u64 = over("addr")
    level: u32 = over("addr")
    optname: u32 = over("addr", 4)
    len: u32
    rw_flags: u32
    fsync_flags: u32 = over("rw_flags")
    poll_events: u16 = over("rw_flags")
    poll32_events: u32 = over("rw_flags")
    sync_range_flags: u32 = over("rw_flags")
    msg_flags: u32 = over("rw_flags")
    timeout_flags: u32 = over("rw_flags")
    accept_flags: u32 = over("rw_flags")
    cancel_flags: u32 = over("rw_flags")
    open_flags: u32 = over("rw_flags")
    statx_flags: u32 = over("rw_flags")
    fadvise_advice: u32 = over("rw_flags")
    splice_flags: u32 = over("rw_flags")
    rename_flags: u32 = over("rw_flags")
    unlink_flags: u32 = over("rw_flags")
    hardlink_flags: u32 = over("rw_flags")
    xattr_flags: u32 = over("rw_flags")
    msg_ring_flags: u32 = over("rw_flags")
    uring_cmd_flags: u32 = over("rw_flags")
    waitid_flags: u32 = over("rw_flags")
    futex_flags: u32 = over("rw_flags")
    install_fd_flags: u32 = over("rw_flags")
    nop_flags: u32 = over("rw_flags")
    pipe_flags: u32 = over("rw_flags")
    user_data: u64
    buf_index: u16
    buf_group: u16 = over("buf_index")
    personality: u16
    splice_fd_in: fd32
    file_index: u32 = over("splice_fd_in")
    zcrx_ifq_idx: u32 = over("splice_fd_in")
    optlen: u32 = over("splice_fd_in")
    addr_len: u16 = over("splice_fd_in")
    write_stream: u8 = over("splice_fd_in")
    addr3: ptr
    attr_ptr: ptr = over("addr3")
    optval: ptr = over("addr3")
    attr_type_mask: u64


@layout
class io_uring_cqe(KernelStruct):
    """A completion (16 bytes, twice that with IORING_SETUP_CQE32); `res` is a value or a negative errno."""

    SINCE = "5.1"
    TAIL = "big_cqe"

    user_data: u64
    res: i32
    flags: u32


@layout
class io_uring_getevents_arg(KernelStruct):
    """Mask and timeout: `io_uring_enter(2)` with IORING_ENTER_EXT_ARG."""

    SINCE = "5.11"

    sigmask: ptr
    sigmask_sz: u32
    min_wait_usec: u32
    ts: ptr


@layout
class io_uring_reg_wait(KernelStruct):
    """A registered wait: `io_uring_enter(2)` with IORING_ENTER_EXT_ARG_REG."""

    SINCE = "6.13"

    ts: timespec
    min_wait_usec: u32
    flags: u32
    sigmask: ptr
    sigmask_sz: u32
    _pad: Numbers = array_of(u32, 3)
    _pad2: Numbers = array_of(u64, 2)


@layout
class io_uring_recvmsg_out(KernelStruct):
    """The head of a message received by a multishot receive."""

    SINCE = "6.0"

    namelen: u32
    controllen: u32
    payloadlen: u32
    flags: u32
