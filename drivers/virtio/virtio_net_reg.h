/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_DRIVERS_VIRTIO_NET_REG_H
#define PLX_DRIVERS_VIRTIO_NET_REG_H

/* What the standard fixes for the network device: virtio 1.4, 5.1. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* 5.1.3 Feature bits */
#define VIRTIO_NET_F_CSUM                      0
#define VIRTIO_NET_F_GUEST_CSUM                1
#define VIRTIO_NET_F_CTRL_GUEST_OFFLOADS       2
#define VIRTIO_NET_F_MTU                       3
#define VIRTIO_NET_F_MAC                       5
#define VIRTIO_NET_F_GSO                       6 /* legacy only */
#define VIRTIO_NET_F_GUEST_TSO4                7
#define VIRTIO_NET_F_GUEST_TSO6                8
#define VIRTIO_NET_F_GUEST_ECN                 9
#define VIRTIO_NET_F_GUEST_UFO                 10
#define VIRTIO_NET_F_HOST_TSO4                 11
#define VIRTIO_NET_F_HOST_TSO6                 12
#define VIRTIO_NET_F_HOST_ECN                  13
#define VIRTIO_NET_F_HOST_UFO                  14
#define VIRTIO_NET_F_MRG_RXBUF                 15
#define VIRTIO_NET_F_STATUS                    16
#define VIRTIO_NET_F_CTRL_VQ                   17
#define VIRTIO_NET_F_CTRL_RX                   18
#define VIRTIO_NET_F_CTRL_VLAN                 19
#define VIRTIO_NET_F_CTRL_RX_EXTRA             20
#define VIRTIO_NET_F_GUEST_ANNOUNCE            21
#define VIRTIO_NET_F_MQ                        22
#define VIRTIO_NET_F_CTRL_MAC_ADDR             23
#define VIRTIO_NET_F_GUEST_RSC6                42 /* legacy only */
#define VIRTIO_NET_F_DEVICE_STATS              50
#define VIRTIO_NET_F_HASH_TUNNEL               51
#define VIRTIO_NET_F_VQ_NOTF_COAL              52
#define VIRTIO_NET_F_NOTF_COAL                 53
#define VIRTIO_NET_F_GUEST_USO4                54
#define VIRTIO_NET_F_GUEST_USO6                55
#define VIRTIO_NET_F_HOST_USO                  56
#define VIRTIO_NET_F_HASH_REPORT               57
#define VIRTIO_NET_F_GUEST_HDRLEN              59
#define VIRTIO_NET_F_RSS                       60
#define VIRTIO_NET_F_RSC_EXT                   61
#define VIRTIO_NET_F_STANDBY                   62
#define VIRTIO_NET_F_SPEED_DUPLEX              63
#define VIRTIO_NET_F_RSS_CONTEXT               64
#define VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO      65
#define VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM 66
#define VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO       67
#define VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM  68
#define VIRTIO_NET_F_OUT_NET_HEADER            69
#define VIRTIO_NET_F_IPSEC                     70

/* 5.1.4 Device configuration layout: offsets, and the feature that brings each field */
#define VIRTIO_NET_CFG_MAC                 0x00 /* u8[6], MAC */
#define VIRTIO_NET_CFG_STATUS              0x06 /* le16, STATUS */
#define VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS 0x08 /* le16, MQ or RSS */
#define VIRTIO_NET_CFG_MTU                 0x0a /* le16, MTU */
#define VIRTIO_NET_CFG_SPEED               0x0c /* le32, SPEED_DUPLEX */
#define VIRTIO_NET_CFG_DUPLEX              0x10 /* u8, SPEED_DUPLEX */
#define VIRTIO_NET_CFG_RSS_MAX_KEY_SIZE    0x11 /* u8, RSS or HASH_REPORT */
#define VIRTIO_NET_CFG_RSS_MAX_TABLE_LEN   0x12 /* le16, RSS */
#define VIRTIO_NET_CFG_HASH_TYPES          0x14 /* le32, RSS or HASH_REPORT */
#define VIRTIO_NET_CFG_TUNNEL_TYPES        0x18 /* le32, HASH_TUNNEL */

