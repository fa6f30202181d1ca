#ifndef RAWSYS_PROCPARSE_H
#define RAWSYS_PROCPARSE_H

#include "py.h"

/* One line of /proc/PID/maps, or one entry of smaps; the pointers lead into the text. */
struct rs_region {
    unsigned long start, end, offset, inode, device;
    const char *perms, *path, *fields; /* fields: the lines below it in smaps */
    size_t path_length, fields_length;
    int kind;
};

enum rs_region_kind {
    RS_IS_STACK, RS_IS_THREAD_STACK, RS_IS_HEAP, RS_IS_TEXT, RS_IS_RODATA, RS_IS_DATA, RS_IS_BSS, RS_IS_ANON, RS_IS_FILE, RS_IS_SHARED, RS_IS_VDSO, RS_IS_VVAR, RS_IS_VSYSCALL, RS_IS_GUARD,
    RS_REGION_KINDS
};

/* Where the threads' stack pointers are known to lie; `guess` where one is not: then a guard page tells a stack. */
struct rs_stacks {
    const unsigned long *pointer;
    size_t count;
    int guess;
};

int rs_read_regions(const char *text, size_t length, struct rs_region **regions, size_t *count);
int rs_classify(struct rs_region *regions, size_t count, const struct rs_stacks *stacks);

/* An empty instance of a NamedTuple, to be filled by PyTuple_SetItem before anybody sees it. */
PyObject *rs_new_record(PyObject *cls, Py_ssize_t size);

PyObject *rs_parse_maps(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *rs_parse_smaps(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *rs_parse_stats(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *rs_layout_samples(PyObject *module, PyObject *const *args, Py_ssize_t count);
int rs_proc_setup(PyObject *module);

#endif
