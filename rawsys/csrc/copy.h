/* Copies of memory that may not be there: EFAULT instead of a signal. */
#ifndef RAWSYS_COPY_H
#define RAWSYS_COPY_H

#include <stddef.h>

enum rs_direction { RS_READ_THERE, RS_WRITE_THERE };

/* Between `here`, which is whole, and an address in the process `pid`.  Gives the bytes that were copied; *answer is
 * the kernel's -errno where that is fewer than asked. */
size_t rs_copy_remote(enum rs_direction direction, int pid, char *here, unsigned long there, size_t length, long *answer);

/* The same with an address of our own that may be unmapped, protected, or behind the end of its file. */
size_t rs_copy_own(enum rs_direction direction, char *here, char *there, size_t length, long *answer);

#endif
