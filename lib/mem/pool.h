/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_MEM_POOL_H
#define PLX_MEM_POOL_H

#include "mem/mem.h"

#include <pollux/pool.h>

/* What plx_pool_create() does, once a context has named its memory. */
int plx_pool_create_in(
	struct plx_mem *mem, const struct plx_pool_config *config, struct plx_pool **pool);

/* The memory that a pool's packets lie in, to see that a device can reach them. */
struct plx_mem *plx_pool_memory(const struct plx_pool *pool);

#endif
