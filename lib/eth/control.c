/* SPDX-License-Identifier: BSD-3-Clause */
#include "eth/eth.h"

#include "base/bits.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/*
 * The calls of eth_control.h. What a call sets is remembered here once the driver has done it, and
 * set again by every start: a driver need not know what was set before a reset.
 */

#define VLANS 4096

static const char *name_of(const struct plx_eth *eth)
{
	return eth->device.name;
}

static int check_configured(const struct plx_eth *eth)
{
	if (eth->state == PLX_ETH_OPEN)
		return plx_fail(EINVAL,
			"%s: the device is not configured: call plx_eth_configure() first",
			name_of(eth));
	if (eth->state == PLX_ETH_SUSPENDED)
		return plx_fail(EBUSY,
			"%s: the device is suspended: resume it before setting anything",
			name_of(eth));
	if (!eth->control)
		return plx_fail(ENOTSUP, "%s: its driver has no control calls", name_of(eth));
	return 0;
}

static int check_started(const struct plx_eth *eth)
{
	int err = check_configured(eth);

	if (!err && eth->state != PLX_ETH_STARTED)
		err = plx_fail(ESHUTDOWN, "%s: the device is stopped: start it before asking it",
			name_of(eth));
	return err;
}

/* Each public call is its body under the lock, in the state that fits. */
#define LOCKED(eth, check, body)                                                                   \
	do {                                                                                       \
		int result;                                                                        \
                                                                                                   \
		(void)pthread_mutex_lock(&(eth)->device.lock);                                     \
		result = check(eth);                                                               \
		if (!result)                                                                       \
			result = body;                                                             \
		(void)pthread_mutex_unlock(&(eth)->device.lock);                                   \
		return result;                                                                     \
	} while (0)

/* --- filters --- */

static int set_rx_mode(struct plx_eth *eth, enum plx_eth_rx_mode mode, bool on)
{
	struct plx_eth_settings *settings = &eth->settings;
	uint8_t bit;
	int err;

	if ((unsigned)mode >= PLX_ETH_RX_MODES)
		return plx_fail(EINVAL, "%s: there is no receive mode %u: see enum plx_eth_rx_mode",
			name_of(eth), (unsigned)mode);
	err = eth->control->set_rx_mode(eth, mode, on);
	if (err)
		return err;
	bit = (uint8_t)(1u << mode);
	settings->modes_set |= bit;
	settings->modes = (uint8_t)(on ? settings->modes | bit : settings->modes & ~bit);
	return 0;
}

int plx_eth_set_rx_mode(struct plx_eth *eth, enum plx_eth_rx_mode mode, bool on)
{
	LOCKED(eth, check_configured, set_rx_mode(eth, mode, on));
}

static bool are_of_kind(const uint8_t (*address)[6], unsigned count, bool group)
{
	for (unsigned i = 0; i < count; i++)
		if ((address[i][0] & 1) != group)
			return false;
	return true;
}

static int check_mac_table(const struct plx_eth *eth, const struct plx_eth_mac_table *table)
{
	if (table->struct_size != sizeof(*table))
		return plx_fail(EINVAL,
			"%s: the MAC table has struct_size %u: start from PLX_ETH_MAC_TABLE_INIT",
			name_of(eth), table->struct_size);
	if ((unsigned)table->unicast_count + table->multicast_count > PLX_ETH_MAC_TABLE_MAX)
		return plx_fail(EINVAL,
			"%s: a table of %u addresses is too long: give it %u at most", name_of(eth),
			(unsigned)table->unicast_count + table->multicast_count,
			PLX_ETH_MAC_TABLE_MAX);
	if (!are_of_kind(table->unicast, table->unicast_count, false) ||
		!are_of_kind(table->multicast, table->multicast_count, true))
		return plx_fail(EINVAL,
			"%s: the MAC table has an address of a group among those of ports, or the reverse",
			name_of(eth));
	return 0;
}

static int set_mac_table(struct plx_eth *eth, const struct plx_eth_mac_table *table)
{
	struct plx_eth_settings *settings = &eth->settings;
	int err = check_mac_table(eth, table);

	if (!err)
		err = eth->control->set_mac_table(eth, table);
	/* A restored table is the remembered one. */
	if (err || table == &settings->mac_table)
		return err;
	settings->mac_table = *table;
	settings->mac_table.unicast = (const uint8_t(*)[6])settings->addresses;
	settings->mac_table.multicast =
		(const uint8_t(*)[6])(settings->addresses + table->unicast_count);
	if (table->unicast_count)
		memcpy(settings->addresses, table->unicast, 6u * table->unicast_count);
	if (table->multicast_count)
		memcpy(settings->addresses + table->unicast_count, table->multicast,
			6u * table->multicast_count);
	settings->mac_table_set = true;
	return 0;
}

