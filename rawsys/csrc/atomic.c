/* What AtomicU64, AtomicI64, AtomicU32 and AtomicBool do: sequentially consistent operations on a word. */
#include "atomic_word.h"
#include "thread.h"
#include "wait.h"

static int wrong_count(struct atomic *self, const char *call, Py_ssize_t got)
{
    PyErr_Format(PyExc_TypeError, "%s.%s, got %zd argument%s", rs_atomic_names[self->kind], call, got, got == 1 ? "" : "s");
    return -1;
}

/* ---- operations ---- */

static PyObject *load(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct atomic *self = (struct atomic *)object;
    (void)args;
    if (count)
        return wrong_count(self, "load()", count), NULL;
    return box(self, load_word(self));
}

static PyObject *store(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct atomic *self = (struct atomic *)object;
    uint64_t value;
    if (count != 1)
        return wrong_count(self, "store(value, /)", count), NULL;
    if (unbox(self, args[0], 0, &value) < 0)
        return NULL;
    if (self->kind < U32)
        atomic_store(wide(self), value);
    else
        atomic_store(narrow(self), (uint32_t)value);
    Py_RETURN_NONE;
}

static PyObject *compare_exchange(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct atomic *self = (struct atomic *)object;
    uint64_t expected, new;
    int done;
    if (count != 2)
        return wrong_count(self, "compare_exchange(expected, new, /)", count), NULL;
    if (unbox(self, args[0], 0, &expected) < 0 || unbox(self, args[1], 0, &new) < 0)
        return NULL;
    if (self->kind < U32) {
        done = atomic_compare_exchange_strong(wide(self), &expected, new);
    } else {
        uint32_t seen = (uint32_t)expected;
        done = atomic_compare_exchange_strong(narrow(self), &seen, (uint32_t)new);
        expected = seen;
    }
    PyObject *pair = PyTuple_New(2), *old = pair ? box(self, expected) : NULL;
    if (!old) {
        Py_XDECREF(pair);
        return NULL;
    }
    PyTuple_SetItem(pair, 0, PyBool_FromLong(done));
    PyTuple_SetItem(pair, 1, old);
    return pair;
}

static inline int less(struct atomic *self, uint64_t a, uint64_t b)
{
    return self->kind == I64 ? (int64_t)a < (int64_t)b : a < b;
}

/* The word becomes the smaller (or larger) of itself and `value`; gives what it was. */
static uint64_t extreme(struct atomic *self, uint64_t value, int smaller)
{
    uint64_t old = load_word(self);
    uint32_t seen = (uint32_t)old;
    while (smaller ? less(self, value, old) : less(self, old, value)) {
        if (self->kind < U32 ? atomic_compare_exchange_weak(wide(self), &old, value)
                             : atomic_compare_exchange_weak(narrow(self), &seen, (uint32_t)value))
            break;
        old = self->kind < U32 ? old : seen;
    }
    return old;
}

