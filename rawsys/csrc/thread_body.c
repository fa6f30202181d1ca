/* What a thread does: its attributes, its gate, its body, its end; and what a detached native body leaves behind. */
#include <stdlib.h>

#include "left.h"
#include "thread.h"
#include "wait.h"

#define SYS_rt_sigprocmask 14
#define SYS_sched_yield 24
#define SYS_setpriority 141
#define SYS_sched_setscheduler 144
#define SYS_prctl 157
#define SYS_gettid 186
#define SYS_sched_setaffinity 203
#define SIG_SETMASK_ 2
#define ENOMEM 12

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

void *rs_thread_main(void *argument)
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
