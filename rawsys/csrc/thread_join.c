/* The end of a thread, waited for: by one who joins it, or by the exit of the interpreter. */
#define _GNU_SOURCE /* pthread_clockjoin_np */
#include "thread.h"

#include <time.h>

#include "wait.h"

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
    rs_thread_unlist(thread);
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
