/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#include "base/error.h"

#define LEGACY_ONLY "belongs to the legacy interface"
#define NOT_USED    "not used by this driver"

#define BITS(...) ((const uint8_t[]){__VA_ARGS__, PLX_FEATURE_END})
#define F(bit)    VIRTIO_NET_F_##bit

/* virtio 1.4, 5.1.3 and 5.1.3.1: names and dependencies, in the order of the bits. */
static const struct plx_feature_entry features[] = {
	{F(CSUM), "NET_F_CSUM", "csum", NULL, NULL, NULL},
	{F(GUEST_CSUM), "NET_F_GUEST_CSUM", "guest_csum", NULL, NULL, NULL},
	{F(CTRL_GUEST_OFFLOADS), "NET_F_CTRL_GUEST_OFFLOADS", "ctrl_guest_offloads", NULL,
		BITS(F(CTRL_VQ)), NULL},
	{F(MTU), "NET_F_MTU", "mtu", NULL, NULL, NULL},
	{F(MAC), "NET_F_MAC", "mac", NULL, NULL, NULL},
	{F(GSO), "NET_F_GSO", "gso", LEGACY_ONLY, NULL, NULL},
	{F(GUEST_TSO4), "NET_F_GUEST_TSO4", "guest_tso4", NULL, BITS(F(GUEST_CSUM)), NULL},
	{F(GUEST_TSO6), "NET_F_GUEST_TSO6", "guest_tso6", NULL, BITS(F(GUEST_CSUM)), NULL},
	{F(GUEST_ECN), "NET_F_GUEST_ECN", "guest_ecn", NULL, NULL,
		BITS(F(GUEST_TSO4), F(GUEST_TSO6))},
	{F(GUEST_UFO), "NET_F_GUEST_UFO", "guest_ufo", NOT_USED, BITS(F(GUEST_CSUM)), NULL},
	{F(HOST_TSO4), "NET_F_HOST_TSO4", "host_tso4", NULL, BITS(F(CSUM)), NULL},
	{F(HOST_TSO6), "NET_F_HOST_TSO6", "host_tso6", NULL, BITS(F(CSUM)), NULL},
	{F(HOST_ECN), "NET_F_HOST_ECN", "host_ecn", NULL, NULL, BITS(F(HOST_TSO4), F(HOST_TSO6))},
	{F(HOST_UFO), "NET_F_HOST_UFO", "host_ufo", NOT_USED, BITS(F(CSUM)), NULL},
	{F(MRG_RXBUF), "NET_F_MRG_RXBUF", "mrg_rxbuf", NULL, NULL, NULL},
	{F(STATUS), "NET_F_STATUS", "status", NULL, NULL, NULL},
	{F(CTRL_VQ), "NET_F_CTRL_VQ", "ctrl_vq", NULL, NULL, NULL},
	{F(CTRL_RX), "NET_F_CTRL_RX", "ctrl_rx", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(CTRL_VLAN), "NET_F_CTRL_VLAN", "ctrl_vlan", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(CTRL_RX_EXTRA), "NET_F_CTRL_RX_EXTRA", "ctrl_rx_extra", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(GUEST_ANNOUNCE), "NET_F_GUEST_ANNOUNCE", "guest_announce", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(MQ), "NET_F_MQ", "mq", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(CTRL_MAC_ADDR), "NET_F_CTRL_MAC_ADDR", "ctrl_mac_addr", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(GUEST_RSC6), "NET_F_GUEST_RSC6", "guest_rsc6", LEGACY_ONLY, NULL, NULL},
	{F(DEVICE_STATS), "NET_F_DEVICE_STATS", "device_stats", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(HASH_TUNNEL), "NET_F_HASH_TUNNEL", "hash_tunnel", NOT_USED, BITS(F(CTRL_VQ)),
		BITS(F(RSS), F(HASH_REPORT))},
	{F(VQ_NOTF_COAL), "NET_F_VQ_NOTF_COAL", "vq_notf_coal", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(NOTF_COAL), "NET_F_NOTF_COAL", "notf_coal", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(GUEST_USO4), "NET_F_GUEST_USO4", "guest_uso4", NULL, BITS(F(GUEST_CSUM)), NULL},
	{F(GUEST_USO6), "NET_F_GUEST_USO6", "guest_uso6", NULL, BITS(F(GUEST_CSUM)), NULL},
	{F(HOST_USO), "NET_F_HOST_USO", "host_uso", NULL, BITS(F(CSUM)), NULL},
	{F(HASH_REPORT), "NET_F_HASH_REPORT", "hash_report", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(GUEST_HDRLEN), "NET_F_GUEST_HDRLEN", "guest_hdrlen", NULL, NULL, NULL},
	{F(RSS), "NET_F_RSS", "rss", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(RSC_EXT), "NET_F_RSC_EXT", "rsc_ext", NOT_USED, NULL, BITS(F(HOST_TSO4), F(HOST_TSO6))},
	{F(STANDBY), "NET_F_STANDBY", "standby", NOT_USED, NULL, NULL},
	{F(SPEED_DUPLEX), "NET_F_SPEED_DUPLEX", "speed_duplex", NULL, NULL, NULL},
	{F(RSS_CONTEXT), "NET_F_RSS_CONTEXT", "rss_context", NOT_USED, BITS(F(CTRL_VQ), F(RSS)),
		NULL},
	{F(GUEST_UDP_TUNNEL_GSO), "NET_F_GUEST_UDP_TUNNEL_GSO", "guest_udp_tunnel_gso", NOT_USED,
		BITS(F(GUEST_TSO4), F(GUEST_TSO6), F(GUEST_USO4), F(GUEST_USO6)), NULL},
	{F(GUEST_UDP_TUNNEL_GSO_CSUM), "NET_F_GUEST_UDP_TUNNEL_GSO_CSUM",
		"guest_udp_tunnel_gso_csum", NOT_USED, BITS(F(GUEST_UDP_TUNNEL_GSO)), NULL},
	{F(HOST_UDP_TUNNEL_GSO), "NET_F_HOST_UDP_TUNNEL_GSO", "host_udp_tunnel_gso", NOT_USED,
		BITS(F(HOST_TSO4), F(HOST_TSO6), F(HOST_USO)), NULL},
	{F(HOST_UDP_TUNNEL_GSO_CSUM), "NET_F_HOST_UDP_TUNNEL_GSO_CSUM", "host_udp_tunnel_gso_csum",
		NOT_USED, BITS(F(HOST_UDP_TUNNEL_GSO)), NULL},
	{F(OUT_NET_HEADER), "NET_F_OUT_NET_HEADER", "out_net_header", NOT_USED, NULL, NULL},
	{F(IPSEC), "NET_F_IPSEC", "ipsec", NOT_USED, NULL, NULL},
};

