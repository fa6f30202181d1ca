/* The Python side of an owner: one structure for all kinds, one base type. */
#ifndef RAWSYS_SIGNAL_OWNER_H
#define RAWSYS_SIGNAL_OWNER_H

#include "py.h"
#include "signals.h"

struct rs_signal_object {
    PyObject_HEAD
    struct rs_owner *owner; /* NULL: not yet, or released */
    uint64_t signals;
    uint64_t count, lost, failed; /* what it had come to at its release */
    uint32_t flag;
};

extern PyTypeObject *rs_signal_owner_type;

/* The owner; NULL with ClosedError. */
struct rs_owner *rs_signal_owner(PyObject *self);

/* Take the signals: 0, or -1 with an exception and nothing is taken.  `extra`: a queue's capacity, an action's Program. */
int rs_signal_owner_enter(struct rs_signal_object *self, int kind, uint64_t mask, int restart, PyObject *extra);
/* Leave; doing it again does nothing. */
void rs_signal_owner_close(struct rs_signal_object *self);
/* In a forked child, before it goes on: eventfds and counts of its own. */
void rs_signal_owners_after_fork(void);

/* What the kernel itself puts on a handler's stack, which grows with the processor's registers (AT_MINSIGSTKSZ). */
size_t rs_signal_kernel_frame(void);

/* Wait until the word is no longer `seen`: 1, 0 at the deadline (CLOCK_MONOTONIC, NULL: never), -1 when a signal
 * handler raised.  The GIL is released. */
int rs_signal_wait(struct rs_owner *owner, uint32_t seen, const long deadline[2]);

/* A timeout as an argument: 1 and the deadline, 0 for None, -1 with an exception.  *now: it was zero. */
int rs_signal_deadline(PyObject *timeout, long deadline[2], int *now);

int rs_signal_news_setup(PyObject *module);
int rs_signals_setup(PyObject *module);

#endif
