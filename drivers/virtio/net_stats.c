/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

/* Figures: the driver's own counters, and those that the device keeps (virtio 1.4, 5.1.9.5.10). */

/* A counter's name, where it lies in its queue, and whether it counts frames lost. */
struct counter {
	const char *name;
	size_t offset;
	bool drop;
};

#define RX(field, name, drop)                                                                      \
	{                                                                                          \
		name, offsetof(struct net_rx_counters, field), drop                                \
	}
#define TX(field, name, drop)                                                                      \
	{                                                                                          \
		name, offsetof(struct net_tx_counters, field), drop                                \
	}

static const struct counter rx_counters[] = {
	RX(packets, "packets", false),
	RX(bytes, "bytes", false),
	RX(no_buffers, "no_buffers", false),
	RX(short_header, "drop.short_header", true),
	RX(bad_num_buffers, "drop.bad_num_buffers", true),
	RX(missing_buffers, "drop.missing_buffers", true),
	RX(bad_length, "drop.bad_length", true),
	RX(bad_gso, "drop.bad_gso", true),
	RX(bad_csum, "bad_csum", false),
	RX(armed, "armed", false),
	RX(arm_late, "arm_late", false),
};

static const struct counter tx_counters[] = {
	TX(packets, "packets", false),
	TX(bytes, "bytes", false),
	TX(full, "full", false),
	TX(bad_length, "drop.bad_length", true),
	TX(bad_segments, "drop.bad_segments", true),
	TX(bad_offload, "drop.bad_offload", true),
};

#undef RX
#undef TX

static uint64_t value_of(const void *counters, const struct counter *counter)
{
	return plx_counter_read((const void *)((const char *)counters + counter->offset));
}

void net_get_stats(const struct plx_eth *eth, struct plx_eth_stats *stats)
{
	const struct net *net = net_of(eth);

	for (unsigned i = 0; i < eth->queue_pairs; i++) {
		stats->rx_packets += plx_counter_read(&net->rx[i].counters.packets);
		stats->rx_bytes += plx_counter_read(&net->rx[i].counters.bytes);
		stats->tx_packets += plx_counter_read(&net->tx[i].counters.packets);
		stats->tx_bytes += plx_counter_read(&net->tx[i].counters.bytes);
		for (unsigned c = 0; c < ARRAY_SIZE(rx_counters); c++)
			if (rx_counters[c].drop)
				stats->rx_dropped +=
					value_of(&net->rx[i].counters, &rx_counters[c]);
		for (unsigned c = 0; c < ARRAY_SIZE(tx_counters); c++)
			if (tx_counters[c].drop)
				stats->tx_dropped +=
					value_of(&net->tx[i].counters, &tx_counters[c]);
	}
}

static int visit_one(plx_eth_counter_visit_fn *visit, void *arg, const char *kind, unsigned queue,
	const char *name, uint64_t value)
{
	char text[48];
	struct plx_eth_counter counter = {text, value};

	(void)snprintf(text, sizeof(text), "%s%u.%s", kind, queue, name);
	return visit(arg, &counter);
}

void net_ring_add(struct plx_virtq_counters *sum, const struct plx_virtq_counters *more)
{
	sum->kicks += plx_counter_read(&more->kicks);
	sum->suppressed += plx_counter_read(&more->suppressed);
	sum->forced += plx_counter_read(&more->forced);
	sum->broken += plx_counter_read(&more->broken);
	sum->stalled += plx_counter_read(&more->stalled);
}

/* Those of the queue that there is, and of those before it. */
static struct plx_virtq_counters ring_counters(
	const struct plx_virtq *vq, const struct plx_virtq_counters *before)
{
	struct plx_virtq_counters sum = *before;

	if (vq)
		net_ring_add(&sum, &vq->counters);
	return sum;
}

static int visit_ring(plx_eth_counter_visit_fn *visit, void *arg, const char *kind, unsigned queue,
	const struct plx_virtq_counters *ring)
{
	int ret = visit_one(visit, arg, kind, queue, "kicks", ring->kicks);

	if (!ret)
		ret = visit_one(visit, arg, kind, queue, "kicks_suppressed", ring->suppressed);
	if (!ret)
		ret = visit_one(visit, arg, kind, queue, "kicks_forced", ring->forced);
	if (!ret)
		ret = visit_one(visit, arg, kind, queue, "broken", ring->broken);
	return ret;
}

