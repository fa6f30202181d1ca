#include "wait.h"

#include <math.h>

#include "syscall.h"

#define SYS_futex 202
#define SYS_clock_gettime 228
#define FUTEX_WAKE 1
#define FUTEX_WAIT_BITSET 9 /* takes a point in time, so that an interrupted wait goes on to the same end */
#define FUTEX_PRIVATE 128
#define EINTR 4
#define ETIMEDOUT 110

struct timespec64 {
    int64_t seconds, nanoseconds;
};
_Static_assert(sizeof(struct timespec64) == 16, "struct __kernel_timespec");

int64_t rs_monotonic(void)
{
    struct timespec64 now;
    rs_syscall2(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, (long)&now);
    return now.seconds * 1000000000 + now.nanoseconds;
}

int64_t rs_deadline(PyObject *timeout)
{
    if (!timeout || timeout == Py_None)
        return RS_FOREVER;
    if (PyBool_Check(timeout) || !(PyFloat_Check(timeout) || PyLong_Check(timeout))) {
        PyErr_Format(PyExc_TypeError, "a timeout is a number of seconds or None, not %R", Py_TYPE(timeout));
        return -1;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1 && PyErr_Occurred()) { /* an int beyond any double */
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return -1;
        PyErr_Clear();
        PyObject *zero = PyLong_FromLong(0);
        int negative = zero ? PyObject_RichCompareBool(timeout, zero, Py_LT) : -1;
        Py_XDECREF(zero);
        if (negative < 0)
            return -1;
        seconds = negative ? -1 : HUGE_VAL;
    }
    if (!(seconds >= 0)) { /* NaN compares false too */
        PyErr_Format(PyExc_ValueError, "a timeout cannot be negative or NaN, got %R", timeout);
        return -1;
    }
    if (seconds == 0)
        return RS_AT_ONCE;
    if (seconds > 4e9) /* 126 years */
        return RS_FOREVER;
    return rs_monotonic() + (int64_t)(seconds * 1e9) + 1; /* rounded up: nobody returns early */
}

long rs_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, int shared)
{
    struct timespec64 end = {deadline / 1000000000, deadline % 1000000000};
    return rs_syscall6(SYS_futex, (long)word, FUTEX_WAIT_BITSET | (shared ? 0 : FUTEX_PRIVATE), expected,
                       deadline == RS_FOREVER ? 0 : (long)&end, 0, -1);
}

long rs_futex_wake(_Atomic uint32_t *word, int count, int shared)
{
    return rs_syscall3(SYS_futex, (long)word, FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE), count);
}

int rs_wait_while(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, int shared)
{
    while (atomic_load(word) == expected) {
        if (deadline == RS_AT_ONCE)
            return 0;
        PyThreadState *state = PyEval_SaveThread();
        long answer = rs_futex_wait(word, expected, deadline, shared);
        PyEval_RestoreThread(state);
        if (answer == -ETIMEDOUT)
            return atomic_load(word) != expected;
        if (answer == -EINTR && PyErr_CheckSignals() < 0)
            return -1;
    }
    return 1;
}
