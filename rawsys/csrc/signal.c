#define RS_DEFINE_RESTORER
#include "signals.h"

#include "handle.h"
#include "syscall.h"

#define SYS_write 1
#define SYS_rt_sigaction 13
#define SYS_getpid 39
#define SYS_gettid 186
#define SYS_tgkill 234

#define SA_SIGINFO 4UL
#define SA_RESTORER 0x04000000UL
#define SA_ONSTACK 0x08000000UL
#define SA_RESTART 0x10000000UL

#define BIT(signal) (1UL << ((signal) - 1))
#define LIBC (BIT(32) | BIT(33))
#define FAULTS (BIT(4) | BIT(7) | BIT(8) | BIT(11)) /* SIGILL, SIGBUS, SIGFPE, SIGSEGV: come again on return */
/* While a handler of ours runs, no other signal comes between: so a queue's order is the kernel's.  Those that an
 * instruction itself causes stay open, since blocked ones kill. */
#define WHILE_SERVING ~(LIBC | FAULTS | BIT(5) /* SIGTRAP */ | BIT(31) /* SIGSYS */)

/* ---- who is served ----
 *
 * Seats are never given back: a handler in another thread may stand at any of them.  A seat holds the owner's address
 * with its tag in the upper 16 bits, or 0.  An owner that leaves empties its seats; `serving` tells when no handler can
 * have seen it there any more: who counts himself there looks at the seat once more.  The count belongs to one fork
 * generation, as a Handle's does: threads that were in a handler at a fork do not exist in the child.
 */
#define SEATS 8
struct seats {
    _Atomic uint64_t seat[SEATS];
    struct seats *_Atomic next;
};

struct board {
    struct seats first;
    _Atomic uint32_t serving, generation;
    struct rs_action before; /* what goes back when the last owner leaves */
    uint64_t flags, mask;    /* of ours, as installed */
};

/* Static: the kernel may call the handler until the very end of the process, after Python is gone. */
static struct board boards[RS_SIGNALS];

static uint64_t sitting(const struct rs_owner *owner)
{
    return (uint64_t)owner | (uint64_t)owner->tag << 48;
}

static struct rs_owner *owner_at(uint64_t seat)
{
    return (struct rs_owner *)(seat & RS_COUNTED);
}

static void arrive(struct board *board)
{
    uint32_t now = rs_generation();
    if (RS_UNLIKELY(atomic_load_explicit(&board->generation, memory_order_relaxed) != now)) {
        atomic_store(&board->serving, 0);
        atomic_store(&board->generation, now);
    }
    atomic_fetch_add(&board->serving, 1);
}

static void depart(struct board *board)
{
    atomic_fetch_sub(&board->serving, 1);
}

int rs_owner_quiet(const struct rs_owner *owner)
{
    for (int signal = 1; signal < RS_SIGNALS; signal++) {
        if ((owner->signals & BIT(signal)) && atomic_load(&boards[signal].serving) &&
            atomic_load(&boards[signal].generation) == rs_generation())
            return 0;
    }
    return 1;
}

/* ---- in signal context ---- */

struct context { /* the head of the kernel's struct ucontext */
    unsigned long flags, link, stack;
    int stack_flags;
    unsigned long stack_size;
};

/* A frame on an alternate stack that is too small for it would be written over what lies below. */
static int has_room(const struct rs_owner *owner, const struct context *context)
{
    unsigned long here = (unsigned long)__builtin_frame_address(0);
    if (here - context->stack >= context->stack_size)
        return 1; /* on the thread's own stack */
    return here - context->stack >= owner->block_size + RS_HANDLER_ROOM;
}

static __attribute__((noinline)) void run_program(struct rs_owner *owner)
{
    _Alignas(16) char block[owner->block_size];
    const char *from = owner->block;
    for (size_t i = 0; i < owner->block_size / sizeof(long); i++)
        ((long *)block)[i] = ((const long *)from)[i];
    struct rs_frame frame = owner->frame;
    frame.answer = (long *)(block + ((const char *)frame.answer - from));
    long *buffer = (long *)(block + ((const char *)frame.buffer - from));
    for (size_t i = 0; i < owner->buffers; i++)
        buffer[i] = (long)(block + ((const char *)buffer[i] - from));
    frame.buffer = buffer;
    frame.buffer_length = (size_t *)(block + ((const char *)frame.buffer_length - from));
    rs_run(owner->program, &frame, 0, owner->program->count, 1);
    atomic_fetch_add(&owner->count, 1);
    if (rs_first_failure(owner->program, &frame) != owner->program->count)
        atomic_fetch_add(&owner->failed, 1);
}

