#include "copy.h"

#include <stdatomic.h>
#include <stdint.h>

#include "handle.h"
#include "syscall.h"

#define SYS_read 0
#define SYS_write 1
#define SYS_close 3
#define SYS_getpid 39
#define SYS_pipe2 293
#define SYS_process_vm_readv 310
#define SYS_process_vm_writev 311

#define EPERM_ANSWER -1
#define EINTR_ANSWER -4
#define EFAULT_ANSWER -14
#define ENOMEM_ANSWER -12
#define O_CLOEXEC 02000000

struct range {
    unsigned long address;
    size_t length;
};

/* One call moves at most 2 GiB less a page, and stops early at a page that is not there: whoever asks goes on
 * from where it stopped, and the next call says why. */
size_t rs_copy_remote(enum rs_direction direction, int pid, char *here, unsigned long there, size_t length, long *answer)
{
    long number = direction == RS_READ_THERE ? SYS_process_vm_readv : SYS_process_vm_writev;
    size_t done = 0;
    *answer = 0;
    while (done < length) {
        struct range local = {(unsigned long)here + done, length - done}, remote = {there + done, length - done};
        long moved = rs_syscall6(number, pid, (long)&local, 1, (long)&remote, 1, 0);
        if (moved == EINTR_ANSWER)
            continue;
        if (rs_failed(moved) || moved == 0)
            return *answer = moved ? moved : EFAULT_ANSWER, done;
        done += (size_t)moved;
    }
    return done;
}

/* Our own number, asked once in each fork generation: a naked fork changes it, and exec brings a new image. */
static int own_pid(void)
{
    static _Atomic uint64_t known; /* generation << 32 | pid; a race writes the same value twice */
    uint64_t word = atomic_load_explicit(&known, memory_order_relaxed);
    unsigned now = rs_generation();
    if (RS_UNLIKELY(word >> 32 != now)) {
        word = (uint64_t)now << 32 | (uint32_t)rs_syscall0(SYS_getpid);
        atomic_store_explicit(&known, word, memory_order_relaxed);
    }
    return (int)(uint32_t)word;
}

/* A page at a time, so that even the smallest pipe takes a piece whole and nothing waits; and never more than what is
 * left of its page over there, since a pipe takes nothing of a piece whose second page is missing. */
static long through(const int end[2], const char *from, char *to, size_t length, const char *there)
{
    size_t piece = 4096 - ((uintptr_t)there & 4095);
    long put = rs_syscall3(SYS_write, end[1], (long)from, (long)(piece < length ? piece : length));
    return rs_failed(put) ? put : rs_syscall3(SYS_read, end[0], (long)to, put);
}

/* Where process_vm_readv is filtered, or refuses the kind of page (memfd_secret, device memory): the kernel's
 * own copy into a pipe looks at the page in the ordinary way, and says EFAULT as well. */
static size_t copy_by_pipe(enum rs_direction direction, char *here, char *there, size_t length, long *answer)
{
    int end[2];
    size_t done = 0;
    if (rs_failed(*answer = rs_syscall2(SYS_pipe2, (long)end, O_CLOEXEC)))
        return 0;
    while (done < length) {
        char *from = direction == RS_READ_THERE ? there : here, *to = direction == RS_READ_THERE ? here : there;
        long moved = through(end, from + done, to + done, length - done, there + done);
        if (moved == EINTR_ANSWER)
            continue;
        *answer = moved < 0 ? moved : 0;
        if (moved <= 0)
            break;
        done += (size_t)moved;
    }
    rs_syscall1(SYS_close, end[0]);
    rs_syscall1(SYS_close, end[1]);
    return done;
}

size_t rs_copy_own(enum rs_direction direction, char *here, char *there, size_t length, long *answer)
{
    size_t done = rs_copy_remote(direction, own_pid(), here, (unsigned long)there, length, answer);
    if (RS_LIKELY(done == length) || *answer == ENOMEM_ANSWER)
        return done;
    long first = *answer;
    size_t more = copy_by_pipe(direction, here + done, there + done, length - done, answer);
    if (done + more < length && *answer != EFAULT_ANSWER && first == EFAULT_ANSWER)
        *answer = first; /* no descriptor left for a pipe: what the first way said is the truth */
    return done + more;
}
