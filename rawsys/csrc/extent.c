/* How much memory a call may touch, from its row and its words.  No Python here: Programs ask it while they run. */
#include "extent.h"

#include <string.h>

/* The value of a number as the kernel reads it: its width and sign; a negative length touches nothing. */
size_t rs_as_length(const struct rs_row *row, unsigned i, const long *words)
{
    const struct rs_arg *arg = &row->arg[i];
    long word = words[i];
    if (arg->bits == 32)
        word = arg->is_signed ? (int)word : (long)(unsigned)word;
    return arg->is_signed && word < 0 ? 0 : (size_t)word;
}

/* A number in the memory of argument i; 0 where the memory is too short to hold it or its length is not known. */
unsigned rs_u32(const long *word, const size_t *length, unsigned i, size_t offset)
{
    unsigned number = 0;
    if (length[i] != RS_UNMEASURED && length[i] >= offset + sizeof number)
        memcpy(&number, (const char *)word[i] + offset, sizeof number);
    return number;
}

/* Bytes that the kernel may touch behind argument i; RS_UNMEASURED where nothing can be said. */
size_t rs_extent(const struct rs_row *row, unsigned i, const long *word, const size_t *measured, unsigned pointed)
{
    const struct rs_arg *arg = &row->arg[i];
    size_t length;
    switch (arg->extent) {
    case RS_CONSTANT: return arg->plus;
    case RS_POINTED: return pointed;
    case RS_COMPUTED:
    case RS_OWN_SIZE: return arg->computed(word, measured);
    case RS_SCALED:
        length = rs_as_length(row, arg->extent_arg, word);
        if (__builtin_mul_overflow(length, (size_t)arg->scale, &length) || __builtin_add_overflow(length, (size_t)arg->plus, &length))
            return SIZE_MAX - 1;
        return length;
    case RS_BITS:
        length = rs_as_length(row, arg->extent_arg, word);
        length -= length && arg->plus;
        return length / 64 * 8 + (length % 64 ? 8 : 0);
    default:
        length = rs_as_length(row, arg->extent_arg, word);
        return length / 4096 + (length % 4096 != 0);
    }
}
