/* Threads: what the thread and its handle share, and the life of it.
 *
 * The thread sets its attributes itself, by system calls, before it opens the gate: glibc's attributes know no
 * nice and no name and refuse BATCH and IDLE, and an error would not say which one it was.
 */
#ifndef RAWSYS_THREAD_H
#define RAWSYS_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "run.h"

enum rs_body { RS_BODY_PYTHON, RS_BODY_NATIVE, RS_BODY_PROGRAM };
enum rs_gate { RS_STARTING, RS_WATCHED, RS_READY, RS_GO, RS_ABANDONED, RS_FAILED }; /* WATCHED: starting, and the creator sleeps until it is not */
enum rs_done { RS_RUNNING, RS_DONE, RS_AWAITED }; /* AWAITED: running, and somebody sleeps until it is not */
enum rs_fate { RS_HELD, RS_DETACHED, RS_FINISHED };

struct rs_wishes { /* what the thread sets before its body runs */
    size_t stack_size, guard_size;      /* 0: libc's default */
    unsigned char *mask;                /* CPUs; NULL: as the creator */
    size_t mask_size;
    int has_policy, policy, priority, has_nice, nice, has_guard, has_mask;
    char name[16];                      /* empty: has_name says whether */
    int has_name;
    uint64_t signals;
};

struct rs_thread {
    _Atomic int references;             /* the handle and the thread; freed by the last of them, without the GIL */
    _Atomic uint32_t gate, done;        /* futexes */
    _Atomic uint32_t fate;
    _Atomic uint32_t senders;           /* in tgkill at this moment: the thread does not end under them */
    unsigned generation;                /* of forks: in a child of another generation the thread does not exist */
    pthread_t pthread;
    int tid, kind, two_phase;
    struct rs_wishes wishes;
    const char *failed_call;            /* with RS_FAILED */
    int error;
    PyInterpreterState *interpreter;
    PyThreadState *state;
    PyObject *body, *argument;          /* RS_BODY_PYTHON: the callable and its tuple.  Else what has to live as long */
    PyObject *outcome;
    PyObject *shown;                    /* RS_BODY_PYTHON: its Thread object, which threading shows; borrowed from `argument` */
    void *(*entry)(void *);             /* RS_BODY_NATIVE */
    void *entry_argument;
    void *answer;
    struct rs_program_object *program;  /* RS_BODY_PROGRAM */
    struct rs_bound bound;
    struct rs_thread *next_left;        /* in the list of what detached native bodies left */
    struct rs_thread *before, *after;   /* in the list of those that the exit waits for; with the GIL */
};

/* With the GIL; 0, or -1 with an exception. */
int rs_wishes_read(struct rs_wishes *wishes, PyObject *tuple);
int rs_thread_set_body(struct rs_thread *thread, PyObject *body, PyObject *argument);

/* With the GIL.  0, or -1 with an exception, or an errno of `*call`: then nothing runs and nothing is held. */
int rs_thread_start(struct rs_thread *thread, const char **call);
int rs_thread_open(struct rs_thread *thread, int go); /* two_phase: let the body run, or let it not */

void *rs_thread_main(void *thread);                   /* what pthread_create runs */
void rs_thread_unlist(struct rs_thread *thread);      /* with the GIL: the exit does not wait for it any more */
void rs_thread_detach(struct rs_thread *thread);      /* with the GIL */
int rs_thread_join(struct rs_thread *thread, int64_t deadline); /* with the GIL; 1, 0 when the time is up, -1 */
void rs_thread_report(struct rs_thread *thread);      /* with the GIL: the exception that nobody will join for; takes the outcome */
void rs_thread_release(struct rs_thread *thread);     /* one reference; without or with the GIL */
void rs_thread_clear(struct rs_thread *thread);       /* with the GIL: what the body held */
int rs_thread_exit_wait(void);                        /* with the GIL: until all that are not detached have ended */
extern PyObject *rs_thread_active;                    /* threading._active */
extern struct rs_thread *rs_threads;                  /* those that are neither joined nor detached */

extern _Thread_local struct rs_thread *rs_thread_current __attribute__((tls_model("initial-exec"))); /* in a Python body: its own */

static inline int rs_thread_alive(struct rs_thread *thread)
{
    return atomic_load(&thread->done) != RS_DONE && thread->generation == rs_generation();
}

/* A body in C with its own argument, made by counter.adder(n). */
PyObject *rs_body_new(void *(*entry)(void *), const void *argument, size_t size, PyObject *keep);

int rs_body_setup(PyObject *module);
int rs_thread_setup(PyObject *module);

#endif
