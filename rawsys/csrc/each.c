/* run_each: one program over many inputs, in one crossing.
 *
 * All inputs are converted first; then the runs follow each other without the GIL.  What they collect goes
 * into one arena at a running offset, and becomes bytes objects when less than a window is left: once a MiB.
 */
#include <string.h>

#include "run.h"

#define MINUS_EFBIG -27
#define ARENA (1 << 20)

enum mode { ANSWERS, DATA, DATA_AND_MORE, RECORDS };
enum pause { DONE, ARENA_FULL, LOOK_FOR_SIGNALS, NO_MEMORY };

struct each {
    struct rs_program_object *self;
    struct rs_bound bound;
    PyObject *kept;      /* what the converted inputs point into */
    long *value;         /* count * parameters */
    size_t *length;
    struct rs_call *held; /* conversions that hold views or Handles */
    size_t held_count;
    Py_ssize_t count, at, made; /* inputs; the one that runs; those whose object is made */
    PyObject *list;
    long *outcome;       /* of each input: a number of bytes, an answer, or -errno */
    uint32_t collect, next;
    enum mode mode;
    int window_buffer, is_size;
    size_t window, arena_size, used, got, first; /* got: of the running input; first: where the first unmade one starts */
    char *arena;
    long last_look;
};

/* ---- inputs ---- */

/* Keeps what a conversion pinned.  Objects go to a list; views and Handles stay in their call. */
static int hold(struct each *e, struct rs_call *call)
{
    while (call->pins && call->pin[call->pins - 1].what == RS_PIN_OBJECT) {
        int failed = PyList_Append(e->kept, call->pin[call->pins - 1].object) < 0;
        Py_DECREF(call->pin[--call->pins].object);
        if (failed)
            return -1;
    }
    if (!call->pins)
        return 0;
    if (!(e->held_count & (e->held_count - 1))) {
        struct rs_call *grown = PyMem_Realloc(e->held, (e->held_count ? e->held_count * 2 : 1) * sizeof *grown);
        if (!grown)
            return PyErr_NoMemory(), -1;
        e->held = grown;
    }
    e->held[e->held_count++] = *call;
    return 0;
}

static int convert_value(struct each *e, Py_ssize_t input, uint32_t parameter, PyObject *value)
{
    const struct rs_parameter *p = &e->self->parameter[parameter];
    size_t place = (size_t)input * e->self->parameters + parameter;
    struct rs_call call; /* clearing it whole would cost as much as the conversion */
    call.row = p->row;
    call.pins = 0;
    call.copies = 0;
    call.length[p->arg] = RS_UNMEASURED;
    if (rs_convert_fast(&call, p->row, p->arg, value) < 0 || (call.pins && hold(e, &call) < 0)) {
        rs_finish(&call);
        return -1;
    }
    e->value[place] = call.word[p->arg];
    e->length[place] = call.length[p->arg];
    return 0;
}

static int convert_input(struct each *e, Py_ssize_t i, PyObject *input)
{
    uint32_t parameters = e->self->parameters;
    if (parameters == 1 && !PyDict_Check(input))
        return convert_value(e, i, 0, input);
    if (!PyDict_Check(input) && !(PyTuple_Check(input) && PyTuple_Size(input) == parameters))
        return PyErr_Format(PyExc_TypeError, "an input is a dict, or a tuple of %u values, not %R", parameters, input), -1;
    if (PyDict_Check(input) && PyDict_Size(input) > parameters)
        return PyErr_Format(PyExc_TypeError, "input %R names more than the %u parameters", input, parameters), -1;
    for (uint32_t p = 0; p < parameters; p++) {
        PyObject *name = e->self->parameter[p].name;
        PyObject *value = PyDict_Check(input) ? PyDict_GetItemWithError(input, name) : PyTuple_GetItem(input, p);
        if (!value && !PyErr_Occurred())
            PyErr_Format(PyExc_TypeError, "parameter %R is missing in input %R", name, input);
        if (!value || convert_value(e, i, p, value) < 0 || (PyDict_Check(input) && PyList_Append(e->kept, value) < 0))
            return -1; /* kept: another thread may change the dict while the runs point into its values */
    }
    return 0;
}

static int convert_inputs(struct each *e, PyObject *inputs)
{
    size_t values = (size_t)e->count * e->self->parameters;
    e->value = PyMem_Malloc(values * sizeof *e->value + 1);
    e->length = PyMem_Malloc(values * sizeof *e->length + 1);
    e->outcome = PyMem_Malloc((size_t)e->count * sizeof *e->outcome + 1);
    if (!e->value || !e->length || !e->outcome)
        return PyErr_NoMemory(), -1;
    for (uint32_t p = 0; p < e->self->parameters; p++)
        if (!e->self->parameter[p].row)
            return PyErr_Format(PyExc_ValueError, "parameter %R stands in no step", e->self->parameter[p].name), -1;
    for (Py_ssize_t i = 0; i < e->count; i++)
        if (convert_input(e, i, PyTuple_GetItem(inputs, i)) < 0)
            return -1;
    return 0;
}

