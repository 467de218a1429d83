/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_offload.h"

#include "base/error.h"
#include "virtio/virtq.h"

/* What a frame must be to be sent, and what is said of one that is not. */

static uint32_t tag_len(const struct plx_packet *packet)
{
	const uint8_t *data = plx_packet_data(packet);
	bool tagged =
		packet->data_len > NET_ETHERNET_HEADER &&
		((data[12] == 0x81 && data[13] == 0x00) || (data[12] == 0x88 && data[13] == 0xa8));

	return tagged ? NET_VLAN_TAG : 0;
}

/* A VLAN tag does not count against the MTU (5.1.4.2). */
uint32_t net_tx_frame_max(const struct net_txq *queue, const struct plx_packet *packet)
{
	/* One that the device cuts may be as long as IP can say. */
	if (packet->offload & (uint8_t)~PLX_PACKET_CSUM)
		return NET_FRAME_MAX;
	return queue->frame_max + tag_len(packet);
}

unsigned net_tx_measure(const struct plx_packet *packet, unsigned limit, uint32_t *len)
{
	unsigned segments = packet->segments;

	*len = 0;
	if (segments > limit)
		return 0;
	for (unsigned i = 0; i < segments; i++) {
		if (!packet || !packet->data_len)
			return 0;
		*len += packet->data_len;
		packet = packet->next;
	}
	/* A frame of one segment may hold a link from its last life. */
	return packet && segments > 1 ? 0 : segments;
}

/* Return: what is wrong with a frame, to follow "frame 3 "; NULL when it can be sent. */
static const char *fault_of(const struct net_txq *queue, const struct plx_packet *packet)
{
	bool apart = queue->header_apart || plx_packet_headroom(packet) < queue->header_len;
	unsigned limit = MIN((unsigned)queue->vq->size - apart, (unsigned)NET_SEGMENTS_MAX);
	const char *fault = NULL;
	uint32_t len;

	if (!net_tx_measure(packet, limit, &len))
		return "has an empty segment, or more segments than can be sent, or another number of them";
	if (packet->offload)
		fault = net_offload_fault(queue, packet, len);
	if (!fault && len > net_tx_frame_max(queue, packet))
		fault = "is longer than the device takes";
	return fault;
}

int net_tx_prepare(struct plx_eth_txq *base, struct plx_packet *const *packets, unsigned count)
{
	const struct net_txq *queue = container_of(base, struct net_txq, base);

	for (unsigned i = 0; i < count; i++) {
		const char *fault = fault_of(queue, packets[i]);

		if (!fault)
			continue;
		plx_note_failure("%s: frame %u %s", queue->vq->name, i, fault);
		return (int)i;
	}
	return (int)count;
}
