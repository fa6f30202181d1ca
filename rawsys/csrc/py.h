/* Python's limited API of 3.11: one binary for every later version. */
#ifndef RAWSYS_PY_H
#define RAWSYS_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* From 3.12 on None is immortal, and that version's headers return it without counting, for the limited API of 3.11 too: a
 * module that they build takes a reference to None away with each call on 3.11, until the interpreter aborts. */
#undef Py_RETURN_NONE
#define Py_RETURN_NONE return Py_INCREF(Py_None), Py_None

/* Likewise the formats with '#' (Py_BuildValue, PyArg_Parse): 3.13's headers call functions that on older versions take
 * an int there, or refuse it.  They are not used here. */

/* All built-ins are METH_FASTCALL, those without arguments too: METH_NOARGS is 7 to 10 ns slower on 3.11 and 3.13. */
typedef PyObject *rs_builtin(PyObject *self, PyObject *const *args, Py_ssize_t count);
#define RS_METHOD(name, function, doc) {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL, doc}

#endif
