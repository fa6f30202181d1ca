"""Signals read from a descriptor."""

from __future__ import annotations

import struct

from rawsys import raw
from rawsys._native.handle import FdIO
from rawsys._native.signals import SignalInfo
from rawsys._timeouts import Deadline
from rawsys.fd._calls import Number
from rawsys.signals.masks import fail, many
from rawsys.signals.sets import SignalSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from rawsys.signals.masks import Signals

__all__ = ["SignalFd"]

_FLAGS = 0o2000000 | 0o4000  # SFD_CLOEXEC | SFD_NONBLOCK
_SIZE = 128
_FORM = struct.Struct("<IiiIIiIIIIiiQQQQHHiQI")


class SignalFd(FdIO):
    """`signalfd(2)`: a descriptor from which pending signals are read, instead of a handler.

    All threads of the process have to block the signals (`blocked` before they start): one that leaves them open may
    receive them by their handler or default action, and they are not seen here.  A thread reads the signals that are
    pending for the process or for itself.  After `fork()` the child reads its own.

    `get`, `get_nowait` and iteration (over what is there now) give a SignalInfo each; `fileno()` is readable while there
    is one, for select and epoll; under asyncio ``await fd.get_async()`` and ``async for``.  As with every Fd, `close()`
    does not wake a thread or a task that waits.

    Raises ValueError for libc's own 32 and 33 and what is no signal; SIGKILL and SIGSTOP never come.
    """

    __slots__ = ("__weakref__", "_signals")

    _signals: SignalSet

    def __new__(cls, *signals: Signals) -> Self:
        """A new descriptor; all signals where none is named."""
        wanted = many(signals)
        mask = wanted.to_bytes()
        number = raw.signalfd4(-1, mask, 8, _FLAGS)
        fail("signalfd4", (-1, mask, 8, _FLAGS), number)
        made = cls._fresh(number)
        made._signals = wanted
        return made

    @property
    def signals(self) -> SignalSet:
        """The signals that are read here; of a borrowed one what the kernel tells (ValueError if it is no signalfd)."""
        try:
            return self._signals
        except AttributeError:
            return _told(self)

    def update(self, *signals: Signals) -> None:
        """Read another set of signals from now on."""
        wanted = many(signals)
        mask = wanted.to_bytes()
        fail("signalfd4", (self, mask, 8, _FLAGS), raw.signalfd4(self, mask, 8, _FLAGS))
        self._signals = wanted

    def get_nowait(self) -> SignalInfo | None:
        """The next signal that is pending, or None."""
        try:
            data = self.read(_SIZE)
        except BlockingIOError:
            return None
        return decoded(data)

    def get(self, timeout: float | None = None) -> SignalInfo:
        """The next signal; waits for one if none is pending.

        `timeout` in seconds; None waits for ever, 0 not at all.  Raises TimeoutError, ValueError for a negative timeout,
        ClosedError.
        """
        deadline = Deadline(timeout)
        while (info := self.get_nowait()) is None:
            number = Number(self)
            try:
                poll = bytearray(struct.pack("ihh", number.value, 1, 0))  # POLLIN
                left = deadline.timespec()
                answer = raw.ppoll(poll, 1, None if left is None else bytearray(left), None, 8)
            finally:
                number.release()
            if answer == 0:
                info = self.get_nowait()
                if info is None:
                    raise TimeoutError(f"no signal of {self!r} came within {timeout} seconds")
                break
            if answer != -4:
                fail("ppoll", (poll, 1, left, None, 8), answer)
        return info

    async def get_async(self) -> SignalInfo:
        """The next signal, under asyncio."""
        while (info := self.get_nowait()) is None:
            await self.wait_async()
        return info

    async def wait_async(self) -> None:
        """Wait, under asyncio, until a signal is pending; `get_nowait` takes it."""
        from rawsys.fd._asyncio import ready

        await ready(self)

    def __iter__(self) -> Self:
        self.fileno()
        return self

    def __next__(self) -> SignalInfo:
        info = self.get_nowait()
        if info is None:
            raise StopIteration
        return info

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SignalInfo:
        return await self.get_async()


def _told(fd: SignalFd) -> SignalSet:
    """The set of a descriptor that somebody else made, from /proc."""
    with open(f"/proc/self/fdinfo/{fd.fileno()}", "rb") as file:
        for line in file:
            if line.startswith(b"sigmask:"):
                return SignalSet.from_mask(int(line.split()[1], 16))
    raise ValueError(f"{fd!r} is no signalfd")


def decoded(data: bytes) -> SignalInfo:
    """The SignalInfo for a ``struct signalfd_siginfo``."""
    (signo, errno, code, pid, uid, fd, timer, band, overrun, _trapno, status, _int, pointer, utime, stime, addr, lsb, _pad,
     syscall, call_addr, arch) = _FORM.unpack_from(data)  # fmt: skip
    if code == -2:
        fields = struct.pack("<IIQ", timer, overrun, pointer)
    elif code == -5 or (signo == 29 and 0 < code < 0x80):
        fields = struct.pack("<Qi", band, fd)
    elif signo == 17 and 0 < code < 0x80:
        fields = struct.pack("<IIi4xQQ", pid, uid, status, utime, stime)
    elif signo in (4, 5, 7, 8, 11) and 0 < code < 0x80:
        fields = struct.pack("<QH", addr, lsb)
    elif signo == 31 and 0 < code < 0x80:
        fields = struct.pack("<QiI", call_addr, syscall, arch)
    else:
        fields = struct.pack("<IIQ", pid, uid, pointer)
    return SignalInfo((struct.pack("<iii4x", signo, errno, code) + fields).ljust(_SIZE, b"\0"))
