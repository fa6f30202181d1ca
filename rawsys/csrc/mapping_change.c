/* Calls on the pages of a Mapping: rights, advice, size, seal, and those that Python names (msync, mlock, mincore). */
#include "mapping.h"

#define SYS_mprotect 10
#define SYS_mremap 25
#define SYS_msync 26
#define SYS_mincore 27
#define SYS_madvise 28
#define SYS_mlock 149
#define SYS_mseal 462

#define ENOMEM_ANSWER -12

#define MREMAP_MAYMOVE 1
#define MADV_DONTFORK 10
#define MADV_DOFORK 11
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103

struct part {
    size_t offset, length; /* of whole pages */
    int whole;
};

/* Numbers come from rawsys.memory, which has looked at their types. */
static int numbers(PyObject *const *args, Py_ssize_t count, Py_ssize_t want, long *number)
{
    if (count != want)
        return PyErr_Format(PyExc_TypeError, "takes %zd arguments, got %zd", want, count), -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        number[i] = PyLong_AsLong(args[i]);
        if (number[i] == -1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

/* offset and length in bytes, length -1: to the end.  `outward`: to the borders of the pages they lie in, for calls
 * that do no harm to a neighbour; others leave an offset inside a page to the kernel's EINVAL. */
static int part_of(struct rs_mapping *mapping, long offset, long length, int outward, struct part *part)
{
    size_t inside = outward ? (size_t)offset & (mapping->page - 1) : 0;
    if (offset < 0 || (size_t)offset > mapping->length || length < -1 || (length > 0 && (size_t)length > mapping->length - (size_t)offset))
        return PyErr_Format(PyExc_ValueError, "%ld bytes at offset %ld are not inside of %R", length, offset, mapping), -1;
    size_t bytes = length < 0 ? mapping->length - (size_t)offset : (size_t)length;
    part->offset = (size_t)offset - inside;
    part->length = bytes ? rs_round_up(bytes + inside, mapping->page) : 0;
    part->whole = part->offset == 0 && part->length == rs_round_up(mapping->length, mapping->page);
    return 0;
}

/* A call (start, length, extra) on a part of it, without the GIL. */
static long issue(struct rs_mapping *mapping, long number, const struct part *part, long extra)
{
    PyThreadState *state = PyEval_SaveThread();
    long answer = rs_syscall3(number, (long)(mapping->address + part->offset), (long)part->length, extra);
    PyEval_RestoreThread(state);
    return answer;
}

static PyObject *done(struct rs_mapping *mapping, long number, const struct part *part, long extra, long answer)
{
    if (!rs_failed(answer))
        Py_RETURN_NONE;
    const char *note = answer == -1 && mapping->sealed ? "the mapping is sealed" : NULL;
    if (rs_row(number)->arity == 2)
        return rs_mapping_error(number, answer, note, "(kn)", (unsigned long)mapping->address + part->offset, part->length);
    return rs_mapping_error(number, answer, note, "(knl)", (unsigned long)mapping->address + part->offset, part->length, extra);
}

static PyObject *mapping_apply(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    struct part part;
    unsigned generation = 0;
    long n[4];
    if (numbers(args, count, 4, n) < 0 || rs_mapping_take(mapping, &generation) < 0)
        return NULL;
    int outward = n[0] != SYS_madvise;
    PyObject *result = NULL;
    if (part_of(mapping, n[1], n[2], outward, &part) == 0)
        result = done(mapping, n[0], &part, n[3], issue(mapping, n[0], &part, n[3]));
    rs_mapping_drop(mapping, generation);
    return result;
}

/* Change rights: `alone` where something is taken away.  The rights that remain are noted before the kernel is asked, so
 * that no view or slice begins that the change would break. */
static PyObject *change_rights(struct rs_mapping *mapping, long number, long extra, const struct part *part, unsigned lost, uint8_t after)
{
    unsigned generation = 0;
    uint8_t before = mapping->rights;
    if (lost ? rs_mapping_lock(mapping, "take rights from") < 0 : rs_mapping_take(mapping, &generation) < 0)
        return NULL;
    mapping->rights &= after;
    long answer = issue(mapping, number, part, extra);
    if (answer == ENOMEM_ANSWER)
        mapping->rights = before & after; /* it may have got half way: what is certain */
    else
        mapping->rights = rs_failed(answer) ? before : after;
    if (lost)
        rs_mapping_unlock(mapping);
    else
        rs_mapping_drop(mapping, generation);
    return done(mapping, number, part, extra, answer);
}

static PyObject *mapping_protect(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    struct part part;
    long n[3];
    if (numbers(args, count, 3, n) < 0 || rs_mapping_length(self) < 0 || part_of(mapping, n[1], n[2], 0, &part) < 0)
        return NULL;
    uint8_t wanted = (uint8_t)(n[0] & RS_PROT_ALL), after = part.whole ? wanted : wanted & mapping->rights;
    return change_rights(mapping, SYS_mprotect, n[0], &part, mapping->rights & ~wanted, after);
}

/* Guard pages put into the range by advice are pages that kill like protected ones. */
static PyObject *trap(struct rs_mapping *mapping, long advice, const struct part *part)
{
    if (rs_mapping_lock(mapping, "put guard pages into") < 0)
        return NULL;
    long answer = issue(mapping, SYS_madvise, part, advice);
    if (advice == MADV_GUARD_INSTALL)
        mapping->trapped = 1; /* after a failure, too: some may be there */
    else if (part->whole && !rs_failed(answer))
        mapping->trapped = 0;
    rs_mapping_unlock(mapping);
    return done(mapping, SYS_madvise, part, advice, answer);
}

static PyObject *mapping_advise(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    struct part part;
    long n[3];
    if (numbers(args, count, 3, n) < 0 || rs_mapping_length(self) < 0 || part_of(mapping, n[1], n[2], 0, &part) < 0)
        return NULL;
    if (n[0] == MADV_GUARD_INSTALL || n[0] == MADV_GUARD_REMOVE)
        return trap(mapping, n[0], &part);
    unsigned born = mapping->born;
    if (n[0] == MADV_DONTFORK)
        mapping->born = rs_generation(); /* before the call: a fork may come between */
    PyObject *four[4] = {PyLong_FromLong(SYS_madvise), args[1], args[2], args[0]};
    PyObject *result = four[0] ? mapping_apply(self, four, 4) : NULL;
    Py_XDECREF(four[0]);
    if (!result)
        mapping->born = born;
    else if (n[0] == MADV_DOFORK && part.whole)
        mapping->born = 0;
    return result;
}

static PyObject *cannot_grow(struct rs_mapping *mapping, size_t length)
{
    return PyErr_Format(PyExc_ValueError,
                        "%R cannot grow to %zu bytes: anonymous shared memory keeps the size that it was made with, and what lies "
                        "behind it would be a signal; map a memfd, which can be truncated to any size", mapping, length);
}

static PyObject *resize_alone(struct rs_mapping *mapping, size_t length, long flags)
{
    size_t inner = rs_round_up(mapping->length, mapping->page), wanted = rs_round_up(length, mapping->page);
    PyThreadState *state = PyEval_SaveThread();
    long answer = rs_syscall5(SYS_mremap, (long)mapping->address, (long)inner, (long)wanted, flags, 0);
    PyEval_RestoreThread(state);
    if (rs_failed(answer))
        return rs_mapping_error(SYS_mremap, answer, answer == -22 && !length ? "a mapping has at least one byte" : NULL, "(knnlk)",
                                (unsigned long)mapping->address, inner, wanted, flags, 0UL);
    mapping->address = mapping->span = (char *)answer;
    mapping->span_size = wanted;
    mapping->length = length;
    Py_RETURN_NONE;
}

static PyObject *mapping_resize(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    long n[2];
    if (numbers(args, count, 2, n) < 0)
        return NULL;
    if (n[0] < 0)
        return PyErr_Format(PyExc_ValueError, "resize: a length cannot be negative, got %ld", n[0]);
    if (rs_mapping_lock(mapping, "resize") < 0)
        return NULL;
    PyObject *result;
    if (mapping->guard)
        result = PyErr_Format(PyExc_ValueError, "%R has a guard page behind it and cannot be resized", self);
    else if (mapping->ceiling && (size_t)n[0] > mapping->ceiling)
        result = cannot_grow(mapping, (size_t)n[0]);
    else
        result = resize_alone(mapping, (size_t)n[0], n[1] ? MREMAP_MAYMOVE : 0);
    rs_mapping_unlock(mapping);
    return result;
}

static PyObject *mapping_seal(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    struct part part;
    unsigned generation = 0;
    (void)args, (void)count;
    if (rs_mapping_take(mapping, &generation) < 0)
        return NULL;
    part_of(mapping, 0, -1, 1, &part);
    long answer = issue(mapping, SYS_mseal, &part, 0);
    if (!rs_failed(answer))
        mapping->sealed = 1;
    rs_mapping_drop(mapping, generation);
    return done(mapping, SYS_mseal, &part, 0, answer);
}

static PyObject *mapping_residency(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct rs_mapping *mapping = (struct rs_mapping *)self;
    struct part part;
    unsigned generation = 0;
    (void)args, (void)count;
    if (rs_mapping_take(mapping, &generation) < 0)
        return NULL;
    part_of(mapping, 0, -1, 1, &part);
    Py_ssize_t pages = (Py_ssize_t)(part.length / RS_PAGE);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, pages), *result = bytes;
    char *page = bytes ? PyBytes_AsString(bytes) : NULL;
    if (bytes) {
        long answer = issue(mapping, SYS_mincore, &part, (long)page);
        for (Py_ssize_t i = 0; i < pages; i++)
            page[i] = page[i] & 1; /* the other bits are reserved */
        if (rs_failed(answer)) {
            result = done(mapping, SYS_mincore, &part, (long)page, answer);
            Py_DECREF(bytes);
        }
    }
    rs_mapping_drop(mapping, generation);
    return result;
}

PyMethodDef rs_mapping_change_methods[] = {
    RS_METHOD("_apply", mapping_apply, "_apply($self, number, offset, length, extra, /)\n--\n\nA call (start, length, extra) on a part."),
    RS_METHOD("_protect", mapping_protect, "_protect($self, prot, offset, length, /)\n--\n\nmprotect."),
    RS_METHOD("_advise", mapping_advise, "_advise($self, advice, offset, length, /)\n--\n\nmadvise."),
    RS_METHOD("_resize", mapping_resize, "_resize($self, length, may_move, /)\n--\n\nmremap."),
    RS_METHOD("seal", mapping_seal,
              "seal($self, /)\n--\n\n`mseal(2)`: from now on nothing can unmap, move, resize or protect these pages, until the process ends.\n\n"
              "close() still releases the owner, and a ResourceWarning says that the pages stay.\n\n"
              "Raises OSError (ENOSYS) before Linux 6.10."),
    RS_METHOD("residency", mapping_residency,
              "residency($self, /)\n--\n\n`mincore(2)`: one byte for each page of 4096 bytes, 1 where it is in memory now, else 0.\n\n"
              "Of a file that this process could not write to, the kernel says 1 for every page."),
    {NULL, NULL, 0, NULL},
};