int plx_eth_set_mac_table(struct plx_eth *eth, const struct plx_eth_mac_table *table)
{
	LOCKED(eth, check_configured, set_mac_table(eth, table));
}

static int set_mac(struct plx_eth *eth, const uint8_t mac[6])
{
	static const uint8_t zero[6];
	int err;

	if (mac[0] & 1 || !memcmp(mac, zero, sizeof(zero)))
		return plx_fail(EINVAL,
			"%s: a port cannot have the address of a group, or none: give one whose first "
			"byte is even",
			name_of(eth));
	err = eth->control->set_mac(eth, mac);
	if (err)
		return err;
	memmove(eth->settings.mac, mac, sizeof(eth->settings.mac));
	eth->settings.mac_set = true;
	return 0;
}

int plx_eth_set_mac(struct plx_eth *eth, const uint8_t mac[6])
{
	LOCKED(eth, check_configured, set_mac(eth, mac));
}

static int set_vlan(struct plx_eth *eth, uint16_t id, bool on)
{
	uint8_t *byte = &eth->settings.vlan[id % VLANS / 8];
	uint8_t bit = (uint8_t)(1u << id % 8);
	int err;

	if (id >= VLANS)
		return plx_fail(
			EINVAL, "%s: there is no VLAN %u: the last is 4095", name_of(eth), id);
	err = eth->control->set_vlan(eth, id, on);
	if (err)
		return err;
	*byte = (uint8_t)(on ? *byte | bit : *byte & ~bit);
	eth->settings.vlans_set = true;
	return 0;
}

int plx_eth_set_vlan(struct plx_eth *eth, uint16_t id, bool on)
{
	LOCKED(eth, check_configured, set_vlan(eth, id, on));
}

/* --- steering --- */

static int set_queue_pairs(struct plx_eth *eth, uint16_t pairs)
{
	int err;

	if (!pairs || pairs > eth->queue_pairs)
		return plx_fail(EINVAL,
			"%s: %u queue pairs cannot be used: the device was configured with %u",
			name_of(eth), pairs, eth->queue_pairs);
	err = eth->control->set_queue_pairs(eth, pairs);
	if (err)
		return err;
	eth->settings.queue_pairs = pairs;
	eth->settings.rss_set = false;
	return 0;
}

int plx_eth_set_queue_pairs(struct plx_eth *eth, uint16_t pairs)
{
	LOCKED(eth, check_configured, set_queue_pairs(eth, pairs));
}

static int check_rss(const struct plx_eth *eth, const struct plx_eth_rss *rss)
{
	if (rss->struct_size != sizeof(*rss))
		return plx_fail(EINVAL,
			"%s: the RSS parameters have struct_size %u: start from PLX_ETH_RSS_INIT",
			name_of(eth), rss->struct_size);
	if (!rss->key != !rss->key_len || rss->key_len > sizeof(eth->settings.key))
		return plx_fail(EINVAL, "%s: a hash key of %u bytes is not possible: give 1 to %zu",
			name_of(eth), rss->key_len, sizeof(eth->settings.key));
	if (!rss->table != !rss->table_len || rss->table_len > PLX_ETH_RSS_TABLE_MAX ||
		(rss->table_len && !plx_is_power_of_two(rss->table_len)))
		return plx_fail(EINVAL,
			"%s: an RSS table of %u entries is not possible: give a power of two up to %u",
			name_of(eth), rss->table_len, PLX_ETH_RSS_TABLE_MAX);
	for (unsigned i = 0; i < rss->table_len; i++)
		if (rss->table[i] >= eth->queue_pairs)
			return plx_fail(EINVAL,
				"%s: entry %u of the RSS table leads to queue %u, and the device was "
				"configured with %u",
				name_of(eth), i, rss->table[i], eth->queue_pairs);
	if (rss->unclassified >= eth->queue_pairs)
		return plx_fail(EINVAL,
			"%s: frames without a hash are led to queue %u, and the device was configured "
			"with %u",
			name_of(eth), rss->unclassified, eth->queue_pairs);
	return 0;
}

static void remember_rss(struct plx_eth_settings *settings, const struct plx_eth_rss *rss)
{
	if (rss == &settings->rss)
		return;
	settings->rss = *rss;
	if (rss->key) {
		memcpy(settings->key, rss->key, rss->key_len);
		settings->rss.key = settings->key;
	}
	if (rss->table) {
		memcpy(settings->table, rss->table, rss->table_len * sizeof(*rss->table));
		settings->rss.table = settings->table;
	}
}

