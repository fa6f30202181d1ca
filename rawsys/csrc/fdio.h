#ifndef RAWSYS_FDIO_H
#define RAWSYS_FDIO_H

#include "py.h"

int rs_fdio_setup(PyObject *module);

#endif
