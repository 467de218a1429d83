/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VIRTQ_SPLIT_H
#define PLX_VIRTIO_VIRTQ_SPLIT_H

#include "virtio/virtq.h"

#include <assert.h>
#include <string.h>

/*
 * The operations of a split ring (virtio 1.4, 2.7).
 *
 * An ordered queue takes its descriptors in turn, and so walks descriptors, available ring and
 * private state in sequence.
 */

/* The event index fields lie behind a ring's last entry (2.7.6 and 2.7.8). */
static inline struct plx_shared16 *plx_virtq_split_used_event(const struct plx_virtq *queue)
{
	return &queue->split.avail->ring[queue->size];
}

static inline struct plx_shared16 *plx_virtq_split_avail_event(const struct plx_virtq *queue)
{
	return (struct plx_shared16 *)(void *)&queue->split.used->ring[queue->size];
}

/*
 * plx_virtq_split_add() - Make one chain available to the device, once it is published.
 * @buffers: what the device reads, then what it writes; no longer needed after the call
 * @readable: buffers of the first kind
 * @writable: buffers of the second kind; together at least 1, at most queue->free_count
 * @cookie: handed back with the chain; not NULL
 * @more: VIRTQ_DESC_F_INDIRECT for a table, or 0; a constant
 */
static __always_inline_fn void plx_virtq_split_add(struct plx_virtq *queue,
	const struct plx_virtq_buffer *buffers, const unsigned readable, const unsigned writable,
	void *cookie, const uint16_t more)
{
	struct plx_virtq_split *ring = &queue->split;
	const unsigned count = readable + writable;
	const uint16_t mask = (uint16_t)(queue->size - 1);
	uint16_t turn = (uint16_t)(queue->first + queue->size - queue->free_count);
	uint16_t head = plx_virtq_take_id(queue, turn & mask);
	uint16_t at = head;
	uint32_t room = 0;

	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = i < readable ? more : more | VIRTQ_DESC_F_WRITE;
		uint16_t next = 0;

		if (i >= readable)
			room += buffers[i].len;
		if (i + 1 < count) {
			next = plx_virtq_take_id(queue, ++turn & mask);
			ring->next[at] = next;
			flags |= VIRTQ_DESC_F_NEXT;
		}
		ring->desc[at] = (struct virtq_desc){
			plx_shared64(buffers[i].iova),
			plx_shared32(buffers[i].len),
			plx_shared16(flags),
			plx_shared16(next),
		};
		at = next;
	}
	queue->free_count = (uint16_t)(queue->free_count - count);
	queue->cookie[head] = cookie;
	plx_virtq_begin_chain(queue, head, room, count);
	plx_shared16_write(&ring->avail->ring[ring->avail_idx++ & mask], head);
	queue->in_flight++;
}

/*
 * plx_virtq_split_add_table() - As plx_virtq_split_add(), through an indirect table. The entries
 * are in sequence, as a device in order wants them (2.7.5.3.1).
 * @count: buffers that the device reads, so that plx_virtq_takes_table(); and one descriptor is
 * free
 */
static __always_inline_fn void plx_virtq_split_add_table(struct plx_virtq *queue,
	const struct plx_virtq_buffer *buffers, const unsigned count, void *cookie)
{
	uint16_t turn = (uint16_t)(queue->first + queue->size - queue->free_count);
	uint16_t id = plx_virtq_next_id(queue, turn & (uint16_t)(queue->size - 1));
	size_t at = (size_t)id * queue->table_entries;
	struct virtq_desc *table = (struct virtq_desc *)queue->tables + at;
	struct plx_virtq_buffer whole = {
		queue->tables_iova + sizeof(*table) * at, (uint32_t)sizeof(*table) * count};

	for (unsigned i = 0; i < count; i++) {
		bool last = i + 1 == count;

		table[i] = (struct virtq_desc){
			plx_shared64(buffers[i].iova),
			plx_shared32(buffers[i].len),
			plx_shared16(last ? 0 : VIRTQ_DESC_F_NEXT),
			plx_shared16(last ? 0 : (uint16_t)(i + 1)),
		};
	}
	plx_virtq_split_add(queue, &whole, 1, 0, cookie, VIRTQ_DESC_F_INDIRECT);
}

