/* Native bodies that carry their argument, as counter.adder(n) makes them. */
#include <string.h>

#include "thread.h"

struct body {
    PyObject_HEAD
    void *(*entry)(void *);
    PyObject *keep;
    char argument[32];
};

static PyTypeObject *body_type;

PyObject *rs_body_new(void *(*entry)(void *), const void *argument, size_t size, PyObject *keep)
{
    if (!body_type) { /* an atomic can be made before threads are set up */
        PyObject *module = PyImport_ImportModule("rawsys._native.threads");
        Py_XDECREF(module);
        if (!module)
            return NULL;
    }
    struct body *self = (struct body *)PyType_GenericAlloc(body_type, 0);
    if (!self)
        return NULL;
    self->entry = entry;
    Py_INCREF(self->keep = keep);
    memcpy(self->argument, argument, size);
    return (PyObject *)self;
}

static PyObject *body_places(PyObject *object, void *unused)
{
    struct body *self = (struct body *)object;
    (void)unused;
    return Py_BuildValue("NN", PyLong_FromVoidPtr((void *)self->entry), PyLong_FromVoidPtr(self->argument));
}

static void body_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(((struct body *)object)->keep);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyGetSetDef body_getters[] = {
    {"_places", body_places, NULL, "Addresses of the function and of its argument.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot body_slots[] = {
    {Py_tp_doc, "A body in C with its argument, for ThreadHandle.spawn_native()."},
    {Py_tp_new, rs_no_new}, {Py_tp_dealloc, body_dealloc}, {Py_tp_getset, body_getters}, {0, NULL},
};

int rs_body_setup(PyObject *module)
{
    PyType_Spec spec = {"rawsys.thread.NativeBody", sizeof(struct body), 0, Py_TPFLAGS_DEFAULT, body_slots};
    body_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return body_type ? PyModule_AddObjectRef(module, "NativeBody", (PyObject *)body_type) : -1;
}
