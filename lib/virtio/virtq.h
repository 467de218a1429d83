/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VIRTQ_H
#define PLX_VIRTIO_VIRTQ_H

#include "base/barrier.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/counter.h"
#include "virtio/virtio.h"
#include "virtio/virtio_reg.h"

#include <string.h>

/*
 * A virtqueue, driver's side (virtio 1.4, 2.6): what is common to both layouts.
 *
 * Everything that the driver decides by lies in private memory: which descriptors are free, which
 * belong to a chain in flight, what was posted. The ring that the device shares is written, and
 * read only where the device reports what it used; each such value is read once and checked. A
 * device that breaks the rules gets its queue marked broken; the queue is then not touched again
 * until the device is reset.
 *
 * A queue starts out ordered: ids are taken in turn, and as long as the device returns buffers in
 * the order in which it got them, which most do, the id that comes next is known. Runs of such
 * completions, of one descriptor each, are taken and posted many at a time. The first completion
 * that comes out of turn ends that until the next reset, and free ids are kept in a list from then
 * on.
 *
 * A device that has promised order (F_IN_ORDER) may name only the last of several buffers (2.7.9,
 * 2.8.9). Such a batch is noted when its end is read, and its buffers are taken one by one or in
 * runs as those of any other device; those that were not named count as written to their last byte.
 * An id that is not of the next batch, or of one that reaches beyond what is in flight, breaks the
 * queue. A split ring of such a device that is only sent through is taken by its index alone.
 *
 * One thread at a time uses a queue. Its operations are the inline functions of virtq_split.h and
 * virtq_packed.h, and those of virtq_ring.h that stand for either by a constant.
 */

/* Why a queue is broken. */
enum plx_virtq_fault {
	PLX_VIRTQ_OK,
	PLX_VIRTQ_USED_IDX,   /* more was reported used than is in flight */
	PLX_VIRTQ_ID_RANGE,   /* a used id is not an index of the ring */
	PLX_VIRTQ_ID_UNKNOWN, /* a used id is no head in flight, or came twice */
	PLX_VIRTQ_LEN,        /* more bytes were written than had been posted */
	PLX_VIRTQ_ORDER,      /* a used id is not in the order that was agreed on */
	PLX_VIRTQ_FAULT,      /* the device reports a fault of its own */
	PLX_VIRTQ_GONE,       /* there is no device any more */
};

const char *plx_virtq_fault_name(enum plx_virtq_fault fault);

/*
 * What a chain takes of the ring, by its id: in a split ring the index of its first descriptor.
 * While the queue is ordered, all entries but those of odd chains in flight are those of a buffer
 * that is posted in a run: see plx_virtq_set_room().
 */
struct plx_virtq_chain {
	uint32_t writable; /* bytes that the device may write */
	uint32_t count;    /* descriptors; 0 when not in flight */
};

struct plx_virtq_counters {
	uint64_t kicks;      /* notifications sent */
	uint64_t suppressed; /* notifications that the device did not want */
	uint64_t forced;     /* notifications sent against its wish, since nothing moved */
	uint64_t broken;     /* 1 when the queue is */
	uint64_t stalled;    /* times that nothing was finished for the patience of a stall */
};

/* A device that takes what it is given and finishes none of it. */
struct plx_virtq_stall {
	uint64_t patience;  /* nanoseconds; 0: nobody waits for what is in flight */
	uint64_t since;     /* plx_now(), or 0: something was finished, or nothing was in flight */
	uint16_t completed; /* descriptors ever completed, running free, at @since */
	bool told;
};

/* A split ring (2.7). Indices run free, modulo 2^16. */
struct plx_virtq_split {
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;
	uint16_t *next;     /* private: the descriptor behind each in its chain */
	uint16_t avail_idx; /* next entry of the available ring */
	uint16_t used_idx;  /* next entry of the used ring */
	uint16_t used_seen; /* the device's index when last read */
};

/*
 * A packed ring (2.8). Places run from 0 to the queue's size, and a wrap bit flips on each round.
 */
struct plx_virtq_packed {
	struct virtq_packed_desc *desc;
	struct virtq_packed_event *driver_event;
	struct virtq_packed_event *device_event;
	uint16_t avail_at; /* next place to make available */
	uint16_t used_at;  /* next place to find used */
	uint16_t
		avail_flags; /* AVAIL and USED as they mark an available descriptor on this round */
	uint16_t used_flags; /* AVAIL and USED as they mark a used one */
	uint16_t pending_at; /* head of what was added and is not published */
	uint16_t pending_flags; /* its flags, held back until then; 0 when there is none */
	uint16_t avail_count;   /* descriptors ever made available, running free */
};

