#include "call.h"

#include <string.h>

int rs_utf8_names;
uintptr_t rs_small_first = UINTPTR_MAX; /* set once, before there are doors */

void rs_small_setup(void)
{
    uintptr_t first = 0;
    for (long i = 0; i < RS_SMALL_INTS; i++) {
        PyObject *number = PyLong_FromLong(RS_SMALLEST + i), *again = PyLong_FromLong(RS_SMALLEST + i);
        first = i ? first : (uintptr_t)number;
        int expected = number && number == again && (uintptr_t)number == first + (uintptr_t)i * RS_SMALL_STRIDE;
        Py_XDECREF(number);
        Py_XDECREF(again);
        if (!expected) {
            PyErr_Clear();
            return;
        }
    }
    rs_small_first = first;
}

static struct rs_pin *pin(struct rs_call *call, int what)
{
    struct rs_pin *next = &call->pin[call->pins++];
    next->what = what;
    return next;
}

void rs_unpin(struct rs_call *call)
{
    while (call->pins) {
        struct rs_pin *last = &call->pin[--call->pins];
        if (last->what == RS_PIN_VIEW)
            PyBuffer_Release(&last->view);
        else if (last->what == RS_PIN_OBJECT)
            Py_DECREF(last->object);
        else
            rs_handle_drop(last->taken.handle, last->taken.generation);
    }
}

/* ---- numbers ---- */

static int out_of_range(const struct rs_row *row, unsigned i, PyObject *object)
{
    const struct rs_arg *arg = &row->arg[i];
    if (arg->kind == RS_FD)
        PyErr_Format(PyExc_OverflowError, "%s(): descriptor %S in '%s' is outside a C int", row->name, object, arg->name);
    else
        PyErr_Format(PyExc_OverflowError, "%s(): %S does not fit into the %d bits of '%s'", row->name, object, arg->bits, arg->name);
    return -1;
}

/* Ints, their subclasses and what has __index__; bool and float are mistakes, not numbers. */
static int convert_number(struct rs_call *call, unsigned i, PyObject *object, unsigned bits, const char *expected)
{
    if (PyBool_Check(object) || !PyIndex_Check(object))
        return rs_wrong_type(call->row, i, expected, object);
    PyObject *number = PyNumber_Index(object);
    if (!number)
        return -1;
    int overflow;
    long value = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow > 0 && bits == 64) {
        value = (long)PyLong_AsUnsignedLong(number);
        overflow = PyErr_Occurred() != NULL;
        PyErr_Clear();
    } else if (!overflow && bits < 64) {
        overflow = value < -(1L << (bits - 1)) || value >= 1L << bits;
    }
    int result = overflow ? out_of_range(call->row, i, number) : 0;
    call->word[i] = value;
    Py_DECREF(number);
    return result;
}

static int convert_int_fd(struct rs_call *call, unsigned i, PyObject *object)
{
    if (convert_number(call, i, object, 64, "an int, an Fd or an object with fileno()") < 0)
        return -1;
    return call->word[i] == (int)call->word[i] ? 0 : out_of_range(call->row, i, object);
}

static int convert_fileno(struct rs_call *call, unsigned i, PyObject *object)
{
    PyObject *number = PyObject_HasAttrString(object, "fileno") ? PyObject_CallMethod(object, "fileno", NULL) : NULL;
    if (!number)
        return PyErr_Occurred() ? -1 : rs_wrong_type(call->row, i, "an int, an Fd or an object with fileno()", object);
    int result = convert_int_fd(call, i, number);
    Py_DECREF(number);
    return result;
}

static int convert_fd(struct rs_call *call, unsigned i, PyObject *object)
{
    if (rs_handle_check(object)) {
        struct rs_handle *handle = (struct rs_handle *)object;
        if (call->row->flags & RS_CLOSES)
            return (call->word[i] = rs_handle_into_raw(handle)) < 0 ? -1 : 0;
        unsigned generation = 0;
        int number = rs_handle_take(handle, &generation);
        if (number < 0)
            return -1;
        struct rs_pin *taken = pin(call, RS_PIN_HANDLE);
        taken->taken.handle = handle;
        taken->taken.generation = generation;
        call->word[i] = number;
        return 0;
    }
    return PyIndex_Check(object) ? convert_int_fd(call, i, object) : convert_fileno(call, i, object);
}

/* ---- memory ---- */

