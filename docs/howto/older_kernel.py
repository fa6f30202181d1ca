"""A filter that answers one call with ENOSYS, and what a checked call makes of it."""

from rawsys import constants as c
from rawsys import structs, syscalls, table

answer = [
    structs.sock_filter(code=c.BPF_LD | c.BPF_W | c.BPF_ABS, k=0),  # the number of the call
    structs.sock_filter(code=c.BPF_JMP | c.BPF_JEQ | c.BPF_K, k=table["cachestat"].number, jf=1),
    structs.sock_filter(code=c.BPF_RET | c.BPF_K, k=c.SECCOMP_RET_ERRNO | 38),
    structs.sock_filter(code=c.BPF_RET | c.BPF_K, k=c.SECCOMP_RET_ALLOW),
]
syscalls.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
syscalls.seccomp(c.SECCOMP_SET_MODE_FILTER, 0, structs.sock_fprog.of(answer))
try:
    syscalls.cachestat(0, structs.cachestat_range(), structs.cachestat(), 0)
except OSError as error:
    print(error.strerror, *error.__notes__[1:], sep="; ")
