/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem/pool.h"

#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "mem/mem_priv.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>

#define HEADROOM_MAX  1024
#define DATA_SIZE_MIN 64
#define HALF          (PLX_POOL_CACHE_SIZE / 2)

/* Debug builds also look for packets that come home twice, at the price of a division each. */
#ifdef PLX_DEBUG
#define CHECK_RETURNS true
#else
#define CHECK_RETURNS false
#endif

static_assert(sizeof(struct plx_packet) == PLX_CACHE_LINE, "a packet is one line of metadata");

/*
 * The depot's lock is held for one memcpy() of 2 KiB at the most. It is an adaptive mutex: it spins
 * as a spinlock would while the holder runs, but sleeps when the holder was scheduled away, where a
 * spinning thread of higher priority on the same core would never see it come back.
 */
struct plx_pool {
	struct plx_mem *mem;
	struct plx_packet *packets; /* in ordinary memory, out of the devices' reach */
	uint8_t *buffers;           /* in DMA memory */
	uint64_t stride;
	uint32_t count;
	uint32_t slots; /* packets there is memory for: some may be of no use */
	uint16_t headroom;
	uint16_t data_size;
	uint8_t *resting; /* for each packet whether it is in the depot; only with CHECK_RETURNS */

	pthread_mutex_t lock __cache_aligned; /* guards what follows */
	uint32_t available;
	uint32_t caches;
	uint64_t surplus;           /* packets that came back more often than they left */
	struct plx_packet *depot[]; /* a stack, since the last one in is still warm */
};

static int check_config(const struct plx_pool_config *config)
{
	if (!config->count)
		return plx_fail(
			EINVAL, "a pool of 0 packets is not possible: set count to 1 or more");
	if (config->headroom > HEADROOM_MAX)
		return plx_fail(EINVAL, "a headroom of %u bytes is not possible: take %u or less",
			config->headroom, HEADROOM_MAX);
	if (config->data_size < DATA_SIZE_MIN || config->headroom + config->data_size > UINT16_MAX)
		return plx_fail(EINVAL,
			"packets of %u bytes of data and %u of headroom are not possible: take at "
			"least %u of data, and %u of both together at the most",
			config->data_size, config->headroom, DATA_SIZE_MIN, UINT16_MAX);
	return 0;
}

/*
 * An odd number of cache lines: the first lines of the buffers, which every burst touches, then
 * fall into all sets of a cache. A power of two would put them into a few.
 */
static uint64_t stride_of(const struct plx_pool_config *config)
{
	uint64_t bytes = (uint64_t)config->headroom + config->data_size;
	uint64_t lines = plx_align_up(bytes, PLX_CACHE_LINE) / PLX_CACHE_LINE;

	return (lines | 1) * PLX_CACHE_LINE;
}

static void init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	/* POSIX lets this fail; a plain lock is as good but for spinning a moment. */
	if (pthread_mutexattr_init(&attr)) {
		(void)pthread_mutex_init(lock, NULL);
		return;
	}
	(void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	(void)pthread_mutex_init(lock, &attr);
	(void)pthread_mutexattr_destroy(&attr);
}

static int allocate_packets(struct plx_pool *pool, int node)
{
	unsigned callers_node;
	void *buffers;
	int err;

	pool->packets = aligned_alloc(PLX_CACHE_LINE, pool->slots * sizeof(*pool->packets));
	if (!pool->packets)
		return plx_fail(ENOMEM, "out of memory for a pool of %u packets", pool->count);
	if (node == -1 && !getcpu(NULL, &callers_node))
		node = (int)callers_node;
	err = plx_mem_alloc(pool->mem, pool->slots * pool->stride, PLX_CACHE_LINE, node,
		PLX_MEM_IN_PIECES, &buffers);
	if (err)
		free(pool->packets);
	else
		pool->buffers = buffers;
	return err;
}

/*
 * Without an IOMMU a buffer may lie across two huge pages that do not follow each other. Its packet
 * is left out, so that addresses stay a multiple of the packet's number; at most one is lost at
 * each end of a page.
 */
static uint32_t slots_of(const struct plx_pool *pool)
{
	uint64_t lost = 3 + pool->count * pool->stride / (PAGE_2M - pool->stride);

	return pool->count + (plx_mem_is_physical(pool->mem) ? (uint32_t)lost : 0);
}

static void make_packets(struct plx_pool *pool)
{
	uint16_t length = (uint16_t)(pool->headroom + pool->data_size);
	uint32_t made = 0;

	for (uint32_t i = 0; i < pool->slots && made < pool->count; i++) {
		struct plx_packet *packet = &pool->packets[i];
		uint8_t *buffer = pool->buffers + i * pool->stride;

		if (!plx_mem_is_whole(pool->mem, buffer, length))
			continue;
		*packet = (struct plx_packet){
			.iova = plx_mem_iova(pool->mem, buffer),
			.pool = pool,
			.buf_len = length,
			.buffer = buffer,
		};
		plx_packet_prepare(packet, pool->headroom);
		/* From the end, so that the first packets taken are the first in memory. */
		pool->depot[pool->count - 1 - made++] = packet;
	}
	pool->available = pool->count;
}

