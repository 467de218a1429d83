/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"
#include "emu/ring_walk.h"

#include <stdlib.h>
#include <string.h>

/*
 * A queue apart from its layout: the buffers that were made available and wait, how each is used,
 * and when the driver is interrupted and the device notified.
 */

/* How far from the order of arrival a seeded device uses buffers. */
#define DISORDER 8

int plx_emu_queue_init(struct plx_emu_queue *queue, struct plx_emu *emu, uint16_t index)
{
	size_t size = emu->config.queue_size;

	*queue = (struct plx_emu_queue){.emu = emu, .index = index};
	while (queue->mask + 1 < size)
		queue->mask = 2 * queue->mask + 1;
	queue->waiting = calloc(queue->mask + 1, sizeof(*queue->waiting));
	queue->snapshot = calloc(size, sizeof(*queue->snapshot));
	queue->owner = calloc(size, sizeof(*queue->owner));
	queue->part = calloc(size + 1, sizeof(*queue->part));
	queue->packed.next = calloc(size, sizeof(*queue->packed.next));
	queue->packed.ids = calloc(1, PLX_EMU_IDS_SIZE);
	if (!queue->waiting || !queue->snapshot || !queue->owner || !queue->part ||
		!queue->packed.next || !queue->packed.ids)
		return plx_fail(ENOMEM, "%s: out of memory for queue %u", emu->vfio.name, index);
	plx_emu_queue_reset(queue);
	return 0;
}

void plx_emu_queue_fini(struct plx_emu_queue *queue)
{
	free(queue->waiting);
	free(queue->snapshot);
	free(queue->owner);
	free(queue->part);
	free(queue->packed.next);
	free(queue->packed.ids);
}

void plx_emu_queue_reset(struct plx_emu_queue *queue)
{
	__atomic_store_n(&queue->enabled, false, __ATOMIC_RELEASE);
	__atomic_store_n(&queue->awake, 0, __ATOMIC_RELAXED);
	queue->told = 0;
	queue->size = queue->emu->config.queue_size;
	queue->vector = VIRTIO_MSI_NO_VECTOR;
	queue->reset_unread = queue->vector_unread = false;
	queue->written = 0;
	queue->desc_addr = queue->driver_addr = queue->device_addr = 0;
	queue->broken = queue->held = queue->armed = false;
	queue->first = queue->count = queue->exposed = 0;
	queue->batch = (struct plx_emu_batch){0};
	memset(queue->owner, 0, queue->emu->config.queue_size * sizeof(*queue->owner));
}

void plx_emu_queue_enable(struct plx_emu_queue *queue)
{
	struct plx_emu *emu = queue->emu;

	if (!plx_emu_status_may_set_up(emu, queue->index))
		return;
	if (queue->written != PLX_EMU_WROTE_ALL) {
		plx_emu_report(emu,
			emu->status & VIRTIO_STATUS_DRIVER_OK ? "VQREEN-1" : "PCI-COMMON-4",
			"queue %u was enabled before its addresses were written", queue->index);
		return;
	}
	if (queue->vector_unread && (emu->status & VIRTIO_STATUS_DRIVER_OK))
		plx_emu_report(emu, "PCI-MSIX-5", "the vector of queue %u was not read back",
			queue->index);
	queue->ring = plx_emu_accepted(emu, VIRTIO_F_RING_PACKED) ? &plx_emu_packed_ops
								  : &plx_emu_split_ops;
	queue->armed = true;
	if (queue->ring->start(queue))
		__atomic_store_n(&queue->enabled, true, __ATOMIC_RELEASE);
}

void plx_emu_queue_break(struct plx_emu_queue *queue)
{
	if (queue->broken)
		return;
	queue->broken = true;
	plx_emu_status_fatal(queue->emu);
}

bool plx_emu_queue_filled(struct plx_emu_queue *queue)
{
	/* Nothing was noticed yet, so whatever there is is more. */
	return queue->armed && queue->ring->arm(queue);
}

static bool awake(const struct plx_emu_queue *queue)
{
	return __atomic_load_n(&queue->awake, __ATOMIC_ACQUIRE);
}

bool plx_emu_queue_ready(const struct plx_emu_queue *queue)
{
	return queue->enabled && !queue->broken && (queue->count || awake(queue));
}

