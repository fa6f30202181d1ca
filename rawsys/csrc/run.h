/* Program as Python sees it: steps are added, then bound to parameters and run.
 *
 * Here, in a child, in a native thread and in a handler a run is the same three things: rs_run_begin
 * (convert the parameters, lay out the frame, count the Handles), rs_run, rs_run_end.
 */
#ifndef RAWSYS_RUN_H
#define RAWSYS_RUN_H

#include "call.h"
#include "program.h"

extern PyTypeObject *rs_program_type, *rs_slot_type, *rs_results_type;

/* A value that is known when the program runs: the answer of a step, a parameter, the address of a buffer. */
struct rs_slot {
    PyObject_HEAD
    PyObject *program;
    uint32_t index;
    uint8_t source;
};

struct rs_parameter {
    PyObject *name;
    const struct rs_row *row; /* where it stands, which is how its value is converted; NULL while nowhere */
    unsigned arg;
};

struct rs_buffer {
    size_t size;
    int64_t parameter;  /* -1, or the parameter that gives the size */
    PyObject *initial;  /* NULL, or the bytes that it starts with */
};

struct rs_program_object {
    PyObject_HEAD
    struct rs_program *program;
    uint32_t capacity, parameters, buffers, handles;
    struct rs_parameter *parameter;
    struct rs_buffer *buffer;
    struct rs_handle **handle;
    struct rs_call **pinned; /* one for each step: what its constant arguments hold */
    PyObject *kept;          /* list of the argument tuples of all steps, None where a slot stands */
    uint8_t frozen, blocks, ends_in_exec;
    uint8_t bound; /* some step's extent depends on what it is given: see RS_BOUND */
};

struct rs_bound {
    struct rs_frame frame;
    char *block;               /* answers, parameters, addresses and buffers, in one piece */
    size_t block_size;
    struct rs_call *call;      /* one for each parameter: what its value pins */
    unsigned *generation;      /* of each counted Handle */
    uint32_t converted, counted;
};

/* Values of the parameters in order; NULL: the caller brings converted ones.  0, or -1 with an exception and
 * nothing held. */
int rs_run_begin(struct rs_program_object *self, PyObject *const *values, struct rs_bound *bound);
void rs_run_end(struct rs_program_object *self, struct rs_bound *bound); /* keeps the block */

/* Extents that depend on parameters, before anything runs. */
int rs_run_check(struct rs_program_object *self, const struct rs_frame *frame);

/* Values of the parameters by name, as a call gives them; borrowed references into values[]. */
int rs_run_values(struct rs_program_object *self, PyObject *const *given, PyObject *names, PyObject **values);

/* Run with the GIL law and the EINTR law; 0, or -1 when a signal handler raised. */
int rs_run_here(struct rs_program_object *self, struct rs_frame *frame);

/* The Results of a run that is over; they take the block. */
PyObject *rs_run_results(struct rs_program_object *self, struct rs_bound *bound);

PyObject *rs_no_new(PyTypeObject *type, PyObject *args, PyObject *keywords); /* these come from Programs only */
int rs_run_setup(PyObject *module);
PyObject *rs_run_each(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *rs_failures(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *rs_distinct_folders(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
