/* rawsys.vdso: clocks, processor and random bytes by the vDSO, or by the call where it is not there. */
#include "vdso.h"

#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#include "call.h"

#define SYS_clock_gettime 228
#define SYS_getcpu 309
#define SYS_getrandom 318
#define IMAGE_LIMIT (1UL << 20) /* today's has two pages */
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1

struct timespec64 {
    int64_t seconds, nanoseconds;
};

typedef long clock_function(int clock, struct timespec64 *time);
typedef long cpu_function(unsigned *cpu, unsigned *node, void *unused);

/* Found once, when the module is set up: the image does not move while the process lives. */
static clock_function *clock_gettime_there;
static cpu_function *getcpu_there;
static const void *getrandom_there;
static const char *image;

/* ---- clocks: they keep the GIL, as clock_gettime does in the table ---- */

static long read_clock(int clock, struct timespec64 *time)
{
    return RS_LIKELY(clock_gettime_there != NULL) ? clock_gettime_there(clock, time) : rs_syscall2(SYS_clock_gettime, clock, (long)time);
}

static PyObject *nanoseconds(const struct timespec64 *time)
{
    int64_t total;
    if (RS_LIKELY(!__builtin_mul_overflow(time->seconds, (int64_t)1000000000, &total) && !__builtin_add_overflow(total, time->nanoseconds, &total)))
        return PyLong_FromLongLong(total);
    return PyErr_Format(PyExc_OverflowError, "the clock shows %lld seconds, more than 64 bits of nanoseconds", (long long)time->seconds);
}

static PyObject *clock_failed(PyObject *clock, long answer)
{
    PyObject *args[2] = {clock, Py_None};
    return rs_os_error(rs_row(SYS_clock_gettime), args, 2, answer);
}

static PyObject *fixed_clock(int clock)
{
    struct timespec64 time;
    long answer = read_clock(clock, &time);
    if (RS_LIKELY(answer == 0))
        return nanoseconds(&time);
    PyObject *number = PyLong_FromLong(clock);
    if (number)
        clock_failed(number, answer);
    Py_XDECREF(number);
    return NULL;
}

static PyObject *no_arguments(const char *name, Py_ssize_t count)
{
    return PyErr_Format(PyExc_TypeError, "%s() takes no arguments, got %zd", name, count);
}

static PyObject *vdso_monotonic_ns(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)args;
    return RS_UNLIKELY(count) ? no_arguments("monotonic_ns", count) : fixed_clock(CLOCK_MONOTONIC);
}

static PyObject *vdso_realtime_ns(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)args;
    return RS_UNLIKELY(count) ? no_arguments("realtime_ns", count) : fixed_clock(CLOCK_REALTIME);
}

static const struct rs_row clock_row = {
    .name = "clock_gettime_ns", .signature = "clock_gettime_ns(clock)", .arity = 1,
    .arg = {{.name = "clock", .kind = RS_NUMBER, .bits = 32}},
};

static PyObject *vdso_clock_gettime_ns(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    struct rs_call call;
    struct timespec64 time;
    if (rs_prepare(&call, &clock_row, args, count) < 0)
        return NULL;
    long answer = read_clock((int)call.word[0], &time);
    return RS_LIKELY(answer == 0) ? nanoseconds(&time) : clock_failed(args[0], answer);
}

/* ---- processor, random bytes ---- */

static PyObject *vdso_getcpu(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)args;
    unsigned cpu = 0, node = 0;
    if (count)
        return no_arguments("getcpu", count);
    long answer = getcpu_there ? getcpu_there(&cpu, &node, NULL) : rs_syscall3(SYS_getcpu, (long)&cpu, (long)&node, 0);
    if (RS_LIKELY(answer == 0))
        return Py_BuildValue("(II)", cpu, node);
    PyObject *none[3] = {Py_None, Py_None, Py_None};
    return rs_os_error(rs_row(SYS_getcpu), none, 3, answer);
}

/* All of them, however the kernel divides it; -EINTR only where a Python signal handler raised.  The GIL is held. */
static long fill(char *memory, size_t size)
{
    for (size_t done = 0; done < size;) {
        long answer = 0;
        PyThreadState *state = PyEval_SaveThread(); /* it waits, while a young machine has no entropy yet */
        if (!getrandom_there || !rs_vdso_random(getrandom_there, memory + done, size - done, &answer))
            answer = rs_syscall3(SYS_getrandom, (long)(memory + done), (long)(size - done), 0);
        PyEval_RestoreThread(state);
        if (answer == -4 && PyErr_CheckSignals() == 0)
            continue;
        if (rs_failed(answer))
            return answer;
        done += (size_t)answer;
    }
    return 0;
}

