/* What owners tell: the flag, the counter and the queue, as Python sees them. */
#include "signal_owner.h"

#include "call.h"
#include "signal_info.h"

#define SYS_futex 202
#define SYS_clock_gettime 228
#define NANO 1000000000L

/* ---- waiting ---- */

static int not_a_timeout(PyObject *timeout, int type)
{
    if (type)
        PyErr_Format(PyExc_TypeError, "a timeout is a number of seconds or None, not %R", Py_TYPE(timeout));
    else
        PyErr_Format(PyExc_ValueError, "a timeout cannot be negative or NaN, got %S", timeout);
    return -1;
}

int rs_signal_deadline(PyObject *timeout, long deadline[2], int *now)
{
    *now = 0;
    if (timeout == Py_None)
        return 0;
    if (PyBool_Check(timeout) || !(PyFloat_Check(timeout) || PyLong_Check(timeout)))
        return not_a_timeout(timeout, 1);
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) { /* an int beyond all doubles */
        PyErr_Clear();
        seconds = 1e30;
    }
    if (!(seconds >= 0))
        return not_a_timeout(timeout, 0);
    *now = seconds == 0;
    if (*now)
        return 1;
    rs_syscall2(SYS_clock_gettime, 1, (long)deadline); /* CLOCK_MONOTONIC */
    long whole = seconds < 4e9 ? (long)seconds : 4000000000L;
    double rest = seconds < 4e9 ? (seconds - (double)whole) * NANO : 0;
    deadline[0] += whole;
    deadline[1] += (long)rest + ((double)(long)rest < rest); /* rounded up: nobody returns early */
    if (deadline[1] >= NANO)
        deadline[0]++, deadline[1] -= NANO;
    return 1;
}

int rs_signal_wait(struct rs_owner *owner, uint32_t seen, const long deadline[2])
{
    atomic_fetch_add(&owner->waiters, 1); /* also keeps the owner's memory from being used again */
    PyThreadState *state = PyEval_SaveThread();
    /* FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG: the only wait whose time is a point, so that a retry needs no sum */
    long answer = rs_syscall6(SYS_futex, (long)&owner->word, 9 | 128, seen, (long)deadline, 0, -1);
    PyEval_RestoreThread(state);
    atomic_fetch_sub(&owner->waiters, 1);
    if (answer == -4 && PyErr_CheckSignals() < 0) /* EINTR: Python's handlers run, and may raise */
        return -1;
    return answer == -110 ? 0 : 1; /* ETIMEDOUT */
}

/* The one argument `timeout`, by place or by name; `missing` where there is none. */
static PyObject *timeout_argument(const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    if (count + named == 0)
        return Py_None;
    if (count + named == 1 && (count || PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "timeout") == 0))
        return args[0];
    return PyErr_Format(PyExc_TypeError, "%s(timeout=None) takes no other argument", name);
}

/* Still the owner that the wait began with: another thread may have closed it meanwhile. */
static int still(PyObject *self, const struct rs_owner *owner)
{
    return ((struct rs_signal_object *)self)->owner == owner || rs_signal_owner(self) != NULL;
}

/* ---- flag ---- */

static int flag_set(PyObject *object)
{
    struct rs_signal_object *self = (struct rs_signal_object *)object;
    return self->owner ? atomic_load(&self->owner->word) != 0 : self->flag != 0;
}

static PyObject *flag_is_set(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return PyBool_FromLong(flag_set(self));
}

static PyObject *flag_clear(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_owner *owner = rs_signal_owner(self);
    if (!owner)
        return NULL;
    atomic_store(&owner->word, 0);
    rs_owner_settle(owner);
    Py_RETURN_NONE;
}

static PyObject *flag_wait(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct rs_owner *owner = rs_signal_owner(self);
    PyObject *timeout = owner ? timeout_argument("wait", args, count, names) : NULL;
    long deadline[2];
    int now, limited = timeout ? rs_signal_deadline(timeout, deadline, &now) : -1;
    if (limited < 0)
        return NULL;
    while (!atomic_load(&owner->word) && !now) {
        int woken = rs_signal_wait(owner, 0, limited ? deadline : NULL);
        if (woken < 0 || !still(self, owner))
            return NULL;
        if (!woken)
            break;
    }
    return PyBool_FromLong(atomic_load(&owner->word) != 0);
}

