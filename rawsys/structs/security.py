"""Capabilities, seccomp, Landlock, security modules, keys."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import (
    TYPE_CHECKING,
    Numbers,
    array_of,
    fd32,
    fdu32,
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

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "cap_user_data",
    "cap_user_header",
    "keyctl_dh_params",
    "keyctl_kdf_params",
    "keyctl_pkey_params",
    "keyctl_pkey_query",
    "landlock_net_port_attr",
    "landlock_path_beneath_attr",
    "landlock_ruleset_attr",
    "lsm_ctx",
    "seccomp_data",
    "seccomp_notif",
    "seccomp_notif_addfd",
    "seccomp_notif_resp",
    "seccomp_notif_sizes",
    "sock_filter",
    "sock_fprog",
]


@layout
class cap_user_header(KernelStruct):
    """Version and process: `capget(2)`, `capset(2)`. Version 3 is 0x20080522. `__user_cap_header_struct`."""

    version: u32
    pid: i32


@layout
class cap_user_data(KernelStruct):
    """32 capabilities of each set: `capget(2)`, `capset(2)`; version 3 takes `cap_user_data.array(2)`."""

    effective: u32
    permitted: u32
    inheritable: u32


@layout
class seccomp_data(KernelStruct):
    """What a seccomp filter looks at: the call, its architecture and its arguments."""

    SINCE = "3.5"

    nr: i32
    arch: u32
    instruction_pointer: u64
    args: Numbers = array_of(u64, 6)


@layout
class sock_filter(KernelStruct):
    """One instruction of a classic BPF program."""

    code: u16
    jt: u8
    jf: u8
    k: u32


@layout
class sock_fprog(KernelStruct):
    """A classic BPF program: `seccomp(2)`, `prctl(2)` with PR_SET_SECCOMP, `setsockopt(2)` with SO_ATTACH_FILTER."""

    len: u16
    filter: ptr

    @classmethod
    def of(cls, instructions: "Iterable[sock_filter]") -> "sock_fprog":
        """The program of these instructions; it keeps a copy of them."""
        code = sock_filter.array(instructions)
        made = cls(len=len(code))
        made.point("filter", code)
        return made


@layout
class seccomp_notif_sizes(KernelStruct):
    """The kernel's sizes of the structures of user notification: `seccomp(2)` with SECCOMP_GET_NOTIF_SIZES."""

    SINCE = "5.0"

    seccomp_notif: u16
    seccomp_notif_resp: u16
    seccomp_data: u16


@layout
class seccomp_notif(KernelStruct):
    """A call that waits for an answer: `ioctl(2)` with SECCOMP_IOCTL_NOTIF_RECV. It has to be zero before."""

    SINCE = "5.0"

    id: u64
    pid: u32
    flags: u32
    data: seccomp_data


@layout
class seccomp_notif_resp(KernelStruct):
    """The answer to a call: `ioctl(2)` with SECCOMP_IOCTL_NOTIF_SEND. `error` is 0 or a negative errno."""

    SINCE = "5.0"

    id: u64
    val: i64
    error: i32
    flags: u32


@layout
class seccomp_notif_addfd(KernelStruct):
    """A descriptor to put into the process that waits: `ioctl(2)` with SECCOMP_IOCTL_NOTIF_ADDFD."""

    SINCE = "5.9"
    SIZE_VER0 = 24

    id: u64
    flags: u32
    srcfd: fdu32
    newfd: u32
    newfd_flags: u32


@layout
class landlock_ruleset_attr(KernelStruct):
    """What a ruleset handles: `landlock_create_ruleset(2)`."""

    SINCE = "5.13"
    SIZE_VER0 = 8
    """5.13: `handled_access_fs`"""
    SIZE_VER1 = 16
    """6.7: `handled_access_net`"""
    SIZE_VER2 = 24
    """6.12: `scoped`"""

    handled_access_fs: u64
    handled_access_net: u64
    scoped: u64


@layout
class landlock_path_beneath_attr(KernelStruct):
    """What is allowed below a directory: `landlock_add_rule(2)`. Packed: 12 bytes."""

    _pack_ = 1
    _layout_ = "ms"
    SINCE = "5.13"

    allowed_access: u64
    parent_fd: fd32


@layout
class landlock_net_port_attr(KernelStruct):
    """What is allowed on a port: `landlock_add_rule(2)`. The port is a plain int."""

    SINCE = "6.7"

    allowed_access: u64
    port: u64


@layout
class lsm_ctx(KernelStruct):
    """An attribute of a security module: `lsm_get_self_attr(2)` (`records()` walks), `lsm_set_self_attr(2)`."""

    SINCE = "6.8"
    TAIL = "ctx"

    id: u64
    flags: u64
    len: u64
    ctx_len: u64

    def _record_size(self) -> int:
        return self.len


@layout
class keyctl_dh_params(KernelStruct):
    """The keys of a Diffie-Hellman computation: `keyctl(2)` with KEYCTL_DH_COMPUTE."""

    SINCE = "4.7"

    private: i32
    priv: i32 = over("private")
    prime: i32
    base: i32


@layout
class keyctl_kdf_params(KernelStruct):
    """How to derive a key: `keyctl(2)` with KEYCTL_DH_COMPUTE."""

    SINCE = "4.12"

    hashname: ptr
    otherinfo: ptr
    otherinfolen: u32
    _spare: Numbers = array_of(u32, 8)


@layout
class keyctl_pkey_query(KernelStruct):
    """What an asymmetric key can do: `keyctl(2)` with KEYCTL_PKEY_QUERY."""

    SINCE = "4.20"

    supported_ops: u32
    key_size: u32
    max_data_size: u16
    max_sig_size: u16
    max_enc_size: u16
    max_dec_size: u16
    _spare: Numbers = array_of(u32, 10)


@layout
class keyctl_pkey_params(KernelStruct):
    """Sizes of an operation with an asymmetric key: `keyctl(2)` with KEYCTL_PKEY_ENCRYPT and its kin."""

    SINCE = "4.20"

    key_id: i32
    in_len: u32
    out_len: u32
    in2_len: u32 = over("out_len")
    _spare: Numbers = array_of(u32, 7)
