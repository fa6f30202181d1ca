/* Waiting on a 32-bit word in memory (futex), with Python's rules: the GIL is released, signal handlers run, the
 * time that is left is kept. */
#ifndef RAWSYS_WAIT_H
#define RAWSYS_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

#include "py.h"
#include "row.h"

#define RS_FOREVER INT64_MAX
#define RS_AT_ONCE 0 /* a point in the past */

/* A timeout as Python gives it (NULL or None: for ever) as a point of CLOCK_MONOTONIC in nanoseconds; -1 with
 * TypeError or ValueError. */
int64_t rs_deadline(PyObject *timeout);

int64_t rs_monotonic(void);

/* FUTEX_WAIT until `deadline`; the kernel's answer.  `shared` words may lie in memory of several processes. */
long rs_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, int shared);
long rs_futex_wake(_Atomic uint32_t *word, int count, int shared);

/* With the GIL: wait while the word is `expected`.  1 it is not any more, 0 the time is up, -1 a handler raised. */
int rs_wait_while(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, int shared);

#endif
