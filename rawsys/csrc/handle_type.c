/* Handle as Python sees it. */
#include "handle.h"

#include "call.h"

#define SYS_fcntl 72

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* ---- methods ---- */

static const struct rs_row adoption = {
    .name = "adopt", .signature = "Fd(number, /)", .arity = 1,
    .arg = {{.name = "number", .kind = RS_NUMBER, .bits = 32}},
};

/* A C int, as everywhere; what is negative is for the caller or the kernel to refuse. */
static int convert_c_int(PyObject *object, const char *name, int *number)
{
    struct rs_call call = {.row = &adoption};
    if (rs_convert(&call, 0, object) < 0)
        return -1;
    *number = (int)call.word[0];
    if (call.word[0] == *number)
        return 0;
    PyErr_Format(PyExc_OverflowError, "%s: descriptor %ld is outside a C int", name, call.word[0]);
    return -1;
}

static int one_number(PyObject *object, const char *name)
{
    int number;
    if (convert_c_int(object, name, &number) < 0)
        return -1;
    if (number >= 0 && number != (int)RS_NO_NUMBER)
        return number;
    PyErr_Format(PyExc_ValueError, "%s: a descriptor is a number from 0 to %d, not %d", name, (int)RS_NO_NUMBER - 1, number);
    return -1;
}

static void refuse_fcntl(PyObject *fd, long command, long answer)
{
    PyObject *argument[3] = {fd, PyLong_FromLong(command), PyLong_FromLong(0)};
    rs_os_error(rs_row(SYS_fcntl), argument, 3, answer);
    Py_XDECREF(argument[1]);
    Py_XDECREF(argument[2]);
}

static int open_number(PyObject *object, const char *name)
{
    int number;
    if (convert_c_int(object, name, &number) < 0)
        return -1;
    long answer = rs_syscall2(SYS_fcntl, number, 1 /* F_GETFD */);
    if (!rs_failed(answer))
        return number;
    refuse_fcntl(object, 1, answer);
    return -1;
}

static PyObject *handle_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *object;
    static char *names[] = {"", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O", names, &object))
        return NULL;
    int number = open_number(object, "adopt");
    _Atomic uint32_t *owner = number < 0 ? NULL : rs_owner_of((unsigned)number);
    struct rs_handle *handle = owner ? (struct rs_handle *)rs_handle_allocate(type) : NULL;
    if (!handle)
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    uint32_t serial = rs_owner_serial();
    if (!rs_owner_note((unsigned)number, 0, serial) && !rs_owner_note((unsigned)number, RS_CLOSING, serial)) {
        rs_complain("BusyError", "descriptor %d has an owner already; use borrow(%d), or dup() it", number, number);
        Py_DECREF(handle);
        return NULL;
    }
    rs_handle_hold(handle, number, serial);
    return (PyObject *)handle;
}

static PyObject *handle_borrow(PyObject *class, PyObject *const *args, Py_ssize_t count)
{
    if (count != 1)
        return PyErr_Format(PyExc_TypeError, "borrow(number, /) takes 1 argument, got %zd", count);
    int number = open_number(args[0], "borrow");
    struct rs_handle *handle = number < 0 ? NULL : (struct rs_handle *)rs_handle_allocate((PyTypeObject *)class);
    if (handle)
        rs_handle_hold(handle, number, 0);
    return (PyObject *)handle;
}

/* For the storeys above: a number that the kernel has given a moment ago. */
static PyObject *handle_fresh(PyObject *class, PyObject *const *args, Py_ssize_t count)
{
    int number = count == 1 ? one_number(args[0], "fresh") : -1;
    if (number < 0)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "_fresh(number, /) takes 1 argument, got %zd", count);
    return rs_handle_fresh((PyTypeObject *)class, number);
}

static PyObject *handle_owned(PyObject *class, PyObject *const *args, Py_ssize_t count)
{
    (void)class;
    int number = count == 1 ? one_number(args[0], "owned") : -1;
    if (number < 0)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "_owned(number, /) takes 1 argument, got %zd", count);
    _Atomic uint32_t *owner = rs_owner_of((unsigned)number);
    return PyBool_FromLong(owner && atomic_load(owner) != 0);
}

static int no_arguments(PyObject *const *args, Py_ssize_t count, const char *name)
{
    (void)args;
    if (count)
        PyErr_Format(PyExc_TypeError, "%s takes no arguments, got %zd", name, count);
    return count ? -1 : 0;
}

static PyObject *handle_fileno(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (no_arguments(args, count, "fileno()") < 0)
        return NULL;
    int number = rs_handle_number((struct rs_handle *)self);
    return number < 0 ? NULL : PyLong_FromLong(number);
}

static PyObject *handle_into_raw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (no_arguments(args, count, "into_raw()") < 0)
        return NULL;
    int number = rs_handle_into_raw((struct rs_handle *)self);
    return number < 0 ? NULL : PyLong_FromLong(number);
}