/* ---- one input ---- */

static void place(struct each *e)
{
    size_t at = (size_t)e->at * e->self->parameters;
    e->bound.frame.parameter = e->value + at;
    e->bound.frame.parameter_length = e->length + at;
}

/* No state between runs: the buffers are as the Program made them, but for the window, whose answer says how
 * much of it is new. */
static void reset(struct each *e)
{
    struct rs_frame *frame = &e->bound.frame;
    frame->stopping = 0;
    for (uint32_t b = 0; b < e->self->buffers; b++) {
        const struct rs_buffer *buffer = &e->self->buffer[b];
        if (buffer->initial)
            memcpy((void *)frame->buffer[b], PyBytes_AsString(buffer->initial), buffer->size);
        else if ((int)b != e->window_buffer || !e->is_size)
            memset((void *)frame->buffer[b], 0, buffer->size);
    }
}

static void aim(struct each *e)
{
    char *memory = e->mode == RECORDS ? e->arena + (size_t)e->at * e->window : e->arena + e->used + e->got;
    if (e->window_buffer >= 0)
        ((long *)e->bound.frame.buffer)[e->window_buffer] = (long)memory;
}

/* The collected step again and again until it answers 0; DONE when it has. */
static enum pause collect_more(struct each *e)
{
    const struct rs_program *program = e->self->program;
    while (e->bound.frame.answer[e->collect] > 0) {
        e->got += (size_t)e->bound.frame.answer[e->collect];
        e->bound.frame.answer[e->collect] = 0; /* counted; a pause below must not count it again */
        e->next = e->collect;
        if (e->arena_size - e->used - e->got < e->window)
            return ARENA_FULL;
        aim(e);
        if (rs_run(program, &e->bound.frame, e->collect, e->collect + 1, 0) == e->collect)
            return LOOK_FOR_SIGNALS;
        e->next = e->collect + 1;
    }
    return DONE;
}

static void conclude(struct each *e)
{
    const struct rs_program *program = e->self->program;
    uint32_t failed = rs_first_failure(program, &e->bound.frame);
    long answer = e->bound.frame.answer[failed < program->count ? failed : e->collect];
    if (failed == program->count && e->mode == DATA_AND_MORE)
        answer = (long)e->got;
    else if (failed == program->count && e->mode == DATA)
        answer = !e->is_size ? (long)e->window : answer == (long)e->window ? MINUS_EFBIG : answer;
    if (rs_failed(answer) && e->mode == RECORDS)
        memset((void *)e->bound.frame.buffer[e->window_buffer], 0, e->window);
    if (!rs_failed(answer) && (e->mode == DATA || e->mode == DATA_AND_MORE))
        e->used += (size_t)answer;
    e->outcome[e->at++] = answer;
    e->got = 0;
    e->next = 0;
}

/* Runs or resumes the input at e->at. */
static enum pause run_input(struct each *e)
{
    const struct rs_program *program = e->self->program;
    uint32_t middle = e->mode == DATA_AND_MORE ? e->collect + 1 : program->count;
    if (e->mode != RECORDS && e->mode != ANSWERS && e->arena_size - e->used - e->got < e->window)
        return ARENA_FULL;
    place(e);
    aim(e);
    if (e->next == 0)
        reset(e);
    if (e->next < middle) {
        e->next = rs_run(program, &e->bound.frame, e->next, middle, 0);
        if (e->next < middle)
            return LOOK_FOR_SIGNALS;
    }
    if (e->mode == DATA_AND_MORE) {
        enum pause pause = e->next == middle ? collect_more(e) : DONE;
        if (pause != DONE)
            return pause;
        e->next = rs_run(program, &e->bound.frame, e->next, program->count, 0);
        if (e->next < program->count)
            return LOOK_FOR_SIGNALS;
    }
    conclude(e);
    return DONE;
}

/* ---- all inputs ---- */

static long now_ms(void)
{
    long time[2];
    rs_syscall2(228, 6 /* CLOCK_MONOTONIC_COARSE */, (long)time);
    return time[0] * 1000 + time[1] / 1000000;
}

/* Without the GIL.  Python's signal handlers need it, but taking it for every few files would cost more than
 * the files when another thread computes: every 256 inputs the clock is asked, and 50 ms are at once for a person. */
