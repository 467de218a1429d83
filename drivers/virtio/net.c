/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"
#include "base/wide.h"
#include "virtio/handshake.h"

#include <stdlib.h>
#include <string.h>

/* --- start and stop --- */

static int set_up(void *arg)
{
	struct net *net = arg;
	int err = net_irq_start(net);

	for (unsigned i = 0; !err && i < net->eth.queue_pairs; i++) {
		err = net_rx_create(net, i, net->wanted.rx_ring);

		if (!err)
			err = net_tx_create(net, i, net->wanted.tx_ring);
		if (err)
			return err;
	}
	return err ? err : net_ctrl_create(net);
}

/* After a reset that the device, and not the application, was the reason for. */
static int set_up_again(void *arg)
{
	int err = net_check_unchanged(arg);

	return err ? err : set_up(arg);
}

static int fill(void *arg)
{
	struct net *net = arg;
	int err = 0;

	for (unsigned i = 0; !err && i < net->eth.queue_pairs; i++)
		err = net_rx_fill(&net->rx[i]);
	return err;
}

static void go_live(void *arg)
{
	struct net *net = arg;

	for (unsigned i = 0; i < net->eth.queue_pairs; i++) {
		net_tx_run(&net->tx[i]);
		net_rx_run(net, &net->rx[i]);
	}
}

/* Turn the interrupts off and close the doorbells, while there is a device behind them. */
static void disconnect(struct net *net)
{
	plx_interrupts_off(net->interrupts);
	for (unsigned i = 0; i < net->eth.queue_pairs; i++) {
		net->rx[i].base.burst = plx_eth_rx_stopped;
		net->tx[i].base.burst = plx_eth_tx_stopped;
		net->tx[i].base.prepare = plx_eth_prepare_stopped;
		if (net->rx[i].vq)
			plx_virtq_disconnect(net->rx[i].vq);
		if (net->tx[i].vq)
			plx_virtq_disconnect(net->tx[i].vq);
	}
	if (net->ctrl.vq)
		plx_virtq_disconnect(net->ctrl.vq);
}

/* Every buffer goes back to its pool; the device is known to be quiet. */
static void release(struct net *net)
{
	for (unsigned i = 0; i < net->eth.queue_pairs; i++) {
		net_rx_release(&net->rx[i]);
		net_tx_release(&net->tx[i]);
	}
	net_ctrl_release(net);
	net->eth.in_doubt = false;
}

static int take_down(struct net *net, int err)
{
	disconnect(net);
	net->eth.in_doubt = !net->virtio->reset_confirmed;
	if (!net->eth.in_doubt)
		release(net);
	return err;
}

/* plx_eth_get_stats() may be reading them at this moment. */
static void set_zero(void *counters, size_t size)
{
	for (size_t i = 0; i < size / sizeof(uint64_t); i++)
		plx_counter_set((uint64_t *)counters + i, 0);
}

static void reset_counters(struct net *net)
{
	for (unsigned i = 0; i < net->eth.queue_pairs; i++) {
		set_zero(&net->rx[i].counters, sizeof(net->rx[i].counters));
		set_zero(&net->tx[i].counters, sizeof(net->tx[i].counters));
		net->rx[i].ring = net->tx[i].ring = (struct plx_virtq_counters){0};
	}
	memset(&net->ctrl.counters, 0, sizeof(net->ctrl.counters));
}

static int run(struct net *net, const struct plx_handshake_driver *driver)
{
	int err;

	if (net->eth.in_doubt)
		return plx_fail(EIO,
			"%s: the device did not confirm its last reset: stop it again, or close it",
			net->virtio->name);
	memcpy(net->mac, net->config.mac, sizeof(net->mac));
	err = plx_handshake_start(net->virtio, driver, net);
	if (!err) {
		err = net_start_pairs(net);
		if (err)
			plx_handshake_give_up(net->virtio);
	}
	if (err)
		return take_down(net, err);
	plx_interrupts_forget(net->interrupts);
	net_events_start(net);
	return 0;
}

static int start(struct plx_eth *eth)
{
	static const struct plx_handshake_driver driver = {set_up, fill, go_live};
	struct net *net = net_of(eth);

	if (!net->eth.in_doubt)
		reset_counters(net);
	return run(net, &driver);
}

