/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rings of the null backend. It touches what the standard makes a device touch and nothing
 * more: no payload, no descriptor of a split ring where the ring of heads is enough.
 */
#include "null_backend.h"

#include "drivers/virtio/virtio_net_reg.h"

#define CACHE_LINE 64

/* Buffers that are completed before the index is published: no driver posts more at once. */
#define BATCH 256

#define AVAIL VIRTQ_PACKED_DESC_F_AVAIL
#define USED  VIRTQ_PACKED_DESC_F_USED

void ring_be_quiet(const struct rings *rings, struct ring *ring)
{
	if (rings_have(rings, VIRTIO_F_RING_PACKED)) {
		struct virtq_packed_event *event = ring->device;

		plx_shared16_write(&event->flags, VIRTQ_PACKED_EVENT_DISABLE);
	} else {
		struct virtq_used *used = ring->device;

		plx_shared16_write(&used->flags, VIRTQ_USED_F_NO_NOTIFY);
	}
}

/*
 * With F_EVENT_IDX the wish is a place: one that was passed is not passed again for 2^16 buffers.
 */
static void stay_quiet(const struct rings *rings, const struct ring *ring, uint16_t before)
{
	struct virtq_used *used = ring->device;

	if (rings_have(rings, VIRTIO_F_EVENT_IDX) && ((before ^ ring->avail) & 0x2000))
		plx_shared16_write((struct plx_shared16 *)(void *)&used->ring[ring->size],
			(uint16_t)(ring->avail - 1));
}

/* 5.1.9.4: one buffer, one frame. Once written that stays, as long as nobody sends the buffer. */
static void write_header(struct rings *rings, uint64_t guest)
{
	for (unsigned i = 0; i < rings->memory.count; i++) {
		struct region *region = &rings->memory.region[i];
		uint64_t offset = guest - region->guest, line = offset / CACHE_LINE;
		uint8_t bit = (uint8_t)(1u << line % 8);

		if (offset >= region->size || region->size - offset < VIRTIO_NET_HDR_SIZE)
			continue;
		if (!rings->headers_always && region->written[line / 8] & bit)
			return;
		region->written[line / 8] |= bit;
		*(struct virtio_net_hdr *)(void *)(region->base + offset) =
			(struct virtio_net_hdr){.num_buffers = 1};
		return;
	}
}

static unsigned complete_split(struct rings *rings, struct ring *ring, bool receive)
{
	bool mergeable = receive && rings_have(rings, VIRTIO_NET_F_MRG_RXBUF);
	bool in_order = !receive && rings_have(rings, VIRTIO_F_IN_ORDER);
	uint32_t len = receive ? VIRTIO_NET_HDR_SIZE + rings->frame_size : 0;
	const struct virtq_desc *desc = ring->desc;
	const struct virtq_avail *avail = ring->driver;
	struct virtq_used *used = ring->device;
	uint16_t mask = (uint16_t)(ring->size - 1), before = ring->avail, head = 0;
	/* Acquire: the heads are read after the index that announces them. */
	uint16_t end = plx_shared16_read_acquire(&avail->idx);

	if ((uint16_t)(end - ring->avail) > BATCH)
		end = (uint16_t)(ring->avail + BATCH);
	for (; ring->avail != end; ring->avail++) {
		head = plx_shared16_read(&avail->ring[ring->avail & mask]);
		if (mergeable)
			write_header(rings, plx_shared64_read(&desc[head & mask].addr));
		if (!in_order)
			used->ring[ring->avail & mask] =
				(struct virtq_used_elem){plx_shared32(head), plx_shared32(len)};
	}
	if (before == end)
		return 0;
	/* In order, the last head at the first place stands for all (2.7.9). */
	if (in_order)
		used->ring[before & mask] =
			(struct virtq_used_elem){plx_shared32(head), plx_shared32(len)};
	/* Release: the elements are there before the index says so. */
	plx_shared16_write_release(&used->idx, end);
	stay_quiet(rings, ring, before);
	return (uint16_t)(end - before);
}

static void step(const struct ring *ring, uint16_t *at, bool *wrap)
{
	if (++*at < ring->size)
		return;
	*at = 0;
	*wrap = !*wrap;
}

static bool is_available(const struct ring *ring)
{
	const struct virtq_packed_desc *desc = ring->desc;
	uint16_t flags = plx_shared16_read_acquire(&desc[ring->avail].flags);

	return (flags & (AVAIL | USED)) == (ring->avail_wrap ? AVAIL : USED);
}

static void publish_packed(struct ring *ring, uint16_t at, bool wrap, uint16_t id, uint32_t len)
{
	struct virtq_packed_desc *desc = ring->desc;

	plx_shared16_write(&desc[at].id, id);
	plx_shared32_write(&desc[at].len, len);
	plx_shared16_write_release(&desc[at].flags, wrap ? AVAIL | USED : 0);
}

static unsigned complete_packed(struct rings *rings, struct ring *ring, bool receive)
{
	bool mergeable = receive && rings_have(rings, VIRTIO_NET_F_MRG_RXBUF);
	bool in_order = !receive && rings_have(rings, VIRTIO_F_IN_ORDER);
	uint32_t len = receive ? VIRTIO_NET_HDR_SIZE + rings->frame_size : 0;
	const struct virtq_packed_desc *desc = ring->desc;
	uint16_t first = ring->avail, id = 0;
	bool first_wrap = ring->avail_wrap;
	unsigned count = 0;

	for (; count < BATCH && is_available(ring); count++) {
		uint16_t at = ring->avail, flags;
		bool wrap = ring->avail_wrap;

		if (mergeable)
			write_header(rings, plx_shared64_read(&desc[at].addr));
		do {
			flags = plx_shared16_read(&desc[ring->avail].flags);
			id = plx_shared16_read(&desc[ring->avail].id);
			step(ring, &ring->avail, &ring->avail_wrap);
		} while (flags & VIRTQ_DESC_F_NEXT);
		if (!in_order)
			publish_packed(ring, at, wrap, id, len);
	}
	/* In order, the last id at the first place stands for all (2.8.9). */
	if (in_order && count)
		publish_packed(ring, first, first_wrap, id, len);
	return count;
}

unsigned ring_complete(struct rings *rings, unsigned index)
{
	struct ring *ring = &rings->ring[index];
	bool receive = !(index & 1);
	unsigned count = rings_have(rings, VIRTIO_F_RING_PACKED)
				 ? complete_packed(rings, ring, receive)
				 : complete_split(rings, ring, receive);

	ring->frames += count;
	return count;
}
