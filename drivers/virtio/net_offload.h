/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_DRIVERS_VIRTIO_NET_OFFLOAD_H
#define PLX_DRIVERS_VIRTIO_NET_OFFLOAD_H

#include "drivers/virtio/net_priv.h"

/*
 * What a frame's header says beside the number of its buffers: checksums, segmentation, hashes
 * (virtio 1.4, 5.1.9.2 and 5.1.9.4). Only queues for which something of it was negotiated come
 * here.
 */

/* The header as the device wrote it, in private memory. */
struct net_header {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

/* Each field is read once. */
static inline struct net_header net_header_read(const uint8_t *at)
{
	uint16_t first = plx_shared16_read_anywhere(at);

	return (struct net_header){
		.flags = (uint8_t)first,
		.gso_type = (uint8_t)(first >> 8),
		.hdr_len = plx_shared16_read_anywhere(at + 2),
		.gso_size = plx_shared16_read_anywhere(at + 4),
		.csum_start = plx_shared16_read_anywhere(at + 6),
		.csum_offset = plx_shared16_read_anywhere(at + 8),
	};
}

/*
 * Note in a received frame what its header says, as far as it was negotiated and holds together.
 * @at: the header
 *
 * Return: whether the frame can be used; otherwise it is to be dropped.
 */
bool net_offload_received(struct net_rxq *queue, struct plx_packet *packet, const uint8_t *at);

/*
 * Whether what a frame asks for can be asked of the device.
 * @len: of the whole frame
 *
 * Return: NULL; otherwise what is wrong, to follow "frame 3 ".
 */
const char *net_offload_fault(
	const struct net_txq *queue, const struct plx_packet *packet, uint32_t len);

/* Write the header of a frame without fault; it lies in its headroom. */
void net_offload_request(const struct net_txq *queue, struct plx_packet *packet);

#endif
