/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_ETH_ETH_H
#define PLX_ETH_ETH_H

#include "context/context.h"

#include <pollux/eth_control.h>

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
	 * The same after a stop that was no wish of the application: what was counted is counted
	 * on. Return: also -EPROTO when the device came back as less than it was.
	 */
	int (*restart)(struct plx_eth *eth);
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
	/*
	 * The eventfd of a receive queue that exists, and of configuration changes, of a started
	 * device. Return: as eth.h says.
	 */
	int (*rx_event_fd)(struct plx_eth *eth, unsigned queue);
	int (*config_event_fd)(struct plx_eth *eth);
	/* Stopped, but maybe in vain. Frees everything, also @eth. */
	void (*close)(struct plx_eth *eth);
	/* Without the lock, from any thread. */
	void (*stats)(const struct plx_eth *eth, struct plx_eth_stats *stats);
	int (*counters)(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg);
};

/*
 * What a driver does of eth_control.h; NULL: nothing of it. Arguments were checked for what holds
 * of every device; pointers and lengths agree. On a configured device that is stopped the call only
 * tells whether it could be done. Return: as eth_control.h says.
 */
struct plx_eth_control_ops {
	int (*set_rx_mode)(struct plx_eth *eth, enum plx_eth_rx_mode mode, bool on);
	int (*set_mac_table)(struct plx_eth *eth, const struct plx_eth_mac_table *table);
	int (*set_mac)(struct plx_eth *eth, const uint8_t mac[6]);
	int (*set_vlan)(struct plx_eth *eth, uint16_t id, bool on);
	int (*set_queue_pairs)(struct plx_eth *eth, uint16_t pairs);
	int (*set_rss)(struct plx_eth *eth, const struct plx_eth_rss *rss);
	int (*set_hash)(struct plx_eth *eth, const struct plx_eth_rss *rss);
	int (*set_coalescing)(struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue,
		uint32_t max_packets, uint32_t max_usecs);
	int (*set_rx_offloads)(struct plx_eth *eth, uint32_t offloads);
	/* These only of a started device. */
	int (*get_coalescing)(struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue,
		uint32_t *max_packets, uint32_t *max_usecs);
	int (*stop_queue)(struct plx_eth *eth, enum plx_eth_direction direction, unsigned index);
	int (*start_queue)(struct plx_eth *eth, enum plx_eth_direction direction, unsigned index,
		uint16_t entries);
	int (*ack_announce)(struct plx_eth *eth);
	int (*poll_events)(struct plx_eth *eth);
	int (*device_stats)(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg);
	/* In every state. */
	int (*get_link)(struct plx_eth *eth, struct plx_eth_link *link);
};

/* control.c: what was set through eth_control.h since the device was configured. */
struct plx_eth_coalescing {
	bool set;
	uint32_t max_packets;
	uint32_t max_usecs;
};

struct plx_eth_settings {
	uint8_t modes_set; /* a bit for each mode */
	uint8_t modes;
	bool mac_set;
	bool mac_table_set;
	bool vlans_set;
	bool rss_set;
	bool hash_set;
	bool rx_offloads_set;
	uint16_t queue_pairs; /* 0: as configured */
	uint32_t rx_offloads;
	uint8_t mac[6];
	struct plx_eth_mac_table mac_table; /* its pointers lead to @addresses */
	uint8_t addresses[PLX_ETH_MAC_TABLE_MAX][6];
	uint8_t vlan[4096 / 8];
	struct plx_eth_rss rss; /* its pointers lead to @key and @table */
	uint8_t key[UINT8_MAX];
	uint16_t table[PLX_ETH_RSS_TABLE_MAX];
	struct plx_eth_coalescing all[2];   /* by direction */
	struct plx_eth_coalescing *each[2]; /* by queue; NULL before the first */
};

enum plx_eth_state { PLX_ETH_OPEN, PLX_ETH_CONFIGURED, PLX_ETH_STARTED, PLX_ETH_SUSPENDED };

struct plx_eth {
	struct plx_device device;
	const struct plx_eth_ops *ops;
	const struct plx_eth_control_ops *control;
	enum plx_eth_state state;
	/*
	 * Set by the driver: a reset was not confirmed, and the device may still touch its buffers.
	 */
	bool in_doubt;
	struct plx_eth_settings settings;
	unsigned queue_pairs;
	struct plx_eth_rxq **rxq; /* queue_pairs of each, the driver's own memory */
	struct plx_eth_txq **txq;
};

static inline bool plx_eth_is_started(const struct plx_eth *eth)
{
	return eth->state == PLX_ETH_STARTED || eth->state == PLX_ETH_SUSPENDED;
}

/* Set again what was set before, on a device that has just been started. Return: 0 or -errno. */
int plx_eth_settings_restore(struct plx_eth *eth);
/* Forget it. */
void plx_eth_settings_clear(struct plx_eth *eth);

/* The burst calls of a queue that is not running. */
int plx_eth_rx_stopped(struct plx_eth_rxq *queue, struct plx_packet **packets, unsigned count);
int plx_eth_tx_stopped(struct plx_eth_txq *queue, struct plx_packet **packets, unsigned count);
int plx_eth_prepare_stopped(
	struct plx_eth_txq *queue, struct plx_packet *const *packets, unsigned count);
/* Of one that runs and was taken out of use. */
int plx_eth_tx_unused(struct plx_eth_txq *queue, struct plx_packet **packets, unsigned count);

#endif
