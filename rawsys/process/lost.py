"""The status of a process that somebody else reaped: the kernel keeps it with the pidfd (PIDFD_INFO_EXIT, Linux 6.15)."""

from __future__ import annotations

from rawsys import raw
from rawsys.process import _numbers as n
from rawsys.process.status import ExitStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys._native.handle import Handle

_known: bool | None = None


def told(pidfd: Handle | int) -> ExitStatus | None:
    """What the kernel tells of the end of a process that was reaped; None when it does not (yet)."""
    info = bytearray(72)
    info[0] = n.PIDFD_INFO_EXIT
    if raw.ioctl(pidfd, n.PIDFD_GET_INFO, info) != 0 or not info[0] & n.PIDFD_INFO_EXIT:
        return None
    return ExitStatus(int.from_bytes(info[60:64], "little"))


def kernel_tells() -> bool:
    """Whether this kernel keeps the status with the pidfd; tried once, with a child that exits with 7."""
    global _known
    if _known is None:
        _known = _try()
    return _known


def _try() -> bool:
    from rawsys._native.process import spawn
    from rawsys.fd import Fd
    from rawsys.program import Program

    program = Program()
    program.exit_group(7)
    _, pidfd, *_ = spawn(Fd, (program,), 0, -1)
    if pidfd is None:
        return False
    with pidfd:
        while raw.waitid(n.P_PIDFD, pidfd.fileno(), None, n.WEXITED, None) == -n.EINTR:
            pass
        status = told(pidfd)
    return status is not None and status.code == 7
