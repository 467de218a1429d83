/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/barrier.h"
#include "base/compiler.h"
#include "emu/emu_priv.h"
#include "emu/ring_walk.h"

#include <inttypes.h>
#include <string.h>

/*
 * The packed ring from the device's side (virtio 1.4, 2.8).
 *
 * A position counts descriptors over two laps of the ring, from 0 to twice its size: the first lap
 * has the wrap counter 1, the second 0. Two positions are at most one lap apart, so their distance
 * is never in doubt.
 *
 * Used descriptors are written over available ones, not always those of the same buffer. Therefore
 * each descriptor is copied when it is noticed, and the buffer keeps the copies until it is used.
 */
#define NONE        UINT16_MAX /* ends a list of snapshots */
#define MARKS       (VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED)
#define RING_ALIGN  16
#define EVENT_ALIGN 4

static const struct plx_emu_walk_rules rules = {.count = "PACK-IND-3", .order = "PACK-SG-3"};

static bool event_idx(const struct plx_emu_queue *queue)
{
	return plx_emu_accepted(queue->emu, VIRTIO_F_EVENT_IDX);
}

static uint32_t slot_of(const struct plx_emu_queue *queue, uint32_t position)
{
	return position < queue->size ? position : position - queue->size;
}

static bool wrap_of(const struct plx_emu_queue *queue, uint32_t position)
{
	return position < queue->size;
}

static uint32_t advance(const struct plx_emu_queue *queue, uint32_t position, uint32_t count)
{
	uint32_t laps = 2u * queue->size;

	position += count;
	return position < laps ? position : position - laps;
}

static uint32_t distance(const struct plx_emu_queue *queue, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : to + 2u * queue->size - from;
}

/* A position as notifications and event suppression have it. */
static uint32_t from_off_wrap(const struct plx_emu_queue *queue, uint16_t off_wrap)
{
	uint32_t slot = off_wrap & ~VIRTQ_PACKED_EVENT_WRAP & UINT16_MAX;

	return off_wrap & VIRTQ_PACKED_EVENT_WRAP ? slot : slot + queue->size;
}

static uint16_t to_off_wrap(const struct plx_emu_queue *queue, uint32_t position)
{
	return (uint16_t)(slot_of(queue, position) |
			  (wrap_of(queue, position) ? VIRTQ_PACKED_EVENT_WRAP : 0));
}

static bool available(const struct plx_emu_queue *queue, uint32_t position, uint16_t flags)
{
	uint16_t mark =
		wrap_of(queue, position) ? VIRTQ_PACKED_DESC_F_AVAIL : VIRTQ_PACKED_DESC_F_USED;

	return (flags & MARKS) == mark;
}

static struct virtq_packed_desc *desc_at(const struct plx_emu_queue *queue, uint32_t position)
{
	return &queue->packed.ring[slot_of(queue, position)];
}

static struct plx_emu_desc read_desc(const struct virtq_packed_desc *desc)
{
	return (struct plx_emu_desc){
		.flags = plx_shared16_read(&desc->flags),
		.addr = plx_shared64_read(&desc->addr),
		.len = plx_shared32_read(&desc->len),
		.link = plx_shared16_read(&desc->id),
	};
}

/* An indirect table may lie anywhere: nothing asks for an alignment of it (2.7.5.3, 2.8.8). */
static struct plx_emu_desc read_entry(const void *table, uint32_t number)
{
	struct virtq_packed_desc entry;

	memcpy(&entry, (const uint8_t *)table + number * sizeof(entry), sizeof(entry));
	return read_desc(&entry);
}

static bool same(const struct plx_emu_desc *one, const struct plx_emu_desc *other)
{
	return one->addr == other->addr && one->len == other->len && one->flags == other->flags &&
	       one->link == other->link;
}

/* Copies of descriptors: those that are not taken form a list. */

static void free_all_snapshots(struct plx_emu_queue *queue)
{
	for (uint32_t i = 0; i < queue->size; i++)
		queue->packed.next[i] = (uint16_t)(i + 1);
	queue->packed.next[queue->size - 1] = NONE;
	queue->packed.free = 0;
}

