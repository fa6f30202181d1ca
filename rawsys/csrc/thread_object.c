/* Threads as Python sees them: the core of ThreadHandle. */
#include <stdlib.h>

#include "left.h"
#include "thread.h"
#include "wait.h"

#define SYS_getpid 39
#define SYS_tgkill 234

enum released { HELD, JOINED, DETACHED };

struct core {
    PyObject_HEAD
    struct rs_thread *thread; /* NULL until it was started */
    uint8_t released, joining;
};

static PyObject *reporter; /* rawsys._native.threading_hooks.report */

/* ---- starting ---- */

static void drop(struct core *self)
{
    struct rs_thread *thread = self->thread;
    self->thread = NULL;
    rs_thread_clear(thread);
    rs_thread_release(thread);
}

/* _start(kind, body, argument, wishes, two_phase): None, or the call that failed and its errno. */
static PyObject *start(PyObject *object, PyObject *args)
{
    struct core *self = (struct core *)object;
    PyObject *body, *argument, *wishes;
    int kind, two_phase;
    if (!PyArg_ParseTuple(args, "iOOOi", &kind, &body, &argument, &wishes, &two_phase))
        return NULL;
    rs_left_check();
    struct rs_thread *thread = calloc(1, sizeof *thread);
    if (!thread || self->thread)
        return thread ? PyErr_Format(PyExc_RuntimeError, "started already") : PyErr_NoMemory();
    atomic_init(&thread->references, 1);
    thread->kind = kind;
    thread->two_phase = two_phase;
    self->thread = thread;
    const char *call = NULL;
    int error = rs_wishes_read(&thread->wishes, wishes) < 0 || rs_thread_set_body(thread, body, argument) < 0 ? -1 : rs_thread_start(thread, &call);
    if (error == 0)
        Py_RETURN_NONE;
    if (error < 0 && thread->pthread) { /* a handler raised: the thread is on its own */
        self->thread = NULL;
        rs_thread_release(thread);
        return NULL;
    }
    drop(self);
    return error < 0 ? NULL : Py_BuildValue("si", call, error);
}

static PyObject *open_gate(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    rs_thread_open(((struct core *)object)->thread, count == 1 && args[0] == Py_True);
    Py_RETURN_NONE;
}

/* ---- joining and detaching ---- */

static int usable(struct core *self)
{
    if (!self->thread)
        rs_complain("ClosedError", "this ThreadHandle has no thread");
    else if (self->released)
        rs_complain("ClosedError", "%R can no longer be used", self);
    else if (self->joining)
        rs_complain("BusyError", "another thread is joining %R", self);
    else
        return 1;
    return 0;
}

/* The outcome of a Python body is (its Thread, result, exception or None). */
static PyObject *python_result(struct rs_thread *thread)
{
    PyObject *outcome = thread->outcome, *result, *error;
    if (!outcome)
        Py_RETURN_NONE; /* it was ended from outside, at finalisation */
    thread->outcome = NULL;
    result = PyTuple_GetItem(outcome, 1);
    error = PyTuple_GetItem(outcome, 2);
    if (error == Py_None) {
        Py_INCREF(result);
    } else {
        Py_INCREF((PyObject *)Py_TYPE(error));
        Py_INCREF(error);
        PyErr_Restore((PyObject *)Py_TYPE(error), error, PyException_GetTraceback(error));
        result = NULL;
    }
    Py_DECREF(outcome);
    return result;
}

static PyObject *take_result(struct rs_thread *thread)
{
    if (thread->kind == RS_BODY_PYTHON)
        return python_result(thread);
    if (thread->kind == RS_BODY_NATIVE)
        return PyLong_FromVoidPtr(thread->answer);
    struct rs_program_object *program = thread->program;
    thread->program = NULL;
    rs_run_end(program, &thread->bound);
    PyObject *results = rs_run_results(program, &thread->bound);
    Py_DECREF((PyObject *)program);
    return results;
}

