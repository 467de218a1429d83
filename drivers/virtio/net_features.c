/* SPDX-License-Identifier: BSD-3-Clause */
#include "drivers/virtio/net_priv.h"

#define LEGACY_ONLY "belongs to the legacy interface"
#define NO_OFFLOAD  "this driver leaves checksums and segmentation to the application"
#define NOT_USED    "not used by this driver"

#define BITS(...) ((const uint8_t[]){__VA_ARGS__, PLX_FEATURE_END})
#define F(bit)    VIRTIO_NET_F_##bit

/* virtio 1.4, 5.1.3 and 5.1.3.1: names and dependencies, in the order of the bits. */
static const struct plx_feature_entry features[] = {
	{F(CSUM), "NET_F_CSUM", "csum", NO_OFFLOAD, NULL, NULL},
	{F(GUEST_CSUM), "NET_F_GUEST_CSUM", "guest_csum", NO_OFFLOAD, NULL, NULL},
	{F(CTRL_GUEST_OFFLOADS), "NET_F_CTRL_GUEST_OFFLOADS", "ctrl_guest_offloads", NO_OFFLOAD,
		BITS(F(CTRL_VQ)), NULL},
	{F(MTU), "NET_F_MTU", "mtu", NULL, NULL, NULL},
	{F(MAC), "NET_F_MAC", "mac", NULL, NULL, NULL},
	{F(GSO), "NET_F_GSO", "gso", LEGACY_ONLY, NULL, NULL},
	{F(GUEST_TSO4), "NET_F_GUEST_TSO4", "guest_tso4", NO_OFFLOAD, BITS(F(GUEST_CSUM)), NULL},
	{F(GUEST_TSO6), "NET_F_GUEST_TSO6", "guest_tso6", NO_OFFLOAD, BITS(F(GUEST_CSUM)), NULL},
	{F(GUEST_ECN), "NET_F_GUEST_ECN", "guest_ecn", NO_OFFLOAD, NULL,
		BITS(F(GUEST_TSO4), F(GUEST_TSO6))},
	{F(GUEST_UFO), "NET_F_GUEST_UFO", "guest_ufo", NO_OFFLOAD, BITS(F(GUEST_CSUM)), NULL},
	{F(HOST_TSO4), "NET_F_HOST_TSO4", "host_tso4", NO_OFFLOAD, BITS(F(CSUM)), NULL},
	{F(HOST_TSO6), "NET_F_HOST_TSO6", "host_tso6", NO_OFFLOAD, BITS(F(CSUM)), NULL},
	{F(HOST_ECN), "NET_F_HOST_ECN", "host_ecn", NO_OFFLOAD, NULL,
		BITS(F(HOST_TSO4), F(HOST_TSO6))},
	{F(HOST_UFO), "NET_F_HOST_UFO", "host_ufo", NO_OFFLOAD, BITS(F(CSUM)), NULL},
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
	{F(GUEST_USO4), "NET_F_GUEST_USO4", "guest_uso4", NO_OFFLOAD, BITS(F(GUEST_CSUM)), NULL},
	{F(GUEST_USO6), "NET_F_GUEST_USO6", "guest_uso6", NO_OFFLOAD, BITS(F(GUEST_CSUM)), NULL},
	{F(HOST_USO), "NET_F_HOST_USO", "host_uso", NO_OFFLOAD, BITS(F(CSUM)), NULL},
	{F(HASH_REPORT), "NET_F_HASH_REPORT", "hash_report", NO_OFFLOAD, BITS(F(CTRL_VQ)), NULL},
	{F(GUEST_HDRLEN), "NET_F_GUEST_HDRLEN", "guest_hdrlen", NO_OFFLOAD, NULL, NULL},
	{F(RSS), "NET_F_RSS", "rss", NULL, BITS(F(CTRL_VQ)), NULL},
	{F(RSC_EXT), "NET_F_RSC_EXT", "rsc_ext", NO_OFFLOAD, NULL,
		BITS(F(HOST_TSO4), F(HOST_TSO6))},
	{F(STANDBY), "NET_F_STANDBY", "standby", NOT_USED, NULL, NULL},
	{F(SPEED_DUPLEX), "NET_F_SPEED_DUPLEX", "speed_duplex", NULL, NULL, NULL},
	{F(RSS_CONTEXT), "NET_F_RSS_CONTEXT", "rss_context", NOT_USED, BITS(F(CTRL_VQ), F(RSS)),
		NULL},
	{F(GUEST_UDP_TUNNEL_GSO), "NET_F_GUEST_UDP_TUNNEL_GSO", "guest_udp_tunnel_gso", NO_OFFLOAD,
		BITS(F(GUEST_TSO4), F(GUEST_TSO6), F(GUEST_USO4), F(GUEST_USO6)), NULL},
	{F(GUEST_UDP_TUNNEL_GSO_CSUM), "NET_F_GUEST_UDP_TUNNEL_GSO_CSUM",
		"guest_udp_tunnel_gso_csum", NO_OFFLOAD, BITS(F(GUEST_UDP_TUNNEL_GSO)), NULL},
	{F(HOST_UDP_TUNNEL_GSO), "NET_F_HOST_UDP_TUNNEL_GSO", "host_udp_tunnel_gso", NO_OFFLOAD,
		BITS(F(HOST_TSO4), F(HOST_TSO6), F(HOST_USO)), NULL},
	{F(HOST_UDP_TUNNEL_GSO_CSUM), "NET_F_HOST_UDP_TUNNEL_GSO_CSUM", "host_udp_tunnel_gso_csum",
		NO_OFFLOAD, BITS(F(HOST_UDP_TUNNEL_GSO)), NULL},
	{F(OUT_NET_HEADER), "NET_F_OUT_NET_HEADER", "out_net_header", NOT_USED, NULL, NULL},
	{F(IPSEC), "NET_F_IPSEC", "ipsec", NOT_USED, NULL, NULL},
};

const struct plx_feature_table net_features = {features, ARRAY_SIZE(features)};