static int visit_ctrl(plx_eth_counter_visit_fn *visit, void *arg, const struct net_ctrl *ctrl)
{
	const struct {
		const char *name;
		uint64_t value;
	} all[] = {
		{"ctrl.commands", plx_counter_read(&ctrl->counters.commands)},
		{"ctrl.refused", plx_counter_read(&ctrl->counters.refused)},
		{"ctrl.unanswered", plx_counter_read(&ctrl->counters.unanswered)},
		{"ctrl.broken", ctrl->vq && ctrl->vq->fault},
	};
	int ret = 0;

	for (unsigned i = 0; !ret && i < ARRAY_SIZE(all); i++) {
		struct plx_eth_counter counter = {all[i].name, all[i].value};

		ret = visit(arg, &counter);
	}
	return ret;
}

/* A visitor of the class, for what lies below it. */
struct passing_on {
	plx_eth_counter_visit_fn *visit;
	void *arg;
};

static int pass_on(void *arg, const char *name, uint64_t value)
{
	const struct passing_on *to = arg;
	struct plx_eth_counter counter = {name, value};

	return to->visit(to->arg, &counter);
}

int net_visit_counters(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg)
{
	struct passing_on to = {visit, arg};
	struct net *net = net_of(eth);
	int ret = 0;

	for (unsigned i = 0; i < eth->queue_pairs; i++) {
		const struct plx_virtq_counters rx = ring_counters(net->rx[i].vq, &net->rx[i].ring);
		const struct plx_virtq_counters tx = ring_counters(net->tx[i].vq, &net->tx[i].ring);

		for (unsigned c = 0; !ret && c < ARRAY_SIZE(rx_counters); c++)
			ret = visit_one(visit, arg, "rx", i, rx_counters[c].name,
				value_of(&net->rx[i].counters, &rx_counters[c]));
		if (!ret)
			ret = visit_ring(visit, arg, "rx", i, &rx);
		for (unsigned c = 0; !ret && c < ARRAY_SIZE(tx_counters); c++)
			ret = visit_one(visit, arg, "tx", i, tx_counters[c].name,
				value_of(&net->tx[i].counters, &tx_counters[c]));
		if (!ret)
			ret = visit_ring(visit, arg, "tx", i, &tx);
		if (!ret)
			ret = visit_one(visit, arg, "tx", i, "stalled", tx.stalled);
	}
	if (!ret && plx_virtio_has(net->virtio, VIRTIO_NET_F_CTRL_VQ))
		ret = visit_ctrl(visit, arg, &net->ctrl);
	if (!ret && net->virtio->function)
		ret = plx_vfio_counters(net->virtio->function, pass_on, &to);
	return ret;
}

/* --- what the device counts --- */

/* A type of statistics: its number, where it is found, and its counters in their order. */
struct stats_type {
	uint8_t type;
	enum { STATS_RX, STATS_TX, STATS_CTRL } queue;
	const char *const *names; /* ends with NULL */
};

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct stats_type stats_types[] = {
	{VIRTIO_NET_STATS_TYPE_CVQ, STATS_CTRL, NAMES("commands", "ok")},
	{VIRTIO_NET_STATS_TYPE_RX_BASIC, STATS_RX,
		NAMES("notifications", "packets", "bytes", "drops", "drop_overruns")},
	{VIRTIO_NET_STATS_TYPE_RX_CSUM, STATS_RX,
		NAMES("csum_valid", "needs_csum", "csum_none", "csum_bad")},
	{VIRTIO_NET_STATS_TYPE_RX_GSO, STATS_RX,
		NAMES("gso_packets", "gso_bytes", "gso_packets_coalesced", "gso_bytes_coalesced")},
	{VIRTIO_NET_STATS_TYPE_RX_SPEED, STATS_RX, NAMES("ratelimit_packets", "ratelimit_bytes")},
	{VIRTIO_NET_STATS_TYPE_TX_BASIC, STATS_TX,
		NAMES("notifications", "packets", "bytes", "drops", "drop_malformed")},
	{VIRTIO_NET_STATS_TYPE_TX_CSUM, STATS_TX, NAMES("csum_none", "needs_csum")},
	{VIRTIO_NET_STATS_TYPE_TX_GSO, STATS_TX,
		NAMES("gso_packets", "gso_bytes", "gso_segments", "gso_segments_bytes",
			"gso_packets_noseg", "gso_bytes_noseg")},
	{VIRTIO_NET_STATS_TYPE_TX_SPEED, STATS_TX, NAMES("ratelimit_packets", "ratelimit_bytes")},
};

/* A queue whose statistics are asked for. */
struct stats_queue {
	uint16_t index;
	unsigned kind;
	const char *name;
	unsigned number;
};

/* All replies for one queue, with room to spare: what does not fit a device leaves out. */
#define STATS_ROOM 512

static int ask_types(struct net *net, uint64_t *types)
{
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_STATS,
		.number = VIRTIO_NET_CTRL_STATS_QUERY,
		.what = "the types of statistics",
		.result = types,
		.result_room = sizeof(*types),
	};
	uint32_t got;
	int err = net_ctrl_send(net, &command, &got);

	if (!err && got != sizeof(*types))
		err = plx_fail(EPROTO,
			"%s: the device told its types of statistics in %u bytes in place of %zu",
			net->virtio->name, got, sizeof(*types));
	*types = le64toh(*types);
	return err;
}

