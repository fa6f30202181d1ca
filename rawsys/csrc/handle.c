/* The life of a handle: taken by calls, shut, closed once. */
#include "handle.h"

#include "call.h"

#define SYS_close 3

PyTypeObject *rs_handle_type, *rs_fd_class;

/* Only subclasses written in Python have objects: those are finalised by Python's own machinery, which knows that a
 * warning may bring the object back to life. */
PyObject *rs_handle_allocate(PyTypeObject *type)
{
    if (type == rs_handle_type || type == rs_fdio_type)
        return PyErr_Format(PyExc_TypeError, "%R is a base of owners: use rawsys.Fd", type);
    struct rs_handle *handle = (struct rs_handle *)PyType_GenericAlloc(type, 0);
    if (handle)
        atomic_init(&handle->word, RS_CLOSED | RS_NO_NUMBER);
    return (PyObject *)handle;
}

void rs_handle_hold(struct rs_handle *handle, int number, uint32_t serial)
{
    handle->serial = serial;
    atomic_store(&handle->word, (uint64_t)number | (uint64_t)rs_generation() << 48);
}

/* An owner for a number that the kernel has just given: whoever was noted before it has lost it. */
PyObject *rs_handle_fresh(PyTypeObject *type, int number)
{
    struct rs_handle *handle = (struct rs_handle *)rs_handle_allocate(type);
    _Atomic uint32_t *owner = handle ? rs_owner_of((unsigned)number) : NULL;
    if (!owner) {
        rs_syscall1(SYS_close, number);
        Py_XDECREF((PyObject *)handle);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    uint32_t serial = rs_owner_serial();
    atomic_store(owner, serial);
    rs_handle_hold(handle, number, serial);
    return (PyObject *)handle;
}

PyObject *rs_fd_fresh(int number)
{
    if (RS_UNLIKELY(!rs_fd_class)) {
        PyObject *module = PyImport_ImportModule("rawsys.fd"); /* registers the class */
        Py_XDECREF(module);
        if (!rs_fd_class) {
            rs_syscall1(SYS_close, number);
            return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ImportError, "rawsys.fd registered no class");
        }
    }
    return rs_handle_fresh(rs_fd_class, number);
}

int rs_handle_refuse(struct rs_handle *handle, uint64_t word)
{
    if (word & RS_CLOSED)
        rs_complain("ClosedError", "%R can no longer be used", handle);
    else
        rs_complain("BusyError", "65,535 calls use %R already", handle);
    return -1;
}

int rs_handle_number(struct rs_handle *handle)
{
    uint64_t word = rs_handle_word(handle);
    return word & RS_CLOSED ? rs_handle_refuse(handle, word) : (int)(word & RS_NUMBER_MASK);
}

unsigned rs_handle_calls(uint64_t word)
{
    return RS_GENERATION(word) == rs_generation() ? RS_COUNT(word) : 0;
}

/* Takes the number away from new calls; gives the word as it was before. */
static uint64_t shut(struct rs_handle *handle, int only_if_idle)
{
    for (;;) {
        uint64_t word = rs_handle_word(handle), calls = rs_handle_calls(word);
        if ((word & RS_CLOSED) || (only_if_idle && calls))
            return word;
        uint64_t number = calls ? word & RS_NUMBER_MASK : RS_NO_NUMBER;
        if (rs_handle_replace(handle, word, number | RS_CLOSED | calls << 32 | (uint64_t)rs_generation() << 48))
            return word;
    }
}

static int take_away(struct rs_handle *handle)
{
    uint64_t word = shut(handle, 1);
    if (word & RS_CLOSED)
        return rs_handle_refuse(handle, word);
    if (rs_handle_calls(word)) {
        rs_complain("BusyError", "%R is in use by %d call%s; its number cannot be taken away now", handle, (int)rs_handle_calls(word),
                    rs_handle_calls(word) == 1 ? "" : "s");
        return -1;
    }
    return (int)(word & RS_NUMBER_MASK);
}