static int restart(struct plx_eth *eth)
{
	static const struct plx_handshake_driver driver = {set_up_again, fill, go_live};

	return run(net_of(eth), &driver);
}

static int stop(struct plx_eth *eth)
{
	struct net *net = net_of(eth);

	return take_down(net, plx_virtio_quiesce(net->virtio));
}

static int suspend(struct plx_eth *eth)
{
	struct net *net = net_of(eth);
	bool able = plx_virtio_has(net->virtio, VIRTIO_F_SUSPEND);

	/* Nothing is made available and nothing notified from here on. */
	for (unsigned i = 0; able && i < eth->queue_pairs; i++) {
		net->rx[i].suspended = net->rx[i].base.burst;
		net->tx[i].suspended = net->tx[i].base.burst;
		net->rx[i].base.burst = plx_eth_rx_stopped;
		net->tx[i].base.burst = plx_eth_tx_stopped;
	}
	return plx_handshake_suspend(net->virtio);
}

static int resume(struct plx_eth *eth)
{
	struct net *net = net_of(eth);
	int err = plx_handshake_resume(net->virtio);

	for (unsigned i = 0; !err && i < eth->queue_pairs; i++) {
		/* The time that it was suspended is none in which it should have finished. */
		if (net->tx[i].vq)
			net->tx[i].vq->stall.since = 0;
		net->rx[i].base.burst = net->rx[i].suspended;
		net->tx[i].base.burst = net->tx[i].suspended;
	}
	return err;
}

static void close_device(struct plx_eth *eth)
{
	struct net *net = net_of(eth);
	struct plx_mem *mem = net->virtio->mem;

	/* Once it is off the bus, what was in doubt is certain. */
	plx_virtio_close(net->virtio);
	release(net);
	plx_mem_free(mem, net->empty_header);
	net_irq_forget(net);
	net_free_queues(net);
	plx_device_fini(&eth->device);
	free(net);
}

/* --- what can be asked --- */

static void info(struct plx_eth *eth, struct plx_eth_info *info)
{
	/* Enough for whatever is configured afterwards. */
	static const struct plx_eth_config longest_header = {.offloads = PLX_ETH_OFFLOAD_RX_HASH};
	struct plx_eth_link link;
	struct net *net = net_of(eth);

	info->speed = PLX_ETH_SPEED_UNKNOWN;
	info->duplex = PLX_ETH_DUPLEX_UNKNOWN;
	info->driver = plx_driver_virtio_net.name;
	memcpy(info->mac, eth->state == PLX_ETH_STARTED ? net->mac : net->config.mac,
		sizeof(info->mac));
	if (!net_get_link(eth, &link)) {
		info->link_up = link.up;
		info->speed = link.speed;
		info->duplex = link.duplex;
	}
	info->mtu = net->config.mtu;
	info->max_queue_pairs = net->config.max_queue_pairs;
	info->queue_pairs =
		eth->state == PLX_ETH_STARTED ? net->pairs_in_use : (uint16_t)eth->queue_pairs;
	info->offloads = net_offloads(net);
	info->hash_types = net->config.hash_types;
	info->max_hash_key = net->config.max_hash_key;
	info->max_rss_table = net->config.max_rss_table;
	info->max_rx_ring = net->max_rx_ring;
	info->max_tx_ring = net->max_tx_ring;
	if (!plx_virtio_may_use(net->virtio, VIRTIO_NET_F_MRG_RXBUF))
		info->min_data_size = net_frame_room(net, &longest_header);
	info->numa_node = net->virtio->numa_node;
	info->backend = plx_virtio_backend(net->virtio);
	/* The thread that polls may be changing the path that a queue takes. */
	info->rx_path = net->rx ? __atomic_load_n(&net->rx[0].path, __ATOMIC_RELAXED) : "";
	info->tx_path = net->tx ? __atomic_load_n(&net->tx[0].path, __ATOMIC_RELAXED) : "";
}

static const struct plx_eth_ops eth_ops = {
	.info = info,
	.configure = net_configure,
	.start = start,
	.restart = restart,
	.stop = stop,
	.suspend = suspend,
	.resume = resume,
	.rx_event_fd = net_irq_rx_fd,
	.config_event_fd = net_irq_config_fd,
	.close = close_device,
	.stats = net_get_stats,
	.counters = net_visit_counters,
};

