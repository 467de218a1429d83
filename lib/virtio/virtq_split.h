/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VIRTQ_SPLIT_H
#define PLX_VIRTIO_VIRTQ_SPLIT_H

#include "base/barrier.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "virtio/virtio.h"
#include "virtio/virtio_reg.h"

/*
 * The split virtqueue (virtio 1.4, 2.7), driver's side.
 *
 * Everything that the driver decides by lies in private memory: which descriptors are free, which
 * belong to a chain in flight, what was posted. The ring that the device shares is only written, but
 * for the used ring, whose every value is read once and checked. A device that breaks the rules gets
 * its queue marked broken; the queue is then not touched again until the device is reset.
 *
 * Free descriptors are taken in the order in which they came back. With a device that completes in
 * order, descriptors, available ring and private state are therefore walked in sequence.
 *
 * One thread at a time uses a queue. The functions here are the one body of every path that runs over
 * a split ring; what a caller passes as a constant is gone after inlining.
 */

/* Why a queue is broken. */
enum plx_virtq_fault {
	PLX_VIRTQ_OK,
	PLX_VIRTQ_USED_IDX,    /* used.idx ran ahead of what is in flight, or backward */
	PLX_VIRTQ_ID_RANGE,    /* a used id is not an index of the ring */
	PLX_VIRTQ_ID_UNKNOWN,  /* a used id is no head in flight, or came twice */
	PLX_VIRTQ_LEN,         /* more bytes were written than had been posted */
};

const char *plx_virtq_fault_name(enum plx_virtq_fault fault);

/* A chain in flight, by the index of its first descriptor. */
struct plx_virtq_slot {
	void *cookie;
	uint32_t writable; /* bytes that the device may write */
	uint32_t count;    /* descriptors of the chain; 0 when the slot is not in flight */
};

struct plx_virtq_counters {
	uint64_t kicks;        /* notifications sent */
	uint64_t suppressed;   /* notifications that the device did not want */
	uint64_t forced;       /* notifications sent against its wish, since nothing moved */
};

struct plx_virtq_split {
	/* What every burst touches. */
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;
	struct plx_virtq_slot *slot; /* private, by head */
	uint16_t *next;              /* private: the descriptor behind each in its chain */
	uint16_t *free;              /* private: a ring of free descriptors */
	uint16_t size;
	uint16_t mask;
	uint16_t free_first; /* of @free, running free */
	uint16_t free_count;
	uint16_t avail_idx;  /* next entry of the available ring, running free */
	uint16_t told_idx;   /* avail_idx when the device was last told */
	uint16_t used_idx;   /* next entry of the used ring, running free */
	uint16_t used_seen;  /* the device's used.idx when last read */
	uint16_t in_flight;  /* chains */
	bool event_idx;
	uint8_t fault;       /* enum plx_virtq_fault */
	uint64_t withheld;   /* plx_cycles() when a notification was first suppressed; 0: none is */
	struct plx_virtq_counters counters;

	/* What only control calls touch. */
	struct plx_mem *mem;
	const struct plx_log *log;
	void *memory;
	uint16_t index;
	struct plx_virtio_doorbell doorbell;
	char name[PLX_DEVICE_NAME_LEN + 16];
} __cache_aligned;

/*
 * plx_virtq_split_create() - Build a queue and program it into the device.
 * @index: of the queue
 * @size: entries; 0 takes the device's, but at most @limit
 *
 * Return: 0; -EINVAL when the device does not offer the size; -EPROTO when what it offers is not
 * possible; -ENOMEM.
 */
int plx_virtq_split_create(struct plx_virtio *virtio, uint16_t index, uint16_t size, uint16_t limit,
                           struct plx_virtq_split **queue);

/* Close the doorbell, while the device is still there. */
void plx_virtq_split_disconnect(struct plx_virtq_split *queue);

/*
 * Free a queue that the device has forgotten and that is disconnected. Buffers still in flight are
 * the caller's to fetch first, with plx_virtq_split_reclaim(). NULL is allowed.
 */
