/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/virtq_ring.h"

#include "base/bits.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *plx_virtq_fault_name(enum plx_virtq_fault fault)
{
	static const char *const names[] = {
		[PLX_VIRTQ_OK] = "none",
		[PLX_VIRTQ_USED_IDX] = "more was reported used than is in flight",
		[PLX_VIRTQ_ID_RANGE] = "a used id is outside the ring",
		[PLX_VIRTQ_ID_UNKNOWN] = "a used id is not in flight",
		[PLX_VIRTQ_LEN] = "more bytes were written than had been posted",
		[PLX_VIRTQ_ORDER] = "a used id is not in the order that was agreed on",
		[PLX_VIRTQ_FAULT] = "the device reports a fault of its own",
		[PLX_VIRTQ_GONE] = "the device is gone",
	};

	return names[fault];
}

/* The fault is for the thread that uses the queue; others look at the counter. */
static void set_fault(struct plx_virtq *queue, enum plx_virtq_fault fault)
{
	queue->fault = (uint8_t)fault;
	plx_counter_set(&queue->counters.broken, 1);
}

void plx_virtq_break(struct plx_virtq *queue, enum plx_virtq_fault fault, uint64_t value)
{
	if (!queue->fault) {
		set_fault(queue, fault);
		plx_log(queue->log, PLX_LOG_ERROR,
			"%s: the device broke the queue: %s (%llu); it stays broken until the device is "
			"stopped and started",
			queue->name, plx_virtq_fault_name(fault), (unsigned long long)value);
	}
	(void)plx_virtq_fail(queue);
}

int plx_virtq_fail(const struct plx_virtq *queue)
{
	const char *name = plx_virtq_fault_name((enum plx_virtq_fault)queue->fault);

	if (queue->fault == PLX_VIRTQ_GONE)
		return plx_fail(ENODEV,
			"%s: %s: stop it, then start it once it is back or close it", queue->name,
			name);
	if (queue->fault == PLX_VIRTQ_FAULT)
		return plx_fail(EIO, "%s: %s: stop and start the device", queue->name, name);
	return plx_fail(EIO, "%s: the device broke the queue: %s: stop and start the device",
		queue->name, name);
}

/* Of those that the driver has taken back. */
static uint16_t descriptors_completed(const struct plx_virtq *queue)
{
	if (!queue->is_packed)
		return queue->split.used_idx;
	return (uint16_t)(queue->packed.avail_count - (queue->size - queue->free_count));
}

/*
 * There is no deadline after which a device may be asked to give a buffer back, so a stall is told
 * and no more. Who takes back late is no stall: what the device has finished is looked for.
 */
static void watch_stall(struct plx_virtq *queue)
{
	struct plx_virtq_stall *stall = &queue->stall;
	uint16_t completed = descriptors_completed(queue);
	uint64_t now = plx_now();

	if (!queue->in_flight || plx_virtq_ready(queue, queue->is_packed)) {
		stall->since = 0;
		return;
	}
	if (!stall->since || stall->completed != completed) {
		*stall = (struct plx_virtq_stall){stall->patience, now, completed, false};
		return;
	}
	if (stall->told || now - stall->since < stall->patience)
		return;
	stall->told = true;
	plx_counter_add(&queue->counters.stalled, 1);
	plx_log(queue->log, PLX_LOG_WARNING,
		"%s: the device has finished nothing for %llu ms (in flight: %u): see its host's "
		"log; a stop takes all back",
		queue->name, (unsigned long long)((now - stall->since) / PLX_MILLISECONDS(1)),
		queue->in_flight);
}

void plx_virtq_look(struct plx_virtq *queue)
{
	const struct plx_virtio_transport *transport = queue->virtio->transport;
	uint64_t now = plx_cycles();
	int err;

	if (!transport->check || queue->fault || now - queue->looked < PLX_VIRTQ_LOOK_CYCLES)
		return;
	queue->looked = now;
	err = transport->check(queue->virtio);
	if (!err) {
		if (queue->stall.patience)
			watch_stall(queue);
		return;
	}
	set_fault(queue, err == -ENODEV ? PLX_VIRTQ_GONE : PLX_VIRTQ_FAULT);
	plx_log(queue->log, PLX_LOG_ERROR, "%s: %s; nothing moves until it is stopped and started",
		queue->name, plx_virtq_fault_name((enum plx_virtq_fault)queue->fault));
}

/*
 * How far the queue was filled (2.9): the next entry of the available ring, or the next place with
 * its round in the highest bit.
 */
static uint16_t filled_to(const struct plx_virtq *queue)
{
	bool first_round = queue->packed.avail_flags & VIRTQ_PACKED_DESC_F_AVAIL;

	if (!queue->is_packed)
		return queue->split.avail_idx;
	return (uint16_t)(queue->packed.avail_at | first_round << 15);
}

