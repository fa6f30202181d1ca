"""Message queues, semaphores and shared memory of System V, and POSIX message queues."""

from rawsys.structs._base import KernelStruct
from rawsys.structs._layout import Numbers, array_of, i16, i32, i64, layout, u16, u32, u64

__all__ = [
    "ipc_perm",
    "mq_attr",
    "msgbuf",
    "msginfo",
    "msqid_ds",
    "sembuf",
    "semid_ds",
    "seminfo",
    "shm_info",
    "shmid_ds",
    "shminfo",
]


@layout
class ipc_perm(KernelStruct):
    """Owner and mode of a System V object. The kernel's `ipc64_perm`."""

    key: i32
    uid: u32
    gid: u32
    cuid: u32
    cgid: u32
    mode: u32
    seq: u16
    _pad2: u16
    _unused1: u64
    _unused2: u64


@layout
class msqid_ds(KernelStruct):
    """A message queue: `msgctl(2)` with IPC_STAT, IPC_SET. The kernel's `msqid64_ds`."""

    msg_perm: ipc_perm
    msg_stime: i64
    msg_rtime: i64
    msg_ctime: i64
    msg_cbytes: u64
    msg_qnum: u64
    msg_qbytes: u64
    msg_lspid: i32
    msg_lrpid: i32
    _unused4: u64
    _unused5: u64


@layout
class semid_ds(KernelStruct):
    """A set of semaphores: `semctl(2)` with IPC_STAT, IPC_SET. The kernel's `semid64_ds`, with x86-64's padding."""

    sem_perm: ipc_perm
    sem_otime: i64
    _unused1: u64
    sem_ctime: i64
    _unused2: u64
    sem_nsems: u64
    _unused3: u64
    _unused4: u64


@layout
class shmid_ds(KernelStruct):
    """A segment of shared memory: `shmctl(2)` with IPC_STAT, IPC_SET. The kernel's `shmid64_ds`."""

    shm_perm: ipc_perm
    shm_segsz: u64
    shm_atime: i64
    shm_dtime: i64
    shm_ctime: i64
    shm_cpid: i32
    shm_lpid: i32
    shm_nattch: u64
    _unused4: u64
    _unused5: u64


@layout
class msginfo(KernelStruct):
    """Limits of message queues: `msgctl(2)` with IPC_INFO, MSG_INFO."""

    msgpool: i32
    msgmap: i32
    msgmax: i32
    msgmnb: i32
    msgmni: i32
    msgssz: i32
    msgtql: i32
    msgseg: u16


@layout
class seminfo(KernelStruct):
    """Limits of semaphores: `semctl(2)` with IPC_INFO, SEM_INFO."""

    semmap: i32
    semmni: i32
    semmns: i32
    semmnu: i32
    semmsl: i32
    semopm: i32
    semume: i32
    semusz: i32
    semvmx: i32
    semaem: i32


@layout
class shminfo(KernelStruct):
    """Limits of shared memory: `shmctl(2)` with IPC_INFO. The kernel's `shminfo64`."""

    shmmax: u64
    shmmin: u64
    shmmni: u64
    shmseg: u64
    shmall: u64
    _unused: Numbers = array_of(u64, 4)


@layout
class shm_info(KernelStruct):
    """Use of shared memory: `shmctl(2)` with SHM_INFO."""

    used_ids: i32
    shm_tot: u64
    shm_rss: u64
    shm_swp: u64
    swap_attempts: u64
    swap_successes: u64


@layout
class sembuf(KernelStruct):
    """An operation on a semaphore: `semop(2)`, `semtimedop(2)`; `sembuf.array([...])`."""

    sem_num: u16
    sem_op: i16
    sem_flg: i16


@layout
class msgbuf(KernelStruct):
    """The head of a message: `msgsnd(2)`, `msgrcv(2)`; `msgbuf.with_tail(b"text", mtype=1)`, `.with_tail(size)`.

    The size that those calls take is that of the text alone.
    """

    TAIL = "mtext"

    mtype: i64


@layout
class mq_attr(KernelStruct):
    """Attributes of a POSIX message queue: `mq_open(2)`, `mq_getsetattr(2)`."""

    SINCE = "2.6.6"

    mq_flags: i64
    mq_maxmsg: i64
    mq_msgsize: i64
    mq_curmsgs: i64
    _reserved: Numbers = array_of(i64, 4)
