/* getrandom in the vDSO: each thread has a state, in memory that the kernel may drop and never writes out or inherits.
 *
 * The kernel tells how large a state is and how its memory is to be mapped.  A page holds several; a state that straddled
 * two pages would be half dropped.  States of ended threads go back to a list.  A forked child finds zeroes in them, which
 * the function takes for a state that is new.  A state that is in use (a signal handler inside of the call) is noticed by
 * the function itself: it makes the system call.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "handle.h"
#include "syscall.h"
#include "vdso.h"

#define SYS_mmap 9
#define RS_STATE_PAGE 4096

typedef long random_function(void *buffer, size_t size, unsigned flags, void *state, size_t state_size);

struct params { /* struct vgetrandom_opaque_params, Linux 6.11 */
    uint32_t size_of_opaque_state, mmap_prot, mmap_flags, reserved[13];
};
_Static_assert(sizeof(struct params) == 64, "as the kernel declares it");

struct link {
    struct link *next;
    void *state;
};

/* For the whole process, since states outlive threads: what is free, how large one is, and whose end gives one back. */
static atomic_flag busy = ATOMIC_FLAG_INIT;
static struct link *unused;
static size_t state_size;
static pthread_key_t key;
static int usable; /* 0 not asked yet, 1, -1 */
static _Thread_local struct link *mine;

static void give_back(void *state)
{
    struct link *link = state;
    if (atomic_flag_test_and_set(&busy))
        return; /* busy, or held by a thread that a fork left behind: 144 bytes are lost */
    link->next = unused;
    unused = link;
    atomic_flag_clear(&busy);
}

static int ask(random_function *function, struct params *params)
{
    if (function(NULL, 0, 0, params, ~0UL) != 0 || !params->size_of_opaque_state || params->size_of_opaque_state > RS_STATE_PAGE)
        return 0;
    return usable > 0 || pthread_key_create(&key, give_back) == 0;
}

/* A page more of states, and one of links to them: a state's own memory may be wiped at any time. */
static void more(random_function *function)
{
    struct params params = {0};
    usable = usable >= 0 && ask(function, &params) ? 1 : -1;
    if (usable < 0)
        return;
    state_size = params.size_of_opaque_state;
    long page = rs_syscall6(SYS_mmap, 0, RS_STATE_PAGE, params.mmap_prot, params.mmap_flags, -1, 0);
    size_t count = RS_STATE_PAGE / state_size;
    long place = rs_syscall6(SYS_mmap, 0, RS_STATE_PAGE, 3, 0x22, -1, 0); /* readable, writable; private, anonymous */
    struct link *links = (struct link *)place;
    if (rs_failed(page) || rs_failed(place))
        return;
    for (size_t i = 0; i < count && i < RS_STATE_PAGE / sizeof *links; i++) {
        links[i].state = (char *)page + i * state_size;
        links[i].next = unused;
        unused = &links[i];
    }
}

static struct link *state_of_this_thread(random_function *function)
{
    if (RS_LIKELY(mine != NULL))
        return mine;
    if (atomic_flag_test_and_set(&busy))
        return NULL; /* never waited for: in a forked child its holder may not exist */
    if (!unused)
        more(function);
    if (unused) {
        mine = unused;
        unused = unused->next;
    }
    atomic_flag_clear(&busy);
    if (mine)
        pthread_setspecific(key, mine);
    return mine;
}

int rs_vdso_random(const void *function, void *buffer, size_t size, long *answer)
{
    random_function *random = (random_function *)(uintptr_t)function;
    struct link *state = state_of_this_thread(random);
    if (!state)
        return 0;
    *answer = random(buffer, size, 0, state->state, state_size);
    return 1;
}
