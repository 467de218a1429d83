/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"

#include <string.h>
#include <sys/random.h>

/* 5.1.4.1: the smallest MTU that a device may give */
#define MTU_MIN     68
#define MTU_DEFAULT 1500

static void invent_mac(uint8_t mac[6])
{
	/* Without entropy any address of our own will do; it is only required to be local. */
	if (getrandom(mac, 6, GRND_NONBLOCK) != 6)
		memcpy(mac, (const uint8_t[]){2, 'p', 'l', 'x', 0, 1}, 6);
	mac[0] = (uint8_t)((mac[0] & ~1) | 2);
}

static bool is_unicast(const uint8_t mac[6])
{
	static const uint8_t zero[6];

	return !(mac[0] & 1) && memcmp(mac, zero, sizeof(zero));
}

static int read_mac(struct net *net)
{
	struct plx_virtio *virtio = net->virtio;
	struct plx_virtio_field fields[6];
	int err;

	invent_mac(net->config.mac);
	if (!plx_virtio_may_use(virtio, VIRTIO_NET_F_MAC))
		return 0;
	for (unsigned i = 0; i < 6; i++)
		fields[i] = (struct plx_virtio_field){(uint16_t)(VIRTIO_NET_CFG_MAC + i), 1, 0};
	err = plx_virtio_read_config(virtio, fields, 6);
	if (err)
		return err;
	for (unsigned i = 0; i < 6; i++)
		net->config.mac[i] = (uint8_t)fields[i].value;
	if (is_unicast(net->config.mac))
		return 0;
	plx_log(virtio->log, PLX_LOG_WARNING,
		"%s: the device gives an address that no port can have: using one of our own",
		virtio->name);
	plx_negotiation_decline(
		&virtio->negotiation, VIRTIO_NET_F_MAC, "the address is not unicast");
	invent_mac(net->config.mac);
	return 0;
}

static int read_mtu(struct net *net)
{
	struct plx_virtio *virtio = net->virtio;
	struct plx_virtio_field field = {VIRTIO_NET_CFG_MTU, 2, 0};
	int err;

	net->config.mtu = MTU_DEFAULT;
	if (!plx_virtio_may_use(virtio, VIRTIO_NET_F_MTU))
		return 0;
	err = plx_virtio_read_config(virtio, &field, 1);
	if (err)
		return err;
	if (field.value < MTU_MIN) {
		plx_log(virtio->log, PLX_LOG_WARNING, "%s: the device gives an MTU of %u: using %u",
			virtio->name, field.value, MTU_DEFAULT);
		plx_negotiation_decline(
			&virtio->negotiation, VIRTIO_NET_F_MTU, "the MTU is too small");
		return 0;
	}
	net->config.mtu = (uint16_t)field.value;
	net->config.mtu_given = true;
	return 0;
}

/*
 * How many pairs of queues there are (5.1.4.1). A number that is none is no reason to do without
 * the device: it is driven as one that has a single pair.
 */
static int read_pairs(struct net *net)
{
	struct plx_virtio *virtio = net->virtio;
	struct plx_virtio_field field = {VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, 2, 0};
	bool many = plx_virtio_may_use(virtio, VIRTIO_NET_F_CTRL_VQ) &&
		    (plx_virtio_may_use(virtio, VIRTIO_NET_F_MQ) ||
			    plx_virtio_may_use(virtio, VIRTIO_NET_F_RSS));
	int err;

	net->config.max_queue_pairs = 1;
	if (!many)
		return 0;
	err = plx_virtio_read_config(virtio, &field, 1);
	if (err)
		return err;
	if (field.value && field.value <= VIRTIO_NET_PAIRS_MAX) {
		net->config.max_queue_pairs = (uint16_t)field.value;
		return 0;
	}
	plx_log(virtio->log, PLX_LOG_WARNING,
		"%s: the device says that it has %u pairs of queues: using one", virtio->name,
		field.value);
	return 0;
}

/* What hashes it can make, and of what size its tables are (5.1.4). */
static int read_hash(struct net *net)
{
	struct plx_virtio *virtio = net->virtio;
	bool rss = plx_virtio_may_use(virtio, VIRTIO_NET_F_RSS);
	struct plx_virtio_field fields[] = {
		{VIRTIO_NET_CFG_RSS_MAX_KEY_SIZE, 1, 0},
		{VIRTIO_NET_CFG_HASH_TYPES, 4, 0},
		{VIRTIO_NET_CFG_RSS_MAX_TABLE_LEN, 2, 0},
	};
	int err;

	if (!rss && !plx_virtio_may_use(virtio, VIRTIO_NET_F_HASH_REPORT))
		return 0;
	err = plx_virtio_read_config(virtio, fields, rss ? 3 : 2);
	if (err)
		return err;
	net->config.max_hash_key = (uint16_t)fields[0].value;
	net->config.hash_types = fields[1].value & VIRTIO_NET_HASH_TYPES;
	net->config.max_rss_table = (uint16_t)fields[2].value;
	if (net->config.max_hash_key >= VIRTIO_NET_RSS_KEY_LEAST &&
		(!rss || net->config.max_rss_table))
		return 0;
	plx_log(virtio->log, PLX_LOG_WARNING,
		"%s: the device has hash keys of %u bytes and tables of %u entries: its hashes are left",
		virtio->name, net->config.max_hash_key, net->config.max_rss_table);
	net->config.hash_unusable = true;
	return 0;
}

int net_read_config(struct net *net)
{
	struct plx_eth_link link;
	int err = read_mac(net);

	if (!err)
		err = read_mtu(net);
	if (!err)
		err = read_pairs(net);
	if (!err)
		err = read_hash(net);
	/* For the length of the configuration: the link is read whenever it is asked for. */
	return err ? err : net_get_link(&net->eth, &link);
}
