/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"

#include <endian.h>
#include <string.h>

/*
 * What can be set while the device runs: each call of eth_control.h as a command (virtio 1.4,
 * 5.1.9.5). While the device is stopped they only tell whether the command could be sent.
 */

static int require(const struct net *net, unsigned feature, const char *name, const char *what)
{
	const char *why = net->virtio->negotiation.why[feature];

	if (plx_virtio_has(net->virtio, feature))
		return 0;
	return plx_fail(ENOTSUP, "%s: there is no %s without %s: %s", net->virtio->name, what, name,
		!plx_virtio_offers(net->virtio, feature) ? "the device does not offer it"
		: why                                    ? why
							 : "it was not accepted");
}

#define REQUIRE(net, feature, what) require(net, VIRTIO_NET_F_##feature, "F_" #feature, what)

/* The command, if the device runs. */
static int tell(struct net *net, const struct net_command *command)
{
	return net->eth.state == PLX_ETH_STARTED ? net_ctrl_send(net, command, NULL) : 0;
}

/* --- filters --- */

static int set_rx_mode(struct plx_eth *eth, enum plx_eth_rx_mode mode, bool on)
{
	static const struct {
		const char *what;
		uint8_t number;
	} modes[PLX_ETH_RX_MODES] = {
		[PLX_ETH_PROMISCUOUS] = {"promiscuous mode", VIRTIO_NET_CTRL_RX_PROMISC},
		[PLX_ETH_ALL_MULTICAST] = {"all-multicast mode", VIRTIO_NET_CTRL_RX_ALLMULTI},
		[PLX_ETH_ALL_UNICAST] = {"all-unicast mode", VIRTIO_NET_CTRL_RX_ALLUNI},
		[PLX_ETH_NO_MULTICAST] = {"no-multicast mode", VIRTIO_NET_CTRL_RX_NOMULTI},
		[PLX_ETH_NO_UNICAST] = {"no-unicast mode", VIRTIO_NET_CTRL_RX_NOUNI},
		[PLX_ETH_NO_BROADCAST] = {"no-broadcast mode", VIRTIO_NET_CTRL_RX_NOBCAST},
	};
	struct net *net = net_of(eth);
	uint8_t value = on;
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_RX,
		.number = modes[mode].number,
		.what = modes[mode].what,
		.piece = {{&value, sizeof(value)}},
	};
	int err = mode <= PLX_ETH_ALL_MULTICAST ? REQUIRE(net, CTRL_RX, modes[mode].what)
						: REQUIRE(net, CTRL_RX_EXTRA, modes[mode].what);

	return err ? err : tell(net, &command);
}

/* 5.1.9.5.2: the count in front of its addresses */
struct address_table {
	uint32_t count;
	uint8_t address[PLX_ETH_MAC_TABLE_MAX][6];
};

static uint32_t fill_table(struct address_table *table, const uint8_t (*address)[6], uint32_t count)
{
	table->count = htole32(count);
	if (count)
		memcpy(table->address, address, 6 * count);
	return (uint32_t)sizeof(table->count) + 6 * count;
}

static int set_mac_table(struct plx_eth *eth, const struct plx_eth_mac_table *wanted)
{
	struct net *net = net_of(eth);
	struct address_table unicast, multicast;
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_MAC,
		.number = VIRTIO_NET_CTRL_MAC_TABLE_SET,
		.what = "the MAC table",
		.piece = {{&unicast, fill_table(&unicast, wanted->unicast, wanted->unicast_count)},
			{&multicast, fill_table(&multicast, wanted->multicast,
					     wanted->multicast_count)}},
	};
	int err = REQUIRE(net, CTRL_RX, "MAC table");

	return err ? err : tell(net, &command);
}

static int set_mac(struct plx_eth *eth, const uint8_t mac[6])
{
	struct net *net = net_of(eth);
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_MAC,
		.number = VIRTIO_NET_CTRL_MAC_ADDR_SET,
		.what = "the MAC address",
		.piece = {{mac, 6}},
	};
	int err = REQUIRE(net, CTRL_MAC_ADDR, "setting of the MAC address");

	if (!err)
		err = tell(net, &command);
	if (!err)
		memcpy(net->mac, mac, sizeof(net->mac));
	return err;
}

