/* Mutex as Python sees it, and the private one: one futex word that holds its owner's token.
 *
 *   0               free
 *   token           held
 *   token | WAITED  held, and somebody sleeps or slept on the word: releasing it wakes one
 *
 * Whoever is awake takes a free lock, which is what makes it fast; a thread that was woken in vain for longer than a
 * millisecond enters itself as the heir, and the next release hands the lock to it.  So nobody starves.  The heir sleeps on
 * `heir` and the others on `word`, which the kernel wakes in the order of their coming: a handover wakes one thread, and
 * leaves that order as it is.  (All on one word was tried: handing over then wakes everybody, and the next heir is
 * whoever the scheduler likes.)
 */
#include "lock.h"

#include <string.h>

#include "atomic.h"
#include "complain.h"
#include "token.h"
#include "wait.h"

#define WAITED (1u << RS_TOKEN_BITS)
#define OWNER(word) ((word) & ~WAITED)
#define PATIENCE_NS 1000000
#define EDEADLK 35
#define EINTR 4
#define EOWNERDEAD 130
#define ETIMEDOUT 110

struct mutex {
    PyObject_HEAD
    _Atomic uint32_t word, heir;    /* two futexes */
    struct rs_shared_mutex *shared; /* in the view; NULL: private */
    Py_buffer view;
    int taken_here;                 /* shared: through this object, so that its memory has to stay */
};

static PyTypeObject *mutex_type;

/* ---- the private lock ---- */

static int try_take(struct mutex *self, uint32_t mine, uint32_t waited)
{
    uint32_t free = 0;
    return atomic_compare_exchange_strong(&self->word, &free, mine | waited);
}

/* An heir that does not wait any more: 1 when the lock was handed to it at this very moment. */
static int renounce(struct mutex *self, uint32_t mine)
{
    uint32_t heir = mine;
    if (atomic_compare_exchange_strong(&self->heir, &heir, 0))
        return 0;
    while (OWNER(atomic_load(&self->word)) != mine)
        ; /* between taking the heir's name and writing it into the word there are two instructions */
    return 1;
}

/* A sleeper that finds the lock free.  Nobody held it, so no release runs that could hand it to us as well. */
static int take_free(struct mutex *self, uint32_t mine)
{
    uint32_t heir = mine;
    if (!try_take(self, mine, WAITED))
        return 0;
    atomic_compare_exchange_strong(&self->heir, &heir, 0);
    return 1;
}

/* One sleep, after which the word is to be looked at again.  An heir looks at it after it has entered its name, and a
 * release for an heir after it has freed the word, so that one of both sees the other. */
static long sleep_once(struct mutex *self, uint32_t word, uint32_t heir, int64_t deadline)
{
    if (rs_token_gone(OWNER(word)))
        return -EOWNERDEAD;
    if (!(word & WAITED) && !atomic_compare_exchange_strong(&self->word, &word, word | WAITED))
        return 0;
    return heir ? rs_futex_wait(&self->heir, heir, deadline, 0) : rs_futex_wait(&self->word, word | WAITED, deadline, 0);
}

/* Without the GIL: until it is taken (1), or there is something to see to: -EINTR, -ETIMEDOUT, or -EOWNERDEAD. */
static long sleep_for_it(struct mutex *self, uint32_t mine, int64_t deadline)
{
    int64_t began = rs_monotonic();
    uint32_t heir = 0; /* our name, once it is entered */
    for (;;) {
        uint32_t word = atomic_load(&self->word), nobody = 0;
        if (OWNER(word) == mine)
            return 1; /* inherited */
        if (word == 0) {
            if (take_free(self, mine))
                return 1;
            continue;
        }
        long answer = sleep_once(self, word, heir, deadline);
        if (answer == -EINTR || answer == -ETIMEDOUT || answer == -EOWNERDEAD)
            return heir && renounce(self, mine) ? 1 : answer;
        if (!heir && rs_monotonic() - began > PATIENCE_NS && atomic_compare_exchange_strong(&self->heir, &nobody, mine))
            heir = mine;
    }
}

/* An owner that is gone left the word as it was; one who recovers takes it over. */
static int take_over(struct mutex *self, uint32_t mine, int recover)
{
    uint32_t word = atomic_load(&self->word);
    while (rs_token_gone(OWNER(word)) && word) {
        if (!recover)
            return RS_DIED;
        if (atomic_compare_exchange_strong(&self->word, &word, mine | (word & WAITED)))
            return RS_TAKEN;
    }
    return RS_NOT_TAKEN;
}