const struct plx_feature_table net_features = {features, ARRAY_SIZE(features)};

/* What the application calls by which name. */
static const struct {
	uint32_t offload;
	uint8_t feature;
	const char *name;
} offloads[] = {
	{PLX_ETH_OFFLOAD_TX_CSUM, F(CSUM), "F_CSUM"},
	{PLX_ETH_OFFLOAD_TX_TSO4, F(HOST_TSO4), "F_HOST_TSO4"},
	{PLX_ETH_OFFLOAD_TX_TSO6, F(HOST_TSO6), "F_HOST_TSO6"},
	{PLX_ETH_OFFLOAD_TX_USO, F(HOST_USO), "F_HOST_USO"},
	{PLX_ETH_OFFLOAD_RX_CSUM, F(GUEST_CSUM), "F_GUEST_CSUM"},
	{PLX_ETH_OFFLOAD_RX_TSO4, F(GUEST_TSO4), "F_GUEST_TSO4"},
	{PLX_ETH_OFFLOAD_RX_TSO6, F(GUEST_TSO6), "F_GUEST_TSO6"},
	{PLX_ETH_OFFLOAD_RX_USO4, F(GUEST_USO4), "F_GUEST_USO4"},
	{PLX_ETH_OFFLOAD_RX_USO6, F(GUEST_USO6), "F_GUEST_USO6"},
	{PLX_ETH_OFFLOAD_RX_HASH, F(HASH_REPORT), "F_HASH_REPORT"},
	{PLX_ETH_OFFLOAD_VLAN_FILTER, F(CTRL_VLAN), "F_CTRL_VLAN"},
};

