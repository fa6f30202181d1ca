"""Sockets: addresses, messages, vectors, credentials."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import TYPE_CHECKING, Numbers, array_of, be16, be32, i32, layout, ptr, u8, u16, u32, u64

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike
    from typing import Any, Self

__all__ = [
    "cmsghdr",
    "control_messages",
    "iovec",
    "linger",
    "message",
    "mmsghdr",
    "msghdr",
    "sockaddr",
    "sockaddr_in",
    "sockaddr_in6",
    "sockaddr_ll",
    "sockaddr_nl",
    "sockaddr_storage",
    "sockaddr_un",
    "sockaddr_vm",
    "ucred",
]

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _AF_PACKET, _AF_VSOCK = 1, 2, 10, 16, 17, 40


@layout
class iovec(KernelStruct):
    """A piece of memory: `readv(2)`, `writev(2)`, `vmsplice(2)`, `process_vm_readv(2)`, ...; see `iovecs()`."""

    iov_base: ptr
    iov_len: u64


@layout
class sockaddr_un(KernelStruct):
    """The address of a Unix socket: `bind(2)`, `connect(2)`, ...; make it with `sockaddr(path)`.

    The length given to the call is part of an abstract address: it is `length(path)`.
    """

    sun_family: u16
    sun_path: Numbers = array_of(u8, 108)

    def address(self, length: int = 110) -> str | bytes:
        """Its path as str, or an abstract name as bytes; `length` is what the kernel gave."""
        name = bytes(self.sun_path)[: max(length - 2, 0)]
        if name[:1] == b"\0":
            return name if length < 110 else name.rstrip(b"\0")
        from os import fsdecode

        return fsdecode(name.split(b"\0", 1)[0])

    def length(self) -> int:
        """The length that a call takes: with the NUL of a path, without one for an abstract name.

        An abstract name that ends in NULs cannot be told from one that does not: give its length by hand.
        """
        name = bytes(self.sun_path)
        if name[0]:
            return min(2 + len(name.split(b"\0", 1)[0]) + 1, 110)
        return 2 + len(name.rstrip(b"\0"))


@layout
class sockaddr_in(KernelStruct):
    """An IPv4 address: `bind(2)`, `connect(2)`, ...; `sockaddr(("127.0.0.1", 80))`. The port reads as a plain int."""

    sin_family: u16
    sin_port: be16
    sin_addr: Numbers = array_of(u8, 4)
    _zero: Numbers = array_of(u8, 8)

    def address(self, length: int = 16) -> tuple[str, int]:
        """(host, port)"""
        return ".".join(map(str, self.sin_addr)), self.sin_port

    def length(self) -> int:
        """The length that a call takes."""
        return self.sizeof()


@layout
class sockaddr_in6(KernelStruct):
    """An IPv6 address: `bind(2)`, `connect(2)`, ...; `sockaddr(("::1", 80))`. The port reads as a plain int."""

    sin6_family: u16
    sin6_port: be16
    sin6_flowinfo: be32
    sin6_addr: Numbers = array_of(u8, 16)
    sin6_scope_id: u32

    def address(self, length: int = 28) -> tuple[str, int, int, int]:
        """(host, port, flow, scope)"""
        from socket import AF_INET6, inet_ntop

        host = inet_ntop(AF_INET6, bytes(self.sin6_addr))
        return host, self.sin6_port, self.sin6_flowinfo, self.sin6_scope_id

    def length(self) -> int:
        """The length that a call takes."""
        return self.sizeof()


@layout
class sockaddr_nl(KernelStruct):
    """The address of a netlink socket: `bind(2)`, `sendto(2)`."""

    nl_family: u16
    _pad: u16
    nl_pid: u32
    nl_groups: u32


@layout
class sockaddr_ll(KernelStruct):
    """The address of a packet socket: `bind(2)`, `recvfrom(2)`."""

    sll_family: u16
    sll_protocol: be16
    sll_ifindex: i32
    sll_hatype: u16
    sll_pkttype: u8
    sll_halen: u8
    sll_addr: Numbers = array_of(u8, 8)


@layout
class sockaddr_vm(KernelStruct):
    """The address of a socket between a virtual machine and its host: `bind(2)`, `connect(2)`."""

    SINCE = "3.9"

    svm_family: u16
    _reserved1: u16
    svm_port: u32
    svm_cid: u32
    svm_flags: u8
    _zero: Numbers = array_of(u8, 3)


@layout
class sockaddr_storage(KernelStruct):
    """Room for any address (128 bytes): `accept4(2)`, `recvfrom(2)`, `getsockname(2)`; `typed()` tells which."""

    ss_family: u16
    _data: Numbers = array_of(u8, 118)
    _align: u64

    def typed(self) -> "KernelStruct":
        """A copy as the structure of its family; itself where the family is another."""
        kind = _FAMILIES.get(self.ss_family)
        return kind.from_bytes(self) if kind else self


_FAMILIES: dict[int, type[KernelStruct]] = {
    _AF_UNIX: sockaddr_un,
    _AF_INET: sockaddr_in,
    _AF_INET6: sockaddr_in6,
    _AF_NETLINK: sockaddr_nl,
    _AF_PACKET: sockaddr_ll,
    _AF_VSOCK: sockaddr_vm,
}


def sockaddr(
    address: "str | bytes | PathLike[str] | tuple[Any, ...]",
) -> sockaddr_un | sockaddr_in | sockaddr_in6:
    """The structure for an address: a path, a name that starts with NUL (abstract), (host, port[, flow, scope]).

    The host is a numeric address. Its `length()` is the length that the call takes.

    Raises:
        ValueError: the path is too long or has a NUL inside, or the host is not numeric.
    """
    if isinstance(address, tuple):
        return _internet(*address)
    from os import fsencode

    name = fsencode(address)
    if not name or len(name) > 108 or (name[0] and b"\0" in name):
        raise ValueError(f"a Unix address has 1 to 108 bytes and no NUL inside a path, not {name!r}")
    return sockaddr_un(sun_family=_AF_UNIX, sun_path=name)


def _internet(host: str, port: int, flow: int = 0, scope: int = 0) -> sockaddr_in | sockaddr_in6:
    from socket import AF_INET, AF_INET6, inet_pton

    if not 0 <= port <= 65535:
        raise OverflowError(f"a port is 0 to 65535, not {port}")
    try:
        if ":" not in host:
            return sockaddr_in(sin_family=_AF_INET, sin_port=port, sin_addr=inet_pton(AF_INET, host))
        raw = inet_pton(AF_INET6, host)
    except OSError:
        raise ValueError(f"not a numeric address: {host!r}") from None
    return sockaddr_in6(sin6_family=_AF_INET6, sin6_port=port, sin6_flowinfo=flow, sin6_addr=raw, sin6_scope_id=scope)


@layout
class ucred(KernelStruct):
    """Who is at the other end: SCM_CREDENTIALS, `getsockopt(2)` with SO_PEERCRED."""

    pid: i32
    uid: u32
    gid: u32


@layout
class linger(KernelStruct):
    """What a close does with unsent data: `setsockopt(2)` with SO_LINGER."""

    l_onoff: i32
    l_linger: i32


@layout
class msghdr(KernelStruct):
    """A message: `sendmsg(2)`, `recvmsg(2)`; `message()` makes it. The kernel's `user_msghdr`."""

    msg_name: ptr
    msg_namelen: i32
    msg_iov: ptr
    msg_iovlen: u64
    msg_control: ptr
    msg_controllen: u64
    msg_flags: u32


