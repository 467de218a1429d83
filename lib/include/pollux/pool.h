/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_POOL_H
#define POLLUX_POOL_H

#include <pollux/context.h>
#include <pollux/packet.h>
#include <string.h>

/**
 * @file
 * Packet pools: a fixed number of packets in DMA memory, taken and given back in bulk.
 *
 * A pool has a depot behind a lock, and any number of caches in front of it. A cache belongs to one
 * user at a time (a queue, or a worker) and is a plain stack without locks or atomics; it meets the
 * depot only when it runs empty or full, and then for half its size at once.
 */

#ifdef __cplusplus
extern "C" {
#endif

/** What a pool is made of. Start from PLX_POOL_CONFIG_INIT. */
struct plx_pool_config {
	uint32_t struct_size; /**< sizeof(struct plx_pool_config) */
	uint32_t count;       /**< packets */
	uint16_t headroom;    /**< bytes kept free in front of received frames; at most 1024 */
	uint16_t data_size;   /**< bytes of data behind the headroom; at least 64 */
	int numa_node;        /**< where the memory should lie, or -1 for the caller's node */
};

/** The initial value: 4096 packets that each hold an Ethernet frame of 1518 bytes and more. */
#define PLX_POOL_CONFIG_INIT                                                                       \
	{                                                                                          \
		sizeof(struct plx_pool_config), 4096, 128, 2048, -1                                \
	}

/** Packets that a cache holds at the most. */
#define PLX_POOL_CACHE_SIZE 256

/** One user's stack of free packets. Its fields are for the inline functions below only. */
struct plx_pool_cache {
	struct plx_pool *pool; /**< where packets come from and return to */
	uint32_t count;        /**< packets in @slot */
	struct plx_packet
		*slot[PLX_POOL_CACHE_SIZE]; /**< the stack; the last in is the first out */
};

/**
 * plx_pool_create() - Make a pool of packets.
 * @ctx: the context whose devices may reach the packets
 * @config: what it is made of, or NULL for the defaults; copied
 * @pool: receives the pool; owned by the caller
 *
 * Takes pages, touches them all and maps them for every device of the context, so that nothing is
 * left for the first packet to pay. Any thread may call; blocks for as long as the kernel takes.
 *
 * Return: 0; -EINVAL for a value that is not possible; -ENOMEM when there are not enough pages or
 * RLIMIT_MEMLOCK is too small, with the figure that would do in plx_error().
 */
PLX_API int plx_pool_create(
	struct plx_context *ctx, const struct plx_pool_config *config, struct plx_pool **pool);

/**
 * plx_pool_destroy() - Give a pool's memory back.
 * @pool: the pool, or NULL
 *
 * Every cache must be destroyed and every packet back in the pool. A started port has caches of the
 * pool that it was configured with until it is stopped, and on each transmit queue one of the pool
 * whose packets went that way last, until then or until plx_eth_tx_burst() is called with no frames
 * and finds all sent. Any thread may call.
 *
 * Return: 0; -EBUSY when packets or caches are still out, and then nothing has changed.
 */
PLX_API int plx_pool_destroy(struct plx_pool *pool);

/**
 * plx_pool_available() - Count the packets that are in the depot.
 * @pool: the pool
 *
 * Packets that rest in a cache are not counted. Any thread may call.
 *
 * Return: The number of packets; an instant later it may be another.
 */
PLX_API uint32_t plx_pool_available(struct plx_pool *pool);

/**
 * plx_pool_count() - Tell how many packets a pool has in all.
 * @pool: the pool
 *
 * Any thread may call; never blocks.
 *
 * Return: The number of packets.
 */
PLX_API uint32_t plx_pool_count(const struct plx_pool *pool);

/**
 * plx_pool_headroom() - Tell how much is kept free in front of received frames.
 * @pool: the pool
 *
 * Any thread may call; never blocks.
 *
 * Return: The number of bytes.
 */
PLX_API uint16_t plx_pool_headroom(const struct plx_pool *pool);

/**
 * plx_pool_data_size() - Tell how much data a packet holds behind the headroom.
 * @pool: the pool
 *
 * Any thread may call; never blocks.
 *
 * Return: The number of bytes.
 */
PLX_API uint16_t plx_pool_data_size(const struct plx_pool *pool);

/**
 * plx_pool_cache_create() - Make a cache in front of a pool.
 * @pool: the pool
 * @cache: receives the cache; owned by the caller, who may hand it from thread to thread but lets
 *         only one use it at a time
 *
 * Any thread may call; takes the depot's lock for a moment.
 *
 * Return: 0; -ENOMEM.
 */
PLX_API int plx_pool_cache_create(struct plx_pool *pool, struct plx_pool_cache **cache);

/**
 * plx_pool_cache_destroy() - Return a cache's packets to the depot and end it.
 * @cache: the cache, or NULL
 *
 * Any thread may call, when no other uses the cache; takes the depot's lock.
 */
PLX_API void plx_pool_cache_destroy(struct plx_pool_cache *cache);

/**
 * plx_pool_cache_fill() - Bring a cache to at least @want packets, as far as the depot has them.
 * @cache: the caller's cache
 * @want: how many packets, at most PLX_POOL_CACHE_SIZE
 *
 * The slow half of plx_pool_get(); takes the depot's lock.
 *
 * Return: Packets in the cache now.
 */
PLX_API uint32_t plx_pool_cache_fill(struct plx_pool_cache *cache, uint32_t want);

/**
 * plx_pool_cache_spill() - Make room for @want packets by returning the oldest to the depot.
 * @cache: the caller's cache
 * @want: how many packets, at most PLX_POOL_CACHE_SIZE / 2
 *
 * The slow half of plx_pool_put(); takes the depot's lock.
 */
PLX_API void plx_pool_cache_spill(struct plx_pool_cache *cache, uint32_t want);

/**
 * plx_pool_return() - Give packets of any pool back, without a cache.
 * @packets: segments; each goes to its own pool, and @next is not followed
 * @count: how many
 *
 * Takes a lock for each run of packets of one pool. Any thread may call.
 */
PLX_API void plx_pool_return(struct plx_packet *const *packets, uint32_t count);

/**
 * plx_pool_get() - Take packets out of a cache.
 * @cache: the caller's cache
 * @packets: receives the packets; their contents are those of their last use
 * @count: how many, at most PLX_POOL_CACHE_SIZE / 2
 *
 * The thread that owns the cache calls. All or none.
 *
 * Return: @count, or 0 when the pool has not so many left.
 */
static inline uint32_t plx_pool_get(
	struct plx_pool_cache *cache, struct plx_packet **packets, uint32_t count)
{
	if (__builtin_expect(cache->count < count, 0) && plx_pool_cache_fill(cache, count) < count)
		return 0;
	cache->count -= count;
	memcpy(packets, &cache->slot[cache->count], count * sizeof(*packets));
	return count;
}

/**
 * plx_pool_put() - Give packets back to the cache of their pool.
 * @cache: the caller's cache
 * @packets: segments, all of the cache's pool; @next is not followed
 * @count: how many, at most PLX_POOL_CACHE_SIZE / 2
 *
 * The thread that owns the cache calls.
 */
static inline void plx_pool_put(
	struct plx_pool_cache *cache, struct plx_packet *const *packets, uint32_t count)
{
	if (__builtin_expect(cache->count + count > PLX_POOL_CACHE_SIZE, 0))
		plx_pool_cache_spill(cache, count);
	memcpy(&cache->slot[cache->count], packets, count * sizeof(*packets));
	cache->count += count;
}

/**
 * plx_packet_free() - Give a whole frame back, each segment to its pool.
 * @packet: the first segment, prepared or received, or NULL
 *
 * Follows @next through as many packets as the first says it has segments, and no further; leaves
 * each a frame of one segment. For the slow path: takes the depot's lock. Any thread may call.
 */
PLX_API void plx_packet_free(struct plx_packet *packet);

#ifdef __cplusplus
}
#endif

#endif