/* A counter counts, with one locked instruction.  1 when that was all. */
static inline int serve_quickly(struct rs_owner *owner, uint64_t tag)
{
    if (RS_LIKELY(owner->kind == RS_COUNTER)) {
        uint64_t count = atomic_load_explicit(&owner->count, memory_order_relaxed);
        while ((count & ~RS_COUNTED) == tag)
            if (atomic_compare_exchange_weak_explicit(&owner->count, &count, count + 1, memory_order_relaxed, memory_order_relaxed))
                return 1;
    }
    return 0;
}

static void serve(struct rs_owner *owner, const struct rs_siginfo *info, const struct context *context)
{
    if (owner->kind == RS_FLAG) {
        if (!atomic_load(&owner->word) && !atomic_exchange(&owner->word, 1))
            rs_owner_tell(owner);
    } else if (owner->kind == RS_QUEUE) {
        if (rs_ring_push(&owner->ring, info)) {
            atomic_fetch_add(&owner->word, 1);
            rs_owner_tell(owner);
        }
    } else if (owner->kind == RS_PROGRAM) {
        if (has_room(owner, context))
            run_program(owner);
        else
            atomic_fetch_add(&owner->skipped, 1);
    }
}

static long set_action(int signal, const struct rs_action *new, struct rs_action *old)
{
    return rs_syscall4(SYS_rt_sigaction, signal, (long)new, (long)old, 8);
}

/* Nobody is served any more, but the kernel still comes here: somebody (faulthandler, another library) had saved our
 * action and put it back after the last owner left, or a signal was on its way while that happened.  It goes where it
 * would have gone without us. */
static void pass_on(int signal, void *info, void *context, const struct rs_action *before)
{
    set_action(signal, before, NULL);
    if (before->handler > 1)
        ((void (*)(int, void *, void *))before->handler)(signal, info, context);
    else if (before->handler == 0 && !((BIT(signal) & FAULTS) && ((struct rs_siginfo *)info)->code > 0))
        rs_syscall3(SYS_tgkill, rs_syscall0(SYS_getpid), rs_syscall0(SYS_gettid), signal);
}

/* Whoever is more than a counter is served while `serving` says so, and only if it still sits there. */
static __attribute__((noinline)) int serve_seat(struct board *board, _Atomic uint64_t *seat, const void *info, const void *context)
{
    arrive(board);
    struct rs_owner *owner = owner_at(atomic_load(seat));
    int kind = owner ? 1 << owner->kind : 0;
    if (owner)
        serve(owner, info, context);
    depart(board);
    return kind;
}

static void handler(int signal, void *info, void *context)
{
    struct board *board = &boards[signal];
    unsigned served = 0;
    for (struct seats *seats = &board->first; seats; seats = atomic_load_explicit(&seats->next, memory_order_acquire))
        for (unsigned i = 0; i < SEATS; i++) {
            uint64_t seat = atomic_load_explicit(&seats->seat[i], memory_order_acquire);
            if (!seat)
                continue;
            if (serve_quickly(owner_at(seat), seat & ~RS_COUNTED))
                served |= 1 << RS_COUNTER;
            else
                served |= (unsigned)serve_seat(board, &seats->seat[i], info, context);
        }
    if (RS_UNLIKELY(!served))
        pass_on(signal, info, context, &board->before);
    else if (RS_UNLIKELY(BIT(signal) & FAULTS) && ((served & 1 << RS_PROGRAM) || ((struct rs_siginfo *)info)->code > 0))
        set_action(signal, &board->before, NULL); /* the instruction comes again, and must not come here for ever */
}

/* ---- coming and going ---- */

uintptr_t rs_signal_handler(void)
{
    return (uintptr_t)handler;
}

