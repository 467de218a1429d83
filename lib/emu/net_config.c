/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <inttypes.h>
#include <string.h>

/* The device-specific configuration of a network card (virtio 1.4, 5.1.4). */

#define NONE 0xff
#define SIZE 0x1c

static const struct {
	uint8_t offset;
	uint8_t width;
	uint8_t count;
	uint8_t feature;
	uint8_t or_feature;
	const char *name;
} fields[] = {
	{VIRTIO_NET_CFG_MAC, 1, 6, VIRTIO_NET_F_MAC, NONE, "mac"},
	{VIRTIO_NET_CFG_STATUS, 2, 1, VIRTIO_NET_F_STATUS, NONE, "status"},
	{VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, 2, 1, VIRTIO_NET_F_MQ, VIRTIO_NET_F_RSS,
		"max_virtqueue_pairs"},
	{VIRTIO_NET_CFG_MTU, 2, 1, VIRTIO_NET_F_MTU, NONE, "mtu"},
	{VIRTIO_NET_CFG_SPEED, 4, 1, VIRTIO_NET_F_SPEED_DUPLEX, NONE, "speed"},
	{VIRTIO_NET_CFG_DUPLEX, 1, 1, VIRTIO_NET_F_SPEED_DUPLEX, NONE, "duplex"},
	{VIRTIO_NET_CFG_RSS_MAX_KEY_SIZE, 1, 1, VIRTIO_NET_F_RSS, VIRTIO_NET_F_HASH_REPORT,
		"rss_max_key_size"},
	{VIRTIO_NET_CFG_RSS_MAX_TABLE_LEN, 2, 1, VIRTIO_NET_F_RSS, NONE,
		"rss_max_indirection_table_length"},
	{VIRTIO_NET_CFG_HASH_TYPES, 4, 1, VIRTIO_NET_F_RSS, VIRTIO_NET_F_HASH_REPORT,
		"supported_hash_types"},
	{VIRTIO_NET_CFG_TUNNEL_TYPES, 4, 1, VIRTIO_NET_F_HASH_TUNNEL, NONE,
		"supported_tunnel_types"},
};

/*
 * Whether the standard allows the access; a field that is not there may not be touched. The legacy
 * interface lets it be of any width (virtio 1.4, 4.1.4.10).
 */
static bool check_access(struct plx_emu *emu, uint64_t offset, unsigned len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		uint64_t within = offset - fields[i].offset;

		if (within >= (uint64_t)fields[i].width * fields[i].count)
			continue;
		if (!emu->legacy && (len != fields[i].width || within % fields[i].width))
			break;
		if (plx_emu_offers(emu, fields[i].feature) ||
			(fields[i].or_feature != NONE && plx_emu_offers(emu, fields[i].or_feature)))
			return true;
		plx_emu_report(emu, "CFG-3", "%s was read without its feature being offered",
			fields[i].name);
		return false;
	}
	plx_emu_report(emu, "PCI-ACC-1",
		"the network configuration was read with %u bytes at 0x%" PRIx64, len, offset);
	return false;
}

static void put(uint8_t *config, unsigned offset, unsigned width, uint64_t value)
{
	for (unsigned i = 0; i < width; i++)
		config[offset + i] = (uint8_t)(value >> 8 * i);
}

uint64_t plx_emu_net_config_read(struct plx_emu *emu, uint64_t offset, unsigned len)
{
	uint8_t config[SIZE] = {0};
	uint64_t value = 0;

	plx_emu_status_check(emu, false);
	if (!check_access(emu, offset, len))
		return 0;
	memcpy(config + VIRTIO_NET_CFG_MAC, emu->net.state.mac, sizeof(emu->net.state.mac));
	put(config, VIRTIO_NET_CFG_STATUS, 2, emu->net.status);
	put(config, VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, 2, emu->config.pairs);
	put(config, VIRTIO_NET_CFG_MTU, 2, emu->config.mtu);
	put(config, VIRTIO_NET_CFG_SPEED, 4, emu->config.speed);
	put(config, VIRTIO_NET_CFG_DUPLEX, 1, emu->config.duplex);
	put(config, VIRTIO_NET_CFG_RSS_MAX_KEY_SIZE, 1, PLX_EMU_RSS_KEY);
	put(config, VIRTIO_NET_CFG_RSS_MAX_TABLE_LEN, 2, PLX_EMU_RSS_TABLE);
	put(config, VIRTIO_NET_CFG_HASH_TYPES, 4, PLX_EMU_HASH_TYPES);
	for (unsigned i = 0; i < len && offset + i < SIZE; i++)
		value |= (uint64_t)config[offset + i] << 8 * i;
	return value;
}

/*
 * A legacy driver without a command for it sets the address here, byte by byte (virtio 1.4, 5.1.4).
 */
static bool sets_mac(const struct plx_emu *emu, uint64_t offset, unsigned len)
{
	return emu->legacy && len == 1 && offset < sizeof(emu->net.state.mac) &&
	       !plx_emu_accepted(emu, VIRTIO_NET_F_CTRL_MAC_ADDR);
}

void plx_emu_net_config_write(struct plx_emu *emu, uint64_t offset, unsigned len, uint64_t value)
{
	plx_emu_status_check(emu, true);
	if (sets_mac(emu, offset, len))
		emu->net.state.mac[offset] = (uint8_t)value;
	else if (!plx_emu_status_may_configure(emu))
		plx_emu_report(emu, "INIT-3",
			"%u bytes of configuration were written before FEATURES_OK", len);
	else
		plx_emu_report(emu, "NET-CFG-1",
			"%u bytes of configuration were written at 0x%" PRIx64, len, offset);
}

void plx_emu_set_link(struct plx_emu *emu, bool up)
{
	uint16_t status;

	plx_emu_lock(emu);
	status = (uint16_t)((emu->net.status & ~VIRTIO_NET_S_LINK_UP) |
			    (up ? VIRTIO_NET_S_LINK_UP : 0));
	if (status != emu->net.status) {
		emu->net.status = status;
		plx_emu_irq_config(emu);
	}
	plx_emu_unlock(emu);
}

void plx_emu_announce(struct plx_emu *emu)
{
	plx_emu_lock(emu);
	emu->net.status |= VIRTIO_NET_S_ANNOUNCE;
	plx_emu_irq_config(emu);
	plx_emu_unlock(emu);
}
