/* What lies in a Mapping: items, slices, find, and the careful copies that survive a page that is not there. */
#define _GNU_SOURCE /* memmem */
#include "mapping.h"

#include <string.h>

#include "copy.h"

#define SYS_process_vm_readv 310
#define SYS_process_vm_writev 311

/* Take it for plain use of its memory, which needs these rights on every page. */
static int take_plain(struct rs_mapping *mapping, unsigned rights, unsigned *generation)
{
    if (rs_mapping_take(mapping, generation) < 0)
        return -1;
    if (RS_LIKELY((rs_mapping_rights(mapping) & rights) == rights))
        return 0;
    rs_mapping_drop(mapping, *generation);
    PyErr_Format(PyExc_TypeError, "%R cannot be %s", mapping, rights & RS_PROT_WRITE ? "written to" : "read");
    return -1;
}

Py_ssize_t rs_mapping_length(PyObject *self)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    uint64_t word = rs_mapping_word(mapping);
    if (RS_UNLIKELY((word & RS_MAP_CLOSED) || rs_mapping_lost(mapping)))
        return rs_mapping_refuse(mapping, word);
    return (Py_ssize_t)mapping->length;
}

PyObject *rs_mapping_item(PyObject *self, Py_ssize_t index)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    unsigned generation = 0, byte;
    if (take_plain(mapping, RS_PROT_READ, &generation) < 0)
        return NULL;
    int inside = index >= 0 && (size_t)index < mapping->length;
    byte = inside ? (unsigned char)mapping->address[index] : 0;
    rs_mapping_drop(mapping, generation);
    return inside ? PyLong_FromLong((long)byte) : PyErr_Format(PyExc_IndexError, "index outside of %R", self);
}

/* What a key selects.  Keys are converted before the memory is taken: __index__ is code of somebody else. */
struct selection {
    Py_ssize_t start, stop, step, count;
    int single;
};

static int select_start(PyObject *key, struct selection *s)
{
    s->single = PyIndex_Check(key);
    if (s->single)
        s->start = PyNumber_AsSsize_t(key, PyExc_IndexError);
    else if (!PySlice_Check(key))
        PyErr_Format(PyExc_TypeError, "an index is an int or a slice, not %R", Py_TYPE(key));
    else
        return PySlice_Unpack(key, &s->start, &s->stop, &s->step);
    return PyErr_Occurred() ? -1 : 0;
}

static int select_within(struct rs_mapping *mapping, struct selection *s)
{
    Py_ssize_t length = (Py_ssize_t)mapping->length;
    if (!s->single)
        return s->count = PySlice_AdjustIndices(length, &s->start, &s->stop, s->step), 0;
    s->start += s->start < 0 ? length : 0;
    s->count = s->step = 1;
    if (s->start >= 0 && s->start < length)
        return 0;
    return PyErr_Format(PyExc_IndexError, "index outside of %R", mapping), -1;
}

static PyObject *selected(const char *memory, const struct selection *s)
{
    if (s->single)
        return PyLong_FromLong((unsigned char)memory[s->start]);
    if (s->step == 1)
        return PyBytes_FromStringAndSize(memory + s->start, s->count);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, s->count);
    char *to = bytes ? PyBytes_AsString(bytes) : NULL;
    for (Py_ssize_t i = 0; to && i < s->count; i++)
        to[i] = memory[s->start + i * s->step];
    return bytes;
}

PyObject *rs_mapping_subscript(PyObject *self, PyObject *key)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    struct selection s;
    unsigned generation = 0;
    if (select_start(key, &s) < 0 || take_plain(mapping, RS_PROT_READ, &generation) < 0)
        return NULL;
    PyObject *result = select_within(mapping, &s) < 0 ? NULL : selected(mapping->address, &s);
    rs_mapping_drop(mapping, generation);
    return result;
}

