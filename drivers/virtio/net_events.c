/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"

/*
 * The link, and what the device has to say while it runs (virtio 1.4, 2.1.2, 5.1.4 and 5.1.9.5.4).
 * The device is asked; nobody is interrupted. Whatever happened since the last look is one event.
 */

static int check_presence(struct net *net)
{
	if (net->virtio->transport->read_status(net->virtio) == PLX_VIRTIO_STATUS_GONE)
		return plx_virtio_gone(net->virtio);
	return 0;
}

/* The status field of the configuration. Without the feature the link is up (5.1.4.2). */
static int read_status(struct net *net, uint16_t *status)
{
	struct plx_virtio_field field = {VIRTIO_NET_CFG_STATUS, 2, 0};
	int err;

	*status = VIRTIO_NET_S_LINK_UP;
	if (!plx_virtio_may_use(net->virtio, VIRTIO_NET_F_STATUS))
		return 0;
	err = plx_virtio_read_config(net->virtio, &field, 1);
	*status = (uint16_t)field.value;
	/* All ones are no status: the device has left the bus, or is broken. */
	return !err && *status == UINT16_MAX ? check_presence(net) : err;
}

/* 5.1.4.2: whatever else speed and duplex hold means that nobody knows. */
static int read_speed(struct net *net, struct plx_eth_link *link)
{
	struct plx_virtio_field fields[] = {
		{VIRTIO_NET_CFG_SPEED, 4, 0}, {VIRTIO_NET_CFG_DUPLEX, 1, 0}};
	int err;

	link->speed = PLX_ETH_SPEED_UNKNOWN;
	link->duplex = PLX_ETH_DUPLEX_UNKNOWN;
	if (!plx_virtio_may_use(net->virtio, VIRTIO_NET_F_SPEED_DUPLEX))
		return 0;
	err = plx_virtio_read_config(net->virtio, fields, ARRAY_SIZE(fields));
	if (err)
		return err;
	if (fields[0].value <= VIRTIO_NET_SPEED_MAX)
		link->speed = fields[0].value;
	if (fields[1].value <= 1)
		link->duplex = fields[1].value ? PLX_ETH_DUPLEX_FULL : PLX_ETH_DUPLEX_HALF;
	return 0;
}

int net_get_link(struct plx_eth *eth, struct plx_eth_link *link)
{
	struct net *net = net_of(eth);
	uint16_t status;
	int err = read_status(net, &status);

	if (err)
		return err;
	link->up = status & VIRTIO_NET_S_LINK_UP;
	return read_speed(net, link);
}

/* What the device says at the start is how things are, and no event. */
void net_events_start(struct net *net)
{
	uint16_t status;

	net->announce_told = false;
	net->needs_reset_told = false;
	net->broken_told = 0;
	if (!read_status(net, &status))
		net->link_up = status & VIRTIO_NET_S_LINK_UP;
}

/* An error of the bus is taken as one of the device's own: the function has to be reset. */
static int look_at_function(struct net *net)
{
	unsigned alarms = net->virtio->function ? plx_vfio_alarm_look(&net->virtio->alarm) : 0;

	return (alarms & PLX_VFIO_WANTED ? PLX_ETH_EVENT_WANTED : 0) |
	       (alarms & PLX_VFIO_ERRED ? PLX_ETH_EVENT_NEEDS_RESET : 0);
}

/* A status without DRIVER_OK is that of a device that has forgotten us. */
static int look_at_device(struct net *net)
{
	uint8_t status = net->virtio->transport->read_status(net->virtio);

	if (status == PLX_VIRTIO_STATUS_GONE)
		return PLX_ETH_EVENT_GONE;
	if (!(status & VIRTIO_STATUS_NEEDS_RESET) && (status & VIRTIO_STATUS_DRIVER_OK))
		return 0;
	if (net->needs_reset_told)
		return 0;
	net->needs_reset_told = true;
	return PLX_ETH_EVENT_NEEDS_RESET;
}

static int look_at_port(struct net *net, uint16_t status)
{
	bool up = status & VIRTIO_NET_S_LINK_UP;
	bool announce = (status & VIRTIO_NET_S_ANNOUNCE) &&
			plx_virtio_has(net->virtio, VIRTIO_NET_F_GUEST_ANNOUNCE);
	int events = 0;

	if (up != net->link_up)
		events |= PLX_ETH_EVENT_LINK;
	if (announce && !net->announce_told)
		events |= PLX_ETH_EVENT_ANNOUNCE;
	net->link_up = up;
	/* The bit stays until it is acknowledged, and is one request. */
	net->announce_told = announce;
	return events;
}

/* The burst of a queue tells as well, but only the thread that uses it. */
static int look_at_queues(struct net *net)
{
	unsigned broken = net_broken_queues(net);
	int events = broken > net->broken_told ? PLX_ETH_EVENT_BROKEN : 0;

	net->broken_told = broken;
	return events;
}

int net_poll_events(struct plx_eth *eth)
{
	struct net *net = net_of(eth);
	int events = look_at_device(net) | look_at_queues(net) | look_at_function(net);
	uint16_t status;
	int err;

	if (events & PLX_ETH_EVENT_GONE)
		return events;
	err = read_status(net, &status);
	if (err)
		return events ? events : err;
	return events | look_at_port(net, status);
}