void plx_virtq_split_destroy(struct plx_virtq_split *queue);

/*
 * plx_virtq_split_reclaim() - Take back one chain that was in flight when the device was reset.
 * @cursor: 0 for the first call; where the search stands
 *
 * Return: Its cookie; NULL when there is none left.
 */
void *plx_virtq_split_reclaim(struct plx_virtq_split *queue, unsigned *cursor);

/* Mark a queue broken, say so once, and note the reason for plx_error(). */
void plx_virtq_split_break(struct plx_virtq_split *queue, enum plx_virtq_fault fault, uint64_t value);

/* Notify the device, whatever it wishes. */
void plx_virtq_split_ring_doorbell(struct plx_virtq_split *queue);

/* A piece of memory as a device addresses it. */
struct plx_virtq_buffer {
	uint64_t iova;
	uint32_t len;
};

/* The ring's event index fields lie behind its last entry (virtio 1.4, 2.7.6 and 2.7.8). */
static inline struct plx_shared16 *plx_virtq_split_used_event(const struct plx_virtq_split *queue)
{
	return &queue->avail->ring[queue->size];
}

static inline struct plx_shared16 *plx_virtq_split_avail_event(const struct plx_virtq_split *queue)
{
	return (struct plx_shared16 *)(void *)&queue->used->ring[queue->size];
}

static __always_inline_fn uint16_t plx_virtq_split_take(struct plx_virtq_split *queue)
{
	queue->free_count--;
	return queue->free[queue->free_first++ & queue->mask];
}

/*
 * plx_virtq_split_add() - Make one chain available to the device, once it is published.
 * @buffers: what the device reads, then what it writes; no longer needed after the call
 * @readable: buffers of the first kind
 * @writable: buffers of the second kind; together at least 1, at most queue->free_count
 * @cookie: handed back with the chain; not NULL
 */
static __always_inline_fn void plx_virtq_split_add(struct plx_virtq_split *queue,
                                                   const struct plx_virtq_buffer *buffers,
                                                   const unsigned readable, const unsigned writable,
                                                   void *cookie)
{
	const unsigned count = readable + writable;
	uint16_t head = plx_virtq_split_take(queue);
	uint16_t at = head;
	uint32_t room = 0;

	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = i < readable ? 0 : VIRTQ_DESC_F_WRITE;
		uint16_t next = 0;

		if (i >= readable)
			room += buffers[i].len;
		if (i + 1 < count) {
			next = plx_virtq_split_take(queue);
			queue->next[at] = next;
			flags |= VIRTQ_DESC_F_NEXT;
		}
		queue->desc[at] = (struct virtq_desc){
			plx_shared64(buffers[i].iova),
			plx_shared32(buffers[i].len),
			plx_shared16(flags),
			plx_shared16(next),
		};
		if (i + 1 < count)
			at = next;
	}
	queue->slot[head] = (struct plx_virtq_slot){cookie, room, count};
	plx_shared16_write(&queue->avail->ring[queue->avail_idx++ & queue->mask], head);
	queue->in_flight++;
}

/* Let the device see all that was added: its descriptors first, then the index (2.7.13). */
static __always_inline_fn void plx_virtq_split_publish(struct plx_virtq_split *queue)
{
	plx_shared16_write_release(&queue->avail->idx, queue->avail_idx);
}

/*
 * A device that suppresses notifications must come and look by itself. One that does not would hold
 * a queue for ever, so after this many cycles (17 to 100 ms on CPUs of 6 to 1 GHz) without any
 * progress it is notified all the same.
 */
#define PLX_VIRTQ_PATIENCE_CYCLES UINT64_C(100000000)

void plx_virtq_split_nudge(struct plx_virtq_split *queue);

/* Called when a poll found nothing: see that a suppressed notification is not waited on for ever. */
static __always_inline_fn void plx_virtq_split_idle(struct plx_virtq_split *queue)
{
	if (unlikely(queue->withheld) && plx_cycles() - queue->withheld > PLX_VIRTQ_PATIENCE_CYCLES)
		plx_virtq_split_nudge(queue);
}

