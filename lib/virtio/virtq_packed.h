/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VIRTQ_PACKED_H
#define PLX_VIRTIO_VIRTQ_PACKED_H

#include "virtio/virtq.h"

#include <assert.h>
#include <string.h>

/*
 * The operations of a packed ring (virtio 1.4, 2.8): one ring of descriptors that the driver makes
 * available and the device overwrites when it has used them.
 *
 * The device looks at descriptors in the order of the ring. So one that it must not see yet is
 * enough to hide all behind it: the flags of the first descriptor added since the last publication
 * are kept back, and a whole batch is published by one store.
 */

#define PLX_VIRTQ_PACKED_BOTH (VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED)

/*
 * plx_virtq_packed_add() - Make one chain available to the device, once it is published.
 *
 * As plx_virtq_split_add().
 */
static __always_inline_fn void plx_virtq_packed_add(struct plx_virtq *queue,
	const struct plx_virtq_buffer *buffers, const unsigned readable, const unsigned writable,
	void *cookie)
{
	struct plx_virtq_packed *ring = &queue->packed;
	const unsigned count = readable + writable;
	uint16_t id = plx_virtq_take_id(queue, ring->avail_at);
	uint32_t room = 0;

	for (unsigned i = 0; i < count; i++) {
		struct virtq_packed_desc *desc = &ring->desc[ring->avail_at];
		uint16_t flags = ring->avail_flags;

		if (i >= readable) {
			flags |= VIRTQ_DESC_F_WRITE;
			room += buffers[i].len;
		}
		if (i + 1 < count)
			flags |= VIRTQ_DESC_F_NEXT;
		plx_shared64_write(&desc->addr, buffers[i].iova);
		plx_shared32_write(&desc->len, buffers[i].len);
		plx_shared16_write(&desc->id, id);
		if (!i && !ring->pending_flags) {
			ring->pending_at = ring->avail_at;
			ring->pending_flags = flags;
		} else {
			plx_shared16_write(&desc->flags, flags);
		}
		if (unlikely(++ring->avail_at == queue->size)) {
			ring->avail_at = 0;
			ring->avail_flags ^= PLX_VIRTQ_PACKED_BOTH;
		}
	}
	ring->avail_count = (uint16_t)(ring->avail_count + count);
	queue->free_count = (uint16_t)(queue->free_count - count);
	queue->cookie[id] = cookie;
	plx_virtq_begin_chain(queue, id, room, count);
	queue->in_flight++;
}

/* Let the device see all that was added: the rest first, then the first one's flags (2.8.21.1). */
static __always_inline_fn void plx_virtq_packed_publish(struct plx_virtq *queue)
{
	struct plx_virtq_packed *ring = &queue->packed;

	if (!ring->pending_flags)
		return;
	plx_shared16_write_release(&ring->desc[ring->pending_at].flags, ring->pending_flags);
	ring->pending_flags = 0;
}

/* Whether the device wants to hear of what was published since @old (2.8.10 and 2.8.14). */
static __always_inline_fn bool plx_virtq_packed_wanted(const struct plx_virtq *queue, uint16_t old)
{
	const struct plx_virtq_packed *ring = &queue->packed;
	/* Acquire: the place belongs to the flags that make it valid. */
	uint16_t flags = plx_shared16_read_acquire(&ring->device_event->flags);
	uint16_t event, wrap;

	if (!queue->event_idx || flags != VIRTQ_PACKED_EVENT_DESC)
		return flags != VIRTQ_PACKED_EVENT_DISABLE;
	event = plx_shared16_read(&ring->device_event->off_wrap);
	wrap = event & VIRTQ_PACKED_EVENT_WRAP;
	event &= (uint16_t)~VIRTQ_PACKED_EVENT_WRAP;
	/* A place on the round before this one lies a ring's length behind. */
	if (!wrap != !(ring->avail_flags & VIRTQ_PACKED_DESC_F_AVAIL))
		event = (uint16_t)(event - queue->size);
	return plx_virtq_crossed(event, ring->avail_at,
		(uint16_t)(ring->avail_at - (uint16_t)(ring->avail_count - old)));
}

/* plx_virtq_packed_kick() - As plx_virtq_split_kick(). */
static __always_inline_fn void plx_virtq_packed_kick(struct plx_virtq *queue)
{
	uint16_t old = queue->told;

	if (old == queue->packed.avail_count)
		return;
	queue->told = queue->packed.avail_count;
	/*
	 * The flags must be visible before the device's wish is read, or both may sleep
	 * (2.8.21.3.1).
	 */
	plx_barrier_full();
	plx_virtq_notify(queue, plx_virtq_packed_wanted(queue, old), (uint16_t)(queue->told - old));
}

/* plx_virtq_packed_ready() - Whether a completion can be taken. */
static __always_inline_fn bool plx_virtq_packed_ready(struct plx_virtq *queue)
{
	struct plx_virtq_packed *ring = &queue->packed;
	uint16_t flags;

	if (device_lies(queue->fault))
		return false;
	/* Acquire: id and length are read after the flags that say they are there (2.8.21.2). */
	flags = plx_shared16_read_acquire(&ring->desc[ring->used_at].flags);
	if ((flags & PLX_VIRTQ_PACKED_BOTH) != ring->used_flags)
		return false;
	if (device_lies(!queue->in_flight)) {
		plx_virtq_break(queue, PLX_VIRTQ_USED_IDX, ring->used_at);
		return false;
	}
	return true;
}

