/* Who may use a Mapping now, and what is said to the others. */
#include "mapping.h"

#include <stdarg.h>

static void add_note(const char *note)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *none = value ? PyObject_CallMethod(value, "add_note", "s", note) : NULL;
    Py_XDECREF(none);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

PyObject *rs_mapping_error(long number, long answer, const char *note, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    PyObject *tuple = Py_VaBuildValue(format, values);
    va_end(values);
    PyObject *args[6];
    Py_ssize_t count = tuple ? PyTuple_Size(tuple) : 0;
    for (Py_ssize_t i = 0; i < count; i++)
        args[i] = PyTuple_GetItem(tuple, i);
    if (tuple)
        rs_os_error(rs_row(number), args, count, answer);
    Py_XDECREF(tuple);
    if (note)
        add_note(note);
    return NULL;
}

int rs_mapping_refuse(struct rs_mapping *mapping, uint64_t word)
{
    if (word & RS_MAP_CLOSED)
        rs_complain("ClosedError", "%R can no longer be used", mapping);
    else if (rs_mapping_lost(mapping))
        rs_complain("ClosedError", "%R is not in this process: it was kept from forked children with MADV_DONTFORK", mapping);
    else if (word & RS_MAP_EXCLUSIVE)
        rs_complain("BusyError", "%R is being changed by another thread", mapping);
    else
        rs_complain("BusyError", "32,767 calls use %R already", mapping);
    return -1;
}

int rs_mapping_lock(struct rs_mapping *mapping, const char *to)
{
    for (;;) {
        uint64_t old = rs_mapping_word(mapping), word = rs_mapping_here(old);
        unsigned views = (unsigned)(word & RS_MAP_VIEWS), calls = RS_MAP_CALLS(word);
        if ((word & (RS_MAP_CLOSED | RS_MAP_EXCLUSIVE)) || rs_mapping_lost(mapping))
            return rs_mapping_refuse(mapping, word);
        if (views)
            return PyErr_Format(PyExc_BufferError, "cannot %s %R: %u view%s of it live%s", to, mapping, views,
                                views == 1 ? "" : "s", views == 1 ? "s" : ""), -1;
        if (calls) {
            rs_complain("BusyError", "cannot %s %R: %d call%s in other threads use%s it", to, mapping, (int)calls,
                        calls == 1 ? "" : "s", calls == 1 ? "s" : "");
            return -1;
        }
        if (rs_mapping_replace(mapping, old, word | RS_MAP_EXCLUSIVE))
            return 0;
    }
}

void rs_mapping_unlock(struct rs_mapping *mapping)
{
    for (;;) {
        uint64_t word = rs_mapping_word(mapping);
        if (rs_mapping_replace(mapping, word, word & ~RS_MAP_EXCLUSIVE))
            return;
    }
}