static int visit_reply(const struct stats_queue *queue, const struct stats_type *type,
	const uint8_t *values, unsigned count, plx_eth_counter_visit_fn *visit, void *arg)
{
	int ret = 0;

	for (unsigned i = 0; !ret && i < count && type->names[i]; i++) {
		char text[64];
		struct plx_eth_counter counter = {.name = text};

		memcpy(&counter.value, values + 8 * i, sizeof(counter.value));
		counter.value = le64toh(counter.value);
		if (queue->kind == STATS_CTRL)
			(void)snprintf(
				text, sizeof(text), "device.%s.%s", queue->name, type->names[i]);
		else
			(void)snprintf(text, sizeof(text), "device.%s%u.%s", queue->name,
				queue->number, type->names[i]);
		ret = visit(arg, &counter);
	}
	return ret;
}

static const struct stats_type *find_type(unsigned kind, uint8_t number)
{
	for (unsigned i = 0; i < ARRAY_SIZE(stats_types); i++)
		if (stats_types[i].queue == kind && stats_types[i].type == number)
			return &stats_types[i];
	return NULL;
}

/* The replies are in private memory; each must be of this queue and lie within what was written. */
static int visit_replies(const struct net *net, const struct stats_queue *queue,
	const uint8_t *replies, uint32_t len, plx_eth_counter_visit_fn *visit, void *arg)
{
	struct virtio_net_stats_reply_hdr header;
	int ret = 0;

	for (uint32_t at = 0; !ret && len - at >= sizeof(header);) {
		const struct stats_type *type;
		uint16_t size;

		memcpy(&header, replies + at, sizeof(header));
		size = le16toh(header.size);
		if (size < sizeof(header) || size > len - at ||
			le16toh(header.vq_index) != queue->index)
			return plx_fail(EPROTO,
				"%s: the device's statistics make no sense: a reply of %u bytes for queue "
				"%u, with %u left and queue %u asked for",
				net->virtio->name, size, le16toh(header.vq_index), len - at,
				queue->index);
		type = find_type(queue->kind, header.type);
		if (type)
			ret = visit_reply(queue, type, replies + at + sizeof(header),
				(unsigned)(size - sizeof(header)) / 8, visit, arg);
		at += size;
	}
	return ret;
}

static int ask_queue(struct net *net, const struct stats_queue *queue, uint64_t types,
	plx_eth_counter_visit_fn *visit, void *arg)
{
	struct virtio_net_ctrl_queue_stats wanted = {.vq_index = htole16(queue->index)};
	uint8_t replies[STATS_ROOM];
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_STATS,
		.number = VIRTIO_NET_CTRL_STATS_GET,
		.what = "the statistics of a queue",
		.piece = {{&wanted, sizeof(wanted)}},
		.result = replies,
		.result_room = sizeof(replies),
	};
	uint64_t bits = 0;
	uint32_t got;
	int err;

	for (unsigned i = 0; i < ARRAY_SIZE(stats_types); i++)
		if (stats_types[i].queue == queue->kind)
			bits |= types & UINT64_C(1) << stats_types[i].type;
	if (!bits)
		return 0;
	wanted.types_bitmap = htole64(bits);
	err = net_ctrl_send(net, &command, &got);
	return err ? err : visit_replies(net, queue, replies, got, visit, arg);
}

int net_device_stats(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg)
{
	struct net *net = net_of(eth);
	uint64_t types = 0;
	int ret;

	if (!plx_virtio_has(net->virtio, VIRTIO_NET_F_DEVICE_STATS))
		return plx_fail(ENOTSUP,
			"%s: the device keeps no statistics that could be asked for: it does not offer "
			"F_DEVICE_STATS, or that was declined",
			net->virtio->name);
	ret = ask_types(net, &types);
	for (unsigned i = 0; !ret && i < net->pairs_in_use; i++) {
		const struct stats_queue rx = {(uint16_t)VIRTIO_NET_RXQ(i), STATS_RX, "rx", i};
		const struct stats_queue tx = {(uint16_t)VIRTIO_NET_TXQ(i), STATS_TX, "tx", i};

		ret = ask_queue(net, &rx, types, visit, arg);
		if (!ret)
			ret = ask_queue(net, &tx, types, visit, arg);
	}
	if (!ret) {
		const struct stats_queue ctrl = {net->ctrl.vq->index, STATS_CTRL, "ctrl", 0};

		ret = ask_queue(net, &ctrl, types, visit, arg);
	}
	return ret;
}