int rs_handle_into_raw(struct rs_handle *handle)
{
    int number = take_away(handle);
    if (number >= 0 && handle->serial)
        rs_owner_note((unsigned)number, handle->serial, 0);
    return number;
}

/* The serial goes along: who is noted as the owner stays noted, and what was borrowed stays borrowed. */
int rs_handle_move(struct rs_handle *from, struct rs_handle *to)
{
    int number = take_away(from);
    if (number >= 0)
        rs_handle_hold(to, number, from->serial);
    return number < 0 ? -1 : 0;
}

/* The kernel's close, once: a failed close has released the number all the same (close(2)), and a
 * number that is another owner's by now is not ours to close. */
static long close_number(struct rs_handle *handle, unsigned number)
{
    if (!handle->serial)
        return 0;
    if (!rs_owner_note(number, handle->serial, RS_CLOSING))
        return -9; /* EBADF: somebody closed ours */
    PyThreadState *state = PyEval_SaveThread();
    long answer = rs_syscall1(SYS_close, number);
    rs_owner_note(number, RS_CLOSING, 0); /* not when somebody has got the number meanwhile */
    PyEval_RestoreThread(state);
    return answer;
}

static int raise_close(unsigned number, long answer)
{
    PyObject *argument = PyLong_FromLong((long)number);
    if (argument)
        rs_os_error(rs_row(SYS_close), &argument, 1, answer);
    Py_XDECREF(argument);
    return -1;
}

int rs_handle_close(struct rs_handle *handle)
{
    uint64_t word = shut(handle, 0);
    if ((word & RS_CLOSED) || rs_handle_calls(word))
        return 0; /* released before, or the last running call will do it */
    long answer = close_number(handle, word & RS_NUMBER_MASK);
    return rs_failed(answer) ? raise_close(word & RS_NUMBER_MASK, answer) : 0;
}

/* Closes what was shut while calls were running.  There is no caller to raise to: sys.unraisablehook. */
void rs_handle_close_deferred(struct rs_handle *handle)
{
    PyObject *type, *value, *traceback;
    unsigned number = rs_handle_word(handle) & RS_NUMBER_MASK;
    PyErr_Fetch(&type, &value, &traceback);
    atomic_store(&handle->word, RS_CLOSED | RS_NO_NUMBER);
    long answer = close_number(handle, number);
    if (rs_failed(answer)) {
        raise_close(number, answer);
        PyErr_WriteUnraisable((PyObject *)handle);
    }
    PyErr_Restore(type, value, traceback);
}

/* An owner with a close() of its own (a Pid keeps its unreaped child's pidfd) is released by that. */
static int close_leaked(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (type == rs_handle_type || type == rs_fdio_type || type == rs_fd_class)
        return rs_handle_close((struct rs_handle *)self);
    PyObject *done = PyObject_CallMethod(self, "close", NULL);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Garbage collection without release: warn, with the repr that says what leaked, and release. */
void rs_handle_finalize(PyObject *self)
{
    struct rs_handle *handle = (struct rs_handle *)self;
    PyObject *type, *value, *traceback;
    uint64_t word = rs_handle_word(handle);
    PyErr_Fetch(&type, &value, &traceback);
    if ((word & RS_CLOSED) && (word & RS_NUMBER_MASK) != RS_NO_NUMBER) {
        rs_handle_close_deferred(handle); /* shut in the parent while a thread used it that does not exist here */
    } else if (!(word & RS_CLOSED) && handle->serial) {
        if (PyErr_ResourceWarning(self, 1, "unclosed %R", self) < 0)
            PyErr_WriteUnraisable(self);
        if (close_leaked(self) < 0) {
            PyErr_WriteUnraisable(self);
            /* A signal handler may have raised in a close() that is Python.  A finaliser runs once: what this leaves open
             * stays open, so it is tried again. */
            if (!(rs_handle_word(handle) & RS_CLOSED) && close_leaked(self) < 0)
                PyErr_WriteUnraisable(self);
        }
    }
    PyErr_Restore(type, value, traceback);
}