static int store(struct rs_mapping *mapping, struct selection *s, const char *from, Py_ssize_t length)
{
    if (select_within(mapping, s) < 0)
        return -1;
    if (length != s->count)
        return PyErr_Format(PyExc_ValueError, "a mapping does not change its size: %zd bytes cannot replace %zd", length, s->count), -1;
    if (s->step == 1)
        memmove(mapping->address + s->start, from, (size_t)length); /* the value may be a view of this very mapping */
    else
        for (Py_ssize_t i = 0; i < length; i++)
            mapping->address[s->start + i * s->step] = from[i];
    return 0;
}

static int assign_byte(struct rs_mapping *mapping, struct selection *s, PyObject *value)
{
    unsigned generation = 0;
    long number = PyIndex_Check(value) && !PyBool_Check(value) ? PyLong_AsLong(value) : -1;
    if (number < 0 || number > 255) {
        PyErr_Clear();
        return PyErr_Format(PyExc_ValueError, "a byte is an int from 0 to 255, not %R", value), -1;
    }
    if (take_plain(mapping, RS_PROT_WRITE, &generation) < 0)
        return -1;
    char byte = (char)number;
    int result = store(mapping, s, &byte, 1);
    rs_mapping_drop(mapping, generation);
    return result;
}

int rs_mapping_assign(PyObject *self, PyObject *key, PyObject *value)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    struct selection s;
    unsigned generation = 0;
    Py_buffer view;
    if (!value)
        return PyErr_Format(PyExc_TypeError, "a mapping does not change its size: nothing can be deleted"), -1;
    if (select_start(key, &s) < 0)
        return -1;
    if (s.single)
        return assign_byte(mapping, &s, value);
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0)
        return -1;
    int result = take_plain(mapping, RS_PROT_WRITE, &generation);
    if (result == 0) {
        result = store(mapping, &s, view.buf, view.len);
        rs_mapping_drop(mapping, generation);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *mapping_find(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    struct selection s = {.start = 0, .stop = PY_SSIZE_T_MAX, .step = 1};
    unsigned generation = 0;
    Py_buffer wanted;
    if (count < 1 || count > 3)
        return PyErr_Format(PyExc_TypeError, "find(sub, start=0, end=None, /) takes 1 to 3 arguments, got %zd", count);
    if (count > 1)
        s.start = PyNumber_AsSsize_t(args[1], NULL);
    if (count > 2 && args[2] != Py_None)
        s.stop = PyNumber_AsSsize_t(args[2], NULL);
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &wanted, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *result = NULL;
    if (take_plain(mapping, RS_PROT_READ, &generation) == 0) {
        Py_ssize_t start = s.start, length = PySlice_AdjustIndices((Py_ssize_t)mapping->length, &s.start, &s.stop, 1);
        const char *found = start > (Py_ssize_t)mapping->length || s.stop < s.start
                                ? NULL : memmem(mapping->address + s.start, (size_t)length, wanted.buf, (size_t)wanted.len);
        result = PyLong_FromSsize_t(found ? found - mapping->address : -1);
        rs_mapping_drop(mapping, generation);
    }
    PyBuffer_Release(&wanted);
    return result;
}

/* ---- careful copies ---- */

static int index_argument(PyObject *object, const char *what, size_t *number)
{
    Py_ssize_t value = PyBool_Check(object) ? -1 : PyNumber_AsSsize_t(object, PyExc_OverflowError);
    if (value >= 0)
        return *number = (size_t)value, 0;
    if (PyBool_Check(object))
        PyErr_Format(PyExc_TypeError, "%s must be an int, not bool", what);
    else if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "%s cannot be negative, got %zd", what, value);
    return -1;
}