static int take_private(struct mutex *self, int64_t deadline, int recover)
{
    uint32_t mine = rs_token();
    if (try_take(self, mine, 0))
        return RS_TAKEN;
    if (OWNER(atomic_load(&self->word)) == mine)
        return RS_OWN;
    for (;;) {
        int taken = take_over(self, mine, recover);
        if (taken != RS_NOT_TAKEN)
            return taken;
        if (deadline == RS_AT_ONCE)
            return try_take(self, mine, 0) ? RS_TAKEN : RS_NOT_TAKEN;
        PyThreadState *state = PyEval_SaveThread();
        long answer = sleep_for_it(self, mine, deadline);
        PyEval_RestoreThread(state);
        if (answer == 1)
            return RS_TAKEN;
        if (answer == -ETIMEDOUT)
            return try_take(self, mine, 0) ? RS_TAKEN : RS_NOT_TAKEN;
        if (answer == -EINTR && PyErr_CheckSignals() < 0)
            return RS_RAISED;
    }
}

/* 0, or -1 when this thread does not hold it. */
static int give_private(struct mutex *self)
{
    uint32_t mine = rs_token_mine, word = atomic_load(&self->word);
    if (!mine || OWNER(word) != mine)
        return -1;
    uint32_t heir = atomic_exchange(&self->heir, 0);
    if (heir && !rs_token_gone(heir)) {
        atomic_store(&self->word, heir | WAITED);
        rs_futex_wake(&self->heir, 1, 0);
    } else {
        atomic_store(&self->word, 0);
        if (atomic_load(&self->heir))
            rs_futex_wake(&self->heir, 1, 0); /* entered since we looked; one that gives up now leaves the lock to a sleeper */
        rs_futex_wake(&self->word, 1, 0);
    }
    return 0;
}

/* ---- methods ---- */

static PyObject *raise_state(const char *class_name, int number, const char *text)
{
    PyObject *module = PyImport_ImportModule("rawsys.errors");
    PyObject *error = module ? PyObject_CallMethod(module, class_name, "is", number, text) : NULL;
    if (error)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    Py_XDECREF(module);
    return NULL;
}

static int take(struct mutex *self, int64_t deadline, int recover)
{
    if (!self->shared)
        return take_private(self, deadline, recover);
    int taken = rs_shared_take(self->shared, deadline, recover);
    self->taken_here |= taken == RS_TAKEN;
    return taken;
}

static PyObject *raise_not_taken(int taken)
{
    if (taken == RS_OWN)
        return raise_state("DeadlockError", EDEADLK, "this thread holds the Mutex already, and would wait for itself for ever");
    if (taken == RS_DIED)
        return raise_state("OwnerDiedError", EOWNERDEAD,
                           "the owner of this Mutex is gone, and left what it protects as it was; acquire(recover=True) takes it over");
    return NULL; /* raised already */
}

/* Out of line, as all that is rare: the short way has then no frame of its own. */
static __attribute__((noinline)) PyObject *wait_for_it(struct mutex *self, int64_t deadline, int recover, PyObject *value)
{
    int taken = take(self, deadline, recover);
    if (RS_LIKELY(taken == RS_TAKEN)) {
        Py_INCREF(value);
        return value;
    }
    if (taken == RS_NOT_TAKEN)
        Py_RETURN_FALSE;
    return raise_not_taken(taken);
}

static __attribute__((noinline)) PyObject *acquire_slow(struct mutex *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *value[2] = {NULL, NULL}; /* timeout, recover */
    if (count > 2)
        return PyErr_Format(PyExc_TypeError, "acquire(timeout=None, recover=False) takes 2 arguments, got %zd", count);
    for (Py_ssize_t i = 0; i < count; i++)
        value[i] = args[i];
    for (Py_ssize_t i = 0, n = names ? PyTuple_Size(names) : 0; i < n; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        int at = PyUnicode_CompareWithASCIIString(name, "timeout") == 0 ? 0 : PyUnicode_CompareWithASCIIString(name, "recover") == 0 ? 1 : 2;
        if (at == 2 || value[at])
            return PyErr_Format(PyExc_TypeError, "acquire(timeout=None, recover=False): wrong argument %R", name);
        value[at] = args[count + i];
    }
    int64_t deadline = rs_deadline(value[0]);
    int recover = value[1] ? PyObject_IsTrue(value[1]) : 0;
    if (deadline < 0 || recover < 0)
        return NULL;
    return wait_for_it(self, deadline, recover, Py_True);
}