static uint16_t take_snapshot(struct plx_emu_queue *queue, const struct plx_emu_desc *desc)
{
	struct plx_emu_packed *packed = &queue->packed;
	uint16_t taken = packed->free;

	packed->free = packed->next[taken];
	packed->next[taken] = NONE;
	queue->snapshot[taken] = *desc;
	return taken;
}

static void free_snapshots(struct plx_emu_queue *queue, uint16_t first)
{
	struct plx_emu_packed *packed = &queue->packed;
	uint16_t last = first;

	while (packed->next[last] != NONE)
		last = packed->next[last];
	packed->next[last] = packed->free;
	packed->free = first;
}

/* Buffer IDs are the driver's choice, of all 65536. */

static bool id_taken(const struct plx_emu_queue *queue, uint16_t id)
{
	return queue->packed.ids[id / 8] >> id % 8 & 1;
}

static void flip_id(struct plx_emu_queue *queue, uint16_t id)
{
	queue->packed.ids[id / 8] ^= (uint8_t)(1u << id % 8);
}

static void suppress(struct plx_emu_queue *queue, uint16_t off_wrap, uint16_t flags)
{
	const struct plx_emu_hooks *hooks = &queue->emu->config.hooks;
	struct virtq_packed_event *event = queue->packed.device_event;

	if (hooks->suppress)
		hooks->suppress(hooks->arg, queue->index, &off_wrap, &flags);
	plx_shared16_write(&event->off_wrap, off_wrap);
	/* A driver that sees the flags sees what they refer to. */
	plx_shared16_write_release(&event->flags, flags);
}

static bool arm(struct plx_emu_queue *queue)
{
	uint32_t seen = queue->packed.seen;
	bool exact = event_idx(queue) && !plx_emu_random(queue->emu, 2);

	suppress(queue, to_off_wrap(queue, seen),
		exact ? VIRTQ_PACKED_EVENT_DESC : VIRTQ_PACKED_EVENT_ENABLE);
	/* A driver that publishes from now on sees it; what it published before is seen here. */
	plx_barrier_full();
	return available(queue, seen, plx_shared16_read(&desc_at(queue, seen)->flags));
}

static void disarm(struct plx_emu_queue *queue)
{
	if (plx_emu_random(queue->emu, 2))
		return;
	suppress(queue, 0, VIRTQ_PACKED_EVENT_DISABLE);
}

static bool start(struct plx_emu_queue *queue)
{
	struct plx_emu_packed *packed = &queue->packed;
	struct plx_emu *emu = queue->emu;

	if (queue->desc_addr % RING_ALIGN ||
		(queue->driver_addr | queue->device_addr) % EVENT_ALIGN) {
		plx_emu_report(emu, "PACK-LAYOUT-1",
			"a part of queue %u is not aligned: descriptors 0x%" PRIx64
			", driver's events 0x%" PRIx64 ", device's events 0x%" PRIx64,
			queue->index, queue->desc_addr, queue->driver_addr, queue->device_addr);
		return false;
	}
	packed->ring = plx_emu_dma(emu, queue->desc_addr, sizeof(*packed->ring) * queue->size, true,
		"the descriptor ring");
	packed->driver_event = plx_emu_dma(emu, queue->driver_addr, sizeof(*packed->driver_event),
		false, "the driver's event suppression");
	packed->device_event = plx_emu_dma(emu, queue->device_addr, sizeof(*packed->device_event),
		true, "the device's event suppression");
	if (!packed->ring || !packed->driver_event || !packed->device_event)
		return false;
	packed->seen = packed->returned = packed->published = 0;
	memset(packed->ids, 0, PLX_EMU_IDS_SIZE);
	free_all_snapshots(queue);
	for (uint32_t i = 0; i < queue->size; i++)
		if (plx_shared16_read(&packed->ring[i].flags) & VIRTQ_PACKED_DESC_F_USED) {
			plx_emu_report(emu, "2.8.13",
				"the descriptor ring of queue %u is not zeroed: descriptor %u",
				queue->index, i);
			break;
		}
	(void)arm(queue);
	return true;
}