static PyObject *join(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *words[] = {"timeout", NULL};
    struct core *self = (struct core *)object;
    PyObject *timeout = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:join", words, &timeout) || !usable(self))
        return NULL;
    int64_t deadline = rs_deadline(timeout);
    struct rs_thread *thread = self->thread;
    if (deadline < 0)
        return NULL;
    rs_left_check();
    if (thread->generation != rs_generation()) {
        rs_complain("ClosedError", "%R is a thread of the process that forked; it does not exist here", self);
        return NULL;
    }
    if (pthread_equal(thread->pthread, pthread_self()))
        return PyErr_Format(PyExc_RuntimeError, "%R cannot join itself", self);
    self->joining = 1;
    int ended = rs_thread_join(thread, deadline);
    self->joining = 0;
    if (ended == 0)
        PyErr_Format(PyExc_TimeoutError, "%R still runs", self);
    if (ended != 1)
        return NULL;
    self->released = JOINED;
    PyObject *result = take_result(thread);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    rs_thread_clear(thread);
    PyErr_Restore(type, value, traceback);
    return result;
}

void rs_thread_report(struct rs_thread *thread)
{
    PyObject *outcome = thread->outcome;
    thread->outcome = NULL;
    if (outcome && reporter && PyTuple_GetItem(outcome, 2) != Py_None) {
        PyObject *done = PyObject_CallFunctionObjArgs(reporter, outcome, NULL);
        if (!done)
            PyErr_WriteUnraisable(reporter);
        Py_XDECREF(done);
    }
    PyErr_Clear();
    Py_XDECREF(outcome);
}

static void let_go(struct core *self)
{
    self->released = DETACHED;
    rs_thread_detach(self->thread);
}

static PyObject *detach(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args, (void)count;
    rs_left_check();
    if (!usable((struct core *)object))
        return NULL;
    let_go((struct core *)object);
    Py_RETURN_NONE;
}

static PyObject *close_core(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct core *self = (struct core *)object;
    (void)args, (void)count;
    if (!self->thread || self->released)
        Py_RETURN_NONE;
    return detach(object, args, count);
}

/* Dropped without join or detach: detached; with a warning while it runs. */
static void finalize(PyObject *object)
{
    struct core *self = (struct core *)object;
    PyObject *type, *value, *traceback;
    if (!self->thread || self->released)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    if (rs_thread_alive(self->thread) && PyErr_ResourceWarning(object, 1, "running thread was neither joined nor detached: %R", object) < 0)
        PyErr_WriteUnraisable(object);
    let_go(self);
    PyErr_Restore(type, value, traceback);
}