/* A second number for what calls are still using: they keep the first one, and the last of them closes it. */
static int copy_of_used(struct rs_handle *handle)
{
    unsigned generation = 0;
    int number = rs_handle_take(handle, &generation);
    if (number < 0)
        return -1;
    long copy = rs_syscall3(SYS_fcntl, number, 1030 /* F_DUPFD_CLOEXEC */, 0);
    if (rs_failed(copy))
        refuse_fcntl((PyObject *)handle, 1030, copy);
    else if (rs_handle_close(handle) < 0)
        PyErr_Clear(); /* nothing is closed while we count as a call */
    rs_handle_drop(handle, generation);
    return rs_failed(copy) ? -1 : (int)copy;
}

/* For a child that is let go.  In Python there are several calls between the number and its next owner, and after each of
 * them a signal handler may raise: the number would be lost, and the child a zombie for good. */
static PyObject *handle_pass_on(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_handle *handle = (struct rs_handle *)self;
    if (count != 2 || !PyType_Check(args[0]) || !PyList_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "_pass_on(type, list, /) takes a type and a list");
    int used = rs_handle_calls(rs_handle_word(handle)) != 0;
    int number = used ? copy_of_used(handle) : rs_handle_into_raw(handle);
    PyObject *next = number < 0 ? NULL : rs_handle_fresh((PyTypeObject *)args[0], number);
    int done = next ? PyList_Append(args[1], next) : -1;
    Py_XDECREF(next);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

static int move_one(PyObject *owner, PyObject *list)
{
    if (!rs_handle_check(owner))
        return PyErr_Format(PyExc_TypeError, "what is moved is the owner of a descriptor, not %R", owner), -1;
    PyObject *fresh = rs_handle_allocate(Py_TYPE(owner));
    int failed = !fresh || PyList_Append(list, fresh) < 0;
    Py_XDECREF(fresh);
    return failed ? -1 : rs_handle_move((struct rs_handle *)owner, (struct rs_handle *)fresh);
}

/* All or none: what was moved before one that cannot be is moved back, which nobody can be in the way of. */
static PyObject *handle_move_all(PyObject *class, PyObject *const *args, Py_ssize_t count)
{
    (void)class;
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        if (move_one(args[i], list) == 0)
            continue;
        while (i--)
            rs_handle_move((struct rs_handle *)PyList_GetItem(list, i), (struct rs_handle *)args[i]);
        Py_CLEAR(list);
    }
    return list;
}

static PyObject *handle_close(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (no_arguments(args, count, "close()") < 0)
        return NULL;
    if (rs_handle_close((struct rs_handle *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *handle_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)count;
    return handle_close(self, args, 0);
}

static PyObject *handle_enter(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (no_arguments(args, count, "__enter__()") < 0)
        return NULL;
    if (rs_handle_number((struct rs_handle *)self) < 0)
        return NULL;
    Py_INCREF(self);
    return self;
}

/* ---- a call in flight for the storeys above ---- */

struct use {
    PyObject_HEAD
    struct rs_handle *handle; /* NULL once it is released */
    unsigned generation;
    int number;
};

static PyTypeObject *use_type;

static PyObject *handle_use(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    unsigned generation = 0;
    if (no_arguments(args, count, "_use()") < 0)
        return NULL;
    int number = rs_handle_take((struct rs_handle *)self, &generation);
    struct use *use = number < 0 ? NULL : (struct use *)PyType_GenericAlloc(use_type, 0);
    if (use) {
        Py_INCREF(self);
        use->handle = (struct rs_handle *)self;
        use->generation = generation;
        use->number = number;
    } else if (number >= 0) {
        rs_handle_drop((struct rs_handle *)self, generation);
    }
    return (PyObject *)use;
}

static void end_use(struct use *use)
{
    struct rs_handle *handle = use->handle;
    use->handle = NULL;
    if (handle) {
        rs_handle_drop(handle, use->generation);
        Py_DECREF(handle);
    }
}

static PyObject *use_release(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (no_arguments(args, count, "release()") < 0)
        return NULL;
    end_use((struct use *)self);
    Py_RETURN_NONE;
}

static void use_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    end_use((struct use *)self);
    release(self);
    Py_DECREF(type);
}

static PyObject *use_number(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((struct use *)self)->number);
}

