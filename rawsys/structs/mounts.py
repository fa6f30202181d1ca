"""Mounts, their namespaces, and quotas."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import Numbers, array_of, fdu32, fdu64, i8, i16, i32, layout, over, u8, u16, u32, u64

__all__ = [
    "fs_disk_quota",
    "if_dqblk",
    "if_dqinfo",
    "if_nextdqblk",
    "mnt_id_req",
    "mnt_ns_info",
    "mount_attr",
    "statmount",
]


@layout
class mount_attr(KernelStruct):
    """What to change of a mount: `mount_setattr(2)`, `open_tree_attr(2)`."""

    SINCE = "5.12"
    SIZE_VER0 = 32

    attr_set: u64
    attr_clr: u64
    propagation: u64
    userns_fd: fdu64


@layout
class mnt_id_req(KernelStruct):
    """Which mount, and what of it: `statmount(2)`, `listmount(2)`. Set `size`.

    `param` is the mask of `statmount`, the last mount seen of `listmount`. `mnt_ns_fd` was `spare` at first.
    """

    SINCE = "6.8"
    SIZE_VER0 = 24
    """6.8"""
    SIZE_VER1 = 32
    """6.11: `mnt_ns_id`"""

    size: u32
    mnt_ns_fd: fdu32
    spare: u32 = over("mnt_ns_fd")
    mnt_id: u64
    param: u64
    mnt_ns_id: u64


@layout
class statmount(KernelStruct):
    """What a mount is: `statmount(2)`. Make it `with_tail(4096)`: strings come behind it.

    Fields such as `mnt_point` are offsets of strings: `string(s.mnt_point)`. What counts is in `mask`.
    6.11: `mnt_opts`, `mnt_ns_id`; 6.13: `fs_subtype` to `opt_sec_array`; 6.15: `supported_mask` and the id maps.
    """

    SINCE = "6.8"
    TAIL = "str"

    size: u32
    mnt_opts: u32
    mask: u64
    sb_dev_major: u32
    sb_dev_minor: u32
    sb_magic: u64
    sb_flags: u32
    fs_type: u32
    mnt_id: u64
    mnt_parent_id: u64
    mnt_id_old: u32
    mnt_parent_id_old: u32
    mnt_attr: u64
    mnt_propagation: u64
    mnt_peer_group: u64
    mnt_master: u64
    propagate_from: u64
    mnt_root: u32
    mnt_point: u32
    mnt_ns_id: u64
    fs_subtype: u32
    sb_source: u32
    opt_num: u32
    opt_array: u32
    opt_sec_num: u32
    opt_sec_array: u32
    supported_mask: u64
    mnt_uidmap_num: u32
    mnt_uidmap: u32
    mnt_gidmap_num: u32
    mnt_gidmap: u32
    _spare2: Numbers = array_of(u64, 43)

    def string(self, offset: int) -> bytes:
        """The string at an offset behind the structure."""
        return self.tail_bytes()[offset:].split(b"\0", 1)[0]


@layout
class mnt_ns_info(KernelStruct):
    """A mount namespace: `ioctl(2)` with NS_MNT_GET_INFO, NS_MNT_GET_NEXT, NS_MNT_GET_PREV."""

    SINCE = "6.12"
    SIZE_VER0 = 16

    size: u32
    nr_mounts: u32
    mnt_ns_id: u64


@layout
class if_dqblk(KernelStruct):
    """Limits and use of a quota: `quotactl(2)` with Q_GETQUOTA, Q_SETQUOTA. `dqblk` in libc."""

    dqb_bhardlimit: u64
    dqb_bsoftlimit: u64
    dqb_curspace: u64
    dqb_ihardlimit: u64
    dqb_isoftlimit: u64
    dqb_curinodes: u64
    dqb_btime: u64
    dqb_itime: u64
    dqb_valid: u32


@layout
class if_nextdqblk(KernelStruct):
    """The next quota there is: `quotactl(2)` with Q_GETNEXTQUOTA."""

    SINCE = "4.6"

    dqb_bhardlimit: u64
    dqb_bsoftlimit: u64
    dqb_curspace: u64
    dqb_ihardlimit: u64
    dqb_isoftlimit: u64
    dqb_curinodes: u64
    dqb_btime: u64
    dqb_itime: u64
    dqb_valid: u32
    dqb_id: u32


@layout
class if_dqinfo(KernelStruct):
    """Grace times of quotas: `quotactl(2)` with Q_GETINFO, Q_SETINFO."""

    dqi_bgrace: u64
    dqi_igrace: u64
    dqi_flags: u32
    dqi_valid: u32


@layout
class fs_disk_quota(KernelStruct):
    """A quota of XFS: `quotactl(2)` with Q_XGETQUOTA, Q_XSETQLIM. The `_hi` fields are from 5.10."""

    d_version: i8
    d_flags: i8
    d_fieldmask: u16
    d_id: u32
    d_blk_hardlimit: u64
    d_blk_softlimit: u64
    d_ino_hardlimit: u64
    d_ino_softlimit: u64
    d_bcount: u64
    d_icount: u64
    d_itimer: i32
    d_btimer: i32
    d_iwarns: u16
    d_bwarns: u16
    d_itimer_hi: i8
    d_btimer_hi: i8
    d_rtbtimer_hi: i8
    _padding2: i8
    d_rtb_hardlimit: u64
    d_rtb_softlimit: u64
    d_rtbcount: u64
    d_rtbtimer: i32
    d_rtbwarns: u16
    _padding3: i16
    _padding4: Numbers = array_of(u8, 8)
