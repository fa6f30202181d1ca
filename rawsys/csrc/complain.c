#include "complain.h"

#include <stdarg.h>

/* A class or function of rawsys.errors; imported on the way to an exception only. */
static PyObject *of_errors(const char *name)
{
    PyObject *module = PyImport_ImportModule("rawsys.errors");
    PyObject *found = module ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    return found;
}

void rs_complain(const char *class_name, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    PyObject *text = PyUnicode_FromFormatV(format, words);
    va_end(words);
    PyObject *class = text ? of_errors(class_name) : NULL;
    if (class)
        PyErr_SetObject(class, text);
    Py_XDECREF(class);
    Py_XDECREF(text);
}

PyObject *rs_os_error(const struct rs_row *row, PyObject *const *args, Py_ssize_t count, long answer)
{
    PyObject *make = of_errors("os_error");
    PyObject *list = make ? PyTuple_New(count) : NULL;
    for (Py_ssize_t i = 0; list && i < count; i++) {
        Py_INCREF(args[i]);
        PyTuple_SetItem(list, i, args[i]);
    }
    PyObject *error = list ? PyObject_CallFunction(make, "sOl", row->name, list, -answer) : NULL;
    if (error)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    Py_XDECREF(list);
    Py_XDECREF(make);
    return NULL;
}

int rs_wrong_type(const struct rs_row *row, unsigned i, const char *expected, PyObject *got)
{
    PyObject *type = PyType_GetName(Py_TYPE(got));
    if (type)
        PyErr_Format(PyExc_TypeError, "%s(): argument '%s' must be %s, not %U", row->name, row->arg[i].name, expected, type);
    Py_XDECREF(type);
    return -1;
}

PyObject *rs_wrong_count(const struct rs_row *row, Py_ssize_t got)
{
    return PyErr_Format(PyExc_TypeError, "%s takes %d argument%s, got %zd", row->signature, (int)row->arity,
                        row->arity == 1 ? "" : "s", got);
}

PyObject *rs_refused(const struct rs_row *row, const char *what)
{
    rs_complain("RefusedCallError", "%s%s is refused: it cannot return through its caller's frame; use %s",
                row->name, what, row->instead);
    return NULL;
}
