/* The inside of the atomics: where the word lies, and its numbers.  Inline, since all of it runs in every operation. */
#ifndef RAWSYS_ATOMIC_WORD_H
#define RAWSYS_ATOMIC_WORD_H

#include "atomic.h"

enum kind { U64, I64, U32, BOOL };

struct atomic {
    PyObject_HEAD
    void *word;     /* &own, or a place in the view */
    uint64_t own;
    Py_buffer view; /* view.obj is NULL where the word is our own */
    uint8_t kind;
};

extern const char *const rs_atomic_names[4];
extern PyMethodDef rs_atomic_methods_64[], rs_atomic_methods_32[], rs_atomic_methods_bool[];

int rs_atomic_refuse(struct atomic *self, PyObject *object, int bits); /* -1 with the exception */
int rs_atomic_unbox_slow(struct atomic *self, PyObject *object, int bits, uint64_t *value);
PyObject *rs_atomic_at(PyObject *class, PyObject *args, PyObject *keywords);

static inline _Atomic uint64_t *wide(struct atomic *self)
{
    return self->word;
}

static inline _Atomic uint32_t *narrow(struct atomic *self)
{
    return self->word;
}

static inline uint64_t load_word(struct atomic *self)
{
    return self->kind < U32 ? atomic_load(wide(self)) : atomic_load(narrow(self));
}

/* `bits`: the operand of an operation on bits or of a sum, where -1 and 2**w-1 are the same word. */
static inline int fits(struct atomic *self, long value, int bits)
{
    if (self->kind == U32)
        return value >= (bits ? -(1L << 31) : 0) && value < 1L << 32;
    return self->kind == I64 || bits || value >= 0;
}

static inline int unbox(struct atomic *self, PyObject *object, int bits, uint64_t *value)
{
    if (self->kind == BOOL) {
        *value = object == Py_True;
        return RS_LIKELY(PyBool_Check(object)) ? 0 : rs_atomic_refuse(self, object, 0);
    }
    if (RS_LIKELY(PyLong_CheckExact(object))) {
        int overflow;
        long small = PyLong_AsLongAndOverflow(object, &overflow);
        *value = (uint64_t)small;
        if (RS_LIKELY(!overflow && fits(self, small, bits)))
            return 0;
    }
    return rs_atomic_unbox_slow(self, object, bits, value);
}

static inline PyObject *box(struct atomic *self, uint64_t value)
{
    switch (self->kind) {
    case I64: return PyLong_FromLong((long)value);
    case BOOL: return PyBool_FromLong((uint32_t)value != 0);
    default: return PyLong_FromUnsignedLong(value);
    }
}

#endif