static enum pause run_inputs(struct each *e)
{
    while (e->at < e->count) {
        if (!(e->at & 255) && !e->next) {
            long now = now_ms();
            if (now - e->last_look > 50) {
                e->last_look = now;
                return LOOK_FOR_SIGNALS;
            }
        }
        enum pause pause = run_input(e);
        if (pause != DONE)
            return pause;
    }
    return DONE;
}

/* Objects for the inputs that are through; the arena is then free but for the running one. */
static int make_objects(struct each *e)
{
    size_t from = 0;
    for (; e->made < e->at; e->made++) {
        long outcome = e->outcome[e->made];
        int bytes = !rs_failed(outcome) && e->mode != ANSWERS;
        PyObject *object = bytes ? PyBytes_FromStringAndSize(e->arena + from, outcome) : rs_answer(outcome);
        if (!object || PyList_SetItem(e->list, e->made, object) < 0)
            return -1;
        from += bytes ? (size_t)outcome : 0;
    }
    if (e->mode == ANSWERS)
        return 0;
    memmove(e->arena, e->arena + e->used, e->got);
    e->used = 0;
    if (e->arena_size - e->got >= e->window)
        return 0;
    size_t larger = e->arena_size * 2 > e->got + e->window ? e->arena_size * 2 : e->got + e->window;
    char *grown = PyMem_Realloc(e->arena, larger);
    if (!grown)
        return PyErr_NoMemory(), -1;
    e->arena = grown;
    e->arena_size = larger;
    return 0;
}

/* A handler raised in the middle of an input: what is open is closed by its `always` steps. */
static void abandon(struct each *e)
{
    PyObject *type, *value, *traceback;
    if (!e->next)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    e->bound.frame.stopping = 1;
    PyThreadState *state = PyEval_SaveThread();
    rs_run(e->self->program, &e->bound.frame, e->next + 1, e->self->program->count, 1);
    PyEval_RestoreThread(state);
    PyErr_Restore(type, value, traceback);
}

static int run_all(struct each *e)
{
    e->last_look = now_ms();
    for (;;) {
        PyThreadState *state = PyEval_SaveThread();
        enum pause pause = run_inputs(e);
        PyEval_RestoreThread(state);
        if (pause == DONE)
            return e->mode == RECORDS ? 0 : make_objects(e);
        if ((pause == ARENA_FULL && make_objects(e) < 0) || PyErr_CheckSignals() < 0) {
            abandon(e);
            return -1;
        }
    }
}

/* ---- what is collected ---- */

/* Which buffer the collected step fills, and how large a window it needs. */
static int find_window(struct each *e)
{
    const struct rs_step *step = &e->self->program->step[e->collect];
    e->window_buffer = -1;
    e->is_size = step->row->returns == RS_SIZE;
    for (unsigned i = 0; i < step->patches; i++)
        if (step->patch[i].source == RS_FROM_BUFFER && (e->window_buffer < 0 || step->row->arg[step->patch[i].word].kind == RS_OUT))
            e->window_buffer = (int)step->patch[i].index;
    if (e->mode == ANSWERS) {
        e->window_buffer = -1;
        return 0;
    }
    if (e->window_buffer < 0)
        return PyErr_Format(PyExc_ValueError, "step %u, %s, has no buffer of the Program to collect", e->collect, step->row->name), -1;
    if (e->mode == DATA_AND_MORE && !e->is_size)
        return PyErr_Format(PyExc_ValueError, "step %u, %s, answers no count of bytes: more=True cannot tell its end", e->collect, step->row->name), -1;
    e->window = e->self->buffer[e->window_buffer].size;
    if (!e->window)
        return PyErr_Format(PyExc_ValueError, "the buffer that step %u collects is empty", e->collect), -1;
    return 0;
}

static int check_program(struct each *e)
{
    if (e->self->ends_in_exec) {
        rs_complain("RefusedCallError", "a Program that ends in exec runs only in a child: use rawsys.raw_fork(program)");
        return -1;
    }
    if (!e->self->parameters)
        return PyErr_Format(PyExc_TypeError, "run_each() needs a Program with parameters: its inputs are their values"), -1;
    for (uint32_t b = 0; b < e->self->buffers; b++)
        if (e->self->buffer[b].parameter >= 0)
            return PyErr_Format(PyExc_ValueError, "run_each() cannot size a buffer by a parameter: use run()"), -1;
    return 0;
}

