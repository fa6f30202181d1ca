/* SignalOwner, the base type of what takes signals, and the functions of signals that have no owner. */
#include "signal_owner.h"

#include "call.h"
#include "signal_info.h"

#define SYS_eventfd2 290

PyTypeObject *rs_signal_owner_type;

struct rs_owner *rs_signal_owner(PyObject *self)
{
    struct rs_owner *owner = ((struct rs_signal_object *)self)->owner;
    if (!owner)
        rs_complain("ClosedError", "%R can no longer be used", self);
    return owner;
}

/* ---- coming and going ---- */

/* _enter(kind, mask, restart, extra) */
static PyObject *enter(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct rs_signal_object *self = (struct rs_signal_object *)object;
    if (count != 4 || self->owner)
        return PyErr_Format(PyExc_TypeError, "_enter(kind, mask, restart, extra), once");
    int kind = (int)PyLong_AsLong(args[0]);
    uint64_t mask = PyLong_AsUnsignedLong(args[1]);
    int restart = PyErr_Occurred() ? -1 : PyObject_IsTrue(args[2]);
    if (restart < 0 || rs_signal_owner_enter(self, kind, mask, restart, args[3]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *close_method(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    rs_signal_owner_close((struct rs_signal_object *)self);
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

/* The owner, with an eventfd from now on. */
static struct rs_owner *with_eventfd(PyObject *self)
{
    struct rs_owner *owner = rs_signal_owner(self);
    if (!owner)
        return NULL;
    if (owner->kind != RS_FLAG && owner->kind != RS_QUEUE)
        return PyErr_Format(PyExc_TypeError, "%R has no descriptor", self), NULL;
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
    return owner;
}

static PyObject *fileno_of(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_owner *owner = with_eventfd(self);
    return owner ? PyLong_FromLong(atomic_load(&owner->eventfd)) : NULL;
}

static PyObject *news_of(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_owner *owner = with_eventfd(self);
    if (owner)
        Py_INCREF((PyObject *)owner->object[0]);
    return owner ? owner->object[0] : NULL;
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
        rs_signal_owner_close(self);
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
    RS_METHOD("_news", news_of, "_news($self, /)\n--\n\nThe same as an Fd, to hold it over a close: that makes it readable."),
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
    return PyLong_FromSize_t(rs_signal_kernel_frame());
}

static PyObject *after_fork(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    rs_signal_owners_after_fork();
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
