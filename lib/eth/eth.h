/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_ETH_ETH_H
#define PLX_ETH_ETH_H

#include "context/context.h"

#include <pollux/eth.h>

/*
 * The Ethernet device class: what a driver fills in to become a struct plx_eth. The class keeps the
 * order of calls and the lock; a driver's operations run under the lock, one at a time, and only in
 * the state that fits.
 */
struct plx_eth_ops {
	void (*info)(struct plx_eth *eth, struct plx_eth_info *info);
	/* No effect on the device. Replaces eth->rxq, eth->txq and eth->queue_pairs. */
	int (*configure)(struct plx_eth *eth, const struct plx_eth_config *config);
	int (*start)(struct plx_eth *eth);
	/*
	 * Also while in_doubt, to try again. Return: 0; -EIO when the device may still be touching
	 * its buffers.
	 */
	int (*stop)(struct plx_eth *eth);
	/*
	 * Let the device stand still with its buffers, and go on. After a failure but -ENOTSUP no
	 * queue moves until the device was stopped and started.
	 */
	int (*suspend)(struct plx_eth *eth);
	int (*resume)(struct plx_eth *eth);
	/* Stopped, but maybe in vain. Frees everything, also @eth. */
	void (*close)(struct plx_eth *eth);
	/* Without the lock, from any thread. */
	void (*stats)(const struct plx_eth *eth, struct plx_eth_stats *stats);
	int (*counters)(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg);
};

enum plx_eth_state { PLX_ETH_OPEN, PLX_ETH_CONFIGURED, PLX_ETH_STARTED, PLX_ETH_SUSPENDED };

struct plx_eth {
	struct plx_device device;
	const struct plx_eth_ops *ops;
	enum plx_eth_state state;
	/* Set by the driver: a reset was not confirmed, and the device may still touch its buffers.
	 */
	bool in_doubt;
	unsigned queue_pairs;
	struct plx_eth_rxq **rxq; /* queue_pairs of each, the driver's own memory */
	struct plx_eth_txq **txq;
};

static inline bool plx_eth_is_started(const struct plx_eth *eth)
{
	return eth->state == PLX_ETH_STARTED || eth->state == PLX_ETH_SUSPENDED;
}

/* The burst calls of a queue that is not running. */
int plx_eth_rx_stopped(struct plx_eth_rxq *queue, struct plx_packet **packets, unsigned count);
int plx_eth_tx_stopped(struct plx_eth_txq *queue, struct plx_packet **packets, unsigned count);

#endif
