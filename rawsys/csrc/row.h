/* One row of the table as C sees it: build_ffi.py writes the rows from syscalls.tsv. */
#ifndef RAWSYS_ROW_H
#define RAWSYS_ROW_H

#include <stddef.h>
#include <stdint.h>

#define RS_LIKELY(x) __builtin_expect(!!(x), 1)
#define RS_UNLIKELY(x) __builtin_expect(!!(x), 0)

enum rs_kind {
    RS_NUMBER, /* an integer of arg.bits bits */
    RS_FD,     /* int, Handle or an object with fileno() */
    RS_PATH,   /* str, bytes, PathLike */
    RS_STR,    /* str, bytes */
    RS_STRINGS,/* a sequence of those: argv, envp */
    RS_IN,     /* memory that the kernel reads */
    RS_OUT,    /* memory that the kernel writes */
    RS_INOUT,
    RS_ANY,    /* a number or memory, as another argument says: memory has to be writable */
};

enum rs_extent { RS_UNKNOWN, RS_CONSTANT, RS_SCALED, RS_POINTED, RS_BITS, RS_PAGES, RS_COMPUTED, RS_OWN_SIZE };
/* RS_OWN_SIZE: computed from a number in the memory itself (the size field of a structure) */

enum rs_returns { RS_NONE, RS_INT, RS_SIZE, RS_NEWFD, RS_NEVER };

enum rs_flag {
    RS_BLOCKS = 1,   /* release the GIL around it */
    RS_REFUSED = 2,  /* cannot return through its caller's frame */
    RS_CLONE = 4,    /* refused with CLONE_VM or a stack in its first argument */
    RS_CLONE3 = 8,   /* the same, inside a structure that is copied first */
    RS_CLOSES = 16,  /* takes its descriptor away from the owner */
    RS_IOCTL = 32,   /* the command may say how large the argument is */
    RS_GETSOCKOPT = 64, /* a few options write more than their length says */
    RS_COPIES = 256,    /* some extent depends on a number in memory: the kernel gets a copy of that memory */
    RS_ANSWER32 = 128,  /* -errno comes in 32 bits: modify_ldt declares its return unsigned */
};

struct rs_arg {
    const char *name;
    uint8_t kind, bits, is_signed, is_address, extent, extent_arg;
    uint32_t scale, plus;
    size_t (*computed)(const long *word, const size_t *length);
};

struct rs_row {
    const char *name, *signature, *instead;
    int16_t number;
    uint8_t arity, returns;
    uint16_t flags;
    int (*fd_if)(const long *w); /* NULL: always, where returns is RS_NEWFD */
    struct rs_arg arg[6];
};

#define RS_TABLE_SIZE 470
extern const struct rs_row *const rs_table[RS_TABLE_SIZE];

static inline const struct rs_row *rs_row(long number)
{
    return number >= 0 && number < RS_TABLE_SIZE ? rs_table[number] : 0;
}

#endif
