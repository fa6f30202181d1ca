/* Life of a Mapping: given out as a buffer, used, released.  How one begins is in mapping_make.c. */
#include "mapping.h"

#define SYS_munmap 11
#define EPERM_ANSWER -1

PyTypeObject *rs_mapping_type;

/* ---- the end ---- */

static long unmap(struct rs_mapping *mapping)
{
    long answer = 0;
    if (!rs_mapping_lost(mapping)) { /* a child's pages at that address are not ours */
        PyThreadState *state = PyEval_SaveThread();
        answer = rs_syscall2(SYS_munmap, (long)mapping->span, (long)mapping->span_size);
        PyEval_RestoreThread(state);
    }
    if (answer == 0)
        mapping->span = NULL;
    return answer;
}

static int close_companion(struct rs_mapping *mapping)
{
    PyObject *companion = mapping->companion;
    mapping->companion = NULL;
    PyObject *none = companion ? PyObject_CallMethod(companion, "close", NULL) : NULL;
    int result = companion && !none ? -1 : 0;
    Py_XDECREF(none);
    Py_XDECREF(companion);
    return result;
}

/* The pages of one that was closed; 0, or -1 with an exception.  Sealed pages stay until the process ends, and that is
 * said.  Any other failure (ENOMEM: the kernel would have to split a range, and has too many) leaves the owner in
 * possession, so that it can be tried again. */
static int release(struct rs_mapping *mapping)
{
    long answer = unmap(mapping);
    if (answer == EPERM_ANSWER) {
        mapping->stays = 1;
        mapping->span = NULL;
        int warned = PyErr_WarnFormat(PyExc_ResourceWarning, 1, "%R: sealed pages cannot be unmapped, they stay until the process ends", mapping);
        return close_companion(mapping) < 0 || warned < 0 ? -1 : 0;
    }
    if (rs_failed(answer)) {
        atomic_fetch_and(&mapping->word, ~RS_MAP_CLOSED);
        rs_mapping_error(SYS_munmap, answer, "it is still mapped, and still owned", "(kn)", (unsigned long)mapping->span, mapping->span_size);
        return -1;
    }
    return close_companion(mapping);
}

static int close_mapping(struct rs_mapping *mapping)
{
    for (;;) {
        uint64_t old = rs_mapping_word(mapping), word = rs_mapping_here(old);
        unsigned views = (unsigned)(word & RS_MAP_VIEWS);
        if (word & RS_MAP_CLOSED)
            return 0;
        if (word & RS_MAP_EXCLUSIVE)
            return rs_mapping_refuse(mapping, word);
        if (views)
            return PyErr_Format(PyExc_BufferError, "cannot close %R: %u view%s of it live%s", mapping, views,
                                views == 1 ? "" : "s", views == 1 ? "s" : ""), -1;
        if (rs_mapping_replace(mapping, old, word | RS_MAP_CLOSED))
            return RS_MAP_CALLS(word) ? 0 : release(mapping); /* else the last running call does it */
    }
}

void rs_mapping_drop(struct rs_mapping *mapping, unsigned generation)
{
    for (;;) {
        uint64_t word = rs_mapping_word(mapping);
        if (RS_UNLIKELY(RS_GENERATION(word) != generation || RS_MAP_CALLS(word) == 0))
            return; /* forked meanwhile, and the child began to count anew */
        if (RS_UNLIKELY(!rs_mapping_replace(mapping, word, word - RS_MAP_ONE_CALL)))
            continue;
        if (RS_LIKELY(!(word & RS_MAP_CLOSED) || RS_MAP_CALLS(word) != 1))
            return;
        PyObject *type, *value, *traceback; /* of the call that ends here; there is no caller of close to raise to */
        PyErr_Fetch(&type, &value, &traceback);
        if (release(mapping) < 0)
            PyErr_WriteUnraisable((PyObject *)mapping);
        PyErr_Restore(type, value, traceback);
        return;
    }
}

/* Garbage collection: views hold a reference, so there are none.  In the middle of a change (a fork while another
 * thread was at it) its address is not known: then the pages are left alone. */
