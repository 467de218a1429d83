/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_EMU_RING_WALK_H
#define PLX_EMU_RING_WALK_H

#include "emu/emu_priv.h"

/*
 * A walk over all descriptors of a buffer, first to measure it, later to list its parts. Both ring
 * layouts walk in the same way and by rules of different names.
 */
struct plx_emu_walk_rules {
	const char *count; /* more descriptors than the queue has */
	const char *order; /* a readable part behind a writable one */
	const char *bytes; /* more than 4 GiB; NULL: there is no such rule */
};

struct plx_emu_walk {
	struct plx_emu_queue *queue;
	struct plx_emu_buffer *buffer;
	struct plx_emu_part *part; /* NULL: measure */
	unsigned count;
};

/* The buffer is unusable and comes back unused. Return: false. */
static inline bool plx_emu_walk_complain(
	struct plx_emu_walk *walk, const char *rule, const char *what)
{
	plx_emu_report(walk->queue->emu, rule, "queue %u, buffer %u: %s", walk->queue->index,
		walk->buffer->id, what);
	walk->buffer->bad = true;
	return false;
}

/* Return: whether the walk may go on. */
static inline bool plx_emu_walk_visit(struct plx_emu_walk *walk, const struct plx_emu_desc *desc,
	const struct plx_emu_walk_rules *rules)
{
	struct plx_emu_buffer *buffer = walk->buffer;
	bool write = desc->flags & VIRTQ_DESC_F_WRITE;

	if (walk->count == walk->queue->size)
		return plx_emu_walk_complain(walk, rules->count, "it is longer than the queue");
	if (!write && buffer->writable)
		return plx_emu_walk_complain(
			walk, rules->order, "a readable part follows a writable one");
	*(write ? &buffer->writable : &buffer->readable) += desc->len;
	if (rules->bytes && buffer->writable + buffer->readable > UINT64_C(1) << 32)
		return plx_emu_walk_complain(walk, rules->bytes, "it is longer than 4 GiB");
	if (walk->part) {
		void *address =
			plx_emu_dma(walk->queue->emu, desc->addr, desc->len, write, "a buffer");

		if (!address) {
			buffer->bad = true;
			return false;
		}
		walk->part[walk->count] =
			(struct plx_emu_part){.address = address, .len = desc->len, .write = write};
	}
	walk->count++;
	return true;
}

/* The memory of an indirect table, or NULL. */
static inline const void *plx_emu_walk_table(
	struct plx_emu_walk *walk, const struct plx_emu_desc *outer)
{
	const void *table =
		plx_emu_dma(walk->queue->emu, outer->addr, outer->len, false, "an indirect table");

	walk->buffer->bad |= !table;
	return table;
}

/* Take a descriptor of an indirect table into the digest of the table. */
static inline uint64_t plx_emu_walk_mix(uint64_t digest, const struct plx_emu_desc *desc)
{
	uint64_t rest = (uint64_t)desc->len << 32 | (uint32_t)desc->flags << 16 | desc->link;

	digest = (digest ^ desc->addr) * UINT64_C(0x9e3779b97f4a7c15);
	return (digest ^ digest >> 29 ^ rest) * UINT64_C(0xbf58476d1ce4e5b9);
}

#endif
