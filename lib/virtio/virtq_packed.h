/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VIRTQ_PACKED_H
#define PLX_VIRTIO_VIRTQ_PACKED_H

#include "virtio/virtq.h"

#include <assert.h>
#include <string.h>

/*
 * The operations of a packed ring (virtio 1.4, 2.8): one ring of descriptors that the driver makes
 * available and the device overwrites when it has used them.
 *
 * The device looks at descriptors in the order of the ring. So one that it must not see yet is
 * enough to hide all behind it: the flags of the first descriptor added since the last publication
 * are kept back, and a whole batch is published by one store.
 */

#define PLX_VIRTQ_PACKED_BOTH (VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED)

/*
 * plx_virtq_packed_add() - Make one chain available to the device, once it is published.
 *
 * As plx_virtq_split_add().
 */
static __always_inline_fn void plx_virtq_packed_add(struct plx_virtq *queue,
	const struct plx_virtq_buffer *buffers, const unsigned readable, const unsigned writable,
	void *cookie, const uint16_t more)
{
	struct plx_virtq_packed *ring = &queue->packed;
	const unsigned count = readable + writable;
	uint16_t id = plx_virtq_take_id(queue, ring->avail_at);
	uint32_t room = 0;

	for (unsigned i = 0; i < count; i++) {
		struct virtq_packed_desc *desc = &ring->desc[ring->avail_at];
		uint16_t flags = ring->avail_flags | more;

		if (i >= readable) {
			flags |= VIRTQ_DESC_F_WRITE;
			room += buffers[i].len;
		}
		if (i + 1 < count)
			flags |= VIRTQ_DESC_F_NEXT;
		plx_shared64_write(&desc->addr, buffers[i].iova);
		plx_shared32_write(&desc->len, buffers[i].len);
		plx_shared16_write(&desc->id, id);
		if (!i && !ring->pending_flags) {
			ring->pending_at = ring->avail_at;
			ring->pending_flags = flags;
		} else {
			plx_shared16_write(&desc->flags, flags);
		}
		if (unlikely(++ring->avail_at == queue->size)) {
			ring->avail_at = 0;
			ring->avail_flags ^= PLX_VIRTQ_PACKED_BOTH;
		}
	}
	ring->avail_count = (uint16_t)(ring->avail_count + count);
	queue->free_count = (uint16_t)(queue->free_count - count);
	queue->cookie[id] = cookie;
	plx_virtq_begin_chain(queue, id, room, count);
	queue->in_flight++;
}

/* plx_virtq_packed_add_table() - As plx_virtq_split_add_table(); entries have no links (2.8.8). */
static __always_inline_fn void plx_virtq_packed_add_table(struct plx_virtq *queue,
	const struct plx_virtq_buffer *buffers, const unsigned count, void *cookie)
{
	uint16_t id = plx_virtq_next_id(queue, queue->packed.avail_at);
	size_t at = (size_t)id * queue->table_entries;
	struct virtq_packed_desc *table = (struct virtq_packed_desc *)queue->tables + at;
	struct plx_virtq_buffer whole = {
		queue->tables_iova + sizeof(*table) * at, (uint32_t)sizeof(*table) * count};

	for (unsigned i = 0; i < count; i++)
		table[i] = (struct virtq_packed_desc){
			plx_shared64(buffers[i].iova),
			plx_shared32(buffers[i].len),
			plx_shared16(0),
			plx_shared16(0),
		};
	plx_virtq_packed_add(queue, &whole, 1, 0, cookie, VIRTQ_DESC_F_INDIRECT);
}

/* Let the device see all that was added: the rest first, then the first one's flags (2.8.21.1). */
static __always_inline_fn void plx_virtq_packed_publish(struct plx_virtq *queue)
{
	struct plx_virtq_packed *ring = &queue->packed;

	if (!ring->pending_flags)
		return;
	plx_shared16_write_release(&ring->desc[ring->pending_at].flags, ring->pending_flags);
	ring->pending_flags = 0;
}

/* Whether the device wants to hear of what was published since @old (2.8.10 and 2.8.14). */
static __always_inline_fn bool plx_virtq_packed_wanted(const struct plx_virtq *queue, uint16_t old)
{
	const struct plx_virtq_packed *ring = &queue->packed;
	/* Acquire: the place belongs to the flags that make it valid. */
	uint16_t flags = plx_shared16_read_acquire(&ring->device_event->flags);
	uint16_t event, wrap;

	if (!queue->event_idx || flags != VIRTQ_PACKED_EVENT_DESC)
		return flags != VIRTQ_PACKED_EVENT_DISABLE;
	event = plx_shared16_read(&ring->device_event->off_wrap);
	wrap = event & VIRTQ_PACKED_EVENT_WRAP;
	event &= (uint16_t)~VIRTQ_PACKED_EVENT_WRAP;
	/* A place on the round before this one lies a ring's length behind. */
	if (!wrap != !(ring->avail_flags & VIRTQ_PACKED_DESC_F_AVAIL))
		event = (uint16_t)(event - queue->size);
	return plx_virtq_crossed(event, ring->avail_at,
		(uint16_t)(ring->avail_at - (uint16_t)(ring->avail_count - old)));
}