static void finalize(PyObject *self)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    uint64_t word = rs_mapping_word(mapping);
    if (!mapping->span || (word & RS_MAP_EXCLUSIVE))
        return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!(word & RS_MAP_CLOSED)) {
        if (!rs_mapping_lost(mapping) && PyErr_ResourceWarning(self, 1, "unclosed %R", self) < 0)
            PyErr_WriteUnraisable(self);
        atomic_fetch_or(&mapping->word, RS_MAP_CLOSED);
    }
    if (release(mapping) < 0)
        PyErr_WriteUnraisable(self);
    PyErr_Restore(type, value, traceback);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc give_back = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (type == rs_mapping_type)
        finalize(self); /* a Python subclass has done it through tp_finalize */
    Py_XDECREF(((struct rs_mapping *)self)->companion);
    give_back(self);
    Py_DECREF(type);
}

/* ---- as a buffer ---- */

static int get_buffer(PyObject *self, Py_buffer *view, int flags)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    uint64_t old, word;
    view->obj = NULL;
    do {
        old = rs_mapping_word(mapping), word = rs_mapping_here(old);
        if ((word & (RS_MAP_CLOSED | RS_MAP_EXCLUSIVE)) || rs_mapping_lost(mapping))
            return rs_mapping_refuse(mapping, word);
        if (!(rs_mapping_rights(mapping) & RS_PROT_READ)) /* the first look would be a signal */
            return PyErr_Format(PyExc_BufferError, "%R cannot be read", self), -1;
        if ((word & RS_MAP_VIEWS) == RS_MAP_VIEWS)
            return PyErr_Format(PyExc_BufferError, "%R has too many views", self), -1;
    } while (!rs_mapping_replace(mapping, old, word + 1));
    int result = PyBuffer_FillInfo(view, self, mapping->address, (Py_ssize_t)mapping->length, !(rs_mapping_rights(mapping) & RS_PROT_WRITE), flags);
    if (result < 0)
        atomic_fetch_sub(&mapping->word, 1);
    return result;
}

static void release_buffer(PyObject *self, Py_buffer *view)
{
    (void)view;
    atomic_fetch_sub(&((struct rs_mapping *)self)->word, 1);
}

/* ---- methods ---- */

