/* Who owns which descriptor in this process, and in which fork generation it is.  No Python here. */
#ifndef RAWSYS_OWNERS_H
#define RAWSYS_OWNERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "row.h"

/* The generation lives in a page that the kernel wipes in a forked child (MADV_WIPEONFORK), so that a
 * naked fork is noticed as well as libc's.  A child that shares our memory sees the same page. */
extern _Atomic uint32_t *rs_generation_page;
unsigned rs_generation_renew(void);
int rs_generation_setup(void); /* -1 where the kernel refuses mmap or MADV_WIPEONFORK */

static inline unsigned rs_generation(void)
{
    unsigned generation = atomic_load_explicit(rs_generation_page, memory_order_relaxed);
    return RS_LIKELY(generation) ? generation : rs_generation_renew();
}

/* Between giving a number up and the kernel's close nobody may put another file there (dup_to): that would be closed. */
#define RS_CLOSING UINT32_MAX

/* Where the serial number of a descriptor's owner stands, 0 for nobody; NULL without memory.  */
_Atomic uint32_t *rs_owner_of(unsigned number);
uint32_t rs_owner_serial(void);                                     /* a new one, neither 0 nor RS_CLOSING */
int rs_owner_note(unsigned number, uint32_t old, uint32_t next);    /* 1 where it was `old`, and is `next` now */

/* The kernel has just given this number: whoever is noted as its owner has lost it, and must not close it. */
void rs_owner_lost(int number);

#endif
