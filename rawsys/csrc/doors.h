#ifndef RAWSYS_DOORS_H
#define RAWSYS_DOORS_H

#include "py.h"

int rs_install_raw(PyObject *module);
int rs_install_checked(PyObject *module);
int rs_install_top(PyObject *module);

#endif
