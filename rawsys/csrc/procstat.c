/* /proc/PID/stat as a record, and the samples of layout(). */
#include <stdlib.h>
#include <string.h>

#include "procparse.h"

/* ---- stat ---- */

enum { FIRST = 4, LAST = 52 }; /* numbers of the fields, as proc(5) counts them; 1 to 3 are pid, (name), state */
#define TICKS 100.0            /* USER_HZ on x86: the kernel's ABI, whatever HZ is */

/* The record's fields: a number of proc(5), and how it is told.  n: a number, s: seconds, p: pages. */
static const struct { unsigned char field; char how; } order[] = {
    {14, 's'}, {15, 's'}, {22, 's'}, {24, 'p'}, {20, 'n'}, {19, 'n'}, {18, 'n'}, {6, 'n'},            /* ... session */
    {5, 'n'}, {7, 'n'}, {8, 'n'}, {9, 'n'}, {10, 'n'}, {11, 'n'}, {12, 'n'}, {13, 'n'}, {16, 's'}, {17, 's'}, /* ... children's times */
    {23, 'n'}, {25, 'n'}, {38, 'n'}, {39, 'n'}, {40, 'n'}, {41, 'n'}, {42, 's'}, {43, 's'}, {44, 's'},  /* ... guest times */
    {26, 'n'}, {27, 'n'}, {28, 'n'}, {45, 'n'}, {46, 'n'}, {47, 'n'}, {48, 'n'}, {49, 'n'}, {50, 'n'}, {51, 'n'}, {52, 'n'},
};
#define ORDER (sizeof order / sizeof *order)

static PyObject *told(int negative, unsigned long value, char how)
{
    if (how == 's')
        return PyFloat_FromDouble(negative ? -(double)value / TICKS : (double)value / TICKS);
    if (how == 'p')
        return PyLong_FromUnsignedLong(negative ? 0 : value * 4096);
    return negative ? PyLong_FromLong(-(long)value) : PyLong_FromUnsignedLong(value);
}

struct number {
    unsigned long value;
    int negative;
};

/* The numbers behind the name; an older kernel has fewer, and the rest are 0. */
static void read_numbers(const char *at, struct number *field)
{
    for (int i = FIRST; i <= LAST; i++) {
        while (*at == ' ')
            at++;
        field[i].negative = *at == '-';
        at += field[i].negative;
        for (field[i].value = 0; *at >= '0' && *at <= '9'; at++)
            field[i].value = field[i].value * 10 + (unsigned)(*at - '0');
    }
}

static long leading_number(const char *text)
{
    long number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (*text - '0');
    return number;
}

static int fill(PyObject *record, const char *text, const char *open, const char *close)
{
    struct number field[LAST + 1];
    read_numbers(close + 3, field);
    PyObject *head[4] = {
        PyLong_FromLong(leading_number(text)), told(field[4].negative, field[4].value, 'n'),
        PyUnicode_DecodeFSDefaultAndSize(open + 1, close - open - 1), PyUnicode_DecodeFSDefaultAndSize(close + 2, 1),
    };
    int failed = 0;
    for (size_t i = 0; i < 4 + ORDER; i++) {
        PyObject *item = i < 4 ? head[i] : told(field[order[i - 4].field].negative, field[order[i - 4].field].value, order[i - 4].how);
        failed |= !item;
        PyTuple_SetItem(record, (Py_ssize_t)i, item);
    }
    return -failed;
}

/* The name is anything of up to 15 bytes, `) R (` and newlines too; behind it are numbers only, so the last bracket closes it. */
static PyObject *read_stat(PyObject *data, PyObject *cls)
{
    char *text;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(data, &text, &length) < 0)
        return NULL;
    const char *open = memchr(text, '(', (size_t)length), *close = text + length;
    while (open && close > open && *close != ')')
        close--;
    if (!open || close == open || text + length - close < 4)
        return PyErr_Format(PyExc_ValueError, "not the text of /proc/PID/stat: %R", data);
    PyObject *record = rs_new_record(cls, 4 + (Py_ssize_t)ORDER);
    if (record && fill(record, text, open, close) < 0)
        Py_CLEAR(record);
    return record;
}

/* (texts, cls) */
PyObject *rs_parse_stats(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyList_Check(args[0]))
        return PyErr_Format(PyExc_TypeError, "parse_stats(texts, cls, /) takes a list and a NamedTuple");
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list && i < PyList_Size(args[0]); i++) {
        PyObject *text = PyList_GetItem(args[0], i);
        if (PyLong_Check(text))
            continue;
        PyObject *record = read_stat(text, args[1]);
        if (!record || PyList_Append(list, record) < 0)
            Py_CLEAR(list);
        Py_XDECREF(record);
    }
    return list;
}

/* ---- samples ---- */

#define SMALL 64

/* What layout() shows, so neither is ever written: an initialised variable, and zeroes that the file does not hold.  The
 * zeroes begin in the last page of the data; two pages further they are surely in memory of their own. */
static volatile int initialised = 42;
static volatile char zeroes[3 * 4096];

static void release(PyObject *capsule)
{
    void **block = PyCapsule_GetPointer(capsule, NULL);
    if (!block)
        return;
    free(block[0]);
    free(block[1]);
    PyMem_Free(block);
}

static PyObject *keep(void *small, void *large)
{
    void **block = PyMem_Malloc(2 * sizeof *block);
    PyObject *capsule = block ? (block[0] = small, block[1] = large, PyCapsule_New(block, NULL, release)) : PyErr_NoMemory();
    if (!capsule) {
        free(small);
        free(large);
        PyMem_Free(block);
    }
    return capsule;
}

PyObject *rs_layout_samples(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    volatile int local = initialised;
    size_t size = count == 1 ? PyLong_AsSize_t(args[0]) : 0;
    if (PyErr_Occurred())
        return NULL;
    void *small = malloc(SMALL), *large = malloc(size);
    PyObject *kept = keep(small, large);
    if (!kept)
        return NULL;
    return Py_BuildValue("kkkkkkN", (unsigned long)&local, (unsigned long)small, (unsigned long)large, (unsigned long)&initialised,
                         (unsigned long)&zeroes[sizeof zeroes - 1], (unsigned long)(void (*)(void))rs_layout_samples, kept);
}
