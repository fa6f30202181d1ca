/* Running a Program from Python, and the Results of a run. */
#include "run.h"

#include <string.h>

#include "build.h"
#include "doors.h"

PyTypeObject *rs_program_type, *rs_slot_type, *rs_results_type;
static PyTypeObject *results_class; /* Results, the Python subclass */

struct results {
    PyObject_HEAD
    PyObject *program;
    char *block; /* what the run wrote; rs_frame points into it */
    struct rs_frame frame;
    uint8_t *taken; /* NULL, or for each step whether its descriptor was given to an owner already */
};

/* ---- begin and end ---- */

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

/* Converts the values; what they pin stays in bound->call. */
static int convert_values(struct rs_program_object *self, PyObject *const *values, struct rs_bound *bound, long *word, size_t *length)
{
    for (uint32_t i = 0; values && i < self->parameters; i++) {
        const struct rs_parameter *p = &self->parameter[i];
        if (!p->row)
            return PyErr_Format(PyExc_ValueError, "parameter %R stands in no step", p->name), -1;
        struct rs_call *call = &bound->call[bound->converted++];
        call->row = p->row;
        call->pins = 0;
        call->copies = 0;
        call->length[p->arg] = RS_UNMEASURED;
        if (rs_convert(call, p->arg, values[i]) < 0)
            return -1;
        word[i] = call->word[p->arg];
        length[i] = call->length[p->arg];
    }
    return 0;
}

static int take_handles(struct rs_program_object *self, struct rs_bound *bound)
{
    for (; bound->counted < self->handles; bound->counted++)
        if (rs_handle_take(self->handle[bound->counted], &bound->generation[bound->counted]) < 0)
            return -1;
    return 0;
}

/* How large each buffer is in this run; the sum, or -1 with an exception. */
static Py_ssize_t buffer_sizes(struct rs_program_object *self, const long *parameter, size_t *size)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < self->buffers; i++) {
        const struct rs_buffer *b = &self->buffer[i];
        size[i] = b->size;
        if (b->parameter >= 0) {
            long asked = parameter[b->parameter];
            if (asked < 0 || asked > PY_SSIZE_T_MAX / 4) {
                PyErr_Format(PyExc_ValueError, "parameter %R sizes a buffer and cannot be %ld", self->parameter[b->parameter].name, asked);
                return -1;
            }
            size[i] = (size_t)asked;
        }
        sum += aligned(size[i]);
    }
    return (Py_ssize_t)sum;
}

/* Extents that depend on parameters are known now, before anything runs. */
int rs_run_check(struct rs_program_object *self, const struct rs_frame *frame)
{
    for (uint32_t i = 0; self->bound && i < self->program->count; i++) {
        const struct rs_step *step = &self->program->step[i];
        long word[6];
        int asks = 0;
        for (unsigned k = 0; k < step->patches; k++)
            asks |= step->patch[k].source == RS_FROM_STEP;
        if (!(step->flags & RS_BOUND) || asks || !rs_patch(self->program, frame, step, word) || rs_within_bounds(frame, step, word, 0))
            continue;
        PyErr_Format(PyExc_ValueError, "step %u, %s: a buffer is shorter than the kernel may use with these parameters", i, step->row->signature);
        return -1;
    }
    return 0;
}

