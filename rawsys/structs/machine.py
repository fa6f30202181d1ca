"""The machine and memory: names, sizes, segments, the map of a process."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import (
    Numbers,
    array_of,
    bits,
    chars,
    fdu32,
    i64,
    layout,
    ptr,
    u16,
    u32,
    u64,
)

__all__ = [
    "kexec_segment",
    "prctl_mm_map",
    "procmap_query",
    "sysinfo",
    "user_desc",
    "utsname",
]


@layout
class sysinfo(KernelStruct):
    """Memory, load and uptime of the machine: `sysinfo(2)`. Sizes are in units of `mem_unit` bytes."""

    uptime: i64
    loads: Numbers = array_of(u64, 3)
    totalram: u64
    freeram: u64
    sharedram: u64
    bufferram: u64
    totalswap: u64
    freeswap: u64
    procs: u16
    _pad: u16
    totalhigh: u64
    freehigh: u64
    mem_unit: u32
    _f: u32


@layout
class utsname(KernelStruct):
    """Names and version of the system: `uname(2)`. The kernel's `new_utsname`."""

    sysname: bytes = chars(65)
    nodename: bytes = chars(65)
    release: bytes = chars(65)
    version: bytes = chars(65)
    machine: bytes = chars(65)
    domainname: bytes = chars(65)


@layout
class user_desc(KernelStruct):
    """An entry of a descriptor table: `modify_ldt(2)`."""

    entry_number: u32
    base_addr: u32
    limit: u32
    seg_32bit: u32 = bits(1)
    contents: u32 = bits(2)
    read_exec_only: u32 = bits(1)
    limit_in_pages: u32 = bits(1)
    seg_not_present: u32 = bits(1)
    useable: u32 = bits(1)
    lm: u32 = bits(1)


@layout
class kexec_segment(KernelStruct):
    """A piece of the next kernel: `kexec_load(2)`. `buf` is an address here, `mem` a physical one."""

    SINCE = "2.6.13"

    buf: ptr
    bufsz: u64
    mem: ptr
    memsz: u64


@layout
class prctl_mm_map(KernelStruct):
    """The addresses of a process image: `prctl(2)` with PR_SET_MM, PR_SET_MM_MAP."""

    SINCE = "3.18"

    start_code: u64
    end_code: u64
    start_data: u64
    end_data: u64
    start_brk: u64
    brk: u64
    start_stack: u64
    arg_start: u64
    arg_end: u64
    env_start: u64
    env_end: u64
    auxv: ptr
    auxv_size: u32
    exe_fd: fdu32


@layout
class procmap_query(KernelStruct):
    """A mapping of a process: `ioctl(2)` on `/proc/PID/maps` with PROCMAP_QUERY. Set `size`."""

    SINCE = "6.11"
    SIZE_VER0 = 104

    size: u64
    query_flags: u64
    query_addr: u64
    vma_start: u64
    vma_end: u64
    vma_flags: u64
    vma_page_size: u64
    vma_offset: u64
    inode: u64
    dev_major: u32
    dev_minor: u32
    vma_name_size: u32
    build_id_size: u32
    vma_name_addr: ptr
    build_id_addr: ptr
