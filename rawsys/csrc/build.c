/* Building a Program: a step is checked when it is added, as far as its arguments are known then. */
#include "build.h"

#include <stddef.h>
#include <string.h>

PyObject *rs_no_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)args, (void)keywords;
    return PyErr_Format(PyExc_TypeError, "%R is made by a Program", type);
}

/* ---- slots ---- */

static PyObject *new_slot(struct rs_program_object *self, int source, uint32_t index)
{
    struct rs_slot *slot = (struct rs_slot *)PyType_GenericAlloc(rs_slot_type, 0);
    if (!slot)
        return NULL;
    Py_INCREF(slot->program = (PyObject *)self);
    slot->source = (uint8_t)source;
    slot->index = index;
    return (PyObject *)slot;
}

static int is_slot(PyObject *object)
{
    return Py_TYPE(object) == rs_slot_type;
}

static int own_slot(struct rs_program_object *self, PyObject *object)
{
    if (((struct rs_slot *)object)->program == (PyObject *)self)
        return 1;
    PyErr_Format(PyExc_ValueError, "%R belongs to another Program", object);
    return 0;
}

/* Room for one more item in an array that doubles; NULL with MemoryError. */
static void *room(void *array, uint32_t used, size_t item)
{
    if (used & (used - 1) || (used && used < 4))
        return array; /* not yet at a power of two from 4 on */
    size_t capacity = used < 4 ? 4 : (size_t)used * 2;
    void *grown = PyMem_Realloc(array, capacity * item);
    if (!grown)
        PyErr_NoMemory();
    return grown;
}

static int can_grow(struct rs_program_object *self)
{
    if (self->frozen)
        rs_complain("BusyError", "a Program that has run, or is in a Command, cannot grow: build another one");
    return !self->frozen;
}

/* Somebody has looked at its steps and relies on what was there: a Command, on that none changes memory. */
static PyObject *freeze(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    if (count)
        return PyErr_Format(PyExc_TypeError, "_freeze() takes no arguments");
    ((struct rs_program_object *)object)->frozen = 1;
    Py_RETURN_NONE;
}

/* ---- parameters and buffers ---- */

static PyObject *add_parameter(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct rs_program_object *self = (struct rs_program_object *)object;
    if (count != 1 || !PyUnicode_Check(args[0]))
        return PyErr_Format(PyExc_TypeError, "parameter(name, /) takes one str");
    if (!can_grow(self))
        return NULL;
    for (uint32_t i = 0; i < self->parameters; i++)
        if (PyUnicode_Compare(self->parameter[i].name, args[0]) == 0)
            return PyErr_Format(PyExc_ValueError, "this Program has a parameter %R already", args[0]);
    struct rs_parameter *grown = room(self->parameter, self->parameters, sizeof *grown);
    if (!grown)
        return NULL;
    self->parameter = grown;
    PyObject *name = args[0];
    Py_INCREF(name);
    PyUnicode_InternInPlace(&name);
    grown[self->parameters] = (struct rs_parameter){.name = name};
    return new_slot(self, RS_FROM_PARAMETER, self->parameters++);
}

static const struct rs_row buffer_row = {
    .name = "buffer", .signature = "buffer(size)", .arity = 1,
    .arg = {{.name = "size", .kind = RS_NUMBER, .bits = 64}},
};

static int stand(struct rs_program_object *self, uint32_t parameter, const struct rs_row *row, unsigned arg);

static PyObject *add_buffer(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct rs_program_object *self = (struct rs_program_object *)object;
    struct rs_buffer made = {.parameter = -1};
    if (count != 1)
        return PyErr_Format(PyExc_TypeError, "buffer(size, /) takes 1 argument, got %zd", count);
    if (!can_grow(self))
        return NULL;
    if (PyBytes_Check(args[0])) {
        made.size = (size_t)PyBytes_Size(args[0]);
        made.initial = args[0];
    } else if (is_slot(args[0]) && ((struct rs_slot *)args[0])->source == RS_FROM_PARAMETER) {
        made.parameter = ((struct rs_slot *)args[0])->index;
        if (!own_slot(self, args[0]) || stand(self, (uint32_t)made.parameter, &buffer_row, 0) < 0)
            return NULL;
    } else {
        struct rs_call call = {.row = &buffer_row};
        if (rs_convert(&call, 0, args[0]) < 0)
            return NULL;
        if (call.word[0] < 0 || call.word[0] > PY_SSIZE_T_MAX / 4)
            return PyErr_Format(PyExc_ValueError, "buffer(): %S is no number of bytes", args[0]);
        made.size = (size_t)call.word[0];
    }
    struct rs_buffer *grown = room(self->buffer, self->buffers, sizeof *grown);
    if (!grown)
        return NULL;
    self->buffer = grown;
    Py_XINCREF(made.initial);
    grown[self->buffers] = made;
    return new_slot(self, RS_FROM_BUFFER, self->buffers++);
}