static int set_vlan(struct plx_eth *eth, uint16_t id, bool on)
{
	struct net *net = net_of(eth);
	uint16_t value = htole16(id);
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_VLAN,
		.number = on ? VIRTIO_NET_CTRL_VLAN_ADD : VIRTIO_NET_CTRL_VLAN_DEL,
		.what = "a VLAN",
		.piece = {{&value, sizeof(value)}},
	};
	int err = REQUIRE(net, CTRL_VLAN, "VLAN filter");

	return err ? err : tell(net, &command);
}

/* --- steering --- */

static int send_pairs(struct net *net, uint16_t pairs)
{
	uint16_t value = htole16(pairs);
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_MQ,
		.number = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
		.what = "the number of queue pairs",
		.piece = {{&value, sizeof(value)}},
	};

	return net_ctrl_send(net, &command, NULL);
}

/* A queue that was stopped alone stays so, and one that broke stays broken. */
static void use_tx(struct net_txq *queue, bool use)
{
	if (queue->base.burst == plx_eth_tx_stopped || queue->vq->fault)
		return;
	if (use)
		net_tx_run(queue);
	else
		net_tx_park(queue);
}

/* Queues in use have to be set up (5.1.9.5.5). */
static int check_complete(struct net *net, uint16_t pairs)
{
	for (unsigned i = 0; i < pairs; i++)
		if (net->rx[i].base.burst == plx_eth_rx_stopped ||
			net->tx[i].base.burst == plx_eth_tx_stopped)
			return plx_fail(EBUSY,
				"%s: queue pair %u cannot be in use while its %s queue is stopped: start "
				"it first",
				net->virtio->name, i,
				net->rx[i].base.burst == plx_eth_rx_stopped ? "receive"
									    : "transmit");
	return 0;
}

/* From the moment of the command on, queues beyond it carry nothing (5.1.9.5.5). */
static int set_queue_pairs(struct plx_eth *eth, uint16_t pairs)
{
	struct net *net = net_of(eth);
	uint16_t before = net->pairs_in_use;
	int err = REQUIRE(net, MQ, "choice of queue pairs");

	if (err || eth->state != PLX_ETH_STARTED)
		return err;
	err = check_complete(net, pairs);
	if (err)
		return err;
	for (unsigned i = pairs; i < before; i++)
		use_tx(&net->tx[i], false);
	err = send_pairs(net, pairs);
	if (!err)
		net->pairs_in_use = pairs;
	for (unsigned i = 0; i < net->pairs_in_use; i++)
		use_tx(&net->tx[i], true);
	return err;
}

/*
 * The key of who gives none: with 16 bits that repeat, source and destination can be exchanged
 * without changing the hash, so that both directions of a flow meet in one queue.
 */
static void default_key(uint8_t *key, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		key[i] = i % 2 ? 0x5a : 0x6d;
}

/* The parts of RSS_CONFIG and HASH_CONFIG, at an offset that need not be aligned. */
struct writer {
	uint8_t *at;
};

static void put8(struct writer *writer, uint8_t value)
{
	*writer->at++ = value;
}

static void put16(struct writer *writer, uint16_t value)
{
	value = htole16(value);
	memcpy(writer->at, &value, sizeof(value));
	writer->at += sizeof(value);
}

static void put32(struct writer *writer, uint32_t value)
{
	value = htole32(value);
	memcpy(writer->at, &value, sizeof(value));
	writer->at += sizeof(value);
}

static void put_key(struct writer *writer, const struct net *net, const struct plx_eth_rss *rss)
{
	uint8_t len = (uint8_t)(rss->key ? rss->key_len
					 : MIN(net->config.max_hash_key, VIRTIO_NET_RSS_KEY_LEAST));

	put8(writer, len);
	if (rss->key)
		memcpy(writer->at, rss->key, len);
	else
		default_key(writer->at, len);
	writer->at += len;
}

static uint32_t hash_types(const struct net *net, const struct plx_eth_rss *rss)
{
	return rss->hash_types ? rss->hash_types : net->config.hash_types;
}

static int check_hash(const struct net *net, const struct plx_eth_rss *rss)
{
	uint32_t strange = rss->hash_types & ~net->config.hash_types;

	if (strange)
		return plx_fail(EINVAL,
			"%s: the device does not have the hash types 0x%x: it has 0x%x",
			net->virtio->name, strange, net->config.hash_types);
	if (rss->key_len > net->config.max_hash_key)
		return plx_fail(EINVAL,
			"%s: a hash key of %u bytes is too long for the device: give it %u at most",
			net->virtio->name, rss->key_len, net->config.max_hash_key);
	return 0;
}

