"""Records of the address space."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

# Their first nine fields are filled by csrc/procparse.c, the ones of MemoryRegion in the order of `fields` there.

Kind = Literal[
    "stack", "thread_stack", "heap", "text", "rodata", "data", "bss", "anon", "file", "shared", "vdso", "vvar", "vsyscall", "guard"
]  # fmt: skip
"""What a region is for.

- ``stack``: of the first thread; ``thread_stack``: of another one
- ``heap``: grown by `brk(2)`, where malloc puts small blocks
- ``text``, ``rodata``, ``data``, ``bss``: of a program or library (a file that is mapped executable somewhere): code,
  constants, variables with a value, variables that begin as zero.  ``text`` is also code without a file
- ``anon``: private memory of no file (malloc's large blocks, Python's arenas); ``file``: a private mapping of a file that
  is no program; ``shared``: what several processes may see
- ``vdso``, ``vvar``, ``vsyscall``: code and data that the kernel puts there
- ``guard``: no access at all: a guard page, or address space that is only reserved
"""

KINDS: tuple[str, ...] = get_args(Kind)


class Region(NamedTuple):
    """A part of an address space with the same attributes, `proc_pid_maps(5)`."""

    start: int
    """First address."""
    end: int
    """The address behind the last one."""
    perms: str
    """As ``r-xp``: read, write, execute, private or shared."""
    offset: int
    """Where in the file it begins (bytes)."""
    device: int
    """Number of the file system's device, as st_dev; 0 for none."""
    inode: int
    """Number of the file in it; 0 for none."""
    path: str
    """The file, ``[heap]``, ``[anon:NAME]`` and the like, "" for none."""
    kind: Kind
    """What it is for."""
    deleted: bool = False
    """Whether the file has lost its name."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class MemoryRegion(NamedTuple):
    """A `Region` with what the memory behind it is, `proc_pid_smaps(5)`.

    All sizes in bytes; 0 where the kernel has no such count.
    """

    start: int
    """First address."""
    end: int
    """The address behind the last one."""
    perms: str
    """As ``r-xp``."""
    offset: int
    """Where in the file it begins."""
    device: int
    """As st_dev."""
    inode: int
    """Number of the file."""
    path: str
    """The file or the kernel's name."""
    kind: Kind
    """What it is for."""
    deleted: bool
    """Whether the file has lost its name."""
    page_size: int
    """Of the kernel's pages there."""
    mmu_page_size: int
    """Of the processor's."""
    rss: int
    """Resident."""
    pss: int
    """Resident, each page divided by the number of processes that share it."""
    pss_dirty: int
    """Of that, what was written to."""
    shared_clean: int
    """Resident, shared by several processes, not written to."""
    shared_dirty: int
    """Shared and written to."""
    private_clean: int
    """Of this process alone, not written to."""
    private_dirty: int
    """Of this process alone and written to."""
    referenced: int
    """Marked as used lately."""
    anonymous: int
    """Resident and of no file: also the private copies of a file's pages."""
    ksm: int
    """Merged with equal pages of others."""
    lazy_free: int
    """Given up by MADV_FREE, not yet taken."""
    anon_huge: int
    """Anonymous, in huge pages."""
    shmem_huge: int
    """Shared memory, mapped by huge pages."""
    file_huge: int
    """Of a file, mapped by huge pages."""
    shared_hugetlb: int
    """Of hugetlbfs, shared; not in rss."""
    private_hugetlb: int
    """Of hugetlbfs, private; not in rss."""
    swap: int
    """Swapped out."""
    swap_pss: int
    """Swapped out, shared pages divided."""
    locked: int
    """Locked by mlock (a part of pss)."""
    huge_eligible: int
    """1 where transparent huge pages may be used."""
    protection_key: int
    """The key of `pkey_alloc(2)`."""
    vm_flags: str
    """The kernel's two-letter flags, as ``rd ex mr mw me``."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    @property
    def region(self) -> Region:
        """The same without the counts."""
        return Region(*self[:9])


class MemoryTotals(NamedTuple):
    """The counts of all regions together (bytes), `proc_pid_smaps(5)` smaps_rollup; all 0 without memory."""

    rss: int = 0
    """Resident."""
    pss: int = 0
    """Resident, shared pages divided: the sum over all processes is what they use together."""
    uss: int = 0
    """Of this process alone: what would be free without it."""
    shared: int = 0
    """Resident and shared."""
    anonymous: int = 0
    """Resident and of no file."""
    swap: int = 0
    """Swapped out."""
    swap_pss: int = 0
    """Swapped out, shared pages divided."""
    huge: int = 0
    """Resident in huge pages (transparent ones)."""
    hugetlb: int = 0
    """Of hugetlbfs; not in rss."""
    locked: int = 0
    """Locked by mlock."""
