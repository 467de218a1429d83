/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <endian.h>
#include <string.h>

/* The statistics that a device keeps for its driver (virtio 1.4, 5.1.9.5.10). */

#define BIT(n)  (UINT64_C(1) << (n))
#define OF_RX   BIT(VIRTIO_NET_STATS_TYPE_RX_BASIC)
#define OF_TX   BIT(VIRTIO_NET_STATS_TYPE_TX_BASIC)
#define OF_CTRL BIT(VIRTIO_NET_STATS_TYPE_CVQ)
#define ALL     (OF_RX | OF_TX | OF_CTRL)

static void reply(struct plx_emu_net_answer *answer, unsigned type, uint16_t queue,
	const uint64_t *values, unsigned count)
{
	plx_emu_net_put(answer, type, 1);
	plx_emu_net_put(answer, 0, 1);
	plx_emu_net_put(answer, queue, 2);
	plx_emu_net_put(answer, 0, 2);
	plx_emu_net_put(answer, sizeof(struct virtio_net_stats_reply_hdr) + 8 * count, 2);
	for (unsigned i = 0; i < count; i++)
		plx_emu_net_put(answer, values[i], 8);
}

static void reply_queue(struct plx_emu *emu, uint16_t index, struct plx_emu_net_answer *answer)
{
	const struct plx_emu_queue_stats *stats = &emu->net.queue[index];
	const uint64_t values[] = {
		stats->notifications, stats->frames, stats->bytes, stats->drops, 0};

	reply(answer, index % 2 ? VIRTIO_NET_STATS_TYPE_TX_BASIC : VIRTIO_NET_STATS_TYPE_RX_BASIC,
		index, values, ARRAY_SIZE(values));
}

/* Which types a queue can be asked for; 0: there is no such queue. */
static uint64_t types_of(const struct plx_emu *emu, uint16_t index)
{
	unsigned control = plx_emu_net_control_index(emu);

	return index > control ? 0 : index == control ? OF_CTRL : index % 2 ? OF_TX : OF_RX;
}

static bool get(struct plx_emu *emu, const uint8_t *data, struct plx_emu_net_answer *answer)
{
	struct virtio_net_ctrl_queue_stats wanted;
	uint64_t types;
	uint16_t index;

	memcpy(&wanted, data, sizeof(wanted));
	types = le64toh(wanted.types_bitmap);
	index = le16toh(wanted.vq_index);
	if (types & ~ALL) {
		plx_emu_report(emu, "NET-STATS-1", "statistics 0x%llx were asked for of 0x%llx",
			(unsigned long long)types, (unsigned long long)ALL);
		return false;
	}
	if (types & ~types_of(emu, index)) {
		plx_emu_report(emu, "NET-STATS-2", "statistics 0x%llx were asked for of queue %u",
			(unsigned long long)types, index);
		return false;
	}
	if (types & OF_CTRL) {
		const uint64_t values[] = {
			emu->stats.commands, emu->stats.commands - emu->stats.commands_failed};

		reply(answer, VIRTIO_NET_STATS_TYPE_CVQ, index, values, ARRAY_SIZE(values));
	} else if (types) {
		reply_queue(emu, index, answer);
	}
	return true;
}

bool plx_emu_net_stats(struct plx_emu *emu, uint8_t command, const uint8_t *data, uint32_t len,
	struct plx_emu_net_answer *answer)
{
	const uint32_t each = sizeof(struct virtio_net_ctrl_queue_stats);
	bool done = len && len % each == 0;

	if (!plx_emu_accepted(emu, VIRTIO_NET_F_DEVICE_STATS))
		return false;
	if (command == VIRTIO_NET_CTRL_STATS_QUERY) {
		plx_emu_net_put(answer, ALL, 8);
		return !len;
	}
	if (command != VIRTIO_NET_CTRL_STATS_GET)
		return false;
	for (uint32_t at = 0; done && at < len; at += each)
		done = get(emu, data + at, answer);
	if (done && answer->len > answer->room) {
		plx_emu_report(emu, "NET-STATS-3",
			"the driver left room for %u bytes of statistics that need %u",
			answer->room, answer->len);
		return false;
	}
	return done;
}