/* Without a table: as many entries as the queues need to be met evenly. */
static uint16_t table_len(const struct net *net, const struct plx_eth_rss *rss)
{
	uint16_t limit = MIN(net->config.max_rss_table, PLX_ETH_RSS_TABLE_MAX);
	uint16_t len = 1;

	if (rss->table)
		return rss->table_len;
	while (2 * len <= limit && len < 16 * net->eth.queue_pairs)
		len = (uint16_t)(2 * len);
	return len;
}

static int send_rss(struct net *net, const struct plx_eth_rss *rss)
{
	uint8_t data[16 + 2 * PLX_ETH_RSS_TABLE_MAX + UINT8_MAX];
	struct writer writer = {data};
	struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_MQ,
		.number = VIRTIO_NET_CTRL_MQ_RSS_CONFIG,
		.what = "RSS",
	};
	uint16_t len = table_len(net, rss);

	put32(&writer, hash_types(net, rss));
	put16(&writer, (uint16_t)(len - 1));
	put16(&writer, rss->unclassified);
	for (unsigned i = 0; i < len; i++)
		put16(&writer, rss->table ? rss->table[i] : (uint16_t)(i % net->eth.queue_pairs));
	put16(&writer, (uint16_t)net->eth.queue_pairs);
	put_key(&writer, net, rss);
	command.piece[0].data = data;
	command.piece[0].len = (uint32_t)(writer.at - data);
	return net_ctrl_send(net, &command, NULL);
}

static int set_rss(struct plx_eth *eth, const struct plx_eth_rss *rss)
{
	struct net *net = net_of(eth);
	int err = REQUIRE(net, RSS, "steering by a hash");

	if (!err)
		err = check_hash(net, rss);
	if (!err && rss->table_len > net->config.max_rss_table)
		err = plx_fail(EINVAL,
			"%s: an RSS table of %u entries is too long for the device: give it %u at most",
			net->virtio->name, rss->table_len, net->config.max_rss_table);
	if (err || eth->state != PLX_ETH_STARTED)
		return err;
	err = send_rss(net, rss);
	if (err)
		return err;
	net->pairs_in_use = (uint16_t)eth->queue_pairs;
	for (unsigned i = 0; i < eth->queue_pairs; i++)
		net_tx_run(&net->tx[i]);
	return 0;
}

static int set_hash(struct plx_eth *eth, const struct plx_eth_rss *rss)
{
	struct net *net = net_of(eth);
	uint8_t data[16 + UINT8_MAX];
	struct writer writer = {data};
	struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_MQ,
		.number = VIRTIO_NET_CTRL_MQ_HASH_CONFIG,
		.what = "the reported hash",
	};
	int err = REQUIRE(net, HASH_REPORT, "report of a hash");

	if (!err)
		err = check_hash(net, rss);
	if (err)
		return err;
	put32(&writer, hash_types(net, rss));
	for (unsigned i = 0; i < 4; i++)
		put16(&writer, 0);
	put_key(&writer, net, rss);
	command.piece[0].data = data;
	command.piece[0].len = (uint32_t)(writer.at - data);
	return tell(net, &command);
}

/*
 * After DRIVER_OK one pair is in use, whatever was set up (5.1.9.5.5); with RSS alone its command
 * is what brings the others in.
 */
int net_start_pairs(struct net *net)
{
	const struct plx_eth_rss even = PLX_ETH_RSS_INIT;
	uint16_t pairs = (uint16_t)net->eth.queue_pairs;
	int err = 0;

	if (pairs > 1 && plx_virtio_has(net->virtio, VIRTIO_NET_F_MQ))
		err = send_pairs(net, pairs);
	else if (pairs > 1)
		err = send_rss(net, &even);
	net->pairs_in_use = pairs;
	return err;
}

/* --- coalescing --- */

static uint16_t queue_index(enum plx_eth_direction direction, unsigned queue)
{
	return (uint16_t)(direction == PLX_ETH_RX ? VIRTIO_NET_RXQ(queue) : VIRTIO_NET_TXQ(queue));
}

