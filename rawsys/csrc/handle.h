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

#include "owners.h"
#include "py.h"

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
int rs_handle_move(struct rs_handle *from, struct rs_handle *to); /* to one that was just allocated, or is closed */
PyObject *rs_handle_fresh(PyTypeObject *type, int number);   /* an owner for what the kernel just gave */
PyObject *rs_fd_fresh(int number);

/* For the type (handle_type.c). */
PyObject *rs_handle_allocate(PyTypeObject *type);
void rs_handle_hold(struct rs_handle *handle, int number, uint32_t serial);
unsigned rs_handle_calls(uint64_t word); /* in flight in this process */
int rs_handle_close(struct rs_handle *handle);
void rs_handle_finalize(PyObject *self);
int rs_handle_setup(PyObject *module);

#endif