/* Let the device see all that was added: its descriptors first, then the index (2.7.13). */
static __always_inline_fn void plx_virtq_split_publish(struct plx_virtq *queue)
{
	plx_shared16_write_release(&queue->split.avail->idx, queue->split.avail_idx);
}

/*
 * plx_virtq_split_kick() - Tell the device of what was published since the last call, if it wants.
 */
static __always_inline_fn void plx_virtq_split_kick(struct plx_virtq *queue)
{
	uint16_t old = queue->told;
	uint16_t now = queue->split.avail_idx;
	bool wanted;

	if (old == now)
		return;
	queue->told = now;
	/*
	 * The index must be visible before the device's wish is read, or both may sleep
	 * (2.7.13.4.1).
	 */
	plx_barrier_full();
	if (queue->event_idx)
		wanted = plx_virtq_crossed(
			plx_shared16_read(plx_virtq_split_avail_event(queue)), now, old);
	else
		wanted = !(plx_shared16_read(&queue->split.used->flags) & VIRTQ_USED_F_NO_NOTIFY);
	plx_virtq_notify(queue, wanted, (uint16_t)(now - old));
}

/*
 * plx_virtq_split_ready() - Whether a completion can be taken.
 *
 * Looks at the device's index only when all that was seen before has been taken: the device keeps
 * writing to that cache line.
 */
static __always_inline_fn bool plx_virtq_split_ready(struct plx_virtq *queue)
{
	struct plx_virtq_split *ring = &queue->split;
	uint16_t ready;

	/* A broken queue is not looked at again, not even at what was seen of it before. */
	if (device_lies(queue->fault))
		return false;
	if (ring->used_seen != ring->used_idx)
		return true;
	/* Acquire: the elements are read after the index that announces them (2.7.14). */
	ready = (uint16_t)(plx_shared16_read_acquire(&ring->used->idx) - ring->used_idx);
	if (device_lies(ready > queue->in_flight)) {
		plx_virtq_break(queue, PLX_VIRTQ_USED_IDX, ready);
		return false;
	}
	ring->used_seen = (uint16_t)(ring->used_idx + ready);
	return ready;
}

/*
 * Begin the next batch of a queue in order: read the next used element as its end. Where nobody
 * asks for lengths, the index has said all that there is to know, since it counts the buffers of a
 * batch (2.7.9): then no element is read, and its line stays the device's.
 *
 * Return: Whether there is a batch.
 */
static __always_inline_fn bool plx_virtq_split_begin_batch(
	struct plx_virtq *queue, const bool check_len)
{
	const struct plx_virtq_split *ring = &queue->split;
	const uint16_t mask = (uint16_t)(queue->size - 1);
	const struct virtq_used_elem *elem = &ring->used->ring[ring->used_idx & mask];
	uint16_t ready = (uint16_t)(ring->used_seen - ring->used_idx);

	if (!check_len) {
		queue->batch = ready;
		queue->batch_len = 0;
		return ready;
	}
	return plx_virtq_begin_batch(queue, plx_shared32_read(&elem->id),
		plx_shared32_read(&elem->len), queue->first & mask, ready);
}

/* Claim the chain of the next used element. @id: receives the chain's. Return: NULL: broken. */
static __always_inline_fn struct plx_virtq_chain *plx_virtq_split_claim(
	struct plx_virtq *queue, uint32_t *id, uint32_t *len, const bool check_len)
{
	struct plx_virtq_split *ring = &queue->split;
	const uint16_t mask = (uint16_t)(queue->size - 1);
	const uint16_t turn = queue->first & mask;
	const struct virtq_used_elem *elem = &ring->used->ring[ring->used_idx & mask];

