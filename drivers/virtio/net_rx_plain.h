/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_DRIVERS_VIRTIO_NET_RX_PLAIN_H
#define PLX_DRIVERS_VIRTIO_NET_RX_PLAIN_H

#include "base/wide.h"
#include "drivers/virtio/net_priv.h"

#include <string.h>

/* What is written of a received packet before anything is looked at but its length. */

static __always_inline_fn void net_rx_set_first(
	const struct net_rxq *queue, struct plx_packet *packet, uint32_t len)
{
	packet->next = NULL;
	packet->len = len - queue->header_len;
	packet->data_len = (uint16_t)(len - queue->header_len);
	packet->data_off = (uint16_t)(queue->header_off + queue->header_len);
	packet->received = 0;
	packet->hash_type = PLX_PACKET_HASH_NONE;
	packet->segments = 1;
	packet->offload = 0;
	packet->csum_offset = 0;
}

#ifdef PLX_WIDE
/* net_rx_make_plain() for as many as come in eights. */
static inline PLX_WIDE unsigned net_rx_make_plain_8(struct plx_packet *const *packets,
	const uint32_t *len, unsigned count, uint32_t header_len, uint64_t data_off, uint64_t rest,
	uint64_t *bytes)
{
	__m512i sum = _mm512_setzero_si512();
	uint64_t lengths[8] __attribute__((aligned(64)));
	unsigned i = 0;

	for (; i + 8 <= count; i += 8) {
		__m256i given = _mm256_loadu_si256((const __m256i *)(const void *)&len[i]);
		__m512i data_len = _mm512_sub_epi64(
			_mm512_cvtepu32_epi64(given), _mm512_set1_epi64(header_len));

		if (device_lies(_mm256_cmple_epu32_mask(given, _mm256_set1_epi32((int)header_len))))
			break;
		sum = _mm512_add_epi64(sum, data_len);
		_mm512_store_si512(lengths,
			_mm512_or_si512(_mm512_or_si512(data_len, _mm512_slli_epi64(data_len, 32)),
				_mm512_set1_epi64((long long)data_off)));
		for (unsigned j = 0; j < 8; j++) {
			struct plx_packet *packet = packets[i + j];

			packet->next = NULL;
			memcpy(&packet->len, &lengths[j], sizeof(lengths[j]));
			memcpy(&packet->buf_len, &rest, sizeof(rest));
		}
	}
	*bytes += (uint64_t)_mm512_reduce_add_epi64(sum);
	return i;
}
#endif

/*
 * Make frames of buffers that are one each and of which there is nothing to say but their length.
 * What is to be written of a packet lies side by side, and is written in three values.
 *
 * Return: How many, from the first on, before one that is too short.
 */
static __always_inline_fn unsigned net_rx_make_plain(const struct net_rxq *queue,
	struct plx_packet *const *packets, const uint32_t *len, unsigned count, uint64_t *bytes,
	const bool wide)
{
	const uint32_t header_len = queue->header_len;
	const uint64_t data_off = (uint64_t)(queue->header_off + header_len) << 48;
	const uint64_t rest = UINT64_C(1) << 32 | queue->buf_len; /* of one segment */
	uint64_t sum = 0;
	unsigned i = 0;

	static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
		"the first of fields side by side is the lowest bits of the value that they make");
	static_assert(offsetof(struct plx_packet, data_len) == offsetof(struct plx_packet, len) + 4,
		"len, data_len and data_off make 64 bits");
	static_assert(
		offsetof(struct plx_packet, segments) == offsetof(struct plx_packet, buf_len) + 4 &&
			offsetof(struct plx_packet, buffer) ==
				offsetof(struct plx_packet, buf_len) + 8,
		"buf_len and all up to buffer make 64 bits");
#ifdef PLX_WIDE
	if (wide)
		i = net_rx_make_plain_8(packets, len, count, header_len, data_off, rest, &sum);
#endif
	for (; i < count && !device_lies(len[i] <= header_len); i++) {
		struct plx_packet *packet = packets[i];
		/* Of 16 bits, as the room of a buffer is. */
		uint64_t data_len = len[i] - header_len;
		uint64_t lengths = data_len * UINT64_C(0x100000001) + data_off;

		packet->next = NULL;
		memcpy(&packet->len, &lengths, sizeof(lengths));
		memcpy(&packet->buf_len, &rest, sizeof(rest));
		sum += data_len;
	}
	*bytes += sum;
	return i;
}

#endif
