/* What a detached native body leaves behind is freed by whoever comes next with the GIL. */
#ifndef RAWSYS_LEFT_H
#define RAWSYS_LEFT_H

#include "row.h"

extern void *volatile rs_left; /* not NULL: there is something */
void rs_left_free(void);       /* with the GIL */

static inline void rs_left_check(void)
{
    if (RS_UNLIKELY(rs_left != 0))
        rs_left_free();
}

#endif
