/* Python's limited API of 3.11: one binary for every later version. */
#ifndef RAWSYS_PY_H
#define RAWSYS_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* All built-ins are METH_FASTCALL, those without arguments too: METH_NOARGS is 7 to 10 ns slower on 3.11 and 3.13. */
typedef PyObject *rs_builtin(PyObject *self, PyObject *const *args, Py_ssize_t count);
#define RS_METHOD(name, function, doc) {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL, doc}

#endif