static int set_address(struct rs_call *call, unsigned i, const void *address, size_t length)
{
    call->word[i] = (long)address;
    call->length[i] = length;
    return 0;
}

/* Keeps `object` for the call and points at its bytes; steals the reference. */
static int set_bytes(struct rs_call *call, unsigned i, PyObject *object)
{
    if (!object)
        return -1;
    pin(call, RS_PIN_OBJECT)->object = object;
    return set_address(call, i, PyBytes_AsString(object), (size_t)PyBytes_Size(object));
}

static int convert_buffer(struct rs_call *call, unsigned i, PyObject *object, int writable)
{
    struct rs_pin *view = &call->pin[call->pins];
    if (PyObject_GetBuffer(object, &view->view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_TypeError))
            return -1;
        PyErr_Clear();
        return rs_wrong_type(call->row, i, writable ? "a writable, contiguous buffer, an address or None"
                                                    : "a contiguous buffer, an address or None", object);
    }
    pin(call, RS_PIN_VIEW);
    return set_address(call, i, view->view.buf, (size_t)view->view.len);
}

/* What has no buffer protocol but is memory all the same (cffi's pointers, objects with __bytes__) is
 * understood in Python: it answers with a buffer, an address, or None. */
static int convert_foreign(struct rs_call *call, unsigned i, PyObject *object, int writable)
{
    PyObject *module = PyImport_ImportModule("rawsys._native.foreign");
    PyObject *memory = module ? PyObject_CallMethod(module, "memory", "Oi", object, writable) : NULL;
    Py_XDECREF(module);
    if (!memory)
        return -1;
    int result;
    if (PyObject_CheckBuffer(memory))
        result = convert_buffer(call, i, memory, writable); /* the view keeps what it needs of `memory` */
    else if (PyLong_Check(memory))
        result = convert_number(call, i, memory, 64, "an address");
    else
        result = rs_wrong_type(call->row, i, writable ? "a writable buffer, an address or None" : "a buffer, an address or None", object);
    Py_DECREF(memory);
    return result;
}

static int convert_memory(struct rs_call *call, unsigned i, PyObject *object, int writable)
{
    call->length[i] = RS_UNMEASURED;
    if (object == Py_None)
        return set_address(call, i, NULL, RS_UNMEASURED);
    if (!writable && PyBytes_CheckExact(object))
        return set_address(call, i, PyBytes_AsString(object), (size_t)PyBytes_Size(object)); /* the caller's reference keeps it */
    if (PyObject_CheckBuffer(object))
        return convert_buffer(call, i, object, writable);
    if (PyIndex_Check(object))
        return convert_number(call, i, object, 64, "a buffer, an address or None");
    return convert_foreign(call, i, object, writable);
}

/* ---- strings ---- */

static int check_nul(const struct rs_call *call, unsigned i, PyObject *bytes)
{
    const char *text = PyBytes_AsString(bytes);
    if (strlen(text) == (size_t)PyBytes_Size(bytes))
        return 0;
    PyErr_Format(PyExc_ValueError, "%s(): embedded null byte in '%s': %R", call->row->name, call->row->arg[i].name, bytes);
    return -1;
}

/* str, bytes or (for a path) PathLike as NUL-terminated bytes; a new reference. */
static PyObject *encoded(struct rs_call *call, unsigned i, PyObject *object)
{
    static const char *const expected = "str, bytes, os.PathLike, an address or None";
    PyObject *plain = NULL, *bytes = NULL;
    if (PyUnicode_Check(object) || PyBytes_Check(object))
        Py_INCREF(plain = object);
    else if (call->row->arg[i].kind != RS_STR && PyObject_HasAttrString((PyObject *)Py_TYPE(object), "__fspath__"))
        plain = PyOS_FSPath(object);
    else
        rs_wrong_type(call->row, i, call->row->arg[i].kind == RS_STR ? "str, bytes, an address or None" : expected, object);
    if (plain && PyUnicode_Check(plain))
        bytes = PyUnicode_EncodeFSDefault(plain);
    else if (plain)
        Py_INCREF(bytes = plain);
    Py_XDECREF(plain);
    if (bytes && check_nul(call, i, bytes) < 0)
        Py_CLEAR(bytes);
    return bytes;
}

/* The file system encoding is UTF-8 wherever this is asked (PEP 540, PEP 686), but for names that are
 * not UTF-8: those carry surrogates, fail here and take the way through `encoded`. */