static PyObject *vdso_getrandom(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 1)
        return PyErr_Format(PyExc_TypeError, "getrandom(n, /) takes 1 argument, got %zd", count);
    if (PyBool_Check(args[0]))
        return PyErr_Format(PyExc_TypeError, "getrandom: a number of bytes must be an int, not bool");
    Py_ssize_t size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (size < 0)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "getrandom: a number of bytes cannot be negative, got %zd", size);
    char small[256];
    PyObject *bytes = (size_t)size <= sizeof small ? NULL : PyBytes_FromStringAndSize(NULL, size);
    if (!bytes && (size_t)size > sizeof small)
        return NULL;
    long answer = fill(bytes ? PyBytes_AsString(bytes) : small, (size_t)size);
    if (RS_LIKELY(answer == 0))
        return bytes ? bytes : PyBytes_FromStringAndSize(small, size);
    Py_XDECREF(bytes);
    PyObject *shown[3] = {Py_None, args[0], Py_False};
    return PyErr_Occurred() ? NULL : rs_os_error(rs_row(SYS_getrandom), shown, 3, answer);
}

/* ---- what was found ---- */

static PyObject *vdso_find(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    const char *name = PyUnicode_AsUTF8AndSize(args[0], NULL), *version = PyUnicode_AsUTF8AndSize(args[1], NULL);
    const char *base = count > 2 ? PyLong_AsVoidPtr(args[2]) : image;
    size_t limit = count > 3 ? PyLong_AsSize_t(args[3]) : IMAGE_LIMIT;
    if (PyErr_Occurred())
        return NULL;
    return PyLong_FromVoidPtr((void *)(uintptr_t)rs_vdso_find(base, limit, name, version));
}

static PyObject *vdso_getauxval(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)count;
    unsigned long key = PyLong_AsUnsignedLong(args[0]);
    return PyErr_Occurred() ? NULL : PyLong_FromUnsignedLong(getauxval(key));
}

/* True when the vDSO's getrandom has a state for this thread: else, and where it is absent, the call is made. */
static PyObject *vdso_has_state(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)args, (void)count;
    long answer;
    return PyBool_FromLong(getrandom_there && rs_vdso_random(getrandom_there, NULL, 0, &answer));
}

static PyMethodDef functions[] = {
    RS_METHOD("clock_gettime_ns", vdso_clock_gettime_ns,
              "clock_gettime_ns($module, clock, /)\n--\n\n`clock_gettime(2)` by the vDSO: a CLOCK constant's time in nanoseconds.\n\n"
              "Clocks that the vDSO cannot read (CPU time of a process or thread) it asks the kernel for by itself.\n\n"
              "Raises OSError (EINVAL) for a clock that does not exist."),
    RS_METHOD("monotonic_ns", vdso_monotonic_ns,
              "monotonic_ns($module, /)\n--\n\n`clock_gettime(2)` by the vDSO: CLOCK_MONOTONIC in nanoseconds, the clock of timeouts."),
    RS_METHOD("realtime_ns", vdso_realtime_ns,
              "realtime_ns($module, /)\n--\n\n`clock_gettime(2)` by the vDSO: CLOCK_REALTIME, nanoseconds since 1970; it jumps when it is set."),
    RS_METHOD("getcpu", vdso_getcpu,
              "getcpu($module, /)\n--\n\n`getcpu(2)` by the vDSO: the processor that this thread runs on, and its memory node.\n\n"
              "It may be another one by the time it is looked at."),
    RS_METHOD("getrandom", vdso_getrandom,
              "getrandom($module, n, /)\n--\n\n`getrandom(2)` by the vDSO (Linux 6.11): `n` random bytes, fit for keys.\n\n"
              "Each thread has a state of its own in memory that a forked child does not inherit.  Where there is none, or\n"
              "it is busy, the call is made.  Waits while the machine has no entropy yet."),
    RS_METHOD("_find", vdso_find, "_find($module, name, version, base=..., limit=..., /)\n--\n\nAddress in an image, or 0."),
    RS_METHOD("_getauxval", vdso_getauxval, "_getauxval($module, key, /)\n--\n\nlibc's copy of the auxiliary vector."),
    RS_METHOD("_has_state", vdso_has_state, "_has_state($module, /)\n--\n\nTrue where getrandom has a state for this thread."),
    {NULL, NULL, 0, NULL},
};

int rs_vdso_setup(PyObject *module)
{
    image = (const char *)getauxval(AT_SYSINFO_EHDR);
    clock_gettime_there = (clock_function *)(uintptr_t)rs_vdso_find(image, IMAGE_LIMIT, "__vdso_clock_gettime", "LINUX_2.6");
    getcpu_there = (cpu_function *)(uintptr_t)rs_vdso_find(image, IMAGE_LIMIT, "__vdso_getcpu", "LINUX_2.6");
    getrandom_there = rs_vdso_find(image, IMAGE_LIMIT, "__vdso_getrandom", "LINUX_2.6");
    return PyModule_AddFunctions(module, functions);
}
