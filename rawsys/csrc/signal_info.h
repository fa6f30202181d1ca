#ifndef RAWSYS_SIGNAL_INFO_H
#define RAWSYS_SIGNAL_INFO_H

#include "py.h"
#include "signals.h"

struct rs_info_object {
    PyObject_HEAD
    struct rs_siginfo info;
};

extern PyTypeObject *rs_info_type;

PyObject *rs_info_new(const struct rs_siginfo *info);
int rs_info_setup(PyObject *module);

#endif