/*
 * Copy the descriptors of the next list, of which the first is available. Return: false when the
 * ring is broken.
 */
static bool expose(struct plx_emu_queue *queue, struct plx_emu_buffer *buffer)
{
	struct plx_emu_packed *packed = &queue->packed;
	uint32_t room = queue->size - distance(queue, packed->published, packed->seen);
	uint16_t *link = &buffer->first;
	struct plx_emu_desc desc;

	do {
		uint32_t slot = slot_of(queue, packed->seen);

		if (buffer->slots == room) {
			plx_emu_report(queue->emu,
				!room                 ? "PACK-DESC-1"
				: room == queue->size ? "PACK-SG-2"
						      : "PACK-SG-5",
				"queue %u of %u descriptors: a list reaches descriptor %u, which is "
				"not used yet",
				queue->index, queue->size, slot);
			return false;
		}
		desc = read_desc(&packed->ring[slot]);
		if (!available(queue, packed->seen, desc.flags)) {
			plx_emu_report(queue->emu, "PACK-SG-6",
				"queue %u: descriptor %u belongs to an available list and is not "
				"available",
				queue->index, slot);
			return false;
		}
		*link = take_snapshot(queue, &desc);
		queue->owner[slot] = (uint16_t)(*link + 1);
		link = &packed->next[*link];
		buffer->slots++;
		packed->seen = advance(queue, packed->seen, 1);
	} while (desc.flags & VIRTQ_DESC_F_NEXT);
	buffer->id = desc.link;
	return true;
}

static bool visit_table(struct plx_emu_walk *walk, const struct plx_emu_desc *outer)
{
	const struct virtq_packed_desc *table;

	if (!plx_emu_accepted(walk->queue->emu, VIRTIO_F_INDIRECT_DESC))
		return plx_emu_walk_complain(
			walk, "PACK-IND-1", "INDIRECT without having been negotiated");
	if (walk->buffer->slots > 1)
		return plx_emu_walk_complain(walk, "PACK-IND-4", "INDIRECT within a list");
	if (!outer->len || outer->len % sizeof(*table))
		return plx_emu_walk_complain(
			walk, "2.8.7", "the length of an indirect table is no multiple of 16");
	table = plx_emu_walk_table(walk, outer);
	for (uint32_t i = 0; table && i < outer->len / sizeof(*table); i++) {
		struct plx_emu_desc desc = read_entry(table, i);

		walk->buffer->digest = plx_emu_walk_mix(walk->buffer->digest, &desc);
		if (desc.flags & ~VIRTQ_DESC_F_WRITE)
			return plx_emu_walk_complain(
				walk, "PACK-IND-2", "a flag other than WRITE in an indirect table");
		if (!plx_emu_walk_visit(walk, &desc, &rules))
			return false;
	}
	return table;
}

static void walk_buffer(struct plx_emu_walk *walk)
{
	const struct plx_emu_queue *queue = walk->queue;

	for (uint16_t at = walk->buffer->first; at != NONE; at = queue->packed.next[at]) {
		const struct plx_emu_desc *desc = &queue->snapshot[at];

		if (desc->flags & VIRTQ_DESC_F_INDIRECT ? !visit_table(walk, desc)
							: !plx_emu_walk_visit(walk, desc, &rules))
			return;
	}
}

static uint32_t notice(struct plx_emu_queue *queue)
{
	struct plx_emu_packed *packed = &queue->packed;
	uint32_t before = packed->seen;

	/* The acquire goes with the driver's release: the rest of the list is there. */
	while (available(queue, packed->seen,
		plx_shared16_read_acquire(&desc_at(queue, packed->seen)->flags))) {
		struct plx_emu_buffer buffer = {.slot = (uint16_t)slot_of(queue, packed->seen)};
		struct plx_emu_walk walk = {.queue = queue, .buffer = &buffer};

		if (!expose(queue, &buffer)) {
			plx_emu_queue_break(queue);
			break;
		}
		if (id_taken(queue, buffer.id)) {
			plx_emu_report(queue->emu, "2.8.21.1",
				"queue %u was given the buffer ID %u again while it was exposed",
				queue->index, buffer.id);
			plx_emu_queue_break(queue);
			break;
		}
		flip_id(queue, buffer.id);
		walk_buffer(&walk);
		plx_emu_queue_add(queue, &buffer);
	}
	return distance(queue, before, packed->seen);
}