/* One method for each operation that takes a number and gives what the word was before. */
#define FETCH(name, bits, on_wide, on_narrow)                                                          \
    static PyObject *name(PyObject *object, PyObject *const *args, Py_ssize_t count)                   \
    {                                                                                                  \
        struct atomic *self = (struct atomic *)object;                                                 \
        uint64_t value;                                                                                \
        if (RS_UNLIKELY(count != 1))                                                                   \
            return wrong_count(self, #name "(value, /)", count), NULL;                                 \
        if (RS_UNLIKELY(unbox(self, args[0], bits, &value) < 0))                                       \
            return NULL;                                                                               \
        return box(self, self->kind < U32 ? on_wide : on_narrow);                                      \
    }

FETCH(swap, 0, atomic_exchange(wide(self), value), atomic_exchange(narrow(self), (uint32_t)value))
FETCH(fetch_add, 1, atomic_fetch_add(wide(self), value), atomic_fetch_add(narrow(self), (uint32_t)value))
FETCH(fetch_sub, 1, atomic_fetch_sub(wide(self), value), atomic_fetch_sub(narrow(self), (uint32_t)value))
FETCH(fetch_and, 1, atomic_fetch_and(wide(self), value), atomic_fetch_and(narrow(self), (uint32_t)value))
FETCH(fetch_or, 1, atomic_fetch_or(wide(self), value), atomic_fetch_or(narrow(self), (uint32_t)value))
FETCH(fetch_xor, 1, atomic_fetch_xor(wide(self), value), atomic_fetch_xor(narrow(self), (uint32_t)value))
FETCH(fetch_min, 0, extreme(self, value, 1), extreme(self, value, 1))
FETCH(fetch_max, 0, extreme(self, value, 0), extreme(self, value, 0))

/* ---- waiting ---- */

static PyObject *atomic_wait(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *words[] = {"expected", "timeout", NULL};
    struct atomic *self = (struct atomic *)object;
    PyObject *wanted, *timeout = NULL;
    uint64_t expected;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:wait", words, &wanted, &timeout) || unbox(self, wanted, 0, &expected) < 0)
        return NULL;
    int64_t deadline = rs_deadline(timeout);
    int result = deadline < 0 ? -1 : rs_wait_while(narrow(self), (uint32_t)expected, deadline, self->view.obj != NULL);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *notify(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct atomic *self = (struct atomic *)object;
    long n = 1;
    if (count > 1)
        return wrong_count(self, "notify(n=1, /)", count), NULL;
    if (count && (PyBool_Check(args[0]) || !PyIndex_Check(args[0])))
        return PyErr_Format(PyExc_TypeError, "notify() takes a number of threads, not %R", Py_TYPE(args[0]));
    if (count && (n = PyNumber_AsSsize_t(args[0], NULL)) == -1 && PyErr_Occurred())
        return NULL;
    if (n < 0)
        return PyErr_Format(PyExc_ValueError, "notify() cannot wake %ld threads", n);
    return PyLong_FromLong(rs_futex_wake(narrow(self), n > INT32_MAX ? INT32_MAX : (int)n, self->view.obj != NULL));
}

static PyObject *no_wait(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args, (void)count;
    return PyErr_Format(PyExc_NotImplementedError,
                        "%s cannot be waited on: the kernel's futex is 32 bits; put an AtomicU32 beside it, store, then notify() there",
                        rs_atomic_names[((struct atomic *)object)->kind]);
}

/* ---- adding in a native thread ---- */

struct adder {
    void *word;
    uint64_t n;
};

static void *add_wide(void *argument)
{
    struct adder *adder = argument;
    _Atomic uint64_t *word = adder->word;
    for (uint64_t i = adder->n; i; i--)
        atomic_fetch_add(word, 1);
    return NULL;
}

static void *add_narrow(void *argument)
{
    struct adder *adder = argument;
    _Atomic uint32_t *word = adder->word;
    for (uint64_t i = adder->n; i; i--)
        atomic_fetch_add(word, 1);
    return NULL;
}

static PyObject *adder(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct atomic *self = (struct atomic *)object;
    if (count != 1)
        return wrong_count(self, "adder(n, /)", count), NULL;
    if (PyBool_Check(args[0]) || !PyIndex_Check(args[0]))
        return PyErr_Format(PyExc_TypeError, "adder() takes a count, not %R", Py_TYPE(args[0]));
    Py_ssize_t n = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_OverflowError))
        return PyErr_Format(PyExc_OverflowError, "adder() adds up to 2**63-1 times, not %S", args[0]);
    if (n < 0)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "adder() cannot add %zd times", n);
    struct adder argument = {self->word, (uint64_t)n};
    return rs_body_new(self->kind < U32 ? add_wide : add_narrow, &argument, sizeof argument, object);
}

/* ---- methods ---- */

