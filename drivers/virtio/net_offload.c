/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_offload.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

/* --- receiving --- */

/* 5.1.9.4: the kinds of large receive, what brings them, and what they are called here. */
static const struct {
	uint8_t type;
	uint8_t offload;
	uint32_t negotiated; /* any of these */
} kinds[] = {
	{VIRTIO_NET_HDR_GSO_TCPV4, PLX_PACKET_TSO4, PLX_ETH_OFFLOAD_RX_TSO4},
	{VIRTIO_NET_HDR_GSO_TCPV6, PLX_PACKET_TSO6, PLX_ETH_OFFLOAD_RX_TSO6},
	{VIRTIO_NET_HDR_GSO_UDP_L4, PLX_PACKET_USO,
		PLX_ETH_OFFLOAD_RX_USO4 | PLX_ETH_OFFLOAD_RX_USO6},
};

/* Return: the bit of enum plx_packet_offload; 0 when the type was not negotiated, or is none. */
static uint8_t kind_of(const struct net_rxq *queue, uint8_t gso_type)
{
	bool ecn = gso_type & VIRTIO_NET_HDR_GSO_ECN;
	uint8_t type = gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].type == type && (queue->offloads & kinds[i].negotiated))
			return ecn && (!queue->ecn || type == VIRTIO_NET_HDR_GSO_UDP_L4)
				       ? 0
				       : kinds[i].offload;
	return 0;
}

/* A checksum that lies outside the frame is no checksum: the frame is taken without it. */
static void take_csum(
	struct net_rxq *queue, struct plx_packet *packet, const struct net_header *header)
{
	/* 5.1.9.4.2: with RSC_INFO the fields mean something else. */
	bool partial =
		(header->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_RSC_INFO)) ==
		VIRTIO_NET_HDR_F_NEEDS_CSUM;

	if (!(queue->offloads & PLX_ETH_OFFLOAD_RX_CSUM))
		return;
	if (header->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		packet->received = PLX_PACKET_CSUM_GOOD;
	if (!partial)
		return;
	if ((uint32_t)header->csum_start + header->csum_offset + 2 > packet->len ||
		header->csum_start >= packet->data_len || header->csum_offset > UINT8_MAX) {
		plx_counter_add(&queue->counters.bad_csum, 1);
		return;
	}
	packet->offload = PLX_PACKET_CSUM;
	packet->csum_start = header->csum_start;
	packet->csum_offset = (uint8_t)header->csum_offset;
}

static bool take_segmentation(
	struct net_rxq *queue, struct plx_packet *packet, const struct net_header *header)
{
	uint8_t kind;

	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	kind = kind_of(queue, header->gso_type);
	/* Without a checksum to complete nobody could send it on (5.1.9.4.1). */
	if (!kind || !header->gso_size || header->hdr_len > packet->len ||
		!(packet->offload & PLX_PACKET_CSUM))
		return false;
	packet->offload |= kind;
	packet->gso_size = header->gso_size;
	return true;
}

static void take_hash(struct plx_packet *packet, const uint8_t *at)
{
	uint16_t type = plx_shared16_read_anywhere(at + VIRTIO_NET_HDR_HASH_REPORT);

	if (type > VIRTIO_NET_HASH_REPORT_LAST)
		return;
	packet->hash_type = (uint8_t)type;
	packet->hash = plx_shared32_read_anywhere(at + VIRTIO_NET_HDR_HASH_VALUE);
}

bool net_offload_received(struct net_rxq *queue, struct plx_packet *packet, const uint8_t *at)
{
	struct net_header header = net_header_read(at);

	take_csum(queue, packet, &header);
	if (queue->offloads & PLX_ETH_OFFLOAD_RX_HASH)
		take_hash(packet, at);
	return take_segmentation(queue, packet, &header);
}

/* --- sending --- */

#define TCP_CSUM       16 /* bytes into the header */
#define TCP_OFFSET     12
#define TCP_FLAGS      13
#define TCP_CWR        0x80
#define TCP_HEADER_MIN 20
#define UDP_CSUM       6
#define UDP_HEADER     8

#define SEGMENTATIONS (PLX_PACKET_TSO4 | PLX_PACKET_TSO6 | PLX_PACKET_USO)

/* Each offload has the same bit in a packet and in a configuration. */
#define SAME_BIT(name) ((unsigned)PLX_PACKET_##name == (unsigned)PLX_ETH_OFFLOAD_TX_##name)
static_assert(SAME_BIT(CSUM) && SAME_BIT(TSO4) && SAME_BIT(TSO6) && SAME_BIT(USO),
	"a queue's offloads are compared with a packet's");
