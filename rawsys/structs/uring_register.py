"""io_uring: what `io_uring_register(2)` takes."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import Numbers, array_of, fd32, fdu32, layout, over, ptr, u8, u16, u32, u64
from rawsys.structs.times import timespec

__all__ = [
    "io_uring_buf",
    "io_uring_buf_reg",
    "io_uring_buf_status",
    "io_uring_clock_register",
    "io_uring_clone_buffers",
    "io_uring_file_index_range",
    "io_uring_files_update",
    "io_uring_mem_region_reg",
    "io_uring_napi",
    "io_uring_probe",
    "io_uring_probe_op",
    "io_uring_region_desc",
    "io_uring_restriction",
    "io_uring_rsrc_register",
    "io_uring_rsrc_update",
    "io_uring_rsrc_update2",
    "io_uring_sync_cancel_reg",
]


@layout
class io_uring_files_update(KernelStruct):
    """Descriptors to put in: `io_uring_register(2)` with IORING_REGISTER_FILES_UPDATE."""

    SINCE = "5.5"

    offset: u32
    _resv: u32
    fds: ptr


@layout
class io_uring_rsrc_register(KernelStruct):
    """Files or buffers to register: `io_uring_register(2)` with IORING_REGISTER_FILES2, _BUFFERS2."""

    SINCE = "5.13"

    nr: u32
    flags: u32
    _resv2: u64
    data: ptr
    tags: ptr


@layout
class io_uring_rsrc_update(KernelStruct):
    """Files or ring descriptors to change: `io_uring_register(2)` with IORING_REGISTER_RING_FDS."""

    SINCE = "5.13"

    offset: u32
    _resv: u32
    data: ptr


@layout
class io_uring_rsrc_update2(KernelStruct):
    """Files or buffers to change: `io_uring_register(2)` with IORING_REGISTER_FILES_UPDATE2, _BUFFERS_UPDATE."""

    SINCE = "5.13"

    offset: u32
    _resv: u32
    data: ptr
    tags: ptr
    nr: u32
    _resv2: u32


@layout
class io_uring_probe_op(KernelStruct):
    """Whether an operation is there."""

    SINCE = "5.6"

    op: u8
    _resv: u8
    flags: u16
    _resv2: u32


@layout
class io_uring_probe(KernelStruct):
    """Which operations are there: `io_uring_register(2)` with IORING_REGISTER_PROBE (256 as count)."""

    SINCE = "5.6"
    SIZE_VER0 = 16

    last_op: u8
    ops_len: u8
    _resv: u16
    _resv2: Numbers = array_of(u32, 3)
    ops: Numbers = array_of(io_uring_probe_op, 256)


@layout
class io_uring_restriction(KernelStruct):
    """What a ring may do: `io_uring_register(2)` with IORING_REGISTER_RESTRICTIONS."""

    SINCE = "5.10"

    opcode: u16
    register_op: u8
    sqe_op: u8 = over("register_op")
    sqe_flags: u8 = over("register_op")
    _resv: u8
    _resv2: Numbers = array_of(u32, 3)


@layout
class io_uring_clock_register(KernelStruct):
    """The clock of timeouts: `io_uring_register(2)` with IORING_REGISTER_CLOCK."""

    SINCE = "6.12"

    clockid: u32
    _resv: Numbers = array_of(u32, 3)


@layout
class io_uring_clone_buffers(KernelStruct):
    """Buffers of another ring: `io_uring_register(2)` with IORING_REGISTER_CLONE_BUFFERS."""

    SINCE = "6.12"

    src_fd: fdu32
    flags: u32
    src_off: u32
    dst_off: u32
    nr: u32
    _pad: Numbers = array_of(u32, 3)


@layout
class io_uring_buf(KernelStruct):
    """A buffer of a ring of provided buffers."""

    SINCE = "5.19"

    addr: ptr
    len: u32
    bid: u16
    resv: u16


@layout
class io_uring_buf_reg(KernelStruct):
    """A ring of provided buffers: `io_uring_register(2)` with IORING_REGISTER_PBUF_RING."""

    SINCE = "5.19"

    ring_addr: ptr
    ring_entries: u32
    bgid: u16
    flags: u16
    _resv: Numbers = array_of(u64, 3)


@layout
class io_uring_buf_status(KernelStruct):
    """The head of a ring of provided buffers: `io_uring_register(2)` with IORING_REGISTER_PBUF_STATUS."""

    SINCE = "6.8"

    buf_group: u32
    head: u32
    _resv: Numbers = array_of(u32, 8)


@layout
class io_uring_napi(KernelStruct):
    """Busy polling: `io_uring_register(2)` with IORING_REGISTER_NAPI. `opcode`, `op_param` are from 6.13."""

    SINCE = "6.9"

    busy_poll_to: u32
    prefer_busy_poll: u8
    opcode: u8
    _pad: Numbers = array_of(u8, 2)
    op_param: u32
    _resv: u32


@layout
class io_uring_region_desc(KernelStruct):
    """A region of memory shared with a ring."""

    SINCE = "6.13"

    user_addr: ptr
    size: u64
    flags: u32
    id: u32
    mmap_offset: u64
    _resv: Numbers = array_of(u64, 4)


@layout
class io_uring_mem_region_reg(KernelStruct):
    """A region to register: `io_uring_register(2)` with IORING_REGISTER_MEM_REGION."""

    SINCE = "6.13"

    region_uptr: ptr
    flags: u64
    _resv: Numbers = array_of(u64, 2)


@layout
class io_uring_sync_cancel_reg(KernelStruct):
    """What to cancel, waiting for it: `io_uring_register(2)` with IORING_REGISTER_SYNC_CANCEL."""

    SINCE = "6.0"

    addr: u64
    fd: fd32
    flags: u32
    timeout: timespec
    opcode: u8
    _pad: Numbers = array_of(u8, 7)
    _pad2: Numbers = array_of(u64, 3)


@layout
class io_uring_file_index_range(KernelStruct):
    """The slots that the kernel may choose: `io_uring_register(2)` with IORING_REGISTER_FILE_ALLOC_RANGE."""

    SINCE = "6.0"

    off: u32
    len: u32
    _resv: u64
