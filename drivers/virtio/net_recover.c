/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"

/*
 * What a device must still be when it is started again after a reset that nobody wished for: a
 * backend that came back may be another program, or have another configuration. Lost features are
 * for the handshake to find, and rings that are too short for whoever programs them.
 */

/* Frames of the length that the application was told of must still pass (virtio 1.4, 5.1.4.2). */
static int check_mtu(struct net *net)
{
	struct plx_virtio_field field = {VIRTIO_NET_CFG_MTU, 2, 0};
	int err;

	if (!net->config.mtu_given || !plx_virtio_has(net->virtio, VIRTIO_NET_F_MTU))
		return 0;
	err = plx_virtio_read_config(net->virtio, &field, 1);
	if (err || field.value >= net->config.mtu)
		return err;
	return plx_fail(EPROTO,
		"%s: the device came back with an MTU of %u in place of %u: close it and open it again",
		net->virtio->name, field.value, net->config.mtu);
}

static int check_pairs(struct net *net)
{
	struct plx_virtio_field field = {VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, 2, 0};
	int err;

	if (net->config.max_queue_pairs == 1)
		return 0;
	err = plx_virtio_read_config(net->virtio, &field, 1);
	/* The control queue lies behind all pairs that there are, so it must be the same number. */
	if (err || field.value == net->config.max_queue_pairs)
		return err;
	return plx_fail(EPROTO,
		"%s: the device came back with %u queue pairs in place of %u: close it and open it again",
		net->virtio->name, field.value, net->config.max_queue_pairs);
}

int net_check_unchanged(struct net *net)
{
	int err = check_mtu(net);

	return err ? err : check_pairs(net);
}

static uint64_t broken(const struct plx_virtq *vq)
{
	return vq ? plx_counter_read(&vq->counters.broken) : 0;
}

unsigned net_broken_queues(const struct net *net)
{
	uint64_t count = net->ctrl.vq && net->ctrl.vq->fault;

	for (unsigned i = 0; i < net->eth.queue_pairs; i++)
		count += broken(net->rx[i].vq) + broken(net->tx[i].vq);
	return (unsigned)count;
}
