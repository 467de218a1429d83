/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <string.h>

/* The control queue (virtio 1.4, 5.1.9.5). */

#define COMMAND_MAX 8192 /* class, command and data */
#define VLANS       4096

/* Note a command for which nothing was negotiated. */
static bool negotiated(struct plx_emu *emu, unsigned feature, const char *rule)
{
	if (plx_emu_accepted(emu, feature))
		return true;
	plx_emu_report(emu, rule, "a command was sent that needs bit %u", feature);
	return false;
}

static bool rx_mode(struct plx_emu *emu, uint8_t command, const uint8_t *data, uint32_t len)
{
	struct plx_emu_net_state *state = &emu->net.state;
	bool *modes[] = {&state->promiscuous, &state->all_multicast, &state->all_unicast,
		&state->no_multicast, &state->no_unicast, &state->no_broadcast};
	bool extra = command >= 2;

	if (command >= ARRAY_SIZE(modes) || len != 1 || data[0] > 1)
		return false;
	if (!negotiated(emu, extra ? VIRTIO_NET_F_CTRL_RX_EXTRA : VIRTIO_NET_F_CTRL_RX,
		    extra ? "NET-RXMODE-2" : "NET-RXMODE-1"))
		return false;
	*modes[command] = data[0];
	return true;
}

/* Two tables, each its count and its addresses. */
static bool mac_tables(struct plx_emu *emu, const uint8_t *data, uint32_t len)
{
	uint32_t entries[2];

	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
		if (len < 4)
			goto malformed;
		entries[i] = plx_emu_get32(data);
		data += 4;
		len -= 4;
		if (entries[i] > len / 6)
			goto malformed;
		data += (size_t)6 * entries[i];
		len -= 6 * entries[i];
	}
	if (len)
		goto malformed;
	emu->net.state.unicast = entries[0];
	emu->net.state.multicast = entries[1];
	return true;
malformed:
	plx_emu_report(emu, "NET-MAC-3", "the tables of MAC_TABLE_SET do not fill its data");
	return false;
}

