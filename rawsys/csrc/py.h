/* Python's limited API of 3.11: one binary for every later version. */
#ifndef RAWSYS_PY_H
#define RAWSYS_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The headers of 3.12 and newer take None, True and NotImplemented for immortal and return them uncounted, also where the
 * limited API of 3.11 is asked for: a module built there would take a reference from 3.11's None with every call that
 * gives None, until the interpreter dies of it.  (Py_NewRef is a function of Python's in the limited API.) */
#undef Py_RETURN_NONE
#undef Py_RETURN_TRUE
#undef Py_RETURN_FALSE
#undef Py_RETURN_NOTIMPLEMENTED
#define Py_RETURN_NONE return Py_INCREF(Py_None), Py_None
#define Py_RETURN_TRUE return Py_INCREF(Py_True), Py_True
#define Py_RETURN_FALSE return Py_INCREF(Py_False), Py_False
#define Py_RETURN_NOTIMPLEMENTED return Py_INCREF(Py_NotImplemented), Py_NotImplemented

/* Likewise the formats with '#' (Py_BuildValue, PyArg_Parse): 3.13's headers call functions that on older versions take
 * an int there, or refuse it.  They are not used here. */

/* All built-ins are METH_FASTCALL, those without arguments too: METH_NOARGS is 7 to 10 ns slower on 3.11 and 3.13. */
typedef PyObject *rs_builtin(PyObject *self, PyObject *const *args, Py_ssize_t count);
#define RS_METHOD(name, function, doc) {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL, doc}

#endif