static int convert_path(struct rs_call *call, unsigned i, PyObject *object)
{
    if (object == Py_None)
        return set_address(call, i, NULL, RS_UNMEASURED);
    if (PyUnicode_CheckExact(object) && rs_utf8_names) {
        Py_ssize_t length;
        const char *text = PyUnicode_AsUTF8AndSize(object, &length);
        if (text && strlen(text) == (size_t)length)
            return set_address(call, i, text, RS_UNMEASURED);
        PyErr_Clear();
    }
    if (PyIndex_Check(object))
        return convert_number(call, i, object, 64, "str, bytes, os.PathLike, an address or None");
    return set_bytes(call, i, encoded(call, i, object));
}

/* argv and envp: the strings and the array of their addresses are kept together. */
static int convert_strings(struct rs_call *call, unsigned i, PyObject *object)
{
    if (PyUnicode_Check(object) || PyBytes_Check(object))
        return rs_wrong_type(call->row, i, "a sequence of strings", object);
    if (!PySequence_Check(object) || PyObject_CheckBuffer(object))
        return convert_memory(call, i, object, 0);
    Py_ssize_t count = PySequence_Size(object);
    PyObject *keep = count < 0 ? NULL : PyTuple_New(count + 1);
    PyObject *array = keep ? PyBytes_FromStringAndSize(NULL, (count + 1) * (Py_ssize_t)sizeof(char *)) : NULL;
    const char **address = array ? (const char **)PyBytes_AsString(array) : NULL;
    for (Py_ssize_t k = 0; address && k < count; k++) {
        PyObject *item = PySequence_GetItem(object, k);
        PyObject *bytes = item ? encoded(call, i, item) : NULL;
        Py_XDECREF(item);
        if (!bytes) {
            Py_DECREF(array);
            address = NULL;
            break;
        }
        address[k] = PyBytes_AsString(bytes);
        PyTuple_SetItem(keep, k, bytes);
    }
    if (!address) {
        Py_XDECREF(keep);
        return -1;
    }
    address[count] = NULL;
    PyTuple_SetItem(keep, count, array);
    pin(call, RS_PIN_OBJECT)->object = keep;
    return set_address(call, i, address, (size_t)(count + 1) * sizeof(char *));
}

int rs_convert(struct rs_call *call, unsigned i, PyObject *object)
{
    const struct rs_arg *arg = &call->row->arg[i];
    switch (arg->kind) {
    case RS_NUMBER:
        if (object == Py_None && arg->is_address)
            return call->word[i] = 0;
        return convert_number(call, i, object, arg->bits, arg->is_address ? "an address (an int) or None" : "an int");
    case RS_FD: return convert_fd(call, i, object);
    case RS_PATH:
    case RS_STR: return convert_path(call, i, object);
    case RS_STRINGS: return convert_strings(call, i, object);
    case RS_IN: return convert_memory(call, i, object, 0);
    default: return convert_memory(call, i, object, 1);
    }
}

/* ---- what holds between arguments ---- */

/* ---- copies ----
 *
 * Where a number in memory says how much the kernel may touch, another thread (or a process that shares the
 * memory) could change it between our check and the kernel's own look, which for accept comes after the wait.
 * The kernel gets a copy that nobody else knows, and what it wrote there is copied back.
 */
static void copy_memory(struct rs_call *call, unsigned i, void *copy, size_t size)
{
    int back = call->row->arg[i].kind != RS_IN;
    call->copied[call->copies].home = (void *)call->word[i];
    call->copied[call->copies].copy = copy;
    call->copied[call->copies].size = size;
    call->copied[call->copies++].back = back;
    memcpy(copy, (void *)call->word[i], size);
    call->word[i] = (long)copy;
}

void rs_copy_back(struct rs_call *call)
{
    for (unsigned i = 0; i < call->copies; i++)
        if (call->copied[i].back)
            memcpy(call->copied[i].home, call->copied[i].copy, call->copied[i].size);
}

static int copy_object(struct rs_call *call, unsigned i, size_t size)
{
    PyObject *memory = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!memory)
        return -1;
    pin(call, RS_PIN_OBJECT)->object = memory;
    copy_memory(call, i, PyBytes_AsString(memory), size);
    return 0;
}

