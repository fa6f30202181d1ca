#ifndef RAWSYS_DOORS_H
#define RAWSYS_DOORS_H

#include "py.h"

PyObject *rs_fork_program(PyObject *program);
int rs_install_raw(PyObject *module);
int rs_install_checked(PyObject *module);
int rs_install_top(PyObject *module);

#endif