struct plx_virtq {
	/* What every burst touches. */
	union {
		struct plx_virtq_split split;
		struct plx_virtq_packed packed;
	};
	void **cookie;                 /* private, by id */
	struct plx_virtq_chain *chain; /* private, by id */
	bool ordered;                  /* no completion came out of turn since the reset */
	bool in_order;                 /* none may: F_IN_ORDER */
	uint16_t batch;      /* in order: chains of the batch at hand that were not taken yet */
	uint32_t batch_len;  /* bytes that the device wrote into the last of them */
	uint16_t first;      /* ordered, split: the oldest descriptor in flight, running free */
	uint16_t odd;        /* ordered: chains in flight that are not of a run */
	uint32_t room;       /* bytes that the device may write into what is posted in runs */
	uint16_t *free;      /* private: a ring of free ids, when the queue is not ordered */
	uint16_t free_mask;  /* of @free */
	uint16_t free_first; /* of @free, running free */
	uint16_t free_ids;   /* in @free */
	uint16_t free_count; /* descriptors that are free */
	uint16_t size;
	uint16_t told; /* split.avail_idx or packed.avail_count when the device was last told */
	uint16_t in_flight; /* chains */
	bool event_idx;
	bool owed;         /* the last notification was suppressed */
	uint8_t fault;     /* enum plx_virtq_fault */
	uint16_t polls;    /* that found nothing, running free */
	uint64_t withheld; /* plx_cycles() since when nothing moved behind one; 0: not measured */
	struct plx_virtq_counters counters;

	/* Indirect tables, one of @table_entries for each id; NULL when there are none. */
	void *tables;
	uint64_t tables_iova;
	uint16_t table_entries;

	/* What only control calls touch, and a queue on which nothing moves. */
	uint64_t looked; /* plx_cycles() when it was last seen whether there is a device */
	struct plx_virtq_stall stall;
	struct plx_virtio *virtio;
	struct plx_mem *mem;
	const struct plx_log *log;
	void *memory;
	uint16_t index;
	bool is_packed;
	struct plx_virtio_doorbell doorbell;
	char name[PLX_DEVICE_NAME_LEN + 16];
} __cache_aligned;

/*
 * plx_virtq_create() - Build a queue in the layout that was negotiated and program it into the
 * device.
 * @index: of the queue
 * @size: entries; 0 takes the device's, but at most @limit
 *
 * Return: 0; -EINVAL when the device does not offer the size; -EPROTO when what it offers is not
 * possible; -ENOMEM.
 */
int plx_virtq_create(struct plx_virtio *virtio, uint16_t index, uint16_t size, uint16_t limit,
	struct plx_virtq **queue);

/*
 * plx_virtq_create_tables() - Give a queue an indirect table for each id, which chains of up to
 * @entries buffers may go through, if the device takes such (2.7.5.3, 2.8.8) and there is memory
 * for them. Without tables such chains take more of the ring.
 */
void plx_virtq_create_tables(struct plx_virtq *queue, uint16_t entries);

/* Close the doorbell, while the device is still there. */
void plx_virtq_disconnect(struct plx_virtq *queue);

/*
 * Free a queue that the device has forgotten and that is disconnected. Buffers still in flight are
 * the caller's to fetch first, with plx_virtq_reclaim(). NULL is allowed.
 */
void plx_virtq_destroy(struct plx_virtq *queue);

/*
 * plx_virtq_reclaim() - Take back one chain that was in flight when the device was reset.
 * @cursor: 0 for the first call; where the search stands
 *
 * Return: Its cookie; NULL when there is none left.
 */
void *plx_virtq_reclaim(struct plx_virtq *queue, unsigned *cursor);

/*
 * plx_virtq_set_room() - Say how many bytes the device may write into each buffer that is posted in
 * runs. Of a queue with nothing in flight.
 */
void plx_virtq_set_room(struct plx_virtq *queue, uint32_t room);

/*
 * plx_virtq_begin_batch() - Note the batch that a used id ends.
 * @id: all 32 bits of it
 * @len: bytes that were written into the last buffer
 * @turn: the id of the oldest chain in flight
 * @limit: chains that can be in the batch
 *
 * Return: Whether there is such a batch; otherwise the queue is broken.
 */
bool plx_virtq_begin_batch(
	struct plx_virtq *queue, uint32_t id, uint32_t len, uint16_t turn, uint16_t limit);

/* A completion came out of turn: from here on ids are kept in a list. */
void plx_virtq_disorder(struct plx_virtq *queue);

/* Mark a queue broken, say so once, and note the reason for plx_error(). */
void plx_virtq_break(struct plx_virtq *queue, enum plx_virtq_fault fault, uint64_t value);

/* What a burst on a queue with a fault ends with. Return: -ENODEV when its device is gone; -EIO. */
int plx_virtq_fail(const struct plx_virtq *queue);

/* Notify the device, whatever it wishes. */
void plx_virtq_ring_doorbell(struct plx_virtq *queue);

