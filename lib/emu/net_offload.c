/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <netinet/in.h>
#include <string.h>

/*
 * What a card does to frames in the driver's place (virtio 1.4, 5.1.9.2): it completes checksums,
 * and cuts what is too long for the wire. Written plainly, to be the measure of what the driver
 * asks.
 */

#define ETHERNET 14
#define VLAN_TAG 4
#define TCP_CWR  0x80
#define TCP_LAST 0x09 /* FIN and PSH belong to the last segment */

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

/* RFC 1071, not complemented. */
static uint16_t sum(uint32_t total, const uint8_t *at, uint32_t len)
{
	for (uint32_t i = 0; i + 1 < len; i += 2)
		total += get16(at + i);
	if (len % 2)
		total += (uint32_t)at[len - 1] << 8;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)total;
}

/* Where the headers of a frame lie. */
struct layers {
	uint32_t ip;
	uint32_t transport;
	uint8_t version; /* 4 or 6; 0: it is no such frame */
	uint8_t protocol;
};

static struct layers find_layers(const uint8_t *frame, uint32_t len)
{
	uint32_t ip = ETHERNET;
	struct layers none = {0};

	if (len >= ETHERNET + VLAN_TAG && get16(frame + 12) == 0x8100)
		ip += VLAN_TAG;
	if (len >= ip + 20 && get16(frame + ip - 2) == 0x0800)
		return (struct layers){ip, ip + (frame[ip] & 0xfu) * 4, 4, frame[ip + 9]};
	if (len >= ip + 40 && get16(frame + ip - 2) == 0x86dd)
		return (struct layers){ip, ip + 40, 6, frame[ip + 6]};
	return none;
}

/* The sum of the pseudo header for so many bytes of transport header and payload. */
static uint16_t pseudo_sum(const uint8_t *frame, const struct layers *at, uint32_t len)
{
	uint32_t total = at->protocol + (len >> 16) + (len & 0xffff);

	return at->version == 4 ? sum(total, frame + at->ip + 12, 8)
				: sum(total, frame + at->ip + 8, 32);
}

static uint32_t csum_offset_of(uint8_t protocol)
{
	return protocol == IPPROTO_TCP ? 16 : 6;
}

/* A UDP checksum of 0 would say that there is none (RFC 768). */
static uint16_t finish(uint16_t total, uint8_t protocol)
{
	uint16_t value = (uint16_t)~total;

	return !value && protocol == IPPROTO_UDP ? 0xffff : value;
}

bool plx_emu_net_csum_good(const uint8_t *frame, uint32_t len)
{
	struct layers at = find_layers(frame, len);
	uint32_t end = len;

	if (!at.version || (at.protocol != IPPROTO_TCP && at.protocol != IPPROTO_UDP))
		return false;
	end = at.version == 4 ? at.ip + get16(frame + at.ip + 2)
			      : at.ip + 40 + get16(frame + at.ip + 4);
	if (end > len || at.transport + 8 > end)
		return false;
	if (at.protocol == IPPROTO_UDP && !get16(frame + at.transport + 6))
		return false;
	return sum(pseudo_sum(frame, &at, end - at.transport), frame + at.transport,
		       end - at.transport) == 0xffff;
}

/* What the driver must have prepared; a breach for each thing that is not as it should be. */
static bool check_csum(struct plx_emu *emu, const struct virtio_net_hdr *header,
	const uint8_t *frame, uint32_t len, const struct layers *at)
{
	uint16_t is = get16(frame + header->csum_start + header->csum_offset);
	uint16_t expected;

	if (!at->version)
		return true;
	if (header->csum_start != at->transport ||
		header->csum_offset != csum_offset_of(at->protocol)) {
		plx_emu_report(emu, "NET-TX-30",
			"a checksum at %u+%u of a frame whose transport header lies at %u",
			header->csum_start, header->csum_offset, at->transport);
		return false;
	}
	expected = pseudo_sum(frame, at, len - at->transport);
	if (is != expected) {
		plx_emu_report(emu, "NET-TX-29",
			"the checksum field holds 0x%04x and the sum of the pseudo header is 0x%04x",
			is, expected);
		return false;
	}
	return true;
}

