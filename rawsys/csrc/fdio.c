/* FdIO: reading and writing with an owned descriptor at the cost of a built-in; Fd adds the rest in Python.
 *
 * The owned storey retries on EINTR after Python's signal handlers have run (PEP 475); the descriptor
 * stays counted meanwhile, so that a handler that closes it does not free the number under us.
 */
#include "call.h"
#include "fdio.h"

#include <string.h>

#define SYS_read 0
#define SYS_write 1
#define SYS_pread64 17
#define SYS_pwrite64 18

PyTypeObject *rs_fdio_type;

#define EINTR_ANSWER -4

/* One call on a counted descriptor, without the GIL, again after EINTR; -EINTR means that a handler raised. */
static long transfer(long number, int fd, const void *memory, size_t length, long offset)
{
    for (;;) {
        PyThreadState *state = PyEval_SaveThread();
        long answer = rs_syscall4(number, fd, (long)memory, (long)length, offset);
        PyEval_RestoreThread(state);
        if (RS_LIKELY(answer != EINTR_ANSWER) || PyErr_CheckSignals() < 0)
            return answer;
    }
}

/* The exception for a failed transfer; the arguments are shown as the kernel's call has them. */
static PyObject *failed(long number, long answer, PyObject *self, PyObject *memory, PyObject *length, PyObject *offset)
{
    const struct rs_row *row = rs_row(number);
    PyObject *args[4] = {self, memory, length, offset};
    if (!PyErr_Occurred())
        rs_os_error(row, args, row->arity, answer);
    return NULL;
}

static int size_argument(PyObject *object, const char *name, size_t *size)
{
    Py_ssize_t value = PyBool_Check(object) ? -1 : PyNumber_AsSsize_t(object, PyExc_OverflowError);
    if (value >= 0)
        return *size = (size_t)value, 0;
    if (PyBool_Check(object))
        PyErr_Format(PyExc_TypeError, "%s: a number of bytes must be an int, not bool", name);
    else if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "%s: a number of bytes cannot be negative, got %zd", name, value);
    return -1;
}

static int offset_argument(PyObject *object, const char *name, long *offset)
{
    if (!PyBool_Check(object) && PyIndex_Check(object)) {
        PyObject *number = PyNumber_Index(object);
        *offset = number ? PyLong_AsLong(number) : -1;
        Py_XDECREF(number);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyErr_Format(PyExc_TypeError, "%s: an offset must be an int, not %R", name, Py_TYPE(object));
    return -1;
}

/* A small answer goes through the stack: a bytes object cannot be cut in the limited API, only copied. */
#define ON_STACK 2048

static PyObject *read_bytes(PyObject *self, long call, size_t size, long offset, PyObject *size_object, PyObject *offset_object)
{
    struct rs_handle *handle = (struct rs_handle *)self;
    char small[ON_STACK];
    PyObject *large = size > ON_STACK ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size) : NULL;
    unsigned generation = 0;
    int fd = size > ON_STACK && !large ? -1 : rs_handle_take(handle, &generation);
    if (fd < 0) {
        Py_XDECREF(large);
        return NULL;
    }
    char *memory = large ? PyBytes_AsString(large) : small;
    long answer = transfer(call, fd, memory, size, offset);
    rs_handle_drop(handle, generation);
    PyObject *result;
    if (rs_failed(answer))
        result = failed(call, answer, self, Py_None, size_object, offset_object);
    else if (large && (size_t)answer == size)
        return large;
    else
        result = PyBytes_FromStringAndSize(memory, answer);
    Py_XDECREF(large);
    return result;
}

static PyObject *fdio_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    size_t size;
    if (count != 1)
        return PyErr_Format(PyExc_TypeError, "read(n, /) takes 1 argument, got %zd", count);
    return size_argument(args[0], "read", &size) < 0 ? NULL : read_bytes(self, SYS_read, size, 0, args[0], NULL);
}