static PyMethodDef flag_methods[] = {
    RS_METHOD("is_set", flag_is_set, "is_set($self, /)\n--\n\nTrue once one of the signals came; bool() is the same."),
    RS_METHOD("clear", flag_clear, "clear($self, /)\n--\n\nForget that one came.  Raises ClosedError after close()."),
    {"wait", (PyCFunction)(void (*)(void))flag_wait, METH_FASTCALL | METH_KEYWORDS,
     "wait($self, /, timeout=None)\n--\n\nWait until one of the signals has come: True, or False after `timeout` seconds.\n\n"
     "None waits for ever, 0 not at all.  Python's signal handlers run meanwhile, and what they raise is raised here.\n\n"
     "Raises ValueError for a negative timeout, ClosedError when it is closed, also by another thread."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot flag_slots[] = {
    {Py_tp_doc, "FlagCore()\n--\n\nA flag that signals set."},
    {Py_nb_bool, flag_set},
    {Py_tp_methods, flag_methods},
    {0, NULL},
};

/* ---- counter ---- */

static PyObject *counter_reset(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_owner *owner = rs_signal_owner(self);
    return owner ? PyLong_FromUnsignedLong(atomic_fetch_and(&owner->count, ~RS_COUNTED) & RS_COUNTED) : NULL;
}

static PyObject *counter_count(PyObject *object, void *closure)
{
    struct rs_signal_object *self = (struct rs_signal_object *)object;
    return PyLong_FromUnsignedLong(self->owner ? atomic_load(&self->owner->count) & RS_COUNTED : self->count);
}

static PyMethodDef counter_methods[] = {
    RS_METHOD("reset", counter_reset,
              "reset($self, /)\n--\n\nBegin at 0 again; gives the count until now, and none is lost between.  Raises ClosedError after close()."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef counter_getters[] = {
    {"count", counter_count, NULL, "Deliveries since the beginning or the last reset(); stays as it was after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot counter_slots[] = {
    {Py_tp_doc, "CounterCore()\n--\n\nA count of deliveries."},
    {Py_tp_methods, counter_methods},
    {Py_tp_getset, counter_getters},
    {0, NULL},
};

/* ---- queue ---- */

/* The next one, or NULL without an exception.  After the last one the eventfd is quiet again. */
static PyObject *next_info(struct rs_owner *owner)
{
    struct rs_siginfo info;
    int found = rs_ring_pop(&owner->ring, &info);
    if (!found || rs_ring_empty(&owner->ring))
        rs_owner_settle(owner);
    return found ? rs_info_new(&info) : NULL;
}

static PyObject *queue_get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct rs_owner *owner = rs_signal_owner(self);
    PyObject *timeout = owner ? timeout_argument("get", args, count, names) : NULL;
    long deadline[2];
    int now, limited = timeout ? rs_signal_deadline(timeout, deadline, &now) : -1;
    if (limited < 0)
        return NULL;
    for (;;) {
        uint32_t seen = atomic_load(&owner->word); /* before the look: what comes after it ends the wait at once */
        PyObject *info = next_info(owner);
        if (info || PyErr_Occurred())
            return info;
        int woken = now ? 0 : rs_signal_wait(owner, seen, limited ? deadline : NULL);
        if (woken < 0 || !still(self, owner))
            return NULL;
        if (!woken && rs_ring_empty(&owner->ring))
            return PyErr_Format(PyExc_TimeoutError, "no signal of %R came within %S seconds", self, timeout);
    }
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_owner *owner = rs_signal_owner(self);
    PyObject *info = owner ? next_info(owner) : NULL;
    if (info || PyErr_Occurred())
        return info;
    Py_RETURN_NONE;
}

static PyObject *queue_iter(PyObject *self)
{
    if (!rs_signal_owner(self))
        return NULL;
    Py_INCREF(self);
    return self;
}

static PyObject *queue_next(PyObject *self)
{
    struct rs_owner *owner = rs_signal_owner(self);
    return owner ? next_info(owner) : NULL;
}

static PyMethodDef queue_methods[] = {
    {"get", (PyCFunction)(void (*)(void))queue_get, METH_FASTCALL | METH_KEYWORDS,
     "get($self, /, timeout=None)\n--\n\nThe next delivery, as a SignalInfo; waits for one if there is none.\n\n"
     "`timeout` in seconds, None waits for ever, 0 not at all.  Python's signal handlers run meanwhile.\n\n"
     "Raises TimeoutError when none came, ValueError for a negative timeout, ClosedError when it is closed, also by\n"
     "another thread."},
    RS_METHOD("get_nowait", queue_get_nowait, "get_nowait($self, /)\n--\n\nThe next delivery that is there, or None."),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, "QueueCore()\n--\n\nDeliveries with what came with them."},
    {Py_tp_iter, queue_iter},
    {Py_tp_iternext, queue_next},
    {Py_tp_methods, queue_methods},
    {0, NULL},
};

/* ---- types ---- */

static int make(PyObject *module, const char *name, const char *full, PyType_Slot *slots)
{
    PyType_Spec spec = {.name = full, .basicsize = sizeof(struct rs_signal_object), .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = slots};
    PyObject *type = PyType_FromSpecWithBases(&spec, (PyObject *)rs_signal_owner_type);
    int result = type ? PyModule_AddObjectRef(module, name, type) : -1;
    Py_XDECREF(type);
    return result;
}

int rs_signal_news_setup(PyObject *module)
{
    if (make(module, "FlagCore", "rawsys.signals.FlagCore", flag_slots) < 0 ||
        make(module, "CounterCore", "rawsys.signals.CounterCore", counter_slots) < 0)
        return -1;
    return make(module, "QueueCore", "rawsys.signals.QueueCore", queue_slots);
}
