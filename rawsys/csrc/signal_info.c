/* SignalInfo: what came with one delivery.  The kernel's fields share memory; a field that does not belong to this
 * signal and code is None, never what another one left there. */
#include "signal_info.h"

#include <string.h>

#include "complain.h"

PyTypeObject *rs_info_type;

enum layout { BY_KILL = 1, BY_QUEUE = 2, BY_TIMER = 4, BY_CHILD = 8, BY_FAULT = 16, BY_POLL = 32, BY_SYSTEM = 64 };

#define SI_KERNEL 0x80
#define SI_QUEUE -1
#define SI_TIMER -2
#define SI_MESGQ -3
#define SI_ASYNCIO -4
#define SI_SIGIO -5

/* As the kernel's own siginfo_layout() decides. */
static int layout_of(const struct rs_siginfo *info)
{
    int code = info->code;
    if (code > 0 && code < SI_KERNEL) {
        switch (info->signal) {
        case 4: case 5: case 7: case 8: case 11: return BY_FAULT;
        case 17: return BY_CHILD;
        case 29: return BY_POLL;
        case 31: return BY_SYSTEM;
        default: return BY_KILL;
        }
    }
    if (code == SI_TIMER)
        return BY_TIMER;
    if (code == SI_SIGIO)
        return BY_POLL;
    return code == SI_QUEUE || code == SI_MESGQ || code == SI_ASYNCIO ? BY_QUEUE : BY_KILL;
}

enum field { SIGNAL, ERROR, CODE, PID, UID, VALUE, INT_VALUE, STATUS, UTIME, STIME, ADDR, BAND, FD, TIMER, OVERRUN, CALL_ADDR, SYSCALL, ARCH };

static const struct { const char *name, *doc; int layouts; } fields[] = {
    [SIGNAL] = {"signal", "The signal's number; rawsys.signals.Signal(info.signal) has its name.", 0},
    [ERROR] = {"errno", "An errno that goes with it; nearly always 0.", 0},
    [CODE] = {"code", "Where it comes from: SI_USER (0, kill), SI_QUEUE (-1, sigqueue), SI_TKILL (-6), CLD_EXITED, ...", 0},
    [PID] = {"pid", "The process that sent it, or the child that it tells of; 0 for the kernel.", BY_KILL | BY_QUEUE | BY_CHILD},
    [UID] = {"uid", "The real user id of that process.", BY_KILL | BY_QUEUE | BY_CHILD},
    [VALUE] = {"value", "The 64-bit value that was sent along, signed.", BY_QUEUE | BY_TIMER},
    [INT_VALUE] = {"int_value", "The value's low 32 bits, signed: what C senders put into sival_int.", BY_QUEUE | BY_TIMER},
    [STATUS] = {"status", "A child's exit status, or the signal that ended, stopped or continued it.", BY_CHILD},
    [UTIME] = {"utime", "A child's user time in clock ticks.", BY_CHILD},
    [STIME] = {"stime", "A child's system time in clock ticks.", BY_CHILD},
    [ADDR] = {"addr", "The address that faulted.", BY_FAULT},
    [BAND] = {"band", "The events of a descriptor (SIGPOLL).", BY_POLL},
    [FD] = {"fd", "The descriptor (SIGPOLL).", BY_POLL},
    [TIMER] = {"timer_id", "The kernel's number of the timer.", BY_TIMER},
    [OVERRUN] = {"overrun", "How often the timer ran out before this was delivered.", BY_TIMER},
    [CALL_ADDR] = {"call_addr", "The address of the system call (SIGSYS).", BY_SYSTEM},
    [SYSCALL] = {"syscall", "The number of the system call (SIGSYS).", BY_SYSTEM},
    [ARCH] = {"arch", "The AUDIT_ARCH of the system call (SIGSYS).", BY_SYSTEM},
};
#define FIELDS (sizeof fields / sizeof *fields)

static PyObject *get(PyObject *self, void *closure)
{
    const struct rs_siginfo *info = &((struct rs_info_object *)self)->info;
    enum field field = (enum field)(uintptr_t)closure;
    if (fields[field].layouts && !(fields[field].layouts & layout_of(info)))
        Py_RETURN_NONE;
    switch (field) {
    case SIGNAL: return PyLong_FromLong(info->signal);
    case ERROR: return PyLong_FromLong(info->error);
    case CODE: return PyLong_FromLong(info->code);
    case PID: case TIMER: return PyLong_FromLong(info->half[0]);
    case UID: return PyLong_FromUnsignedLong((uint32_t)info->half[1]);
    case OVERRUN: return PyLong_FromLong(info->half[1]);
    case VALUE: return PyLong_FromLong((long)info->word[1]);
    case UTIME: return PyLong_FromLong((long)info->word[2]);
    case STIME: return PyLong_FromLong((long)info->word[3]);
    case ADDR: case CALL_ADDR: return PyLong_FromUnsignedLong(info->word[0]);
    case BAND: return PyLong_FromLong((long)info->word[0]);
    case ARCH: return PyLong_FromUnsignedLong((uint32_t)info->half[3]);
    default: return PyLong_FromLong(info->half[2]); /* status, int_value, fd, syscall */
    }
}

