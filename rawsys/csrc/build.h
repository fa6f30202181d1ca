#ifndef RAWSYS_BUILD_H
#define RAWSYS_BUILD_H

#include "run.h"

extern PyMethodDef rs_build_methods[];
extern PyType_Slot rs_program_slots[], rs_slot_slots[];

#endif
