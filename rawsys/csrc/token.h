/* A number for each thread that took a lock: unique in the process, never used twice, kept over fork by the thread
 * that forks.  So a lock says who holds it, and a child can tell that its holder does not exist there.
 */
#ifndef RAWSYS_TOKEN_H
#define RAWSYS_TOKEN_H

#include <stdint.h>

#include "handle.h"

#define RS_TOKEN_BITS 31

/* initial-exec: one instruction.  The library's 4 bytes fit into what libc keeps free for that. */
extern _Thread_local uint32_t rs_token_mine __attribute__((tls_model("initial-exec")));
uint32_t rs_token_new(void);

static inline uint32_t rs_token(void)
{
    return RS_LIKELY(rs_token_mine) ? rs_token_mine : rs_token_new();
}

/* The thread is one of a process that forked, and not the one that did. */
int rs_token_gone(uint32_t token);

int rs_token_setup(void);

#endif
