/* Waiting for an owner's news: timeouts, the bell, the futex. */
#include "signal_owner.h"

#include "call.h"

#define SYS_futex 202
#define SYS_clock_gettime 228
#define SYS_ppoll 271
#define NANO 1000000000L

static int not_a_timeout(PyObject *timeout, int type)
{
    if (type)
        PyErr_Format(PyExc_TypeError, "a timeout is a number of seconds or None, not %R", Py_TYPE(timeout));
    else
        PyErr_Format(PyExc_ValueError, "a timeout cannot be negative or NaN, got %S", timeout);
    return -1;
}

int rs_signal_deadline(PyObject *timeout, long deadline[2], int *now)
{
    *now = 0;
    if (timeout == Py_None)
        return 0;
    if (PyBool_Check(timeout) || !(PyFloat_Check(timeout) || PyLong_Check(timeout)))
        return not_a_timeout(timeout, 1);
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) { /* an int beyond all doubles */
        PyErr_Clear();
        seconds = 1e30;
    }
    if (!(seconds >= 0))
        return not_a_timeout(timeout, 0);
    *now = seconds == 0;
    if (*now)
        return 1;
    rs_syscall2(SYS_clock_gettime, 1, (long)deadline); /* CLOCK_MONOTONIC */
    long whole = seconds < 4e9 ? (long)seconds : 4000000000L;
    double rest = seconds < 4e9 ? (seconds - (double)whole) * NANO : 0;
    deadline[0] += whole;
    deadline[1] += (long)rest + ((double)(long)rest < rest); /* rounded up: nobody returns early */
    if (deadline[1] >= NANO)
        deadline[0]++, deadline[1] -= NANO;
    return 1;
}

/* ---- the bell ---- */

static int no_bell(struct rs_owner *owner, int answer)
{
    PyObject *arguments[2] = {PyLong_FromLong(0), PyLong_FromLong(02004000)};
    rs_os_error(rs_row(owner->kind == RS_FLAG ? 293 : 290), arguments, 2, answer);
    Py_XDECREF(arguments[0]);
    Py_XDECREF(arguments[1]);
    return -1;
}

int rs_signal_bell(struct rs_owner *owner)
{
    int ends[2];
    if (atomic_load(&owner->bell) >= 0) {
        if (owner->generation != rs_generation())
            rs_owner_after_fork(owner); /* the child of a naked fork, where no hook has run */
        return 0;
    }
    int answer = rs_bell_make(owner->kind, ends);
    if (answer < 0)
        return no_bell(owner, answer);
    owner->object[0] = rs_fd_fresh(ends[0]);
    owner->object[1] = ends[1] != ends[0] ? rs_fd_fresh(ends[1]) : NULL;
    if (PyErr_Occurred()) {
        Py_XDECREF((PyObject *)owner->object[0]); /* out of memory: what is open is closed with a warning */
        Py_XDECREF((PyObject *)owner->object[1]);
        owner->object[0] = owner->object[1] = NULL;
        return -1;
    }
    owner->generation = rs_generation();
    owner->reader = ends[0];
    atomic_store(&owner->bell, ends[1]);
    rs_owner_settle(owner); /* what came before it was there is told now */
    return 0;
}

/* What is left until the deadline, never negative. */
static void remaining(const long deadline[2], long left[2])
{
    long now[2] = {0, 0};
    rs_syscall2(SYS_clock_gettime, 1, (long)now);
    left[0] = deadline[0] - now[0];
    left[1] = deadline[1] - now[1];
    if (left[1] < 0)
        left[0]--, left[1] += NANO;
    if (left[0] < 0)
        left[0] = left[1] = 0;
}

/* FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG: the only wait whose time is a point, so that a retry needs no sum. */
static long wait_on_word(struct rs_owner *owner, uint32_t seen, const long deadline[2])
{
    atomic_fetch_add(&owner->waiters, 1);
    long answer = rs_syscall6(SYS_futex, (long)&owner->word, 9 | 128, seen, (long)deadline, 0, -1);
    atomic_fetch_sub(&owner->waiters, 1);
    return answer == -110 ? 0 : answer == -4 ? -4 : 1; /* ETIMEDOUT, EINTR */
}

static long wait_on_bell(struct rs_owner *owner, const long deadline[2])
{
    struct { int fd; short wanted, found; } poll = {owner->reader, 1 /* POLLIN */, 0};
    long left[2];
    if (deadline)
        remaining(deadline, left);
    return rs_syscall5(SYS_ppoll, (long)&poll, 1, deadline ? (long)left : 0, 0, 8);
}

int rs_signal_wait(struct rs_owner *owner, uint32_t seen, const long deadline[2])
{
    int by_bell = owner->kind == RS_FLAG && rs_signal_bell(owner) == 0;
    if (!by_bell)
        PyErr_Clear(); /* no descriptor is left: the word does without */
    atomic_fetch_add(&owner->users, 1);
    PyThreadState *state = PyEval_SaveThread();
    long answer = by_bell ? wait_on_bell(owner, deadline) : wait_on_word(owner, seen, deadline);
    PyEval_RestoreThread(state);
    atomic_fetch_sub(&owner->users, 1);
    if (answer == -4 && PyErr_CheckSignals() < 0) /* Python's handlers run, and may raise */
        return -1;
    return answer != 0;
}
