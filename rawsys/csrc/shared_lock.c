#define _GNU_SOURCE /* pthread_mutex_clocklock */
#include "lock.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "syscall.h"
#include "wait.h"

#define SLICE_NS 50000000 /* libc's wait goes on after a signal, so Python's handlers run this often */

/* The image of a mutex that nobody holds.  It is zero but for one word, its kind, so that zeroed memory becomes a
 * mutex by one compare-and-swap: two processes may do it at once, and none can die half-way. */
static int image_kind(size_t *at, uint32_t *kind)
{
    pthread_mutexattr_t attributes;
    union { pthread_mutex_t mutex; uint32_t word[10]; } image;
    memset(&image, 0, sizeof image);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    int error = pthread_mutex_init(&image.mutex, &attributes), words = 0;
    pthread_mutexattr_destroy(&attributes);
    for (size_t i = 0; i < 10; i++)
        if (image.word[i])
            words++, *at = i, *kind = image.word[i];
    return !error && words == 1;
}

struct rs_shared_mutex *rs_shared_attach(void *place)
{
    size_t at = 0;
    uint32_t kind = 0, found = 0;
    if (!image_kind(&at, &kind))
        return PyErr_SetString(PyExc_NotImplementedError, "this libc's robust mutex cannot be made in zeroed memory"), NULL;
    if (!atomic_compare_exchange_strong((_Atomic uint32_t *)place + at, &found, kind) && found != kind)
        return PyErr_SetString(PyExc_ValueError, "something else than a Mutex lies there: it is made in zeroed memory"), NULL;
    return place;
}

/* The mutex is ours now, unless an owner died and this caller does not recover. */
static int settle(struct rs_shared_mutex *shared, int error, int recover)
{
    if (error == EOWNERDEAD) {
        atomic_store(&shared->died, 1); /* before it is consistent: if we die between, the next one is told anyway */
        pthread_mutex_consistent(&shared->mutex);
    }
    if (!atomic_load(&shared->died))
        return RS_TAKEN;
    if (recover) {
        atomic_store(&shared->died, 0);
        return RS_TAKEN;
    }
    pthread_mutex_unlock(&shared->mutex);
    return RS_DIED;
}

/* What locks protect is short: a microsecond of looking costs less than falling asleep and being woken. */
#define LOOKS 40

static int look_for_it(struct rs_shared_mutex *shared)
{
    for (int i = 0; i < LOOKS; i++) {
        __builtin_ia32_pause();
        if (!(atomic_load_explicit((_Atomic uint32_t *)&shared->mutex, memory_order_relaxed) & 0x3fffffff))
            return pthread_mutex_trylock(&shared->mutex);
    }
    return EBUSY;
}

static int lock_slice(struct rs_shared_mutex *shared, int64_t deadline)
{
    int64_t end = rs_monotonic() + SLICE_NS;
    end = deadline < end ? deadline : end;
    struct timespec until = {end / 1000000000, end % 1000000000};
    PyThreadState *state = PyEval_SaveThread();
    int error = pthread_mutex_clocklock(&shared->mutex, CLOCK_MONOTONIC, &until);
    PyEval_RestoreThread(state);
    return error;
}

int rs_shared_take(struct rs_shared_mutex *shared, int64_t deadline, int recover)
{
    int error = pthread_mutex_trylock(&shared->mutex);
    if (RS_UNLIKELY(error == EBUSY && deadline != RS_AT_ONCE))
        error = look_for_it(shared);
    while (error == EBUSY || error == ETIMEDOUT) {
        if (deadline == RS_AT_ONCE || (error == ETIMEDOUT && deadline != RS_FOREVER && rs_monotonic() >= deadline))
            return RS_NOT_TAKEN;
        if (error == ETIMEDOUT && PyErr_CheckSignals() < 0)
            return RS_RAISED;
        error = lock_slice(shared, deadline);
    }
    if (error == EDEADLK)
        return RS_OWN;
    if (error == 0 || error == EOWNERDEAD)
        return settle(shared, error, recover);
    PyErr_Format(PyExc_RuntimeError, "the memory of this Mutex was overwritten (pthread_mutex_lock: error %d)", error);
    return RS_RUINED;
}

int rs_shared_give(struct rs_shared_mutex *shared)
{
    return pthread_mutex_unlock(&shared->mutex);
}

static uint32_t owner(struct rs_shared_mutex *shared)
{
    return atomic_load((_Atomic uint32_t *)&shared->mutex) & 0x3fffffff; /* FUTEX_TID_MASK */
}

int rs_shared_locked(struct rs_shared_mutex *shared)
{
    return (atomic_load((_Atomic uint32_t *)&shared->mutex) & 0x7fffffff) != 0; /* an owner, or FUTEX_OWNER_DIED */
}

int rs_shared_owner_is_here(struct rs_shared_mutex *shared)
{
    uint32_t tid = owner(shared);
    return tid && !rs_failed(rs_syscall3(234 /* tgkill */, rs_syscall0(39), tid, 0));
}
