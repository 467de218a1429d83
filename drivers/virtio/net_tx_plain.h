/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_DRIVERS_VIRTIO_NET_TX_PLAIN_H
#define PLX_DRIVERS_VIRTIO_NET_TX_PLAIN_H

#include "base/wide.h"
#include "drivers/virtio/net_priv.h"
#include "virtio/virtq_ring.h"

#include <assert.h>

#ifdef PLX_WIDE

/* 64 bits of each packet, from byte @offset on. */
static inline PLX_WIDE __m512i net_tx_gather(__m512i packets, uint64_t offset)
{
	return _mm512_i64gather_epi64(packets, (const void *)(uintptr_t)offset, 1);
}

/* See that the headers in front of @data are zeros. As write_header(), of up to 16 bytes. */
static inline PLX_WIDE void net_tx_clear_8(__m512i data, uint64_t header_len)
{
	__m512i first = net_tx_gather(data, -header_len), last = net_tx_gather(data, -8);
	__mmask8 other =
		_mm512_test_epi64_mask(_mm512_or_si512(first, last), _mm512_or_si512(first, last));

	if (likely(!other))
		return;
	_mm512_mask_i64scatter_epi64(
		(void *)(uintptr_t)-header_len, other, data, _mm512_setzero_si512(), 1);
	_mm512_mask_i64scatter_epi64((void *)(uintptr_t)-8, other, data, _mm512_setzero_si512(), 1);
}

/*
 * Which of eight are no bare frames of the pool at hand, with room for the header and of a length
 * to be sent: what is_bare() and fits() ask of one. @lengths: receives len, data_len and data_off.
 */
static inline PLX_WIDE __mmask8 net_tx_odd_8(
	const struct net_txq *queue, __m512i packets, __m512i *lengths)
{
	const __m512i one_segment = _mm512_set1_epi64(INT64_C(1) << 32);
	const __m512i span = _mm512_set1_epi64((long long)queue->map.span);
	__m512i from = _mm512_sub_epi64(packets, _mm512_set1_epi64((long long)queue->map.first));
	__mmask8 odd = _mm512_cmpge_epu64_mask(from, span);
	__m512i shape, data_len;

	static_assert(
		offsetof(struct plx_packet, data_len) == offsetof(struct plx_packet, len) + 4 &&
			offsetof(struct plx_packet, data_off) ==
				offsetof(struct plx_packet, len) + 6,
		"len, data_len and data_off make 64 bits");
	static_assert(
		offsetof(struct plx_packet, segments) == offsetof(struct plx_packet, buf_len) + 4,
		"what shape_of() reads is the upper half of 64 bits");
	/* Of another pool's there is nothing to be known here. */
	if (unlikely(odd))
		return odd;
	*lengths = net_tx_gather(packets, offsetof(struct plx_packet, len));
	shape = net_tx_gather(packets, offsetof(struct plx_packet, buf_len));
	odd = _mm512_cmpneq_epi64_mask(
		_mm512_and_si512(shape, _mm512_set1_epi64((long long)~UINT64_C(0xffffffff))),
		one_segment);
	data_len = _mm512_and_si512(_mm512_srli_epi64(*lengths, 32), _mm512_set1_epi64(UINT16_MAX));
	odd |= _mm512_cmpge_epu64_mask(_mm512_sub_epi64(data_len, _mm512_set1_epi64(1)),
		_mm512_set1_epi64(queue->frame_max));
	return odd | _mm512_cmplt_epu64_mask(
			     _mm512_srli_epi64(*lengths, 48), _mm512_set1_epi64(queue->header_len));
}

/*
 * Put bare frames into a run in eights from number 0 on, as far as they lie in one piece.
 * @bytes: receives those of the frames, too
 *
 * Return: How many.
 */
static inline PLX_WIDE unsigned net_tx_put_8(const struct net_txq *queue,
	const struct plx_virtq_run *run, struct plx_packet *const *packets, unsigned count,
	uint64_t *bytes, const bool packed)
{
	const struct plx_pool_map *map = &queue->map;
	const __m512i header_len = _mm512_set1_epi64(queue->header_len);
	__m512i sum = _mm512_setzero_si512();
	unsigned i = 0;

	for (; i + 8 <= count; i += 8) {
		__m512i packet = _mm512_loadu_si512(&packets[i]);
		__m512i lengths, data_len, data, address;

		if (unlikely(net_tx_odd_8(queue, packet, &lengths)))
			break;
		data_len = _mm512_and_si512(
			_mm512_srli_epi64(lengths, 32), _mm512_set1_epi64(UINT16_MAX));
		data = _mm512_add_epi64(_mm512_srli_epi64(lengths, 48),
			_mm512_mullo_epi64(packet, _mm512_set1_epi64((long long)map->scale)));
		net_tx_clear_8(_mm512_add_epi64(data, _mm512_set1_epi64((long long)map->buffer)),
			queue->header_len);
		address = _mm512_sub_epi64(
			_mm512_add_epi64(data, _mm512_set1_epi64((long long)map->iova)),
			header_len);
		if (!plx_virtq_put_8(run, i, packet, address,
			    _mm512_add_epi64(data_len, header_len), false, packed))
			break;
		sum = _mm512_add_epi64(sum, data_len);
	}
	*bytes += (uint64_t)_mm512_reduce_add_epi64(sum);
	return i;
}

#endif

#endif