/* ---- steps ---- */

static int is_memory(const struct rs_arg *arg)
{
    return arg->kind == RS_IN || arg->kind == RS_OUT || arg->kind == RS_INOUT || arg->kind == RS_ANY;
}

static const char *kind_class(const struct rs_arg *arg)
{
    static const char *const class[] = {"an int", "a descriptor", "a path", "a path", "strings", "memory", "memory", "memory", "a word"};
    return class[arg->kind];
}

/* A parameter stands for an argument: its kind is that argument's, and of two places the stricter one converts it. */
static int stand(struct rs_program_object *self, uint32_t index, const struct rs_row *row, unsigned arg)
{
    struct rs_parameter *p = &self->parameter[index];
    const struct rs_arg *here = &row->arg[arg], *there = p->row ? &p->row->arg[p->arg] : here;
    if (strcmp(kind_class(here), kind_class(there))) {
        PyErr_Format(PyExc_TypeError, "parameter %R is %s in %s() and cannot be %s in %s()", p->name, kind_class(there),
                     p->row->name, kind_class(here), row->name);
        return -1;
    }
    if (!p->row || (here->kind == RS_NUMBER && here->bits < there->bits) || (here->kind != RS_IN && there->kind == RS_IN)) {
        p->row = row;
        p->arg = arg;
    }
    return 0;
}

static int add_patch(struct rs_program_object *self, struct rs_step *step, unsigned i, PyObject *object)
{
    struct rs_slot *slot = (struct rs_slot *)object;
    const struct rs_arg *arg = &step->row->arg[i];
    if (!own_slot(self, object))
        return -1;
    if (slot->source == RS_FROM_BUFFER && !is_memory(arg))
        return rs_wrong_type(step->row, i, kind_class(arg), object);
    if (slot->source == RS_FROM_PARAMETER && stand(self, slot->index, step->row, i) < 0)
        return -1;
    if (slot->source == RS_FROM_BUFFER && self->buffer[slot->index].parameter < 0)
        step->length[i] = self->buffer[slot->index].size;
    step->patch[step->patches++] = (struct rs_patch){.word = (uint8_t)i, .source = slot->source, .index = slot->index};
    return 0;
}

/* An owner is counted while the program runs, not while it merely exists. */
static int add_handle(struct rs_program_object *self, struct rs_step *step, unsigned i, struct rs_handle *handle)
{
    if (step->row->flags & RS_CLOSES) {
        PyErr_Format(PyExc_TypeError, "%R is closed by its owner, not by a Program: use its close(), or give away into_raw()", handle);
        return -1;
    }
    if ((step->word[i] = rs_handle_number(handle)) < 0)
        return -1;
    for (uint32_t k = 0; k < self->handles; k++)
        if (self->handle[k] == handle)
            return 0;
    struct rs_handle **grown = room(self->handle, self->handles, sizeof *grown);
    if (!grown)
        return -1;
    self->handle = grown;
    grown[self->handles++] = handle; /* `kept` holds the argument */
    return 0;
}

static int is_patched(const struct rs_step *step, unsigned i)
{
    for (unsigned k = 0; k < step->patches; k++)
        if (step->patch[k].word == i)
            return 1;
    return 0;
}

/* Where a number in memory says how much the kernel may touch, that memory has to be the run's own: nobody else can
 * change it between the check and the call. */
static int refuse_shared(const struct rs_step *step, const struct rs_call *call, unsigned i)
{
    const struct rs_arg *arg = &step->row->arg[i];
    unsigned sized_by = arg->extent == RS_POINTED ? arg->extent_arg : i;
    if ((arg->extent != RS_POINTED && arg->extent != RS_OWN_SIZE) || is_patched(step, sized_by) || call->length[sized_by] == RS_UNMEASURED)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s(): '%s' has to be a buffer of the Program: it says how much the kernel may use",
                 step->row->name, step->row->arg[sized_by].name);
    return -1;
}