/* Notify it because nothing has moved for too long. */
void plx_virtq_nudge(struct plx_virtq *queue);

/* See whether the device is still there and finishes something, and mark the queue if not. */
void plx_virtq_look(struct plx_virtq *queue);

/*
 * plx_virtq_arm() - Ask to be notified of the next completion, and look once more.
 *
 * For a queue whose thread is about to sleep. Asking comes first and the look after a full barrier:
 * a completion that the device published before it could see the wish is found by the look, and one
 * published later is notified of (2.7.14.1 and 2.8.22.1). With the event index or the descriptor
 * event it is notified of once, otherwise until plx_virtq_disarm().
 *
 * Return: whether there is something to take already, if only a fault, so that sleep is not due.
 */
bool plx_virtq_arm(struct plx_virtq *queue);

/* Go back to asking for no notifications, which is how a queue starts out. */
void plx_virtq_disarm(struct plx_virtq *queue);

/* A piece of memory as a device addresses it. */
struct plx_virtq_buffer {
	uint64_t iova;
	uint32_t len;
};

/* Take the id that is next, which is @turn while the queue is ordered. */
static __always_inline_fn uint16_t plx_virtq_take_id(struct plx_virtq *queue, uint16_t turn)
{
	if (likely(queue->ordered))
		return turn;
	queue->free_ids--;
	return queue->free[queue->free_first++ & queue->free_mask];
}

static __always_inline_fn void plx_virtq_return_id(struct plx_virtq *queue, uint16_t id)
{
	queue->free[(uint16_t)(queue->free_first + queue->free_ids++) & queue->free_mask] = id;
}

/* Whether so many buffers may go through a table, and take one descriptor of the ring. */
static __always_inline_fn bool plx_virtq_takes_table(const struct plx_virtq *queue, unsigned count)
{
	return queue->tables && count <= queue->table_entries;
}

/* The id that plx_virtq_take_id() takes next. */
static __always_inline_fn uint16_t plx_virtq_next_id(const struct plx_virtq *queue, uint16_t turn)
{
	return queue->ordered ? turn : queue->free[queue->free_first & queue->free_mask];
}

/*
 * A device that suppresses notifications must come and look by itself. One that does not would hold
 * a queue for ever, so after this many cycles (17 to 100 ms on CPUs of 6 to 1 GHz) without any
 * progress it is notified all the same.
 */
#define PLX_VIRTQ_PATIENCE_CYCLES UINT64_C(100000000)

/*
 * A queue on which nothing moves asks whether there is still a device. That costs a register or a
 * system call, so it is done once in so many cycles at most (2 to 10 ms); and the clock is read
 * once in so many polls that found nothing.
 */
#define PLX_VIRTQ_LOOK_CYCLES UINT64_C(10000000)
#define PLX_VIRTQ_LOOK_POLLS  1024

/*
 * Called when a poll found nothing: see that a suppressed notification is not waited on for ever,
 * and now and then that there is a device. Progress only begins the wait anew, since what
 * moved may be what the device was told of before.
 */
static __always_inline_fn void plx_virtq_idle(struct plx_virtq *queue)
{
	if (unlikely(!(++queue->polls % PLX_VIRTQ_LOOK_POLLS)))
		plx_virtq_look(queue);
	if (likely(!queue->owed || !queue->in_flight))
		return;
	if (!queue->withheld)
		queue->withheld = plx_cycles();
	else if (plx_cycles() - queue->withheld > PLX_VIRTQ_PATIENCE_CYCLES)
		plx_virtq_nudge(queue);
}

/* As many chains at once fill a ring soon if the device does not look, and that is noticed. */
#define PLX_VIRTQ_MANY 8

/* What follows from the device's wish, after @published chains. */
static __always_inline_fn void plx_virtq_notify(
	struct plx_virtq *queue, bool wanted, uint16_t published)
{
	if (wanted) {
		queue->owed = false;
		queue->withheld = 0;
		plx_counter_add(&queue->counters.kicks, 1);
		plx_virtq_ring_doorbell(queue);
		return;
	}
	plx_counter_add(&queue->counters.suppressed, 1);
	queue->owed = true;
	/*
	 * Who sends little and often may never see a full ring, and has the time to ask the clock.
	 */
	if (published < PLX_VIRTQ_MANY)
		plx_virtq_idle(queue);
}

/* Whether an index that an event waits for lies in what was published since @old (2.7.10). */
static __always_inline_fn bool plx_virtq_crossed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/*
 * plx_virtq_claim() - Check a used id and length, and end the flight of their chain.
 * @id: all 32 bits of it, which are tested before any are dropped
 * @turn: the id whose turn it is while the queue is ordered
 * @check_len: whether more than was posted breaks the queue; a constant
 *
 * Return: The chain; NULL when the queue is broken.
 */
