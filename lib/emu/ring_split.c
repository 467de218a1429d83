/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/barrier.h"
#include "base/compiler.h"
#include "emu/emu_priv.h"
#include "emu/ring_walk.h"

#include <inttypes.h>
#include <string.h>

/* The split ring from the device's side (virtio 1.4, 2.7). */

static const struct plx_emu_walk_rules rules = {
	.count = "SPLIT-IND-3", .order = "FRAME-1", .bytes = "SPLIT-DESC-1"};

static bool event_idx(const struct plx_emu_queue *queue)
{
	return plx_emu_accepted(queue->emu, VIRTIO_F_EVENT_IDX);
}

static bool in_order(const struct plx_emu_queue *queue)
{
	return plx_emu_accepted(queue->emu, VIRTIO_F_IN_ORDER);
}

static bool start(struct plx_emu_queue *queue)
{
	struct plx_emu_split *split = &queue->split;
	struct plx_emu *emu = queue->emu;
	uint64_t size = queue->size;

	if (queue->desc_addr % VIRTQ_DESC_ALIGN || queue->driver_addr % VIRTQ_AVAIL_ALIGN ||
		queue->device_addr % VIRTQ_USED_ALIGN) {
		plx_emu_report(emu, "SPLIT-LAYOUT-1",
			"a part of queue %u is not aligned: descriptors 0x%" PRIx64
			", available 0x%" PRIx64 ", used 0x%" PRIx64,
			queue->index, queue->desc_addr, queue->driver_addr, queue->device_addr);
		return false;
	}
	*split = (struct plx_emu_split){
		.desc = plx_emu_dma(
			emu, queue->desc_addr, 16 * size, false, "the descriptor table"),
		.avail = plx_emu_dma(
			emu, queue->driver_addr, 6 + 2 * size, false, "the available ring"),
		.used = plx_emu_dma(emu, queue->device_addr, 6 + 8 * size, true, "the used ring"),
	};
	if (!split->desc || !split->avail || !split->used)
		return false;
	split->used_event = &split->avail->ring[size];
	split->avail_event = (struct plx_shared16 *)(void *)&split->used->ring[size];
	if (plx_shared16_read(&split->used->flags) || plx_shared16_read(&split->used->idx))
		plx_emu_report(emu, "SPLIT-ANOTIF-1", "the used ring of queue %u is not zeroed",
			queue->index);
	return true;
}

static struct plx_emu_desc read_desc(const struct virtq_desc *desc)
{
	return (struct plx_emu_desc){
		.addr = plx_shared64_read(&desc->addr),
		.len = plx_shared32_read(&desc->len),
		.flags = plx_shared16_read(&desc->flags),
		.link = plx_shared16_read(&desc->next),
	};
}

/* An indirect table may lie anywhere: nothing asks for an alignment of it (2.7.5.3, 2.8.8). */
static struct plx_emu_desc read_entry(const void *table, uint32_t number)
{
	struct virtq_desc entry;

	memcpy(&entry, (const uint8_t *)table + number * sizeof(entry), sizeof(entry));
	return read_desc(&entry);
}

static bool same(const struct plx_emu_desc *one, const struct plx_emu_desc *other)
{
	return one->addr == other->addr && one->len == other->len && one->flags == other->flags &&
	       (one->link == other->link || !(one->flags & VIRTQ_DESC_F_NEXT));
}

/*
 * Make private copies of a chain's descriptors in the table. Return: false when the ring is broken.
 */
static bool expose(struct plx_emu_queue *queue, struct plx_emu_buffer *buffer)
{
	const struct plx_emu_desc *desc;
	uint16_t at = buffer->id;

	do {
		if (at >= queue->size) {
			plx_emu_report(queue->emu, "SPLIT-DESC-1",
				"queue %u of %u descriptors names descriptor %u", queue->index,
				queue->size, at);
			return false;
		}
		if (queue->owner[at]) {
			bool loop = queue->owner[at] == buffer->id + 1 && buffer->slots;

			plx_emu_report(queue->emu, loop ? "SPLIT-DESC-1" : "CLEANUP-1",
				loop ? "a chain of queue %u loops at descriptor %u"
				     : "queue %u was given descriptor %u again while it was "
				       "exposed",
				queue->index, at);
			return false;
		}
		if (in_order(queue) && at != queue->split.expected)
			plx_emu_report(queue->emu, "SPLIT-DESC-2",
				"queue %u is in order and uses descriptor %u where %u comes next",
				queue->index, at, queue->split.expected);
		queue->split.expected = (at + 1) & (queue->size - 1);
		queue->owner[at] = buffer->id + 1;
		queue->snapshot[at] = read_desc(&queue->split.desc[at]);
		desc = &queue->snapshot[at];
		at = desc->link;
		buffer->slots++;
	} while ((desc->flags & (VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_INDIRECT)) == VIRTQ_DESC_F_NEXT);
	return true;
}

