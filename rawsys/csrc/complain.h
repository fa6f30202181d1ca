/* Exceptions: rawsys.errors holds the classes and words, this is how C reaches them. */
#ifndef RAWSYS_COMPLAIN_H
#define RAWSYS_COMPLAIN_H

#include "py.h"
#include "row.h"

/* Raise a class of rawsys.errors by name. */
void rs_complain(const char *class_name, const char *format, ...);

/* OSError for -errno from a call with these arguments; always returns NULL. */
PyObject *rs_os_error(const struct rs_row *row, PyObject *const *args, Py_ssize_t count, long answer);

/* TypeError "read(): argument 'fd' must be EXPECTED, not float"; always returns -1. */
int rs_wrong_type(const struct rs_row *row, unsigned i, const char *expected, PyObject *got);

PyObject *rs_wrong_count(const struct rs_row *row, Py_ssize_t got);
PyObject *rs_refused(const struct rs_row *row, const char *what);

#endif
