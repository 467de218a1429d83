/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <endian.h>
#include <netinet/in.h>
#include <string.h>

/* Hashes of frames, and the queue that follows from one (virtio 1.4, 5.1.9.4.3 and 5.1.9.5.7). */

/* --- what the driver asks for --- */

/* The data of a command, taken from its beginning; what is not there reads as 0. */
struct reader {
	const uint8_t *at;
	uint32_t left;
	bool short_;
};

static uint32_t take(struct reader *reader, unsigned len)
{
	uint32_t value = 0;

	if (reader->left < len) {
		reader->short_ = true;
		return 0;
	}
	for (unsigned i = 0; i < len; i++)
		value |= (uint32_t)reader->at[i] << 8 * i;
	reader->at += len;
	reader->left -= len;
	return value;
}

/* The key ends the command. */
static bool take_key(struct reader *reader, struct plx_emu_rss *rss, uint8_t *len)
{
	*len = (uint8_t)take(reader, 1);
	if (reader->short_ || *len > sizeof(rss->key) || *len != reader->left)
		return false;
	memset(rss->key, 0, sizeof(rss->key));
	memcpy(rss->key, reader->at, *len);
	return true;
}

static bool types_are_known(struct plx_emu *emu, uint32_t types)
{
	if (!(types & ~PLX_EMU_HASH_TYPES))
		return true;
	plx_emu_report(emu, "NET-RSS-5", "the hash types 0x%x were asked for of 0x%x", types,
		PLX_EMU_HASH_TYPES);
	return false;
}

static bool is_receive_queue(struct plx_emu *emu, uint16_t pair)
{
	if (pair < emu->config.pairs && emu->queue[VIRTIO_NET_RXQ((size_t)pair)].enabled)
		return true;
	plx_emu_report(
		emu, "NET-RSS-2", "the table leads to receive queue %u, which is not set up", pair);
	return false;
}

static bool take_table(struct plx_emu *emu, struct reader *reader, struct plx_emu_rss *rss)
{
	uint32_t len = take(reader, 2) + 1;

	if (!plx_is_power_of_two(len)) {
		plx_emu_report(emu, "NET-RSS-3", "a table of %u entries was set", len);
		return false;
	}
	if (len > PLX_EMU_RSS_TABLE) {
		plx_emu_report(emu, "NET-RSS-4", "a table of %u entries was set of at most %u", len,
			PLX_EMU_RSS_TABLE);
		return false;
	}
	rss->table_len = (uint16_t)len;
	rss->unclassified = (uint16_t)take(reader, 2);
	if (!is_receive_queue(emu, rss->unclassified))
		return false;
	for (unsigned i = 0; i < len; i++) {
		rss->table[i] = (uint16_t)take(reader, 2);
		if (!is_receive_queue(emu, rss->table[i]))
			return false;
	}
	return true;
}

bool plx_emu_net_set_rss(struct plx_emu *emu, const uint8_t *data, uint32_t len)
{
	struct plx_emu_net_state *state = &emu->net.state;
	struct reader reader = {data, len, false};
	struct plx_emu_rss rss = {.hash_types = take(&reader, 4)};
	uint16_t tx_queues;
	uint8_t key_len;

	if (!types_are_known(emu, rss.hash_types) || !take_table(emu, &reader, &rss))
		return false;
	tx_queues = (uint16_t)take(&reader, 2);
	if (!take_key(&reader, &rss, &key_len) || !tx_queues || tx_queues > emu->config.pairs)
		return false;
	emu->net.rss = rss;
	state->hash_types = rss.hash_types;
	state->rss_table_len = rss.table_len;
	state->rss_unclassified = rss.unclassified;
	state->rss_tx_queues = tx_queues;
	state->hash_key_len = key_len;
	state->pairs = tx_queues;
	for (unsigned i = 0; i < rss.table_len; i++)
		state->pairs = MAX(state->pairs, (uint16_t)(rss.table[i] + 1));
	emu->net.pairs_set = true;
	return true;
}

