/* Handle: the base of every owner that holds a descriptor, and the count of the calls that use it.
 *
 * The state is one 64-bit word, so that close and use in two threads meet in one place:
 *
 *   bits 0-30   the number (RS_NO_NUMBER once it is released)
 *   bit  31     closed: no new call may take it
 *   bits 32-47  calls in flight
 *   bits 48-63  the fork generation in which that count was made
 *
 * A count of another generation is void: its threads do not exist in this process.  (A count would
 * have to survive exactly 65,535 nested forks untouched to be believed again.)
 */
#ifndef RAWSYS_HANDLE_H
#define RAWSYS_HANDLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "py.h"
#include "row.h"

#define RS_NUMBER_MASK 0x7fffffffULL
#define RS_NO_NUMBER RS_NUMBER_MASK
#define RS_CLOSED (1ULL << 31)
#define RS_ONE_CALL (1ULL << 32)
#define RS_COUNT(word) ((unsigned)((word) >> 32) & 0xffff)
#define RS_GENERATION(word) ((unsigned)((word) >> 48))

struct rs_handle {
    PyObject_HEAD
    _Atomic uint64_t word;
    uint32_t serial;  /* who in the table of owners; 0 for a borrowed number */
};

extern PyTypeObject *rs_handle_type, *rs_fdio_type, *rs_fd_class;

/* The generation lives in a page that the kernel wipes in a forked child (MADV_WIPEONFORK), so that a
 * naked fork is noticed as well as libc's.  A child that shares our memory sees the same page. */
extern _Atomic uint32_t *rs_generation_page;
unsigned rs_generation_renew(void);

static inline unsigned rs_generation(void)
{
    unsigned generation = atomic_load_explicit(rs_generation_page, memory_order_relaxed);
    return RS_LIKELY(generation) ? generation : rs_generation_renew();
}

static inline int rs_handle_check(PyObject *object)
{
    return Py_TYPE(object) == rs_fd_class || PyType_IsSubtype(Py_TYPE(object), rs_handle_type);
}

static inline uint64_t rs_handle_word(struct rs_handle *handle)
{
    return atomic_load_explicit(&handle->word, memory_order_acquire);
}

/* With the GIL nobody else can have changed the word since it was read, and a plain store does. */
static inline int rs_handle_replace(struct rs_handle *handle, uint64_t old, uint64_t next)
{
#ifdef Py_GIL_DISABLED
    return atomic_compare_exchange_strong(&handle->word, &old, next);
#else
    (void)old;
    atomic_store_explicit(&handle->word, next, memory_order_release);
    return 1;
#endif
}

/* Begin a call: gives the number and counts the call; -1 with an exception when it is closed.
 * *generation goes to rs_handle_drop, which ends the call and closes what was closed meanwhile. */
int rs_handle_refuse(struct rs_handle *handle, uint64_t word);

static inline int rs_handle_take(struct rs_handle *handle, unsigned *generation)
{
    for (;;) {
        uint64_t word = rs_handle_word(handle), next = word + RS_ONE_CALL;
        unsigned now = rs_generation();
        if (RS_UNLIKELY((word & RS_CLOSED) || RS_COUNT(word) == 0xffff))
            return rs_handle_refuse(handle, word);
        if (RS_UNLIKELY(RS_GENERATION(word) != now))
            next = (word & RS_NUMBER_MASK) | RS_ONE_CALL | (uint64_t)now << 48;
        if (RS_LIKELY(rs_handle_replace(handle, word, next))) {
            *generation = now;
            return (int)(word & RS_NUMBER_MASK);
        }
    }
}

void rs_handle_close_deferred(struct rs_handle *handle);

static inline void rs_handle_drop(struct rs_handle *handle, unsigned generation)
{
    for (;;) {
        uint64_t word = rs_handle_word(handle);
        if (RS_UNLIKELY(RS_GENERATION(word) != generation || RS_COUNT(word) == 0))
            return; /* forked meanwhile, and the child began to count anew */
        if (RS_LIKELY(rs_handle_replace(handle, word, word - RS_ONE_CALL))) {
            if (RS_UNLIKELY((word & RS_CLOSED) && RS_COUNT(word) == 1))
                rs_handle_close_deferred(handle);
            return;
        }
    }
}

int rs_handle_number(struct rs_handle *handle);              /* without counting; -1 and ClosedError */
int rs_handle_into_raw(struct rs_handle *handle);            /* takes the number away; -1 and an exception */
PyObject *rs_handle_fresh(PyTypeObject *type, int number);   /* an owner for what the kernel just gave */
PyObject *rs_fd_fresh(int number);

/* The kernel has just given this number: whoever is noted as its owner has lost it, and must not close it. */
void rs_owner_lost(int number);
int rs_handle_setup(PyObject *module);

#endif
