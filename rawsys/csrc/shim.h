#ifndef RAWSYS_SHIM_H
#define RAWSYS_SHIM_H

#include <stdint.h>

/* Adds the built-ins and types of one family to the Python module at that address; 0, or -1 after printing why. */
int rawsys_install(uintptr_t module, const char *family);

#endif
