/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_FUZZ_FILES_H
#define PLX_FUZZ_FILES_H

#include "fuzz.h"

/* Descriptors that come with messages, and an account of all. */

/*
 * A file that may be mapped, one that may not, and what is no file at all. They are made once and
 * stay open.
 */
int fuzz_file(uint8_t kind);

/* The descriptor that would be opened next: the same as before if none was left open since. */
int fuzz_next_descriptor(void);

#endif
