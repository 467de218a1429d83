/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_COUNTER_H
#define PLX_BASE_COUNTER_H

#include "base/compiler.h"

#include <stdint.h>

/*
 * Counters that one thread at a time writes and any may read. Relaxed accesses are enough for that:
 * no update is lost, for there is one writer, and no value is torn. They order nothing.
 */
static __always_inline_fn void plx_counter_add(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, *counter + value, __ATOMIC_RELAXED);
}

static inline void plx_counter_set(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

static inline uint64_t plx_counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Is told of each counter in turn; a result other than 0 ends the walk and is what it returns. */
typedef int plx_counter_visit_fn(void *arg, const char *name, uint64_t value);

#endif