	if (queue->in_order) {
		*id = turn;
		if (!queue->batch && device_lies(!plx_virtq_split_begin_batch(queue, check_len)))
			return NULL;
		return plx_virtq_claim_next(queue, turn, len, check_len);
	}
	*id = plx_shared32_read(&elem->id);
	*len = plx_shared32_read(&elem->len);
	return plx_virtq_claim(queue, *id, turn, *len, check_len);
}

/*
 * plx_virtq_split_pop() - Take the completion that plx_virtq_split_ready() saw.
 * @len: receives the bytes that the device says it wrote
 * @check_len: whether more than was posted breaks the queue; a constant
 *
 * Return: What the chain was added with; NULL when the queue is broken.
 */
static __always_inline_fn void *plx_virtq_split_pop(
	struct plx_virtq *queue, uint32_t *len, const bool check_len)
{
	struct plx_virtq_split *ring = &queue->split;
	struct plx_virtq_chain *chain;
	uint32_t id;
	uint16_t at;

	chain = plx_virtq_split_claim(queue, &id, len, check_len);
	if (device_lies(!chain))
		return NULL;
	ring->used_idx++;
	queue->free_count = (uint16_t)(queue->free_count + chain->count);
	if (likely(queue->ordered)) {
		uint16_t count = plx_virtq_end_chain(queue, chain);

		queue->first = (uint16_t)(queue->first + count);
		return queue->cookie[id];
	}
	for (at = (uint16_t)id;; at = ring->next[at]) {
		plx_virtq_return_id(queue, at);
		if (likely(!--chain->count))
			break;
	}
	return queue->cookie[id];
}

#ifdef __SSE2__
/* plx_virtq_split_match() for as many as come in fours. */
static __always_inline_fn unsigned plx_virtq_split_match_4(const struct virtq_used_elem *elem,
	uint32_t turn, uint32_t *len, unsigned count, const uint32_t room, const bool check_len)
{
	/* There is no comparison of unsigned values, but this turns one into the other. */
	const __m128i sign = _mm_set1_epi32((int)0x80000000);
	const __m128i most = _mm_xor_si128(_mm_set1_epi32((int)room), sign);
	__m128i wanted = _mm_add_epi32(_mm_set1_epi32((int)turn), _mm_set_epi32(3, 2, 1, 0));
	unsigned good = 0;

	for (; good + 4 <= count; good += 4) {
		__m128 low = _mm_castsi128_ps(plx_shared_read_16(&elem[good]));
		__m128 high = _mm_castsi128_ps(plx_shared_read_16(&elem[good + 2]));
		__m128i ids = _mm_castps_si128(_mm_shuffle_ps(low, high, 0x88));
		__m128i lens = _mm_castps_si128(_mm_shuffle_ps(low, high, 0xdd));
		__m128i right = _mm_cmpeq_epi32(ids, wanted);
		__m128i over = _mm_cmpgt_epi32(_mm_xor_si128(lens, sign), most);

		if (check_len)
			right = _mm_andnot_si128(over, right);
		if (unlikely(_mm_movemask_epi8(right) != 0xffff))
			break;
		if (check_len)
			_mm_storeu_si128((__m128i *)(void *)&len[good], lens);
		wanted = _mm_add_epi32(wanted, _mm_set1_epi32(4));
	}
	return good;
}
#endif

