#ifndef RAWSYS_SPAWN_H
#define RAWSYS_SPAWN_H

#include "py.h"

int rs_spawn_setup(PyObject *module);

#endif