static bool check_segmentation(struct plx_emu *emu, const struct virtio_net_hdr *header,
	const uint8_t *frame, uint32_t headers, const struct layers *at)
{
	uint8_t type = header->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	bool tcp = type != VIRTIO_NET_HDR_GSO_UDP_L4;
	bool cwr = tcp && frame[at->transport + 13] & TCP_CWR;
	bool fits = type == VIRTIO_NET_HDR_GSO_TCPV4   ? at->version == 4
		    : type == VIRTIO_NET_HDR_GSO_TCPV6 ? at->version == 6
						       : at->version != 0;

	if (!fits || at->protocol != (tcp ? IPPROTO_TCP : IPPROTO_UDP)) {
		plx_emu_report(emu, "NET-TX-33", "gso_type 0x%02x of a frame of IPv%u, protocol %u",
			header->gso_type, at->version, at->protocol);
		return false;
	}
	if (plx_emu_accepted(emu, VIRTIO_NET_F_GUEST_HDRLEN) ? header->hdr_len != headers
							     : header->hdr_len < headers)
		plx_emu_report(emu,
			plx_emu_accepted(emu, VIRTIO_NET_F_GUEST_HDRLEN) ? "NET-TX-34"
									 : "NET-TX-35",
			"hdr_len is %u of headers of %u bytes", header->hdr_len, headers);
	if (cwr && !plx_emu_accepted(emu, VIRTIO_NET_F_HOST_ECN))
		plx_emu_report(emu, "NET-TX-14", "a segmented frame has CWR without HOST_ECN");
	if (cwr != !!(header->gso_type & VIRTIO_NET_HDR_GSO_ECN))
		plx_emu_report(emu, "NET-TX-15", "gso_type is 0x%02x of a frame %s CWR",
			header->gso_type, cwr ? "with" : "without");
	return true;
}

/* Make the copied headers those of segment @index, with @payload bytes from @done on. */
static void adapt(uint8_t *frame, const struct layers *at, uint32_t headers, uint32_t payload,
	uint32_t done, unsigned index, bool last)
{
	uint8_t *ip = frame + at->ip, *transport = frame + at->transport;
	uint32_t len = headers - at->transport + payload;

	if (at->version == 4) {
		put16(ip + 2, headers - at->ip + payload);
		put16(ip + 4, get16(ip + 4) + index);
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~sum(0, ip, at->transport - at->ip));
	} else {
		put16(ip + 4, len);
	}
	if (at->protocol == IPPROTO_TCP) {
		put32(transport + 4, get32(transport + 4) + done);
		if (!last)
			transport[13] &= (uint8_t)~TCP_LAST;
		if (index)
			transport[13] &= (uint8_t)~TCP_CWR;
	} else {
		put16(transport + 4, len);
	}
	put16(transport + csum_offset_of(at->protocol), 0);
	put16(transport + csum_offset_of(at->protocol),
		finish(sum(pseudo_sum(frame, at, len), transport, len), at->protocol));
}

static bool cut(struct plx_emu *emu, unsigned pair, const struct virtio_net_hdr *header,
	const uint8_t *frame, uint32_t len, const struct layers *at)
{
	static const uint32_t least = 8;
	uint8_t segment[PLX_EMU_HEADER + 512 + UINT16_MAX];
	uint32_t headers;

	if (!at->version || at->transport + 20 > len + 12)
		return false;
	headers = at->transport + (at->protocol == IPPROTO_TCP
						  ? (uint32_t)(frame[at->transport + 12] >> 4) * 4
						  : least);
	if (headers > len || headers > 512 || !check_segmentation(emu, header, frame, headers, at))
		return false;
	for (uint32_t done = 0, index = 0; done < len - headers || !index; index++) {
		uint32_t payload = MIN(len - headers - done, header->gso_size);

		memcpy(segment, frame, headers);
		memcpy(segment + headers, frame + headers + done, payload);
		adapt(segment, at, headers, payload, done, index, done + payload == len - headers);
		emu->peer->ops->send(emu->peer, pair, segment, headers + payload);
		done += payload;
	}
	return true;
}

bool plx_emu_net_send(struct plx_emu *emu, unsigned pair, const struct virtio_net_hdr *header,
	uint8_t *frame, uint32_t len)
{
	struct layers at = find_layers(frame, len);
	uint8_t *field = frame + header->csum_start + header->csum_offset;

	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
		!check_csum(emu, header, frame, len, &at))
		return false;
	if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return cut(emu, pair, header, frame, len, &at);
	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		put16(field, finish(sum(0, frame + header->csum_start, len - header->csum_start),
				     at.protocol));
	emu->peer->ops->send(emu->peer, pair, frame, len);
	return true;
}