static int too_short(const struct rs_call *call, unsigned i, size_t needed)
{
    if (call->length[i] == RS_UNMEASURED || call->length[i] >= needed)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s(): '%s' has %zu bytes, but the kernel may use %zu of them", call->row->name,
                 call->row->arg[i].name, call->length[i], needed);
    return 1;
}

static int copy_pointed(struct rs_call *call, unsigned i)
{
    call->pointed = 0; /* behind an address nothing can be checked */
    if (too_short(call, i, sizeof call->pointed))
        return -1;
    if (call->length[i] != RS_UNMEASURED)
        copy_memory(call, i, &call->pointed, sizeof call->pointed);
    return 0;
}

int rs_check_extent(struct rs_call *call, unsigned i)
{
    const struct rs_arg *arg = &call->row->arg[i];
    if (arg->extent == RS_POINTED && copy_pointed(call, arg->extent_arg) < 0)
        return -1;
    size_t needed = rs_extent(call->row, i, call->word, call->length, call->pointed);
    if (too_short(call, i, needed))
        return -1;
    if (arg->extent != RS_OWN_SIZE || call->length[i] == RS_UNMEASURED)
        return 0;
    if (copy_object(call, i, needed) < 0)
        return -1;
    return too_short(call, i, rs_extent(call->row, i, call->word, call->length, 0)) ? -1 : 0; /* what the copy says */
}

/* Flags under which a child would run on the caller's memory, stack or thread pointer. */
static int check_clone(const struct rs_row *row, unsigned long flags, unsigned long stack)
{
    if (flags & 0x100) /* CLONE_VM */
        return rs_refused(row, " with CLONE_VM"), -1;
    if (flags & 0x80000) /* CLONE_SETTLS: libc in the child would read another thread's data */
        return rs_refused(row, " with CLONE_SETTLS"), -1;
    if (stack)
        return rs_refused(row, " with a stack of its own"), -1;
    return 0;
}

/* The structure is copied before its flags are read, so that another thread cannot change them afterwards. */
static int check_clone3(struct rs_call *call)
{
    unsigned long field[11] = {0};
    if (call->length[0] == RS_UNMEASURED) {
        PyErr_Format(PyExc_TypeError, "clone3(): argument '%s' must be a buffer: what an address points to cannot be checked",
                     call->row->arg[0].name);
        return -1;
    }
    size_t size = rs_as_length(call->row, 1, call->word);
    if (set_bytes(call, 0, PyBytes_FromStringAndSize((char *)call->word[0], (Py_ssize_t)size)) < 0)
        return -1;
    memcpy(field, (void *)call->word[0], size < sizeof field ? size : sizeof field);
    return check_clone(call->row, field[0], field[5]);
}

/* Commands made by _IO, _IOR, _IOW and _IOWR carry the size of what they point to in bits 16 to 29. */
static int check_ioctl(const struct rs_call *call)
{
    unsigned command = (unsigned)call->word[1];
    size_t size = command >> 30 ? command >> 16 & 0x3fff : 0;
    return too_short(call, 2, size) ? -1 : 0;
}

/* Three options count in something else than bytes, and the kernel writes past the length that was given:
 * SO_GET_FILTER in instructions of 8 bytes, the multicast filters in addresses whose number stands in the buffer. */
static int check_getsockopt(struct rs_call *call)
{
    size_t needed = 0, header = 0, each = 0;
    int level = (int)call->word[1], option = (int)call->word[2];
    if (call->length[3] == RS_UNMEASURED)
        return 0;
    if (level == 1 && option == 26)
        needed = (size_t)call->pointed * 8;
    else if (level == 0 && option == 41) /* IP_MSFILTER */
        header = 16, each = 4;
    else if ((level == 0 || level == 41) && option == 48) /* MCAST_MSFILTER */
        header = 144, each = 128;
    if (!header || too_short(call, 3, header))
        return header || too_short(call, 3, needed) ? -1 : 0;
    if (copy_object(call, 3, call->length[3]) < 0)
        return -1;
    return too_short(call, 3, header + each * rs_u32(call->word, call->length, 3, header - 4)) ? -1 : 0;
}

int rs_check_row(struct rs_call *call)
{
    if (call->row->flags & RS_GETSOCKOPT)
        return check_getsockopt(call);
    if (call->row->flags & RS_CLONE)
        return check_clone(call->row, (unsigned long)call->word[0], (unsigned long)call->word[1]);
    return call->row->flags & RS_CLONE3 ? check_clone3(call) : check_ioctl(call);
}