#undef SAME_BIT

/*
 * Bytes of all headers of a frame that is to be cut; 0 when they do not lie in its first segment.
 */
static uint32_t header_len(const struct plx_packet *packet)
{
	const uint8_t *transport = plx_packet_data(packet) + packet->csum_start;
	uint32_t len = UDP_HEADER;

	if (packet->csum_start + (packet->offload & PLX_PACKET_USO ? UDP_HEADER : TCP_HEADER_MIN) >
		packet->data_len)
		return 0;
	if (!(packet->offload & PLX_PACKET_USO)) {
		len = (uint32_t)(transport[TCP_OFFSET] >> 4) * 4;
		if (len < TCP_HEADER_MIN)
			return 0;
	}
	return packet->csum_start + len > packet->data_len ? 0 : packet->csum_start + len;
}

static bool wants_ecn(const struct plx_packet *packet)
{
	return !(packet->offload & PLX_PACKET_USO) &&
	       plx_packet_data(packet)[packet->csum_start + TCP_FLAGS] & TCP_CWR;
}

static const char *segmentation_fault(const struct net_txq *queue, const struct plx_packet *packet)
{
	uint8_t kind = packet->offload & SEGMENTATIONS;
	uint32_t headers;

	if (kind & (kind - 1))
		return "asks for more than one kind of segmentation";
	if (!(packet->offload & PLX_PACKET_CSUM))
		return "asks for segmentation without PLX_PACKET_CSUM";
	if (!packet->gso_size)
		return "asks for segmentation into frames of 0 bytes: set gso_size";
	if (packet->csum_offset != (kind == PLX_PACKET_USO ? UDP_CSUM : TCP_CSUM))
		return "has a csum_offset that is not that of the protocol to be segmented";
	headers = header_len(packet);
	if (!headers)
		return "has no whole transport header at csum_start of its first segment";
	if (headers + packet->gso_size > queue->frame_max)
		return "asks for segments longer than the MTU";
	if (wants_ecn(packet) && !queue->ecn)
		return "has the CWR flag of TCP, and F_HOST_ECN was not negotiated";
	return NULL;
}

const char *net_offload_fault(
	const struct net_txq *queue, const struct plx_packet *packet, uint32_t len)
{
	if (packet->offload & ~queue->offloads)
		return "asks for an offload that was not negotiated: see plx_eth_info.offloads";
	if (plx_packet_headroom(packet) < queue->header_len)
		return "asks for an offload and has no headroom for the device's header";
	if ((packet->offload & PLX_PACKET_CSUM) &&
		((uint32_t)packet->csum_start + packet->csum_offset + 2 > len ||
			packet->csum_start >= packet->data_len))
		return "has its checksum behind its end, or csum_start behind its first segment";
	return packet->offload & SEGMENTATIONS ? segmentation_fault(queue, packet) : NULL;
}

static uint8_t gso_type(const struct plx_packet *packet)
{
	uint8_t ecn = wants_ecn(packet) ? VIRTIO_NET_HDR_GSO_ECN : 0;

	switch (packet->offload & SEGMENTATIONS) {
	case PLX_PACKET_TSO4:
		return VIRTIO_NET_HDR_GSO_TCPV4 | ecn;
	case PLX_PACKET_TSO6:
		return VIRTIO_NET_HDR_GSO_TCPV6 | ecn;
	default:
		return VIRTIO_NET_HDR_GSO_UDP_L4;
	}
}

/*
 * 5.1.9.2. The length of the headers is read from the frame, so that it is exact whether or not
 * GUEST_HDRLEN asks for that; the same goes for ECN.
 */
void net_offload_request(const struct net_txq *queue, struct plx_packet *packet)
{
	uint8_t *at = plx_packet_data(packet) - queue->header_len;
	struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = htole16(packet->csum_start),
		.csum_offset = htole16(packet->csum_offset),
	};

	if (packet->offload & SEGMENTATIONS) {
		header.gso_type = gso_type(packet);
		header.gso_size = htole16(packet->gso_size);
		header.hdr_len = htole16((uint16_t)header_len(packet));
	}
	memset(at, 0, queue->header_len);
	memcpy(at, &header, MIN(sizeof(header), (size_t)queue->header_len));
}