int rs_run_begin(struct rs_program_object *self, PyObject *const *values, struct rs_bound *bound)
{
    uint32_t steps = self->program->count, parameters = self->parameters, buffers = self->buffers;
    size_t tables = aligned((size_t)(steps + parameters * 2 + buffers * 2) * sizeof(long));
    *bound = (struct rs_bound){0};
    self->frozen = 1;
    bound->call = parameters ? PyMem_Malloc(parameters * sizeof *bound->call) : NULL;
    bound->generation = self->handles ? PyMem_Malloc(self->handles * sizeof *bound->generation) : NULL;
    long *table = PyMem_Calloc(1, tables + 16);
    if (!table || (parameters && !bound->call) || (self->handles && !bound->generation)) {
        PyMem_Free(table);
        PyErr_NoMemory();
        goto failed;
    }
    bound->block = (char *)table;
    long *parameter = table + steps, *buffer = parameter + parameters * 2;
    size_t *parameter_length = (size_t *)(parameter + parameters), *size = (size_t *)(buffer + buffers);
    if (convert_values(self, values, bound, parameter, parameter_length) < 0)
        goto failed;
    Py_ssize_t memory = buffer_sizes(self, parameter, size);
    if (memory < 0)
        goto failed;
    if (memory) { /* the sizes had to be known first: move the tables into a block with room for the buffers */
        char *whole = PyMem_Calloc(1, tables + (size_t)memory);
        if (!whole) {
            PyErr_NoMemory();
            goto failed;
        }
        memcpy(whole, table, tables);
        PyMem_Free(table);
        table = (long *)(bound->block = whole);
        parameter = table + steps, buffer = parameter + parameters * 2;
        parameter_length = (size_t *)(parameter + parameters), size = (size_t *)(buffer + buffers);
    }
    bound->block_size = tables + (size_t)memory;
    char *next = bound->block + tables;
    for (uint32_t i = 0; i < buffers; next += aligned(size[i++])) {
        buffer[i] = (long)next;
        if (self->buffer[i].initial)
            memcpy(next, PyBytes_AsString(self->buffer[i].initial), size[i]);
    }
    bound->frame = (struct rs_frame){.answer = table, .parameter = parameter, .parameter_length = parameter_length,
                                     .buffer = buffer, .buffer_length = size};
    if ((!values || rs_run_check(self, &bound->frame) == 0) && take_handles(self, bound) == 0)
        return 0;
failed:
    rs_run_end(self, bound);
    PyMem_Free(bound->block);
    bound->block = NULL;
    return -1;
}

void rs_run_end(struct rs_program_object *self, struct rs_bound *bound)
{
    while (bound->counted)
        bound->counted--, rs_handle_drop(self->handle[bound->counted], bound->generation[bound->counted]);
    while (bound->converted)
        rs_finish(&bound->call[--bound->converted]);
    PyMem_Free(bound->call);
    PyMem_Free(bound->generation);
    bound->call = NULL;
    bound->generation = NULL;
}

/* ---- the values of the parameters ---- */

static int index_of(struct rs_program_object *self, PyObject *name)
{
    for (uint32_t i = 0; i < self->parameters; i++)
        if (self->parameter[i].name == name)
            return (int)i;
    for (uint32_t i = 0; i < self->parameters; i++)
        if (PyUnicode_Check(name) && PyUnicode_Compare(self->parameter[i].name, name) == 0)
            return (int)i;
    PyErr_Format(PyExc_TypeError, "this Program has no parameter %R", name);
    return -1;
}

int rs_run_values(struct rs_program_object *self, PyObject *const *given, PyObject *names, PyObject **values)
{
    Py_ssize_t count = names ? PyTuple_Size(names) : 0;
    memset(values, 0, self->parameters * sizeof *values);
    for (Py_ssize_t k = 0; k < count; k++) {
        int i = index_of(self, PyTuple_GetItem(names, k));
        if (i < 0)
            return -1;
        values[i] = given[k];
    }
    for (uint32_t i = 0; i < self->parameters; i++)
        if (!values[i])
            return PyErr_Format(PyExc_TypeError, "parameter %R is missing", self->parameter[i].name), -1;
    return 0;
}

/* ---- run ---- */

int rs_run_here(struct rs_program_object *self, struct rs_frame *frame)
{
    const struct rs_program *program = self->program;
    uint32_t next = 0;
    for (;;) {
        PyThreadState *state = self->blocks ? PyEval_SaveThread() : NULL;
        next = rs_run(program, frame, next, program->count, 0);
        if (state)
            PyEval_RestoreThread(state);
        if (RS_LIKELY(next == program->count))
            return 0;
        if (PyErr_CheckSignals() < 0)
            break;
    }
    frame->stopping = 1; /* a handler raised: what is open is closed by the `always` steps */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyThreadState *state = PyEval_SaveThread();
    rs_run(program, frame, next + 1, program->count, 1);
    PyEval_RestoreThread(state);
    PyErr_Restore(type, value, traceback);
    return -1;
}

