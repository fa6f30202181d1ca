#include "token.h"

#include <pthread.h>

_Thread_local uint32_t rs_token_mine;

/* The count goes on in a child, so that all that are not larger than it was at the fork are of before.  One is used for
 * each thread that takes a lock: 2**31 of them last for weeks of nothing else, and then the first ones return. */
static _Atomic uint32_t last_token;

static uint32_t last_before_fork, survivor, known_generation; /* written by the only thread of a new child */

uint32_t rs_token_new(void)
{
    do
        rs_token_mine = (atomic_fetch_add(&last_token, 1) + 1) & ((1u << RS_TOKEN_BITS) - 1);
    while (!rs_token_mine);
    return rs_token_mine;
}

static void forked(void)
{
    known_generation = rs_generation();
    last_before_fork = atomic_load(&last_token);
    survivor = rs_token_mine;
}

/* libc calls `forked` in the child of its own fork, in the thread that forked.  A naked fork calls nobody: it is
 * noticed here by its generation, and the only thread that there can be is the caller. */
int rs_token_gone(uint32_t token)
{
    if (RS_UNLIKELY(rs_generation() != known_generation))
        forked();
    return token <= last_before_fork && token != survivor;
}

int rs_token_setup(void)
{
    known_generation = rs_generation();
    return pthread_atfork(NULL, NULL, forked);
}
