/* What runs between clone and exec: Programs through rs_run, and nothing else. */
#ifndef RAWSYS_CHILD_H
#define RAWSYS_CHILD_H

#include "program.h"

#define RS_PARTS 3 /* our steps before the caller's, the caller's own, our steps after them */

/* Told by the child in memory that the parent reads when clone has returned. */
struct rs_report {
    volatile uint32_t part, step; /* the step that runs, or the one that failed */
    volatile int32_t error;       /* 0, or the errno of the step that failed */
};

struct rs_child {
    const struct rs_program *program[RS_PARTS];
    struct rs_frame *frame[RS_PARTS];
    unsigned parts;
    int reset_handlers; /* a kernel without CLONE_CLEAR_SIGHAND */
    struct rs_report *report;
};

/* Run the parts up to the first failure; comes back only when one failed or none ends in exec. */
void rs_child_run(struct rs_child *child);

/* The child's first and last function: runs the parts and exits with 127, or 0 when all went well. */
void rs_child_main(void *child);

#endif
