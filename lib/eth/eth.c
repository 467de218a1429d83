/* SPDX-License-Identifier: BSD-3-Clause */
#include "eth/eth.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static void lock(struct plx_eth *eth)
{
	(void)pthread_mutex_lock(&eth->device.lock);
}

static void unlock(struct plx_eth *eth)
{
	(void)pthread_mutex_unlock(&eth->device.lock);
}

static int configure(struct plx_eth *eth, const struct plx_eth_config *from)
{
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;
	int err;

	if (!from->struct_size || from->struct_size > sizeof(config))
		return plx_fail(EINVAL,
			"%s: the configuration has struct_size %u: start from "
			"PLX_ETH_CONFIG_INIT of this version of Pollux",
			eth->device.name, from->struct_size);
	memcpy(&config, from, from->struct_size);
	if (plx_eth_is_started(eth))
		return plx_fail(EBUSY, "%s: the device is started: stop it before configuring it",
			eth->device.name);
	if (!config.pool)
		return plx_fail(EINVAL, "%s: the configuration names no pool to receive into",
			eth->device.name);
	plx_eth_settings_clear(eth);
	err = eth->ops->configure(eth, &config);
	eth->state = err ? PLX_ETH_OPEN : PLX_ETH_CONFIGURED;
	return err;
}

int plx_eth_configure(struct plx_eth *eth, const struct plx_eth_config *config)
{
	int err;

	lock(eth);
	err = configure(eth, config);
	unlock(eth);
	return err;
}

static int stop(struct plx_eth *eth)
{
	if (plx_eth_is_started(eth))
		eth->state = PLX_ETH_CONFIGURED;
	else if (!eth->in_doubt)
		return 0;
	return eth->ops->stop(eth);
}

/* @run: the driver's start or restart */
static int start(struct plx_eth *eth, int (*run)(struct plx_eth *eth))
{
	int err;

	if (eth->state == PLX_ETH_OPEN)
		return plx_fail(EINVAL,
			"%s: the device is not configured: call plx_eth_configure() first",
			eth->device.name);
	if (plx_eth_is_started(eth))
		return plx_fail(EBUSY, "%s: the device is started already", eth->device.name);
	err = run(eth);
	if (err)
		return err;
	eth->state = PLX_ETH_STARTED;
	err = plx_eth_settings_restore(eth);
	if (err) {
		char reason[PLX_ERROR_LEN];

		/* What fails on the way out is not what made it fail. */
		(void)snprintf(reason, sizeof(reason), "%s", plx_error());
		(void)stop(eth);
		plx_note_failure("%s", reason);
	}
	return err;
}

int plx_eth_start(struct plx_eth *eth)
{
	int err;

	lock(eth);
	err = start(eth, eth->ops->start);
	unlock(eth);
	return err;
}

int plx_eth_stop(struct plx_eth *eth)
{
	int err;

	lock(eth);
	err = stop(eth);
	unlock(eth);
	return err;
}

int plx_eth_reset(struct plx_eth *eth)
{
	int err;

	lock(eth);
	err = stop(eth);
	if (!err)
		err = start(eth, eth->ops->restart);
	unlock(eth);
	return err;
}

static int suspend(struct plx_eth *eth)
{
	int err;

	if (eth->state != PLX_ETH_STARTED)
		return plx_fail(EINVAL, "%s: the device is %s: only one that runs can be suspended",
			eth->device.name,
			eth->state == PLX_ETH_SUSPENDED ? "suspended already" : "stopped");
	if (!eth->ops->suspend)
		return plx_fail(ENOTSUP, "%s: its driver cannot suspend it: stop it instead",
			eth->device.name);
	err = eth->ops->suspend(eth);
	if (err != -ENOTSUP)
		eth->state = PLX_ETH_SUSPENDED;
	return err;
}

int plx_eth_suspend(struct plx_eth *eth)
{
	int err;

	lock(eth);
	err = suspend(eth);
	unlock(eth);
	return err;
}

