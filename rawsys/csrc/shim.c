#include "shim.h"

#include <string.h>

#include "atomic.h"
#include "call.h"
#include "doors.h"
#include "fdio.h"
#include "lock.h"
#include "mapping.h"
#include "procparse.h"
#include "run.h"
#include "signal_owner.h"
#include "spawn.h"
#include "thread.h"
#include "vdso.h"

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

static const struct {
    const char *family;
    int (*install)(PyObject *module);
} families[] = {
    {"types", install_types},
    {"raw", rs_install_raw},
    {"checked", rs_install_checked},
    {"top", rs_install_top},
    {"program", rs_run_setup},
    {"process", rs_spawn_setup},
    {"memory", rs_mapping_setup},
    {"vdso", rs_vdso_setup},
    {"signals", rs_signals_setup},
    {"atomic", rs_atomic_setup},
    {"threads", rs_thread_setup},
    {"lock", rs_lock_setup},
    {"proc", rs_proc_setup},
};

int rawsys_install(uintptr_t module, const char *family)
{
    int result = -1;
    PyGILState_STATE state = PyGILState_Ensure(); /* cffi has released it */
    for (unsigned i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].family, family))
            result = families[i].install((PyObject *)module);
    if (result < 0 && PyErr_Occurred())
        PyErr_Print();
    PyGILState_Release(state);
    return result;
}