void plx_virtq_ring_doorbell(struct plx_virtq *queue)
{
	const struct plx_virtio_transport *transport = queue->virtio->transport;

	if (transport->notify) {
		transport->notify(queue->virtio, queue->index);
		return;
	}
	/*
	 * A register write comes after all earlier writes to memory: the device finds what it is
	 * told of.
	 */
	if (queue->doorbell.data)
		plx_mmio_write32(&queue->doorbell.window, 0,
			(uint32_t)filled_to(queue) << 16 | queue->doorbell.value);
	else
		plx_mmio_write16(&queue->doorbell.window, 0, queue->doorbell.value);
}

void plx_virtq_nudge(struct plx_virtq *queue)
{
	queue->owed = false;
	queue->withheld = 0;
	plx_counter_add(&queue->counters.forced, 1);
	plx_virtq_ring_doorbell(queue);
}

static void arm_packed(struct plx_virtq *queue)
{
	struct plx_virtq_packed *ring = &queue->packed;
	uint16_t wrap = ring->used_flags ? VIRTQ_PACKED_EVENT_WRAP : 0;

	if (!queue->event_idx) {
		plx_shared16_write(&ring->driver_event->flags, VIRTQ_PACKED_EVENT_ENABLE);
		return;
	}
	plx_shared16_write(&ring->driver_event->off_wrap, ring->used_at | wrap);
	/* The place is visible before the flags that make it valid (2.8.10). */
	plx_shared16_write_release(&ring->driver_event->flags, VIRTQ_PACKED_EVENT_DESC);
}

bool plx_virtq_arm(struct plx_virtq *queue)
{
	if (queue->fault)
		return true;
	if (queue->is_packed)
		arm_packed(queue);
	else if (queue->event_idx)
		plx_shared16_write(plx_virtq_split_used_event(queue), queue->split.used_idx);
	else
		plx_shared16_write(&queue->split.avail->flags, 0);
	/* The wish is visible before the ring is looked at, or both may sleep. */
	plx_barrier_full();
	return plx_virtq_ready(queue, queue->is_packed) || queue->fault;
}

/* The event that nobody waits for lies half of all indices away. */
void plx_virtq_disarm(struct plx_virtq *queue)
{
	if (queue->is_packed)
		plx_shared16_write(&queue->packed.driver_event->flags, VIRTQ_PACKED_EVENT_DISABLE);
	else if (queue->event_idx)
		plx_shared16_write(plx_virtq_split_used_event(queue),
			(uint16_t)(queue->split.used_idx + 0x8000));
	else
		plx_shared16_write(&queue->split.avail->flags, VIRTQ_AVAIL_F_NO_INTERRUPT);
}

/*
 * A queue has three parts: descriptors, what else the driver writes, what else the device writes.
 * Each lies on pairs of cache lines of its own: a CPU that misses one line fetches its neighbour as
 * well, and would take it from the other side. The legacy interface fixes where they lie (virtio
 * 1.4, 2.7.2).
 */
struct layout {
	size_t driver;
	size_t device;
	size_t size;
	size_t align; /* of the whole */
};

static struct layout lay_out(const struct plx_virtio *virtio, size_t entries, bool packed)
{
	size_t desc_size = entries * sizeof(struct virtq_desc);
	size_t driver_size =
		sizeof(struct virtq_avail) + (entries + 1) * sizeof(struct plx_shared16);
	size_t device_size = sizeof(struct virtq_used) + entries * sizeof(struct virtq_used_elem) +
			     sizeof(struct plx_shared16);
	struct layout layout = {.align = 2 * PLX_CACHE_LINE};

	if (packed)
		driver_size = device_size = sizeof(struct virtq_packed_event);
	layout.driver = plx_align_up(desc_size, layout.align);
	if (virtio->transport->legacy) {
		layout.align = VIRTIO_PCI_LEGACY_QUEUE_ALIGN;
		layout.driver = desc_size;
	}
	layout.device = plx_align_up(layout.driver + driver_size, layout.align);
	/*
	 * Used elements of eight bytes follow a head of four. Put so, none of them lies in two
	 * cache lines, or in two pages, where QEMU behind an IOMMU of 4 KiB pages loses the second
	 * half.
	 */
	if (!packed && !virtio->transport->legacy)
		layout.device += sizeof(struct virtq_used);
	layout.size = plx_align_up(layout.device + device_size, layout.align);
	return layout;
}

static bool is_valid_size(uint16_t size, bool packed)
{
	return size && size <= VIRTQ_SIZE_MAX && (packed || plx_is_power_of_two(size));
}