@layout
class mmsghdr(KernelStruct):
    """One message of several: `sendmmsg(2)`, `recvmmsg(2)`; `msg_len` is the kernel's answer."""

    SINCE = "2.6.33"

    msg_hdr: msghdr
    msg_len: u32


@layout
class cmsghdr(KernelStruct):
    """The head of a control message; `make()` builds one, `control_messages()` walks what came."""

    TAIL = "cmsg_data"

    cmsg_len: u64
    cmsg_level: i32
    cmsg_type: i32

    @classmethod
    def make(cls, level: int, kind: int, data: bytes) -> "Self":
        """A control message with its data, padded to 8 bytes, so that several may be joined with `bytes()`."""
        return cls.with_tail(data + b"\0" * (-len(data) % 8), cmsg_len=16 + len(data), cmsg_level=level, cmsg_type=kind)


def message(buffers: "Iterable[Any]", *, name: "Any" = None, control: "Any" = None, read_only: bool = False) -> msghdr:
    """A `msghdr` over buffers, an address and a control buffer, all of which it keeps alive.

    Args:
        buffers: what is sent, or where to receive.
        name: an address (`sockaddr(...)`) or room for one (`sockaddr_storage()`).
        control: control messages, or room for them.
        read_only: True for sending: then bytes may be given.
    """
    from rawsys.structs._memory import iovecs

    vector = iovecs(*buffers, read_only=read_only)
    made = msghdr(msg_iovlen=len(vector))
    made.point("msg_iov", vector)
    if name is not None:
        made.point("msg_name", name, read_only=read_only)
        made.msg_namelen = name.length() if hasattr(name, "length") else memoryview(name).nbytes
    if control is not None:
        made.point("msg_control", control, read_only=read_only)
        made.msg_controllen = memoryview(control).nbytes
    return made


def control_messages(control: "Any", size: int) -> "Iterator[tuple[cmsghdr, bytes]]":
    """Walk the control messages that `recvmsg(2)` left: (header, data). `size` is `msg_controllen` afterwards."""
    view = memoryview(control).cast("B")[:size]
    while len(view) >= 16:
        header = cmsghdr.from_bytes(view)
        if not 16 <= header.cmsg_len <= len(view):
            raise ValueError(f"control message of {header.cmsg_len} bytes, with {len(view)} left")
        yield header, bytes(view[16 : header.cmsg_len])
        view = view[header.cmsg_len + -header.cmsg_len % 8 :]