/* plx_virtq_packed_kick() - As plx_virtq_split_kick(). */
static __always_inline_fn void plx_virtq_packed_kick(struct plx_virtq *queue)
{
	uint16_t old = queue->told;

	if (old == queue->packed.avail_count)
		return;
	queue->told = queue->packed.avail_count;
	/*
	 * The flags must be visible before the device's wish is read, or both may sleep
	 * (2.8.21.3.1).
	 */
	plx_barrier_full();
	plx_virtq_notify(queue, plx_virtq_packed_wanted(queue, old), (uint16_t)(queue->told - old));
}

/* plx_virtq_packed_ready() - Whether a completion can be taken. */
static __always_inline_fn bool plx_virtq_packed_ready(struct plx_virtq *queue)
{
	struct plx_virtq_packed *ring = &queue->packed;
	uint16_t flags;

	if (device_lies(queue->fault))
		return false;
	if (unlikely(queue->batch))
		return true;
	/* Acquire: id and length are read after the flags that say they are there (2.8.21.2). */
	flags = plx_shared16_read_acquire(&ring->desc[ring->used_at].flags);
	if ((flags & PLX_VIRTQ_PACKED_BOTH) != ring->used_flags)
		return false;
	if (device_lies(!queue->in_flight)) {
		plx_virtq_break(queue, PLX_VIRTQ_USED_IDX, ring->used_at);
		return false;
	}
	return true;
}

static __always_inline_fn void plx_virtq_packed_step_used(struct plx_virtq *queue, uint16_t count)
{
	struct plx_virtq_packed *ring = &queue->packed;

	ring->used_at = (uint16_t)(ring->used_at + count);
	if (unlikely(ring->used_at >= queue->size)) {
		ring->used_at = (uint16_t)(ring->used_at - queue->size);
		ring->used_flags ^= PLX_VIRTQ_PACKED_BOTH;
	}
}

/* Claim the chain of the next used descriptor. @id: receives the chain's. Return: NULL: broken. */
static __always_inline_fn struct plx_virtq_chain *plx_virtq_packed_claim(
	struct plx_virtq *queue, uint16_t *id, uint32_t *len, const bool check_len)
{
	struct plx_virtq_packed *ring = &queue->packed;
	const uint16_t turn = ring->used_at;
	const struct virtq_packed_desc *desc = &ring->desc[turn];

	if (!queue->batch) {
		*id = plx_shared16_read(&desc->id);
		*len = plx_shared32_read(&desc->len);
		if (!queue->in_order)
			return plx_virtq_claim(queue, *id, turn, *len, check_len);
		if (device_lies(!plx_virtq_begin_batch(queue, *id, *len, turn, queue->in_flight)))
			return NULL;
	}
	*id = turn;
	return plx_virtq_claim_next(queue, turn, len, check_len);
}

/* plx_virtq_packed_pop() - As plx_virtq_split_pop(). */
static __always_inline_fn void *plx_virtq_packed_pop(
	struct plx_virtq *queue, uint32_t *len, const bool check_len)
{
	struct plx_virtq_chain *chain;
	uint16_t id, count;

	chain = plx_virtq_packed_claim(queue, &id, len, check_len);
	if (device_lies(!chain))
		return NULL;
	count = (uint16_t)chain->count;
	if (likely(queue->ordered)) {
		(void)plx_virtq_end_chain(queue, chain);
	} else {
		chain->count = 0;
		plx_virtq_return_id(queue, id);
	}
	queue->free_count = (uint16_t)(queue->free_count + count);
	plx_virtq_packed_step_used(queue, count);
	return queue->cookie[id];
}

/*
 * Length, id and flags of a descriptor are one value. The device writes the flags last, so that one
 * read finds what belongs together (2.8.21.2).
 */
#define PLX_VIRTQ_PACKED_ID    32
#define PLX_VIRTQ_PACKED_FLAGS 48

static __always_inline_fn struct plx_shared64 *plx_virtq_packed_tail(struct virtq_packed_desc *desc)
{
	return (struct plx_shared64 *)(void *)&desc->len;
}

