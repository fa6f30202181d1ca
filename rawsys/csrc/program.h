/* Programs: many prepared calls, run by an interpreter that allocates nothing, takes no lock and knows no
 * Python.  The same program runs in four places: here, in a child before exec, in a native thread, in a
 * signal handler.  A program is never written to while it runs; all that a run writes is in its frame.
 */
#ifndef RAWSYS_PROGRAM_H
#define RAWSYS_PROGRAM_H

#include "extent.h"
#include "row.h"
#include "syscall.h"

enum rs_source { RS_FROM_STEP, RS_FROM_PARAMETER, RS_FROM_BUFFER };

/* One word of a step that is known only when the program runs. */
struct rs_patch {
    uint8_t word, source;
    uint32_t index;
};

enum rs_step_flag {
    RS_ALWAYS = 1, /* runs whenever its own inputs exist, also when the program stops */
    RS_RETRY = 2,  /* EINTR: again, after Python's handlers where there are any */
    RS_BOUND = 4,  /* an extent depends on a patch: check it before the call */
    RS_EXPECT = 8, /* any other answer than step.expected is a failure: -ECHILD */
};

#define RS_ALLOWED 8

struct rs_step {
    const struct rs_row *row;
    int32_t number;
    uint8_t arity, flags, patches, allowed;
    struct rs_patch patch[6];
    long word[6];
    size_t length[6];            /* of memory that is known already; RS_UNMEASURED else */
    int16_t allow[RS_ALLOWED];   /* errnos that count as success */
    long expected;
};

struct rs_program {
    uint32_t count;
    uint8_t stop_on_error;
    struct rs_step step[];
};

/* The memory of one run, laid out by the caller. */
struct rs_frame {
    long *answer;                   /* one for each step */
    const long *parameter;          /* values, or addresses of memory */
    const size_t *parameter_length;
    const long *buffer;             /* addresses */
    const size_t *buffer_length;
    volatile uint32_t *at;          /* NULL, or where the index of each step is told before it runs */
    int stopping;                   /* only `always` steps run from here on */
};

/* Run the steps from `start` up to `end`.  Gives `end`, or the index of a `retry` step that was
 * interrupted: the caller lets Python's handlers run and goes on there.  Alone (in a child, a thread, a
 * handler) there is nobody to ask, and the interpreter retries by itself. */
uint32_t rs_run(const struct rs_program *program, struct rs_frame *frame, uint32_t start, uint32_t end, int alone);

/* The extents of a step whose words are all known; `now`: also those that stand in memory the program writes. */
int rs_within_bounds(const struct rs_frame *frame, const struct rs_step *step, const long *word, int now);

/* The words that are known only when the program runs; 0 when an input is missing because its step failed. */
int rs_patch(const struct rs_program *program, const struct rs_frame *frame, const struct rs_step *step, long *word);

/* Whether an error is one that the step allows. */
int rs_step_allows(const struct rs_step *step, long answer);

/* True when the answer of a step is a failure: an error that it does not allow. */
static inline int rs_step_failed(const struct rs_step *step, long answer)
{
    return RS_UNLIKELY(rs_failed(answer)) && !rs_step_allows(step, answer);
}

/* The index of the first step that failed, or program->count. */
uint32_t rs_first_failure(const struct rs_program *program, const struct rs_frame *frame);

#endif
