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

/* Give a cache's packets back and make it another pool's; by whoever uses the cache. */
void plx_pool_cache_rebind(struct plx_pool_cache *cache, struct plx_pool *pool);

/*
 * Where the buffers of a pool's packets lie, without a look at the packets, which may not be in any
 * cache: both numbers are a multiple of the packet's own address plus a constant.
 */
struct plx_pool_map {
	uint64_t scale;
	uint64_t iova;
	uint64_t buffer;
	uint64_t offset; /* what plx_pool_map_advance() added */
	uint64_t first;  /* where its packets begin, and over how many bytes they go on */
	uint64_t span;
	bool apart; /* each huge page has an IOVA of its own, which only the packets know */
};

/* From here on IOVAs are those of byte @bytes of each buffer. */
static inline void plx_pool_map_advance(struct plx_pool_map *map, uint64_t bytes)
{
	map->iova += bytes;
	map->offset += bytes;
}

struct plx_pool_map plx_pool_map(const struct plx_pool *pool);

static inline uint64_t plx_pool_map_iova(
	const struct plx_pool_map *map, const struct plx_packet *packet)
{
	if (__builtin_expect(map->apart, 0))
		return packet->iova + map->offset;
	return map->iova + map->scale * (uintptr_t)packet;
}

static inline uint8_t *plx_pool_map_buffer(
	const struct plx_pool_map *map, const struct plx_packet *packet)
{
	return (uint8_t *)(uintptr_t)(map->buffer + map->scale * (uintptr_t)packet);
}

#endif