/* Check the extents that are known; note that the others have to be checked at every run. */
static int check_extents(struct rs_step *step, struct rs_call *call)
{
    for (unsigned i = 0; i < step->arity; i++) {
        const struct rs_arg *arg = &step->row->arg[i];
        if (arg->extent == RS_UNKNOWN)
            continue;
        int known = step->length[i] != RS_UNMEASURED || !is_patched(step, i);
        if (refuse_shared(step, call, i) < 0)
            return -1;
        if (arg->extent == RS_POINTED || arg->extent == RS_OWN_SIZE || (arg->extent == RS_COMPUTED && step->patches))
            known = 0; /* the number may be written by an earlier step */
        else if (arg->extent != RS_CONSTANT && is_patched(step, arg->extent_arg))
            known = 0;
        if (!known)
            step->flags |= RS_BOUND;
        else if (rs_check_extent(call, i) < 0)
            return -1;
    }
    return 0;
}

static int is_exec(const struct rs_row *row)
{
    return row->number == 59 || row->number == 322;
}

static int refuse_row(struct rs_program_object *self, const struct rs_row *row)
{
    if (row->flags & RS_REFUSED)
        return rs_refused(row, ""), -1;
    if (row->number == 57 || row->number == 56 || row->number == 435) { /* fork, clone, clone3 */
        rs_complain("RefusedCallError", "%s is refused in a Program: its child would go on with the steps; use rawsys.raw_fork(program)", row->name);
        return -1;
    }
    if (self->ends_in_exec && !is_exec(row)) { /* another exec is the next candidate of a search: the first returned */
        rs_complain("RefusedCallError", "no step can follow %s, which ends the program", self->program->step[self->program->count - 1].row->name);
        return -1;
    }
    return can_grow(self) ? 0 : -1;
}

/* The arguments into `step`; what they pin stays in `call`. */
static int fill(struct rs_program_object *self, struct rs_step *step, struct rs_call *call, PyObject *args)
{
    for (unsigned i = 0; i < step->arity; i++) {
        PyObject *object = PyTuple_GetItem(args, i);
        step->length[i] = call->length[i] = RS_UNMEASURED;
        if (is_slot(object)) {
            if (add_patch(self, step, i, object) < 0)
                return -1;
            call->length[i] = step->length[i];
            call->word[i] = 0;
        } else if (step->row->arg[i].kind == RS_FD && rs_handle_check(object)) {
            if (add_handle(self, step, i, (struct rs_handle *)object) < 0)
                return -1;
            call->word[i] = step->word[i];
        } else if (rs_convert(call, i, object) < 0) {
            return -1;
        }
    }
    if (check_extents(step, call) < 0)
        return -1;
    if ((step->row->flags & (RS_IOCTL | RS_GETSOCKOPT)) && !step->patches && rs_check_row(call) < 0)
        return -1;
    for (unsigned i = 0; i < step->arity; i++) {
        step->word[i] = call->word[i];
        if (!is_patched(step, i))
            step->length[i] = call->length[i];
    }
    return 0;
}

static int allow(struct rs_step *step, PyObject *errnos)
{
    PyObject *list = PySequence_Tuple(errnos);
    Py_ssize_t count = list ? PyTuple_Size(list) : -1;
    if (count > RS_ALLOWED)
        PyErr_Format(PyExc_ValueError, "a step allows at most %d errnos, got %zd", RS_ALLOWED, count);
    for (Py_ssize_t i = 0; i < count && !PyErr_Occurred(); i++) {
        long errno_value = PyLong_AsLong(PyTuple_GetItem(list, i));
        if (!PyErr_Occurred() && (errno_value < 1 || errno_value > 4095))
            PyErr_Format(PyExc_ValueError, "%ld is no errno (1 to 4095)", errno_value);
        step->allow[step->allowed++] = (int16_t)errno_value;
    }
    Py_XDECREF(list);
    return PyErr_Occurred() ? -1 : 0;
}

/* Room for one more step and what it pins. */
static int grow_steps(struct rs_program_object *self)
{
    uint32_t count = self->program->count;
    if (count < self->capacity)
        return 0;
    uint32_t capacity = self->capacity ? self->capacity * 2 : 8;
    struct rs_program *program = PyMem_Realloc(self->program, sizeof *program + capacity * sizeof program->step[0]);
    if (program)
        self->program = program;
    struct rs_call **pinned = program ? PyMem_Realloc(self->pinned, capacity * sizeof *pinned) : NULL;
    if (!pinned)
        return PyErr_NoMemory(), -1;
    self->pinned = pinned;
    self->capacity = capacity;
    return 0;
}

/* Holds the arguments of a step.  A slot is left out: it refers to the program, and a circle would keep the
 * owners among the arguments alive until the garbage collector comes. */