static bool visit_table(struct plx_emu_walk *walk, const struct plx_emu_desc *outer)
{
	uint32_t entries = outer->len / sizeof(struct virtq_desc), at = 0;
	const struct virtq_desc *table;
	struct plx_emu_desc desc;

	if (!plx_emu_accepted(walk->queue->emu, VIRTIO_F_INDIRECT_DESC))
		return plx_emu_walk_complain(
			walk, "SPLIT-IND-1", "INDIRECT without having been negotiated");
	if (outer->flags & VIRTQ_DESC_F_NEXT)
		return plx_emu_walk_complain(walk, "SPLIT-IND-4", "INDIRECT together with NEXT");
	if (!entries || outer->len % sizeof(struct virtq_desc))
		return plx_emu_walk_complain(walk, "SPLIT-IND-3",
			"the length of an indirect table is no multiple of 16");
	table = plx_emu_walk_table(walk, outer);
	if (!table)
		return false;
	do {
		if (at >= entries)
			return plx_emu_walk_complain(
				walk, "SPLIT-DESC-1", "an indirect table goes on behind its end");
		desc = read_entry(table, at);
		walk->buffer->digest = plx_emu_walk_mix(walk->buffer->digest, &desc);
		if (desc.flags & VIRTQ_DESC_F_INDIRECT)
			return plx_emu_walk_complain(
				walk, "SPLIT-IND-2", "INDIRECT within an indirect table");
		if (!plx_emu_walk_visit(walk, &desc, &rules))
			return false;
		if (in_order(walk->queue) && (desc.flags & VIRTQ_DESC_F_NEXT) &&
			desc.link != at + 1)
			return plx_emu_walk_complain(walk, "SPLIT-IND-5",
				"an indirect table in order is not in sequence");
		at = desc.link;
	} while (desc.flags & VIRTQ_DESC_F_NEXT);
	return true;
}

static void walk_buffer(struct plx_emu_walk *walk)
{
	const struct plx_emu_desc *desc;
	uint16_t at = walk->buffer->id;

	for (unsigned i = 0; i < walk->buffer->slots; i++, at = desc->link) {
		desc = &walk->queue->snapshot[at];
		if (desc->flags & VIRTQ_DESC_F_INDIRECT ? !visit_table(walk, desc)
							: !plx_emu_walk_visit(walk, desc, &rules))
			return;
	}
}

static void check_flags(struct plx_emu_queue *queue)
{
	uint16_t flags = plx_shared16_read(&queue->split.avail->flags);

	if (event_idx(queue) && flags)
		plx_emu_report(queue->emu, "SPLIT-UNOTIF-3",
			"queue %u: avail.flags is 0x%x despite EVENT_IDX", queue->index, flags);
	else if (flags & ~VIRTQ_AVAIL_F_NO_INTERRUPT)
		plx_emu_report(queue->emu, "SPLIT-UNOTIF-1", "queue %u: avail.flags is 0x%x",
			queue->index, flags);
}

static uint32_t notice(struct plx_emu_queue *queue)
{
	struct plx_emu_split *split = &queue->split;
	/* The acquire goes with the driver's release: entries and descriptors are there. */
	uint16_t idx = plx_shared16_read_acquire(&split->avail->idx), before = split->seen;

	if (idx == before)
		return 0;
	check_flags(queue);
	if ((uint16_t)(idx - split->published) > queue->size ||
		(uint16_t)(idx - split->published) < (uint16_t)(split->seen - split->published)) {
		plx_emu_report(queue->emu, "SPLIT-AVAIL-1",
			"queue %u: avail.idx went from %u to %u with %u buffers used", queue->index,
			split->seen, idx, split->published);
		plx_emu_queue_break(queue);
		return 0;
	}
	while (split->seen != idx) {
		struct plx_emu_buffer buffer = {.slot = split->seen};
		struct plx_emu_walk walk = {.queue = queue, .buffer = &buffer};

		buffer.id = plx_shared16_read(&split->avail->ring[split->seen & (queue->size - 1)]);
		if (!expose(queue, &buffer)) {
			plx_emu_queue_break(queue);
			return 0;
		}
		walk_buffer(&walk);
		split->seen++;
		plx_emu_queue_add(queue, &buffer);
	}
	return (uint16_t)(idx - before);
}