#define AT(size)                                                                                                     \
    {"at", (PyCFunction)(void (*)(void))rs_atomic_at, METH_VARARGS | METH_KEYWORDS | METH_CLASS,                        \
     "at($type, /, buffer, offset=0)\n--\n\nThe word that lies at `offset` bytes in a writable buffer, as it is there: shared\n" \
     "with everybody who maps that memory.  The buffer is kept, and cannot be resized or closed, while this lives.\n\n" \
     "Raises ValueError outside the buffer or where the address is no multiple of " #size ", BufferError or TypeError for\n" \
     "memory that cannot be written."}

#define COMMON                                                                                                       \
    RS_METHOD("load", load, "load($self, /)\n--\n\nThe value."),                                                     \
    RS_METHOD("store", store, "store($self, value, /)\n--\n\nSet the value."),                                       \
    RS_METHOD("swap", swap, "swap($self, value, /)\n--\n\nSet the value; gives what it was."),                       \
    RS_METHOD("compare_exchange", compare_exchange,                                                                  \
              "compare_exchange($self, expected, new, /)\n--\n\nSet `new` if the value is `expected`: (True, expected), else (False, what\n" \
              "the value was)."),                                                                                    \
    RS_METHOD("fetch_and", fetch_and, "fetch_and($self, value, /)\n--\n\nvalue & operand; gives what it was."),      \
    RS_METHOD("fetch_or", fetch_or, "fetch_or($self, value, /)\n--\n\nvalue | operand; gives what it was."),         \
    RS_METHOD("fetch_xor", fetch_xor, "fetch_xor($self, value, /)\n--\n\nvalue ^ operand; gives what it was.")

#define NUMBERS                                                                                                      \
    RS_METHOD("adder", adder,                                                                                        \
              "adder($self, n, /)\n--\n\nA native body that adds 1 n times, for ThreadHandle.spawn_native()."),       \
    RS_METHOD("fetch_add", fetch_add, "fetch_add($self, value, /)\n--\n\nAdd, wrapping as C does; gives what it was."), \
    RS_METHOD("fetch_sub", fetch_sub, "fetch_sub($self, value, /)\n--\n\nSubtract, wrapping as C does; gives what it was."), \
    RS_METHOD("fetch_min", fetch_min, "fetch_min($self, value, /)\n--\n\nThe smaller of both; gives what it was."),  \
    RS_METHOD("fetch_max", fetch_max, "fetch_max($self, value, /)\n--\n\nThe larger of both; gives what it was.")

#define WAITS                                                                                                        \
    {"wait", (PyCFunction)(void (*)(void))atomic_wait, METH_VARARGS | METH_KEYWORDS,                                 \
     "wait($self, /, expected, timeout=None)\n--\n\n`futex(2)`: wait while the value is `expected`.\n\n"             \
     "True once it is not; False when `timeout` (seconds, None for ever) is over and it still is.  Who changes the value\n" \
     "has to notify().  Python's signal handlers run meanwhile, and may raise."},                                    \
    RS_METHOD("notify", notify,                                                                                      \
              "notify($self, n=1, /)\n--\n\n`futex(2)`: wake up to n waiters, in whatever process they are; gives how many were woken.")

#define NO_WAITS                                                                                                     \
    RS_METHOD("wait", no_wait, "wait($self, /, *arguments)\n--\n\nNotImplementedError: the kernel waits on 32 bits only; use an AtomicU32."), \
    RS_METHOD("notify", no_wait, "notify($self, /, *arguments)\n--\n\nNotImplementedError: the kernel waits on 32 bits only; use an AtomicU32.")

#define END {NULL, NULL, 0, NULL}

PyMethodDef rs_atomic_methods_64[] = {AT(8), COMMON, NUMBERS, NO_WAITS, END};
PyMethodDef rs_atomic_methods_32[] = {AT(4), COMMON, NUMBERS, WAITS, END};
PyMethodDef rs_atomic_methods_bool[] = {AT(4), COMMON, WAITS, END};