/* Whether the driver left alone what it exposed and what was not written over since. */
static void check_untouched(struct plx_emu_queue *queue, const struct plx_emu_buffer *buffer)
{
	const struct plx_emu_packed *packed = &queue->packed;
	uint32_t slot = buffer->slot;

	if (queue->emu->poked)
		return;
	for (uint16_t at = buffer->first; at != NONE; at = packed->next[at]) {
		struct plx_emu_desc now = read_desc(&packed->ring[slot]);

		if (queue->owner[slot] == at + 1 && unlikely(!same(&queue->snapshot[at], &now))) {
			bool anew = (now.flags ^ queue->snapshot[at].flags) & MARKS;

			plx_emu_report(queue->emu, "CLEANUP-1",
				"queue %u: descriptor %u was changed while exposed", queue->index,
				slot);
			plx_emu_report(queue->emu, anew ? "PACK-DESC-1" : "PACK-DESC-2",
				anew ? "queue %u: descriptor %u was written again before it was used"
				     : "queue %u: descriptor %u was changed after it had been made "
				       "available",
				queue->index, slot);
		}
		slot = slot + 1 < queue->size ? slot + 1 : 0;
	}
}

static void write_flags(struct plx_emu_queue *queue, uint32_t position, uint16_t flags)
{
	const struct plx_emu_hooks *hooks = &queue->emu->config.hooks;

	if (hooks->used_flags)
		hooks->used_flags(
			hooks->arg, queue->index, (uint16_t)slot_of(queue, position), &flags);
	/* What the descriptor says and the buffers' bytes are visible before it is used. */
	plx_shared16_write_release(&desc_at(queue, position)->flags, flags);
}

/* What a used descriptor leaves open may hold anything (virtio 1.4, 2.8.4, 2.8.6 and 2.8.13). */
static void write_junk(
	struct plx_emu_queue *queue, struct virtq_packed_desc *desc, uint32_t *len, uint16_t *flags)
{
	struct plx_emu *emu = queue->emu;

	if (!plx_emu_random(emu, 2))
		return;
	if (!(*flags & VIRTQ_DESC_F_WRITE))
		*len = plx_emu_random(emu, UINT32_MAX);
	*flags |= plx_emu_random(emu, 2) * VIRTQ_DESC_F_NEXT |
		  plx_emu_random(emu, 2) * VIRTQ_DESC_F_INDIRECT;
	plx_shared64_write(&desc->addr, plx_emu_random(emu, UINT32_MAX));
}

/*
 * The first used descriptor since the last publishing gets its flags last. Until then the driver
 * sees none of them, and buffers that belong together are seen together (virtio 1.4, 2.8.9).
 */
static void write_used(struct plx_emu_queue *queue, uint32_t id, uint32_t len)
{
	const struct plx_emu_hooks *hooks = &queue->emu->config.hooks;
	struct plx_emu_packed *packed = &queue->packed;
	struct virtq_packed_desc *desc = desc_at(queue, packed->returned);
	uint16_t flags = wrap_of(queue, packed->returned) ? MARKS : 0;

	if (hooks->used)
		hooks->used(hooks->arg, queue->index, &id, &len);
	if (len)
		flags |= VIRTQ_DESC_F_WRITE;
	write_junk(queue, desc, &len, &flags);
	plx_shared16_write(&desc->id, (uint16_t)id);
	plx_shared32_write(&desc->len, len);
	if (packed->returned == packed->published)
		packed->first_flags = flags;
	else
		write_flags(queue, packed->returned, flags);
}