uint32_t net_offloads(const struct net *net)
{
	uint32_t set = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(offloads); i++)
		if (plx_virtio_has(net->virtio, offloads[i].feature))
			set |= offloads[i].offload;
	return set;
}

/*
 * A choice between understanding a feature and leaving it. One that the user wishes for in the
 * address is understood in any case.
 */
static void choose(struct net *net, unsigned feature, bool wanted, const char *why)
{
	struct plx_negotiation *negotiation = &net->virtio->negotiation;

	if (wanted)
		plx_features_add(&negotiation->understood, feature);
	else
		plx_negotiation_decline(negotiation, feature, why);
}

/* A frame of 64 KiB fits no single buffer, so large receive takes merging (5.1.9.3.1). */
static bool can_merge(const struct net *net)
{
	return plx_virtio_may_use(net->virtio, VIRTIO_NET_F_MRG_RXBUF);
}

static void choose_offloads(struct net *net, uint32_t wanted)
{
	const uint32_t tso = PLX_ETH_OFFLOAD_TX_TSO4 | PLX_ETH_OFFLOAD_TX_TSO6;
	const uint32_t large = NET_LARGE_RECEIVE;
	const uint32_t hash = PLX_ETH_OFFLOAD_RX_HASH;

	for (unsigned i = 0; i < ARRAY_SIZE(offloads); i++) {
		bool merge = !(offloads[i].offload & large) || can_merge(net);
		bool sane = !(offloads[i].offload & hash) || !net->config.hash_unusable;

		choose(net, offloads[i].feature, (wanted & offloads[i].offload) && merge && sane,
			!(wanted & offloads[i].offload) ? "the application does not ask for it"
			: !merge                        ? "large frames need F_MRG_RXBUF"
				 : "the sizes of its keys or tables are impossible");
	}
	choose(net, F(HOST_ECN), wanted & tso, "no segmentation is asked for");
	choose(net, F(GUEST_ECN), (wanted & large) && can_merge(net),
		"no large frames are asked for");
	choose(net, F(GUEST_HDRLEN), wanted & (tso | PLX_ETH_OFFLOAD_TX_USO),
		"no segmentation is asked for");
	choose(net, F(CTRL_GUEST_OFFLOADS), wanted & (large | PLX_ETH_OFFLOAD_RX_CSUM),
		"there is nothing to switch");
}

void net_choose_features(struct net *net, const struct plx_eth_config *config)
{
	bool many = config->queue_pairs > 1;

	choose_offloads(net, config->offloads | config->required);
	choose(net, F(MQ), many, "one pair of queues is asked for");
	choose(net, F(RSS), many && !net->config.hash_unusable,
		many ? "the sizes of its keys or tables are impossible"
		     : "one pair of queues is asked for");
	choose(net, F(GUEST_ANNOUNCE), config->announce, "the application does not announce");
}

int net_check_required(struct net *net, uint32_t required)
{
	uint32_t missing = required & ~net_offloads(net);

	for (unsigned i = 0; i < ARRAY_SIZE(offloads); i++)
		if (missing & offloads[i].offload)
			return plx_fail(ENOTSUP,
				"%s: the configuration requires an offload that takes %s, which cannot be "
				"had: %s",
				net->virtio->name, offloads[i].name,
				net->virtio->negotiation.why[offloads[i].feature]);
	return 0;
}

uint64_t net_guest_offloads(uint32_t set)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(offloads); i++)
		if ((set & NET_SWITCHABLE & offloads[i].offload))
			bits |= UINT64_C(1) << offloads[i].feature;
	return bits;
}