static int refuse_size(
	const struct plx_virtio *virtio, uint16_t index, uint16_t wanted, uint16_t max)
{
	const char *choice = plx_virtio_has(virtio, VIRTIO_F_RING_PACKED)
				     ? "give any number up to"
				     : "give a power of two up to";

	if (virtio->transport->legacy)
		choice = "through the legacy interface it must be";
	return plx_fail(EINVAL, "%s: a ring of %u entries is not offered for queue %u: %s %u",
		virtio->name, wanted, index, choice, max);
}

/*
 * The size is read once and checked: a later, larger answer changes nothing (2.7 and 2.8.10.1).
 */
static int choose_size(
	struct plx_virtio *virtio, uint16_t index, uint16_t wanted, uint16_t limit, uint16_t *size)
{
	bool packed = plx_virtio_has(virtio, VIRTIO_F_RING_PACKED);
	uint16_t max = virtio->transport->queue_max(virtio, index);

	if (max == UINT16_MAX)
		return plx_virtio_gone(virtio);
	if (!max)
		return plx_fail(EPROTO, "%s: the device has no queue %u", virtio->name, index);
	if (!is_valid_size(max, packed))
		return plx_fail(EPROTO,
			"%s: the device offers %u entries for queue %u, which is no size of a ring",
			virtio->name, max, index);
	if (wanted && (wanted > max || !is_valid_size(wanted, packed)))
		return refuse_size(virtio, index, wanted, max);
	*size = wanted ? wanted : MIN(max, limit);
	if (virtio->transport->legacy && *size != max) {
		if (wanted)
			return refuse_size(virtio, index, wanted, max);
		*size = max;
	}
	return 0;
}

/* The ring of free ids is walked with a mask, so it may be longer than the queue. */
static uint16_t free_ring_size(uint16_t size)
{
	uint16_t power = 1;

	while (power < size)
		power = (uint16_t)(power * 2);
	return power;
}

/* One block for the queue and its private state: cookies, chains, free ids, links. */
static struct plx_virtq *allocate(uint16_t size, bool packed)
{
	size_t head = plx_align_up(sizeof(struct plx_virtq), PLX_CACHE_LINE);
	size_t cookies = plx_align_up(size * sizeof(void *), PLX_CACHE_LINE);
	size_t chains = plx_align_up(size * sizeof(struct plx_virtq_chain), PLX_CACHE_LINE);
	size_t links = plx_align_up(free_ring_size(size) * sizeof(uint16_t), PLX_CACHE_LINE);
	size_t total = head + cookies + chains + 2 * links;
	struct plx_virtq *queue = aligned_alloc(PLX_CACHE_LINE, total);

	if (!queue)
		return NULL;
	memset(queue, 0, total);
	queue->cookie = (void *)((char *)queue + head);
	queue->chain = (void *)((char *)queue->cookie + cookies);
	queue->free = (void *)((char *)queue->chain + chains);
	queue->free_mask = (uint16_t)(free_ring_size(size) - 1);
	queue->free_count = size;
	queue->size = size;
	queue->ordered = true;
	queue->is_packed = packed;
	if (!packed)
		queue->split.next = (void *)((char *)queue->free + links);
	plx_virtq_set_room(queue, 0);
	return queue;
}

void plx_virtq_set_room(struct plx_virtq *queue, uint32_t room)
{
	queue->room = room;
	for (unsigned i = 0; i < queue->size; i++)
		queue->chain[i] = (struct plx_virtq_chain){room, 1};
}

/* Without event index the wish is a flag, with it the index that is waited for (2.7.7). */
static void start_split(struct plx_virtq *queue, const struct layout *layout)
{
	queue->split.desc = queue->memory;
	queue->split.avail = (void *)((char *)queue->memory + layout->driver);
	queue->split.used = (void *)((char *)queue->memory + layout->device);
	plx_virtq_disarm(queue);
}

/* Both wrap bits start as 1 (2.8.1). */
static void start_packed(struct plx_virtq *queue, const struct layout *layout)
{
	queue->packed.desc = queue->memory;
	queue->packed.driver_event = (void *)((char *)queue->memory + layout->driver);
	queue->packed.device_event = (void *)((char *)queue->memory + layout->device);
	queue->packed.avail_flags = VIRTQ_PACKED_DESC_F_AVAIL;
	queue->packed.used_flags = PLX_VIRTQ_PACKED_BOTH;
	plx_virtq_disarm(queue);
}

int plx_virtq_create(struct plx_virtio *virtio, uint16_t index, uint16_t wanted, uint16_t limit,
	struct plx_virtq **out)
{
	bool packed = plx_virtio_has(virtio, VIRTIO_F_RING_PACKED);
	struct plx_virtio_queue program;
	struct plx_virtq *queue;
	struct layout layout;
	uint16_t size;
	int err;