static int keep(struct rs_program_object *self, PyObject *args)
{
    Py_ssize_t count = PyTuple_Size(args);
    PyObject *kept = PyTuple_New(count);
    for (Py_ssize_t i = 0; kept && i < count; i++) {
        PyObject *item = is_slot(PyTuple_GetItem(args, i)) ? Py_None : PyTuple_GetItem(args, i);
        Py_INCREF(item);
        PyTuple_SetItem(kept, i, item);
    }
    int result = kept ? PyList_Append(self->kept, kept) : -1;
    Py_XDECREF(kept);
    return result;
}

/* _step(index) -> (number, arguments with their slots, always, retry, allow) */
static PyObject *show_step(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct rs_program_object *self = (struct rs_program_object *)object;
    unsigned long index = count == 1 ? PyLong_AsUnsignedLong(args[0]) : 0;
    if (PyErr_Occurred() || count != 1 || index >= self->program->count)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_IndexError, "this Program has %u steps", self->program->count);
    const struct rs_step *step = &self->program->step[index];
    PyObject *kept = PySequence_List(PyList_GetItem(self->kept, (Py_ssize_t)index));
    for (unsigned i = 0; kept && i < step->patches; i++) {
        PyObject *slot = new_slot(self, step->patch[i].source, step->patch[i].index);
        if (!slot || PyList_SetItem(kept, step->patch[i].word, slot) < 0)
            Py_CLEAR(kept);
    }
    PyObject *allowed = kept ? PyTuple_New(step->allowed) : NULL;
    for (unsigned i = 0; allowed && i < step->allowed; i++)
        PyTuple_SetItem(allowed, i, PyLong_FromLong(step->allow[i]));
    if (!allowed) {
        Py_XDECREF(kept);
        return NULL;
    }
    return Py_BuildValue("iNNNN", (int)step->number, kept, PyBool_FromLong(step->flags & RS_ALWAYS),
                         PyBool_FromLong(step->flags & RS_RETRY), allowed);
}

/* The one answer that is no failure; for checks that a child makes before exec (is my parent still the same?). */
static int expect(struct rs_step *step, PyObject *answer)
{
    if (!answer || answer == Py_None)
        return 0;
    step->expected = PyLong_AsLong(answer);
    step->flags |= RS_EXPECT;
    return PyErr_Occurred() ? -1 : 0;
}

/* What a step's constant arguments hold, in no more memory than that takes: most hold nothing or one object, and a
 * process may keep thousands of programs.  A Py_buffer stays where it was filled: it may point into itself. */
static struct rs_call *fitted(struct rs_call *call)
{
    if (!call->pins && !call->copies) {
        PyMem_Free(call);
        return NULL;
    }
    for (unsigned i = 0; i < call->pins; i++)
        if (call->pin[i].what == RS_PIN_VIEW)
            return call;
    struct rs_call *small = PyMem_Realloc(call, offsetof(struct rs_call, pin) + call->pins * sizeof *call->pin);
    return small ? small : call;
}

/* _add(number, args, always, retry, allow, expected=None) -> Step */
static PyObject *add_step(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct rs_program_object *self = (struct rs_program_object *)object;
    const struct rs_row *row = count == 5 || count == 6 ? rs_row(PyLong_AsLong(args[0])) : NULL;
    if (!row || !PyTuple_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "_add(number, args, always, retry, allow)");
    if (refuse_row(self, row) < 0)
        return NULL;
    if (PyTuple_Size(args[1]) != row->arity)
        return rs_wrong_count(row, PyTuple_Size(args[1]));
    struct rs_call *call = PyMem_Calloc(1, sizeof *call);
    if (!call)
        return PyErr_NoMemory();
    call->row = row;
    struct rs_step step = {.row = row, .number = row->number, .arity = row->arity};
    if (grow_steps(self) < 0 || fill(self, &step, call, args[1]) < 0 || allow(&step, args[4]) < 0 ||
        expect(&step, count == 6 ? args[5] : NULL) < 0 || keep(self, args[1]) < 0) {
        rs_finish(call);
        PyMem_Free(call);
        return NULL;
    }
    step.flags |= (PyObject_IsTrue(args[2]) ? RS_ALWAYS : 0) | (PyObject_IsTrue(args[3]) ? RS_RETRY : 0);
    uint32_t index = self->program->count++;
    self->pinned[index] = fitted(call);
    self->program->step[index] = step;
    self->blocks |= (row->flags & RS_BLOCKS) != 0;
    self->ends_in_exec |= is_exec(row);
    self->bound |= (step.flags & RS_BOUND) != 0;
    return new_slot(self, RS_FROM_STEP, index);
}

/* ---- the type ---- */