static int resume(struct plx_eth *eth)
{
	int err;

	if (eth->state != PLX_ETH_SUSPENDED)
		return plx_fail(EINVAL, "%s: the device is not suspended, so it cannot be resumed",
			eth->device.name);
	err = eth->ops->resume(eth);
	if (!err)
		eth->state = PLX_ETH_STARTED;
	return err;
}

int plx_eth_resume(struct plx_eth *eth)
{
	int err;

	lock(eth);
	err = resume(eth);
	unlock(eth);
	return err;
}

static int check_events(const struct plx_eth *eth, unsigned queue)
{
	if (!plx_eth_is_started(eth))
		return plx_fail(ESHUTDOWN,
			"%s: the device is stopped: start it before waiting for its interrupts",
			eth->device.name);
	if (queue >= eth->queue_pairs)
		return plx_fail(EINVAL, "%s: there is no receive queue %u: it has %u",
			eth->device.name, queue, eth->queue_pairs);
	return 0;
}

int plx_eth_rx_event_fd(struct plx_eth *eth, unsigned queue)
{
	int ret;

	lock(eth);
	ret = check_events(eth, queue);
	if (!ret)
		ret = eth->ops->rx_event_fd(eth, queue);
	unlock(eth);
	return ret;
}

int plx_eth_config_event_fd(struct plx_eth *eth)
{
	int ret;

	lock(eth);
	ret = check_events(eth, 0);
	if (!ret)
		ret = eth->ops->config_event_fd(eth);
	unlock(eth);
	return ret;
}

void plx_eth_close(struct plx_eth *eth)
{
	if (!eth)
		return;
	/* Closing goes on when the device does not confirm: it is then taken from the bus. */
	if (!eth->in_doubt)
		(void)plx_eth_stop(eth);
	plx_eth_settings_clear(eth);
	eth->ops->close(eth);
}

struct plx_device *plx_eth_device(struct plx_eth *eth)
{
	return &eth->device;
}

void plx_eth_get_info(struct plx_eth *eth, struct plx_eth_info *info)
{
	memset(info, 0, sizeof(*info));
	lock(eth);
	eth->ops->info(eth, info);
	unlock(eth);
}

void plx_eth_get_stats(struct plx_eth *eth, struct plx_eth_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	eth->ops->stats(eth, stats);
}

int plx_eth_counters(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg)
{
	int ret;

	lock(eth);
	ret = eth->ops->counters(eth, visit, arg);
	unlock(eth);
	return ret;
}

struct plx_eth_rxq *plx_eth_rxq(struct plx_eth *eth, unsigned index)
{
	return index < eth->queue_pairs ? eth->rxq[index] : NULL;
}

struct plx_eth_txq *plx_eth_txq(struct plx_eth *eth, unsigned index)
{
	return index < eth->queue_pairs ? eth->txq[index] : NULL;
}

int plx_eth_rx_stopped(struct plx_eth_rxq *queue, struct plx_packet **packets, unsigned count)
{
	(void)queue;
	(void)packets;
	(void)count;
	return plx_fail(ESHUTDOWN,
		"the device is stopped or suspended: start or resume it before receiving");
}

int plx_eth_tx_stopped(struct plx_eth_txq *queue, struct plx_packet **packets, unsigned count)
{
	(void)queue;
	(void)packets;
	(void)count;
	return plx_fail(
		ESHUTDOWN, "the device is stopped or suspended: start or resume it before sending");
}

int plx_eth_prepare_stopped(
	struct plx_eth_txq *queue, struct plx_packet *const *packets, unsigned count)
{
	(void)queue;
	(void)packets;
	(void)count;
	return plx_fail(ESHUTDOWN, "the device is stopped: start it before preparing what to send");
}

int plx_eth_tx_unused(struct plx_eth_txq *queue, struct plx_packet **packets, unsigned count)
{
	(void)queue;
	(void)packets;
	(void)count;
	return plx_fail(ESHUTDOWN,
		"the queue is not in use: see plx_eth_set_queue_pairs() for how many are");
}
