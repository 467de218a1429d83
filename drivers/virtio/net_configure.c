/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/bits.h"
#include "base/error.h"
#include "virtio/handshake.h"

#include <stdlib.h>
#include <string.h>

/* What an application asks for, held against what the device has: features, rings, queues. */

uint32_t net_frame_room(const struct net *net, const struct plx_eth_config *config)
{
	uint32_t hash = (config->offloads | config->required) & PLX_ETH_OFFLOAD_RX_HASH;

	return (hash ? VIRTIO_NET_HDR_SIZE_HASH : VIRTIO_NET_HDR_SIZE) + NET_ETHERNET_HEADER +
	       NET_VLAN_TAG + net->config.mtu;
}

/*
 * Merging buffers costs work for each frame and is of use only when a frame may be longer than a
 * buffer.
 */
static int choose_mergeable(struct net *net, const struct plx_eth_config *config)
{
	uint32_t needed = net_frame_room(net, config);
	uint32_t room = plx_pool_data_size(config->pool);
	struct plx_negotiation *negotiation = &net->virtio->negotiation;
	/* What is offered and asked for decides; what becomes of it is not known yet. */
	bool large = (config->offloads | config->required) & NET_LARGE_RECEIVE;
	bool fits = room >= needed &&
		    !(large && plx_virtio_may_use(net->virtio, VIRTIO_NET_F_MRG_RXBUF));

	if (fits)
		plx_negotiation_decline(
			negotiation, VIRTIO_NET_F_MRG_RXBUF, "the longest frame fits one buffer");
	else
		plx_features_add(&negotiation->understood, VIRTIO_NET_F_MRG_RXBUF);
	if (fits || room >= needed ||
		(plx_virtio_offers(net->virtio, VIRTIO_NET_F_MRG_RXBUF) &&
			negotiation->wish[VIRTIO_NET_F_MRG_RXBUF] != PLX_FEATURE_OFF))
		return 0;
	return plx_fail(EINVAL,
		"%s: the pool's packets hold %u bytes and a frame needs %u, without "
		"F_MRG_RXBUF to spread it: make the pool's data_size %u",
		net->virtio->name, room, needed, needed);
}

/* More than one pair takes a way to say so (5.1.9.5.5 and 5.1.9.5.7). */
static int check_pairs(struct net *net, const struct plx_eth_config *config)
{
	struct plx_virtio *virtio = net->virtio;

	if (config->queue_pairs == 1 || plx_virtio_has(virtio, VIRTIO_NET_F_MQ) ||
		plx_virtio_has(virtio, VIRTIO_NET_F_RSS))
		return 0;
	return plx_fail(ENOTSUP,
		"%s: %u queue pairs cannot be brought into use without F_CTRL_VQ and F_MQ or F_RSS: leave "
		"out what declines them, or use one pair",
		virtio->name, config->queue_pairs);
}

/* virtio 1.4, 6.1, and the IOMMU: what must be there for the device to be driven at all. */
static int check_needed(struct net *net)
{
	struct plx_virtio *virtio = net->virtio;

	if (!virtio->transport->legacy && !plx_virtio_has(virtio, VIRTIO_F_VERSION_1))
		return plx_fail(ENOTSUP,
			"%s: F_VERSION_1 is %s: the device can be driven only through the "
			"legacy interface: %s",
			virtio->name,
			plx_virtio_offers(virtio, VIRTIO_F_VERSION_1) ? "declined" : "not offered",
			plx_virtio_offers(virtio, VIRTIO_F_VERSION_1) ? "leave out version_1=off"
								      : "say legacy=on");
	if (virtio->dma_translated && net->check_platform &&
		!plx_virtio_offers(virtio, VIRTIO_F_ACCESS_PLATFORM))
		return plx_fail(ENOTSUP,
			"%s: the device does not offer F_ACCESS_PLATFORM, so it would bypass the "
			"IOMMU and reach the wrong memory: %s, or say platform=ignore if it is "
			"hardware that honours the IOMMU anyway",
			virtio->name,
			virtio->transport->legacy ? "leave out legacy=on"
						  : "in QEMU add iommu_platform=on to the device");
	return 0;
}

/* Entries of a ring that the user leaves to us, at most. */
#define RING_DEFAULT 1024

/*
 * What sizes there are depends on the layout, and so on the negotiation (2.7, 2.8.10.1). A 0 in
 * @entries becomes the size to use; @max is what the device offered when it was opened.
 */
static int choose_ring(struct net *net, const char *which, uint16_t max, uint16_t *entries)
{
	bool packed = plx_virtio_has(net->virtio, VIRTIO_F_RING_PACKED);
	bool fixed = net->virtio->transport->legacy;

	if (!packed && !plx_is_power_of_two(max))
		return plx_fail(EPROTO,
			"%s: the device offers a %s ring of %u entries, which is no size of a "
			"split ring",
			net->virtio->name, which, max);
	if (!*entries)
		*entries = fixed ? max : MIN(max, RING_DEFAULT);
	if (fixed ? *entries == max : *entries <= max && (packed || plx_is_power_of_two(*entries)))
		return 0;
	return plx_fail(EINVAL, "%s: a %s ring of %u entries is not offered: %s %u",
		net->virtio->name, which, *entries,
		fixed    ? "through the legacy interface it must be"
		: packed ? "give a number up to"
			 : "give a power of two up to",
		max);
}

