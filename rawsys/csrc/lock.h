/* Mutex: a futex word of our own, or a robust mutex of libc in shared memory. */
#ifndef RAWSYS_LOCK_H
#define RAWSYS_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "py.h"

/* What lies in shared memory.  The list of robust mutexes that the kernel walks when a thread dies is libc's, so the
 * mutex is too; `died` keeps what libc would forget or never forgive: that an owner died and nobody recovered. */
struct rs_shared_mutex {
    pthread_mutex_t mutex;
    _Atomic uint32_t died;
    uint32_t reserved;
};
_Static_assert(sizeof(pthread_mutex_t) == 40, "the mutex of x86-64's libc");
_Static_assert(sizeof(struct rs_shared_mutex) == 48, "Mutex.SIZE");

enum rs_taken { RS_NOT_TAKEN, RS_TAKEN, RS_DIED, RS_OWN, RS_RAISED = -1 /* by a signal handler */, RS_RUINED = -2 };

struct rs_shared_mutex *rs_shared_attach(void *place); /* initialise once, whoever comes first; NULL and ValueError */
int rs_shared_take(struct rs_shared_mutex *shared, int64_t deadline, int recover); /* with the GIL; enum rs_taken */
int rs_shared_give(struct rs_shared_mutex *shared);    /* 0, or an errno */
int rs_shared_locked(struct rs_shared_mutex *shared);
int rs_shared_owner_is_here(struct rs_shared_mutex *shared); /* a thread of this process holds it */

int rs_lock_setup(PyObject *module);

#endif
