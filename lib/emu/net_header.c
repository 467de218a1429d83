/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <endian.h>
#include <string.h>

/* The header in front of each frame (virtio 1.4, 5.1.9): its size, and what a sender may write. */

#define GSO_BASE    0x1f /* without the tunnel and ECN bits */
#define GSO_TUNNEL4 0x20
#define GSO_TUNNEL6 0x40
#define GSO_TUNNELS (GSO_TUNNEL4 | GSO_TUNNEL6)
#define FLAGS_RX    (VIRTIO_NET_HDR_F_DATA_VALID | VIRTIO_NET_HDR_F_RSC_INFO)
#define ETHERNET    14
#define VLAN_TAG    4

uint32_t plx_emu_net_header_size(const struct plx_emu *emu)
{
	if (emu->legacy && !plx_emu_accepted(emu, VIRTIO_NET_F_MRG_RXBUF))
		return VIRTIO_NET_HDR_SIZE_LEGACY;
	if (plx_emu_accepted(emu, VIRTIO_NET_F_OUT_NET_HEADER) ||
		plx_emu_accepted(emu, VIRTIO_NET_F_IPSEC))
		return VIRTIO_NET_HDR_SIZE_OUTER;
	if (plx_emu_accepted(emu, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO) ||
		plx_emu_accepted(emu, VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO))
		return VIRTIO_NET_HDR_SIZE_TUNNEL;
	if (plx_emu_accepted(emu, VIRTIO_NET_F_HASH_REPORT))
		return VIRTIO_NET_HDR_SIZE_HASH;
	return VIRTIO_NET_HDR_SIZE;
}

/* The fields in the CPU's order; the old header ends before num_buffers. */
static struct virtio_net_hdr read_header(const uint8_t *from, uint32_t size)
{
	struct virtio_net_hdr header = {0};

	memcpy(&header, from, MIN(size, sizeof(header)));
	header.hdr_len = le16toh(header.hdr_len);
	header.gso_size = le16toh(header.gso_size);
	header.csum_start = le16toh(header.csum_start);
	header.csum_offset = le16toh(header.csum_offset);
	header.num_buffers = le16toh(header.num_buffers);
	return header;
}

/* What a kind of segmentation needs, and the rule that says so. */
static const struct {
	uint8_t type;
	uint8_t feature;
	const char *rule;
} segmentations[] = {
	{VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4, "NET-TX-7"},
	{VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6, "NET-TX-9"},
	{VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_HOST_UFO, "NET-TX-11"},
	{VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_F_HOST_USO, "NET-TX-13"},
};

static bool segments(const struct plx_emu *emu)
{
	for (unsigned i = 0; i < ARRAY_SIZE(segmentations); i++)
		if (plx_emu_accepted(emu, segmentations[i].feature))
			return true;
	return false;
}

/* Return: The rule that the kind of segmentation breaks, or NULL. */
static const char *segmentation_rule(const struct plx_emu *emu, const struct virtio_net_hdr *header)
{
	uint8_t type = header->gso_type & GSO_BASE;

	if (type == VIRTIO_NET_HDR_GSO_NONE)
		return NULL;
	if (!segments(emu))
		return "NET-TX-31";
	for (unsigned i = 0; i < ARRAY_SIZE(segmentations); i++)
		if (segmentations[i].type == type)
			return plx_emu_accepted(emu, segmentations[i].feature)
				       ? NULL
				       : segmentations[i].rule;
	return "NET-TX-31";
}

static const char *tunnel_rule(const struct plx_emu *emu, const struct virtio_net_hdr *header)
{
	uint8_t tunnels = header->gso_type & GSO_TUNNELS;
	bool sums = header->flags & VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM;

	if (tunnels && !plx_emu_accepted(emu, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO))
		return "NET-TX-17";
	if (tunnels == GSO_TUNNELS)
		return "NET-TX-25";
	if (tunnels && (header->gso_type & GSO_BASE) == VIRTIO_NET_HDR_GSO_UDP)
		return "NET-TX-24";
	if (sums && !plx_emu_accepted(emu, VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM))
		return "NET-TX-22";
	return sums && !tunnels ? "NET-TX-26" : NULL;
}

static const char *header_rule(
	const struct plx_emu *emu, const struct virtio_net_hdr *header, uint32_t len)
{
	bool needs_csum = header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	const char *rule;

	if (header->num_buffers)
		return "NET-TX-2";
	if (header->flags & FLAGS_RX)
		return "NET-TX-45";
	rule = segmentation_rule(emu, header);
	if (!rule)
		rule = tunnel_rule(emu, header);
	if (rule)
		return rule;
	if (header->flags && !plx_emu_accepted(emu, VIRTIO_NET_F_CSUM))
		return "NET-TX-3";
	if (needs_csum && (uint32_t)header->csum_start + header->csum_offset + 2 > len)
		return "NET-TX-30";
	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return NULL;
	if (!needs_csum)
		return "NET-TX-32";
	return header->gso_size ? NULL : "NET-TX-33";
}

static uint32_t longest(const struct plx_emu *emu, const uint8_t *frame, uint32_t len)
{
	bool tagged = len >= ETHERNET && frame[12] == 0x81 && frame[13] == 0x00;

	return emu->config.mtu + ETHERNET + (tagged ? VLAN_TAG : 0);
}

bool plx_emu_net_framing_fixed(const struct plx_emu *emu)
{
	return emu->legacy && !plx_emu_accepted(emu, VIRTIO_F_ANY_LAYOUT);
}

/* The header has a descriptor of its own (virtio 1.4, 5.1.9.6). */
void plx_emu_net_check_framing(
	struct plx_emu *emu, const struct plx_emu_queue *queue, unsigned parts)
{
	uint32_t header = plx_emu_net_header_size(emu);

	if (!plx_emu_net_framing_fixed(emu) || (parts > 1 && queue->part[0].len == header))
		return;
	plx_emu_report(emu, "LEG-NET-8",
		"a buffer of queue %u begins with a descriptor of %u bytes, not with the header's "
		"%u alone",
		queue->index, parts ? queue->part[0].len : 0, header);
}

bool plx_emu_net_header_valid(struct plx_emu *emu, const uint8_t *at, const uint8_t *frame,
	uint32_t len, struct virtio_net_hdr *header)
{
	struct virtio_net_hdr fields = read_header(at, plx_emu_net_header_size(emu));
	const char *rule = header_rule(emu, &fields, len);

	*header = fields;
	if (rule) {
		plx_emu_report(emu, rule,
			"a header with flags 0x%02x, gso_type 0x%02x, gso_size %u, csum %u+%u, "
			"num_buffers %u before %u bytes",
			fields.flags, fields.gso_type, fields.gso_size, fields.csum_start,
			fields.csum_offset, fields.num_buffers, len);
		return false;
	}
	if (fields.gso_type == VIRTIO_NET_HDR_GSO_NONE && plx_emu_accepted(emu, VIRTIO_NET_F_MTU) &&
		len > longest(emu, frame, len)) {
		plx_emu_report(emu, "NET-CFG-9", "a frame of %u bytes was sent with an MTU of %u",
			len, emu->config.mtu);
		return false;
	}
	return true;
}