static __always_inline_fn struct plx_virtq_chain *plx_virtq_claim(
	struct plx_virtq *queue, uint32_t id, uint16_t turn, uint32_t len, const bool check_len)
{
	struct plx_virtq_chain *chain;

	if (device_lies(id >= queue->size)) {
		plx_virtq_break(queue, PLX_VIRTQ_ID_RANGE, id);
		return NULL;
	}
	if (unlikely(queue->ordered && id != turn))
		plx_virtq_disorder(queue);
	chain = &queue->chain[id];
	if (device_lies(!chain->count)) {
		plx_virtq_break(queue, PLX_VIRTQ_ID_UNKNOWN, id);
		return NULL;
	}
	if (check_len && device_lies(len > chain->writable)) {
		plx_virtq_break(queue, PLX_VIRTQ_LEN, len);
		return NULL;
	}
	queue->in_flight--;
	queue->withheld = 0;
	return chain;
}

/*
 * plx_virtq_claim_next() - End the flight of the next chain of the batch at hand.
 * @turn: its id
 * @len: receives the bytes that the device wrote into it
 * @check_len: as plx_virtq_claim()
 *
 * Return: The chain; NULL when the queue is broken.
 */
static __always_inline_fn struct plx_virtq_chain *plx_virtq_claim_next(
	struct plx_virtq *queue, uint16_t turn, uint32_t *len, const bool check_len)
{
	struct plx_virtq_chain *chain = &queue->chain[turn];

	*len = --queue->batch ? chain->writable : queue->batch_len;
	if (check_len && device_lies(*len > chain->writable)) {
		plx_virtq_break(queue, PLX_VIRTQ_LEN, *len);
		return NULL;
	}
	queue->in_flight--;
	queue->withheld = 0;
	return chain;
}

/* Copies of so few bytes take longer to be called, or begun by the CPU, than to be done. */
static __always_inline_fn void plx_virtq_copy(void **to, void *const *from, unsigned count)
{
	for (; count >= 4; count -= 4, to += 4, from += 4)
		memcpy(to, from, 4 * sizeof(*to));
	for (; count; count--)
		*to++ = *from++;
}

/*
 * plx_virtq_take_batch() - Take what lies in one piece of the batch at hand, of a queue without odd
 * chains in flight.
 * @turn: the id that comes next
 * @cookies: receives what they were posted with
 * @len: receives the bytes that were written into each; only with @check_len
 * @count: how many at most
 * @odd: receives whether the batch is for pop
 *
 * Return: How many; the caller advances the ring by them.
 */
static __always_inline_fn unsigned plx_virtq_take_batch(struct plx_virtq *queue, uint16_t turn,
	void **cookies, uint32_t *len, unsigned count, const bool check_len, bool *odd)
{
	unsigned n = MIN(MIN(count, (unsigned)queue->batch), (unsigned)(queue->size - turn));

	if (check_len && device_lies(queue->batch_len > queue->room)) {
		*odd = true;
		return 0;
	}
	plx_virtq_copy(cookies, &queue->cookie[turn], n);
	for (unsigned i = 0; check_len && i < n; i++)
		len[i] = queue->room;
	queue->batch = (uint16_t)(queue->batch - n);
	if (check_len && !queue->batch)
		len[n - 1] = queue->batch_len;
	return n;
}

/* What is known of a queue's private state after @count buffers of runs were taken. */
static __always_inline_fn void plx_virtq_end_flight(struct plx_virtq *queue, unsigned count)
{
	queue->free_count = (uint16_t)(queue->free_count + count);
	queue->in_flight = (uint16_t)(queue->in_flight - count);
	queue->withheld = 0;
}

/* Whether a chain is other than what is posted in runs. */
static __always_inline_fn bool plx_virtq_is_odd(
	const struct plx_virtq *queue, const struct plx_virtq_chain *chain)
{
	return chain->count != 1 || chain->writable != queue->room;
}

/* Note what a chain that is added takes. */
static __always_inline_fn void plx_virtq_begin_chain(
	struct plx_virtq *queue, uint16_t id, uint32_t writable, uint32_t count)
{
	queue->chain[id] = (struct plx_virtq_chain){writable, count};
	queue->odd = (uint16_t)(queue->odd + plx_virtq_is_odd(queue, &queue->chain[id]));
}

/* The chain of an ordered queue is not in flight any more. Return: its descriptors. */
static __always_inline_fn uint16_t plx_virtq_end_chain(
	struct plx_virtq *queue, struct plx_virtq_chain *chain)
{
	uint16_t count = (uint16_t)chain->count;

	queue->odd = (uint16_t)(queue->odd - plx_virtq_is_odd(queue, chain));
	*chain = (struct plx_virtq_chain){queue->room, 1};
	return count;
}

#endif
