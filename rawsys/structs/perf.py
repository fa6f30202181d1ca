"""Performance events, and BPF."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import (
    Numbers,
    array_of,
    bits,
    chars,
    fd32,
    fdu32,
    i32,
    layout,
    over,
    ptr,
    u8,
    u16,
    u32,
    u64,
)

__all__ = ["bpf_attr", "bpf_map_create", "bpf_map_elem", "bpf_obj", "bpf_prog_load", "perf_event_attr"]


@layout
class perf_event_attr(KernelStruct):
    """What to measure: `perf_event_open(2)`. Set `size`."""

    SINCE = "2.6.31"
    SIZE_VER0 = 64
    """2.6.31"""
    SIZE_VER1 = 72
    """2.6.33: `config2`"""
    SIZE_VER2 = 80
    """3.4: `branch_sample_type`"""
    SIZE_VER3 = 96
    """3.7: `sample_regs_user`, `sample_stack_user`"""
    SIZE_VER4 = 104
    """3.19: `sample_regs_intr`"""
    SIZE_VER5 = 112
    """4.1: `aux_watermark`"""
    SIZE_VER6 = 120
    """5.5: `aux_sample_size`"""
    SIZE_VER7 = 128
    """5.13: `sig_data`"""
    SIZE_VER8 = 136
    """6.3: `config3`"""

    type: u32
    size: u32
    config: u64
    sample_period: u64
    sample_freq: u64 = over("sample_period")
    sample_type: u64
    read_format: u64
    disabled: u64 = bits(1)
    inherit: u64 = bits(1)
    pinned: u64 = bits(1)
    exclusive: u64 = bits(1)
    exclude_user: u64 = bits(1)
    exclude_kernel: u64 = bits(1)
    exclude_hv: u64 = bits(1)
    exclude_idle: u64 = bits(1)
    mmap: u64 = bits(1)
    comm: u64 = bits(1)
    freq: u64 = bits(1)
    inherit_stat: u64 = bits(1)
    enable_on_exec: u64 = bits(1)
    task: u64 = bits(1)
    watermark: u64 = bits(1)
    precise_ip: u64 = bits(2)
    mmap_data: u64 = bits(1)
    sample_id_all: u64 = bits(1)
    exclude_host: u64 = bits(1)
    exclude_guest: u64 = bits(1)
    exclude_callchain_kernel: u64 = bits(1)
    exclude_callchain_user: u64 = bits(1)
    mmap2: u64 = bits(1)
    comm_exec: u64 = bits(1)
    use_clockid: u64 = bits(1)
    context_switch: u64 = bits(1)
    write_backward: u64 = bits(1)
    namespaces: u64 = bits(1)
    ksymbol: u64 = bits(1)
    bpf_event: u64 = bits(1)
    aux_output: u64 = bits(1)
    cgroup: u64 = bits(1)
    text_poke: u64 = bits(1)
    build_id: u64 = bits(1)
    inherit_thread: u64 = bits(1)
    remove_on_exec: u64 = bits(1)
    sigtrap: u64 = bits(1)
    _reserved_1: u64 = bits(26)
    wakeup_events: u32
    wakeup_watermark: u32 = over("wakeup_events")
    bp_type: u32
    config1: u64
    bp_addr: u64 = over("config1")
    kprobe_func: u64 = over("config1")
    uprobe_path: u64 = over("config1")
    config2: u64
    bp_len: u64 = over("config2")
    kprobe_addr: u64 = over("config2")
    probe_offset: u64 = over("config2")
    branch_sample_type: u64
    sample_regs_user: u64
    sample_stack_user: u32
    clockid: i32
    sample_regs_intr: u64
    aux_watermark: u32
    sample_max_stack: u16
    _reserved_2: u16
    aux_sample_size: u32
    aux_action: u32
    aux_start_paused: u32 = over("aux_action", bits=1)
    aux_pause: u32 = over("aux_action", 1, bits=1)
    aux_resume: u32 = over("aux_action", 2, bits=1)
    sig_data: u64
    config3: u64

    def __repr__(self) -> str:
        names = [n for n, f in self._plan.items() if n[0] != "_" and not f.overlay and getattr(self, n)]
        return f"perf_event_attr({', '.join(f'{name}={self._show(name)}' for name in names)})"


@layout
class bpf_map_create(KernelStruct):
    """The arguments of BPF_MAP_CREATE: `bpf(2)` takes it as it is, with its size."""

    SINCE = "3.18"
    SIZE_VER0 = 16
    """3.18: up to `max_entries`"""

    map_type: u32
    key_size: u32
    value_size: u32
    max_entries: u32
    map_flags: u32
    inner_map_fd: fdu32
    numa_node: u32
    map_name: bytes = chars(16)
    map_ifindex: u32
    btf_fd: fdu32
    btf_key_type_id: u32
    btf_value_type_id: u32
    btf_vmlinux_value_type_id: u32
    map_extra: u64
    value_type_btf_obj_fd: fd32
    map_token_fd: fd32
    excl_prog_hash: ptr
    excl_prog_hash_size: u32
    _pad: u32


@layout
class bpf_map_elem(KernelStruct):
    """The arguments of BPF_MAP_LOOKUP_ELEM, _UPDATE_ELEM, _DELETE_ELEM, _GET_NEXT_KEY: `bpf(2)`."""

    SINCE = "3.18"

    map_fd: fdu32
    _pad: u32
    key: ptr
    value: ptr
    next_key: ptr = over("value")
    flags: u64


@layout
class bpf_prog_load(KernelStruct):
    """The arguments of BPF_PROG_LOAD: `bpf(2)` takes it as it is, with its size."""

    SINCE = "3.18"
    SIZE_VER0 = 48
    """3.18: up to `kern_version`"""

    prog_type: u32
    insn_cnt: u32
    insns: ptr
    license: ptr
    log_level: u32
    log_size: u32
    log_buf: ptr
    kern_version: u32
    prog_flags: u32
    prog_name: bytes = chars(16)
    prog_ifindex: u32
    expected_attach_type: u32
    prog_btf_fd: fdu32
    func_info_rec_size: u32
    func_info: ptr
    func_info_cnt: u32
    line_info_rec_size: u32
    line_info: ptr
    line_info_cnt: u32
    attach_btf_id: u32
    attach_prog_fd: fdu32
    attach_btf_obj_fd: fdu32 = over("attach_prog_fd")
    core_relo_cnt: u32
    fd_array: ptr
    core_relos: ptr
    core_relo_rec_size: u32
    log_true_size: u32
    prog_token_fd: fd32
    fd_array_cnt: u32
    signature: ptr
    signature_size: u32
    keyring_id: i32


@layout
class bpf_obj(KernelStruct):
    """The arguments of BPF_OBJ_PIN and BPF_OBJ_GET: `bpf(2)`."""

    SINCE = "4.4"

    pathname: ptr
    bpf_fd: fdu32
    file_flags: u32
    path_fd: fd32
    _pad: u32


@layout
class bpf_attr(KernelStruct):
    """The arguments of any command of `bpf(2)`, of the size of 6.18. A union: its views share one memory.

    The C names are in the views (`attr.map_create.map_type`); of other commands, write the bytes in `raw`.
    The kernel takes a shorter size: the views alone can be given too.
    """

    SINCE = "3.18"
    SIZE_VER0 = 48

    raw: Numbers = array_of(u8, 168)
    map_create: bpf_map_create = over("raw")
    map_elem: bpf_map_elem = over("raw")
    prog_load: bpf_prog_load = over("raw")
    obj: bpf_obj = over("raw")
