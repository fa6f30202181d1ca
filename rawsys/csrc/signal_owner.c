/* SignalOwner: installing, leaving, and what of an owner has to wait until no handler can be at it. */
#include "signal_owner.h"

#include <sys/auxv.h>

#include "call.h"
#include "run.h"
#include "signal_info.h"

#define SYS_sched_yield 24
#define SYS_eventfd2 290

PyTypeObject *rs_signal_owner_type;

/* Changes of who is served happen one after the other: under the GIL without being interrupted, or under this. */
#ifdef Py_GIL_DISABLED
static atomic_flag changing = ATOMIC_FLAG_INIT;
#define LOCK() while (atomic_flag_test_and_set(&changing)) rs_syscall0(SYS_sched_yield)
#define UNLOCK() atomic_flag_clear(&changing)
#else
#define LOCK() ((void)0)
#define UNLOCK() ((void)0)
#endif

struct rs_owner *rs_signal_owner(PyObject *self)
{
    struct rs_owner *owner = ((struct rs_signal_object *)self)->owner;
    if (!owner)
        rs_complain("ClosedError", "%R can no longer be used", self);
    return owner;
}

/* ---- what goes when no handler is there any more ---- */

/* Frees what a retired owner held, if it is quiet now. */
static int release(struct rs_owner *owner)
{
    if (owner->state != RS_RETIRED || atomic_load(&owner->waiters) || !rs_owner_quiet(owner))
        return 0;
    PyObject *eventfd = owner->object[0], *program = owner->object[1];
    struct rs_bound *bound = owner->bound;
    owner->object[0] = owner->object[1] = NULL;
    owner->bound = NULL;
    if (bound) {
        rs_run_end((struct rs_program_object *)program, bound);
        PyMem_Free(bound->block);
        PyMem_Free(bound);
    }
    if (owner->ring.cell && owner->ring.cells > 4096) /* a large ring is not kept in memory, only its addresses are */
        rs_syscall3(28, (long)owner->ring.cell, (long)(owner->ring.cells * sizeof *owner->ring.cell), 4);
    owner->state = RS_FREE;
    if (eventfd) {
        PyObject *none = PyObject_CallMethod(eventfd, "close", NULL);
        if (!none)
            PyErr_WriteUnraisable(eventfd);
        Py_XDECREF(none);
        Py_DECREF(eventfd);
    }
    Py_XDECREF(program);
    return 1;
}

static void sweep(void)
{
    for (struct rs_owner *owner = rs_owners; owner; owner = owner->next)
        release(owner);
}

#define PATIENCE 1000

/* Most handlers are gone in less than a microsecond.  One may be held up (a Program that writes to a full pipe): then
 * what it uses stays until somebody comes or leaves after it. */
static void retire(struct rs_owner *owner)
{
    owner->state = RS_RETIRED;
    for (int i = 0; i < PATIENCE && !rs_owner_quiet(owner); i++) {
        PyThreadState *state = PyEval_SaveThread();
        rs_syscall0(SYS_sched_yield);
        PyEval_RestoreThread(state);
    }
    sweep();
}

static void close_owner(struct rs_signal_object *self)
{
    struct rs_owner *owner = self->owner;
    if (!owner)
        return;
    self->owner = NULL;
    LOCK();
    rs_signal_leave(owner);
    UNLOCK();
    self->count = atomic_load(&owner->count) & RS_COUNTED;
    self->failed = atomic_load(&owner->failed);
    self->lost = owner->kind == RS_QUEUE ? atomic_load(&owner->ring.lost) : atomic_load(&owner->skipped);
    self->flag = atomic_load(&owner->word);
    atomic_fetch_add(&owner->word, 1); /* who waits in another thread finds out */
    rs_syscall3(202, (long)&owner->word, 1 | 128, INT32_MAX);
    retire(owner);
}

/* ---- installing ---- */