int plx_pool_create_in(
	struct plx_mem *mem, const struct plx_pool_config *config, struct plx_pool **out)
{
	uint64_t bytes = sizeof(struct plx_pool) + config->count * sizeof(struct plx_packet *);
	struct plx_pool *pool;
	int err = check_config(config);

	if (err)
		return err;
	pool = aligned_alloc(PLX_CACHE_LINE, plx_align_up(bytes, PLX_CACHE_LINE));
	if (!pool)
		return plx_fail(ENOMEM, "out of memory for a pool of %u packets", config->count);
	*pool = (struct plx_pool){
		.mem = mem,
		.stride = stride_of(config),
		.count = config->count,
		.headroom = config->headroom,
		.data_size = config->data_size,
	};
	pool->slots = slots_of(pool);
	err = allocate_packets(pool, config->numa_node);
	if (err)
		goto free_pool;
	if (CHECK_RETURNS) {
		pool->resting = malloc(pool->slots);
		if (!pool->resting) {
			err = plx_fail(
				ENOMEM, "out of memory for a pool of %u packets", config->count);
			goto free_packets;
		}
		memset(pool->resting, 1, pool->slots);
	}
	make_packets(pool);
	init_lock(&pool->lock);
	*out = pool;
	return 0;

free_packets:
	plx_mem_free(mem, pool->buffers);
	free(pool->packets);
free_pool:
	free(pool);
	return err;
}

int plx_pool_destroy(struct plx_pool *pool)
{
	uint32_t out, caches;

	if (!pool)
		return 0;
	(void)pthread_mutex_lock(&pool->lock);
	out = pool->count - pool->available;
	caches = pool->caches;
	(void)pthread_mutex_unlock(&pool->lock);
	if (out || caches)
		return plx_fail(EBUSY,
			"the pool lacks %u of its %u packets and has %u caches: give back every "
			"packet and destroy every cache first",
			out, pool->count, caches);
	plx_mem_free(pool->mem, pool->buffers);
	free(pool->packets);
	(void)pthread_mutex_destroy(&pool->lock);
	free(pool->resting);
	free(pool);
	return 0;
}

struct plx_mem *plx_pool_memory(const struct plx_pool *pool)
{
	return pool->mem;
}

struct plx_pool_map plx_pool_map(const struct plx_pool *pool)
{
	uint64_t scale = pool->stride / sizeof(struct plx_packet);
	uint64_t offset = scale * (uintptr_t)pool->packets;

	return (struct plx_pool_map){
		.scale = scale,
		.iova = plx_mem_iova(pool->mem, pool->buffers) - offset,
		.buffer = (uintptr_t)pool->buffers - offset,
		.first = (uintptr_t)pool->packets,
		.span = pool->slots * sizeof(*pool->packets),
		.apart = plx_mem_is_physical(pool->mem),
	};
}

uint32_t plx_pool_available(struct plx_pool *pool)
{
	uint32_t available;

	(void)pthread_mutex_lock(&pool->lock);
	available = pool->available;
	(void)pthread_mutex_unlock(&pool->lock);
	return available;
}

uint32_t plx_pool_count(const struct plx_pool *pool)
{
	return pool->count;
}

uint16_t plx_pool_headroom(const struct plx_pool *pool)
{
	return pool->headroom;
}

uint16_t plx_pool_data_size(const struct plx_pool *pool)
{
	return pool->data_size;
}

/* A packet's mark, or NULL when it is not one of the pool's. */
static uint8_t *resting_mark(struct plx_pool *pool, const struct plx_packet *packet)
{
	size_t offset = (uintptr_t)packet - (uintptr_t)pool->packets;
	bool ours = offset % sizeof(*packet) == 0 && offset / sizeof(*packet) < pool->slots;

	return ours ? &pool->resting[offset / sizeof(*packet)] : NULL;
}

static void note_surplus(struct plx_pool *pool, uint32_t count)
{
	if (!pool->surplus)
		plx_log(pool->mem->log, PLX_LOG_ERROR,
			"packets came back to a pool more than once, or to a pool not their own: "
			"somebody frees what is no longer theirs");
	pool->surplus += count;
}

static void push_checked(struct plx_pool *pool, struct plx_packet *const *packets, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *resting = resting_mark(pool, packets[i]);

		if (!resting || *resting) {
			note_surplus(pool, 1);
			continue;
		}
		*resting = 1;
		pool->depot[pool->available++] = packets[i];
	}
}