PyObject *rs_info_new(const struct rs_siginfo *info)
{
    struct rs_info_object *made = (struct rs_info_object *)PyType_GenericAlloc(rs_info_type, 0);
    if (made)
        made->info = *info;
    return (PyObject *)made;
}

static PyObject *from_bytes(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    Py_buffer view;
    static char *names[] = {"", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "y*", names, &view))
        return NULL;
    PyObject *made = NULL;
    if (view.len == 128 || view.len == sizeof(struct rs_siginfo)) {
        made = PyType_GenericAlloc(type, 0);
        if (made)
            memcpy(&((struct rs_info_object *)made)->info, view.buf, sizeof(struct rs_siginfo));
    } else {
        PyErr_Format(PyExc_ValueError, "the kernel's siginfo has 128 bytes, got %zd", view.len);
    }
    PyBuffer_Release(&view);
    return made;
}

static PyObject *to_bytes(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    char whole[128] = {0};
    memcpy(whole, &((struct rs_info_object *)self)->info, sizeof(struct rs_siginfo));
    return PyBytes_FromStringAndSize(whole, sizeof whole);
}

static PyObject *compare(PyObject *self, PyObject *other, int how)
{
    if ((how != Py_EQ && how != Py_NE) || Py_TYPE(other) != Py_TYPE(self))
        Py_RETURN_NOTIMPLEMENTED;
    int same = !memcmp(&((struct rs_info_object *)self)->info, &((struct rs_info_object *)other)->info, sizeof(struct rs_siginfo));
    return PyBool_FromLong(same == (how == Py_EQ));
}

static Py_hash_t hash(PyObject *self)
{
    PyObject *bytes = to_bytes(self, NULL, 0);
    Py_hash_t value = bytes ? PyObject_Hash(bytes) : -1;
    Py_XDECREF(bytes);
    return value;
}

/* "name=value" of each field that counts here; the words for signal and code are Python's. */
static PyObject *repr(PyObject *self)
{
    PyObject *module = PyImport_ImportModule("rawsys.signals._info");
    PyObject *text = module ? PyObject_CallMethod(module, "shown", "O", self) : NULL;
    Py_XDECREF(module);
    return text;
}

static PyObject *names(PyObject *self, void *closure)
{
    const struct rs_siginfo *info = &((struct rs_info_object *)self)->info;
    PyObject *list = PyList_New(0);
    for (unsigned i = 0; list && i < FIELDS; i++) {
        PyObject *name = !fields[i].layouts || (fields[i].layouts & layout_of(info)) ? PyUnicode_FromString(fields[i].name) : NULL;
        if (name && PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static PyObject *reduce(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return Py_BuildValue("O(N)", Py_TYPE(self), to_bytes(self, NULL, 0));
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    RS_METHOD("__bytes__", to_bytes, "__bytes__($self, /)\n--\n\nThe kernel's 128 bytes; rawsys.structs.siginfo reads them."),
    RS_METHOD("__reduce__", reduce, "__reduce__($self, /)\n--\n\nFor copies and pickles."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[FIELDS + 2];

static PyType_Slot slots[] = {
    {Py_tp_doc, "SignalInfo(siginfo, /)\n--\n\nWhat came with one delivery of a signal.\n\n"
                "Made by the owners and calls that receive signals, or of the kernel's 128 bytes of siginfo.  Which fields there\n"
                "are depends on the signal and on `code`; one that does not belong to them is None."},
    {Py_tp_new, from_bytes},
    {Py_tp_dealloc, dealloc},
    {Py_tp_repr, repr},
    {Py_tp_hash, hash},
    {Py_tp_richcompare, compare},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "rawsys.signals.SignalInfo",
    .basicsize = sizeof(struct rs_info_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int rs_info_setup(PyObject *module)
{
    for (unsigned i = 0; i < FIELDS; i++)
        getters[i] = (PyGetSetDef){fields[i].name, get, NULL, fields[i].doc, (void *)(uintptr_t)i};
    getters[FIELDS] = (PyGetSetDef){"_fields", names, NULL, "The names of the fields that count here.", NULL};
    rs_info_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return rs_info_type ? PyModule_AddObjectRef(module, "SignalInfo", (PyObject *)rs_info_type) : -1;
}
