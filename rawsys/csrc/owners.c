#include "owners.h"

#include "row.h"
#include "syscall.h"

#define SYS_mmap 9
#define SYS_munmap 11
#define SYS_madvise 28

/* 3 = PROT_READ | PROT_WRITE, 0x22 = MAP_PRIVATE | MAP_ANONYMOUS */
static long map_zeros(size_t size)
{
    return rs_syscall6(SYS_mmap, 0, (long)size, 3, 0x22, -1, 0);
}

/* ---- fork generation ---- */

_Atomic uint32_t *rs_generation_page;
static _Atomic uint32_t last_generation; /* ordinary memory: a child counts on from its parent's number */

unsigned rs_generation_renew(void)
{
    unsigned next = atomic_fetch_add(&last_generation, 1) + 1;
    next = (next & 0xffff) ? next & 0xffff : 1;
    atomic_store(rs_generation_page, next);
    return next;
}

int rs_generation_setup(void)
{
    long page = map_zeros(4096);
    if (rs_failed(page) || rs_failed(rs_syscall3(SYS_madvise, page, 4096, 18))) /* MADV_WIPEONFORK */
        return -1;
    rs_generation_page = (_Atomic uint32_t *)page;
    rs_generation_renew();
    return 0;
}

/* ---- who owns which number ----
 *
 * A serial number for each descriptor that an owner here holds.  It refuses a second owner, and it
 * notices that somebody closed ours behind our back and the number now belongs to another owner: the
 * stale one then never closes the stranger.  Pages of 2**20 numbers, touched as they are used.
 */
#define OWNERS_A_PAGE (1u << 20)
static _Atomic uint32_t first_owners[OWNERS_A_PAGE];
static _Atomic(_Atomic uint32_t *) owners[2048] = {first_owners};
static _Atomic uint32_t last_serial;

/* Also without the GIL: two threads that need a page at once make two, and one of them is given back. */
_Atomic uint32_t *rs_owner_of(unsigned number)
{
    _Atomic(_Atomic uint32_t *) *page = &owners[number / OWNERS_A_PAGE];
    if (RS_UNLIKELY(!*page)) {
        long made = map_zeros(OWNERS_A_PAGE * sizeof **page);
        _Atomic uint32_t *none = NULL;
        if (rs_failed(made))
            return NULL;
        if (!atomic_compare_exchange_strong(page, &none, (_Atomic uint32_t *)made))
            rs_syscall2(SYS_munmap, made, OWNERS_A_PAGE * sizeof **page);
    }
    return *page + number % OWNERS_A_PAGE;
}

uint32_t rs_owner_serial(void)
{
    uint32_t serial;
    do
        serial = atomic_fetch_add(&last_serial, 1) + 1;
    while (!serial || serial == RS_CLOSING); /* 0 says that nobody owns it */
    return serial;
}

int rs_owner_note(unsigned number, uint32_t old, uint32_t next)
{
    _Atomic uint32_t *owner = rs_owner_of(number);
    return owner && atomic_compare_exchange_strong(owner, &old, next);
}

void rs_owner_lost(int number)
{
    _Atomic uint32_t *owner = rs_owner_of((unsigned)number);
    if (owner && atomic_load_explicit(owner, memory_order_relaxed))
        atomic_store(owner, 0);
}
