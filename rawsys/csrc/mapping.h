/* Mapping: an owned range of memory.
 *
 * The state is one 64-bit word, so that close, views, calls and changes in many threads meet in one place:
 *
 *   bits 0-30   live views (buffers given out); they hold a reference, and a child has copies of them
 *   bit  31     closed: no new call or view
 *   bits 32-46  calls in flight, of this process's threads
 *   bit  47     exclusive: its place or rights are being changed now
 *   bits 48-63  the fork generation in which the calls were counted (see handle.h)
 */
#ifndef RAWSYS_MAPPING_H
#define RAWSYS_MAPPING_H

#include "call.h"

#define RS_MAP_VIEWS 0x7fffffffULL
#define RS_MAP_CLOSED (1ULL << 31)
#define RS_MAP_ONE_CALL (1ULL << 32)
#define RS_MAP_CALLS(word) ((unsigned)((word) >> 32) & 0x7fff)
#define RS_MAP_EXCLUSIVE (1ULL << 47)

#define RS_PAGE 4096UL
#define RS_PROT_READ 1
#define RS_PROT_WRITE 2
#define RS_PROT_ALL 7

struct rs_mapping {
    PyObject_HEAD
    _Atomic uint64_t word;
    char *address;       /* what the owner sees */
    size_t length;
    char *span;          /* what munmap gets: guards included; NULL once it is gone */
    size_t span_size;
    size_t page;         /* 4096, or the size of its huge pages */
    size_t ceiling;      /* anonymous shared memory does not grow with its mapping; 0: no such limit */
    PyObject *companion; /* closed with the mapping: the descriptor of SharedMemory */
    unsigned born;       /* the fork generation outside of which it does not exist; 0: it is inherited */
    uint8_t rights;      /* what every page of it allows, as far as is known here */
    uint8_t shared, guard, sealed, stays, trapped;
};

extern PyTypeObject *rs_mapping_type;

static inline size_t rs_round_up(size_t n, size_t page)
{
    return (n + page - 1) & -page;
}

static inline uint64_t rs_mapping_word(struct rs_mapping *mapping)
{
    return atomic_load_explicit(&mapping->word, memory_order_acquire);
}

static inline int rs_mapping_replace(struct rs_mapping *mapping, uint64_t old, uint64_t next)
{
#ifdef Py_GIL_DISABLED
    return atomic_compare_exchange_strong(&mapping->word, &old, next);
#else
    (void)old;
    atomic_store_explicit(&mapping->word, next, memory_order_release);
    return 1;
#endif
}

/* The word as this process has to read it: calls of another generation belong to threads that are not here. */
static inline uint64_t rs_mapping_here(uint64_t word)
{
    unsigned now = rs_generation();
    return RS_GENERATION(word) == now ? word : (word & (RS_MAP_VIEWS | RS_MAP_CLOSED | RS_MAP_EXCLUSIVE)) | (uint64_t)now << 48;
}

/* A child does not have what its parent marked MADV_DONTFORK, and its address may be somebody else's there. */
static inline int rs_mapping_lost(struct rs_mapping *mapping)
{
    return RS_UNLIKELY(mapping->born) && mapping->born != rs_generation();
}

static inline unsigned rs_mapping_rights(struct rs_mapping *mapping)
{
    return RS_UNLIKELY(mapping->trapped) ? 0 : mapping->rights;
}

int rs_mapping_refuse(struct rs_mapping *mapping, uint64_t word); /* -1 with the exception for that state */

/* Begin and end a call that uses the memory: it is not unmapped or moved in between. */
static inline int rs_mapping_take(struct rs_mapping *mapping, unsigned *generation)
{
    for (;;) {
        uint64_t old = rs_mapping_word(mapping), word = rs_mapping_here(old);
        if (RS_UNLIKELY((word & (RS_MAP_CLOSED | RS_MAP_EXCLUSIVE)) || RS_MAP_CALLS(word) == 0x7fff || rs_mapping_lost(mapping)))
            return rs_mapping_refuse(mapping, word);
        if (RS_LIKELY(rs_mapping_replace(mapping, old, word + RS_MAP_ONE_CALL)))
            return *generation = RS_GENERATION(word), 0;
    }
}

void rs_mapping_drop(struct rs_mapping *mapping, unsigned generation);

/* Alone with it: no views (BufferError), no calls (BusyError).  0, or -1 with the exception. */
int rs_mapping_lock(struct rs_mapping *mapping, const char *to);
void rs_mapping_unlock(struct rs_mapping *mapping);

/* The call with a note that says in words what the kernel's errno means here; always returns NULL. */
PyObject *rs_mapping_error(long number, long answer, const char *note, const char *format, ...);

extern PyMethodDef rs_mapping_access_methods[], rs_mapping_change_methods[];

PyObject *rs_mapping_new(PyTypeObject *type, PyObject *args, PyObject *keywords);
Py_ssize_t rs_mapping_length(PyObject *self);
PyObject *rs_mapping_item(PyObject *self, Py_ssize_t index);
PyObject *rs_mapping_subscript(PyObject *self, PyObject *key);
int rs_mapping_assign(PyObject *self, PyObject *key, PyObject *value);

int rs_mapping_setup(PyObject *module);
int rs_remote_setup(PyObject *module);

#endif
