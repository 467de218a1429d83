/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VIRTQ_RING_H
#define PLX_VIRTIO_VIRTQ_RING_H

#include "virtio/virtq_packed.h"
#include "virtio/virtq_split.h"

/*
 * The operations of a queue of either layout. @packed is a constant where a path is specialised,
 * and queue->is_packed where it does not matter; after inlining nothing is left of the choice. What
 * each does stands in virtq_split.h.
 */

static __always_inline_fn void plx_virtq_add(struct plx_virtq *queue,
	const struct plx_virtq_buffer *buffers, const unsigned readable, const unsigned writable,
	void *cookie, const bool packed)
{
	if (packed)
		plx_virtq_packed_add(queue, buffers, readable, writable, cookie, 0);
	else
		plx_virtq_split_add(queue, buffers, readable, writable, cookie, 0);
}

static __always_inline_fn void plx_virtq_add_table(struct plx_virtq *queue,
	const struct plx_virtq_buffer *buffers, const unsigned count, void *cookie,
	const bool packed)
{
	if (packed)
		plx_virtq_packed_add_table(queue, buffers, count, cookie);
	else
		plx_virtq_split_add_table(queue, buffers, count, cookie);
}

static __always_inline_fn void plx_virtq_publish(struct plx_virtq *queue, const bool packed)
{
	if (packed)
		plx_virtq_packed_publish(queue);
	else
		plx_virtq_split_publish(queue);
}

static __always_inline_fn void plx_virtq_kick(struct plx_virtq *queue, const bool packed)
{
	if (packed)
		plx_virtq_packed_kick(queue);
	else
		plx_virtq_split_kick(queue);
}

static __always_inline_fn bool plx_virtq_ready(struct plx_virtq *queue, const bool packed)
{
	return packed ? plx_virtq_packed_ready(queue) : plx_virtq_split_ready(queue);
}

static __always_inline_fn void *plx_virtq_pop(
	struct plx_virtq *queue, uint32_t *len, const bool check_len, const bool packed)
{
	return packed ? plx_virtq_packed_pop(queue, len, check_len)
		      : plx_virtq_split_pop(queue, len, check_len);
}

static __always_inline_fn unsigned plx_virtq_take(struct plx_virtq *queue, void **cookies,
	uint32_t *len, unsigned count, const bool check_len, bool *odd, const bool packed,
	const bool wide)
{
	/* What is of no run is for plx_virtq_pop(), and so is what lies behind it. */
	if (unlikely(queue->odd)) {
		*odd = plx_virtq_ready(queue, packed);
		return 0;
	}
	return packed ? plx_virtq_packed_take(queue, cookies, len, count, check_len, odd, wide)
		      : plx_virtq_split_take(queue, cookies, len, count, check_len, odd, wide);
}

/*
 * A run of buffers that are made available together, once they are published: begun with all that
 * does not change meanwhile, then put in one by one from number 0 on, at most queue->free_count,
 * and ended with their number. Nothing else may be done to the queue in between.
 */
struct plx_virtq_run {
	union {
		struct plx_virtq_split_run split;
		struct plx_virtq_packed_run packed;
	};
};

static __always_inline_fn struct plx_virtq_run plx_virtq_begin_run(
	const struct plx_virtq *queue, const bool packed)
{
	struct plx_virtq_run run;

	if (packed)
		run.packed = plx_virtq_packed_begin_run(queue);
	else
		run.split = plx_virtq_split_begin_run(queue);
	return run;
}

static __always_inline_fn void plx_virtq_put(const struct plx_virtq_run *run, size_t i,
	void *cookie, struct plx_virtq_buffer buffer, const bool writable, const bool packed)
{
	if (packed)
		plx_virtq_packed_put(&run->packed, i, cookie, buffer, writable);
	else
		plx_virtq_split_put(&run->split, i, cookie, buffer, writable);
}

#ifdef PLX_WIDE
/*
 * Put in eight buffers as numbers @i to @i + 7, if they lie in one piece.
 * @len: of 64 bits each
 *
 * Return: Whether they do; otherwise nothing has happened.
 */
static inline PLX_WIDE bool plx_virtq_put_8(const struct plx_virtq_run *run, size_t i,
	__m512i cookies, __m512i address, __m512i len, const bool writable, const bool packed)
{
	return packed ? plx_virtq_packed_put_8(&run->packed, i, cookies, address, len, writable)
		      : plx_virtq_split_put_8(&run->split, i, cookies, address, len, writable);
}
#endif

static __always_inline_fn void plx_virtq_end_run(struct plx_virtq *queue,
	const struct plx_virtq_run *run, unsigned count, const bool writable, const bool packed)
{
	if (packed)
		plx_virtq_packed_end_run(queue, &run->packed, count, writable);
	else
		plx_virtq_split_end_run(queue, &run->split, count);
}

#endif
