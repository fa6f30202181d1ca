#include "complain.h"

#include <stdarg.h>
#include <string.h>

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

/* At the limit of descriptors or memory an error cannot be worded: then its errno is what counts.  Any other
 * exception is a signal handler's, which ran on the way, and goes on. */
static int no_means(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    int none = PyErr_GivenExceptionMatches(type, PyExc_MemoryError);
    if (PyErr_GivenExceptionMatches(type, PyExc_OSError)) {
        PyObject *number = PyObject_GetAttrString(value, "errno");
        long errno_value = number && PyLong_Check(number) ? PyLong_AsLong(number) : 0;
        none = errno_value == 23 || errno_value == 24; /* ENFILE, EMFILE */
        Py_XDECREF(number);
    }
    PyErr_Clear();
    if (!none) {
        PyErr_Restore(type, value, traceback);
        return 0;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return 1;
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
    if (!error && no_means())
        error = PyObject_CallFunction(PyExc_OSError, "ls", -answer, strerror((int)-answer));
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