static PyObject *acquire(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct mutex *self = (struct mutex *)object;
    if (RS_UNLIKELY(count || names))
        return acquire_slow(self, args, count, names);
    if (RS_LIKELY(!self->shared && try_take(self, rs_token(), 0)))
        Py_RETURN_TRUE;
    return wait_for_it(self, RS_FOREVER, 0, Py_True);
}

static PyObject *enter(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct mutex *self = (struct mutex *)object;
    (void)args, (void)count;
    if (RS_LIKELY(!self->shared && try_take(self, rs_token(), 0))) {
        Py_INCREF(object);
        return object;
    }
    return wait_for_it(self, RS_FOREVER, 0, object);
}

static __attribute__((noinline)) PyObject *release_slow(struct mutex *self)
{
    if (self->shared ? rs_shared_give(self->shared) : give_private(self))
        return PyErr_Format(PyExc_RuntimeError, "%R is not held by this thread", self);
    self->taken_here = 0;
    Py_RETURN_NONE;
}

static PyObject *release(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct mutex *self = (struct mutex *)object;
    (void)args, (void)count;
    uint32_t mine = rs_token_mine, word = mine;
    if (RS_LIKELY(!self->shared && mine && atomic_compare_exchange_strong(&self->word, &word, 0)))
        Py_RETURN_NONE;
    return release_slow(self);
}

/* Take it again whatever signal handlers raise meanwhile; of that the first is kept, for when it is held. */
static int take_again(struct mutex *self)
{
    PyObject *kind, *value, *traceback;
    int taken;
    PyErr_Fetch(&kind, &value, &traceback);
    while ((taken = take(self, RS_FOREVER, 0)) == RS_RAISED) {
        if (kind)
            PyErr_Clear();
        else
            PyErr_Fetch(&kind, &value, &traceback);
    }
    if (taken == RS_TAKEN) {
        PyErr_Restore(kind, value, traceback);
        return 1;
    }
    Py_XDECREF(kind);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    raise_not_taken(taken);
    return 0;
}

/* _yield_to(word, seen, timeout): Condition.wait.  In C, since Python runs signal handlers after every call: one that
 * raises after release() and before a `try`, or when the lock has just been taken again, would leave the caller without
 * a lock that it counts on. */
static PyObject *yield_to(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "_yield_to(word, seen, timeout, /), got %zd arguments", count);
    if (rs_deadline(args[2]) < 0)
        return NULL;
    PyObject *released = release(object, NULL, 0);
    if (!released)
        return NULL;
    Py_DECREF(released);
    PyObject *woken = PyObject_CallMethod(args[0], "wait", "OO", args[1], args[2]);
    if (!take_again((struct mutex *)object) || PyErr_Occurred()) /* a handler may raise while it is taken again */
        Py_CLEAR(woken);
    return woken;
}

static PyObject *get_shared(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct mutex *)object)->shared != NULL);
}

static PyObject *locked(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct mutex *self = (struct mutex *)object;
    (void)args, (void)count;
    return PyBool_FromLong(self->shared ? rs_shared_locked(self->shared) : atomic_load(&self->word) != 0);
}

/* ---- life ---- */

static PyObject *mutex_at(PyObject *class, PyObject *args, PyObject *keywords)
{
    static char *words[] = {"buffer", "offset", NULL};
    PyObject *buffer, *given = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:at", words, &buffer, &given))
        return NULL;
    struct mutex *self = (struct mutex *)PyType_GenericAlloc((PyTypeObject *)class, 0);
    PyObject *offset = given ? given : PyLong_FromLong(0);
    void *place = self && offset ? rs_place(&self->view, buffer, offset, sizeof *self->shared, _Alignof(pthread_mutex_t)) : NULL;
    if (!place || !(self->shared = rs_shared_attach(place)))
        Py_CLEAR(self);
    if (!given)
        Py_XDECREF(offset);
    return (PyObject *)self;
}

/* libc's list of what a thread holds runs through the mutex itself: while one of ours holds it, its memory must not be
 * given back, or the next lock of that thread writes into a stranger's. */