static int set_rss(struct plx_eth *eth, const struct plx_eth_rss *rss)
{
	int err = check_rss(eth, rss);

	if (!err)
		err = eth->control->set_rss(eth, rss);
	if (err)
		return err;
	remember_rss(&eth->settings, rss);
	eth->settings.rss_set = true;
	eth->settings.hash_set = false;
	eth->settings.queue_pairs = 0;
	return 0;
}

int plx_eth_set_rss(struct plx_eth *eth, const struct plx_eth_rss *rss)
{
	LOCKED(eth, check_configured, set_rss(eth, rss));
}

static int set_hash(struct plx_eth *eth, const struct plx_eth_rss *rss)
{
	int err = check_rss(eth, rss);

	if (!err)
		err = eth->control->set_hash(eth, rss);
	if (err)
		return err;
	remember_rss(&eth->settings, rss);
	eth->settings.hash_set = true;
	eth->settings.rss_set = false;
	return 0;
}

int plx_eth_set_hash(struct plx_eth *eth, const struct plx_eth_rss *rss)
{
	LOCKED(eth, check_configured, set_hash(eth, rss));
}

/* --- coalescing --- */

static int check_queue(
	const struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue, bool all)
{
	if (direction != PLX_ETH_RX && direction != PLX_ETH_TX)
		return plx_fail(EINVAL, "%s: there is no direction %u: see enum plx_eth_direction",
			name_of(eth), (unsigned)direction);
	if (queue < eth->queue_pairs || (all && queue == PLX_ETH_ALL_QUEUES))
		return 0;
	return plx_fail(EINVAL, "%s: there is no queue %u: the device was configured with %u",
		name_of(eth), queue, eth->queue_pairs);
}

static int remember_coalescing(struct plx_eth *eth, enum plx_eth_direction direction,
	unsigned queue, const struct plx_eth_coalescing *setting)
{
	struct plx_eth_settings *settings = &eth->settings;

	if (queue == PLX_ETH_ALL_QUEUES) {
		settings->all[direction] = *setting;
		/* What holds for all comes after what was said of one. */
		free(settings->each[direction]);
		settings->each[direction] = NULL;
		return 0;
	}
	if (!settings->each[direction])
		settings->each[direction] = calloc(eth->queue_pairs, sizeof(*setting));
	if (!settings->each[direction])
		return plx_fail(ENOMEM, "%s: out of memory", name_of(eth));
	settings->each[direction][queue] = *setting;
	return 0;
}

static int set_coalescing(struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue,
	uint32_t max_packets, uint32_t max_usecs)
{
	struct plx_eth_coalescing setting = {true, max_packets, max_usecs};
	int err = check_queue(eth, direction, queue, true);

	if (!err)
		err = eth->control->set_coalescing(eth, direction, queue, max_packets, max_usecs);
	return err ? err : remember_coalescing(eth, direction, queue, &setting);
}

int plx_eth_set_coalescing(struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue,
	uint32_t max_packets, uint32_t max_usecs)
{
	LOCKED(eth, check_configured,
		set_coalescing(eth, direction, queue, max_packets, max_usecs));
}

static int get_coalescing(struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue,
	uint32_t *max_packets, uint32_t *max_usecs)
{
	int err = check_queue(eth, direction, queue, false);

	return err ? err
		   : eth->control->get_coalescing(eth, direction, queue, max_packets, max_usecs);
}

int plx_eth_get_coalescing(struct plx_eth *eth, enum plx_eth_direction direction, unsigned queue,
	uint32_t *max_packets, uint32_t *max_usecs)
{
	LOCKED(eth, check_started, get_coalescing(eth, direction, queue, max_packets, max_usecs));
}

/* --- single queues --- */

static int stop_queue(struct plx_eth *eth, enum plx_eth_direction direction, unsigned index)
{
	int err = check_queue(eth, direction, index, false);

	if (!err && !eth->control->stop_queue)
		err = plx_fail(ENOTSUP, "%s: its driver cannot stop a single queue", name_of(eth));
	return err ? err : eth->control->stop_queue(eth, direction, index);
}

int plx_eth_stop_queue(struct plx_eth *eth, enum plx_eth_direction direction, unsigned index)
{
	LOCKED(eth, check_started, stop_queue(eth, direction, index));
}

/* The reset took what was said of this queue from the device (virtio 1.4, 5.1.9.5.9). */
static int start_queue(
	struct plx_eth *eth, enum plx_eth_direction direction, unsigned index, uint16_t entries)
{
	const struct plx_eth_coalescing *each;
	int err = check_queue(eth, direction, index, false);

