/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_ETH_CONTROL_H
#define POLLUX_ETH_CONTROL_H

#include <pollux/eth.h>

/**
 * @file
 * What an Ethernet device can be told while it runs, and what it has to say: filters, steering,
 * coalescing, the link, events (virtio 1.4, 5.1.9.5).
 *
 * All of these are control calls: they may come from any thread, take the device's lock, and wait
 * for the device's answer, two seconds at the most. A device must be configured first. What is set
 * is remembered: on a stopped device it takes effect with the next start, and every start sets it
 * anew, until plx_eth_configure() forgets it all.
 *
 * Unless said otherwise each returns 0; -EINVAL for a value that the device does not offer or when
 * the device was never configured; -EBUSY when it is suspended; -ENOTSUP when it lacks the feature,
 * which plx_error() names; -EPERM when it refused; -EPROTO when its answer makes no sense; -EIO
 * when it did not answer. After a command without an answer the control queue is retired: each
 * further call returns -EIO until the device is stopped and started, and nothing else suffers. What
 * failed is not remembered.
 */

#ifdef __cplusplus
extern "C" {
#endif

/** What a port lets in beyond frames to its own addresses, or keeps out (virtio 1.4, 5.1.9.5.1). */
enum plx_eth_rx_mode {
	PLX_ETH_PROMISCUOUS,   /**< let in everything */
	PLX_ETH_ALL_MULTICAST, /**< let in all frames to groups */
	PLX_ETH_ALL_UNICAST,   /**< let in all frames to single ports */
	PLX_ETH_NO_MULTICAST,  /**< keep out frames to groups */
	PLX_ETH_NO_UNICAST,    /**< keep out frames to single ports */
	PLX_ETH_NO_BROADCAST,  /**< keep out frames to all */
};

/** The number of receive modes. */
#define PLX_ETH_RX_MODES 6

/**
 * plx_eth_set_rx_mode() - Switch one of the receive modes.
 * @eth: the device
 * @mode: which
 * @on: whether it is to apply
 *
 * The first two need CTRL_RX, the others CTRL_RX_EXTRA. A device starts in whatever mode it likes;
 * a program that forwards frames of others sets PLX_ETH_PROMISCUOUS.
 *
 * Return: as at the head of this page.
 */
PLX_API int plx_eth_set_rx_mode(struct plx_eth *eth, enum plx_eth_rx_mode mode, bool on);

/** Most addresses that plx_eth_set_mac_table() takes, of both kinds together. */
#define PLX_ETH_MAC_TABLE_MAX 256

/** Further addresses that a port lets in. Start from PLX_ETH_MAC_TABLE_INIT. */
struct plx_eth_mac_table {
	uint32_t struct_size;          /**< sizeof(struct plx_eth_mac_table) */
	uint16_t unicast_count;        /**< addresses at @unicast */
	uint16_t multicast_count;      /**< addresses at @multicast */
	const uint8_t (*unicast)[6];   /**< of single ports; copied */
	const uint8_t (*multicast)[6]; /**< of groups; copied */
};

/** The initial value: no addresses. */
#define PLX_ETH_MAC_TABLE_INIT                                                                     \
	{                                                                                          \
		sizeof(struct plx_eth_mac_table), 0, 0, NULL, NULL                                 \
	}

/**
 * plx_eth_set_mac_table() - Replace the further addresses that a port lets in.
 * @eth: the device
 * @table: all of them
 *
 * Needs CTRL_RX (virtio 1.4, 5.1.9.5.2).
 *
 * Return: as at the head of this page.
 */
PLX_API int plx_eth_set_mac_table(struct plx_eth *eth, const struct plx_eth_mac_table *table);

/**
 * plx_eth_set_mac() - Change the port's own address.
 * @eth: the device
 * @mac: the address of a single port
 *
 * Needs CTRL_MAC_ADDR (virtio 1.4, 5.1.9.5.2).
 *
 * Return: as at the head of this page.
 */
PLX_API int plx_eth_set_mac(struct plx_eth *eth, const uint8_t mac[6]);

/**
 * plx_eth_set_vlan() - Let in a VLAN, or keep it out.
 * @eth: a device that was configured with PLX_ETH_OFFLOAD_VLAN_FILTER
 * @id: of the VLAN, 0 to 4095
 * @on: whether its frames are let in
 *
 * Needs CTRL_VLAN (virtio 1.4, 5.1.9.5.3). Before the first call no VLAN is let in.
 *
 * Return: as at the head of this page.
 */
PLX_API int plx_eth_set_vlan(struct plx_eth *eth, uint16_t id, bool on);

/**
 * plx_eth_set_queue_pairs() - Choose how many of the configured queue pairs are in use.
 * @eth: the device
 * @pairs: from 1 to the number that was configured, with which each start begins
 *
 * Needs MQ (virtio 1.4, 5.1.9.5.5). No thread may be in a burst of a queue that goes out of use;
 * sending on it returns -ESHUTDOWN afterwards. Ends what plx_eth_set_rss() set.
 *
 * Return: As at the head of this page; -EBUSY when one of the queues was stopped alone.
 */
PLX_API int plx_eth_set_queue_pairs(struct plx_eth *eth, uint16_t pairs);

/** Which fields of a frame are hashed, where they are there: bits for hash_types. */
enum plx_eth_hash_types {
	PLX_ETH_HASH_IPV4 = 1u << 0,     /**< addresses */
	PLX_ETH_HASH_TCPV4 = 1u << 1,    /**< addresses and ports */
	PLX_ETH_HASH_UDPV4 = 1u << 2,    /**< addresses and ports */
	PLX_ETH_HASH_IPV6 = 1u << 3,     /**< addresses */
	PLX_ETH_HASH_TCPV6 = 1u << 4,    /**< addresses and ports */
	PLX_ETH_HASH_UDPV6 = 1u << 5,    /**< addresses and ports */
	PLX_ETH_HASH_IP_EX = 1u << 6,    /**< addresses in IPv6 extension headers */
	PLX_ETH_HASH_TCPV6_EX = 1u << 7, /**< the same, and ports */
	PLX_ETH_HASH_UDPV6_EX = 1u << 8, /**< the same, and ports */
};

/** Most entries of the table of plx_eth_set_rss(). */
#define PLX_ETH_RSS_TABLE_MAX 1024

/** How frames are hashed, and which queue follows. Start from PLX_ETH_RSS_INIT. */
struct plx_eth_rss {
	uint32_t struct_size;  /**< sizeof(struct plx_eth_rss) */
	uint32_t hash_types;   /**< of enum plx_eth_hash_types; 0 takes all that the device has */
	const uint8_t *key;    /**< of the Toeplitz hash; copied; NULL takes one that sends both
				    directions of a flow to the same queue */
	uint16_t key_len;      /**< bytes of @key */
	uint16_t table_len;    /**< entries of @table, a power of two; 0 spreads evenly */
	const uint16_t *table; /**< queue by the low bits of the hash; copied */
	uint16_t unclassified; /**< queue of frames that have no hash */
};

/** The initial value: all hash types, the even spread, and queue 0 for the rest. */
#define PLX_ETH_RSS_INIT                                                                           \
	{                                                                                          \
		sizeof(struct plx_eth_rss), 0, NULL, 0, 0, NULL, 0                                 \
	}

/**
 * plx_eth_set_rss() - Spread what arrives over the receive queues by a hash.
 * @eth: a device that was configured with more than one queue pair
 * @rss: how
 *
 * Needs RSS (virtio 1.4, 5.1.9.5.7).
 *
 * Return: as at the head of this page.
 */
PLX_API int plx_eth_set_rss(struct plx_eth *eth, const struct plx_eth_rss *rss);

/**
 * plx_eth_set_hash() - Choose which hash is reported with each frame, without any steering by it.
 * @eth: a device that was configured with PLX_ETH_OFFLOAD_RX_HASH
 * @rss: @hash_types, @key and @key_len; the rest is left
 *
 * Needs HASH_REPORT (virtio 1.4, 5.1.9.5.6.4). A device reports no hash before this or
 * plx_eth_set_rss() has told it of what.
 *
 * Return: as at the head of this page.
 */
PLX_API int plx_eth_set_hash(struct plx_eth *eth, const struct plx_eth_rss *rss);

/** A direction, as seen from the application. */
enum plx_eth_direction {
	PLX_ETH_RX, /**< receiving */
	PLX_ETH_TX, /**< sending */
};

/**
 * plx_eth_stop_queue() - Stop one queue while the others run.
 * @eth: a started device
 * @direction: of the queue
 * @index: its number
 *
 * Needs RING_RESET (virtio 1.4, 2.6.1). Once the device has confirmed that it has forgotten the
 * queue, its buffers go back to their pools, each once: what was received and not fetched is lost,
 * and what waited to be sent may have been. Its bursts fail with -ESHUTDOWN. Frames that the device
 * steers to a stopped receive queue are lost: see plx_eth_set_rss() to steer them elsewhere. The
 * queue's user must not be inside a burst.
 *
 * Return: As at the head of this page; -ESHUTDOWN when the device is stopped; -EALREADY when the
 * queue is; -EIO when the device does not confirm: the buffers are kept until a further call, or
 * plx_eth_stop(), succeeds.
 */
PLX_API int plx_eth_stop_queue(
	struct plx_eth *eth, enum plx_eth_direction direction, unsigned index);

/**
 * plx_eth_start_queue() - Start a queue again that was stopped alone.
 * @eth: a started device
 * @direction: of the queue
 * @index: its number
 * @entries: descriptors of its ring, as in struct plx_eth_config; 0 for as many as configured
 *
 * A queue that broke is mended by stopping and starting it, if the device goes on. What the size
 * becomes holds until the device is stopped.
 *
 * Return: As at the head of this page; -ESHUTDOWN when the device is stopped; -EALREADY when the
 * queue runs; -EINVAL when the device has no ring of so many entries; -ENOBUFS when the pool cannot
 * fill it; -ENOMEM. After a failure the queue is stopped.
 */
PLX_API int plx_eth_start_queue(
	struct plx_eth *eth, enum plx_eth_direction direction, unsigned index, uint16_t entries);

/** Stands for all queues of a direction. */
#define PLX_ETH_ALL_QUEUES 0xffffu

/**
 * plx_eth_set_coalescing() - Tell how long the device may hold notifications back.
 * @eth: the device
 * @direction: of the queues
 * @queue: number of one of them, or PLX_ETH_ALL_QUEUES
 * @max_packets: it notifies after so many frames
 * @max_usecs: or after so many microseconds
 *
 * All queues need NOTF_COAL, a single one VQ_NOTF_COAL (virtio 1.4, 5.1.9.5.9). Matters only to who
 * waits for interrupts.
 *
 * Return: as at the head of this page.
 */
PLX_API int plx_eth_set_coalescing(struct plx_eth *eth, enum plx_eth_direction direction,
	unsigned queue, uint32_t max_packets, uint32_t max_usecs);

/**
 * plx_eth_get_coalescing() - Ask the device what it holds back.
 * @eth: a started device
 * @direction: of the queue
 * @queue: its number
 * @max_packets: receives the frames
 * @max_usecs: receives the microseconds
 *
 * Needs VQ_NOTF_COAL.
 *
 * Return: as at the head of this page; -ESHUTDOWN when the device is stopped. Without success
 * nothing is written.
 */
PLX_API int plx_eth_get_coalescing(struct plx_eth *eth, enum plx_eth_direction direction,
	unsigned queue, uint32_t *max_packets, uint32_t *max_usecs);

/**
 * plx_eth_set_rx_offloads() - Choose which of the negotiated receive offloads are in use.
 * @eth: the device
 * @offloads: of enum plx_eth_offload, out of those in plx_eth_info.offloads that can be switched:
 *            PLX_ETH_OFFLOAD_RX_CSUM and the large receives
 *
 * Needs CTRL_GUEST_OFFLOADS (virtio 1.4, 5.1.9.5.8). Frames that are under way may still have what
 * was in use before.
 *
 * Return: as at the head of this page.
 */
PLX_API int plx_eth_set_rx_offloads(struct plx_eth *eth, uint32_t offloads);

/**
 * plx_eth_ack_announce() - Tell the device that this port's addresses were announced.
 * @eth: a started device that was configured with @announce
 *
 * Answers PLX_ETH_EVENT_ANNOUNCE, after the application has sent its gratuitous packets (virtio
 * 1.4, 5.1.9.5.4).
 *
 * Return: as at the head of this page; -ESHUTDOWN when the device is stopped.
 */
PLX_API int plx_eth_ack_announce(struct plx_eth *eth);

/** The link of a port. */
struct plx_eth_link {
	bool up;                    /**< whether frames can pass */
	uint32_t speed;             /**< Mbit/s; PLX_ETH_SPEED_UNKNOWN */
	enum plx_eth_duplex duplex; /**< half, full or unknown */
};

/**
 * plx_eth_get_link() - Read the state of the link.
 * @eth: an open device
 * @link: receives it
 *
 * Reads the device's registers (virtio 1.4, 5.1.4).
 *
 * Return: 0; -EPROTO when the device's configuration never settles; -ENODEV when the device is
 * gone.
 */
PLX_API int plx_eth_get_link(struct plx_eth *eth, struct plx_eth_link *link);

/** What plx_eth_poll_events() reports: bits. */
enum plx_eth_event {
	PLX_ETH_EVENT_LINK = 1u << 0,     /**< the link's state changed: see plx_eth_get_link() */
	PLX_ETH_EVENT_ANNOUNCE = 1u << 1, /**< announce this port's addresses to its neighbours,
					       then call plx_eth_ack_announce() */
	PLX_ETH_EVENT_NEEDS_RESET = 1u << 2, /**< the device broke, or has forgotten us: call
						  plx_eth_reset() */
	PLX_ETH_EVENT_GONE = 1u << 3,        /**< the device is no longer there: close it, or call
						  plx_eth_reset() if it may be back */
	PLX_ETH_EVENT_BROKEN = 1u << 4,      /**< a queue broke, since the device violated its
						  rules: call plx_eth_reset() */
	PLX_ETH_EVENT_WANTED = 1u << 5,      /**< the kernel wants the device back, to unplug it or
						  for another driver, and waits: close it */
};

/**
 * plx_eth_poll_events() - Look whether something happened.
 * @eth: a started device
 *
 * Each kind is reported once for however many times it happened since the last call: a device that
 * changes its link a thousand times makes one event. Reads two to five registers of the device,
 * which costs microseconds: call it every now and then, not with every burst. Never waits.
 *
 * Return: Events, a set of enum plx_eth_event, 0 for none; -ESHUTDOWN when the device is stopped;
 * -EPROTO when its configuration never settles.
 */
PLX_API int plx_eth_poll_events(struct plx_eth *eth);

/**
 * plx_eth_device_stats() - Show the counters that the device keeps itself.
 * @eth: a started device
 * @visit: is called for each, with names such as "device.rx0.packets"
 * @arg: handed to @visit
 *
 * Needs DEVICE_STATS (virtio 1.4, 5.1.9.5.10). Two commands, and one for each queue.
 *
 * Return: as at the head of this page; -ESHUTDOWN when the device is stopped; what @visit returned
 * when that was not 0.
 */
PLX_API int plx_eth_device_stats(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg);

#ifdef __cplusplus
}
#endif

#endif