static PyObject *mapping_close(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args, (void)count;
    if (close_mapping((struct rs_mapping *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *mapping_enter(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args, (void)count;
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    uint64_t word = rs_mapping_word(mapping);
    if ((word & RS_MAP_CLOSED) || rs_mapping_lost(mapping))
        return rs_mapping_refuse(mapping, word), NULL;
    Py_INCREF(self);
    return self;
}

static PyObject *mapping_reduce(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args, (void)count;
    return PyErr_Format(PyExc_TypeError, "%R cannot be copied or pickled: one owner for each range of memory", self);
}

static PyObject *mapping_keep(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)count;
    Py_INCREF(args[0]);
    ((struct rs_mapping *)self)->companion = args[0];
    Py_RETURN_NONE;
}

static PyMethodDef life_methods[] = {
    RS_METHOD("close", mapping_close,
              "close($self, /)\n--\n\n`munmap(2)`: give the memory back; doing it again does nothing.\n\n"
              "While a call in another thread uses it, new ones are refused at once and the last one unmaps.\n"
              "Sealed pages cannot be unmapped: the owner is released, a ResourceWarning says that they stay.\n\n"
              "Raises BufferError while views of it live: it stays mapped and owned then.  OSError (ENOMEM) where the\n"
              "kernel would have to split a range and has too many: it stays mapped and owned, too."),
    RS_METHOD("__enter__", mapping_enter, "__enter__($self, /)\n--\n\nThe owner itself; ClosedError when it is closed."),
    RS_METHOD("__exit__", mapping_close, "__exit__($self, /, *exception)\n--\n\nCloses."),
    RS_METHOD("__reduce__", mapping_reduce, "__reduce__($self, /)\n--\n\nRefused: an owner cannot be copied or pickled."),
    RS_METHOD("_keep", mapping_keep, "_keep($self, owner, /)\n--\n\nAn owner that is closed with this one."),
    {NULL, NULL, 0, NULL},
};

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    return PyBool_FromLong((rs_mapping_word(mapping) & RS_MAP_CLOSED) || rs_mapping_lost(mapping));
}

static PyObject *get_address(PyObject *self, void *unused)
{
    (void)unused;
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    uint64_t word = rs_mapping_word(mapping);
    if ((word & RS_MAP_CLOSED) || rs_mapping_lost(mapping))
        return rs_mapping_refuse(mapping, word), NULL;
    return PyLong_FromUnsignedLong((unsigned long)mapping->address);
}

static PyObject *get_prot(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong((long)rs_mapping_rights((struct rs_mapping *)self));
}

#define FLAG(field, text)                                                                                                    \
    static PyObject *get_##field(PyObject *self, void *unused)                                                               \
    {                                                                                                                        \
        (void)unused;                                                                                                        \
        return PyBool_FromLong(((struct rs_mapping *)self)->field);                                                          \
    }
FLAG(shared, )
FLAG(guard, )
FLAG(sealed, )

static PyGetSetDef getters[] = {
    {"closed", get_closed, NULL, "True after close(), and in a child that did not inherit it.", NULL},
    {"address", get_address, NULL, "Where its first byte lies; ClosedError when it is closed.  It changes with resize().", NULL},
    {"_rights", get_prot, NULL, "What every page of it allows, as PROT_ bits.", NULL},
    {"shared", get_shared, NULL, "True when other processes see what is written.", NULL},
    {"guarded", get_guard, NULL, "True when a page that cannot be touched lies on both sides.", NULL},
    {"sealed", get_sealed, NULL, "True after seal().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *mapping_repr(PyObject *self)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    unsigned rights = rs_mapping_rights(mapping);
    char letters[4] = {rights & 1 ? 'r' : '-', rights & 2 ? 'w' : '-', rights & 4 ? 'x' : '-', 0};
    PyObject *name = PyType_GetName(Py_TYPE(self)), *text;
    if (!name)
        return NULL;
    if (mapping->stays)
        text = PyUnicode_FromFormat("<%U closed, %zu sealed bytes stay at %p>", name, mapping->length, mapping->address);
    else if (rs_mapping_word(mapping) & RS_MAP_CLOSED)
        text = PyUnicode_FromFormat("<%U closed>", name);
    else
        text = PyUnicode_FromFormat("<%U %zu bytes at %p %s%s%s%s>", name, mapping->length, mapping->address, letters,
                                    mapping->shared ? " shared" : "", mapping->guard ? " guarded" : "", mapping->sealed ? " sealed" : "");
    Py_DECREF(name);
    return text;
}

static const char doc[] =
    "Mapping(length, *, fd=None, offset=0, shared=False, prot=3, address=None, guard=False, huge=None, populate=False, locked=False)\n--\n\n"
    "`mmap(2)`: an owned range of memory.";

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)doc},
    {Py_tp_new, rs_mapping_new},
    {Py_tp_dealloc, dealloc},
    {Py_tp_finalize, finalize},
    {Py_tp_repr, mapping_repr},
    {Py_tp_methods, life_methods},
    {Py_tp_getset, getters},
    {Py_bf_getbuffer, get_buffer},
    {Py_bf_releasebuffer, release_buffer},
    {Py_tp_iter, PySeqIter_New}, /* ends at the IndexError of an item */
    {Py_sq_length, rs_mapping_length},
    {Py_sq_item, rs_mapping_item},
    {Py_mp_length, rs_mapping_length},
    {Py_mp_subscript, rs_mapping_subscript},
    {Py_mp_ass_subscript, rs_mapping_assign},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "rawsys._native.memory.MappingCore",
    .basicsize = sizeof(struct rs_mapping),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

/* The methods of a type stand in one array, those of this one in three files. */
static int add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    for (; methods->ml_name; methods++) {
        PyObject *method = PyDescr_NewMethod(type, methods);
        if (!method || PyObject_SetAttrString((PyObject *)type, methods->ml_name, method) < 0)
            return -1;
        Py_DECREF(method);
    }
    return 0;
}

int rs_mapping_setup(PyObject *module)
{
    rs_mapping_type = (PyTypeObject *)PyType_FromSpec(&spec);
    if (!rs_mapping_type || add_methods(rs_mapping_type, rs_mapping_access_methods) < 0 || add_methods(rs_mapping_type, rs_mapping_change_methods) < 0)
        return -1;
    if (PyModule_AddObjectRef(module, "MappingCore", (PyObject *)rs_mapping_type) < 0)
        return -1;
    return rs_remote_setup(module);
}