#ifdef PLX_WIDE
/* plx_virtq_split_match() for as many as come in eights, with their lengths. */
static inline PLX_WIDE unsigned plx_virtq_split_match_8(const struct virtq_used_elem *elem,
	uint32_t turn, uint32_t *len, unsigned count, const uint32_t room)
{
	const __m512i most = _mm512_set1_epi64((long long)((uint64_t)room << 32));
	__m512i wanted =
		_mm512_add_epi64(_mm512_set1_epi64(turn), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
	unsigned good = 0;

	for (; good + 8 <= count; good += 8) {
		__m512i found = plx_shared_read_64(&elem[good]);
		__mmask16 other = _mm512_mask_cmpneq_epi32_mask(0x5555, found, wanted);
		__mmask16 over = _mm512_mask_cmpgt_epu32_mask(0xaaaa, found, most);

		if (unlikely(other | over))
			break;
		_mm256_storeu_si256((__m256i *)(void *)&len[good],
			_mm512_cvtepi64_epi32(_mm512_srli_epi64(found, 32)));
		wanted = _mm512_add_epi64(wanted, _mm512_set1_epi64(8));
	}
	return good;
}
#endif

/*
 * How many of @count used elements are those of buffers that were posted in runs and whose turn it
 * is from @turn on.
 */
static __always_inline_fn unsigned plx_virtq_split_match(const struct virtq_used_elem *elem,
	uint32_t turn, uint32_t *len, unsigned count, const uint32_t room, const bool check_len,
	const bool wide)
{
	unsigned good = 0;

#ifdef PLX_WIDE
	if (wide && check_len)
		good = plx_virtq_split_match_8(elem, turn, len, count, room);
#endif
#ifdef __SSE2__
	if (!wide || !check_len)
		good = plx_virtq_split_match_4(elem, turn, len, count, room, check_len);
#endif
	for (; good < count; good++) {
		if (unlikely(plx_shared32_read(&elem[good].id) != turn + good))
			break;
		if (!check_len)
			continue;
		len[good] = plx_shared32_read(&elem[good].len);
		if (device_lies(len[good] > room))
			break;
	}
	return good;
}

/*
 * plx_virtq_split_take() - Take a run of completions that came in order.
 * @cookies: receives what they were posted with
 * @len: receives the bytes that the device says it wrote into each; only with @check_len
 * @count: how many at most, and not more than the ring's entries
 * @check_len: as plx_virtq_split_pop(); a constant, and the same in all calls for a queue
 * @odd: receives whether the next one is for plx_virtq_split_pop()
 * @wide: whether the path is compiled with PLX_WIDE; a constant
 *
 * Return: How many were taken.
 */
static __always_inline_fn unsigned plx_virtq_split_take(struct plx_virtq *queue, void **cookies,
	uint32_t *len, unsigned count, const bool check_len, bool *odd, const bool wide)
{
	struct plx_virtq_split *ring = &queue->split;
	const uint16_t mask = (uint16_t)(queue->size - 1);
	unsigned taken = 0;

	*odd = false;
	if (!plx_virtq_split_ready(queue))
		return 0;
	count = MIN(count, (unsigned)(uint16_t)(ring->used_seen - ring->used_idx));
	if (!check_len && queue->in_order && !queue->batch)
		(void)plx_virtq_split_begin_batch(queue, check_len);
	while (taken < count && !*odd) {
		uint16_t from = ring->used_idx & mask, turn = queue->first & mask;
		const struct virtq_used_elem *elem = &ring->used->ring[from];
		/* A piece that lies in one piece in both rings. */
		unsigned n = MIN(count - taken, (unsigned)(queue->size - MAX(from, turn))), good;

		if (unlikely(queue->batch)) {
			n = good = plx_virtq_take_batch(queue, turn, cookies + taken,
				check_len ? len + taken : NULL, count - taken, check_len, odd);
		} else {
			good = plx_virtq_split_match(elem, turn, check_len ? len + taken : NULL, n,
				queue->room, check_len, wide);
			plx_virtq_copy(cookies + taken, &queue->cookie[turn], good);
		}
		taken += good;
		ring->used_idx = (uint16_t)(ring->used_idx + good);
		queue->first = (uint16_t)(queue->first + good);
		if (unlikely(good < n))
			*odd = !queue->in_order || !plx_virtq_split_begin_batch(queue, check_len);
	}
	plx_virtq_end_flight(queue, taken);
	return taken;
}

/* Where a run of buffers is posted; a constant while that goes on. */
struct plx_virtq_split_run {
	struct virtq_desc *desc;
	void **cookie;
	size_t mask;
	size_t turn;
};

/* Begin to post a run. Only while the queue is ordered. */
static __always_inline_fn struct plx_virtq_split_run plx_virtq_split_begin_run(
	const struct plx_virtq *queue)
{
	assert(queue->ordered);
	return (struct plx_virtq_split_run){
		queue->split.desc,
		queue->cookie,
		queue->size - 1u,
		(size_t)queue->first + queue->size - queue->free_count,
	};
}

/* Put a buffer in as number @i of the run. The descriptor is written whole, in two stores. */
static __always_inline_fn void plx_virtq_split_put(const struct plx_virtq_split_run *run, size_t i,
	void *cookie, struct plx_virtq_buffer buffer, const bool writable)
{
	size_t at = (run->turn + i) & run->mask;
	struct virtq_desc *desc = &run->desc[at];

	plx_shared64_write(&desc->addr, buffer.iova);
	plx_shared64_write((struct plx_shared64 *)(void *)&desc->len,
		buffer.len | (uint64_t)(writable ? VIRTQ_DESC_F_WRITE : 0) << 32);
	run->cookie[at] = cookie;
}

#ifdef PLX_WIDE
/* plx_virtq_put_8() */
static inline PLX_WIDE bool plx_virtq_split_put_8(const struct plx_virtq_split_run *run, size_t i,
	__m512i cookies, __m512i address, __m512i len, const bool writable)
{
	const __m512i low = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0);
	const __m512i high = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
	const uint64_t flags = (uint64_t)(writable ? VIRTQ_DESC_F_WRITE : 0) << 32;
	__m512i tail = _mm512_or_si512(len, _mm512_set1_epi64((long long)flags));
	size_t at = (run->turn + i) & run->mask;

	if (unlikely(at + 8 > run->mask + 1))
		return false;
	_mm512_storeu_si512(&run->desc[at], _mm512_permutex2var_epi64(address, low, tail));
	_mm512_storeu_si512(&run->desc[at + 4], _mm512_permutex2var_epi64(address, high, tail));
	_mm512_storeu_si512(&run->cookie[at], cookies);
	return true;
}
#endif

