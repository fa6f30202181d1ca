/* One word of memory as a Python object: the atomics, and the words that locks are made of. */
#ifndef RAWSYS_ATOMIC_H
#define RAWSYS_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>

#include "py.h"
#include "row.h"

/* Memory of a caller's buffer for as long as somebody holds this: address of `size` aligned bytes at `offset`, or
 * NULL with an exception and nothing held. */
void *rs_place(Py_buffer *view, PyObject *buffer, PyObject *offset, size_t size, size_t alignment);

int rs_atomic_setup(PyObject *module);

#endif
