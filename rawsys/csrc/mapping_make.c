/* The beginning of a Mapping: arguments, a reserved place, memory in it. */
#include "mapping.h"

#define SYS_mmap 9
#define SYS_munmap 11
#define SYS_madvise 28
#define SYS_mlock 149

#define MAP_SHARED 0x1
#define MAP_PRIVATE 0x2
#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20
#define MAP_NORESERVE 0x4000
#define MAP_HUGETLB 0x40000
#define MAP_HUGE_SHIFT 26
#define MAP_FIXED_NOREPLACE 0x100000

#define MADV_HUGEPAGE 14
#define MADV_NOHUGEPAGE 15
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23

#define EPERM_ANSWER -1
#define ENOMEM_ANSWER -12
#define EACCES_ANSWER -13
#define EEXIST_ANSWER -17
#define EINVAL_ANSWER -22

enum { LENGTH, FD, OFFSET, PROT, ADDRESS };

static const struct rs_row wanted = {
    .name = "Mapping", .signature = "Mapping(length, *, fd, offset, shared, prot, address, guard, huge, populate, locked)", .arity = 5,
    .arg = {{.name = "length", .kind = RS_NUMBER, .bits = 64}, {.name = "fd", .kind = RS_FD, .bits = 32},
            {.name = "offset", .kind = RS_NUMBER, .bits = 64}, {.name = "prot", .kind = RS_NUMBER, .bits = 32},
            {.name = "address", .kind = RS_NUMBER, .bits = 64, .is_address = 1}},
};

struct plan {
    struct rs_call call; /* the converted arguments, and the descriptor counted */
    int flags, shared, guard, populate, locked, thp;
    size_t page;
};

/* None: as the system is set up; True, False: transparent huge pages, or none; a size: pages of hugetlbfs. */
static int plan_huge(struct plan *plan, PyObject *huge)
{
    if (huge == Py_None)
        return 0;
    if (PyBool_Check(huge))
        return plan->thp = huge == Py_True ? MADV_HUGEPAGE : MADV_NOHUGEPAGE, 0;
    long size = PyIndex_Check(huge) ? PyLong_AsLong(huge) : -1;
    if (size <= (long)RS_PAGE || (size & (size - 1))) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "Mapping(): 'huge' is None, True, False or the size of a huge page (2 MiB, 1 GiB), not %R", huge);
        return -1;
    }
    plan->page = (size_t)size;
    plan->flags |= MAP_HUGETLB | __builtin_ctzl((unsigned long)size) << MAP_HUGE_SHIFT;
    return 0;
}

static int plan_numbers(struct plan *plan, PyObject *const *object)
{
    struct rs_call *call = &plan->call;
    int anonymous = object[FD] == Py_None;
    call->row = &wanted;
    for (unsigned i = 0; i < 5; i++) {
        call->word[i] = i == FD ? -1 : i == PROT ? RS_PROT_READ | RS_PROT_WRITE : 0;
        if (object[i] && object[i] != Py_None && rs_convert_fast(call, &wanted, i, object[i]) < 0)
            return -1;
    }
    if (call->word[LENGTH] < 0 || call->word[OFFSET] < 0)
        return PyErr_Format(PyExc_ValueError, "Mapping(): '%s' cannot be negative or above 2**63-1, got %R",
                            call->word[LENGTH] < 0 ? "length" : "offset", object[call->word[LENGTH] < 0 ? LENGTH : OFFSET]), -1;
    if (object[ADDRESS] && object[ADDRESS] != Py_None && !call->word[ADDRESS])
        return PyErr_Format(PyExc_ValueError, "Mapping(): nothing is mapped at address 0, where a stray pointer should be a signal; None lets the kernel choose"), -1;
    if (anonymous && call->word[OFFSET])
        return PyErr_Format(PyExc_ValueError, "Mapping(): an offset needs a file, fd="), -1;
    plan->flags |= (plan->shared ? MAP_SHARED : MAP_PRIVATE) | (anonymous ? MAP_ANONYMOUS : 0);
    return 0;
}

static PyObject *refused(struct plan *plan, long address, size_t length, long answer)
{
    const long *word = plan->call.word;
    const char *note = NULL;
    if (answer == EINVAL_ANSWER)
        note = word[LENGTH] == 0                        ? "a mapping has at least one byte"
               : word[OFFSET] & (long)(plan->page - 1) ? "the offset has to be a multiple of the page size"
               : address & (long)(plan->page - 1)      ? "the address has to be a multiple of the page size"
                                                        : NULL;
    else if (answer == EACCES_ANSWER && word[FD] >= 0)
        note = "the way in which the file was opened forbids this: reading is needed always, writing too for a shared, writable mapping";
    else if (answer == EPERM_ANSWER && word[FD] >= 0)
        note = "the file is sealed against it, or on a file system that forbids it";
    else if (answer == ENOMEM_ANSWER)
        note = "more than the address space, a limit (RLIMIT_AS), the machine or vm.max_map_count allows";
    else if (answer == EEXIST_ANSWER)
        note = "something is mapped there already";
    return rs_mapping_error(SYS_mmap, answer, note, "(kniiik)", address, length, (int)word[PROT], plan->flags, (int)word[FD], word[OFFSET]);
}

/* The span with its guards, reserved in one piece: MAP_FIXED is used inside of it only.  An older kernel takes the
 * address as a wish, and an address that is not the one asked for is given back.  0, or the kernel's answer. */