#ifdef PLX_WIDE
/* plx_virtq_packed_match() for as many as come in eights, with their lengths. */
static inline PLX_WIDE unsigned plx_virtq_packed_match_8(const struct virtq_packed_desc *desc,
	uint64_t wanted, uint64_t mask, uint32_t *len, unsigned count, const uint32_t room)
{
	const __m512i tails = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
	const __m512i steps =
		_mm512_slli_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), PLX_VIRTQ_PACKED_ID);
	unsigned good = 0;

	for (; good + 8 <= count; good += 8) {
		__m512i ids = _mm512_add_epi64(
			_mm512_set1_epi64(
				(long long)(wanted + ((uint64_t)good << PLX_VIRTQ_PACKED_ID))),
			steps);
		__m512i found = _mm512_permutex2var_epi64(plx_shared_read_64_acquire(&desc[good]),
			tails, plx_shared_read_64_acquire(&desc[good + 4]));
		__mmask8 other = _mm512_test_epi64_mask(
			_mm512_xor_si512(found, ids), _mm512_set1_epi64((long long)mask));
		__mmask16 over =
			_mm512_mask_cmpgt_epu32_mask(0x5555, found, _mm512_set1_epi32((int)room));

		if (other | over)
			break;
		_mm256_storeu_si256((__m256i *)(void *)&len[good], _mm512_cvtepi64_epi32(found));
	}
	return good;
}
#endif

/*
 * How many of @count descriptors are used, by buffers that were posted in runs and whose turn it is
 * from @turn on. @other: receives whether the next is used by anything else.
 */
static __always_inline_fn unsigned plx_virtq_packed_match(struct virtq_packed_desc *desc,
	uint16_t turn, uint16_t used_flags, uint32_t *len, unsigned count, const uint32_t room,
	const bool check_len, bool *other, const bool wide)
{
	const uint64_t flags = (uint64_t)PLX_VIRTQ_PACKED_BOTH << PLX_VIRTQ_PACKED_FLAGS;
	const uint64_t mask = flags | UINT64_C(0xffff) << PLX_VIRTQ_PACKED_ID;
	uint64_t wanted = (uint64_t)used_flags << PLX_VIRTQ_PACKED_FLAGS |
			  (uint64_t)turn << PLX_VIRTQ_PACKED_ID;
	unsigned good = 0;

#ifdef PLX_WIDE
	if (wide && check_len)
		good = plx_virtq_packed_match_8(desc, wanted, mask, len, count, room);
	wanted += (uint64_t)good << PLX_VIRTQ_PACKED_ID;
#endif
	for (; good < count; good++, wanted += UINT64_C(1) << PLX_VIRTQ_PACKED_ID) {
		uint64_t found = plx_shared64_read_acquire(plx_virtq_packed_tail(&desc[good]));

		if (unlikely((found ^ wanted) & mask)) {
			*other = !((found ^ wanted) & flags);
			break;
		}
		if (!check_len)
			continue;
		len[good] = (uint32_t)found;
		if (device_lies(len[good] > room)) {
			*other = true;
			break;
		}
	}
	return good;
}

/* A descriptor that is used ends a batch. Return: whether it does. */
static __always_inline_fn bool plx_virtq_packed_begin_batch(struct plx_virtq *queue, unsigned taken)
{
	const struct plx_virtq_packed *ring = &queue->packed;
	const struct virtq_packed_desc *desc = &ring->desc[ring->used_at];

	return plx_virtq_begin_batch(queue, plx_shared16_read(&desc->id),
		plx_shared32_read(&desc->len), ring->used_at, (uint16_t)(queue->in_flight - taken));
}

/* plx_virtq_packed_take() - As plx_virtq_split_take(). */
static __always_inline_fn unsigned plx_virtq_packed_take(struct plx_virtq *queue, void **cookies,
	uint32_t *len, unsigned count, const bool check_len, bool *odd, const bool wide)
{
	struct plx_virtq_packed *ring = &queue->packed;
	unsigned taken = 0;

	*odd = false;
	if (device_lies(queue->fault))
		return 0;
	if (device_lies(!queue->in_flight)) {
		(void)plx_virtq_packed_ready(queue);
		return 0;
	}
	count = MIN(count, (unsigned)queue->in_flight);
	while (taken < count && !*odd) {
		uint16_t from = ring->used_at;
		unsigned n = MIN(count - taken, (unsigned)(queue->size - from)), good;
		bool other = false;

		if (unlikely(queue->batch)) {
			n = good = plx_virtq_take_batch(queue, from, cookies + taken,
				check_len ? len + taken : NULL, count - taken, check_len, odd);
		} else {
			good = plx_virtq_packed_match(&ring->desc[from], from, ring->used_flags,
				check_len ? len + taken : NULL, n, queue->room, check_len, &other,
				wide);
			plx_virtq_copy(cookies + taken, &queue->cookie[from], good);
		}
		taken += good;
		plx_virtq_packed_step_used(queue, (uint16_t)good);
		if (good == n)
			continue;
		if (!other)
			break;
		*odd = !queue->in_order || !plx_virtq_packed_begin_batch(queue, taken);
	}
	if (taken)
		plx_virtq_end_flight(queue, taken);
	return taken;
}