/*
 * See that entries of the available ring name the descriptors from @at on. From the second round on
 * they do, and as they are not written again, the line stays shared: four are compared in one
 * value.
 */
static __always_inline_fn void plx_virtq_split_name(
	struct plx_shared16 *entry, uint16_t at, unsigned count)
{
	uint64_t wanted = at * UINT64_C(0x0001000100010001) + UINT64_C(0x0003000200010000);
	unsigned i = 0;

	for (; i + 4 <= count && plx_shared16_read_4(&entry[i]) == wanted; i += 4)
		wanted += UINT64_C(0x0004000400040004);
	for (; i < count; i++)
		if (plx_shared16_read(&entry[i]) != (uint16_t)(at + i))
			plx_shared16_write(&entry[i], (uint16_t)(at + i));
}

/* End a run with @count buffers in it. */
static __always_inline_fn void plx_virtq_split_end_run(
	struct plx_virtq *queue, const struct plx_virtq_split_run *run, unsigned count)
{
	struct plx_virtq_split *ring = &queue->split;

	for (unsigned done = 0, n; done < count; done += n) {
		uint16_t at = (uint16_t)((run->turn + done) & run->mask);
		uint16_t slot = (uint16_t)((ring->avail_idx + done) & run->mask);

		n = MIN(count - done, (unsigned)(queue->size - MAX(at, slot)));
		plx_virtq_split_name(&ring->avail->ring[slot], at, n);
	}
	ring->avail_idx = (uint16_t)(ring->avail_idx + count);
	queue->free_count = (uint16_t)(queue->free_count - count);
	queue->in_flight = (uint16_t)(queue->in_flight + count);
}

#endif
