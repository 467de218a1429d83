/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rings of a backend that is a mirror: what is sent on a pair is received on it, copied byte
 * for byte. A frame waits in the transmit ring until there is a buffer for it, so none is ever
 * dropped but one that is longer than its buffer.
 */
#include "null_backend.h"

#include "latency.h"

#include "base/clock.h"
#include "drivers/virtio/virtio_net_reg.h"

#include <string.h>

/* Frames that are moved before the indices are published. */
#define BATCH 64

#define AVAIL VIRTQ_PACKED_DESC_F_AVAIL
#define USED  VIRTQ_PACKED_DESC_F_USED

/* Descriptors that are followed for one frame. */
#define PIECES 64

struct chain {
	uint16_t id;
	uint16_t at; /* packed: its first place, and the wrap counter there */
	bool wrap;
	unsigned count;
	struct {
		uint8_t *bytes;
		uint32_t len;
	} piece[PIECES];
};

static void add_piece(const struct rings *rings, struct chain *chain, uint64_t guest, uint32_t len)
{
	for (unsigned i = 0; i < rings->memory.count && chain->count < PIECES; i++) {
		const struct region *region = &rings->memory.region[i];
		uint64_t offset = guest - region->guest;

		if (offset >= region->size || region->size - offset < len)
			continue;
		chain->piece[chain->count].bytes = region->base + offset;
		chain->piece[chain->count++].len = len;
		return;
	}
}

static bool look_split(const struct rings *rings, const struct ring *ring, struct chain *chain)
{
	const struct virtq_desc *desc = ring->desc;
	const struct virtq_avail *avail = ring->driver;
	uint16_t mask = (uint16_t)(ring->size - 1), at, flags;

	/* Acquire: the head is read after the index that announces it. */
	if (plx_shared16_read_acquire(&avail->idx) == ring->avail)
		return false;
	chain->count = 0;
	chain->id = at = plx_shared16_read(&avail->ring[ring->avail & mask]);
	do {
		at &= mask;
		flags = plx_shared16_read(&desc[at].flags);
		add_piece(rings, chain, plx_shared64_read(&desc[at].addr),
			plx_shared32_read(&desc[at].len));
		at = plx_shared16_read(&desc[at].next);
	} while (flags & VIRTQ_DESC_F_NEXT && chain->count < PIECES);
	return true;
}

static bool look_packed(const struct rings *rings, const struct ring *ring, struct chain *chain)
{
	const struct virtq_packed_desc *desc = ring->desc;
	uint16_t at = ring->avail;
	/* Acquire: the rest of the descriptor is read after the flags that make it available. */
	uint16_t flags = plx_shared16_read_acquire(&desc[at].flags);

	if ((flags & (AVAIL | USED)) != (ring->avail_wrap ? AVAIL : USED))
		return false;
	chain->count = 0;
	chain->at = at;
	chain->wrap = ring->avail_wrap;
	for (;;) {
		add_piece(rings, chain, plx_shared64_read(&desc[at].addr),
			plx_shared32_read(&desc[at].len));
		chain->id = plx_shared16_read(&desc[at].id);
		if (!(flags & VIRTQ_DESC_F_NEXT) || chain->count == PIECES)
			return true;
		at = (uint16_t)((at + 1) % ring->size);
		flags = plx_shared16_read(&desc[at].flags);
	}
}

static void give_split(struct ring *ring, const struct chain *chain, uint32_t len)
{
	struct virtq_used *used = ring->device;

	used->ring[ring->avail & (ring->size - 1)] =
		(struct virtq_used_elem){plx_shared32(chain->id), plx_shared32(len)};
	ring->avail++;
}

static void give_packed(struct ring *ring, const struct chain *chain, uint32_t len)
{
	struct virtq_packed_desc *desc = ring->desc;

	plx_shared16_write(&desc[chain->at].id, chain->id);
	plx_shared32_write(&desc[chain->at].len, len);
	/* Release: id and length are there before the flags say so. */
	plx_shared16_write_release(&desc[chain->at].flags, chain->wrap ? AVAIL | USED : 0);
	for (unsigned i = 0; i < chain->count; i++) {
		if (++ring->avail < ring->size)
			continue;
		ring->avail = 0;
		ring->avail_wrap = !ring->avail_wrap;
	}
}

/* Return: bytes written; 0 when the buffer is too short. */
static uint32_t copy(const struct chain *from, const struct chain *to)
{
	uint32_t done = 0, room = to->count ? to->piece[0].len : 0;
	struct virtio_net_hdr *header = room ? (void *)to->piece[0].bytes : NULL;

	for (unsigned i = 0; i < from->count; i++) {
		if (from->piece[i].len > room - done)
			return 0;
		memcpy(to->piece[0].bytes + done, from->piece[i].bytes, from->piece[i].len);
		done += from->piece[i].len;
	}
	if (done < VIRTIO_NET_HDR_SIZE)
		return 0;
	memset(header, 0, VIRTIO_NET_HDR_SIZE);
	plx_shared16_write((struct plx_shared16 *)(void *)&header->num_buffers, 1);
	return done;
}

/* Write into a frame when it was turned back. */
static void stamp(const struct chain *to, uint32_t len)
{
	const size_t at =
		VIRTIO_NET_HDR_SIZE + LATENCY_STAMP + offsetof(struct latency_stamp, turned);
	uint64_t now = plx_cycles();

	if (len >= at + sizeof(now))
		memcpy(to->piece[0].bytes + at, &now, sizeof(now));
}

unsigned ring_mirror(struct rings *rings, unsigned pair)
{
	struct ring *rx = &rings->ring[2 * pair], *tx = &rings->ring[2 * pair + 1];
	bool packed = rings_have(rings, VIRTIO_F_RING_PACKED);
	struct chain from, to;
	unsigned count = 0;

	for (; count < BATCH; count++) {
		uint32_t len;

		if (!(packed ? look_packed(rings, tx, &from) : look_split(rings, tx, &from)) ||
			!(packed ? look_packed(rings, rx, &to) : look_split(rings, rx, &to)))
			break;
		len = copy(&from, &to);
		if (rings->stamp)
			stamp(&to, len);
		if (packed) {
			give_packed(tx, &from, 0);
			if (len)
				give_packed(rx, &to, len);
		} else {
			give_split(tx, &from, 0);
			if (len)
				give_split(rx, &to, len);
		}
		rx->frames += len != 0;
		tx->frames++;
	}
	if (count && !packed) {
		/* Release: the elements are there before the indices say so. */
		plx_shared16_write_release(&((struct virtq_used *)rx->device)->idx, rx->avail);
		plx_shared16_write_release(&((struct virtq_used *)tx->device)->idx, tx->avail);
	}
	return count;
}
