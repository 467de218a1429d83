/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

/*
 * The mode csum: every frame of TCP or UDP leaves with a checksum made anew, by the device where it
 * has that offload and here where it has not. What came with work left undone is sent on as it
 * came.
 */

#define VLAN_TAG    4
#define IPV4_LEAST  20
#define IPV6_HEADER 40
#define TCP_LEAST   20
#define UDP_HEADER  8

/* The headers of a frame, all in its first segment. */
struct headers {
	uint8_t *ip;
	uint8_t *transport;
	uint32_t len; /* from the transport header to the end of the IP packet */
	bool ipv6;
	bool tcp;
};

static uint16_t load16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return ntohs(value);
}

static bool find_ipv4(struct headers *headers, uint32_t room, uint32_t in_frame)
{
	const uint8_t *ip = headers->ip;
	uint32_t header = room >= IPV4_LEAST ? (uint32_t)(ip[0] & 0xf) * 4 : 0;
	uint32_t total;

	/* A fragment's checksum is that of the whole. */
	if (header < IPV4_LEAST || header > room || load16(ip + 6) & 0x3fff)
		return false;
	total = load16(ip + 2);
	if (total < header || total > in_frame)
		return false;
	headers->tcp = ip[9] == IPPROTO_TCP;
	headers->transport = headers->ip + header;
	headers->len = total - header;
	return headers->tcp || ip[9] == IPPROTO_UDP;
}

static bool find_ipv6(struct headers *headers, uint32_t room, uint32_t in_frame)
{
	const uint8_t *ip = headers->ip;

	if (room < IPV6_HEADER)
		return false;
	headers->ipv6 = true;
	headers->tcp = ip[6] == IPPROTO_TCP;
	headers->transport = headers->ip + IPV6_HEADER;
	headers->len = load16(ip + 4);
	return (headers->tcp || ip[6] == IPPROTO_UDP) && IPV6_HEADER + headers->len <= in_frame;
}

static bool find_headers(const struct plx_packet *packet, struct headers *headers)
{
	uint8_t *data = plx_packet_data(packet);
	uint32_t at = sizeof(struct ether_header), room;
	bool found;

	if (packet->data_len < at + VLAN_TAG)
		return false;
	if (load16(data + at - 2) == ETHERTYPE_VLAN)
		at += VLAN_TAG;
	*headers = (struct headers){.ip = data + at};
	room = packet->data_len - at;
	switch (load16(data + at - 2)) {
	case ETHERTYPE_IP:
		found = find_ipv4(headers, room, packet->len - at);
		break;
	case ETHERTYPE_IPV6:
		found = find_ipv6(headers, room, packet->len - at);
		break;
	default:
		return false;
	}
	return found && headers->len >= (headers->tcp ? TCP_LEAST : UDP_HEADER) &&
	       headers->transport + (headers->tcp ? TCP_LEAST : UDP_HEADER) <=
		       data + packet->data_len;
}

static uint8_t *checksum_of(const struct headers *headers)
{
	return headers->transport + (headers->tcp ? 16 : 6);
}

/* RFC 1071; @odd: whether the bytes so far were odd in number. */
static uint64_t add_bytes(uint64_t sum, const uint8_t *at, uint32_t len, bool odd)
{
	uint32_t i = 0;

	if (odd && len)
		sum += at[i++];
	for (; i + 1 < len; i += 2)
		sum += load16(at + i);
	return i < len ? sum + ((uint64_t)at[i] << 8) : sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void store16(uint8_t *at, uint16_t value)
{
	value = htons(value);
	memcpy(at, &value, sizeof(value));
}

static uint16_t pseudo_sum(const struct headers *headers)
{
	uint64_t sum = (headers->tcp ? IPPROTO_TCP : IPPROTO_UDP) + (uint64_t)headers->len;

	return fold(headers->ipv6 ? add_bytes(sum, headers->ip + 8, 32, false)
				  : add_bytes(sum, headers->ip + 12, 8, false));
}

/* Sum up the transport header and what follows, over all segments. */
static uint64_t sum_chain(
	const struct plx_packet *packet, const struct headers *headers, uint64_t sum)
{
	const uint8_t *at = headers->transport;
	uint32_t room = (uint32_t)(plx_packet_data(packet) + packet->data_len - at);
	uint32_t done = 0;

	for (;;) {
		uint32_t len = headers->len - done < room ? headers->len - done : room;

		sum = add_bytes(sum, at, len, done % 2);
		done += len;
		packet = packet->next;
		if (done == headers->len || !packet)
			return sum;
		at = plx_packet_data(packet);
		room = packet->data_len;
	}
}

/* Complete a checksum here; the field holds the sum of the pseudo header. */
static void complete(struct plx_packet *packet, const struct headers *headers)
{
	uint16_t value = (uint16_t)~fold(sum_chain(packet, headers, 0));

	/* 0 would say that there is none (RFC 768). */
	store16(checksum_of(headers), !value && !headers->tcp ? 0xffff : value);
	packet->offload = 0;
}

void fwd_frame_checksum(struct plx_packet *packet, uint32_t offloads)
{
	struct headers headers;

	/* Left undone by its sender, and the device can do it. */
	if (packet->offload && !(packet->offload & ~offloads))
		return;
	/* What is to be cut cannot be completed here: the device says that it drops it. */
	if (packet->offload & (uint8_t)~PLX_PACKET_CSUM || !find_headers(packet, &headers))
		return;
	if (!headers.tcp && !packet->offload && !load16(checksum_of(&headers)))
		return; /* UDP without a checksum stays so */
	store16(checksum_of(&headers), pseudo_sum(&headers));
	packet->offload = PLX_PACKET_CSUM;
	packet->csum_start = (uint16_t)(headers.transport - plx_packet_data(packet));
	packet->csum_offset = headers.tcp ? 16 : 6;
	if (!(offloads & PLX_PACKET_CSUM))
		complete(packet, &headers);
}
