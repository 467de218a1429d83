/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What plx_eth_configure() takes when it is given 0. */
#define DEFAULT_RING 1024

#define ALL_OFFLOADS                                                                               \
	((uint32_t)(PLX_ETH_OFFLOAD_TX_CSUM | PLX_ETH_OFFLOAD_TX_TSO4 | PLX_ETH_OFFLOAD_TX_TSO6 |  \
		    PLX_ETH_OFFLOAD_TX_USO | PLX_ETH_OFFLOAD_RX_CSUM | PLX_ETH_OFFLOAD_RX_TSO4 |   \
		    PLX_ETH_OFFLOAD_RX_TSO6 | PLX_ETH_OFFLOAD_RX_USO4 | PLX_ETH_OFFLOAD_RX_USO6))

static uint16_t ring_entries(uint16_t wanted, uint16_t most)
{
	if (wanted)
		return wanted;
	return most < DEFAULT_RING ? most : DEFAULT_RING;
}

/*
 * Every place that can hold packets of a pool, each of its queues: the receive ring, the transmit
 * ring of the way out, a cache of the library's on each side and the stream's own, and the burst in
 * hand.
 */
static uint32_t enough_packets(const struct fwd_options *options, uint32_t rings)
{
	return options->queues * (rings + 3 * PLX_POOL_CACHE_SIZE + options->burst);
}

static int create_pools(struct fwd *fwd, struct fwd_port *port)
{
	const struct fwd_options *options = &fwd->options;
	struct plx_pool_config config = PLX_POOL_CONFIG_INIT;
	uint32_t rx = ring_entries(options->rx_ring, port->info.max_rx_ring);
	uint32_t tx = ring_entries(options->tx_ring, port->out->info.max_tx_ring);
	int err;

	config.numa_node = port->info.numa_node;
	fit_packets(&config, &port->info);
	config.count = options->packets ? options->packets : enough_packets(options, rx + tx);
	err = plx_pool_create(fwd->ctx, &config, &port->pool);
	if (err || !options->mode->generates)
		return err;
	config.count = enough_packets(options, tx);
	return plx_pool_create(fwd->ctx, &config, &port->frames);
}

static int open_port(struct fwd *fwd, unsigned index)
{
	static const uint8_t peer[6] = {0x02};
	struct fwd_port *port = &fwd->port[index];
	const struct fwd_options *options = &fwd->options;
	int err = plx_eth_open(fwd->ctx, options->device[index], &port->eth);

	if (err)
		return err;
	port->index = index;
	port->out = port;
	if (options->mode->paired && (index ^ 1) < fwd->ports)
		port->out = &fwd->port[index ^ 1];
	memcpy(port->peer, index < options->peers ? options->peer[index] : peer,
		sizeof(port->peer));
	if (index >= options->peers)
		port->peer[5] = (uint8_t)index;
	(void)snprintf(
		port->name, sizeof(port->name), "%s", plx_device_name(plx_eth_device(port->eth)));
	plx_eth_get_info(port->eth, &port->info);
	return 0;
}

static int configure_port(struct fwd *fwd, struct fwd_port *port)
{
	struct plx_eth_config config = PLX_ETH_CONFIG_INIT;

	config.queue_pairs = fwd->options.queues;
	config.rx_ring = fwd->options.rx_ring;
	config.tx_ring = fwd->options.tx_ring;
	config.pool = port->pool;
	config.interrupts = fwd->options.idle != FWD_IDLE_POLL;
	if (fwd->options.mode->offloads)
		config.offloads = ALL_OFFLOADS;
	return plx_eth_configure(port->eth, &config);
}

static int start_port(struct fwd_port *port)
{
	int err = plx_eth_start(port->eth);

	if (err)
		return err;
	port->started = true;
	/*
	 * What is forwarded is addressed to others; a device that cannot choose lets in everything.
	 */
	err = plx_eth_set_rx_mode(port->eth, PLX_ETH_PROMISCUOUS, true);
	if (err && err != -ENOTSUP && err != -EPERM)
		return err;
	plx_eth_get_info(port->eth, &port->info);
	return 0;
}

int fwd_port_reopen(struct fwd *fwd, struct fwd_port *port)
{
	int err = plx_eth_open(fwd->ctx, fwd->options.device[port->index], &port->eth);

	port->info.rx_path = port->info.tx_path = "";
	if (err) {
		port->eth = NULL;
		return err;
	}
	err = configure_port(fwd, port);
	return err ? err : start_port(port);
}

int fwd_ports_open(struct fwd *fwd)
{
	struct plx_context_config config = context_config(fwd->options.verbose);
	int err;

	config.page_size = fwd->options.page_size;
	err = plx_context_create(&config, &fwd->ctx);
	if (err)
		return err;
	fwd->ports = fwd->options.devices;
	fwd->port = must_have(calloc(fwd->ports, sizeof(*fwd->port)));
	for (unsigned i = 0; !err && i < fwd->ports; i++)
		err = open_port(fwd, i);
	for (unsigned i = 0; !err && i < fwd->ports; i++)
		err = create_pools(fwd, &fwd->port[i]);
	for (unsigned i = 0; !err && i < fwd->ports; i++)
		err = configure_port(fwd, &fwd->port[i]);
	for (unsigned i = 0; !err && i < fwd->ports; i++)
		err = start_port(&fwd->port[i]);
	return err;
}

/* Every packet must be back now, and what is missing is a fault of Pollux's own. */
static void close_pool(struct fwd *fwd, const struct fwd_port *port, struct plx_pool *pool)
{
	uint32_t count, available;

	if (!pool)
		return;
	count = plx_pool_count(pool);
	available = plx_pool_available(pool);
	if (available != count)
		failure_take(&fwd->failure, -EIO,
			make_text("%s: %u of %u packets did not come back to their pool, which "
				  "is a fault of Pollux: please report it",
				port->name, count - available, count));
	(void)failure_note(&fwd->failure, plx_pool_destroy(pool));
}

void fwd_ports_close(struct fwd *fwd)
{
	for (unsigned i = 0; i < fwd->ports; i++)
		if (fwd->port[i].started)
			(void)failure_note(&fwd->failure, plx_eth_stop(fwd->port[i].eth));
	for (unsigned i = 0; i < fwd->ports; i++)
		plx_eth_close(fwd->port[i].eth);
	for (unsigned i = 0; i < fwd->ports; i++) {
		close_pool(fwd, &fwd->port[i], fwd->port[i].pool);
		close_pool(fwd, &fwd->port[i], fwd->port[i].frames);
	}
	(void)failure_note(&fwd->failure, plx_context_destroy(fwd->ctx));
}
