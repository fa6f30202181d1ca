/* What owners hold: the ring of a queue, the eventfd and the futex word that tell of news. */
#include "signals.h"

#include "handle.h"
#include "syscall.h"

#define SYS_read 0
#define SYS_write 1
#define SYS_close 3
#define SYS_mmap 9
#define SYS_munmap 11
#define SYS_madvise 28
#define SYS_futex 202
#define SYS_dup3 292
#define SYS_eventfd2 290

struct rs_owner *rs_owners; /* all that were ever made: their memory is used again, never given back */

struct rs_owner *rs_owner_new(void)
{
    struct rs_owner *owner = rs_owners;
    while (owner && owner->state != RS_FREE)
        owner = owner->next;
    if (!owner) {
        owner = PyMem_Calloc(1, sizeof *owner);
        if (!owner)
            return NULL;
        owner->next = rs_owners;
        rs_owners = owner;
    }
    struct rs_owner *next = owner->next;
    struct rs_ring ring = owner->ring;
    uint16_t tag = (uint16_t)(owner->tag + 1);
    atomic_store(&owner->count, (uint64_t)tag << 48); /* a handler that is late at a counter counts nothing from here on */
    *owner = (struct rs_owner){.next = next, .state = RS_LIVE, .tag = tag, .count = (uint64_t)tag << 48};
    owner->ring.cell = ring.cell;
    owner->ring.cells = ring.cells;
    atomic_init(&owner->eventfd, -1);
    return owner;
}

/* ---- the ring ----
 *
 * Several handlers may write at once, in several threads, and one may interrupt another between claiming a place and
 * filling it: nobody ever waits for anybody.  A reader that finds the next place claimed but not filled sees an empty
 * ring; whoever fills it tells.
 */

/* Pages, not malloc: the memory of an owner that left is kept, and its contents go back to the kernel. */
int rs_ring_make(struct rs_ring *ring, uint64_t capacity)
{
    uint64_t cells = 1;
    while (cells < capacity)
        cells *= 2;
    if (ring->cell && ring->cells != cells) {
        rs_syscall2(SYS_munmap, (long)ring->cell, (long)(ring->cells * sizeof *ring->cell));
        ring->cell = NULL;
    }
    if (ring->cell) {
        rs_syscall3(SYS_madvise, (long)ring->cell, (long)((cells * sizeof *ring->cell + 4095) & ~4095UL), 4); /* MADV_DONTNEED: zeros */
    } else {
        long page = rs_syscall6(SYS_mmap, 0, (long)(cells * sizeof *ring->cell), 3, 0x22, -1, 0);
        if (rs_failed(page))
            return (int)page;
        ring->cell = (struct rs_cell *)page;
    }
    ring->cells = cells;
    ring->capacity = capacity;
    return 0;
}

int rs_ring_push(struct rs_ring *ring, const struct rs_siginfo *info)
{
    uint64_t tail = atomic_load(&ring->tail);
    for (;;) {
        struct rs_cell *cell = &ring->cell[tail & (ring->cells - 1)];
        uint64_t turn = tail / ring->cells * 2;
        if (tail - atomic_load(&ring->head) >= ring->capacity || atomic_load(&cell->turn) != turn) {
            uint64_t again = atomic_load(&ring->tail);
            if (again == tail) {
                atomic_fetch_add(&ring->lost, 1);
                return 0;
            }
            tail = again;
        } else if (atomic_compare_exchange_weak(&ring->tail, &tail, tail + 1)) {
            cell->info = *info;
            atomic_store(&cell->turn, turn + 1);
            return 1;
        }
    }
}

int rs_ring_empty(struct rs_ring *ring)
{
    uint64_t head = atomic_load(&ring->head);
    return atomic_load(&ring->cell[head & (ring->cells - 1)].turn) != head / ring->cells * 2 + 1;
}

int rs_ring_pop(struct rs_ring *ring, struct rs_siginfo *info)
{
    uint64_t head = atomic_load(&ring->head);
    for (;;) {
        struct rs_cell *cell = &ring->cell[head & (ring->cells - 1)];
        uint64_t turn = head / ring->cells * 2 + 1;
        if (atomic_load(&cell->turn) != turn) {
            uint64_t again = atomic_load(&ring->head);
            if (again == head)
                return 0;
            head = again;
        } else if (atomic_compare_exchange_weak(&ring->head, &head, head + 1)) {
            *info = cell->info;
            atomic_store(&cell->turn, turn + 1);
            return 1;
        }
    }
}

/* ---- telling ---- */

static int eventfd_of(struct rs_owner *owner)
{
    int number = atomic_load(&owner->eventfd);
    return number >= 0 && owner->generation == rs_generation() ? number : -1; /* a parent's is not ours to write to */
}

static void ring_bell(struct rs_owner *owner)
{
    static const uint64_t one = 1;
    int number = eventfd_of(owner);
    if (number >= 0 && !atomic_exchange(&owner->told, 1))
        rs_syscall3(SYS_write, number, (long)&one, sizeof one);
}

void rs_owner_tell(struct rs_owner *owner)
{
    if (atomic_load(&owner->waiters))
        rs_syscall3(SYS_futex, (long)&owner->word, 1 | 128 /* FUTEX_WAKE_PRIVATE */, INT32_MAX);
    ring_bell(owner);
}

static int has_news(struct rs_owner *owner)
{
    return owner->kind == RS_QUEUE ? !rs_ring_empty(&owner->ring) : atomic_load(&owner->word) != 0;
}

/* Empty it first, look afterwards: what comes between is told again here. */
void rs_owner_settle(struct rs_owner *owner)
{
    uint64_t number;
    int eventfd = eventfd_of(owner);
    if (eventfd < 0 || !atomic_load(&owner->told))
        return;
    rs_syscall3(SYS_read, eventfd, (long)&number, sizeof number);
    atomic_store(&owner->told, 0);
    if (has_news(owner))
        ring_bell(owner);
}

void rs_owner_after_fork(struct rs_owner *owner)
{
    int number = atomic_load(&owner->eventfd);
    if (number < 0)
        return;
    long made = rs_syscall2(SYS_eventfd2, 0, 02000000 | 04000);
    if (rs_failed(made))
        return; /* no descriptor is left: it stays silent rather than speak to the parent */
    rs_syscall3(SYS_dup3, made, number, 02000000);
    rs_syscall1(SYS_close, made);
    atomic_store(&owner->told, 0);
    owner->generation = rs_generation();
    if (has_news(owner))
        ring_bell(owner);
}
