/* The vDSO: a small shared library that the kernel maps into every process, with calls that need no kernel. */
#ifndef RAWSYS_VDSO_H
#define RAWSYS_VDSO_H

#include <stddef.h>

#include "py.h"

/* The address of a function of the image at `base`, or NULL: no image, not this name, not this version of it.
 * Nothing outside of the image is read: as its own headers measure it, and `limit` bytes (a page or more) at most. */
const void *rs_vdso_find(const char *base, size_t limit, const char *name, const char *version);

/* `size` random bytes by the vDSO's function; 0 where this thread can have no state: then the caller makes the call. */
int rs_vdso_random(const void *function, void *buffer, size_t size, long *answer);

int rs_vdso_setup(PyObject *module);

#endif
