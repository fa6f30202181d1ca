/* Signals: one C handler for all of them, and for each signal a list of owners that it serves.
 *
 * What signal.c and signal_ring.c do in signal context takes no lock, allocates nothing and does not touch libc's errno:
 * it may happen in any thread, at any instruction.  Owners come and go one at a time (the GIL, or signal_owner.c's lock).
 *
 * The file is not called signal.h: a compiler that is shown this folder would take it for libc's.
 */
#ifndef RAWSYS_SIGNALS_H
#define RAWSYS_SIGNALS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "program.h"

#define RS_SIGNALS 65 /* 1 to 64; 0 is none */

/* The kernel's sigaction on x86-64, not libc's. */
struct rs_action {
    uint64_t handler, flags, restorer, mask;
};
_Static_assert(sizeof(struct rs_action) == 32, "the kernel's struct sigaction");

/* What the kernel fills of its 128 bytes of siginfo; the rest is room that it keeps at zero. */
struct rs_siginfo {
    int32_t signal, error, code, pad;
    union {
        uint64_t word[4];
        int32_t half[8];
        int16_t quarter[16];
    };
};
_Static_assert(sizeof(struct rs_siginfo) == 48, "the kernel's struct kernel_siginfo");

enum rs_owner_kind { RS_COUNTER, RS_FLAG, RS_QUEUE, RS_PROGRAM };

/* One place of a ring, one cache line.  `turn` is even where a writer may come (twice the lap) and odd where a reader
 * may: memory of zeros is an empty ring. */
struct rs_cell {
    _Atomic uint64_t turn;
    struct rs_siginfo info;
    uint64_t unused;
};
_Static_assert(sizeof(struct rs_cell) == 64, "one cache line");

struct rs_ring {
    struct rs_cell *cell;
    uint64_t cells, capacity; /* cells: a power of two, not below capacity */
    _Atomic uint64_t head, tail, lost;
};

/* Its memory is never given back, only used again once no handler can be looking at it (rs_owner_quiet).
 *
 * A counter has no time for that: three locked instructions cost more than the rest of the handler.  Its count carries
 * the owner's tag, another one at each use of the memory, and a handler that comes late finds the wrong tag there.
 */
struct rs_owner {
    int kind, restart;
    uint16_t tag;
    uint64_t signals;              /* the mask of those it is served */
    _Atomic uint64_t count;        /* counter: tag << 48 | deliveries; program: runs */
    _Atomic uint32_t word, waiters;/* futex: 0 and 1 of a flag, the number of entries that ever came to a queue */
    _Atomic int eventfd;           /* -1: nobody asked for one */
    _Atomic uint32_t told;         /* the eventfd is readable, or about to be */
    uint32_t generation;           /* the process that the eventfd belongs to */
    struct rs_ring ring;
    const struct rs_program *program;
    struct rs_frame frame;         /* prepared at installation; each run has its own copy on the handler's stack */
    const char *block;
    size_t block_size, buffers;
    _Atomic uint64_t failed, skipped;
    struct rs_owner *next;         /* of all that were ever made */
    enum { RS_FREE, RS_LIVE, RS_RETIRED } state;
    void *object[2];               /* what Python keeps for it: eventfd, program */
    void *bound;
};

#define RS_COUNTED ((1UL << 48) - 1)

#define RS_HANDLER_STEPS 64
#define RS_HANDLER_FRAME 4096
#define RS_HANDLER_ROOM 2048 /* what the dispatcher and the interpreter need beside the frame, with a margin */

extern struct rs_owner *rs_owners;

/* Serve `owner` the signals of its mask; 0, or -errno and nothing is changed, *refused is the signal that was not had. */
int rs_signal_enter(struct rs_owner *owner, int *refused);
/* From now on it is served nothing; a handler that began before may still be at it. */
void rs_signal_leave(struct rs_owner *owner);
/* No handler is at the owner any more: its memory may be used again. */
int rs_owner_quiet(const struct rs_owner *owner);
struct rs_owner *rs_owner_new(void); /* with GIL or lock; NULL: no memory */

/* Ours is the kernel's action for that signal now. */
int rs_signal_installed(int signal);
uintptr_t rs_signal_handler(void);
extern char rs_restore_rt[];

int rs_ring_make(struct rs_ring *ring, uint64_t capacity); /* 0 or -errno */
int rs_ring_pop(struct rs_ring *ring, struct rs_siginfo *info);
int rs_ring_push(struct rs_ring *ring, const struct rs_siginfo *info); /* 0: it was full, and that is counted */
int rs_ring_empty(struct rs_ring *ring);

/* The eventfd becomes readable (once, until rs_owner_settle), and who waits on the word wakes up. */
void rs_owner_tell(struct rs_owner *owner);
/* The eventfd is not readable, unless something has come meanwhile. */
void rs_owner_settle(struct rs_owner *owner);

/* Its own eventfd for the child of a fork, under the same number. */
void rs_owner_after_fork(struct rs_owner *owner);

#endif