	if (!err && !eth->control->start_queue)
		err = plx_fail(ENOTSUP, "%s: its driver cannot start a single queue", name_of(eth));
	if (!err)
		err = eth->control->start_queue(eth, direction, index, entries);
	if (err)
		return err;
	each = eth->settings.each[direction];
	if (!each || !each[index].set)
		return 0;
	return eth->control->set_coalescing(
		eth, direction, index, each[index].max_packets, each[index].max_usecs);
}

int plx_eth_start_queue(
	struct plx_eth *eth, enum plx_eth_direction direction, unsigned index, uint16_t entries)
{
	LOCKED(eth, check_started, start_queue(eth, direction, index, entries));
}

/* --- offloads, link, events --- */

static int set_rx_offloads(struct plx_eth *eth, uint32_t offloads)
{
	int err = eth->control->set_rx_offloads(eth, offloads);

	if (err)
		return err;
	eth->settings.rx_offloads = offloads;
	eth->settings.rx_offloads_set = true;
	return 0;
}

int plx_eth_set_rx_offloads(struct plx_eth *eth, uint32_t offloads)
{
	LOCKED(eth, check_configured, set_rx_offloads(eth, offloads));
}

int plx_eth_ack_announce(struct plx_eth *eth)
{
	LOCKED(eth, check_started, eth->control->ack_announce(eth));
}

static int check_control(const struct plx_eth *eth)
{
	return eth->control
		       ? 0
		       : plx_fail(ENOTSUP, "%s: its driver has no control calls", name_of(eth));
}

int plx_eth_get_link(struct plx_eth *eth, struct plx_eth_link *link)
{
	LOCKED(eth, check_control, eth->control->get_link(eth, link));
}

int plx_eth_poll_events(struct plx_eth *eth)
{
	LOCKED(eth, check_started, eth->control->poll_events(eth));
}

int plx_eth_device_stats(struct plx_eth *eth, plx_eth_counter_visit_fn *visit, void *arg)
{
	LOCKED(eth, check_started, eth->control->device_stats(eth, visit, arg));
}

/* --- once more --- */

static int restore_filters(struct plx_eth *eth)
{
	const struct plx_eth_settings *settings = &eth->settings;
	int err = 0;

	for (unsigned mode = 0; !err && mode < PLX_ETH_RX_MODES; mode++)
		if (settings->modes_set >> mode & 1)
			err = set_rx_mode(
				eth, (enum plx_eth_rx_mode)mode, settings->modes >> mode & 1);
	if (!err && settings->mac_table_set)
		err = set_mac_table(eth, &settings->mac_table);
	if (!err && settings->mac_set)
		err = set_mac(eth, settings->mac);
	for (unsigned id = 0; !err && settings->vlans_set && id < VLANS; id++)
		if (settings->vlan[id / 8] >> id % 8 & 1)
			err = set_vlan(eth, (uint16_t)id, true);
	return err;
}

static int restore_coalescing(struct plx_eth *eth, enum plx_eth_direction direction)
{
	const struct plx_eth_settings *settings = &eth->settings;
	const struct plx_eth_coalescing all = settings->all[direction];
	int err = 0;

	/* Not through set_coalescing(), which would forget what was said of single queues. */
	if (all.set)
		err = eth->control->set_coalescing(
			eth, direction, PLX_ETH_ALL_QUEUES, all.max_packets, all.max_usecs);
	for (unsigned i = 0; !err && settings->each[direction] && i < eth->queue_pairs; i++) {
		const struct plx_eth_coalescing *each = &settings->each[direction][i];

		if (each->set)
			err = eth->control->set_coalescing(
				eth, direction, i, each->max_packets, each->max_usecs);
	}
	return err;
}

int plx_eth_settings_restore(struct plx_eth *eth)
{
	const struct plx_eth_settings *settings = &eth->settings;
	int err;

	if (!eth->control)
		return 0;
	err = restore_filters(eth);
	if (!err && settings->queue_pairs)
		err = set_queue_pairs(eth, settings->queue_pairs);
	if (!err && settings->rss_set)
		err = set_rss(eth, &settings->rss);
	if (!err && settings->hash_set)
		err = set_hash(eth, &settings->rss);
	if (!err)
		err = restore_coalescing(eth, PLX_ETH_RX);
	if (!err)
		err = restore_coalescing(eth, PLX_ETH_TX);
	if (!err && settings->rx_offloads_set)
		err = set_rx_offloads(eth, settings->rx_offloads);
	return err;
}

void plx_eth_settings_clear(struct plx_eth *eth)
{
	free(eth->settings.each[PLX_ETH_RX]);
	free(eth->settings.each[PLX_ETH_TX]);
	memset(&eth->settings, 0, sizeof(eth->settings));
}