static int must_stay(struct mutex *self)
{
    PyObject *kind, *value, *traceback;
    if (!self->shared || !self->taken_here || !rs_shared_owner_is_here(self->shared))
        return 0;
    PyErr_Fetch(&kind, &value, &traceback);
    if (PyErr_WarnEx(PyExc_ResourceWarning, "a shared Mutex was dropped while held; its memory is kept for ever", 1) < 0)
        PyErr_WriteUnraisable(NULL);
    PyErr_Restore(kind, value, traceback);
    return 1;
}

static void dealloc(PyObject *object)
{
    struct mutex *self = (struct mutex *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->view.obj && !must_stay(self))
        PyBuffer_Release(&self->view);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *mutex_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    if (PyTuple_Size(args) || (keywords && PyDict_Size(keywords)))
        return PyErr_Format(PyExc_TypeError, "Mutex() takes no arguments; Mutex.at(buffer, offset) lies in shared memory");
    return PyType_GenericAlloc(type, 0);
}

static PyObject *repr(PyObject *object)
{
    struct mutex *self = (struct mutex *)object;
    int held = self->shared ? rs_shared_locked(self->shared) : atomic_load(&self->word) != 0;
    return PyUnicode_FromFormat("<Mutex %s%s>", self->shared ? "shared " : "", held ? "held" : "free");
}

static PyMethodDef methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, /, timeout=None, recover=False)\n--\n\nTake the lock: True, or False when `timeout` (seconds) is over.  Without contention there is no\n"
     "system call.  Python's signal handlers run while it waits, for a shared lock within 50 ms, and may raise.\n\n"
     "Raises OwnerDiedError when an owner is gone that did not release it, until somebody calls acquire(recover=True) and\n"
     "puts right what the lock protects; DeadlockError when this thread holds it already."},
    RS_METHOD("release", release, "release($self, /)\n--\n\nLet the lock go.\n\nRaises RuntimeError when this thread does not hold it."),
    RS_METHOD("_yield_to", yield_to, "_yield_to($self, word, seen, timeout, /)\n--\n\nrelease(), wait while the word is `seen`, acquire()."),
    RS_METHOD("locked", locked, "locked($self, /)\n--\n\nTrue while somebody holds it, also one who is gone."),
    RS_METHOD("__enter__", enter, "__enter__($self, /)\n--\n\nacquire(); gives the Mutex."),
    RS_METHOD("__exit__", release, "__exit__($self, /, *exception)\n--\n\nrelease()."),
    {"at", (PyCFunction)(void (*)(void))mutex_at, METH_VARARGS | METH_KEYWORDS | METH_CLASS,
     "at($type, /, buffer, offset=0)\n--\n\nThe lock that lies at `offset` in a writable buffer, for all who map that memory: Mutex.SIZE bytes,\n"
     "zeroed before its first use, at an address that is a multiple of 8.  The first 4 bytes are the word: the owner's tid.\n\n"
     "When a thread or process that holds it ends, by whatever cause, the next waiter is woken with OwnerDiedError.\n\n"
     "Raises ValueError outside the buffer, unaligned, or where something else lies."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"_shared", get_shared, NULL, "Whether it lies in somebody's buffer.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Mutex()\n--\n\nA lock that one thread at a time holds; it must be released by that thread.\n\n"
                "A private one is a word of this process.  In a forked child it is as it was: the thread that forked holds there\n"
                "what it held; what another thread held is OwnerDiedError at once.  In its own process it stays held by a thread\n"
                "that ends without releasing it.  See at() for one in shared memory, which tells that too."},
    {Py_tp_new, mutex_new}, {Py_tp_dealloc, dealloc}, {Py_tp_repr, repr}, {Py_tp_methods, methods}, {Py_tp_getset, getters}, {0, NULL},
};

int rs_lock_setup(PyObject *module)
{
    PyType_Spec spec = {"rawsys.sync.Mutex", sizeof(struct mutex), 0, Py_TPFLAGS_DEFAULT, slots};
    if (rs_token_setup())
        return PyErr_SetString(PyExc_ImportError, "rawsys: pthread_atfork refused"), -1;
    mutex_type = (PyTypeObject *)PyType_FromSpec(&spec);
    PyObject *size = PyLong_FromSize_t(sizeof(struct rs_shared_mutex));
    if (!mutex_type || !size || PyObject_SetAttrString((PyObject *)mutex_type, "SIZE", size) < 0)
        return -1;
    Py_DECREF(size);
    return PyModule_AddObjectRef(module, "Mutex", (PyObject *)mutex_type);
}
