/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"

#include <stdio.h>

/* One queue stopped, resized and started while the others run (virtio 1.4, 2.6.1). */

/* The queue, whichever way it goes. */
struct which {
	struct net *net;
	enum plx_eth_direction direction;
	unsigned pair;
	uint16_t index; /* of the virtqueue */
	struct plx_virtq **vq;
	const char *name;
};

static struct which which_queue(
	struct plx_eth *eth, enum plx_eth_direction direction, unsigned pair)
{
	struct net *net = net_of(eth);
	bool rx = direction == PLX_ETH_RX;

	return (struct which){net, direction, pair,
		(uint16_t)(rx ? VIRTIO_NET_RXQ(pair) : VIRTIO_NET_TXQ(pair)),
		rx ? &net->rx[pair].vq : &net->tx[pair].vq, rx ? "receive" : "transmit"};
}

static int check_feature(const struct which *queue)
{
	struct plx_virtio *virtio = queue->net->virtio;

	if (plx_virtio_has(virtio, VIRTIO_F_RING_RESET))
		return 0;
	return plx_fail(ENOTSUP,
		"%s: one queue cannot be stopped without F_RING_RESET (%s): stop the "
		"device",
		virtio->name, virtio->negotiation.why[VIRTIO_F_RING_RESET]);
}

/* Nothing of it is used from here on. */
static void close_off(struct which *queue)
{
	struct net *net = queue->net;

	if (queue->direction == PLX_ETH_RX) {
		net->rx[queue->pair].base.burst = plx_eth_rx_stopped;
	} else {
		net->tx[queue->pair].base.burst = plx_eth_tx_stopped;
		net->tx[queue->pair].base.prepare = plx_eth_prepare_stopped;
	}
	plx_virtq_disconnect(*queue->vq);
}

static bool is_closed_off(const struct which *queue)
{
	const struct net *net = queue->net;

	return queue->direction == PLX_ETH_RX
		       ? net->rx[queue->pair].base.burst == plx_eth_rx_stopped
		       : net->tx[queue->pair].base.burst == plx_eth_tx_stopped;
}

static void release(struct which *queue)
{
	if (queue->direction == PLX_ETH_RX)
		net_rx_release(&queue->net->rx[queue->pair]);
	else
		net_tx_release(&queue->net->tx[queue->pair]);
}

static int reset(struct which *queue)
{
	struct plx_virtio *virtio = queue->net->virtio;

	plx_trace_step(&virtio->trace, "queue reset");
	plx_trace_add(&virtio->trace, PLX_TRACE_QUEUE_RESET, queue->index, 0);
	return virtio->transport->queue_reset(virtio, queue->index);
}

int net_stop_queue(struct plx_eth *eth, enum plx_eth_direction direction, unsigned pair)
{
	struct which queue = which_queue(eth, direction, pair);
	int err = check_feature(&queue);

	if (err)
		return err;
	if (!*queue.vq)
		return plx_fail(EALREADY, "%s: %s queue %u is stopped already", eth->device.name,
			queue.name, pair);
	close_off(&queue);
	err = reset(&queue);
	/* Without a confirmation the device may still write: all stays until it is stopped. */
	if (!err)
		release(&queue);
	return err;
}

/* A ring's size is checked with all that hangs on it. */
static int choose_entries(const struct which *queue, uint16_t *entries)
{
	struct net *net = queue->net;
	struct plx_eth_config config = net->wanted;
	uint16_t *field = queue->direction == PLX_ETH_RX ? &config.rx_ring : &config.tx_ring;
	int err;

	if (*entries)
		*field = *entries;
	err = net_choose_rings(net, &config);
	*entries = *field;
	return err;
}

static int start_rx(struct net *net, unsigned pair, uint16_t entries)
{
	int err = net_rx_create(net, pair, entries);

	if (!err)
		err = net_rx_fill(&net->rx[pair]);
	if (!err)
		net_rx_run(net, &net->rx[pair]);
	return err;
}

static int start_tx(struct net *net, unsigned pair, uint16_t entries)
{
	int err = net_tx_create(net, pair, entries);

	if (err)
		return err;
	net_tx_run(&net->tx[pair]);
	if (pair >= net->pairs_in_use)
		net_tx_park(&net->tx[pair]);
	return 0;
}

int net_start_queue(
	struct plx_eth *eth, enum plx_eth_direction direction, unsigned pair, uint16_t entries)
{
	struct which queue = which_queue(eth, direction, pair);
	char reason[PLX_ERROR_LEN];
	int err = check_feature(&queue);

	if (!err && *queue.vq)
		err = is_closed_off(&queue)
			      ? plx_fail(EIO,
					"%s: the device did not confirm the reset of %s queue %u: stop it "
					"again, or the device",
					eth->device.name, queue.name, pair)
			      : plx_fail(EALREADY, "%s: %s queue %u runs already", eth->device.name,
					queue.name, pair);
	if (!err)
		err = choose_entries(&queue, &entries);
	if (err)
		return err;
	plx_trace_step(&queue.net->virtio->trace, "queue start");
	err = direction == PLX_ETH_RX ? start_rx(queue.net, pair, entries)
				      : start_tx(queue.net, pair, entries);
	if (!err)
		return 0;
	/* One that was never enabled has nothing; otherwise the device has to forget. */
	(void)snprintf(reason, sizeof(reason), "%s", plx_error());
	if (*queue.vq)
		close_off(&queue);
	if (!*queue.vq || !reset(&queue))
		release(&queue);
	plx_note_failure("%s", reason);
	return err;
}