static void dealloc(PyObject *object)
{
    struct core *self = (struct core *)object;
    PyTypeObject *type = Py_TYPE(object);
    struct rs_thread *thread = self->thread;
    /* What a detached body holds stays until it has ended; what a joined one held is cleared already. */
    if (thread)
        rs_thread_release(thread);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* ---- looking at it ---- */

static PyObject *is_alive(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct core *self = (struct core *)object;
    (void)args, (void)count;
    return PyBool_FromLong(self->thread && rs_thread_alive(self->thread));
}

/* _signal(number): -ESRCH once it has ended; never to a stranger, since the thread waits for us before it goes. */
static PyObject *send(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct rs_thread *thread = ((struct core *)object)->thread;
    long number = count == 1 ? PyLong_AsLong(args[0]) : 0, answer = -3;
    if (PyErr_Occurred())
        return NULL;
    if (thread && thread->generation == rs_generation()) {
        atomic_fetch_add(&thread->senders, 1);
        if (atomic_load(&thread->done) != RS_DONE)
            answer = rs_syscall3(SYS_tgkill, rs_syscall0(SYS_getpid), thread->tid, number);
        atomic_fetch_sub(&thread->senders, 1);
    }
    return PyLong_FromLong(answer);
}

static PyObject *get_tid(PyObject *object, void *unused)
{
    struct core *self = (struct core *)object;
    (void)unused;
    return PyLong_FromLong(self->thread ? self->thread->tid : 0);
}

static PyObject *get_closed(PyObject *object, void *unused)
{
    struct core *self = (struct core *)object;
    (void)unused;
    return PyBool_FromLong(!self->thread || self->released);
}

static PyObject *get_state(PyObject *object, void *unused)
{
    struct core *self = (struct core *)object;
    (void)unused;
    const char *text = !self->thread ? "not started" : self->released == JOINED ? "joined" : rs_thread_alive(self->thread) ? "running" : "ended";
    return PyUnicode_FromFormat("%s%s", text, self->released == DETACHED ? ", detached" : "");
}

/* ---- types ---- */

static PyMethodDef methods[] = {
    {"_start", start, METH_VARARGS, "_start($self, kind, body, argument, wishes, two_phase, /)\n--\n\nCreate the thread and wait at its gate."},
    RS_METHOD("_open", open_gate, "_open($self, go, /)\n--\n\nThe second phase of the gate."),
    RS_METHOD("_signal", send, "_signal($self, number, /)\n--\n\n`tgkill(2)`: 0 or -errno."),
    {"join", (PyCFunction)(void (*)(void))join, METH_VARARGS | METH_KEYWORDS,
     "join($self, /, timeout=None)\n--\n\nWait for the end of the thread; gives what its body gave, or raises what it raised, with the\n"
     "thread's traceback.  A native body gives the address that it returned (an int from 0 to 2**64-1), a Program its\n"
     "Results.  Python's signal handlers run meanwhile.\n\n"
     "Raises TimeoutError when `timeout` (seconds) is over: the thread can be joined later; ClosedError when it was joined\n"
     "or detached before, BusyError while another thread joins it, RuntimeError from the thread itself."},
    RS_METHOD("detach", detach,
              "detach($self, /)\n--\n\nLet it run on its own: nobody joins it, nobody waits for it at exit, and its exception goes to\n"
              "threading.excepthook.\n\nRaises ClosedError when it was joined or detached before, BusyError while it is being joined."),
    RS_METHOD("close", close_core, "close($self, /)\n--\n\ndetach(), or nothing where it was joined or detached already."),
    RS_METHOD("is_alive", is_alive, "is_alive($self, /)\n--\n\nTrue until the body, and what it left in thread-local data, is gone."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"tid", get_tid, NULL, "The kernel's number of the thread, as gettid() gives it there; kept after its end.", NULL},
    {"closed", get_closed, NULL, "True once it was joined or detached.", NULL},
    {"_state", get_state, NULL, "For the repr.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The compiled part of ThreadHandle."}, {Py_tp_dealloc, dealloc}, {Py_tp_finalize, finalize},
    {Py_tp_methods, methods}, {Py_tp_getset, getters}, {0, NULL},
};

static PyObject *join_all(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)args, (void)count;
    if (rs_thread_exit_wait() < 0)
        return NULL;
    rs_left_check();
    Py_RETURN_NONE;
}

static PyObject *is_detached(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)args, (void)count;
    return PyBool_FromLong(rs_thread_current && atomic_load(&rs_thread_current->fate) == RS_DETACHED);
}

static PyObject *set_hooks(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)count;
    if (count != 2 || !PyDict_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "set_hooks(report, active, /)");
    Py_INCREF(args[0]);
    Py_INCREF(args[1]);
    reporter = args[0];
    rs_thread_active = args[1];
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    RS_METHOD("join_all", join_all, "join_all($module, /)\n--\n\nWait for all threads that are neither joined nor detached."),
    RS_METHOD("is_detached", is_detached, "is_detached($module, /)\n--\n\nTrue in a Python body whose handle was let go."),
    RS_METHOD("set_hooks", set_hooks, "set_hooks($module, report, active, /)\n--\n\nWho gets the outcome of a body that nobody joins; threading._active."),
    {NULL, NULL, 0, NULL},
};

int rs_thread_setup(PyObject *module)
{
    PyType_Spec core = {"rawsys.thread.ThreadCore", sizeof(struct core), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
    PyObject *type = PyType_FromSpec(&core);
    if (!type || PyModule_AddObjectRef(module, "ThreadCore", type) < 0)
        return -1;
    return rs_body_setup(module) < 0 ? -1 : PyModule_AddFunctions(module, functions);
}