/* More than all there are: what comes twice is dropped before it is written past the end. */
static void push_bounded(struct plx_pool *pool, struct plx_packet *const *packets, uint32_t count)
{
	uint32_t room = pool->count - pool->available;

	if (unlikely(count > room)) {
		note_surplus(pool, count - room);
		count = room;
	}
	memcpy(&pool->depot[pool->available], packets, count * sizeof(*packets));
	pool->available += count;
}

/* Under the lock. */
static void push(struct plx_pool *pool, struct plx_packet *const *packets, uint32_t count)
{
	if (CHECK_RETURNS)
		push_checked(pool, packets, count);
	else
		push_bounded(pool, packets, count);
}

/* Under the lock. */
static void pop(struct plx_pool *pool, struct plx_packet **packets, uint32_t count)
{
	pool->available -= count;
	memcpy(packets, &pool->depot[pool->available], count * sizeof(*packets));
	for (uint32_t i = 0; CHECK_RETURNS && i < count; i++)
		*resting_mark(pool, packets[i]) = 0;
}

static void attach(struct plx_pool_cache *cache, struct plx_pool *pool)
{
	cache->pool = pool;
	cache->count = 0;
	(void)pthread_mutex_lock(&pool->lock);
	pool->caches++;
	(void)pthread_mutex_unlock(&pool->lock);
}

static void detach(struct plx_pool_cache *cache)
{
	struct plx_pool *pool = cache->pool;

	(void)pthread_mutex_lock(&pool->lock);
	push(pool, cache->slot, cache->count);
	pool->caches--;
	(void)pthread_mutex_unlock(&pool->lock);
}

int plx_pool_cache_create(struct plx_pool *pool, struct plx_pool_cache **out)
{
	struct plx_pool_cache *cache =
		aligned_alloc(PLX_CACHE_LINE, plx_align_up(sizeof(*cache), PLX_CACHE_LINE));

	if (!cache)
		return plx_fail(ENOMEM, "out of memory for a cache of packets");
	attach(cache, pool);
	*out = cache;
	return 0;
}

void plx_pool_cache_destroy(struct plx_pool_cache *cache)
{
	if (!cache)
		return;
	detach(cache);
	free(cache);
}

void plx_pool_cache_rebind(struct plx_pool_cache *cache, struct plx_pool *pool)
{
	detach(cache);
	attach(cache, pool);
}

uint32_t plx_pool_cache_fill(struct plx_pool_cache *cache, uint32_t want)
{
	struct plx_pool *pool = cache->pool;
	uint32_t room = PLX_POOL_CACHE_SIZE - cache->count;
	uint32_t count = want > cache->count ? want - cache->count : 0;

	if (!count)
		return cache->count;
	count = MIN(MAX(count, (uint32_t)HALF), room);
	(void)pthread_mutex_lock(&pool->lock);
	count = MIN(count, pool->available);
	pop(pool, &cache->slot[cache->count], count);
	(void)pthread_mutex_unlock(&pool->lock);
	cache->count += count;
	return cache->count;
}

void plx_pool_cache_spill(struct plx_pool_cache *cache, uint32_t want)
{
	struct plx_pool *pool = cache->pool;
	uint32_t room = PLX_POOL_CACHE_SIZE - cache->count;
	uint32_t count = want > room ? want - room : 0;

	if (!count)
		return;
	count = MIN(MAX(count, (uint32_t)HALF), cache->count);
	(void)pthread_mutex_lock(&pool->lock);
	push(pool, cache->slot, count);
	(void)pthread_mutex_unlock(&pool->lock);
	cache->count -= count;
	memmove(cache->slot, &cache->slot[count], cache->count * sizeof(cache->slot[0]));
}

void plx_pool_return(struct plx_packet *const *packets, uint32_t count)
{
	while (count) {
		struct plx_pool *pool = packets[0]->pool;
		uint32_t run = 1;

		while (run < count && packets[run]->pool == pool)
			run++;
		(void)pthread_mutex_lock(&pool->lock);
		push(pool, packets, run);
		(void)pthread_mutex_unlock(&pool->lock);
		packets += run;
		count -= run;
	}
}

/*
 * The count of segments bounds the walk, and its links end it: a frame of one segment may still
 * hold a link from its last life, and a link that an application left too short must not run on
 * into packets of others. The link is cut and read before the segment is given away, for then it is
 * somebody else's.
 */
void plx_packet_free(struct plx_packet *packet)
{
	uint32_t left = packet ? packet->segments : 0;

	while (packet) {
		struct plx_packet *batch[32];
		uint32_t count = 0;

		while (packet && count < ARRAY_SIZE(batch)) {
			struct plx_packet *next = left > 1 ? packet->next : NULL;

			packet->next = NULL;
			packet->segments = 1;
			batch[count++] = packet;
			packet = next;
			left--;
		}
		plx_pool_return(batch, count);
	}
}