PyObject *rs_run_results(struct rs_program_object *self, struct rs_bound *bound)
{
    struct results *results = (struct results *)PyType_GenericAlloc(results_class ? results_class : rs_results_type, 0);
    if (!results) {
        PyMem_Free(bound->block);
        return NULL;
    }
    Py_INCREF(results->program = (PyObject *)self);
    results->block = bound->block;
    results->frame = bound->frame;
    return (PyObject *)results;
}

#define FEW 8

static PyObject *run(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct rs_program_object *self = (struct rs_program_object *)object;
    PyObject *few[FEW], **values = few;
    struct rs_bound bound;
    if (count)
        return PyErr_Format(PyExc_TypeError, "run() takes the parameters by name");
    if (self->ends_in_exec) {
        rs_complain("RefusedCallError", "a Program that ends in %s runs only in a child: use rawsys.raw_fork(program)",
                    self->program->step[self->program->count - 1].row->name);
        return NULL;
    }
    if (self->parameters > FEW && !(values = PyMem_Malloc(self->parameters * sizeof *values)))
        return PyErr_NoMemory();
    int begun = rs_run_values(self, args, names, values) < 0 ? -1 : rs_run_begin(self, values, &bound);
    if (values != few)
        PyMem_Free(values);
    if (begun < 0)
        return NULL;
    int ran = rs_run_here(self, &bound.frame);
    rs_run_end(self, &bound);
    if (ran == 0)
        return rs_run_results(self, &bound);
    PyMem_Free(bound.block);
    return NULL;
}

/* raw_fork(program): the child runs the steps and exits with 0, or 127 when one failed. */
PyObject *rs_fork_program(PyObject *object)
{
    struct rs_program_object *self = (struct rs_program_object *)object;
    struct rs_bound bound;
    if (!PyObject_TypeCheck(object, rs_program_type))
        return PyErr_Format(PyExc_TypeError, "raw_fork() takes a Program, not %R", Py_TYPE(object));
    if (self->parameters)
        return PyErr_Format(PyExc_TypeError, "raw_fork() takes a Program without parameters; this one has %u", self->parameters);
    if (rs_run_begin(self, NULL, &bound) < 0)
        return NULL;
    long pid = rs_syscall0(57);
    if (pid == 0) {
        rs_run(self->program, &bound.frame, 0, self->program->count, 1);
        rs_syscall1(231, rs_first_failure(self->program, &bound.frame) == self->program->count ? 0 : 127);
    }
    rs_run_end(self, &bound);
    PyMem_Free(bound.block);
    return rs_answer(pid);
}

/* ---- results ---- */

static const struct rs_program *steps_of(const struct results *self)
{
    return ((struct rs_program_object *)self->program)->program;
}

/* The index that a Step of this program, or an int, names; -1 with an exception. */
static Py_ssize_t step_index(struct results *self, PyObject *key)
{
    struct rs_slot *slot = (struct rs_slot *)key;
    if (Py_TYPE(key) == rs_slot_type) {
        if (slot->program == self->program && slot->source == RS_FROM_STEP)
            return slot->index;
        PyErr_Format(PyExc_ValueError, "%R is no step of the Program that gave these results", key);
        return -1;
    }
    Py_ssize_t count = steps_of(self)->count, index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (index == -1 && PyErr_Occurred())
        return -1;
    index += index < 0 ? count : 0;
    if (index >= 0 && index < count)
        return index;
    PyErr_Format(PyExc_IndexError, "these results have %zd steps", count);
    return -1;
}

static Py_ssize_t results_length(PyObject *object)
{
    return steps_of((struct results *)object)->count;
}

