from typing import Never

from rawsys import constants as constants
from rawsys import errors as errors
from rawsys import events as events
from rawsys import memory as memory
from rawsys import proc as proc
from rawsys import raw as raw
from rawsys import sched as sched
from rawsys import signals as signals
from rawsys import structs as structs
from rawsys import sync as sync
from rawsys import syscalls as syscalls
from rawsys import thread as thread
from rawsys import vdso as vdso
from rawsys._types import Descriptor, Int, Readable, Writable
from rawsys.batch import read_files as read_files
from rawsys.batch import stat_many as stat_many
from rawsys.command import INHERIT as INHERIT
from rawsys.command import NULL as NULL
from rawsys.command import PIPE as PIPE
from rawsys.command import STDOUT as STDOUT
from rawsys.command import Child as Child
from rawsys.command import Command as Command
from rawsys.fd import Fd as Fd
from rawsys.fd import Handle as Handle
from rawsys.process import ExitStatus as ExitStatus
from rawsys.process import Pid as Pid
from rawsys.process import fork as fork
from rawsys.program import Program as Program
from rawsys.signals import raw_sigaction as raw_sigaction
from rawsys.sync import AtomicBool as AtomicBool
from rawsys.sync import AtomicI64 as AtomicI64
from rawsys.sync import AtomicU32 as AtomicU32
from rawsys.sync import AtomicU64 as AtomicU64
from rawsys.sync import Mutex as Mutex
from rawsys.table import TABLE
from rawsys.thread import ThreadHandle as ThreadHandle

table = TABLE

def syscall(number: Int, /, *args: object) -> int: ...
def raw_getpid() -> int: ...
def raw_getppid() -> int: ...
def raw_gettid() -> int: ...
def raw_write(fd: Descriptor, data: Readable, /) -> int: ...
def raw_read(fd: Descriptor, buffer: Writable, /) -> int: ...
def raw_close(fd: Descriptor, /) -> int: ...
def raw_kill(pid: Int, signal: Int, /) -> int: ...
def raw_exit(status: Int, /) -> Never: ...
def raw_fork(program: Program | None = None, /) -> int: ...

__all__: list[str]
