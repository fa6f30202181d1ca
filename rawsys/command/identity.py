"""Who the child is: users, groups, capabilities, and the maps of its user namespace, as steps."""

from __future__ import annotations

import os
from functools import cache
from struct import pack
from typing import NamedTuple

from rawsys import raw
from rawsys.command import _numbers as n

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rawsys.command.command import Command
    from rawsys.command.steps import Steps

_VERSION_3 = 0x20080522


class Capabilities(NamedTuple):
    """Which capabilities a child may have.  Each a set of CAP constants, or None to leave it as it is."""

    bounding: Iterable[int] | None = None
    """The most that any program there can ever get: all others are dropped from the bounding set."""
    ambient: Iterable[int] | None = None
    """What the program has, though it is neither root nor a file with capabilities."""


class Account(NamedTuple):
    """The numbers behind `user`, `group` and `groups`; None leaves one as it is."""

    uid: int | None
    gid: int | None
    groups: list[int] | None


def account(user: str | int | None, group: str | int | None, groups: Iterable[str | int] | None) -> Account:
    """Look the names up.  A user by name brings the group and the groups of the account, where none are given.

    Raises LookupError for an unknown user or group.
    """
    uid = user if isinstance(user, int) else None
    gid = None if group is None else _gid(group)
    listed = None if groups is None else [_gid(each) for each in groups]
    if isinstance(user, str):
        import pwd

        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise LookupError(f"no user is named {user!r}") from None
        uid = entry.pw_uid
        gid = entry.pw_gid if gid is None else gid
        listed = os.getgrouplist(user, gid) if listed is None else listed
    return Account(uid, gid, listed)


def _gid(group: str | int) -> int:
    if isinstance(group, int):
        return group
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"no group is named {group!r}") from None


def maps(steps: Steps, user: str | int | None, group: str | int | None) -> None:
    """In a new user namespace the child maps the one id that it may: ours, to the `user` and `group` that are asked for."""
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    inside_uid = user if isinstance(user, int) else outside_uid
    inside_gid = group if isinstance(group, int) else outside_gid
    steps.write_file(b"/proc/self/setgroups", b"deny")
    steps.write_file(b"/proc/self/uid_map", b"%d %d 1" % (inside_uid, outside_uid))
    steps.write_file(b"/proc/self/gid_map", b"%d %d 1" % (inside_gid, outside_gid))


def credentials(steps: Steps, command: Command, new_user: bool) -> None:
    """groups, group, user, capabilities, securebits."""
    who = account(command.user, command.group, command.groups)
    if who.groups is not None:
        steps.add(n.Call.setgroups, (len(who.groups), pack(f"{len(who.groups)}I", *who.groups) or None))
    if who.gid is not None:
        steps.add(n.Call.setresgid, (who.gid, who.gid, who.gid))
    wants = command.capabilities is not None or command.securebits is not None
    keep = wants and who.uid is not None and who.uid != 0
    if keep:
        _prctl(steps, n.PR_SET_KEEPCAPS, 1)  # else leaving root drops what the steps below need
    if who.uid is not None:
        steps.add(n.Call.setresuid, (who.uid, who.uid, who.uid))
    if wants:
        _capabilities(steps, command, keep, new_user)


def _capabilities(steps: Steps, command: Command, keep: bool, new_user: bool) -> None:
    bounding, ambient = Capabilities(*command.capabilities) if command.capabilities is not None else Capabilities()
    permitted = (1 << last_capability() + 1) - 1 if new_user else own_capabilities()[1]
    inheritable = 0 if new_user else own_capabilities()[2]
    if keep:
        _capset(steps, permitted, permitted, inheritable)
    if bounding is not None:
        kept = set(bounding)
        for number in range(last_capability() + 1):
            if number not in kept:
                _prctl(steps, n.PR_CAPBSET_DROP, number)
    if ambient is not None:
        mask = sum(1 << number for number in set(ambient))
        if keep or os.geteuid():
            _capset(steps, permitted, permitted, mask)
        else:
            _capset(steps, permitted, permitted, inheritable | mask)
        _prctl(steps, n.PR_CAP_AMBIENT, n.PR_CAP_AMBIENT_CLEAR_ALL)
        for number in sorted(set(ambient)):
            _prctl(steps, n.PR_CAP_AMBIENT, n.PR_CAP_AMBIENT_RAISE, number)
    if command.securebits is not None:
        _prctl(steps, n.PR_SET_SECUREBITS, command.securebits)
    if keep:
        mask = sum(1 << number for number in set(ambient or ()))
        _capset(steps, mask, mask, mask)


def _prctl(steps: Steps, option: int, first: int, second: int = 0) -> None:
    steps.add(n.Call.prctl, (option, first, second, 0, 0))


def _capset(steps: Steps, effective: int, permitted: int, inheritable: int) -> None:
    low = [mask & 0xFFFFFFFF for mask in (effective, permitted, inheritable)]
    high = [mask >> 32 for mask in (effective, permitted, inheritable)]
    steps.add(n.Call.capset, (bytearray(pack("Ii", _VERSION_3, 0)), pack("6I", *low, *high)))


def own_capabilities() -> tuple[int, int, int]:
    """This thread's effective, permitted and inheritable capabilities, as masks."""
    data = bytearray(24)
    raw.capget(bytearray(pack("Ii", _VERSION_3, 0)), data)
    words = memoryview(data).cast("I")
    return words[0] | words[3] << 32, words[1] | words[4] << 32, words[2] | words[5] << 32


@cache
def last_capability() -> int:
    """The highest capability that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())
