/* The text of /proc/PID/maps and smaps as an array of regions, and what each region is. */
#include <stdlib.h>
#include <string.h>

#include "procparse.h"

/* ---- lines ---- */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* A number of at least one digit and the character behind it.  It stops at the newline or at the NUL that ends every
 * bytes object, so it never leaves the text. */
static int number(const char **at, int base, char behind, unsigned long *value)
{
    const char *begin = *at;
    unsigned long sum = 0;
    for (; digit(**at) < base; ++*at)
        sum = sum * (unsigned)base + (unsigned)digit(**at);
    *value = sum;
    return *at > begin && *(*at)++ == behind ? 0 : -1;
}

/* As makedev of libc, so that it equals st_dev. */
static unsigned long device(unsigned long major, unsigned long minor)
{
    return (major & 0xfffff000ul) << 32 | (major & 0xffful) << 8 | (minor & 0xffffff00ul) << 12 | (minor & 0xfful);
}

static int read_line(const char *at, const char *newline, struct rs_region *r)
{
    unsigned long major, minor;
    if (number(&at, 16, '-', &r->start) < 0 || number(&at, 16, ' ', &r->end) < 0 || newline - at < 5 || at[4] != ' ')
        return -1;
    r->perms = at;
    at += 5;
    if (number(&at, 16, ' ', &r->offset) < 0 || number(&at, 16, ':', &major) < 0 || number(&at, 16, ' ', &minor) < 0)
        return -1;
    for (r->inode = 0; digit(*at) < 10; at++)
        r->inode = r->inode * 10 + (unsigned)digit(*at);
    while (at < newline && *at == ' ') /* the padding; a name begins with '/', '[' or "anon_inode:" */
        at++;
    r->device = device(major, minor);
    r->path = at;
    r->path_length = (size_t)(newline - at);
    return 0;
}

/* The lines "Rss: 4 kB" of smaps begin with a capital letter, a region with a digit of its address. */
static const char *skip_fields(const char *at, const char *end)
{
    while (at < end && *at >= 'A' && *at <= 'Z') {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline ? newline + 1 : end;
    }
    return at;
}

static int grow(struct rs_region **regions, size_t count)
{
    if (count & (count - 1) || count == 1) /* 0, 2, 4, 8, ... */
        return 0;
    struct rs_region *grown = PyMem_Realloc(*regions, (count ? count * 2 : 2) * sizeof **regions);
    if (!grown)
        return PyErr_NoMemory(), -1;
    *regions = grown;
    return 0;
}

int rs_read_regions(const char *text, size_t length, struct rs_region **regions, size_t *count)
{
    const char *end = text + length;
    *count = 0;
    for (const char *at = text; at < end; ++*count) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        struct rs_region *r = grow(regions, *count) < 0 ? NULL : &(*regions)[*count];
        if (!r)
            return -1;
        if (!newline)
            newline = end;
        if (read_line(at, newline, r) < 0)
            return PyErr_Format(PyExc_ValueError, "not a line of /proc/PID/maps, at byte %zd", at - text), -1;
        r->fields = newline < end ? newline + 1 : end;
        at = skip_fields(r->fields, end);
        r->fields_length = (size_t)(at - r->fields);
    }
    return 0;
}

/* ---- kinds ---- */

struct file {
    unsigned long inode, device;
};

static int compare(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    return x->device < y->device ? -1 : x->device > y->device;
}

static int named(const struct rs_region *r, const char *name)
{
    return r->path_length >= strlen(name) && !memcmp(r->path, name, strlen(name));
}

/* Names in brackets are the kernel's own; a file has an inode, whatever it is called. */
static int special(const struct rs_region *r)
{
    static const struct { const char *name; int kind; } names[] = {
        {"[stack]", RS_IS_STACK}, {"[stack:", RS_IS_THREAD_STACK}, {"[heap]", RS_IS_HEAP}, {"[vdso]", RS_IS_VDSO}, {"[vvar", RS_IS_VVAR},
        {"[vsyscall]", RS_IS_VSYSCALL}, {"[uprobes]", RS_IS_VDSO},
    };
    for (unsigned i = 0; !r->inode && i < sizeof names / sizeof *names; i++)
        if (named(r, names[i].name))
            return names[i].kind;
    return -1;
}

static int holds_stack(const struct rs_region *r, const struct rs_region *below, const struct rs_stacks *stacks)
{
    for (size_t i = 0; i < stacks->count; i++)
        if (r->start <= stacks->pointer[i] && stacks->pointer[i] < r->end)
            return 1;
    /* The rest that a malloc arena has reserved is without access too, but far larger than a guard. */
    return stacks->guess && below && below->kind == RS_IS_GUARD && !below->inode && below->end == r->start && below->end - below->start <= 1 << 20;
}

static int anonymous(const struct rs_region *r, const struct rs_region *below, const struct rs_stacks *stacks)
{
    if (r->path_length || r->perms[1] != 'w')
        return RS_IS_ANON;
    if (below && below->end == r->start && (below->kind == RS_IS_DATA || ((below->kind == RS_IS_RODATA || below->kind == RS_IS_TEXT) && below->inode)))
        return RS_IS_BSS; /* the part of a segment that the file has no bytes for: the kernel puts it right behind */
    return holds_stack(r, below, stacks) ? RS_IS_THREAD_STACK : RS_IS_ANON;
}

static int kind_of(const struct rs_region *r, const struct rs_region *below, const struct file *programs, size_t count, const struct rs_stacks *stacks)
{
    int kind = special(r);
    struct file file = {r->inode, r->device};
    if (kind >= 0)
        return kind;
    if (!memcmp(r->perms, "---", 3))
        return RS_IS_GUARD;
    if (r->perms[3] == 's')
        return RS_IS_SHARED;
    if (r->perms[2] == 'x')
        return RS_IS_TEXT;
    if (!r->inode)
        return anonymous(r, below, stacks);
    if (!count || !bsearch(&file, programs, count, sizeof file, compare))
        return RS_IS_FILE;
    return r->perms[1] == 'w' ? RS_IS_DATA : RS_IS_RODATA;
}

/* A file of which a part is executable is a program or library: its other parts are its data.  Anything else that is
 * mapped is a file. */
int rs_classify(struct rs_region *regions, size_t count, const struct rs_stacks *stacks)
{
    struct file *programs = PyMem_Malloc((count + 1) * sizeof *programs);
    size_t found = 0;
    if (!programs)
        return PyErr_NoMemory(), -1;
    for (size_t i = 0; i < count; i++)
        if (regions[i].inode && regions[i].perms[2] == 'x' && regions[i].perms[3] == 'p')
            programs[found++] = (struct file){regions[i].inode, regions[i].device};
    if (found > 1)
        qsort(programs, found, sizeof *programs, compare);
    for (size_t i = 0; i < count; i++)
        regions[i].kind = kind_of(&regions[i], i ? &regions[i - 1] : NULL, programs, found, stacks);
    PyMem_Free(programs);
    return 0;
}
