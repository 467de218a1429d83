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

int net_read_config(struct net *net)
{
	int err = read_mac(net);

	if (!err)
		err = read_mtu(net);
	net->config.max_queue_pairs = 1;
	return err;
}

bool net_link_up(struct net *net)
{
	struct plx_virtio_field field = {VIRTIO_NET_CFG_STATUS, 2, 0};

	/* 5.1.4.2: without STATUS the link is taken to be up */
	if (!plx_virtio_may_use(net->virtio, VIRTIO_NET_F_STATUS))
		return true;
	if (plx_virtio_read_config(net->virtio, &field, 1))
		return false;
	/* Of a device that left the bus every bit is set, also this one. */
	if (field.value == UINT16_MAX &&
		net->virtio->transport->read_status(net->virtio) == PLX_VIRTIO_STATUS_GONE)
		return false;
	return field.value & VIRTIO_NET_S_LINK_UP;
}