static bool mac(struct plx_emu *emu, uint8_t command, const uint8_t *data, uint32_t len)
{
	if (command == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return negotiated(emu, VIRTIO_NET_F_CTRL_RX, "NET-MAC-1") &&
		       mac_tables(emu, data, len);
	if (command != VIRTIO_NET_CTRL_MAC_ADDR_SET || len != 6 ||
		!negotiated(emu, VIRTIO_NET_F_CTRL_MAC_ADDR, "NET-MAC-1"))
		return false;
	memcpy(emu->net.state.mac, data, 6);
	return true;
}

static bool vlan(struct plx_emu *emu, uint8_t command, const uint8_t *data, uint32_t len)
{
	uint16_t id = len == 2 ? plx_emu_get16(data) : VLANS;
	uint8_t bit, *byte;
	bool known;

	if (id >= VLANS || command > VIRTIO_NET_CTRL_VLAN_DEL ||
		!plx_emu_accepted(emu, VIRTIO_NET_F_CTRL_VLAN))
		return false;
	bit = (uint8_t)(1u << id % 8);
	byte = &emu->net.vlan[id / 8];
	known = *byte & bit;
	if (command == VIRTIO_NET_CTRL_VLAN_ADD && !known)
		emu->net.state.vlans++;
	else if (command == VIRTIO_NET_CTRL_VLAN_DEL && known)
		emu->net.state.vlans--;
	*byte = (uint8_t)(command == VIRTIO_NET_CTRL_VLAN_ADD ? *byte | bit : *byte & ~bit);
	return true;
}

static bool announce(struct plx_emu *emu, uint8_t command, uint32_t len)
{
	if (command || len || !plx_emu_accepted(emu, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	emu->net.status &= (uint16_t)~VIRTIO_NET_S_ANNOUNCE;
	emu->net.state.announce_acks++;
	return true;
}

static bool pairs(struct plx_emu *emu, const uint8_t *data, uint32_t len)
{
	uint16_t count = len == 2 ? plx_emu_get16(data) : 0;

	if (len != 2 || !plx_emu_accepted(emu, VIRTIO_NET_F_MQ))
		return false;
	if (!count || count > emu->config.pairs) {
		plx_emu_report(emu, "NET-MQ-2", "%u queue pairs were asked for of %u", count,
			emu->config.pairs);
		return false;
	}
	for (unsigned i = 0; i < 2u * count; i++)
		if (!emu->queue[i].enabled) {
			plx_emu_report(emu, "NET-MQ-1",
				"%u queue pairs were asked for and queue %u is not set up", count,
				i);
			return false;
		}
	emu->net.state.pairs = count;
	emu->net.pairs_set = true;
	emu->net.rss.table_len = 0; /* it steers by itself again */
	return true;
}

static bool steering(struct plx_emu *emu, uint8_t command, const uint8_t *data, uint32_t len)
{
	switch (command) {
	case VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET:
		return pairs(emu, data, len);
	case VIRTIO_NET_CTRL_MQ_RSS_CONFIG:
		return negotiated(emu, VIRTIO_NET_F_RSS, "NET-RSS-1") &&
		       plx_emu_net_set_rss(emu, data, len);
	case VIRTIO_NET_CTRL_MQ_HASH_CONFIG:
		return plx_emu_accepted(emu, VIRTIO_NET_F_HASH_REPORT) &&
		       plx_emu_net_set_hash(emu, data, len);
	default:
		return false;
	}
}

/* The features that are receive offloads, each of its own bit (virtio 1.4, 5.1.9.5.8.1). */
#define GUEST_OFFLOADS                                                                             \
	(UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM | UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 |         \
		UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 | UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN |   \
		UINT64_C(1) << VIRTIO_NET_F_GUEST_UFO | UINT64_C(1) << VIRTIO_NET_F_GUEST_USO4 |   \
		UINT64_C(1) << VIRTIO_NET_F_GUEST_USO6)

static bool guest_offloads(struct plx_emu *emu, uint8_t command, const uint8_t *data, uint32_t len)
{
	uint64_t wanted =
		len == 8 ? plx_emu_get32(data) | (uint64_t)plx_emu_get32(data + 4) << 32 : 0;

	if (command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || len != 8 ||
		!plx_emu_accepted(emu, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
		return false;
	if (wanted & ~(emu->accepted[0] & GUEST_OFFLOADS)) {
		plx_emu_report(emu, "NET-OFFL-1",
			"receive offloads 0x%llx were asked for, and not all were negotiated",
			(unsigned long long)wanted);
		return false;
	}
	emu->net.state.guest_offloads = wanted;
	return true;
}

static bool queue_coalescing(struct plx_emu *emu, const uint8_t *data, uint32_t len, bool set,
	struct plx_emu_net_answer *answer)
{
	uint16_t index = len >= 4 ? plx_emu_get16(data) : 0;

	if (len != (set ? sizeof(struct virtio_net_ctrl_coal_vq) : 4u))
		return false;
	if (index >= plx_emu_net_control_index(emu) || !emu->queue[index].enabled) {
		plx_emu_report(emu, "NET-COAL-1",
			"what queue %u coalesces was asked or told, and it is no queue that is enabled",
			index);
		return false;
	}
	if (set) {
		emu->net.coalescing[index].max_packets = plx_emu_get32(data + 4);
		emu->net.coalescing[index].max_usecs = plx_emu_get32(data + 8);
		return true;
	}
	plx_emu_net_put32(answer, emu->net.coalescing[index].max_packets);
	plx_emu_net_put32(answer, emu->net.coalescing[index].max_usecs);
	return true;
}

static bool coalescing(struct plx_emu *emu, uint8_t command, const uint8_t *data, uint32_t len,
	struct plx_emu_net_answer *answer)
{
	bool all = command == VIRTIO_NET_CTRL_NOTF_COAL_TX_SET ||
		   command == VIRTIO_NET_CTRL_NOTF_COAL_RX_SET;

	if (command > VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET)
		return false;
	if (!all)
		return negotiated(emu, VIRTIO_NET_F_VQ_NOTF_COAL, "NET-COAL-3") &&
		       queue_coalescing(
			       emu, data, len, command == VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET, answer);
	if (len != sizeof(struct virtio_net_ctrl_coal) ||
		!negotiated(emu, VIRTIO_NET_F_NOTF_COAL, "NET-COAL-2"))
		return false;
	for (unsigned i = command == VIRTIO_NET_CTRL_NOTF_COAL_TX_SET;
		i < plx_emu_net_control_index(emu); i += 2) {
		emu->net.coalescing[i].max_packets = plx_emu_get32(data);
		emu->net.coalescing[i].max_usecs = plx_emu_get32(data + 4);
	}
	return true;
}

static bool execute(struct plx_emu *emu, const uint8_t *command, uint32_t len,
	struct plx_emu_net_answer *answer)
{
	const uint8_t *data = command + 2;

	if (len < 2)
		return false;
	len -= 2;
	switch (command[0]) {
	case VIRTIO_NET_CTRL_RX:
		return rx_mode(emu, command[1], data, len);
	case VIRTIO_NET_CTRL_MAC:
		return mac(emu, command[1], data, len);
	case VIRTIO_NET_CTRL_VLAN:
		return vlan(emu, command[1], data, len);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return announce(emu, command[1], len);
	case VIRTIO_NET_CTRL_MQ:
		return steering(emu, command[1], data, len);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return guest_offloads(emu, command[1], data, len);
	case VIRTIO_NET_CTRL_NOTF_COAL:
		return coalescing(emu, command[1], data, len, answer);
	case VIRTIO_NET_CTRL_STATS:
		return plx_emu_net_stats(emu, command[1], data, len, answer);
	default:
		return false;
	}
}

/* The length of the address table at @at of a command, as its count tells. */
static uint32_t table_len(const uint8_t *command, uint32_t len, uint32_t at)
{
	return at + 4 <= len ? 4 + 6 * plx_emu_get32(command + at) : 0;
}

/*
 * Without ANY_LAYOUT: class and command together, each piece of data alone, and the acknowledgement
 * alone (virtio 1.4, 5.1.9.6).
 */
static void check_framing(struct plx_emu *emu, const struct plx_emu_queue *queue, unsigned parts,
	const uint8_t *command, uint32_t len)
{
	const struct plx_emu_part *part = queue->part;
	bool tables = len > 2 && command[0] == VIRTIO_NET_CTRL_MAC &&
		      command[1] == VIRTIO_NET_CTRL_MAC_TABLE_SET;
	unsigned data = tables ? 2 : len > 2;

	if (!plx_emu_net_framing_fixed(emu))
		return;
	if (parts != 2 + data || part[0].len != 2 || part[parts - 1].len != 1)
		plx_emu_report(emu, "LEG-NET-9",
			"a command of %u bytes lies in %u descriptors, the first of %u bytes", len,
			parts, part[0].len);
	else if (tables && part[1].len != table_len(command, len, 2))
		plx_emu_report(emu, "LEG-NET-10",
			"the unicast table of MAC_TABLE_SET lies in a descriptor of %u bytes",
			part[1].len);
	else if (tables && part[2].len != table_len(command, len, 2 + part[1].len))
		plx_emu_report(emu, "LEG-NET-11",
			"the multicast table of MAC_TABLE_SET lies in a descriptor of %u bytes",
			part[2].len);
}

/* Carry out one command. Return: bytes written into the buffer. */
static uint32_t carry_out(struct plx_emu *emu, struct plx_emu_queue *queue, unsigned parts)
{
	const struct plx_emu_hooks *hooks = &emu->config.hooks;
	uint8_t command[COMMAND_MAX];
	struct plx_emu_net_answer answer = {.len = 1, .bytes = {VIRTIO_NET_ERR}};
	uint32_t len = plx_emu_gather(queue->part, parts, command, sizeof(command));

	emu->stats.commands++;
	check_framing(emu, queue, parts, command, len);
	for (unsigned i = 0; i < parts; i++)
		answer.room += queue->part[i].write ? queue->part[i].len : 0;
	if (execute(emu, command, len, &answer))
		answer.bytes[0] = VIRTIO_NET_OK;
	else
		emu->stats.commands_failed++;
	if (hooks->ack && len >= 2 &&
		!hooks->ack(hooks->arg, command[0], command[1], &answer.bytes[0]))
		return 0;
	return plx_emu_scatter(queue->part, parts, 0, answer.bytes, answer.len);
}

unsigned plx_emu_net_control(struct plx_emu *emu, struct plx_emu_queue *queue, unsigned budget)
{
	unsigned done = 0;

	if (!plx_emu_queue_ready(queue))
		return 0;
	plx_emu_queue_notice(queue);
	while (done < budget && !queue->held && plx_emu_queue_next(queue)) {
		unsigned parts = plx_emu_queue_parts(queue);

		uint32_t len = parts ? carry_out(emu, queue, parts) : 0;

		plx_emu_queue_use(queue, emu->config.junk_len ? PLX_EMU_JUNK_LEN : len);
		done++;
	}
	if (done)
		plx_emu_queue_publish(queue);
	return done;
}