static int set_coalescing(struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue,
	uint32_t max_packets, uint32_t max_usecs)
{
	bool all = queue == PLX_ETH_ALL_QUEUES;
	struct net *net = net_of(eth);
	const struct virtio_net_ctrl_coal coal = {htole32(max_packets), htole32(max_usecs)};
	const struct virtio_net_ctrl_coal_vq one = {
		.vq_index = htole16(queue_index(direction, queue)), .coal = coal};
	struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_NOTF_COAL,
		.number = direction == PLX_ETH_RX ? VIRTIO_NET_CTRL_NOTF_COAL_RX_SET
						  : VIRTIO_NET_CTRL_NOTF_COAL_TX_SET,
		.what = "notification coalescing",
		.piece = {{&coal, sizeof(coal)}},
	};
	int err = all ? REQUIRE(net, NOTF_COAL, "notification coalescing")
		      : REQUIRE(net, VQ_NOTF_COAL, "notification coalescing of one queue");

	if (!all) {
		command.number = VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET;
		command.piece[0].data = &one;
		command.piece[0].len = sizeof(one);
	}
	return err ? err : tell(net, &command);
}

static int get_coalescing(struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue,
	uint32_t *max_packets, uint32_t *max_usecs)
{
	struct net *net = net_of(eth);
	const struct virtio_net_ctrl_coal_vq one = {
		.vq_index = htole16(queue_index(direction, queue))};
	struct virtio_net_ctrl_coal coal;
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_NOTF_COAL,
		.number = VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET,
		.what = "notification coalescing",
		.piece = {{&one, offsetof(struct virtio_net_ctrl_coal_vq, coal)}},
		.result = &coal,
		.result_room = sizeof(coal),
	};
	uint32_t got;
	int err = REQUIRE(net, VQ_NOTF_COAL, "notification coalescing of one queue");

	if (!err)
		err = net_ctrl_send(net, &command, &got);
	if (!err && got != sizeof(coal))
		err = plx_fail(EPROTO,
			"%s: the device answered what it coalesces with %u bytes in place of %zu",
			net->virtio->name, got, sizeof(coal));
	if (err)
		return err;
	*max_packets = le32toh(coal.max_packets);
	*max_usecs = le32toh(coal.max_usecs);
	return 0;
}

/* --- the rest --- */

static int set_rx_offloads(struct plx_eth *eth, uint32_t offloads)
{
	struct net *net = net_of(eth);
	uint32_t strange = offloads & ~(net_offloads(net) & NET_SWITCHABLE);
	uint64_t bits = net_guest_offloads(offloads);
	struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_GUEST_OFFLOADS,
		.number = VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
		.what = "the receive offloads",
		.piece = {{&bits, sizeof(bits)}},
	};
	int err = REQUIRE(net, CTRL_GUEST_OFFLOADS, "choice of receive offloads");

	if (!err && strange)
		err = plx_fail(EINVAL,
			"%s: the offloads 0x%x cannot be switched: they were not negotiated, or belong to "
			"sending",
			net->virtio->name, strange);
	if (err)
		return err;
	/* ECN goes with the segmentation of TCP that it is about. */
	if ((offloads & (PLX_ETH_OFFLOAD_RX_TSO4 | PLX_ETH_OFFLOAD_RX_TSO6)) &&
		plx_virtio_has(net->virtio, VIRTIO_NET_F_GUEST_ECN))
		bits |= UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN;
	bits = htole64(bits);
	return tell(net, &command);
}

static int ack_announce(struct plx_eth *eth)
{
	struct net *net = net_of(eth);
	const struct net_command command = {
		.class_ = VIRTIO_NET_CTRL_ANNOUNCE,
		.number = VIRTIO_NET_CTRL_ANNOUNCE_ACK,
		.what = "the announcement",
	};
	int err = REQUIRE(net, GUEST_ANNOUNCE, "announcement");

	if (!err)
		err = net_ctrl_send(net, &command, NULL);
	if (!err)
		net->announce_told = false;
	return err;
}

const struct plx_eth_control_ops net_control_ops = {
	.set_rx_mode = set_rx_mode,
	.set_mac_table = set_mac_table,
	.set_mac = set_mac,
	.set_vlan = set_vlan,
	.set_queue_pairs = set_queue_pairs,
	.set_rss = set_rss,
	.set_hash = set_hash,
	.set_coalescing = set_coalescing,
	.set_rx_offloads = set_rx_offloads,
	.get_coalescing = get_coalescing,
	.stop_queue = net_stop_queue,
	.start_queue = net_start_queue,
	.ack_announce = ack_announce,
	.poll_events = net_poll_events,
	.device_stats = net_device_stats,
	.get_link = net_get_link,
};