/* Where a run of buffers is posted; a constant while that goes on. */
struct plx_virtq_packed_run {
	struct virtq_packed_desc *desc;
	void **cookie;
	size_t size;
	size_t first;
	uint16_t flags;   /* of what lies before the ring's end */
	bool first_waits; /* it hides the rest, and gets its flags when all is published */
};

/* As plx_virtq_split_begin_run(). */
static __always_inline_fn struct plx_virtq_packed_run plx_virtq_packed_begin_run(
	const struct plx_virtq *queue)
{
	assert(queue->ordered);
	return (struct plx_virtq_packed_run){
		queue->packed.desc,
		queue->cookie,
		queue->size,
		queue->packed.avail_at,
		queue->packed.avail_flags,
		!queue->packed.pending_flags,
	};
}

/* As plx_virtq_split_put(). */
static __always_inline_fn void plx_virtq_packed_put(const struct plx_virtq_packed_run *run,
	size_t i, void *cookie, struct plx_virtq_buffer buffer, const bool writable)
{
	size_t at = run->first + i;
	uint16_t flags = run->flags | (writable ? VIRTQ_DESC_F_WRITE : 0);
	struct virtq_packed_desc *desc;

	if (unlikely(at >= run->size)) {
		at -= run->size;
		flags ^= PLX_VIRTQ_PACKED_BOTH;
	}
	desc = &run->desc[at];
	plx_shared64_write(&desc->addr, buffer.iova);
	run->cookie[at] = cookie;
	if (unlikely(!i && run->first_waits)) {
		plx_shared32_write(&desc->len, buffer.len);
		plx_shared16_write(&desc->id, (uint16_t)at);
		return;
	}
	plx_shared64_write(
		plx_virtq_packed_tail(desc), buffer.len | (uint64_t)at << PLX_VIRTQ_PACKED_ID |
						     (uint64_t)flags << PLX_VIRTQ_PACKED_FLAGS);
}

#ifdef PLX_WIDE
/* plx_virtq_put_8() */
static inline PLX_WIDE bool plx_virtq_packed_put_8(const struct plx_virtq_packed_run *run, size_t i,
	__m512i cookies, __m512i address, __m512i len, const bool writable)
{
	const __m512i low = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0);
	const __m512i high = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
	const __m512i steps =
		_mm512_slli_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), PLX_VIRTQ_PACKED_ID);
	/* The flags of the first, which is published by them, are left as they are. */
	const __mmask32 first = i || !run->first_waits ? UINT32_MAX : UINT32_MAX ^ 1u << 7;
	uint16_t flags = run->flags | (writable ? VIRTQ_DESC_F_WRITE : 0);
	size_t at = run->first + i;
	__m512i tail;

	if (unlikely(at >= run->size)) {
		at -= run->size;
		flags ^= PLX_VIRTQ_PACKED_BOTH;
	}
	if (unlikely(at + 8 > run->size))
		return false;
	tail = _mm512_set1_epi64((long long)((uint64_t)at << PLX_VIRTQ_PACKED_ID |
					     (uint64_t)flags << PLX_VIRTQ_PACKED_FLAGS));
	tail = _mm512_or_si512(len, _mm512_add_epi64(tail, steps));
	_mm512_mask_storeu_epi16(
		&run->desc[at], first, _mm512_permutex2var_epi64(address, low, tail));
	_mm512_storeu_si512(&run->desc[at + 4], _mm512_permutex2var_epi64(address, high, tail));
	_mm512_storeu_si512(&run->cookie[at], cookies);
	return true;
}
#endif

/* As plx_virtq_split_end_run(). */
static __always_inline_fn void plx_virtq_packed_end_run(struct plx_virtq *queue,
	const struct plx_virtq_packed_run *run, unsigned count, const bool writable)
{
	struct plx_virtq_packed *ring = &queue->packed;

	if (count && run->first_waits) {
		ring->pending_at = (uint16_t)run->first;
		ring->pending_flags = run->flags | (writable ? VIRTQ_DESC_F_WRITE : 0);
	}
	ring->avail_at = (uint16_t)(run->first + count);
	if (unlikely(run->first + count >= run->size)) {
		ring->avail_at = (uint16_t)(ring->avail_at - run->size);
		ring->avail_flags ^= PLX_VIRTQ_PACKED_BOTH;
	}
	ring->avail_count = (uint16_t)(ring->avail_count + count);
	queue->free_count = (uint16_t)(queue->free_count - count);
	queue->in_flight = (uint16_t)(queue->in_flight + count);
}

#endif
