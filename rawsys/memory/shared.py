"""Memory files, and memory that several processes share."""

from __future__ import annotations

from rawsys import syscalls
from rawsys.errors import BusyError
from rawsys.fd import Fd
from rawsys.fd._calls import counted
from rawsys.memory.mapping import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from rawsys._types import Descriptor

_AT_FDCWD, _AT_SYMLINK_FOLLOW = -100, 0x400
_O_RDWR, _O_NOFOLLOW, _O_TMPFILE, _O_PATH = 2, 0o400000, 0o20200000, 0o10000000
_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_HUGETLB, _MFD_NOEXEC_SEAL, _MFD_EXEC = 1, 2, 4, 8, 16
_MFD_HUGE_SHIFT = 26
_SEAL_SHRINK_GROW = 2 | 4
_SHM = "/dev/shm"


def memfd(
    name: str | bytes,
    length: int = 0,
    *,
    seals: int = 0,
    sealable: bool = True,
    executable: bool | None = None,
    huge: int | None = None,
) -> Fd:
    """`memfd_create(2)`: a file in memory of `length` zero bytes, which lives as long as somebody has it open or mapped.

    - ``name`` (at most 249 bytes) is shown in /proc only.
    - ``seals``: F_SEAL constants put on at once; `Fd.add_seals` puts on more, `Fd.seals` tells them.
    - ``sealable=False``: nobody can put one on.
    - ``executable``: False can never become executable, True says that it is meant to; both need Linux 6.3.
    - ``huge``: the size of its pages (2 MiB, 1 GiB), from the pool of huge pages.

    Raises OSError: EINVAL for a name that is too long or flags that the kernel does not have, EPERM for seals on a file
    that is not sealable.
    """
    if not isinstance(name, (str, bytes)):
        raise TypeError(f"the name of a memfd must be str or bytes, not {type(name).__name__}")
    flags = _MFD_CLOEXEC | (_MFD_ALLOW_SEALING if sealable else 0)
    if executable is not None:
        flags |= _MFD_EXEC if executable else _MFD_NOEXEC_SEAL
    if huge is not None:
        if huge < 1 << 16 or huge & (huge - 1):
            raise ValueError(f"huge is the size of a huge page (2 MiB, 1 GiB), not {huge}")
        flags |= _MFD_HUGETLB | (huge.bit_length() - 1) << _MFD_HUGE_SHIFT
    fd: Fd = syscalls.memfd_create(name, flags)
    try:
        if length:
            fd.truncate(counted(length, "a length"))
        if seals:
            fd.add_seals(seals)
    except BaseException:
        fd.close()
        raise
    return fd


def _path(name: str) -> str:
    """Where the object of a name lies, as shm_open(3) has it: one file in /dev/shm, a leading slash or not."""
    plain = name.removeprefix("/")
    if not plain or "/" in plain or plain in (".", ".."):
        raise ValueError(f"the name of shared memory is one name without a slash, not {name!r}")
    return f"{_SHM}/{plain}"


def _create(name: str, length: int, mode: int) -> Fd:
    """A file in /dev/shm that appears under its name at full size, and with its memory: nobody finds half of it."""
    path = _path(name)
    fd = Fd.open(_SHM, _O_TMPFILE | _O_RDWR, mode)
    try:
        fd.allocate(0, length)  # a full file system says so here, and not by a signal at the first touch
        syscalls.linkat(_AT_FDCWD, f"/proc/self/fd/{fd.fileno()}", _AT_FDCWD, path, _AT_SYMLINK_FOLLOW)
    except BaseException:
        fd.close()
        raise
    return fd


