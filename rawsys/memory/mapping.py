"""Mapping: an owned range of this process's memory."""

from __future__ import annotations

from rawsys._native.memory import MappingCore
from rawsys.fd._calls import counted, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.constants import ProtFlags

_MSYNC, _MLOCK, _MUNLOCK, _MLOCK2 = 26, 149, 150, 325
_MS_ASYNC, _MS_SYNC = 1, 4
_MLOCK_ONFAULT = 1


def _to_end(length: int | None) -> int:
    return -1 if length is None else counted(length, "a length")


class Mapping(MappingCore):
    """`mmap(2)`: an owned range of memory.

    - ``length``: bytes; the pages that they fill are mapped whole.
    - ``fd``, ``offset``: the file behind it, from a multiple of the page size on; None is anonymous memory, zeroes.
      The mapping lives on when the descriptor is closed.
    - ``shared``: what is written goes to the file, or to the children of a fork; else it is this process's own.
    - ``prot``: READ, WRITE, EXEC, or NONE.
    - ``address``: where its first byte has to lie.  Never over something else: FileExistsError then.
    - ``guard``: a page that cannot be touched on both sides.
    - ``huge``: True asks for transparent huge pages, False for none, a size (2 MiB, 1 GiB) takes pages of that size
      from the pool of huge pages.
    - ``populate``: every page is there at once.  ``locked``: and stays in RAM, within RLIMIT_MEMLOCK.

    A buffer (``memoryview(mapping)``) and a sequence: ``mapping[3]`` is an int, ``mapping[3:8]`` bytes, both can be assigned.
    A view counts as long as it lives, and so does a call that works with one.

    A forked child has its own copy of each mapping, views included, and closes its own; of a shared one it shares the
    contents.  What was advised MADV_DONTFORK it does not have: it is closed there, and a view from before is a
    SIGSEGV.  A view that a thread of the parent held is never given back in the child, where that thread is not.

    Raises OSError: EINVAL for length 0 or an offset or address within a page, ENOMEM beyond the address space or a limit,
    EACCES where the file was not opened for it, EPERM where a seal forbids it, FileExistsError.  ValueError for a negative
    length.

    Safety: a view or a slice behind the end of its file is SIGBUS, which ends the process: so it is when somebody truncates
    the file.  `read_at` and `write_at` raise there; a memfd sealed with F_SEAL_SHRINK cannot be truncated.
    """

    __slots__ = ()

    @property
    def prot(self) -> ProtFlags:
        """What every page of it allows.  Where parts differ: what they have in common, as far as it went through here."""
        from rawsys.constants import ProtFlags

        return ProtFlags(self._rights)

    def protect(self, prot: int, offset: int = 0, length: int | None = None) -> None:
        """`mprotect(2)`: change what may be done with it, or with a part (bytes; whole pages).

        As long as a part lacks a right, buffers and slices of the whole lack it; `read_at` and `write_at` ask the kernel
        about each page.

        Raises BufferError where a right goes and views live, BusyError where it goes and a call in another thread uses the
        mapping; OSError: EINVAL for an offset within a page, EACCES where the file was not opened for it, EPERM when it is
        sealed.
        """
        self._protect(whole(prot, "prot"), whole(offset, "an offset"), _to_end(length))

    def advise(self, advice: int, offset: int = 0, length: int | None = None) -> None:
        """`madvise(2)`: tell the kernel how it will be used, a MADV constant; all of it, or a part (bytes; whole pages).

        Some advice changes what is there: MADV_DONTNEED and MADV_FREE throw contents away, MADV_DONTFORK keeps it from
        children (a part does so for the whole, as far as this owner goes), MADV_GUARD_INSTALL makes pages that cannot be
        touched (views are refused then: BufferError where one lives).

        Raises OSError (EINVAL for an offset within a page or advice that the kernel does not know).
        """
        self._advise(whole(advice, "advice"), whole(offset, "an offset"), _to_end(length))

    def resize(self, length: int, *, may_move: bool = True) -> None:
        """`mremap(2)`: make it `length` bytes long; it may get another address.

        A file does not grow with it: see the class's Safety.

        Raises BufferError while views live, BusyError while a call in another thread uses it, ValueError for one with
        guards, and for anonymous shared memory that would grow beyond the size it was made with; OSError (ENOMEM).
        """
        self._resize(counted(length, "a length"), bool(may_move))

    def flush(self, offset: int = 0, length: int | None = None, *, wait: bool = True) -> None:
        """`msync(2)`: write what was changed back to the file, all of it or the pages of a part (bytes).

        With ``wait=False`` it is only queued.  Raises OSError (EIO).
        """
        self._apply(_MSYNC, whole(offset, "an offset"), _to_end(length), _MS_SYNC if wait else _MS_ASYNC)

    def lock_pages(self, offset: int = 0, length: int | None = None, *, on_fault: bool = False) -> None:
        """`mlock2(2)`: keep its pages, or those of a part (bytes), in RAM; with ``on_fault`` each from its first use on.

        Locks do not add up, and a forked child does not inherit them.

        Raises OSError: ENOMEM beyond RLIMIT_MEMLOCK, EPERM where that is 0.
        """
        number, flags = (_MLOCK2, _MLOCK_ONFAULT) if on_fault else (_MLOCK, 0)
        self._apply(number, whole(offset, "an offset"), _to_end(length), flags)

    def unlock_pages(self, offset: int = 0, length: int | None = None) -> None:
        """`munlock(2)`: let its pages, or those of a part (bytes), be written out again."""
        self._apply(_MUNLOCK, whole(offset, "an offset"), _to_end(length), 0)
