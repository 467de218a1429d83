/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"

/*
 * Interrupts, for who sleeps on receive queues. What is sent needs none: its buffers come back in
 * bursts, and nobody waits for them; nor do commands, whose answer is looked for.
 */

int net_irq_configure(struct net *net, const struct plx_eth_config *config)
{
	int err;

	net_irq_forget(net);
	if (!config->interrupts)
		return 0;
	err = plx_interrupts_create(
		net->virtio, config->queue_pairs, VIRTIO_NET_RXQ(1), &net->interrupts);
	for (unsigned i = 0; !err && i < config->queue_pairs; i++)
		net->rx[i].interrupts = net->interrupts;
	return err;
}

void net_irq_forget(struct net *net)
{
	plx_interrupts_destroy(net->interrupts);
	net->interrupts = NULL;
}

static int unasked(const struct net *net)
{
	return plx_fail(EINVAL,
		"%s: the device was configured without interrupts: set interrupts in its configuration",
		net->virtio->name);
}

int net_irq_rx_fd(struct plx_eth *eth, unsigned queue)
{
	const struct net *net = net_of(eth);

	return net->interrupts ? plx_interrupts_queue_fd(net->interrupts, queue) : unasked(net);
}

int net_irq_config_fd(struct plx_eth *eth)
{
	const struct net *net = net_of(eth);
	int fd;

	if (!net->interrupts)
		return unasked(net);
	fd = plx_interrupts_config_fd(net->interrupts);
	return fd >= 0 ? fd
		       : plx_fail(ENOTSUP,
				 "%s: the device tells nobody of changes: look for them now and then",
				 net->virtio->name);
}

/*
 * The line is freed before the wish is stated: what it says is of completions that the look finds.
 * Freed afterwards it could take an interrupt back that answers the wish.
 */
int net_irq_arm(struct plx_eth_rxq *base)
{
	struct net_rxq *queue = container_of(base, struct net_rxq, base);

	if (base->burst == plx_eth_rx_stopped)
		return plx_eth_rx_stopped(base, NULL, 0);
	if (!queue->interrupts)
		return plx_fail(EINVAL,
			"%s: the device was configured without interrupts: set interrupts in its "
			"configuration",
			queue->vq->name);
	plx_virtq_look(queue->vq);
	if (queue->vq->fault)
		return 1;
	if (queue->vq->free_count)
		net_rx_fill_up(queue);
	plx_interrupts_rearm(queue->interrupts);
	plx_counter_add(&queue->counters.armed, 1);
	if (!plx_virtq_arm(queue->vq))
		return 0;
	plx_counter_add(&queue->counters.arm_late, 1);
	return 1;
}

void net_irq_disarm(struct plx_eth_rxq *base)
{
	struct net_rxq *queue = container_of(base, struct net_rxq, base);

	if (base->burst != plx_eth_rx_stopped)
		plx_virtq_disarm(queue->vq);
}