class SharedMemory(Mapping):
    """Memory that several processes map, found by a descriptor or by a name.

    - ``SharedMemory(length)`` makes a memfd that can neither shrink nor grow, so no user of it is ever hit by SIGBUS.  Its
      `fd` goes to others: by inheritance, or over a socket.
    - ``SharedMemory(fd=fd)`` maps what somebody passed; it owns `fd` from then on where that is an Fd, else a duplicate.
    - ``SharedMemory(length, name="jobs")`` creates it under a name, with permission bits `mode` less the umask;
      ``SharedMemory.open("jobs")`` maps it.  The kernel's rules are the only ones: whoever may write /dev/shm creates,
      FileExistsError where the name is taken; it is there until somebody calls `unlink()` or the machine stops, and after
      that as long as somebody has it mapped.  No process that ends, and no tracker, removes it.

    A Mapping in all other respects: its buffer carries atomics and locks.  Closing unmaps it and closes `fd`; the memory
    lives on with others.  Its size is fixed: `resize` is refused.

    Raises OSError: FileExistsError, FileNotFoundError, PermissionError, ENOSPC; EINVAL for an empty file.

    Safety: whoever may write a named one may truncate it too, which is SIGBUS for every user.  The memfd form is sealed
    against that; for one that was passed, look at ``fd.seals``.
    """

    __slots__ = ("_fd", "_name")
    _fd: Fd
    _name: str | None

    def __new__(
        cls,
        length: int | None = None,
        *,
        name: str | None = None,
        fd: Descriptor | None = None,
        mode: int = 0o600,
        writable: bool = True,
    ) -> Self:
        """Make it, or adopt a descriptor; see the class."""
        if (length is None) == (fd is None) or (name is not None and fd is not None):
            raise TypeError(
                "SharedMemory takes a length, or a length and a name, or fd=; see SharedMemory.open for a name that exists"
            )
        if length is None:
            return cls._adopt(fd, writable)
        if counted(length, "a length") == 0:
            raise ValueError("shared memory has at least one byte")
        made = memfd("rawsys", length, seals=_SEAL_SHRINK_GROW) if name is None else _create(name, length, mode)
        try:
            return cls._map(made, name, writable)
        except BaseException:
            made.close()
            if name is not None:
                syscalls.unlink(_path(name))
            raise

    @classmethod
    def _adopt(cls, fd: Descriptor | None, writable: bool) -> Self:
        if isinstance(fd, Fd):
            return cls._map(fd, None, writable)
        number = fd if isinstance(fd, int) else fd.fileno()  # type: ignore[union-attr]  # None was refused above
        with Fd.borrow(number) as given:
            own = given.dup()
        try:
            return cls._map(own, None, writable)
        except BaseException:
            own.close()
            raise

    @classmethod
    def open(cls, name: str, *, writable: bool = True) -> Self:
        """Map the shared memory of a name; all of it, however large it is.

        Raises OSError: FileNotFoundError, PermissionError, ELOOP for a symbolic link, EINVAL for an empty file.
        """
        fd = Fd.open(_path(name), (_O_RDWR if writable else 0) | _O_NOFOLLOW)
        try:
            return cls._map(fd, name, writable)
        except BaseException:
            fd.close()
            raise

    @classmethod
    def _map(cls, fd: Fd, name: str | None, writable: bool) -> Self:
        self = super().__new__(cls, fd.stat().size, fd=fd, shared=True, prot=3 if writable else 1)
        self._keep(fd)
        self._fd, self._name = fd, name
        return self

    @property
    def fd(self) -> Fd:
        """The descriptor of the memory, to be passed on; closed with this object."""
        return self._fd

    @property
    def name(self) -> str | None:
        """The name that it was made or opened with."""
        return self._name

    def unlink(self) -> None:
        """`unlink(2)`: remove the name; the memory lives on as long as somebody has it mapped or open.

        Any process that has it and may write /dev/shm can do this, once.

        Raises ValueError where it has no name, FileNotFoundError when the name is gone, BusyError when the name belongs to
        another object by now.
        """
        if self._name is None:
            raise ValueError(f"{self!r} has no name")
        path = _path(self._name)
        with Fd.open(path, _O_PATH | _O_NOFOLLOW) as there:
            now, ours = there.stat(), self._fd.stat()
            if (now.device, now.inode) != (ours.device, ours.inode):
                raise BusyError(f"{self._name!r} is another object by now; it was not removed")
        syscalls.unlink(path)

    def resize(self, length: int, *, may_move: bool = True) -> None:
        """Refused (ValueError): what others map does not change its size."""
        raise ValueError(f"{self!r} has a fixed size")