void plx_emu_queue_notice(struct plx_emu_queue *queue)
{
	uint32_t told, ahead, moved;

	/* A driver that should have notified and did not waits for ever, as it would for a card. */
	if (!awake(queue))
		return;
	told = __atomic_exchange_n(&queue->told, 0, __ATOMIC_ACQUIRE);
	if (queue->armed) {
		queue->armed = false;
		queue->ring->disarm(queue);
	}
	ahead = told ? queue->ring->ahead(queue, (uint16_t)told) : 0;
	moved = queue->ring->notice(queue);
	if (ahead > moved && !queue->broken)
		plx_emu_report(queue->emu,
			plx_emu_accepted(queue->emu, VIRTIO_F_RING_PACKED) ? "PACK-DESC-3"
									   : "PCI-NOTIFY-4",
			"a notification of queue %u named 0x%04x as the next, which is not "
			"yet reached",
			queue->index, told & 0xffff);
}

void plx_emu_queue_add(struct plx_emu_queue *queue, const struct plx_emu_buffer *buffer)
{
	queue->waiting[(queue->first + queue->count) & queue->mask] = *buffer;
	queue->count++;
	queue->exposed += buffer->slots;
	plx_emu_event(queue->emu, PLX_EMU_TAKE, PLX_EMU_NOTIFY, queue->index, buffer->id, 0);
}

const struct plx_emu_buffer *plx_emu_queue_next(struct plx_emu_queue *queue)
{
	return queue->count ? &queue->waiting[queue->first] : NULL;
}

unsigned plx_emu_queue_parts(struct plx_emu_queue *queue)
{
	const struct plx_emu_buffer *buffer = &queue->waiting[queue->first];
	struct plx_emu_buffer again = {
		.id = buffer->id, .first = buffer->first, .slots = buffer->slots};
	struct plx_emu_walk walk = {.queue = queue, .buffer = &again, .part = queue->part};

	queue->ring->check_untouched(queue, buffer);
	if (buffer->bad)
		return 0;
	queue->ring->walk(&walk);
	if (again.bad)
		return 0;
	if (again.digest != buffer->digest) {
		plx_emu_report(queue->emu, "CLEANUP-1",
			"queue %u: the indirect table of buffer %u was changed while exposed",
			queue->index, buffer->id);
		return 0;
	}
	return walk.count;
}

/* Without IN_ORDER a device may use buffers as it likes (virtio 1.4, 2.7.9). */
void plx_emu_queue_shuffle(struct plx_emu_queue *queue)
{
	uint32_t pick;
	struct plx_emu_buffer other;

	if (queue->count < 2 || plx_emu_accepted(queue->emu, VIRTIO_F_IN_ORDER))
		return;
	pick = (queue->first + plx_emu_random(queue->emu, MIN(queue->count, DISORDER))) &
	       queue->mask;
	other = queue->waiting[pick];
	queue->waiting[pick] = queue->waiting[queue->first];
	queue->waiting[queue->first] = other;
}

void plx_emu_queue_use(struct plx_emu_queue *queue, uint32_t len)
{
	struct plx_emu_buffer buffer = queue->waiting[queue->first];

	queue->first = (queue->first + 1) & queue->mask;
	queue->count--;
	queue->exposed -= buffer.slots;
	plx_emu_event(queue->emu, PLX_EMU_USE, PLX_EMU_NOTIFY, queue->index, buffer.id, len);
	queue->ring->use(queue, &buffer, len);
}

void plx_emu_queue_publish(struct plx_emu_queue *queue)
{
	if (queue->ring->publish(queue))
		plx_emu_irq_queue(queue->emu, queue->vector);
}

void plx_emu_queue_sleep(struct plx_emu_queue *queue)
{
	if (queue->armed || queue->broken)
		return;
	queue->armed = true;
	/* First, so that a notification which comes meanwhile is not forgotten. */
	(void)__atomic_exchange_n(&queue->awake, 0, __ATOMIC_ACQ_REL);
	if (queue->ring->arm(queue))
		__atomic_store_n(&queue->awake, 1, __ATOMIC_RELAXED);
}

bool plx_emu_need_event(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

uint32_t plx_emu_gather(const struct plx_emu_part *part, unsigned parts, uint8_t *to, uint32_t room)
{
	uint32_t done = 0;

	for (unsigned i = 0; i < parts && !part[i].write; i++) {
		uint32_t len = MIN(part[i].len, room - done);

		memcpy(to + done, part[i].address, len);
		done += len;
	}
	return done;
}

uint32_t plx_emu_scatter(const struct plx_emu_part *part, unsigned parts, uint32_t skip,
	const uint8_t *from, uint32_t len)
{
	uint32_t done = 0;

	for (unsigned i = 0; i < parts && done < len; i++) {
		uint32_t room = part[i].len, piece;

		if (!part[i].write)
			continue;
		if (skip >= room) {
			skip -= room;
			continue;
		}
		piece = MIN(room - skip, len - done);
		memcpy(part[i].address + skip, from + done, piece);
		done += piece;
		skip = 0;
	}
	return done;
}
