/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/virtq_split.h"

#include "base/bits.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *plx_virtq_fault_name(enum plx_virtq_fault fault)
{
	static const char *const names[] = {
		[PLX_VIRTQ_OK] = "none",
		[PLX_VIRTQ_USED_IDX] = "its used index ran past what is in flight",
		[PLX_VIRTQ_ID_RANGE] = "a used id is outside the ring",
		[PLX_VIRTQ_ID_UNKNOWN] = "a used id is not in flight",
		[PLX_VIRTQ_LEN] = "more bytes were written than had been posted",
	};

	return names[fault];
}

void plx_virtq_split_break(struct plx_virtq_split *queue, enum plx_virtq_fault fault, uint64_t value)
{
	if (!queue->fault) {
		queue->fault = (uint8_t)fault;
		plx_log(queue->log, PLX_LOG_ERROR,
		        "%s: the device broke the queue: %s (%llu); it stays broken until the device is "
		        "stopped and started",
		        queue->name, plx_virtq_fault_name(fault), (unsigned long long)value);
	}
	plx_note_failure("%s: the device broke the queue: %s: stop and start the device", queue->name,
	                 plx_virtq_fault_name((enum plx_virtq_fault)queue->fault));
}

void plx_virtq_split_ring_doorbell(struct plx_virtq_split *queue)
{
	/* A register write comes after all earlier writes to memory: the device finds what it is told of. */
	plx_mmio_write16(&queue->doorbell.window, 0, queue->doorbell.value);
}

void plx_virtq_split_nudge(struct plx_virtq_split *queue)
{
	queue->withheld = 0;
	queue->counters.forced++;
	plx_virtq_split_ring_doorbell(queue);
}

/*
 * The three parts, each on cache lines of its own: the driver writes the first two, the device the
 * third. The legacy interface fixes where they lie (virtio 1.4, 2.7.2).
 */
struct layout {
	size_t avail;
	size_t used;
	size_t size;
	size_t align; /* of the whole */
};

static struct layout lay_out(size_t entries, bool legacy)
{
	struct layout layout;
	size_t avail_size = sizeof(struct virtq_avail) + (entries + 1) * sizeof(struct plx_shared16);
	size_t used_size = sizeof(struct virtq_used) + entries * sizeof(struct virtq_used_elem) +
	                   sizeof(struct plx_shared16);

	layout.align = legacy ? VIRTIO_PCI_LEGACY_QUEUE_ALIGN : PLX_CACHE_LINE;
	layout.avail = entries * sizeof(struct virtq_desc);
	if (!legacy)
		layout.avail = plx_align_up(layout.avail, PLX_CACHE_LINE);
	layout.used = plx_align_up(layout.avail + avail_size, layout.align);
	layout.size = plx_align_up(layout.used + used_size, layout.align);
	return layout;
}

/*
 * The size is read once and checked: a later, larger answer changes nothing (2.7: a power of two, at
 * most 32768).
 */
static int choose_size(struct plx_virtio *virtio, uint16_t index, uint16_t wanted, uint16_t limit,
                       uint16_t *size)
{
	uint16_t max = virtio->transport->queue_max(virtio, index);

	if (max == UINT16_MAX)
		return plx_virtio_gone(virtio);
	if (!max)
		return plx_fail(EPROTO, "%s: the device has no queue %u", virtio->name, index);
	if (max > VIRTQ_SIZE_MAX || !plx_is_power_of_two(max))
		return plx_fail(EPROTO, "%s: the device offers %u entries for queue %u, which is no size of a "
		                        "split ring",
		                virtio->name, max, index);
	if (virtio->transport->legacy) {
		if (wanted && wanted != max)
			return plx_fail(EINVAL,
				"%s: a ring of %u entries is not offered for queue %u: through the "
				"legacy interface it has %u",
				virtio->name, wanted, index, max);
		*size = max;
		return 0;
	}
	if (wanted && (wanted > max || !plx_is_power_of_two(wanted)))
		return plx_fail(EINVAL, "%s: a ring of %u entries is not offered for queue %u: give a power "
		                        "of two up to %u",
		                virtio->name, wanted, index, max);
	*size = wanted ? wanted : MIN(max, limit);
	return 0;
}

