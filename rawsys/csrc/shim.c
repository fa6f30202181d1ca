#include "shim.h"

#include <string.h>

#include "call.h"
#include "doors.h"
#include "fdio.h"
#include "run.h"
#include "signal_owner.h"

static int install_types(PyObject *module)
{
    PyObject *sys = PyImport_ImportModule("sys");
    PyObject *encoding = sys ? PyObject_CallMethod(sys, "getfilesystemencoding", NULL) : NULL;
    const char *name = encoding ? PyUnicode_AsUTF8AndSize(encoding, NULL) : NULL;
    rs_utf8_names = name && !strcmp(name, "utf-8");
    Py_XDECREF(encoding);
    Py_XDECREF(sys);
    rs_small_setup();
    return rs_handle_setup(module) < 0 ? -1 : rs_fdio_setup(module);
}

int rawsys_install(uintptr_t module, int what)
{
    static int (*const install[])(PyObject *) = {install_types, rs_install_raw, rs_install_checked, rs_install_top, rs_run_setup,
                                                        [12] = rs_signals_setup};
    PyGILState_STATE state = PyGILState_Ensure(); /* cffi has released it */
    int result = install[what]((PyObject *)module);
    if (result < 0)
        PyErr_Print();
    PyGILState_Release(state);
    return result;
}