static long reserve(struct rs_mapping *mapping, const struct plan *plan, size_t inner)
{
    unsigned long at = (unsigned long)plan->call.word[ADDRESS];
    size_t before = mapping->guard ? RS_PAGE : 0, slack = at ? 0 : plan->page - RS_PAGE;
    size_t size = inner + 2 * before + slack;
    if (size < inner)
        return ENOMEM_ANSWER;
    long place = rs_syscall6(SYS_mmap, at ? (long)(at - before) : 0, (long)size, 0,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);
    if (rs_failed(place))
        return place;
    if (at && (unsigned long)place != at - before) {
        rs_syscall2(SYS_munmap, place, (long)size);
        return EEXIST_ANSWER;
    }
    mapping->span = (char *)place;
    mapping->span_size = size;
    mapping->address = (char *)rs_round_up((unsigned long)place + before, at ? RS_PAGE : plan->page);
    return 0;
}

/* Memory at the place that was reserved, or at one that the kernel chooses. */
static long map(struct rs_mapping *mapping, const struct plan *plan)
{
    const long *word = plan->call.word;
    size_t inner = rs_round_up((size_t)word[LENGTH], plan->page);
    int reserved = mapping->guard || word[ADDRESS];
    long answer = reserved ? reserve(mapping, plan, inner) : 0;
    if (rs_failed(answer))
        return answer;
    answer = rs_syscall6(SYS_mmap, (long)mapping->address, word[LENGTH], word[PROT], plan->flags | (reserved ? MAP_FIXED : 0), word[FD], word[OFFSET]);
    if (rs_failed(answer) || reserved)
        return answer;
    mapping->address = mapping->span = (char *)answer;
    mapping->span_size = inner;
    return 0;
}

/* What is asked for beyond the mapping itself is done by calls that say when they fail: MAP_POPULATE and MAP_LOCKED
 * are silent about it.  The number of the call that failed, or 0. */
static long furnish(struct rs_mapping *mapping, const struct plan *plan, long *advice, long *answer)
{
    size_t inner = rs_round_up(mapping->length, plan->page);
    int writes = (plan->call.word[PROT] & RS_PROT_WRITE) && !plan->shared;
    long wishes[] = {plan->thp, plan->populate ? (writes ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) : 0};
    for (int i = 0; i < 2; i++) {
        *advice = wishes[i];
        if (*advice && rs_failed(*answer = rs_syscall3(SYS_madvise, (long)mapping->address, (long)inner, *advice)))
            return SYS_madvise;
    }
    return plan->locked && rs_failed(*answer = rs_syscall2(SYS_mlock, (long)mapping->address, (long)inner)) ? SYS_mlock : 0;
}

static int build(struct rs_mapping *mapping, struct plan *plan)
{
    long advice = 0, late = 0, failed = 0, fixed = plan->guard || plan->call.word[ADDRESS];
    PyThreadState *state = PyEval_SaveThread();
    long answer = map(mapping, plan);
    if (!rs_failed(answer))
        failed = furnish(mapping, plan, &advice, &late);
    char *address = mapping->address;
    if ((rs_failed(answer) || failed) && mapping->span) {
        rs_syscall2(SYS_munmap, (long)mapping->span, (long)mapping->span_size);
        mapping->span = NULL;
    }
    PyEval_RestoreThread(state);
    if (rs_failed(answer))
        return refused(plan, fixed && !address ? plan->call.word[ADDRESS] : (long)address, mapping->length, answer), -1;
    if (failed == SYS_madvise)
        rs_mapping_error(failed, late, NULL, "(kni)", (unsigned long)address, mapping->length, (int)advice);
    else if (failed)
        rs_mapping_error(failed, late, "more than RLIMIT_MEMLOCK allows, or than can be had", "(kn)", (unsigned long)address, mapping->length);
    return failed ? -1 : 0;
}

static struct rs_mapping *from_plan(PyTypeObject *type, struct plan *plan)
{
    struct rs_mapping *mapping = (struct rs_mapping *)PyType_GenericAlloc(type, 0);
    if (!mapping)
        return NULL;
    mapping->length = (size_t)plan->call.word[LENGTH];
    mapping->page = plan->page;
    mapping->guard = (uint8_t)plan->guard;
    mapping->shared = (uint8_t)plan->shared;
    mapping->rights = (uint8_t)(plan->call.word[PROT] & RS_PROT_ALL);
    if (plan->shared && plan->flags & MAP_ANONYMOUS)
        mapping->ceiling = rs_round_up(mapping->length, plan->page);
    if (build(mapping, plan) < 0) {
        Py_DECREF(mapping);
        return NULL;
    }
    atomic_init(&mapping->word, (uint64_t)rs_generation() << 48);
    return mapping;
}

PyObject *rs_mapping_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"length", "fd", "offset", "shared", "prot", "address", "guard", "huge", "populate", "locked", NULL};
    PyObject *object[5] = {NULL, Py_None}, *huge = Py_None;
    struct plan plan = {.page = RS_PAGE};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|$OOpOOpOpp:Mapping", names, &object[LENGTH], &object[FD], &object[OFFSET],
                                     &plan.shared, &object[PROT], &object[ADDRESS], &plan.guard, &huge, &plan.populate, &plan.locked))
        return NULL;
    if (object[LENGTH] == Py_None || object[PROT] == Py_None || object[OFFSET] == Py_None)
        return PyErr_Format(PyExc_TypeError, "Mapping(): length, offset and prot must be ints, not None");
    struct rs_mapping *mapping = NULL;
    if (plan_numbers(&plan, object) == 0 && plan_huge(&plan, huge) == 0)
        mapping = from_plan(type, &plan);
    rs_finish(&plan.call);
    return (PyObject *)mapping;
}
