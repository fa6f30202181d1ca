"""How an Fd comes to be, and how it becomes something else."""

from __future__ import annotations

from os import fspath

from rawsys import raw, syscalls
from rawsys._native.handle import FdIO, Handle
from rawsys.fd import _numbers as n
from rawsys.fd._calls import again, counted, discard, mine, own, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import TextIOWrapper
    from os import PathLike
    from typing import IO, BinaryIO, Self, overload

    from _typeshed import OpenBinaryMode, OpenTextMode

    from rawsys._types import Descriptor

    Path = str | bytes | PathLike[str] | PathLike[bytes]


class Making(FdIO):
    """Constructors of Fd; all of them set close-on-exec in the same call that makes the descriptor."""

    __slots__ = ()

    @classmethod
    def open(
        cls,
        path: Path,
        flags: int = n.O_RDONLY,
        mode: int = 0o666,
        *,
        dir_fd: Descriptor | None = None,
        resolve: int | None = None,
    ) -> Self:
        """`openat(2)`: open or create a file.

        `flags` are O constants; O_CLOEXEC is always added, set `cloexec = False` afterwards for a child to inherit it.
        `mode` is for files that are created, less the umask.  A relative `path` starts at `dir_fd`, or at the working
        directory.  With `resolve` (RESOLVE constants, 0 for none) it is `openat2(2)`, which also refuses unknown flags.

        Raises OSError: FileNotFoundError, PermissionError, IsADirectoryError, ...; with `resolve` also EXDEV (the path
        leaves the directory), ELOOP, and EAGAIN, after which one may try again.
        """
        name = fspath(path)
        at = n.AT_FDCWD if dir_fd is None else dir_fd
        if type(flags) is not int:
            flags = whole(flags, "flags")
        if resolve is not None:
            return mine(
                cls,
                again(syscalls.openat2, at, name, _open_how(flags, mode, resolve), 24),
            )
        while True:
            try:
                fd = syscalls.openat(at, name, flags | n.O_CLOEXEC, mode)
            except InterruptedError:
                continue
            return fd if isinstance(fd, cls) else mine(cls, fd)

    @classmethod
    def pipe(cls, flags: int = 0) -> tuple[Self, Self]:
        """`pipe2(2)`: a pipe, as (read end, write end).

        `flags`: O_NONBLOCK, O_DIRECT (packets).  Raises OSError (EMFILE, ENFILE); then neither end is there.
        """
        memory = bytearray(b"\xff" * 8)
        numbers = memoryview(memory).cast("i")
        try:
            syscalls.pipe2(memory, whole(flags, "flags") | n.O_CLOEXEC)
            read, write = own(cls, numbers)
        except BaseException:
            discard(numbers)
            raise
        return read, write

    @classmethod
    def socketpair(cls, family: int = n.AF_UNIX, type: int = n.SOCK_STREAM, protocol: int = 0) -> tuple[Self, Self]:
        """`socketpair(2)`: two sockets connected to each other; both ends read and write.

        `type`: a SOCK constant, with SOCK_NONBLOCK added where wanted.  Raises OSError; then neither end is there.
        """
        memory = bytearray(b"\xff" * 8)
        numbers = memoryview(memory).cast("i")
        try:
            syscalls.socketpair(family, whole(type, "type") | n.SOCK_CLOEXEC, protocol, memory)
            one, two = own(cls, numbers)
        except BaseException:
            discard(numbers)
            raise
        return one, two

    @classmethod
    def memfd(cls, name: str | bytes, *, seals: bool = True) -> Self:
        """`memfd_create(2)`: an empty file in memory, which lives as long as somebody has it open or mapped.

        `name` (at most 249 bytes) is shown in /proc only.  With `seals` the file can be sealed, see `add_seals`.
        """
        if not isinstance(name, (str, bytes)):
            raise TypeError(f"the name of a memfd must be str or bytes, not {type(name).__name__}")
        flags = n.MFD_CLOEXEC | (n.MFD_ALLOW_SEALING if seals else 0)
        return mine(cls, syscalls.memfd_create(name, flags))

    @classmethod
    def eventfd(cls, value: int = 0, *, semaphore: bool = False) -> Self:
        """`eventfd2(2)`: a 64-bit counter; 8 bytes (native order) written are added, a read of 8 takes it.

        A read gives the whole counter and sets it to 0, with `semaphore` it gives 1 and takes 1; at 0 it waits.
        `value` is what it begins with, 0 to 2**32-1.
        """
        flags = n.EFD_CLOEXEC | (n.EFD_SEMAPHORE if semaphore else 0)
        return mine(cls, syscalls.eventfd2(counted(value, "the value of an eventfd"), flags))

    def dup(self, *, lowest: int = 0) -> Self:
        """`fcntl(2)` F_DUPFD_CLOEXEC: another owner of the same open file, which shares its position and locks.

        The number is the first that is free from `lowest` on.  Raises OSError (EMFILE; EINVAL if `lowest` is too high).
        """
        return mine(type(self), syscalls.fcntl(self, n.F_DUPFD_CLOEXEC, lowest))

    def dup_to(self, number: int) -> Self:
        """`dup3(2)`: put the same open file at `number`, and own that; what was open there is closed.

        Close-on-exec is set: put `cloexec = False` on the result for a child to inherit it.

        Raises BusyError when an owner in this process holds `number` (this very Fd too), OSError (EBADF when the number
        is negative or above the limit; EINVAL when a borrowed Fd is put onto its own number).

        Safety: whoever uses the number without owning it (0, 1 and 2 are everybody's) has another file from now on.
        """
        number = whole(number, "a descriptor")
        if 0 <= number < 2**31 - 1 and Handle._owned(number):
            from rawsys.errors import BusyError

            raise BusyError(f"descriptor {number} has an owner here; close that, or dup() to a free number")
        again(syscalls.dup3, self, number, n.O_CLOEXEC)
        return self._fresh(number)

    if TYPE_CHECKING:

        @overload
        def open_file(
            self, mode: OpenTextMode = "r", *, buffering: int = -1, encoding: str | None = None,
            errors: str | None = None, newline: str | None = None,
        ) -> TextIOWrapper: ...  # fmt: skip
        @overload
        def open_file(self, mode: OpenBinaryMode, *, buffering: int = -1) -> BinaryIO: ...

    def open_file(
        self,
        mode: str = "r",
        *,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[str] | IO[bytes]:
        """A Python file object that takes over the descriptor; this Fd is closed afterwards.

        The arguments are those of `open`.  `mode` tells how it will be used: nothing is created or cut off, and the
        kernel still refuses to write to what was opened for reading.

        Raises BusyError while a call in another thread uses the descriptor.  When `open` refuses its arguments, this Fd
        still owns the descriptor, or the descriptor is closed: which of them `closed` tells, and nothing leaks.
        """
        inherited = not raw.fcntl(self, n.F_GETFD, 0) & n.FD_CLOEXEC
        name = f"/proc/self/fd/{self.fileno()}"
        # An opener rather than the number: with a number, after an error from open() nobody can say whether the file
        # object had come so far as to own (and close) it, and closing it once more might hit a stranger's.
        opener = lambda _path, _flags: self.into_raw()  # noqa: E731 - no one line of it is worth a def
        file = open(name, mode, buffering, encoding, errors, newline, opener=opener)  # noqa: SIM115 - the caller's now
        if inherited:  # Python makes what an opener gives close-on-exec
            raw.fcntl(file, n.F_SETFD, 0)
        return file


def _open_how(flags: int, mode: int, resolve: int) -> bytes:
    """A ``struct open_how``; openat2 refuses a mode where nothing is created."""
    creates = flags & n.O_CREAT or flags & n.O_TMPFILE == n.O_TMPFILE
    words = (
        flags | n.O_CLOEXEC,
        whole(mode, "mode") if creates else 0,
        whole(resolve, "resolve"),
    )
    return b"".join(word.to_bytes(8, "little") for word in words)