static PyObject *new_program(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    int stop = 0;
    static char *names[] = {"stop_on_error", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$p", names, &stop))
        return NULL;
    struct rs_program_object *self = (struct rs_program_object *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    self->kept = PyList_New(0);
    self->program = PyMem_Calloc(1, sizeof *self->program);
    if (!self->kept || !self->program) {
        Py_DECREF(self);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    self->program->stop_on_error = (uint8_t)stop;
    return (PyObject *)self;
}

static int traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct rs_program_object *)object)->kept);
    return 0;
}

/* Everything goes at once: `kept` holds the owners that the steps name, so it cannot be cleared alone. */
static void dealloc(PyObject *object)
{
    struct rs_program_object *self = (struct rs_program_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    for (uint32_t i = 0; self->program && i < self->program->count; i++) {
        if (self->pinned[i])
            rs_finish(self->pinned[i]);
        PyMem_Free(self->pinned[i]);
    }
    for (uint32_t i = 0; i < self->parameters; i++)
        Py_DECREF(self->parameter[i].name);
    for (uint32_t i = 0; i < self->buffers; i++)
        Py_XDECREF(self->buffer[i].initial);
    PyMem_Free(self->pinned);
    PyMem_Free(self->program);
    PyMem_Free(self->parameter);
    PyMem_Free(self->buffer);
    PyMem_Free(self->handle);
    Py_XDECREF(self->kept);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static Py_ssize_t length(PyObject *object)
{
    return ((struct rs_program_object *)object)->program->count;
}

PyMethodDef rs_build_methods[] = {
    RS_METHOD("parameter", add_parameter,
              "parameter($self, name, /)\n--\n\nA value that is given at each run; its kind is that of the argument where it stands."),
    RS_METHOD("buffer", add_buffer,
              "buffer($self, size, /)\n--\n\nMemory of each run for the kernel to write to or read from.\n\n"
              "`size` is a number of bytes, a parameter that gives it, or the bytes that it starts with; else it is zero."),
    RS_METHOD("_add", add_step, "_add($self, number, args, always, retry, allow, expected=None, /)\n--\n\nAdd a step."),
    RS_METHOD("_freeze", freeze, "_freeze($self, /)\n--\n\nLet no step be added any more."),
    RS_METHOD("_step", show_step, "_step($self, index, /)\n--\n\n(number, arguments, always, retry, allow) of a step."),
    {NULL, NULL, 0, NULL},
};

PyType_Slot rs_program_slots[] = {
    {Py_tp_doc, "Core(*, stop_on_error=False)\n--\n\nA list of prepared calls; rawsys.program.Program adds the calls by name."},
    {Py_tp_new, new_program},
    {Py_tp_dealloc, dealloc},
    {Py_tp_traverse, traverse},
    {Py_sq_length, length},
    {Py_tp_methods, NULL}, /* building and running together: filled in by rs_run_setup */
    {0, NULL},
};

/* ---- slots as a type ---- */

static void slot_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(((struct rs_slot *)object)->program);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static int slot_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct rs_slot *)object)->program);
    return 0;
}

static PyObject *slot_repr(PyObject *object)
{
    struct rs_slot *slot = (struct rs_slot *)object;
    struct rs_program_object *program = (struct rs_program_object *)slot->program;
    if (slot->source == RS_FROM_PARAMETER)
        return PyUnicode_FromFormat("<parameter %R>", program->parameter[slot->index].name);
    if (slot->source == RS_FROM_BUFFER)
        return PyUnicode_FromFormat("<buffer %u>", slot->index);
    return PyUnicode_FromFormat("<step %u: %s>", slot->index, program->program->step[slot->index].row->name);
}

static PyObject *slot_get(PyObject *object, void *what)
{
    struct rs_slot *slot = (struct rs_slot *)object;
    if (what == NULL)
        return PyLong_FromUnsignedLong(slot->index);
    if (what == (void *)1)
        return PyUnicode_FromString((const char *[]){"step", "parameter", "buffer"}[slot->source]);
    Py_INCREF(slot->program);
    return slot->program;
}

static PyGetSetDef slot_getters[] = {
    {"index", slot_get, NULL, "Its place among its like in the program.", NULL},
    {"kind", slot_get, NULL, "step, parameter or buffer.", (void *)1},
    {"program", slot_get, NULL, "The Program that it belongs to.", (void *)2},
    {NULL, NULL, NULL, NULL, NULL},
};

PyType_Slot rs_slot_slots[] = {
    {Py_tp_doc, "A value that is known when the program runs: a step's answer, a parameter, a buffer."},
    {Py_tp_new, rs_no_new},
    {Py_tp_dealloc, slot_dealloc},
    {Py_tp_traverse, slot_traverse},
    {Py_tp_repr, slot_repr},
    {Py_tp_getset, slot_getters},
    {0, NULL},
};
