#ifndef RAWSYS_EXTENT_H
#define RAWSYS_EXTENT_H

#include "row.h"

#define RS_UNMEASURED SIZE_MAX /* an address, NULL, a number: nothing is known of the memory behind it */

size_t rs_as_length(const struct rs_row *row, unsigned i, const long *words);
unsigned rs_u32(const long *word, const size_t *length, unsigned i, size_t offset);
size_t rs_extent(const struct rs_row *row, unsigned i, const long *word, const size_t *measured, unsigned pointed);

static inline size_t max(size_t a, size_t b) /* as the table writes it */
{
    return a > b ? a : b;
}

#endif