/* `extra`: the capacity of a queue, the Program of an action. */
static int prepare(struct rs_owner *owner, PyObject *extra)
{
    if (owner->kind == RS_QUEUE) {
        int answer = rs_ring_make(&owner->ring, (uint64_t)PyLong_AsUnsignedLong(extra));
        if (answer < 0)
            PyErr_NoMemory();
        return answer;
    }
    if (owner->kind != RS_PROGRAM)
        return 0;
    struct rs_program_object *program = (struct rs_program_object *)extra;
    struct rs_bound *bound = PyMem_Calloc(1, sizeof *bound);
    if (!bound)
        return PyErr_NoMemory(), -1;
    if (rs_run_begin(program, NULL, bound) < 0) {
        PyMem_Free(bound);
        return -1;
    }
    owner->bound = bound;
    Py_INCREF(owner->object[1] = extra);
    owner->program = program->program;
    owner->frame = bound->frame;
    owner->block = bound->block;
    owner->block_size = bound->block_size;
    owner->buffers = program->buffers;
    return 0;
}

static int check_program(PyObject *extra)
{
    if (!PyObject_TypeCheck(extra, rs_program_type))
        return PyErr_Format(PyExc_TypeError, "on_signal() takes a Program, not %R", Py_TYPE(extra)), -1;
    struct rs_program_object *program = (struct rs_program_object *)extra;
    if (program->parameters)
        PyErr_Format(PyExc_ValueError, "a Program for a signal has no parameters; this one has %u", program->parameters);
    else if (program->program->count > RS_HANDLER_STEPS)
        PyErr_Format(PyExc_ValueError, "a Program for a signal has at most %d steps, not %u", RS_HANDLER_STEPS, program->program->count);
    return PyErr_Occurred() ? -1 : 0;
}

/* What the kernel itself puts on the stack, which grows with the processor's registers (AT_MINSIGSTKSZ). */
static size_t kernel_frame(void)
{
    unsigned long least = getauxval(51);
    return least ? least : 2048;
}

static int check_frame(const struct rs_owner *owner)
{
    struct { unsigned long sp; int flags; unsigned long size; } stack = {0};
    if (owner->block_size > RS_HANDLER_FRAME) {
        PyErr_Format(PyExc_ValueError, "a Program for a signal has a frame of at most %d bytes (buffers and answers), not %zu",
                     RS_HANDLER_FRAME, owner->block_size);
        return -1;
    }
    rs_syscall2(131, 0, (long)&stack); /* sigaltstack */
    if ((stack.flags & 2) || stack.size >= owner->block_size + RS_HANDLER_ROOM + kernel_frame())
        return 0;
    PyErr_Format(PyExc_ValueError, "this thread's alternate stack of %lu bytes is too small for the Program's frame: %zu are needed",
                 stack.size, owner->block_size + RS_HANDLER_ROOM + kernel_frame());
    return -1;
}