static PyObject *results_item(PyObject *object, Py_ssize_t index)
{
    struct results *self = (struct results *)object;
    if (index < 0 || index >= results_length(object))
        return PyErr_Format(PyExc_IndexError, "these results have %zd steps", results_length(object));
    return rs_answer(self->frame.answer[index]);
}

static PyObject *results_subscript(PyObject *object, PyObject *key)
{
    Py_ssize_t index = step_index((struct results *)object, key);
    return index < 0 ? NULL : results_item(object, index);
}

/* The buffer that a step's kernel call writes to (or reads from): the first one among its arguments. */
static int buffer_of(const struct rs_step *step)
{
    int found = -1;
    for (unsigned i = 0; i < step->patches; i++)
        if (step->patch[i].source == RS_FROM_BUFFER && (found < 0 || step->row->arg[step->patch[i].word].kind == RS_OUT))
            found = (int)step->patch[i].index;
    return found;
}

static PyObject *results_data(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct results *self = (struct results *)object;
    if (count != 1)
        return PyErr_Format(PyExc_TypeError, "data(step, /) takes 1 argument, got %zd", count);
    struct rs_slot *slot = (struct rs_slot *)args[0];
    if (Py_TYPE(args[0]) == rs_slot_type && slot->program == self->program && slot->source == RS_FROM_BUFFER)
        return PyBytes_FromStringAndSize((char *)self->frame.buffer[slot->index], (Py_ssize_t)self->frame.buffer_length[slot->index]);
    Py_ssize_t index = step_index(self, args[0]);
    if (index < 0)
        return NULL;
    const struct rs_step *step = &steps_of(self)->step[index];
    int buffer = buffer_of(step);
    if (buffer < 0)
        return PyErr_Format(PyExc_ValueError, "step %zd, %s, has no buffer of the Program", index, step->row->name);
    long answer = self->frame.answer[index];
    size_t size = self->frame.buffer_length[buffer];
    if (rs_failed(answer))
        size = 0;
    else if (step->row->returns == RS_SIZE && (size_t)answer < size)
        size = (size_t)answer;
    return PyBytes_FromStringAndSize((char *)self->frame.buffer[buffer], (Py_ssize_t)size);
}

/* fd(step): an owner for the answer, once; the answer itself (-errno) where the step failed. */
static PyObject *results_take(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct results *self = (struct results *)object;
    Py_ssize_t index = count == 1 ? step_index(self, args[0]) : -1;
    if (index < 0)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "fd(step, /) takes 1 argument, got %zd", count);
    const struct rs_row *row = steps_of(self)->step[index].row;
    if (row->returns != RS_NEWFD)
        return PyErr_Format(PyExc_ValueError, "step %zd, %s, gives no descriptor", index, row->name);
    if (!self->taken && !(self->taken = PyMem_Calloc(steps_of(self)->count, 1)))
        return PyErr_NoMemory();
    if (self->taken[index])
        return PyErr_Format(PyExc_ValueError, "the descriptor of step %zd, %s, was taken already", index, row->name);
    if (rs_failed(self->frame.answer[index]))
        return rs_answer(self->frame.answer[index]);
    self->taken[index] = 1;
    return rs_fd_fresh((int)self->frame.answer[index]);
}

static PyObject *results_failure(PyObject *object, void *unused)
{
    (void)unused;
    struct results *self = (struct results *)object;
    uint32_t index = rs_first_failure(steps_of(self), &self->frame);
    if (index == steps_of(self)->count)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLong(index);
}

static PyObject *results_program(PyObject *object, void *unused)
{
    (void)unused;
    PyObject *program = ((struct results *)object)->program;
    Py_INCREF(program);
    return program;
}

