/* What a thread is to be and to do, as Python says it: its attributes, its body. */
#include <stdlib.h>
#include <string.h>

#include "thread.h"

/* ---- attributes ---- */

static void read_name(struct rs_wishes *w, PyObject *name)
{
    char *text;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(name, &text, &size) == 0)
        memcpy(w->name, text, (size_t)size < sizeof w->name ? (size_t)size : sizeof w->name - 1);
}

static void read_mask(struct rs_wishes *w, PyObject *mask)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(mask, &bytes, &size) < 0)
        return;
    if (!(w->mask = malloc((size_t)size + 1)))
        PyErr_NoMemory();
    else
        memcpy(w->mask, bytes, w->mask_size = (size_t)size);
}

/* A number that the kernel takes as an int: 1, 0 for None, or -1 with an exception. */
static int wished_int(PyObject *wish, int *number)
{
    if (wish == Py_None)
        return 0;
    long value = PyLong_AsLong(wish);
    if (!PyErr_Occurred() && value != (int)value)
        PyErr_Format(PyExc_OverflowError, "%ld does not fit into 32 bits", value);
    *number = (int)value;
    return PyErr_Occurred() ? -1 : 1;
}

/* (stack_size, guard_size, affinity, policy, priority, nice, name, signals); None: as it comes. */
int rs_wishes_read(struct rs_wishes *w, PyObject *wishes)
{
    PyObject *guard, *affinity, *policy, *nice, *name, *signals;
    if (wishes == Py_None)
        return 0;
    if (!PyArg_ParseTuple(wishes, "nOOOiOOO", &w->stack_size, &guard, &affinity, &policy, &w->priority, &nice, &name, &signals))
        return -1;
    if ((w->has_guard = guard != Py_None))
        w->guard_size = PyLong_AsSize_t(guard);
    if ((w->has_policy = wished_int(policy, &w->policy)) < 0 || (w->has_nice = wished_int(nice, &w->nice)) < 0)
        return -1;
    if ((w->has_mask = signals != Py_None))
        w->signals = PyLong_AsUnsignedLong(signals);
    if ((w->has_name = name != Py_None))
        read_name(w, name);
    if (affinity != Py_None)
        read_mask(w, affinity);
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- the body ---- */

static PyObject **dict_values(struct rs_program_object *program, PyObject *dict, PyObject **values)
{
    for (uint32_t i = 0; i < program->parameters; i++)
        if (!(values[i] = PyDict_GetItemWithError(dict, program->parameter[i].name))) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_TypeError, "parameter %R is missing", program->parameter[i].name);
            return NULL;
        }
    if (PyDict_Size(dict) == (Py_ssize_t)program->parameters)
        return values;
    PyErr_Format(PyExc_TypeError, "this Program has %u parameters, %R names others", program->parameters, dict);
    return NULL;
}

static int bind_program(struct rs_thread *thread, PyObject *object, PyObject *dict)
{
    struct rs_program_object *program = (struct rs_program_object *)object;
    if (program->ends_in_exec) {
        rs_complain("RefusedCallError", "a Program that ends in exec runs only in a child: use rawsys.raw_fork(program)");
        return -1;
    }
    PyObject **values = PyMem_Calloc(program->parameters + 1, sizeof *values);
    int result = -1;
    if (!values)
        PyErr_NoMemory();
    else if (dict_values(program, dict, values))
        result = rs_run_begin(program, values, &thread->bound);
    PyMem_Free(values);
    if (result < 0)
        return -1;
    Py_INCREF(object);
    thread->program = program;
    return 0;
}

int rs_thread_set_body(struct rs_thread *thread, PyObject *body, PyObject *argument)
{
    if (thread->kind == RS_BODY_PROGRAM)
        return bind_program(thread, body, argument);
    if (thread->kind == RS_BODY_NATIVE) {
        PyObject *entry = PyTuple_GetItem(argument, 0), *address = PyTuple_GetItem(argument, 1);
        thread->entry = entry ? (void *(*)(void *))PyLong_AsVoidPtr(entry) : NULL;
        thread->entry_argument = address ? PyLong_AsVoidPtr(address) : NULL;
        if (PyErr_Occurred())
            return -1;
    }
    if (thread->kind == RS_BODY_PYTHON && !(thread->shown = PyTuple_GetItem(argument, 0)))
        return -1;
    Py_INCREF(thread->body = body);
    Py_INCREF(thread->argument = argument);
    return 0;
}