/* Whether the driver left alone what it exposed (virtio 1.4, 3.2.1 and 3.3). */
static void check_untouched(struct plx_emu_queue *queue, const struct plx_emu_buffer *buffer)
{
	const struct plx_emu_split *split = &queue->split;
	uint16_t at = buffer->id;

	if (queue->emu->poked)
		return;
	for (unsigned i = 0; i < buffer->slots; i++) {
		struct plx_emu_desc now = read_desc(&split->desc[at]);

		if (!same(&queue->snapshot[at], &now))
			plx_emu_report(queue->emu, "CLEANUP-1",
				"queue %u: descriptor %u was changed while exposed", queue->index,
				at);
		at = queue->snapshot[at].link;
	}
	/*
	 * Once as many buffers were used as the ring holds entries from here on, the slot is free.
	 */
	if ((int16_t)(split->published - buffer->slot) <= 0 &&
		plx_shared16_read(&split->avail->ring[buffer->slot & (queue->size - 1)]) !=
			buffer->id)
		plx_emu_report(queue->emu, "CLEANUP-1",
			"queue %u: available entry %u was changed while exposed", queue->index,
			buffer->slot & (queue->size - 1));
}

static void write_used(struct plx_emu_queue *queue, uint32_t id, uint32_t len)
{
	const struct plx_emu_hooks *hooks = &queue->emu->config.hooks;
	struct virtq_used_elem *elem =
		&queue->split.used->ring[queue->split.returned & (queue->size - 1)];

	if (hooks->used)
		hooks->used(hooks->arg, queue->index, &id, &len);
	plx_shared32_write(&elem->id, id);
	plx_shared32_write(&elem->len, len);
}

/*
 * In order, one used entry may stand for a batch: it names the last buffer and stands where the
 * batch begins. The others count as used to their last byte (virtio 1.4, 2.7.9.1).
 */
static void end_batch(struct plx_emu_queue *queue)
{
	struct plx_emu_batch *batch = &queue->batch;

	if (!batch->buffers)
		return;
	write_used(queue, batch->id, batch->len);
	queue->split.returned = (uint16_t)(queue->split.returned + batch->buffers);
	*batch = (struct plx_emu_batch){0};
}

static void use(struct plx_emu_queue *queue, const struct plx_emu_buffer *buffer, uint32_t len)
{
	uint16_t at = buffer->id;

	for (unsigned i = 0; i < buffer->slots; i++) {
		queue->owner[at] = 0;
		at = queue->snapshot[at].link;
	}
	if (!in_order(queue)) {
		write_used(queue, buffer->id, len);
		queue->split.returned++;
		return;
	}
	queue->batch.buffers++;
	queue->batch.id = buffer->id;
	queue->batch.len = len;
	if (len < buffer->writable || plx_emu_random(queue->emu, 4))
		end_batch(queue);
}

static bool publish(struct plx_emu_queue *queue)
{
	const struct plx_emu_hooks *hooks = &queue->emu->config.hooks;
	struct plx_emu_split *split = &queue->split;
	uint16_t before = split->published, idx;

	end_batch(queue);
	if (split->returned == before)
		return false;
	split->published = idx = split->returned;
	if (hooks->used_index)
		hooks->used_index(hooks->arg, queue->index, &idx);
	/* The used entries and the buffers' bytes are visible before the index. */
	plx_shared16_write_release(&split->used->idx, idx);
	/* The index is visible before it is read whether the driver wants to hear of it. */
	plx_barrier_full();
	if (event_idx(queue))
		return plx_emu_need_event(
			plx_shared16_read(split->used_event), split->published, before);
	return !(plx_shared16_read(&split->avail->flags) & VIRTQ_AVAIL_F_NO_INTERRUPT);
}

static uint32_t ahead(const struct plx_emu_queue *queue, uint16_t next)
{
	return (uint32_t)MAX(0, (int16_t)(next - queue->split.seen));
}

static void suppress(struct plx_emu_queue *queue, uint16_t event, uint16_t flags)
{
	const struct plx_emu_hooks *hooks = &queue->emu->config.hooks;
	struct plx_emu_split *split = &queue->split;

	if (hooks->suppress)
		hooks->suppress(hooks->arg, queue->index, &event, &flags);
	if (event_idx(queue))
		plx_shared16_write(split->avail_event, event);
	else
		plx_shared16_write(&split->used->flags, flags);
}

static bool arm(struct plx_emu_queue *queue)
{
	struct plx_emu_split *split = &queue->split;

	suppress(queue, split->seen, 0);
	/* A driver that publishes from now on sees it; what it published before is seen here. */
	plx_barrier_full();
	return plx_shared16_read(&split->avail->idx) != split->seen;
}

static void disarm(struct plx_emu_queue *queue)
{
	if (!event_idx(queue))
		suppress(queue, 0, VIRTQ_USED_F_NO_NOTIFY);
}

const struct plx_emu_ring_ops plx_emu_split_ops = {
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