/*
 * plx_virtq_split_kick() - Tell the device of what was published since the last call, if it wants.
 */
static __always_inline_fn void plx_virtq_split_kick(struct plx_virtq_split *queue)
{
	uint16_t old = queue->told_idx;
	uint16_t now = queue->avail_idx;
	bool wanted;

	if (old == now)
		return;
	queue->told_idx = now;
	/* The index must be visible before the device's wish is read, or both may sleep (2.7.13.4.1). */
	plx_barrier_full();
	if (queue->event_idx) {
		uint16_t event = plx_shared16_read(plx_virtq_split_avail_event(queue));

		wanted = (uint16_t)(now - event - 1) < (uint16_t)(now - old);
	} else {
		wanted = !(plx_shared16_read(&queue->used->flags) & VIRTQ_USED_F_NO_NOTIFY);
	}
	if (wanted) {
		queue->withheld = 0;
		queue->counters.kicks++;
		plx_virtq_split_ring_doorbell(queue);
		return;
	}
	queue->counters.suppressed++;
	if (!queue->withheld)
		queue->withheld = plx_cycles();
	else
		plx_virtq_split_idle(queue);
}

/*
 * plx_virtq_split_ready() - Count the completions that can be taken.
 *
 * Looks at the device's index only when all that was seen before has been taken: the device keeps
 * writing to that cache line.
 *
 * Return: How many; -EIO when the queue is broken.
 */
static __always_inline_fn int plx_virtq_split_ready(struct plx_virtq_split *queue)
{
	uint16_t ready = (uint16_t)(queue->used_seen - queue->used_idx);

	if (ready)
		return ready;
	/* Acquire: the elements are read after the index that announces them (2.7.14). */
	ready = (uint16_t)(plx_shared16_read_acquire(&queue->used->idx) - queue->used_idx);
	if (unlikely(ready > queue->in_flight)) {
		plx_virtq_split_break(queue, PLX_VIRTQ_USED_IDX, ready);
		return -EIO;
	}
	queue->used_seen = (uint16_t)(queue->used_idx + ready);
	return ready;
}

/*
 * plx_virtq_split_pop() - Take one completion of those that plx_virtq_split_ready() counted.
 * @len: receives the bytes that the device says it wrote
 * @check_len: whether more than was posted breaks the queue; a constant
 *
 * Return: What the chain was added with; NULL when the queue is broken.
 */
static __always_inline_fn void *plx_virtq_split_pop(struct plx_virtq_split *queue, uint32_t *len,
                                                    const bool check_len)
{
	const struct virtq_used_elem *elem = &queue->used->ring[queue->used_idx & queue->mask];
	uint32_t id = plx_shared32_read(&elem->id);
	struct plx_virtq_slot *slot;
	unsigned count;

	*len = plx_shared32_read(&elem->len);
	/* All 32 bits are tested before any are dropped. */
	if (unlikely(id >= queue->size)) {
		plx_virtq_split_break(queue, PLX_VIRTQ_ID_RANGE, id);
		return NULL;
	}
	slot = &queue->slot[id];
	count = slot->count;
	if (unlikely(!count)) {
		plx_virtq_split_break(queue, PLX_VIRTQ_ID_UNKNOWN, id);
		return NULL;
	}
	if (check_len && unlikely(*len > slot->writable)) {
		plx_virtq_split_break(queue, PLX_VIRTQ_LEN, *len);
		return NULL;
	}
	slot->count = 0;
	for (uint16_t at = (uint16_t)id;; at = queue->next[at]) {
		queue->free[(uint16_t)(queue->free_first + queue->free_count++) & queue->mask] = at;
		if (likely(!--count))
			break;
	}
	queue->used_idx++;
	queue->in_flight--;
	queue->withheld = 0;
	return slot->cookie;
}

#endif
