/* The life of a thread: created, gate, body, end; joined or detached exactly once. */
#define _GNU_SOURCE /* pthread_clockjoin_np */
#include "thread.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "left.h"
#include "wait.h"

#define SYS_rt_sigprocmask 14
#define SYS_setpriority 141
#define SYS_sched_setscheduler 144
#define SYS_prctl 157
#define SYS_gettid 186
#define SYS_sched_setaffinity 203
#define SYS_sched_yield 24
#define SIG_SETMASK_ 2
#define LIBC_SIGNALS (3ULL << 31) /* 32 and 33: blocked, they hang setresuid in other threads */
#define ENOMEM 12
#define EINTR 4

struct rs_thread *rs_threads;
PyObject *rs_thread_active;
_Thread_local struct rs_thread *rs_thread_current;

/* ---- what is left behind ---- */

void *volatile rs_left;

static void leave(struct rs_thread *thread)
{
    struct rs_thread *head = rs_left;
    do
        thread->next_left = head;
    while (!__atomic_compare_exchange_n(&rs_left, (void **)&head, (void *)thread, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

void rs_left_free(void)
{
    PyObject *type, *value, *traceback;
    struct rs_thread *thread = __atomic_exchange_n(&rs_left, NULL, __ATOMIC_SEQ_CST);
    PyErr_Fetch(&type, &value, &traceback);
    while (thread) {
        struct rs_thread *next = thread->next_left;
        rs_thread_clear(thread);
        rs_thread_release(thread);
        thread = next;
    }
    PyErr_Restore(type, value, traceback);
}

/* ---- memory ---- */

void rs_thread_release(struct rs_thread *thread)
{
    if (atomic_fetch_sub(&thread->references, 1) > 1)
        return;
    free(thread->wishes.mask);
    free(thread);
}

void rs_thread_clear(struct rs_thread *thread)
{
    if (thread->program) {
        struct rs_program_object *program = thread->program;
        thread->program = NULL;
        rs_run_end(program, &thread->bound);
        PyMem_Free(thread->bound.block);
        Py_DECREF((PyObject *)program);
    }
    Py_CLEAR(thread->body);
    Py_CLEAR(thread->argument);
    Py_CLEAR(thread->outcome);
}

static void enlist(struct rs_thread *thread)
{
    thread->before = NULL;
    thread->after = rs_threads;
    if (rs_threads)
        rs_threads->before = thread;
    rs_threads = thread;
}

static void unlist(struct rs_thread *thread)
{
    if (thread->before)
        thread->before->after = thread->after;
    else if (rs_threads == thread)
        rs_threads = thread->after;
    if (thread->after)
        thread->after->before = thread->before;
    thread->before = thread->after = NULL;
}

/* ---- in the thread ---- */

static int set(struct rs_thread *thread, const char *call, long answer)
{
    if (!rs_failed(answer))
        return 0;
    thread->failed_call = call;
    thread->error = (int)-answer;
    return -1;
}

/* The mask comes last: until then all signals are blocked, where a mask was asked for. */
static int set_all(struct rs_thread *thread)
{
    const struct rs_wishes *w = &thread->wishes;
    int priority = w->priority;
    if (w->mask && set(thread, "sched_setaffinity", rs_syscall3(SYS_sched_setaffinity, 0, (long)w->mask_size, (long)w->mask)) < 0)
        return -1;
    if (w->has_policy && set(thread, "sched_setscheduler", rs_syscall3(SYS_sched_setscheduler, 0, w->policy, (long)&priority)) < 0)
        return -1;
    if (w->has_nice && set(thread, "setpriority", rs_syscall3(SYS_setpriority, 0, 0, w->nice)) < 0)
        return -1;
    if (w->has_name && set(thread, "prctl", rs_syscall5(SYS_prctl, 15, (long)w->name, 0, 0, 0)) < 0)
        return -1;
    if (w->has_mask && set(thread, "rt_sigprocmask", rs_syscall4(SYS_rt_sigprocmask, SIG_SETMASK_, (long)&w->signals, 0, 8)) < 0)
        return -1;
    if (thread->kind != RS_BODY_PYTHON)
        return 0;
    thread->state = PyThreadState_New(thread->interpreter); /* needs no GIL */
    return thread->state ? 0 : set(thread, "PyThreadState_New", -ENOMEM);
}

/* Tells the creator how it went; 1 when the body may run. */
static int open_gate(struct rs_thread *thread)
{
    uint32_t before = RS_STARTING, state = set_all(thread) < 0 ? RS_FAILED : thread->two_phase ? RS_READY : RS_GO;
    while (!atomic_compare_exchange_strong(&thread->gate, &before, state))
        if (before == RS_ABANDONED)
            return 0;
    if (before == RS_WATCHED)
        rs_futex_wake(&thread->gate, 1, 0);
    while ((state = atomic_load(&thread->gate)) == RS_READY)
        rs_futex_wait(&thread->gate, RS_READY, RS_FOREVER, 0);
    return state == RS_GO;
}

/* The state was made before the gate, so this only takes the GIL.  While the interpreter goes away that call does
 * not return: it ends the thread (pthread_exit, or for ever asleep from 3.14 on), which is why nothing here holds a
 * lock, and why what waits for `done` gets it from a cleanup handler. */
static void run_python(struct rs_thread *thread, int may_run)
{
    PyEval_AcquireThread(thread->state);
    if (may_run) {
        rs_thread_current = thread;
        thread->outcome = PyObject_CallObject(thread->body, thread->argument);
        if (!thread->outcome)
            PyErr_WriteUnraisable(thread->body);
    }
    Py_CLEAR(thread->body);
    Py_CLEAR(thread->argument);
    if (atomic_load(&thread->fate) == RS_DETACHED)
        rs_thread_report(thread);
    PyGILState_Release(PyGILState_UNLOCKED); /* the state counts one: clears it, deletes it, and lets the GIL go */
}

static void run_body(struct rs_thread *thread)
{
    if (thread->kind == RS_BODY_NATIVE)
        thread->answer = thread->entry(thread->entry_argument);
    else
        rs_run(thread->program->program, &thread->bound.frame, 0, thread->program->program->count, 1);
}

/* Nobody is sent a signal under its number once it is gone: those who are in tgkill are waited for. */
static void finish(void *argument)
{
    struct rs_thread *thread = argument;
    if (atomic_exchange(&thread->done, RS_DONE) == RS_AWAITED)
        rs_futex_wake(&thread->done, INT32_MAX, 0);
    while (atomic_load(&thread->senders))
        rs_syscall0(SYS_sched_yield);
    uint32_t held = RS_HELD;
    if (!atomic_compare_exchange_strong(&thread->fate, &held, RS_FINISHED) && (thread->body || thread->program))
        leave(thread); /* detached: what a native body holds waits for somebody with the GIL */
    else
        rs_thread_release(thread);
}

static void *thread_main(void *argument)
{
    struct rs_thread *thread = argument;
    thread->tid = (int)rs_syscall0(SYS_gettid);
    int may_run = open_gate(thread);
    /* A body may end in pthread_exit, and so does Python's at finalisation; join waits for `done` all the same. */
    pthread_cleanup_push(finish, thread);
    if (thread->kind == RS_BODY_PYTHON && thread->state)
        run_python(thread, may_run);
    else if (thread->kind != RS_BODY_PYTHON && may_run)
        run_body(thread);
    pthread_cleanup_pop(1);
    return NULL;
}

/* ---- in its creator ---- */

static int create_with(struct rs_thread *thread)
{
    const struct rs_wishes *w = &thread->wishes;
    pthread_attr_t attributes;
    if (!w->stack_size && !w->has_guard)
        return pthread_create(&thread->pthread, NULL, thread_main, thread);
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    if (w->stack_size)
        error = pthread_attr_setstacksize(&attributes, w->stack_size);
    if (!error && w->has_guard)
        error = pthread_attr_setguardsize(&attributes, w->guard_size);
    if (!error)
        error = pthread_create(&thread->pthread, &attributes, thread_main, thread);
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

/* The kernel mostly puts a new thread behind its creator on the same CPU.  Giving that CPU away once lets it start, and a
 * short body run to its end, in one switch where falling asleep here and being woken takes two.  Spinning was tried and
 * dropped: it keeps the thread from the CPU that it waits for, and doubles the time.  So was keeping the GIL
 * meanwhile: then the thread falls asleep on that.  The kernel's answer, or 0 without a wait. */
static long await_opening(struct rs_thread *thread)
{
    uint32_t before = RS_STARTING;
    rs_syscall0(SYS_sched_yield);
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
    unlist(thread);
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
    unlist(thread);
    if (thread->generation != rs_generation())
        return; /* forked: there is no such thread here, and libc has freed its stack */
    if (thread->argument && thread->shown && PyObject_SetAttrString(thread->shown, "_daemonic", Py_True) < 0)
        PyErr_WriteUnraisable(thread->shown); /* what threading calls a thread that nobody waits for */
    if (!atomic_compare_exchange_strong(&thread->fate, &held, RS_DETACHED))
        rs_thread_report(thread), rs_thread_clear(thread);
    else if (thread->kind == RS_BODY_PYTHON)
        rs_thread_report(thread);
    pthread_detach(thread->pthread);
}

static int await_done(struct rs_thread *thread, int64_t deadline)
{
    uint32_t running = RS_RUNNING;
    atomic_compare_exchange_strong(&thread->done, &running, RS_AWAITED);
    return rs_wait_while(&thread->done, RS_AWAITED, deadline, 0);
}

/* libc's join sleeps once where waiting for `done` and then joining sleeps twice, but no signal handler can end it.  So
 * it has the first 20 ms, in which most threads end that are joined at once, and handlers wait as long.  One that is
 * over already needs no look at the clock. */
#define PROMPT_NS 20000000

static int join_promptly(struct rs_thread *thread, int64_t deadline, void **answer)
{
    if (atomic_load(&thread->done) == RS_DONE)
        return 0;
    int64_t end = rs_monotonic() + PROMPT_NS;
    end = deadline < end ? deadline : end;
    struct timespec until = {end / 1000000000, end % 1000000000};
    PyThreadState *state = PyEval_SaveThread();
    int error = pthread_clockjoin_np(thread->pthread, answer, CLOCK_MONOTONIC, &until);
    PyEval_RestoreThread(state);
    return error == 0;
}

static int join_patiently(struct rs_thread *thread, int64_t deadline, void **answer)
{
    int ended = PyErr_CheckSignals() < 0 ? -1 : await_done(thread, deadline);
    if (ended != 1)
        return ended;
    PyThreadState *state = PyEval_SaveThread();
    pthread_join(thread->pthread, answer); /* a few microseconds: it is on its way out */
    PyEval_RestoreThread(state);
    return 1;
}

int rs_thread_join(struct rs_thread *thread, int64_t deadline)
{
    void *answer = NULL;
    int ended = deadline == RS_AT_ONCE ? 0 : join_promptly(thread, deadline, &answer);
    if (!ended && (ended = join_patiently(thread, deadline, &answer)) != 1)
        return ended;
    if (answer)
        thread->answer = answer; /* from pthread_exit */
    unlist(thread);
    return 1;
}

static struct rs_thread *first_running(void)
{
    for (struct rs_thread *thread = rs_threads; thread; thread = thread->after)
        if (rs_thread_alive(thread) && !pthread_equal(thread->pthread, pthread_self()))
            return thread;
    return NULL;
}

int rs_thread_exit_wait(void)
{
    struct rs_thread *thread;
    while ((thread = first_running())) {
        atomic_fetch_add(&thread->references, 1);
        int ended = await_done(thread, RS_FOREVER);
        rs_thread_release(thread);
        if (ended < 0)
            return -1;
    }
    return 0;
}