static PyObject *fdio_pread(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    size_t size;
    long offset;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "pread(n, offset, /) takes 2 arguments, got %zd", count);
    if (size_argument(args[0], "pread", &size) < 0 || offset_argument(args[1], "pread", &offset) < 0)
        return NULL;
    return read_bytes(self, SYS_pread64, size, offset, args[0], args[1]);
}

/* read into, write from: the memory of a buffer, whole. */
static PyObject *move(PyObject *self, long number, PyObject *buffer, long offset, PyObject *offset_object)
{
    struct rs_call memory = {.row = rs_row(number)};
    if (rs_convert(&memory, 0, self) < 0)
        return NULL;
    if (rs_convert(&memory, 1, buffer) < 0 || memory.length[1] == RS_UNMEASURED) {
        if (!PyErr_Occurred())
            rs_wrong_type(memory.row, 1, "a buffer", buffer);
        rs_finish(&memory);
        return NULL;
    }
    long answer = transfer(number, (int)memory.word[0], (void *)memory.word[1], memory.length[1], offset);
    PyObject *length = rs_failed(answer) ? PyLong_FromSize_t(memory.length[1]) : NULL;
    rs_finish(&memory);
    PyObject *result = rs_failed(answer) ? failed(number, answer, self, buffer, length, offset_object) : PyLong_FromLong(answer);
    Py_XDECREF(length);
    return result;
}

static PyObject *fdio_readinto(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 1)
        return PyErr_Format(PyExc_TypeError, "readinto(buffer, /) takes 1 argument, got %zd", count);
    return move(self, SYS_read, args[0], 0, NULL);
}

static PyObject *fdio_write(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 1)
        return PyErr_Format(PyExc_TypeError, "write(data, /) takes 1 argument, got %zd", count);
    return move(self, SYS_write, args[0], 0, NULL);
}

static PyObject *fdio_pwrite(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    long offset;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "pwrite(data, offset, /) takes 2 arguments, got %zd", count);
    return offset_argument(args[1], "pwrite", &offset) < 0 ? NULL : move(self, SYS_pwrite64, args[0], offset, args[1]);
}

static PyMethodDef methods[] = {
    RS_METHOD("read", fdio_read,
              "read($self, n, /)\n--\n\n`read(2)`: at most `n` bytes; b\"\" is the end of the file.\n\n"
              "May give fewer than asked.  Retried after a signal whose Python handler did not raise.\n"
              "Raises BlockingIOError where nothing is there and the descriptor is non-blocking."),
    RS_METHOD("readinto", fdio_readinto,
              "readinto($self, buffer, /)\n--\n\n`read(2)` into the memory of a writable buffer; the number of bytes that came."),
    RS_METHOD("pread", fdio_pread,
              "pread($self, n, offset, /)\n--\n\n`pread(2)`: at most `n` bytes from `offset` (bytes); the position does not move."),
    RS_METHOD("write", fdio_write,
              "write($self, data, /)\n--\n\n`write(2)`: write a buffer; the number of bytes taken, which may be short.\n\n"
              "Raises BrokenPipeError when nobody can read any more, BlockingIOError when a non-blocking\n"
              "descriptor takes nothing now.  See write_all for all or an error."),
    RS_METHOD("pwrite", fdio_pwrite,
              "pwrite($self, data, offset, /)\n--\n\n`pwrite(2)`: write a buffer at `offset` (bytes); the position does not move."),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "FdIO(number, /)\n--\n\nHandle with the five calls that have to cost no more than a built-in."},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "rawsys.fd.FdIO",
    .basicsize = sizeof(struct rs_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

int rs_fdio_setup(PyObject *module)
{
    rs_fdio_type = (PyTypeObject *)PyType_FromSpecWithBases(&spec, (PyObject *)rs_handle_type);
    return rs_fdio_type ? PyModule_AddObjectRef(module, "FdIO", (PyObject *)rs_fdio_type) : -1;
}