/* Copy without the GIL; 0, or -1 with the exception.  The mapping stays where it is meanwhile, since it is taken. */
static int copy(struct rs_mapping *mapping, enum rs_direction direction, char *here, size_t offset, size_t length)
{
    unsigned generation = 0;
    if (rs_mapping_take(mapping, &generation) < 0)
        return -1;
    if (offset > mapping->length || length > mapping->length - offset) {
        PyErr_Format(PyExc_ValueError, "%zu bytes at offset %zu are not inside of %R", length, offset, mapping);
        rs_mapping_drop(mapping, generation);
        return -1;
    }
    long answer = 0;
    char *there = mapping->address + offset;
    PyThreadState *state = PyEval_SaveThread();
    size_t done = rs_copy_own(direction, here, there, length, &answer);
    PyEval_RestoreThread(state);
    rs_mapping_drop(mapping, generation);
    if (RS_LIKELY(done == length))
        return 0;
    long number = direction == RS_READ_THERE ? SYS_process_vm_readv : SYS_process_vm_writev;
    PyObject *note = PyUnicode_FromFormat("at offset %zu, after %zu of %zu bytes: the page is not there (behind the end of its file?) or protected",
                                          offset + done, done, length);
    rs_mapping_error(number, answer, note ? PyUnicode_AsUTF8AndSize(note, NULL) : NULL, "(i((kn))i((kn))ii)", (int)rs_syscall0(39), (unsigned long)here,
                     length, 1, (unsigned long)there, length, 1, 0);
    Py_XDECREF(note);
    return -1;
}

#define ON_STACK 2048

static PyObject *mapping_read_at(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    char small[ON_STACK];
    size_t length, offset = 0;
    if (count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "read_at(n, offset=0, /) takes 1 or 2 arguments, got %zd", count);
    if (index_argument(args[0], "read_at: a number of bytes", &length) < 0 || (count > 1 && index_argument(args[1], "read_at: an offset", &offset) < 0))
        return NULL;
    if (length <= ON_STACK)
        return copy((struct rs_mapping *)self, RS_READ_THERE, small, offset, length) < 0 ? NULL : PyBytes_FromStringAndSize(small, (Py_ssize_t)length);
    if (length > ((struct rs_mapping *)self)->length) /* before so much is allocated */
        return PyErr_Format(PyExc_ValueError, "%zu bytes are not inside of %R", length, self);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (bytes && copy((struct rs_mapping *)self, RS_READ_THERE, PyBytes_AsString(bytes), offset, length) < 0) {
        Py_DECREF(bytes);
        return NULL;
    }
    return bytes;
}

static PyObject *mapping_write_at(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    size_t offset = 0;
    Py_buffer data;
    if (count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "write_at(data, offset=0, /) takes 1 or 2 arguments, got %zd", count);
    if ((count > 1 && index_argument(args[1], "write_at: an offset", &offset) < 0) || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    int result = copy((struct rs_mapping *)self, RS_WRITE_THERE, data.buf, offset, (size_t)data.len);
    PyBuffer_Release(&data);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef rs_mapping_access_methods[] = {
    RS_METHOD("find", mapping_find,
              "find($self, sub, start=0, end=None, /)\n--\n\nThe lowest index from `start` to `end` where the bytes `sub` begin, or -1."),
    RS_METHOD("read_at", mapping_read_at,
              "read_at($self, n, offset=0, /)\n--\n\n`process_vm_readv(2)` on this process: exactly `n` bytes from `offset`, with every page looked at carefully.\n\n"
              "Where a slice would end in a signal, this raises: behind the end of a truncated file (SIGBUS), in a\n"
              "protected page (SIGSEGV).  It goes through a pipe where a filter forbids process_vm_readv.\n\n"
              "Raises OSError (EFAULT) for a page that cannot be read, with how far it got; ValueError outside of the\n"
              "mapping; ClosedError."),
    RS_METHOD("write_at", mapping_write_at,
              "write_at($self, data, offset=0, /)\n--\n\n`process_vm_writev(2)` on this process: write a buffer at `offset`, with every page looked at carefully.\n\n"
              "Raises OSError (EFAULT) for a page that cannot be written: what lies before it has been; ValueError outside\n"
              "of the mapping, ClosedError."),
    {NULL, NULL, 0, NULL},
};