/* One block for the queue and its private state: slots, chains, free descriptors. */
static struct plx_virtq_split *allocate(uint16_t size)
{
	size_t head = plx_align_up(sizeof(struct plx_virtq_split), PLX_CACHE_LINE);
	size_t slots = plx_align_up(size * sizeof(struct plx_virtq_slot), PLX_CACHE_LINE);
	size_t links = plx_align_up(size * sizeof(uint16_t), PLX_CACHE_LINE);
	struct plx_virtq_split *queue = aligned_alloc(PLX_CACHE_LINE, head + slots + 2 * links);

	if (!queue)
		return NULL;
	memset(queue, 0, head + slots + 2 * links);
	queue->slot = (void *)((char *)queue + head);
	queue->next = (void *)((char *)queue->slot + slots);
	queue->free = (void *)((char *)queue->next + links);
	for (unsigned i = 0; i < size; i++)
		queue->free[i] = (uint16_t)i;
	queue->size = size;
	queue->mask = (uint16_t)(size - 1);
	queue->free_count = size;
	return queue;
}

/*
 * Nobody waits for interrupts: without event index that is said by a flag, with it by an event that
 * lies half a ring of index space away (2.7.7).
 */
static void suppress_interrupts(struct plx_virtq_split *queue)
{
	if (queue->event_idx)
		plx_shared16_write(plx_virtq_split_used_event(queue), 0x8000);
	else
		plx_shared16_write(&queue->avail->flags, VIRTQ_AVAIL_F_NO_INTERRUPT);
}

int plx_virtq_split_create(struct plx_virtio *virtio, uint16_t index, uint16_t wanted, uint16_t limit,
                           struct plx_virtq_split **out)
{
	struct plx_virtio_queue program;
	struct plx_virtq_split *queue;
	struct layout layout;
	uint16_t size;
	int err;

	err = choose_size(virtio, index, wanted, limit, &size);
	if (err)
		return err;
	queue = allocate(size);
	if (!queue)
		return plx_fail(ENOMEM, "%s: out of memory for queue %u", virtio->name, index);
	queue->mem = virtio->mem;
	queue->log = virtio->log;
	queue->index = index;
	queue->event_idx = plx_virtio_has(virtio, VIRTIO_F_EVENT_IDX);
	(void)snprintf(queue->name, sizeof(queue->name), "%s queue %u", virtio->name, index);
	layout = lay_out(size, virtio->transport->legacy);
	err = plx_mem_alloc(virtio->mem, layout.size, layout.align, virtio->numa_node, 0,
	                    &queue->memory);
	if (err)
		goto free_queue;
	queue->desc = queue->memory;
	queue->avail = (void *)((char *)queue->memory + layout.avail);
	queue->used = (void *)((char *)queue->memory + layout.used);
	suppress_interrupts(queue);
	program = (struct plx_virtio_queue){
		.index = index,
		.size = size,
		.descriptor_area = plx_mem_iova(virtio->mem, queue->desc),
		.driver_area = plx_mem_iova(virtio->mem, queue->avail),
		.device_area = plx_mem_iova(virtio->mem, queue->used),
	};
	plx_trace_add(&virtio->trace, PLX_TRACE_QUEUE, index, size);
	err = virtio->transport->queue_setup(virtio, &program, &queue->doorbell);
	if (err)
		goto free_memory;
	*out = queue;
	return 0;

free_memory:
	plx_mem_free(virtio->mem, queue->memory);
free_queue:
	free(queue);
	return err;
}

void plx_virtq_split_disconnect(struct plx_virtq_split *queue)
{
	plx_mmio_close(&queue->doorbell.window);
}

void plx_virtq_split_destroy(struct plx_virtq_split *queue)
{
	if (!queue)
		return;
	plx_mem_free(queue->mem, queue->memory);
	free(queue);
}

void *plx_virtq_split_reclaim(struct plx_virtq_split *queue, unsigned *cursor)
{
	while (queue->in_flight && *cursor < queue->size) {
		struct plx_virtq_slot *slot = &queue->slot[(*cursor)++];

		if (!slot->count)
			continue;
		slot->count = 0;
		queue->in_flight--;
		return slot->cookie;
	}
	return NULL;
}
