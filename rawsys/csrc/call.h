/* One path for every door: prepare(row, arguments) -> call, issue(call) -> answer, finish(call). */
#ifndef RAWSYS_CALL_H
#define RAWSYS_CALL_H

#include "complain.h"
#include "extent.h"
#include "handle.h"
#include "left.h"
#include "row.h"
#include "syscall.h"

struct rs_pin {
    enum { RS_PIN_VIEW, RS_PIN_OBJECT, RS_PIN_HANDLE } what;
    union {
        Py_buffer view;
        PyObject *object;
        struct { struct rs_handle *handle; unsigned generation; } taken;
    };
};

struct rs_call {
    const struct rs_row *row;
    long word[6];
    size_t length[6]; /* bytes of memory behind each word; set for memory arguments only */
    unsigned pins;
    unsigned copies, pointed; /* pointed: our copy of a length that stands in memory */
    struct { void *home, *copy; size_t size; int back; } copied[2];
    struct rs_pin pin[8]; /* one for each argument, and the copies */
};

extern int rs_utf8_names; /* file names are encoded as UTF-8 */

/* Convert one argument into its word; 0, or -1 with an exception.  Memory is pinned, a Handle counted. */
int rs_convert(struct rs_call *call, unsigned i, PyObject *object);

/* Every memory argument whose length is known has to be as long as the row says. */
int rs_check_extent(struct rs_call *call, unsigned i);

/* What the row cannot say by itself: clone's and clone3's flags, ioctl's own length. */
int rs_check_row(struct rs_call *call);

void rs_unpin(struct rs_call *call);

/* After the call: what the kernel wrote into our copies goes to where they came from. */
void rs_copy_back(struct rs_call *call);

/* CPython keeps the ints from -5 to 256 once, side by side: their value follows from their address, which saves a call
 * out of this module for most arguments.  Nothing promises that layout, so rs_small_setup looks at each of them once;
 * where it finds another one, the first stays -1 and no object is ever taken for a small int. */
#define RS_SMALLEST -5
#define RS_SMALL_INTS 262
#define RS_SMALL_STRIDE 32UL

extern uintptr_t rs_small_first;
void rs_small_setup(void);

static inline __attribute__((always_inline)) int rs_cached_int(PyObject *object, long *word)
{
    uintptr_t place = (uintptr_t)object - rs_small_first;
    *word = (long)(place / RS_SMALL_STRIDE) + RS_SMALLEST;
    return place < RS_SMALL_INTS * RS_SMALL_STRIDE;
}

/* An int argument in the way that almost all come: small, exact, in range. */
static inline __attribute__((always_inline)) int rs_small_int(PyObject *object, unsigned bits, long *word)
{
    if (RS_LIKELY(rs_cached_int(object, word)))
        return 1;
    if (!PyLong_CheckExact(object))
        return 0;
    int overflow;
    long value = PyLong_AsLongAndOverflow(object, &overflow);
    if (overflow || (bits < 64 && (value < -(1L << (bits - 1)) || value >= 1L << bits)))
        return 0;
    *word = value;
    return 1;
}

/* The same for words that stay in registers: no address of theirs goes anywhere. */
static inline __attribute__((always_inline)) int rs_plain_word(const struct rs_row *row, unsigned i, PyObject *object, long *word)
{
    unsigned bits = row->arg[i].kind == RS_FD ? 31 : row->arg[i].bits;
    if (row->arg[i].kind != RS_NUMBER && row->arg[i].kind != RS_FD)
        return 0;
    if (RS_LIKELY(rs_cached_int(object, word)))
        return 1;
    if (!PyLong_CheckExact(object))
        return 0;
    *word = PyLong_AsLong(object);
    if (RS_UNLIKELY(*word == -1)) { /* too large (where the cache is not known, also -1 itself): the other way sees to it */
        PyErr_Clear();
        return 0;
    }
    return bits == 64 || (*word >= -(1L << (bits - 1)) && *word < 1L << bits);
}

