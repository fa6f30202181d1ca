/* /proc's text as records: the loops over thousands of lines and processes that Python would take too long for. */
#include <stdlib.h>
#include <string.h>

#include "procparse.h"

PyObject *rs_new_record(PyObject *cls, Py_ssize_t size)
{
    if (!PyType_Check(cls) || !PyType_IsSubtype((PyTypeObject *)cls, &PyTuple_Type))
        return PyErr_Format(PyExc_TypeError, "a NamedTuple is needed, not %R", cls);
    allocfunc alloc = (allocfunc)PyType_GetSlot((PyTypeObject *)cls, Py_tp_alloc);
    return alloc((PyTypeObject *)cls, size);
}

/* ---- regions ---- */

static const char *const kind_names[RS_REGION_KINDS] = {
    "stack", "thread_stack", "heap", "text", "rodata", "data", "bss", "anon", "file", "shared", "vdso", "vvar", "vsyscall", "guard",
};

/* Fields of smaps in the order of the record, which is the kernel's; the first ones are bytes, told in KiB. */
static const char *const fields[] = {
    "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced",
    "Anonymous", "KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss", "Locked",
    "THPeligible", "ProtectionKey",
};
#define FIELDS (sizeof fields / sizeof *fields)
#define BYTE_FIELDS 21
#define REGION_FIELDS 9

struct making {
    PyObject *cls, *kind[RS_REGION_KINDS], *perms, *path;
    const struct rs_region *last; /* whose perms and path those are: neighbours are often alike */
};

static PyObject *shared(PyObject **kept, const char *text, size_t length, const char *old, size_t old_length)
{
    if (!*kept || length != old_length || memcmp(text, old, length)) {
        Py_XDECREF(*kept);
        *kept = PyUnicode_DecodeFSDefaultAndSize(text, (Py_ssize_t)length);
    }
    Py_XINCREF(*kept);
    return *kept;
}

static int fill_region(struct making *m, PyObject *record, const struct rs_region *r)
{
    const struct rs_region *last = m->last ? m->last : r;
    PyObject *item[REGION_FIELDS] = {
        PyLong_FromUnsignedLong(r->start), PyLong_FromUnsignedLong(r->end),
        shared(&m->perms, r->perms, 4, last->perms, 4), PyLong_FromUnsignedLong(r->offset),
        PyLong_FromUnsignedLong(r->device), PyLong_FromUnsignedLong(r->inode),
        shared(&m->path, r->path, r->path_length, last->path, last->path_length), m->kind[r->kind], Py_False,
    };
    Py_INCREF(item[7]);
    Py_INCREF(Py_False);
    m->last = r;
    int failed = 0;
    for (int i = 0; i < REGION_FIELDS; i++) {
        failed |= !item[i];
        PyTuple_SetItem(record, i, item[i]);
    }
    return -failed;
}

static size_t find_field(const char *name, size_t length, size_t guess)
{
    for (size_t n = 0; n < FIELDS; n++) {
        size_t i = (guess + n) % FIELDS;
        if (strlen(fields[i]) == length && !memcmp(fields[i], name, length))
            return i;
    }
    return FIELDS;
}

/* One line: "Rss:       132 kB", or "VmFlags: rd ex mr mw me sd". */
static void read_field(const char *at, const char *newline, size_t *guess, unsigned long *values, const char **flags, size_t *flags_length)
{
    const char *colon = memchr(at, ':', (size_t)(newline - at));
    if (!colon)
        return;
    const char *value = colon + 1;
    while (value < newline && *value == ' ')
        value++;
    if (colon - at == 7 && !memcmp(at, "VmFlags", 7)) {
        *flags = value;
        *flags_length = (size_t)(newline - value);
        while (*flags_length && value[*flags_length - 1] == ' ')
            --*flags_length;
        return;
    }
    size_t i = find_field(at, (size_t)(colon - at), *guess);
    if (i == FIELDS)
        return; /* newer than this, or Size, which the addresses tell */
    *guess = i + 1;
    unsigned long number = 0;
    for (; *value >= '0' && *value <= '9'; value++)
        number = number * 10 + (unsigned)(*value - '0');
    values[i] = i < BYTE_FIELDS ? number * 1024 : number;
}