static int features(struct plx_device *device, plx_feature_visit_fn *visit, void *arg)
{
	struct net *net = container_of(device, struct net, eth.device);

	return plx_negotiation_visit(&net->virtio->negotiation, visit, arg);
}

static int trace(struct plx_device *device, plx_trace_visit_fn *visit, void *arg)
{
	struct net *net = container_of(device, struct net, eth.device);

	return plx_trace_visit(&net->virtio->trace, visit, arg);
}

static const struct plx_device_ops device_ops = {features, trace};

/* --- open --- */

static int read_options(struct net *net, struct plx_address *address)
{
	static const char *const platform[] = {"check", "ignore", NULL};
	static const char *const simd[] = {"auto", "off", NULL};
	unsigned choice = 0;
	int ret;

	ret = plx_address_choice(address, "platform", platform, &choice);
	if (ret < 0)
		return ret;
	net->check_platform = choice == 0;
	choice = 0;
	ret = plx_address_choice(address, "simd", simd, &choice);
	if (ret < 0)
		return ret;
	net->wide = choice == 0 && plx_cpu_is_wide();
	ret = plx_negotiation_options(&net->virtio->negotiation, address);
	if (ret < 0)
		return ret;
	return plx_address_finish(address);
}

/* Read once: a later, larger answer changes nothing (2.7 and 2.8.10.1). */
static int read_ring(struct plx_virtio *virtio, uint16_t index, uint16_t *max)
{
	*max = virtio->transport->queue_max(virtio, index);
	if (*max == UINT16_MAX)
		return plx_virtio_gone(virtio);
	if (!*max)
		return plx_fail(EPROTO, "%s: the device has no queue %u", virtio->name, index);
	if (*max > VIRTQ_SIZE_MAX)
		return plx_fail(EPROTO,
			"%s: the device offers %u entries for queue %u, which is no size of a ring",
			virtio->name, *max, index);
	return 0;
}

static int read_device(struct net *net)
{
	int err = net_read_config(net);

	if (!err)
		err = read_ring(net->virtio, VIRTIO_NET_RXQ(0), &net->max_rx_ring);
	if (!err)
		err = read_ring(net->virtio, VIRTIO_NET_TXQ(0), &net->max_tx_ring);
	return err;
}

static int probe(struct net *net, struct plx_address *address)
{
	struct plx_virtio *virtio = net->virtio;
	int err;

	plx_negotiation_init(&virtio->negotiation, &net_features);
	if (virtio->transport->legacy) {
		plx_negotiation_legacy(&virtio->negotiation);
		plx_features_add(&virtio->negotiation.understood, VIRTIO_F_ANY_LAYOUT);
	}
	err = read_options(net, address);
	if (err)
		return err;
	if (virtio->transport->narrow)
		virtio->transport->narrow(virtio);
	err = plx_handshake_probe(virtio);
	if (err)
		return err;
	err = read_device(net);
	if (err) {
		plx_handshake_give_up(virtio);
		return err;
	}
	return plx_mem_alloc(virtio->mem, PLX_CACHE_LINE, PLX_CACHE_LINE, virtio->numa_node,
		PLX_MEM_READ_ONLY, &net->empty_header);
}

static int open_eth(struct plx_context *ctx, struct plx_virtio *virtio, struct plx_address *address,
	struct plx_eth **eth)
{
	struct net *net = calloc(1, sizeof(*net));
	int err;

	if (!net)
		return plx_fail(ENOMEM, "%s: out of memory for the device", virtio->name);
	net->virtio = virtio;
	net->eth.ops = &eth_ops;
	net->eth.control = &net_control_ops;
	err = probe(net, address);
	if (err) {
		free(net);
		return err;
	}
	plx_device_init(&net->eth.device, ctx, virtio->name, &device_ops);
	*eth = &net->eth;
	return 0;
}

const struct plx_driver plx_driver_virtio_net = {
	.name = "virtio-net",
	.device_id = VIRTIO_ID_NET,
	.open_eth = open_eth,
};