/* The row comes as an argument of its own, here and below: where it is a constant the compiler decides what its fields
 * ask, and it could not if it had to read call->row again after each call out of sight. */
static inline __attribute__((always_inline)) int
rs_convert_fast(struct rs_call *call, const struct rs_row *row, unsigned i, PyObject *object)
{
    const struct rs_arg *arg = &row->arg[i];
    if (arg->kind == RS_NUMBER && rs_small_int(object, arg->bits, &call->word[i]))
        return 0;
    if (arg->kind == RS_FD && rs_small_int(object, 31, &call->word[i])) /* 2**31-1 is the last C int */
        return 0;
    return rs_convert(call, i, object);
}

/* The extent that almost all have: the value of another argument, in bytes.  0: ask rs_check_extent. */
static inline __attribute__((always_inline)) int rs_long_enough(const struct rs_call *call, const struct rs_row *row, unsigned i)
{
    const struct rs_arg *arg = &row->arg[i];
    if (arg->extent != RS_SCALED || arg->scale != 1 || arg->plus != 0)
        return 0;
    long length = call->word[arg->extent_arg];
    return row->arg[arg->extent_arg].bits == 64 && length >= 0 && (size_t)length <= call->length[i];
}

static inline void rs_finish(struct rs_call *call)
{
    if (call->pins)
        rs_unpin(call);
}

static inline __attribute__((always_inline)) int
rs_prepare(struct rs_call *call, const struct rs_row *row, PyObject *const *args, Py_ssize_t count)
{
    call->row = row;
    call->pins = 0;
    call->copies = 0;
    rs_left_check();
    if (RS_UNLIKELY(count != row->arity))
        return rs_wrong_count(row, count), -1;
    if (RS_UNLIKELY(row->flags & RS_REFUSED))
        return rs_refused(row, ""), -1;
#pragma GCC unroll 6
    for (unsigned i = 0; i < row->arity; i++)
        if (RS_UNLIKELY(rs_convert_fast(call, row, i, args[i]) < 0))
            goto refused;
#pragma GCC unroll 6
    for (unsigned i = 0; i < row->arity; i++)
        if (row->arg[i].extent != RS_UNKNOWN && !rs_long_enough(call, row, i) && RS_UNLIKELY(rs_check_extent(call, i) < 0))
            goto refused;
    if ((row->flags & (RS_CLONE | RS_CLONE3 | RS_IOCTL | RS_GETSOCKOPT)) && rs_check_row(call) < 0)
        goto refused;
    return 0;
refused:
    rs_finish(call);
    return -1;
}

/* The instruction with the words of a prepared call. */
static inline __attribute__((always_inline)) long rs_enter(const struct rs_row *row, const long *word)
{
    long answer = rs_syscall(row->number, row->arity, word);
    return row->flags & RS_ANSWER32 ? (int)answer : answer;
}

/* The GIL law: what may block lets the other threads run; fork, clone and the closed list of short calls keep it. */
static inline __attribute__((always_inline)) long rs_issue_words(const struct rs_row *row, const long *word)
{
    if (!(row->flags & RS_BLOCKS))
        return rs_enter(row, word);
    PyThreadState *state = PyEval_SaveThread();
    long answer = rs_enter(row, word);
    if (row->returns == RS_NEWFD && !rs_failed(answer) && (!row->fd_if || row->fd_if(word)))
        rs_owner_lost((int)answer); /* before another thread may run, and close it as its own */
    PyEval_RestoreThread(state);
    return answer;
}

static inline __attribute__((always_inline)) long rs_issue(struct rs_call *call, const struct rs_row *row)
{
    long answer = rs_issue_words(row, call->word);
    if (row->flags & RS_COPIES)
        rs_copy_back(call);
    return answer;
}

/* The kernel's answer as an int: -errno, or the value, which above 2**63 is an address or an offset and never negative. */
static inline PyObject *rs_answer(long answer)
{
    return RS_LIKELY(answer >= -4095) ? PyLong_FromLong(answer) : PyLong_FromUnsignedLong((unsigned long)answer);
}

#endif