int rs_signal_installed(int signal)
{
    struct rs_action now = {0};
    return !rs_failed(set_action(signal, NULL, &now)) && now.handler == (uintptr_t)handler;
}

/* Anybody at all; what the action has to be for those who are here.  Copying a siginfo costs the kernel as much as a
 * counter costs us: it is asked for where somebody looks at it. */
static int wanted(int signal, struct board *board, uint64_t *flags, uint64_t *mask)
{
    int anybody = 0;
    *flags = SA_ONSTACK | SA_RESTORER | SA_RESTART | (board->before.flags & SA_SIGINFO);
    *mask = WHILE_SERVING;
    if (BIT(signal) & FAULTS)
        *flags |= SA_SIGINFO;
    for (struct seats *seats = &board->first; seats; seats = atomic_load(&seats->next))
        for (unsigned i = 0; i < SEATS; i++) {
            struct rs_owner *owner = owner_at(atomic_load(&seats->seat[i]));
            if (!owner)
                continue;
            anybody = 1;
            if (!owner->restart)
                *flags &= ~SA_RESTART;
            if (owner->kind == RS_QUEUE)
                *flags |= SA_SIGINFO;
            if (owner->kind == RS_PROGRAM)
                *mask = 0; /* a step may block: Ctrl-C has to come through */
        }
    return anybody;
}

/* What is ours and right stays; anything else becomes what goes back at the end. */
static long install(int signal, struct board *board)
{
    uint64_t flags, mask;
    struct rs_action now = {0};
    long answer = set_action(signal, NULL, &now);
    if (rs_failed(answer))
        return answer;
    int ours = now.handler == (uintptr_t)handler;
    if (!ours)
        board->before = now; /* before ours is there: the handler may need it at once */
    wanted(signal, board, &flags, &mask);
    if (ours && board->flags == flags && board->mask == mask)
        return 0;
    struct rs_action action = {(uintptr_t)handler, flags, (uintptr_t)rs_restore_rt, mask};
    answer = set_action(signal, &action, NULL);
    if (!rs_failed(answer))
        board->flags = flags, board->mask = mask;
    return answer;
}

static void uninstall(int signal, struct board *board)
{
    uint64_t flags, mask;
    if (!rs_signal_installed(signal))
        return; /* somebody else has put his there since, and it is not ours to take away */
    if (wanted(signal, board, &flags, &mask))
        install(signal, board);
    else
        set_action(signal, &board->before, NULL);
}

static int sit(struct board *board, struct rs_owner *owner)
{
    uint64_t nobody;
    for (struct seats *seats = &board->first;;) {
        for (unsigned i = 0; i < SEATS; i++)
            if (nobody = 0, atomic_compare_exchange_strong(&seats->seat[i], &nobody, sitting(owner)))
                return 0;
        struct seats *next = atomic_load(&seats->next);
        if (!next) {
            next = PyMem_Calloc(1, sizeof *next); /* never freed: see above */
            if (!next)
                return -12; /* ENOMEM */
            atomic_store(&seats->next, next);
        }
        seats = next;
    }
}

static void rise(struct board *board, struct rs_owner *owner)
{
    for (struct seats *seats = &board->first; seats; seats = atomic_load(&seats->next))
        for (unsigned i = 0; i < SEATS; i++)
            if (owner_at(atomic_load(&seats->seat[i])) == owner)
                atomic_store(&seats->seat[i], 0);
}

static void leave(struct rs_owner *owner, int below)
{
    for (int signal = 1; signal < below; signal++)
        if (owner->signals & BIT(signal)) {
            rise(&boards[signal], owner);
            uninstall(signal, &boards[signal]);
        }
}

int rs_signal_enter(struct rs_owner *owner, int *refused)
{
    for (int signal = 1; signal < RS_SIGNALS; signal++) {
        if (!(owner->signals & BIT(signal)))
            continue;
        long answer = sit(&boards[signal], owner);
        if (!rs_failed(answer))
            answer = install(signal, &boards[signal]);
        if (rs_failed(answer)) {
            rise(&boards[signal], owner);
            leave(owner, signal);
            *refused = signal;
            return (int)answer;
        }
    }
    return 0;
}

void rs_signal_leave(struct rs_owner *owner)
{
    leave(owner, RS_SIGNALS);
}