static void results_dealloc(PyObject *object)
{
    struct results *self = (struct results *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->program);
    PyMem_Free(self->taken);
    PyMem_Free(self->block);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyMethodDef results_methods[] = {
    RS_METHOD("data", results_data,
              "data($self, step, /)\n--\n\nWhat a step left in its buffer, as bytes: as many as it answered, or the whole buffer where its\n"
              "answer is no count.  Also takes a buffer of the Program, for all of its memory."),
    RS_METHOD("_take", results_take, "_take($self, step, /)\n--\n\nAn owner for the answer of a step, once; -errno where it failed."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef results_getters[] = {
    {"failed_index", results_failure, NULL, "The index of the first step that failed, or None.", NULL},
    {"program", results_program, NULL, "The Program that gave these results.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot results_slots[] = {
    {Py_tp_doc, "The answers of one run, in the order of the steps."},
    {Py_tp_new, rs_no_new},
    {Py_tp_dealloc, results_dealloc},
    {Py_sq_length, results_length},
    {Py_sq_item, results_item},
    {Py_mp_length, results_length},
    {Py_mp_subscript, results_subscript},
    {Py_tp_methods, results_methods},
    {Py_tp_getset, results_getters},
    {0, NULL},
};

/* ---- types ---- */

static PyMethodDef run_methods[] = {
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL | METH_KEYWORDS,
     "run($self, /, **parameters)\n--\n\nRun all steps in one crossing; the Results say what each one answered.\n\n"
     "The GIL is released where a step may block.  A `retry` step that a signal interrupts lets Python's handlers\n"
     "run and goes on; when one raises, the `always` steps still run, and the exception is raised from here.\n\n"
     "Raises TypeError for a parameter that is missing, unknown or of the wrong kind, ValueError where a buffer would\n"
     "be too short, ClosedError where an owner is closed: each before anything runs."},
    RS_METHOD("_run_each", rs_run_each, "_run_each($self, inputs, step, mode, /)\n--\n\nOne run for each input."),
};

static PyMethodDef program_methods[sizeof run_methods / sizeof *run_methods + 8];

static PyObject *register_results(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)count;
    Py_INCREF(args[0]);
    results_class = (PyTypeObject *)args[0];
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    RS_METHOD("failures", rs_failures, "failures($module, results, /)\n--\n\nThe indexes of a list's ints."),
    RS_METHOD("distinct_folders", rs_distinct_folders,
              "distinct_folders($module, paths, /)\n--\n\nThe folders of a tuple of str as a set, None where one is no str."),
    RS_METHOD("register_results", register_results, "register_results($module, cls, /)\n--\n\nThe class that run() gives."),
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *make(PyObject *module, const char *name, const char *full, int size, unsigned flags, PyType_Slot *slots)
{
    PyType_Spec spec = {.name = full, .basicsize = size, .flags = flags, .slots = slots};
    PyObject *type = PyType_FromSpec(&spec);
    if (type && PyModule_AddObjectRef(module, name, type) < 0)
        Py_CLEAR(type);
    return (PyTypeObject *)type;
}

int rs_run_setup(PyObject *module)
{
    unsigned n = 0;
    for (PyMethodDef *m = rs_build_methods; m->ml_name; m++)
        program_methods[n++] = *m;
    for (unsigned i = 0; i < sizeof run_methods / sizeof *run_methods; i++)
        program_methods[n++] = run_methods[i];
    for (PyType_Slot *slot = rs_program_slots; slot->slot; slot++)
        if (slot->slot == Py_tp_methods)
            slot->pfunc = program_methods;
    const unsigned base = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE;
    rs_program_type = make(module, "Core", "rawsys.program.Core", sizeof(struct rs_program_object), base | Py_TPFLAGS_HAVE_GC, rs_program_slots);
    rs_slot_type = make(module, "Slot", "rawsys.program.Slot", sizeof(struct rs_slot), Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, rs_slot_slots);
    rs_results_type = make(module, "ResultsCore", "rawsys.program.ResultsCore", sizeof(struct results), base, results_slots);
    return rs_program_type && rs_slot_type && rs_results_type ? PyModule_AddFunctions(module, functions) : -1;
}