static int fill_fields(PyObject *record, const struct rs_region *r)
{
    unsigned long values[FIELDS] = {0};
    const char *flags = "", *end = r->fields + r->fields_length;
    size_t flags_length = 0, guess = 0;
    for (const char *at = r->fields; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline)
            newline = end;
        read_field(at, newline, &guess, values, &flags, &flags_length);
        at = newline + 1;
    }
    int failed = 0;
    for (size_t i = 0; i <= FIELDS; i++) {
        PyObject *item = i < FIELDS ? PyLong_FromUnsignedLong(values[i]) : PyUnicode_DecodeFSDefaultAndSize(flags, (Py_ssize_t)flags_length);
        failed |= !item;
        PyTuple_SetItem(record, (Py_ssize_t)(REGION_FIELDS + i), item);
    }
    return -failed;
}

static PyObject *make_list(struct making *m, const struct rs_region *regions, size_t count, int whole)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *record = rs_new_record(m->cls, REGION_FIELDS + (whole ? (Py_ssize_t)FIELDS + 1 : 0));
        if (!record || fill_region(m, record, &regions[i]) < 0 || (whole && fill_fields(record, &regions[i]) < 0)) {
            Py_XDECREF(record);
            Py_CLEAR(list);
        } else
            PyList_SetItem(list, (Py_ssize_t)i, record);
    }
    return list;
}

static PyObject *make_regions(PyObject *cls, const struct rs_region *regions, size_t count, int whole)
{
    struct making m = {.cls = cls};
    int failed = 0;
    for (int i = 0; i < RS_REGION_KINDS; i++)
        failed |= !(m.kind[i] = PyUnicode_InternFromString(kind_names[i]));
    PyObject *list = failed ? NULL : make_list(&m, regions, count, whole);
    for (int i = 0; i < RS_REGION_KINDS; i++)
        Py_XDECREF(m.kind[i]);
    Py_XDECREF(m.perms);
    Py_XDECREF(m.path);
    return list;
}

/* (data, cls, stack_pointers as bytes of u64, guess) */
static PyObject *parse(PyObject *const *args, Py_ssize_t count, int whole)
{
    char *text, *pointers;
    Py_ssize_t length, pointers_length;
    if (count != 4)
        return PyErr_Format(PyExc_TypeError, "4 arguments are needed, got %zd", count);
    if (PyBytes_AsStringAndSize(args[0], &text, &length) < 0 || PyBytes_AsStringAndSize(args[2], &pointers, &pointers_length) < 0)
        return NULL;
    struct rs_stacks stacks = {(const unsigned long *)pointers, (size_t)pointers_length / sizeof(long), PyObject_IsTrue(args[3])};
    struct rs_region *regions = NULL;
    size_t found;
    PyObject *list = NULL;
    if (rs_read_regions(text, (size_t)length, &regions, &found) == 0 && rs_classify(regions, found, &stacks) == 0)
        list = make_regions(args[1], regions, found, whole);
    PyMem_Free(regions);
    return list;
}

PyObject *rs_parse_maps(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    return parse(args, count, 0);
}

PyObject *rs_parse_smaps(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    return parse(args, count, 1);
}

/* ---- setup ---- */

static PyMethodDef functions[] = {
    RS_METHOD("parse_maps", rs_parse_maps,
              "parse_maps($module, data, cls, stack_pointers, guess, /)\n--\n\nThe text of /proc/PID/maps as a list of `cls`."),
    RS_METHOD("parse_smaps", rs_parse_smaps,
              "parse_smaps($module, data, cls, stack_pointers, guess, /)\n--\n\nThe text of /proc/PID/smaps as a list of `cls`."),
    RS_METHOD("parse_stats", rs_parse_stats,
              "parse_stats($module, texts, cls, /)\n--\n\nTexts of /proc/PID/stat as a list of `cls`; numbers (errnos) among them are left out."),
    RS_METHOD("layout_samples", rs_layout_samples,
              "layout_samples($module, size, /)\n--\n\nAddresses of a stack variable, a small and a malloc of `size`, data, BSS and a function, and\n"
              "what keeps the two blocks."),
    {NULL, NULL, 0, NULL},
};

int rs_proc_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
