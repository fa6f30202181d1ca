/* The life of a thread as its creator sees it: created, waited for at its gate, detached.  What it does itself is in
 * thread_body.c, its end in thread_join.c. */
#include "thread.h"

#include "wait.h"

#define SYS_rt_sigprocmask 14
#define SIG_SETMASK_ 2
#define LIBC_SIGNALS (3ULL << 31) /* 32 and 33: blocked, they hang setresuid in other threads */
#define EINTR 4

struct rs_thread *rs_threads;
PyObject *rs_thread_active;

/* ---- those that the exit waits for ---- */

static void enlist(struct rs_thread *thread)
{
    thread->before = NULL;
    thread->after = rs_threads;
    if (rs_threads)
        rs_threads->before = thread;
    rs_threads = thread;
}

void rs_thread_unlist(struct rs_thread *thread)
{
    if (thread->before)
        thread->before->after = thread->after;
    else if (rs_threads == thread)
        rs_threads = thread->after;
    if (thread->after)
        thread->after->before = thread->before;
    thread->before = thread->after = NULL;
}

/* ---- creating ---- */

static int create_with(struct rs_thread *thread)
{
    const struct rs_wishes *w = &thread->wishes;
    pthread_attr_t attributes;
    if (!w->stack_size && !w->has_guard)
        return pthread_create(&thread->pthread, NULL, rs_thread_main, thread);
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    if (w->stack_size)
        error = pthread_attr_setstacksize(&attributes, w->stack_size);
    if (!error && w->has_guard)
        error = pthread_attr_setguardsize(&attributes, w->guard_size);
    if (!error)
        error = pthread_create(&thread->pthread, &attributes, rs_thread_main, thread);
    pthread_attr_destroy(&attributes);
    return error;
}

static int create(struct rs_thread *thread)
{
    if (!thread->wishes.has_mask)
        return create_with(thread);
    uint64_t all = ~LIBC_SIGNALS, before = 0; /* none gets in before the thread has set its own mask */
    rs_syscall4(SYS_rt_sigprocmask, SIG_SETMASK_, (long)&all, (long)&before, 8);
    int error = create_with(thread);
    rs_syscall4(SYS_rt_sigprocmask, SIG_SETMASK_, (long)&before, 0, 8);
    return error;
}

/* The body does not run, if it does not run already. */
static void abandon(struct rs_thread *thread)
{
    uint32_t before = RS_WATCHED;
    if (!atomic_compare_exchange_strong(&thread->gate, &before, RS_ABANDONED) && before == RS_READY)
        rs_thread_open(thread, 0);
}

/* threading._active[ident] is its Thread object from the moment that it exists: the GIL is held since before it was
 * created, so it cannot have looked for itself yet.  It takes itself out at the end of its body. */
static void show(struct rs_thread *thread, int show)
{
    PyObject *type, *value, *traceback;
    PyObject *ident = thread->shown ? PyLong_FromUnsignedLong((unsigned long)thread->pthread) : NULL;
    if (!ident)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    if (show && (PyObject_SetAttrString(thread->shown, "_ident", ident) < 0 || PyDict_SetItem(rs_thread_active, ident, thread->shown) < 0))
        PyErr_WriteUnraisable(thread->shown);
    else if (!show && PyDict_DelItem(rs_thread_active, ident) < 0)
        PyErr_Clear();
    Py_DECREF(ident);
    PyErr_Restore(type, value, traceback);
}

/* The kernel's answer, or 0 without a wait.  Tried and dropped: giving the CPU away first (sched_yield), which lets a
 * thread behind us on the same CPU start, and saves one switch of two; but on a busy machine it puts us behind all who
 * compute, and a spawn takes milliseconds.  Spinning keeps the thread from the CPU that it waits for, and keeping the
 * GIL meanwhile makes it fall asleep on that. */
static long await_opening(struct rs_thread *thread)
{
    uint32_t before = RS_STARTING;
    if (!atomic_compare_exchange_strong(&thread->gate, &before, RS_WATCHED) && before != RS_WATCHED)
        return 0;
    return rs_futex_wait(&thread->gate, RS_WATCHED, RS_FOREVER, 0);
}

static int opened(struct rs_thread *thread)
{
    return atomic_load(&thread->gate) > RS_WATCHED;
}

/* Until the thread says how it went.  It may be kept from running for long (SCHED_IDLE on a busy CPU), so Python's
 * signal handlers run, and one that raises abandons it. */
static int await_gate(struct rs_thread *thread)
{
    while (!opened(thread)) {
        PyThreadState *state = PyEval_SaveThread();
        long answer = await_opening(thread);
        PyEval_RestoreThread(state);
        if (answer == -EINTR && PyErr_CheckSignals() < 0)
            return abandon(thread), -1;
    }
    return 0;
}

int rs_thread_start(struct rs_thread *thread, const char **call)
{
    thread->interpreter = PyInterpreterState_Get();
    thread->generation = rs_generation();
    atomic_fetch_add(&thread->references, 1);
    int error = create(thread);
    if (error) {
        atomic_fetch_sub(&thread->references, 1);
        *call = "pthread_create";
        return error;
    }
    show(thread, 1);
    enlist(thread);
    if (await_gate(thread) < 0) {
        if (atomic_load(&thread->gate) != RS_GO)
            show(thread, 0);
        rs_thread_detach(thread);
        return -1;
    }
    if (atomic_load(&thread->gate) != RS_FAILED)
        return 0;
    show(thread, 0);
    pthread_join(thread->pthread, NULL);
    rs_thread_unlist(thread);
    *call = thread->failed_call;
    return thread->error;
}

int rs_thread_open(struct rs_thread *thread, int go)
{
    if (!go)
        show(thread, 0);
    atomic_store(&thread->gate, go ? RS_GO : RS_ABANDONED);
    rs_futex_wake(&thread->gate, 1, 0);
    return 0;
}

/* Without the GIL a native thread may end at this moment: one of both sees that the other was first, and clears. */
void rs_thread_detach(struct rs_thread *thread)
{
    uint32_t held = RS_HELD;
    rs_thread_unlist(thread);
    if (thread->generation != rs_generation())
        return; /* forked: there is no such thread here, and libc has freed its stack */
    if (thread->argument && thread->shown && PyObject_SetAttrString(thread->shown, "_daemonic", Py_True) < 0)
        PyErr_WriteUnraisable(thread->shown); /* what threading calls a thread that nobody waits for */
    if (!atomic_compare_exchange_strong(&thread->fate, &held, RS_DETACHED))
        rs_thread_report(thread), rs_thread_clear(thread);
    else if (thread->kind == RS_BODY_PYTHON)
        rs_thread_report(thread);
    uint32_t awaited = RS_AWAITED; /* by the exit alone, as nobody joins it: it looks again for whom to wait */
    if (atomic_compare_exchange_strong(&thread->done, &awaited, RS_RUNNING))
        rs_futex_wake(&thread->done, INT32_MAX, 0);
    pthread_detach(thread->pthread);
}
