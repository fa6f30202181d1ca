#ifndef RAWSYS_SHIM_H
#define RAWSYS_SHIM_H

#include <stdint.h>

/* Adds the built-ins and types of one family to the Python module at that address; 0, or -1 after
 * printing why.  `what`: 0 the types, 1 raw, 2 checked, 3 the top level,
 * 4 Program, 12 signals. */
int rawsys_install(uintptr_t module, int what);

#endif