/* One used descriptor for all buffers of a batch; the rest of their descriptors is skipped. */
static void end_batch(struct plx_emu_queue *queue)
{
	struct plx_emu_packed *packed = &queue->packed;
	struct plx_emu_batch *batch = &queue->batch;

	if (!batch->buffers)
		return;
	write_used(queue, batch->id, batch->len);
	for (uint32_t i = 0; i < batch->slots; i++)
		queue->owner[slot_of(queue, advance(queue, packed->returned, i))] = 0;
	packed->returned = advance(queue, packed->returned, batch->slots);
	*batch = (struct plx_emu_batch){0};
}

static void use(struct plx_emu_queue *queue, const struct plx_emu_buffer *buffer, uint32_t len)
{
	struct plx_emu_batch *batch = &queue->batch;

	free_snapshots(queue, buffer->first);
	flip_id(queue, buffer->id);
	batch->buffers++;
	batch->slots += buffer->slots;
	batch->id = buffer->id;
	batch->len = len;
	if (!plx_emu_accepted(queue->emu, VIRTIO_F_IN_ORDER) || len < buffer->writable ||
		plx_emu_random(queue->emu, 4))
		end_batch(queue);
}

/* Lie: mark what follows the used descriptors as used too. */
static void write_extra(struct plx_emu_queue *queue)
{
	const struct plx_emu_hooks *hooks = &queue->emu->config.hooks;
	unsigned extra = MIN(hooks->used_extra(hooks->arg, queue->index), (unsigned)queue->size);

	for (unsigned i = 0; i < extra; i++) {
		uint32_t position = advance(queue, queue->packed.returned, i);

		write_flags(queue, position, wrap_of(queue, position) ? MARKS : 0);
	}
}

/* Whether the driver wants to hear of what was used from @before to now. */
static bool wants_event(struct plx_emu_queue *queue, uint32_t before)
{
	const struct virtq_packed_event *event = queue->packed.driver_event;
	/* A driver writes what the flags refer to before it writes the flags. */
	uint16_t flags = plx_shared16_read_acquire(&event->flags);
	uint16_t off_wrap = plx_shared16_read(&event->off_wrap);

	if (flags > VIRTQ_PACKED_EVENT_DESC ||
		(flags == VIRTQ_PACKED_EVENT_DESC &&
			(!event_idx(queue) || (off_wrap & 0x7fff) >= queue->size)))
		plx_emu_report(queue->emu, "2.8.10",
			"queue %u: the driver's event suppression is 0x%04x with flags 0x%x",
			queue->index, off_wrap, flags);
	if (flags != VIRTQ_PACKED_EVENT_DESC)
		return flags != VIRTQ_PACKED_EVENT_DISABLE;
	return distance(queue, before, from_off_wrap(queue, off_wrap)) <
	       distance(queue, before, queue->packed.published);
}

static bool publish(struct plx_emu_queue *queue)
{
	struct plx_emu_packed *packed = &queue->packed;
	uint32_t before = packed->published;

	end_batch(queue);
	if (packed->returned == before)
		return false;
	if (queue->emu->config.hooks.used_extra)
		write_extra(queue);
	write_flags(queue, before, packed->first_flags);
	packed->published = packed->returned;
	/* The flags are visible before it is read whether the driver wants to hear of them. */
	plx_barrier_full();
	return wants_event(queue, before);
}

/* One lap ahead and one lap behind are the same position; then it is taken for reached. */
static uint32_t ahead(const struct plx_emu_queue *queue, uint16_t next)
{
	uint32_t away;

	if ((next & 0x7fff) >= queue->size)
		return UINT32_MAX;
	away = distance(queue, queue->packed.seen, from_off_wrap(queue, next));
	return away < queue->size ? away : 0;
}

const struct plx_emu_ring_ops plx_emu_packed_ops = {
	.start = start,
	.notice = notice,
	.walk = walk_buffer,
	.check_untouched = check_untouched,
	.use = use,
	.publish = publish,
	.ahead = ahead,
	.arm = arm,
	.disarm = disarm,
};
