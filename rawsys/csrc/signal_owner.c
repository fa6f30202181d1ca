/* The life of a signal's owner: entering, leaving, and what has to wait until no handler can be at it any more. */
#include "signal_owner.h"

#include <sys/auxv.h>

#include "call.h"
#include "run.h"

#define SYS_rt_sigaction 13
#define SYS_sched_yield 24
#define SYS_madvise 28
#define SYS_sigaltstack 131

/* Changes of who is served happen one after the other: under the GIL without being interrupted, or under this. */
#ifdef Py_GIL_DISABLED
static atomic_flag changing = ATOMIC_FLAG_INIT;
#define LOCK() while (atomic_flag_test_and_set(&changing)) rs_syscall0(SYS_sched_yield)
#define UNLOCK() atomic_flag_clear(&changing)
#else
#define LOCK() ((void)0)
#define UNLOCK() ((void)0)
#endif

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
        rs_syscall3(SYS_madvise, (long)owner->ring.cell, (long)(owner->ring.cells * sizeof *owner->ring.cell), 4 /* MADV_DONTNEED */);
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

void rs_signal_owner_close(struct rs_signal_object *self)
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
    rs_owner_tell(owner);              /* also who watches the eventfd, and holds it: a task of asyncio */
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

size_t rs_signal_kernel_frame(void)
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
    rs_syscall2(SYS_sigaltstack, 0, (long)&stack);
    if ((stack.flags & 2) || stack.size >= owner->block_size + RS_HANDLER_ROOM + rs_signal_kernel_frame())
        return 0;
    PyErr_Format(PyExc_ValueError, "this thread's alternate stack of %lu bytes is too small for the Program's frame: %zu are needed",
                 stack.size, owner->block_size + RS_HANDLER_ROOM + rs_signal_kernel_frame());
    return -1;
}

int rs_signal_owner_enter(struct rs_signal_object *self, int kind, uint64_t mask, int restart, PyObject *extra)
{
    if (kind == RS_PROGRAM && check_program(extra) < 0)
        return -1;
    LOCK();
    sweep();
    struct rs_owner *owner = rs_owner_new();
    UNLOCK();
    if (!owner)
        return PyErr_NoMemory(), -1;
    owner->kind = kind;
    owner->restart = restart;
    if (prepare(owner, extra) == 0 && (kind != RS_PROGRAM || check_frame(owner) == 0)) {
        self->signals = owner->signals = mask;
        int refused;
        LOCK();
        int answer = rs_signal_enter(owner, &refused);
        UNLOCK();
        if (answer == 0) {
            self->owner = owner;
            return 0;
        }
        PyObject *arguments[4] = {PyLong_FromLong(refused), Py_None, Py_None, PyLong_FromLong(sizeof mask)};
        rs_os_error(rs_row(SYS_rt_sigaction), arguments, 4, answer);
        Py_XDECREF(arguments[0]);
        Py_XDECREF(arguments[3]);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    retire(owner);
    PyErr_Restore(type, value, traceback);
    return -1;
}

/* ---- fork ---- */

void rs_signal_owners_after_fork(void)
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
}