static PyMethodDef use_methods[] = {
    RS_METHOD("release", use_release, "release($self, /)\n--\n\nThe call is over; doing it again does nothing."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef use_getters[] = {
    {"number", use_number, NULL, "The descriptor, which stays open until release().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot use_slots[] = {
    {Py_tp_doc, "A call in flight with a Handle whose number stands in memory, where no door sees it."},
    {Py_tp_dealloc, use_dealloc},
    {Py_tp_methods, use_methods},
    {Py_tp_getset, use_getters},
    {0, NULL},
};

static PyType_Spec use_spec = {
    .name = "rawsys.fd.Use",
    .basicsize = sizeof(struct use),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = use_slots,
};

/* ---- */

static PyObject *handle_reduce(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args, (void)count;
    return PyErr_Format(PyExc_TypeError, "%R cannot be copied or pickled: one owner for each resource; use dup()", self);
}

static PyObject *handle_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong((rs_handle_word((struct rs_handle *)self) & RS_CLOSED) != 0);
}

static PyObject *handle_repr(PyObject *self)
{
    struct rs_handle *handle = (struct rs_handle *)self;
    uint64_t word = rs_handle_word(handle);
    unsigned number = word & RS_NUMBER_MASK, calls = rs_handle_calls(word);
    PyObject *name = PyType_GetName(Py_TYPE(self)), *text;
    if (!name)
        return NULL;
    if ((word & RS_CLOSED) && number == RS_NO_NUMBER)
        text = PyUnicode_FromFormat("<%U closed>", name);
    else if (word & RS_CLOSED)
        text = PyUnicode_FromFormat("<%U %u closed, after %u call%s>", name, number, calls, calls == 1 ? "" : "s");
    else
        text = PyUnicode_FromFormat("<%U %u%s>", name, number, handle->serial ? "" : " borrowed");
    Py_DECREF(name);
    return text;
}

static PyMethodDef methods[] = {
    {"borrow", (PyCFunction)(void (*)(void))handle_borrow, METH_FASTCALL | METH_CLASS,
     "borrow($type, number, /)\n--\n\nUse a descriptor that somebody else owns: it is never closed from here.\n\n"
     "Raises OSError (EBADF) when the number is not open."},
    {"_fresh", (PyCFunction)(void (*)(void))handle_fresh, METH_FASTCALL | METH_CLASS,
     "_fresh($type, number, /)\n--\n\nOwn a number that the kernel has just given."},
    {"_owned", (PyCFunction)(void (*)(void))handle_owned, METH_FASTCALL | METH_CLASS,
     "_owned($type, number, /)\n--\n\nTrue when an owner in this process holds that number."},
    {"_move_all", (PyCFunction)(void (*)(void))handle_move_all, METH_FASTCALL | METH_CLASS,
     "_move_all($type, /, *owners)\n--\n\nNew objects of the same classes that hold what these held: all of it, or none."},
    RS_METHOD("_use", handle_use, "_use($self, /)\n--\n\nCount a call in flight until the object that it gives is released or gone; its `number` stays open."),
    RS_METHOD("fileno", handle_fileno,
              "fileno($self, /)\n--\n\nThe descriptor as an int, for select and other libraries; it stays owned here.\n\n"
              "Raises ClosedError after close() or into_raw()."),
    RS_METHOD("into_raw", handle_into_raw,
              "into_raw($self, /)\n--\n\nGive the descriptor away: the number is the caller's to close.\n\n"
              "Raises BusyError while a call in another thread uses it, ClosedError when it is closed."),
    RS_METHOD("_pass_on", handle_pass_on,
              "_pass_on($self, cls, kept, /)\n--\n\nGive the number to a new owner of that type, appended to the list, in one step."),
    RS_METHOD("close", handle_close,
              "close($self, /)\n--\n\n`close(2)`: release the descriptor; doing it again does nothing.\n\n"
              "New calls are refused at once.  While another thread is inside a call with it, that call goes on\n"
              "(a blocked reader is not woken) and the last one closes the number.\n\n"
              "Raises OSError when the kernel reports an error (EIO, ENOSPC, EINTR); the descriptor is gone all the same."),
    RS_METHOD("__enter__", handle_enter, "__enter__($self, /)\n--\n\nThe owner itself; ClosedError when it is closed."),
    RS_METHOD("__exit__", handle_exit, "__exit__($self, /, *exception)\n--\n\nCloses."),
    RS_METHOD("__reduce__", handle_reduce, "__reduce__($self, /)\n--\n\nRefused: an owner cannot be copied or pickled."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
    {"closed", handle_closed, NULL, "True after close() or into_raw().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Handle(number, /)\n--\n\nAn owned descriptor: the base of everything here that holds one.\n\n"
                "Adopts an open number.  Every call here takes a Handle where it takes a descriptor, and counts the calls\n"
                "in flight, so that the number is never closed under a call in another thread.\n\n"
                "Raises OSError (EBADF) when the number is not open, BusyError when an owner in this process holds it."},
    {Py_tp_new, handle_new},
    {Py_tp_dealloc, dealloc},
    {Py_tp_finalize, rs_handle_finalize},
    {Py_tp_repr, handle_repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "rawsys.fd.Handle",
    .basicsize = sizeof(struct rs_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

static PyObject *register_fd(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)count;
    Py_INCREF(args[0]);
    rs_fd_class = (PyTypeObject *)args[0];
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    RS_METHOD("register_fd", register_fd, "register_fd($module, cls, /)\n--\n\nThe class that checked calls give new descriptors to."),
    {NULL, NULL, 0, NULL},
};

int rs_handle_setup(PyObject *module)
{
    if (rs_generation_setup() < 0) {
        PyErr_SetString(PyExc_ImportError, "rawsys: the kernel refuses mmap or MADV_WIPEONFORK (Linux 4.14)");
        return -1;
    }
    rs_handle_type = (PyTypeObject *)PyType_FromSpec(&spec);
    use_type = (PyTypeObject *)PyType_FromSpec(&use_spec);
    if (!rs_handle_type || !use_type || PyModule_AddObjectRef(module, "Handle", (PyObject *)rs_handle_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
