/* The types of the atomics: made, put in a place of somebody's buffer, shown; and numbers that are no plain int. */
#include "atomic_word.h"

static PyTypeObject *types[4];
const char *const rs_atomic_names[4] = {"AtomicU64", "AtomicI64", "AtomicU32", "AtomicBool"};

/* ---- numbers ---- */

int rs_atomic_refuse(struct atomic *self, PyObject *object, int bits)
{
    static const char *const ranges[4] = {"0..2**64-1", "-2**63..2**63-1", "0..2**32-1", "False or True"};
    static const char *const operands[4] = {"-2**63..2**64-1", "-2**63..2**64-1", "-2**31..2**32-1", "False or True"};
    if (self->kind == BOOL)
        PyErr_Format(PyExc_TypeError, "AtomicBool holds False or True, not %R", object);
    else
        PyErr_Format(PyExc_OverflowError, "%S is outside %s %s %s", object, (bits ? operands : ranges)[self->kind],
                     bits ? "for an operand of an" : "of an", rs_atomic_names[self->kind]);
    return -1;
}

int rs_atomic_unbox_slow(struct atomic *self, PyObject *object, int bits, uint64_t *value)
{
    if (PyBool_Check(object) || !PyIndex_Check(object))
        return PyErr_Format(PyExc_TypeError, "%s holds an int, not %R", rs_atomic_names[self->kind], Py_TYPE(object)), -1;
    PyObject *number = PyNumber_Index(object);
    if (!number)
        return -1;
    int overflow, result = 0;
    long small = PyLong_AsLongAndOverflow(number, &overflow);
    *value = (uint64_t)small;
    if (overflow > 0 && (self->kind == U64 || (self->kind == I64 && bits))) {
        *value = PyLong_AsUnsignedLongLong(number);
        overflow = PyErr_Occurred() != NULL;
        PyErr_Clear();
    } else if (!overflow) {
        overflow = !fits(self, small, bits);
    }
    if (overflow)
        result = rs_atomic_refuse(self, number, bits);
    Py_DECREF(number);
    return result;
}

/* ---- life ---- */

void *rs_place(Py_buffer *view, PyObject *buffer, PyObject *offset, size_t size, size_t alignment)
{
    if (PyBool_Check(offset) || !PyIndex_Check(offset))
        return PyErr_Format(PyExc_TypeError, "an offset is an int, not %R", Py_TYPE(offset)), NULL;
    Py_ssize_t at = PyNumber_AsSsize_t(offset, NULL); /* an int beyond 64 bits is cut to one that is outside as well */
    if ((at == -1 && PyErr_Occurred()) || PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) < 0)
        return NULL;
    char *place = (char *)view->buf + at;
    if (at < 0 || (size_t)at + size > (size_t)view->len)
        PyErr_Format(PyExc_ValueError, "%zu bytes at offset %S are outside the buffer of %zd bytes", size, offset, view->len);
    else if ((uintptr_t)place % alignment)
        PyErr_Format(PyExc_ValueError, "offset %zd of this buffer is address %p, not a multiple of %zu", at, place, alignment);
    else
        return place;
    PyBuffer_Release(view);
    view->obj = NULL;
    return NULL;
}

static int kind_of(PyTypeObject *type)
{
    int kind = 0;
    while (types[kind] != type)
        kind++;
    return kind;
}

static struct atomic *allocate(PyTypeObject *type)
{
    struct atomic *self = (struct atomic *)PyType_GenericAlloc(type, 0);
    if (self) {
        self->kind = (uint8_t)kind_of(type);
        self->word = &self->own;
    }
    return self;
}

static PyObject *atomic_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *words[] = {"", NULL};
    PyObject *value = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O", words, &value))
        return NULL;
    struct atomic *self = allocate(type);
    if (self && value && unbox(self, value, 0, &self->own) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

PyObject *rs_atomic_at(PyObject *class, PyObject *args, PyObject *keywords)
{
    static char *words[] = {"buffer", "offset", NULL};
    PyObject *buffer, *offset, *none = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:at", words, &buffer, &none))
        return NULL;
    struct atomic *self = allocate((PyTypeObject *)class);
    offset = none ? none : PyLong_FromLong(0);
    size_t size = self && self->kind < U32 ? 8 : 4;
    if (self && offset && !(self->word = rs_place(&self->view, buffer, offset, size, size)))
        Py_CLEAR(self);
    if (!none)
        Py_XDECREF(offset);
    return (PyObject *)self;
}

static void dealloc(PyObject *object)
{
    struct atomic *self = (struct atomic *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->view.obj)
        PyBuffer_Release(&self->view);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *repr(PyObject *object)
{
    struct atomic *self = (struct atomic *)object;
    PyObject *value = box(self, load_word(self));
    PyObject *text = value ? PyUnicode_FromFormat("%s(%R)", rs_atomic_names[self->kind], value) : NULL;
    Py_XDECREF(value);
    return text;
}

/* ---- types ---- */

#define WORDS(type, range, more)                                                                                     \
    type "(value=0, /)\n--\n\n" range "\n\nAll operations are sequentially consistent, across threads and, with at(), processes.\n" more

static const char *const docs[4] = {
    WORDS("AtomicU64", "An unsigned 64-bit word.", "Sums wrap modulo 2**64; operands of sums and bit operations may be -2**63..2**64-1."),
    WORDS("AtomicI64", "A signed 64-bit word.", "Sums wrap as two's complement; operands of sums and bit operations may be -2**63..2**64-1."),
    WORDS("AtomicU32", "An unsigned 32-bit word, the only width that the kernel can wait on.",
          "Sums wrap modulo 2**32; operands of sums and bit operations may be -2**31..2**32-1."),
    "AtomicBool(value=False, /)\n--\n\nA truth value in a 32-bit word, which can be waited on.\n\n"
    "All operations are sequentially consistent, across threads and, with at(), processes.",
};

static int add_type(PyObject *module, int kind)
{
    PyMethodDef *methods = kind < U32 ? rs_atomic_methods_64 : kind == U32 ? rs_atomic_methods_32 : rs_atomic_methods_bool;
    PyType_Slot slots[] = {
        {Py_tp_doc, (void *)docs[kind]}, {Py_tp_new, atomic_new}, {Py_tp_dealloc, dealloc},
        {Py_tp_repr, repr}, {Py_tp_methods, methods}, {0, NULL},
    };
    static const char *const full[4] = {"rawsys.sync.AtomicU64", "rawsys.sync.AtomicI64", "rawsys.sync.AtomicU32", "rawsys.sync.AtomicBool"};
    PyType_Spec spec = {.name = full[kind], .basicsize = sizeof(struct atomic), .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, .slots = slots};
    types[kind] = (PyTypeObject *)PyType_FromSpec(&spec);
    return types[kind] ? PyModule_AddObjectRef(module, rs_atomic_names[kind], (PyObject *)types[kind]) : -1;
}

int rs_atomic_setup(PyObject *module)
{
    for (int kind = 0; kind < 4; kind++)
        if (add_type(module, kind) < 0)
            return -1;
    return 0;
}