#define VIRTIO_NET_S_LINK_UP  1
#define VIRTIO_NET_S_ANNOUNCE 2

/* 5.1.2 Virtqueues */
#define VIRTIO_NET_RXQ(pair) (2 * (pair))
#define VIRTIO_NET_TXQ(pair) (2 * (pair) + 1)

/* 5.1.9 Device operation: the header in front of each frame, in the parts that features add */
struct virtio_net_hdr {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t num_buffers; /* always there without the legacy interface */
};
static_assert(sizeof(struct virtio_net_hdr) == 12, "5.1.9");
static_assert(offsetof(struct virtio_net_hdr, num_buffers) == 10, "5.1.9");

#define VIRTIO_NET_HDR_SIZE_LEGACY 10
#define VIRTIO_NET_HDR_SIZE        12
#define VIRTIO_NET_HDR_SIZE_HASH   20
#define VIRTIO_NET_HDR_SIZE_TUNNEL 24
#define VIRTIO_NET_HDR_SIZE_OUTER  32

#define VIRTIO_NET_HDR_F_NEEDS_CSUM      0x01
#define VIRTIO_NET_HDR_F_DATA_VALID      0x02
#define VIRTIO_NET_HDR_F_RSC_INFO        0x04
#define VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM 0x08

#define VIRTIO_NET_HDR_GSO_NONE   0x00
#define VIRTIO_NET_HDR_GSO_TCPV4  0x01
#define VIRTIO_NET_HDR_GSO_UDP    0x03
#define VIRTIO_NET_HDR_GSO_TCPV6  0x04
#define VIRTIO_NET_HDR_GSO_UDP_L4 0x05
#define VIRTIO_NET_HDR_GSO_ECN    0x80

/*
 * With HASH_REPORT the header goes on (5.1.9.4.4): the hash, what was hashed, and two bytes of
 * padding.
 */
#define VIRTIO_NET_HDR_HASH_VALUE  12 /* le32 */
#define VIRTIO_NET_HDR_HASH_REPORT 16 /* le16, VIRTIO_NET_HASH_REPORT_* */

#define VIRTIO_NET_HASH_REPORT_NONE 0
#define VIRTIO_NET_HASH_REPORT_LAST 9 /* UDPv6_EX */

/* 5.1.9.4.3.1 Supported and enabled hash types */
#define VIRTIO_NET_HASH_TYPE_IPV4   (1u << 0)
#define VIRTIO_NET_HASH_TYPE_TCPV4  (1u << 1)
#define VIRTIO_NET_HASH_TYPE_UDPV4  (1u << 2)
#define VIRTIO_NET_HASH_TYPE_IPV6   (1u << 3)
#define VIRTIO_NET_HASH_TYPE_TCPV6  (1u << 4)
#define VIRTIO_NET_HASH_TYPE_UDPV6  (1u << 5)
#define VIRTIO_NET_HASH_TYPE_IP_EX  (1u << 6)
#define VIRTIO_NET_HASH_TYPE_TCP_EX (1u << 7)
#define VIRTIO_NET_HASH_TYPE_UDP_EX (1u << 8)
#define VIRTIO_NET_HASH_TYPES       0x1ffu

/* 5.1.4 max_virtqueue_pairs: what the standard allows, so that every queue has an index */
#define VIRTIO_NET_PAIRS_MAX 0x7fff

#define VIRTIO_NET_SPEED_MAX 0x7fffffffu /* of speed; above it is unknown */

/*
 * 5.1.9.5 Control virtqueue. A command is its class, its number and its data; the device writes the
 * acknowledgement and, for some, a result behind it. All fields are little-endian.
 */
#define VIRTIO_NET_OK  0
#define VIRTIO_NET_ERR 1

#define VIRTIO_NET_CTRL_RX          0
#define VIRTIO_NET_CTRL_RX_PROMISC  0
#define VIRTIO_NET_CTRL_RX_ALLMULTI 1
#define VIRTIO_NET_CTRL_RX_ALLUNI   2
#define VIRTIO_NET_CTRL_RX_NOMULTI  3
#define VIRTIO_NET_CTRL_RX_NOUNI    4
#define VIRTIO_NET_CTRL_RX_NOBCAST  5