static __always_inline_fn void plx_virtq_packed_step_used(struct plx_virtq *queue, uint16_t count)
{
	struct plx_virtq_packed *ring = &queue->packed;

	ring->used_at = (uint16_t)(ring->used_at + count);
	if (unlikely(ring->used_at >= queue->size)) {
		ring->used_at = (uint16_t)(ring->used_at - queue->size);
		ring->used_flags ^= PLX_VIRTQ_PACKED_BOTH;
	}
}

/* plx_virtq_packed_pop() - As plx_virtq_split_pop(). */
static __always_inline_fn void *plx_virtq_packed_pop(
	struct plx_virtq *queue, uint32_t *len, const bool check_len)
{
	struct plx_virtq_packed *ring = &queue->packed;
	const struct virtq_packed_desc *desc = &ring->desc[ring->used_at];
	uint16_t id = plx_shared16_read(&desc->id);
	struct plx_virtq_chain *chain;
	uint16_t count;

	*len = plx_shared32_read(&desc->len);
	chain = plx_virtq_claim(queue, id, ring->used_at, *len, check_len);
	if (device_lies(!chain))
		return NULL;
	count = (uint16_t)chain->count;
	if (likely(queue->ordered)) {
		(void)plx_virtq_end_chain(queue, chain);
	} else {
		chain->count = 0;
		plx_virtq_return_id(queue, id);
	}
	queue->free_count = (uint16_t)(queue->free_count + count);
	plx_virtq_packed_step_used(queue, count);
	return queue->cookie[id];
}

/* plx_virtq_packed_take() - As plx_virtq_split_take(). */
static __always_inline_fn unsigned plx_virtq_packed_take(struct plx_virtq *queue, void **cookies,
	uint32_t *len, unsigned count, const bool check_len, bool *odd)
{
	struct plx_virtq_packed *ring = &queue->packed;
	const uint32_t room = queue->room;
	unsigned taken = 0;

	*odd = false;
	if (device_lies(queue->fault))
		return 0;
	if (device_lies(!queue->in_flight)) {
		(void)plx_virtq_packed_ready(queue);
		return 0;
	}
	count = MIN(count, (unsigned)queue->in_flight);
	while (taken < count && !*odd) {
		uint16_t from = ring->used_at;
		const struct virtq_packed_desc *desc = &ring->desc[from];
		const uint16_t used_flags = ring->used_flags;
		unsigned n = MIN(count - taken, (unsigned)(queue->size - from)), good = 0;

		for (; good < n; good++) {
			/* Acquire: id and length are read after the flags (2.8.21.2). */
			uint16_t flags = plx_shared16_read_acquire(&desc[good].flags);

			if ((flags & PLX_VIRTQ_PACKED_BOTH) != used_flags)
				break;
			len[taken + good] = plx_shared32_read(&desc[good].len);
			if (unlikely(plx_shared16_read(&desc[good].id) != from + good) ||
				(check_len && device_lies(len[taken + good] > room))) {
				*odd = true;
				break;
			}
		}
		memcpy(&cookies[taken], &queue->cookie[from], good * sizeof(*cookies));
		taken += good;
		plx_virtq_packed_step_used(queue, (uint16_t)good);
		if (good < n)
			break;
	}
	queue->free_count = (uint16_t)(queue->free_count + taken);
	queue->in_flight = (uint16_t)(queue->in_flight - taken);
	if (taken)
		queue->withheld = 0;
	return taken;
}

/* plx_virtq_packed_post() - As plx_virtq_split_post(). */
static __always_inline_fn void plx_virtq_packed_post(struct plx_virtq *queue, void *const *cookies,
	const struct plx_virtq_buffer *buffers, unsigned count, const bool writable)
{
	struct plx_virtq_packed *ring = &queue->packed;

	assert(queue->ordered);
	for (unsigned i = 0; i < count; i++) {
		uint16_t at = ring->avail_at;
		uint16_t flags = ring->avail_flags | (writable ? VIRTQ_DESC_F_WRITE : 0);
		struct virtq_packed_desc *desc = &ring->desc[at];

		plx_shared64_write(&desc->addr, buffers[i].iova);
		plx_shared32_write(&desc->len, buffers[i].len);
		plx_shared16_write(&desc->id, at);
		queue->cookie[at] = cookies[i];
		if (!i && !ring->pending_flags) {
			ring->pending_at = at;
			ring->pending_flags = flags;
		} else {
			plx_shared16_write(&desc->flags, flags);
		}
		if (unlikely(++ring->avail_at == queue->size)) {
			ring->avail_at = 0;
			ring->avail_flags ^= PLX_VIRTQ_PACKED_BOTH;
		}
	}
	ring->avail_count = (uint16_t)(ring->avail_count + count);
	queue->free_count = (uint16_t)(queue->free_count - count);
	queue->in_flight = (uint16_t)(queue->in_flight + count);
}

#endif