/* _enter(kind, mask, restart, extra) */
static PyObject *enter(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct rs_signal_object *self = (struct rs_signal_object *)object;
    if (count != 4 || self->owner)
        return PyErr_Format(PyExc_TypeError, "_enter(kind, mask, restart, extra), once");
    int kind = (int)PyLong_AsLong(args[0]);
    uint64_t mask = PyLong_AsUnsignedLong(args[1]);
    if (PyErr_Occurred() || (kind == RS_PROGRAM && check_program(args[3]) < 0))
        return NULL;
    LOCK();
    sweep();
    struct rs_owner *owner = rs_owner_new();
    UNLOCK();
    if (!owner)
        return PyErr_NoMemory();
    owner->kind = kind;
    owner->restart = PyObject_IsTrue(args[2]);
    if (prepare(owner, args[3]) == 0 && (kind != RS_PROGRAM || check_frame(owner) == 0)) {
        self->signals = owner->signals = mask;
        LOCK();
        int answer = rs_signal_enter(owner);
        UNLOCK();
        if (answer == 0) {
            self->owner = owner;
            Py_RETURN_NONE;
        }
        PyObject *arguments[4] = {args[1], Py_None, Py_None, args[2]};
        rs_os_error(rs_row(13), arguments, 4, answer);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    retire(owner);
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static PyObject *close_method(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    close_owner((struct rs_signal_object *)self);
    Py_RETURN_NONE;
}

static PyObject *enter_with(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (!rs_signal_owner(self))
        return NULL;
    Py_INCREF(self);
    return self;
}

static PyObject *reduce(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return PyErr_Format(PyExc_TypeError, "%R cannot be copied or pickled: one owner for each resource", self);
}

/* ---- the eventfd ---- */

static PyObject *fileno_of(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_owner *owner = rs_signal_owner(self);
    if (!owner)
        return NULL;
    if (owner->kind != RS_FLAG && owner->kind != RS_QUEUE)
        return PyErr_Format(PyExc_TypeError, "%R has no descriptor", self);
    if (atomic_load(&owner->eventfd) >= 0 && owner->generation != rs_generation())
        rs_owner_after_fork(owner); /* the child of a naked fork, where no hook has run */
    if (atomic_load(&owner->eventfd) < 0) {
        long number = rs_syscall2(SYS_eventfd2, 0, 02000000 | 04000); /* EFD_CLOEXEC | EFD_NONBLOCK */
        if (rs_failed(number)) {
            PyObject *arguments[2] = {PyLong_FromLong(0), PyLong_FromLong(02004000)};
            rs_os_error(rs_row(SYS_eventfd2), arguments, 2, number);
            Py_XDECREF(arguments[0]);
            Py_XDECREF(arguments[1]);
            return NULL;
        }
        if (!(owner->object[0] = rs_fd_fresh((int)number)))
            return NULL;
        owner->generation = rs_generation();
        atomic_store(&owner->eventfd, (int)number);
        atomic_store(&owner->told, 1); /* what came before it was there is told now */
        rs_owner_settle(owner);
    }
    return PyLong_FromLong(atomic_load(&owner->eventfd));
}

/* ---- state ---- */

static PyObject *closed(PyObject *self, void *closure)
{
    return PyBool_FromLong(!((struct rs_signal_object *)self)->owner);
}

static PyObject *mask_of(PyObject *self, void *closure)
{
    return PyLong_FromUnsignedLong(((struct rs_signal_object *)self)->signals);
}

static PyObject *installed(PyObject *self, void *closure)
{
    struct rs_owner *owner = ((struct rs_signal_object *)self)->owner;
    int all = owner != NULL;
    for (int signal = 1; owner && signal < RS_SIGNALS; signal++)
        if (owner->signals >> (signal - 1) & 1)
            all &= rs_signal_installed(signal);
    return PyBool_FromLong(all);
}

enum { COUNT, LOST, FAILED };

static PyObject *number(PyObject *object, void *closure)
{
    struct rs_signal_object *self = (struct rs_signal_object *)object;
    struct rs_owner *owner = self->owner;
    int which = (int)(uintptr_t)closure;
    if (which == COUNT)
        return PyLong_FromUnsignedLong(owner ? atomic_load(&owner->count) & RS_COUNTED : self->count);
    if (which == FAILED)
        return PyLong_FromUnsignedLong(owner ? atomic_load(&owner->failed) : self->failed);
    if (!owner)
        return PyLong_FromUnsignedLong(self->lost);
    return PyLong_FromUnsignedLong(owner->kind == RS_QUEUE ? atomic_load(&owner->ring.lost) : atomic_load(&owner->skipped));
}

static void finalize(PyObject *object)
{
    struct rs_signal_object *self = (struct rs_signal_object *)object;
    PyObject *type, *value, *traceback;
    if (!self->owner)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyErr_ResourceWarning(object, 1, "unclosed %R", object) < 0)
        PyErr_WriteUnraisable(object);
    if (Py_IsInitialized())
        close_owner(self);
    else
        self->owner = NULL; /* the interpreter is being taken down: a signal that is still on its way must not find SIG_DFL */
    PyErr_Restore(type, value, traceback);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    RS_METHOD("_enter", enter, "_enter($self, kind, mask, restart, extra, /)\n--\n\nTake the signals."),
    RS_METHOD("_fileno", fileno_of, "_fileno($self, /)\n--\n\nThe eventfd, made when first asked for."),
    RS_METHOD("close", close_method,
              "close($self, /)\n--\n\nLeave: these signals are not served here any more; doing it again does nothing.\n\n"
              "The last owner of a signal puts the action back that was there before the first, bit for bit, unless somebody\n"
              "else has installed another one meanwhile."),
    RS_METHOD("__enter__", enter_with, "__enter__($self, /)\n--\n\nThe owner itself; ClosedError when it is closed."),
    RS_METHOD("__exit__", close_method, "__exit__($self, /, *exception)\n--\n\nLeaves."),
    RS_METHOD("__reduce__", reduce, "__reduce__($self, /)\n--\n\nRefused: an owner cannot be copied or pickled."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"closed", closed, NULL, "True after close().", NULL},
    {"installed", installed, NULL, "True while the kernel brings all of the signals here; False after somebody else took one.", NULL},
    {"_mask", mask_of, NULL, "The kernel's mask of the signals.", NULL},
    {"_count", number, NULL, "Deliveries or runs.", (void *)COUNT},
    {"_lost", number, NULL, "Deliveries that found no room.", (void *)LOST},
    {"_failed", number, NULL, "Runs in which a step failed.", (void *)FAILED},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Base of what is served signals by a handler in C."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_finalize, finalize},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "rawsys.signals.SignalOwner",
    .basicsize = sizeof(struct rs_signal_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

/* ---- functions ---- */

static PyObject *restorer(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return PyLong_FromUnsignedLong((unsigned long)(uintptr_t)rs_restore_rt);
}

static PyObject *handler_address(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return PyLong_FromUnsignedLong((unsigned long)rs_signal_handler());
}

static PyObject *minimum_stack(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return PyLong_FromSize_t(kernel_frame());
}

/* What a forked child has to do before it goes on. */
static PyObject *after_fork(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    for (struct rs_owner *owner = rs_owners; owner; owner = owner->next) {
        atomic_store(&owner->waiters, 0); /* those threads do not exist here */
        if (owner->state != RS_LIVE)
            continue;
        rs_owner_after_fork(owner);
        struct rs_program_object *program = owner->object[1];
        struct rs_bound *bound = owner->bound;
        for (uint32_t i = 0; bound && i < bound->counted; i++) /* counts of the parent's calls are void here */
            if (rs_handle_take(program->handle[i], &bound->generation[i]) < 0)
                PyErr_Clear();
    }
    sweep();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    RS_METHOD("restorer", restorer, "restorer($module, /)\n--\n\nThe address that handlers return to."),
    RS_METHOD("handler", handler_address, "handler($module, /)\n--\n\nThe address of the handler that serves the owners."),
    RS_METHOD("minimum_stack", minimum_stack, "minimum_stack($module, /)\n--\n\nWhat the kernel itself puts on a handler's stack, in bytes."),
    RS_METHOD("after_fork", after_fork, "after_fork($module, /)\n--\n\nIn a forked child: eventfds and counts of its own."),
    {NULL, NULL, 0, NULL},
};

int rs_signals_setup(PyObject *module)
{
    rs_signal_owner_type = (PyTypeObject *)PyType_FromSpec(&spec);
    if (!rs_signal_owner_type || PyModule_AddObjectRef(module, "SignalOwner", (PyObject *)rs_signal_owner_type) < 0)
        return -1;
    if (rs_info_setup(module) < 0 || rs_signal_news_setup(module) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