/* Two tables, each a le32 count and so many addresses of six bytes. */
#define VIRTIO_NET_CTRL_MAC           1
#define VIRTIO_NET_CTRL_MAC_TABLE_SET 0
#define VIRTIO_NET_CTRL_MAC_ADDR_SET  1

#define VIRTIO_NET_CTRL_VLAN     2
#define VIRTIO_NET_CTRL_VLAN_ADD 0
#define VIRTIO_NET_CTRL_VLAN_DEL 1

#define VIRTIO_NET_CTRL_ANNOUNCE     3
#define VIRTIO_NET_CTRL_ANNOUNCE_ACK 0

#define VIRTIO_NET_CTRL_MQ              4
#define VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET 0
#define VIRTIO_NET_CTRL_MQ_RSS_CONFIG   1
#define VIRTIO_NET_CTRL_MQ_HASH_CONFIG  2

/*
 * RSS_CONFIG: le32 hash_types, le16 mask of the table, le16 unclassified queue, a le16 for each
 * entry of the table, le16 number of transmit queues, u8 length of the key, the key. A queue is
 * named by its index halved.
 * HASH_CONFIG: le32 hash_types, le16 reserved[4], u8 length of the key, the key.
 */
#define VIRTIO_NET_RSS_KEY_LEAST 40

#define VIRTIO_NET_CTRL_GUEST_OFFLOADS     5
#define VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET 0 /* le64, feature bits */

struct virtio_net_ctrl_coal {
	uint32_t max_packets;
	uint32_t max_usecs;
};
static_assert(sizeof(struct virtio_net_ctrl_coal) == 8, "5.1.9.5.9");

struct virtio_net_ctrl_coal_vq {
	uint16_t vq_index;
	uint16_t reserved;
	struct virtio_net_ctrl_coal coal; /* VQ_GET: written by the device, behind the ack */
};
static_assert(sizeof(struct virtio_net_ctrl_coal_vq) == 12, "5.1.9.5.9");

#define VIRTIO_NET_CTRL_NOTF_COAL        6
#define VIRTIO_NET_CTRL_NOTF_COAL_TX_SET 0
#define VIRTIO_NET_CTRL_NOTF_COAL_RX_SET 1
#define VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET 2
#define VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET 3

#define VIRTIO_NET_CTRL_STATS       8
#define VIRTIO_NET_CTRL_STATS_QUERY 0 /* result: le64 set of types */
#define VIRTIO_NET_CTRL_STATS_GET   1

/* What STATS_GET is asked for, one for each queue; the bit of a type is 1 << its number. */
struct virtio_net_ctrl_queue_stats {
	uint16_t vq_index;
	uint16_t reserved[3];
	uint64_t types_bitmap;
};
static_assert(sizeof(struct virtio_net_ctrl_queue_stats) == 16, "5.1.9.5.10");

/* What it answers, one for each type of each queue, each followed by its le64 counters. */
struct virtio_net_stats_reply_hdr {
	uint8_t type;
	uint8_t reserved;
	uint16_t vq_index;
	uint16_t reserved1;
	uint16_t size; /* with the header */
};
static_assert(sizeof(struct virtio_net_stats_reply_hdr) == 8, "5.1.9.5.10");

#define VIRTIO_NET_STATS_TYPE_RX_BASIC 0
#define VIRTIO_NET_STATS_TYPE_RX_CSUM  1
#define VIRTIO_NET_STATS_TYPE_RX_GSO   2
#define VIRTIO_NET_STATS_TYPE_RX_SPEED 3
#define VIRTIO_NET_STATS_TYPE_TX_BASIC 16
#define VIRTIO_NET_STATS_TYPE_TX_CSUM  17
#define VIRTIO_NET_STATS_TYPE_TX_GSO   18
#define VIRTIO_NET_STATS_TYPE_TX_SPEED 19
#define VIRTIO_NET_STATS_TYPE_CVQ      32

#endif