	err = choose_size(virtio, index, wanted, limit, &size);
	if (err)
		return err;
	queue = allocate(size, packed);
	if (!queue)
		return plx_fail(ENOMEM, "%s: out of memory for queue %u", virtio->name, index);
	queue->virtio = virtio;
	queue->mem = virtio->mem;
	queue->log = virtio->log;
	queue->index = index;
	queue->event_idx = plx_virtio_has(virtio, VIRTIO_F_EVENT_IDX);
	queue->in_order = plx_virtio_has(virtio, VIRTIO_F_IN_ORDER);
	(void)snprintf(queue->name, sizeof(queue->name), "%s queue %u", virtio->name, index);
	layout = lay_out(virtio, size, packed);
	err = plx_mem_alloc(
		virtio->mem, layout.size, layout.align, virtio->numa_node, 0, &queue->memory);
	if (err)
		goto free_queue;
	if (packed)
		start_packed(queue, &layout);
	else
		start_split(queue, &layout);
	program = (struct plx_virtio_queue){
		.index = index,
		.size = size,
		.descriptor_area = plx_mem_iova(virtio->mem, queue->memory),
	};
	program.driver_area = program.descriptor_area + layout.driver;
	program.device_area = program.descriptor_area + layout.device;
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

void plx_virtq_create_tables(struct plx_virtq *queue, uint16_t entries)
{
	size_t size = sizeof(struct virtq_desc) * entries * queue->size;

	if (!plx_virtio_has(queue->virtio, VIRTIO_F_INDIRECT_DESC))
		return;
	if (plx_mem_alloc(queue->mem, size, PLX_CACHE_LINE, queue->virtio->numa_node,
		    PLX_MEM_READ_ONLY, &queue->tables)) {
		plx_log(queue->log, PLX_LOG_DEBUG, "%s: no indirect tables: %s", queue->name,
			plx_error());
		return;
	}
	queue->tables_iova = plx_mem_iova(queue->mem, queue->tables);
	queue->table_entries = entries;
}

void plx_virtq_disconnect(struct plx_virtq *queue)
{
	plx_mmio_close(&queue->doorbell.window);
}

void plx_virtq_destroy(struct plx_virtq *queue)
{
	if (!queue)
		return;
	plx_mem_free(queue->mem, queue->tables);
	plx_mem_free(queue->mem, queue->memory);
	free(queue);
}

/* How many descriptors of an ordered queue lie between the oldest in flight and the next free. */
static uint16_t span(const struct plx_virtq *queue)
{
	return (uint16_t)(queue->size - queue->free_count);
}

/*
 * Chains in flight keep their ids, those of split rings their links too; whatever is not in flight
 * goes to the list.
 */
void plx_virtq_disorder(struct plx_virtq *queue)
{
	unsigned start = queue->is_packed ? queue->packed.used_at : queue->first;
	unsigned used = span(queue), at = 0;

	queue->ordered = false;
	queue->free_first = queue->free_ids = 0;
	while (at < used) {
		unsigned id = (start + at) % queue->size, count = queue->chain[id].count;

		for (unsigned i = 1; i < count; i++) {
			unsigned other = (start + at + i) % queue->size;

			if (queue->is_packed)
				plx_virtq_return_id(queue, (uint16_t)other);
			queue->chain[other].count = 0;
		}
		at += count;
	}
	for (; at < queue->size; at++) {
		unsigned id = (start + at) % queue->size;

		plx_virtq_return_id(queue, (uint16_t)id);
		queue->chain[id].count = 0;
	}
}

bool plx_virtq_begin_batch(
	struct plx_virtq *queue, uint32_t id, uint32_t len, uint16_t turn, uint16_t limit)
{
	unsigned at = turn, chains = 1;

	if (device_lies(id >= queue->size)) {
		plx_virtq_break(queue, PLX_VIRTQ_ID_RANGE, id);
		return false;
	}
	if (likely(!queue->odd)) {
		chains += id >= at ? id - at : id + queue->size - at;
	} else {
		for (; at != id && chains <= limit; chains++) {
			at += queue->chain[at].count;
			at -= at >= queue->size ? queue->size : 0;
		}
	}
	if (device_lies(chains > limit)) {
		plx_virtq_break(queue, PLX_VIRTQ_ORDER, id);
		return false;
	}
	queue->batch = (uint16_t)chains;
	queue->batch_len = len;
	return true;
}

void *plx_virtq_reclaim(struct plx_virtq *queue, unsigned *cursor)
{
	if (queue->ordered)
		plx_virtq_disorder(queue);
	while (queue->in_flight && *cursor < queue->size) {
		unsigned id = (*cursor)++;

		if (!queue->chain[id].count)
			continue;
		queue->chain[id].count = 0;
		queue->in_flight--;
		return queue->cookie[id];
	}
	return NULL;
}