static int begin(struct each *e, PyObject *inputs)
{
    if (check_program(e) < 0 || find_window(e) < 0 || rs_run_begin(e->self, NULL, &e->bound) < 0)
        return -1;
    if (convert_inputs(e, inputs) < 0)
        return -1;
    for (e->at = 0; e->self->bound && e->at < e->count; e->at++) { /* before anything runs */
        place(e);
        if (rs_run_check(e->self, &e->bound.frame) < 0)
            return -1;
    }
    e->at = 0;
    if (e->mode == RECORDS)
        return 0;
    e->arena_size = e->mode == ANSWERS ? 0 : e->window > ARENA / 2 ? e->window * 2 : ARENA;
    e->arena = PyMem_Malloc(e->arena_size + 1);
    e->list = PyList_New(e->count);
    return e->arena && e->list ? 0 : (PyErr_Occurred() ? -1 : (PyErr_NoMemory(), -1));
}

static void end(struct each *e, PyObject *records)
{
    while (e->held_count)
        rs_finish(&e->held[--e->held_count]);
    rs_run_end(e->self, &e->bound);
    PyMem_Free(e->bound.block);
    PyMem_Free(e->held);
    PyMem_Free(e->value);
    PyMem_Free(e->length);
    if (!records)
        PyMem_Free(e->arena);
    Py_XDECREF(e->kept);
}

/* _run_each(inputs, step, mode): a list; for records (mode 3) their memory and the outcomes, as two bytes objects. */
static PyObject *outcomes(const struct each *e)
{
    return PyBytes_FromStringAndSize((char *)e->outcome, e->count * (Py_ssize_t)sizeof(long));
}

PyObject *rs_run_each(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "_run_each(inputs, step, mode) takes 3 arguments, got %zd", count);
    struct each e = {.self = (struct rs_program_object *)self, .collect = (uint32_t)PyLong_AsUnsignedLong(args[1]), .mode = (enum mode)PyLong_AsLong(args[2])};
    if (PyErr_Occurred() || e.collect >= e.self->program->count)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a Program without steps collects nothing");
    PyObject *inputs = PySequence_Tuple(args[0]), *records = NULL, *result = NULL; /* a copy: the list may change meanwhile */
    e.kept = inputs ? PyList_New(0) : NULL;
    e.count = inputs ? PyTuple_Size(inputs) : 0;
    if (e.kept && begin(&e, inputs) == 0) {
        if (e.mode == RECORDS && (records = PyBytes_FromStringAndSize(NULL, e.count * (Py_ssize_t)e.window)))
            e.arena = PyBytes_AsString(records);
        if ((e.mode != RECORDS || records) && run_all(&e) == 0)
            result = records ? Py_BuildValue("ON", records, outcomes(&e)) : e.list;
    }
    if (result != e.list)
        Py_XDECREF(e.list);
    end(&e, records);
    PyMem_Free(e.outcome);
    Py_XDECREF(records);
    Py_XDECREF(inputs);
    return result;
}

/* failures(results): the indexes of a list's ints, which stand for what failed. */
PyObject *rs_failures(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    Py_ssize_t results = count == 1 ? PyList_Size(args[0]) : 0;
    PyObject *found = results < 0 ? NULL : PyList_New(0);
    for (Py_ssize_t i = 0; found && i < results; i++) {
        if (!PyLong_CheckExact(PyList_GetItem(args[0], i)))
            continue;
        PyObject *index = PyLong_FromSsize_t(i);
        if (!index || PyList_Append(found, index) < 0)
            Py_CLEAR(found);
        Py_XDECREF(index);
    }
    return found;
}

/* distinct_folders(paths): the folders of a tuple of str, "" for the current one; None where one is something else.  A
 * list mostly has the files of a folder one after the other, and a folder becomes an object only where it changes. */
PyObject *rs_distinct_folders(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    const char *last = NULL;
    Py_ssize_t last_length = 0, paths = count == 1 ? PyTuple_Size(args[0]) : 0;
    PyObject *folders = paths < 0 ? NULL : PySet_New(NULL);
    for (Py_ssize_t i = 0; folders && i < paths; i++) {
        PyObject *path = PyTuple_GetItem(args[0], i);
        Py_ssize_t length;
        const char *text = PyUnicode_CheckExact(path) ? PyUnicode_AsUTF8AndSize(path, &length) : NULL;
        if (!text) {
            PyErr_Clear();
            Py_DECREF(folders);
            Py_RETURN_NONE;
        }
        while (length > 0 && text[--length] != '/')
            ;
        if (last && length == last_length && !memcmp(text, last, (size_t)length))
            continue;
        PyObject *folder = PyUnicode_FromStringAndSize(last = text, last_length = length);
        if (!folder || PySet_Add(folders, folder) < 0)
            Py_CLEAR(folders);
        Py_XDECREF(folder);
    }
    return folders;
}