static int check_config(struct net *net, const struct plx_eth_config *config)
{
	if (!config->queue_pairs || config->queue_pairs > net->config.max_queue_pairs)
		return plx_fail(EINVAL,
			"%s: %u queue pairs are not offered: give a number from 1 to %u",
			net->virtio->name, config->queue_pairs, net->config.max_queue_pairs);
	if (plx_pool_memory(config->pool) != net->virtio->mem)
		return plx_fail(EINVAL,
			"%s: the pool belongs to another context: the device cannot reach it",
			net->virtio->name);
	return 0;
}

/* The buffers of a ring together hold a frame of the MTU at least (5.1.4.2). */
static int check_room(struct net *net, const struct plx_eth_config *config)
{
	uint32_t entries = config->rx_ring;
	uint32_t size = plx_pool_data_size(config->pool);

	uint32_t needed = net_offloads(net) & NET_LARGE_RECEIVE
				  ? VIRTIO_NET_HDR_SIZE_HASH + NET_FRAME_MAX
				  : net_frame_room(net, config);

	if (net_header_apart(net->virtio))
		entries /= 2;
	if ((uint64_t)entries * size >= needed)
		return 0;
	return plx_fail(EINVAL,
		"%s: %u receive buffers of %u bytes do not hold one frame of %u: ask for a "
		"longer ring, or make the pool's data_size larger",
		net->virtio->name, entries, size, needed);
}

int net_choose_rings(struct net *net, struct plx_eth_config *config)
{
	int err = choose_ring(net, "receive", net->max_rx_ring, &config->rx_ring);

	if (!err)
		err = choose_ring(net, "transmit", net->max_tx_ring, &config->tx_ring);
	return err ? err : check_room(net, config);
}

void net_free_queues(struct net *net)
{
	free(net->rx);
	free(net->tx);
	free(net->eth.rxq);
	free(net->eth.txq);
	net->rx = NULL;
	net->tx = NULL;
	net->eth.rxq = NULL;
	net->eth.txq = NULL;
	net->eth.queue_pairs = 0;
}

static int allocate_queues(struct net *net, unsigned pairs)
{
	net_free_queues(net);
	net->rx = aligned_alloc(PLX_CACHE_LINE, pairs * sizeof(*net->rx));
	net->tx = aligned_alloc(PLX_CACHE_LINE, pairs * sizeof(*net->tx));
	net->eth.rxq = calloc(pairs, sizeof(struct plx_eth_rxq *));
	net->eth.txq = calloc(pairs, sizeof(struct plx_eth_txq *));
	if (!net->rx || !net->tx || !net->eth.rxq || !net->eth.txq) {
		net_free_queues(net);
		return plx_fail(
			ENOMEM, "%s: out of memory for %u queue pairs", net->virtio->name, pairs);
	}
	memset(net->rx, 0, pairs * sizeof(*net->rx));
	memset(net->tx, 0, pairs * sizeof(*net->tx));
	for (unsigned i = 0; i < pairs; i++) {
		net->rx[i].base.burst = plx_eth_rx_stopped;
		net->rx[i].base.arm = net_irq_arm;
		net->rx[i].base.disarm = net_irq_disarm;
		net->tx[i].base.burst = plx_eth_tx_stopped;
		net->tx[i].base.prepare = plx_eth_prepare_stopped;
		net->rx[i].path = net->tx[i].path = "";
		net->eth.rxq[i] = &net->rx[i].base;
		net->eth.txq[i] = &net->tx[i].base;
	}
	net->eth.queue_pairs = pairs;
	return 0;
}

int net_configure(struct plx_eth *eth, const struct plx_eth_config *config)
{
	struct plx_eth_config wanted = *config;
	struct net *net = net_of(eth);
	int err;

	if (net->eth.in_doubt)
		return plx_fail(EIO,
			"%s: the device did not confirm its last reset: stop it again, or close it",
			net->virtio->name);
	err = check_config(net, config);
	if (!err)
		err = choose_mergeable(net, config);
	if (err)
		return err;
	net_choose_features(net, config);
	err = plx_negotiation_decide(&net->virtio->negotiation, net->virtio->name);
	if (err)
		return err;
	err = check_needed(net);
	if (!err)
		err = net_check_required(net, config->required);
	if (err) {
		plx_handshake_give_up(net->virtio);
		return err;
	}
	err = check_pairs(net, config);
	if (!err)
		err = net_choose_rings(net, &wanted);
	if (!err)
		err = allocate_queues(net, config->queue_pairs);
	if (!err)
		err = net_irq_configure(net, config);
	if (!err)
		net->wanted = wanted;
	return err;
}