bool plx_emu_net_set_hash(struct plx_emu *emu, const uint8_t *data, uint32_t len)
{
	struct reader reader = {data, len, false};
	struct plx_emu_rss rss = {.hash_types = take(&reader, 4)};
	uint8_t key_len;

	if (!types_are_known(emu, rss.hash_types))
		return false;
	for (unsigned i = 0; i < 4; i++)
		if (take(&reader, 2)) {
			plx_emu_report(
				emu, "BODY-NET-6", "reserved field %u of HASH_CONFIG is not 0", i);
			return false;
		}
	if (!take_key(&reader, &rss, &key_len))
		return false;
	emu->net.rss = rss;
	emu->net.state.hash_types = rss.hash_types;
	emu->net.state.rss_table_len = 0;
	emu->net.state.hash_key_len = key_len;
	return true;
}

/* --- what a frame is --- */

/* A 32-bit window slides along the key, a bit for each bit of the input. */
static uint32_t toeplitz(const uint8_t *key, const uint8_t *input, unsigned len)
{
	uint32_t hash = 0, window;

	memcpy(&window, key, sizeof(window));
	window = be32toh(window);
	for (unsigned bit = 0; bit < 8 * len; bit++) {
		unsigned next = bit + 32;

		if (input[bit / 8] >> (7 - bit % 8) & 1)
			hash ^= window;
		window = window << 1 |
			 (next / 8 < PLX_EMU_RSS_KEY ? key[next / 8] >> (7 - next % 8) & 1 : 0);
	}
	return hash;
}

/* What of a frame is hashed, and as what it is reported. */
struct flow {
	uint8_t bytes[36]; /* addresses, then ports */
	unsigned addresses;
	unsigned base; /* bit of the plain type: IPv4 0, IPv6 3; TCP and UDP follow it */
	uint8_t protocol;
	bool ports;
};

static bool read_ipv4(const uint8_t *ip, uint32_t len, struct flow *flow)
{
	uint32_t header = len >= 20 ? (uint32_t)(ip[0] & 0xf) * 4 : 0;

	if (header < 20 || len < header)
		return false;
	*flow = (struct flow){.addresses = 8, .base = 0, .protocol = ip[9]};
	memcpy(flow->bytes, ip + 12, 8);
	/* Fragments have no ports but in the first, and are to stay together. */
	flow->ports = len >= header + 4 && !((ip[6] & 0x3f) | ip[7]);
	if (flow->ports)
		memcpy(flow->bytes + 8, ip + header, 4);
	return true;
}

static bool read_ipv6(const uint8_t *ip, uint32_t len, struct flow *flow)
{
	if (len < 40)
		return false;
	*flow = (struct flow){.addresses = 32, .base = 3, .protocol = ip[6]};
	memcpy(flow->bytes, ip + 8, 32);
	flow->ports = len >= 44;
	if (flow->ports)
		memcpy(flow->bytes + 32, ip + 40, 4);
	return true;
}

static bool read_flow(const uint8_t *frame, uint32_t len, struct flow *flow)
{
	if (len < 14)
		return false;
	if (frame[12] == 0x08 && frame[13] == 0x00)
		return read_ipv4(frame + 14, len - 14, flow);
	if (frame[12] == 0x86 && frame[13] == 0xdd)
		return read_ipv6(frame + 14, len - 14, flow);
	return false;
}

uint16_t plx_emu_net_hash(
	const struct plx_emu *emu, const uint8_t *frame, uint32_t len, uint32_t *hash)
{
	const struct plx_emu_rss *rss = &emu->net.rss;
	struct flow flow;
	unsigned kind;

	if (!rss->hash_types || !read_flow(frame, len, &flow))
		return VIRTIO_NET_HASH_REPORT_NONE;
	kind = !flow.ports                    ? 0
	       : flow.protocol == IPPROTO_TCP ? 1
	       : flow.protocol == IPPROTO_UDP ? 2
					      : 0;
	if (!(rss->hash_types >> (flow.base + kind) & 1))
		kind = 0;
	if (!(rss->hash_types >> (flow.base + kind) & 1))
		return VIRTIO_NET_HASH_REPORT_NONE;
	*hash = toeplitz(rss->key, flow.bytes, flow.addresses + (kind ? 4 : 0));
	return (uint16_t)(1 + flow.base + kind);
}

unsigned plx_emu_net_steer(const struct plx_emu *emu, const uint8_t *frame, uint32_t len)
{
	const struct plx_emu_rss *rss = &emu->net.rss;
	uint32_t hash;

	if (!rss->table_len)
		return 0;
	if (plx_emu_net_hash(emu, frame, len, &hash) == VIRTIO_NET_HASH_REPORT_NONE)
		return rss->unclassified;
	return rss->table[hash & (rss->table_len - 1u)];
}
