/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "virtio/vhost_user_priv.h"
#include "virtio/virtio_reg.h"

#include <stdio.h>
#include <string.h>

/*
 * What a network backend leaves to the front end: most have rings of frames and nothing else, no
 * configuration and no control queue. The front end makes them a whole device of the standard.
 */

#define BIT(feature) (UINT64_C(1) << VIRTIO_##feature)

/* Of the transport, and no driver's. */
#define TRANSPORT_FEATURES                                                                         \
	(UINT64_C(1) << VHOST_USER_F_LOG_ALL | UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES |     \
		BIT(F_ACCESS_PLATFORM))

/* They stand for fields of the configuration. */
#define CONFIG_FEATURES                                                                            \
	(BIT(NET_F_MAC) | BIT(NET_F_MTU) | BIT(NET_F_STATUS) | BIT(NET_F_SPEED_DUPLEX))

/* They need commands that nobody would carry out. */
#define COMMAND_FEATURES                                                                           \
	(BIT(NET_F_CTRL_GUEST_OFFLOADS) | BIT(NET_F_CTRL_VLAN) | BIT(NET_F_CTRL_RX_EXTRA) |        \
		BIT(NET_F_GUEST_ANNOUNCE) | BIT(NET_F_CTRL_MAC_ADDR) | BIT(NET_F_DEVICE_STATS) |   \
		BIT(NET_F_HASH_TUNNEL) | BIT(NET_F_VQ_NOTF_COAL) | BIT(NET_F_NOTF_COAL) |          \
		BIT(NET_F_HASH_REPORT) | BIT(NET_F_RSS))

/* --- options --- */

static int read_mac(const char *text, uint8_t mac[6])
{
	int end = 0;

	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		    &mac[3], &mac[4], &mac[5], &end) != 6 ||
		text[end])
		return plx_fail(EINVAL,
			"dev.mac=%s is no address: write six pairs of hexadecimal digits with colons between",
			text);
	if (mac[0] & 1)
		return plx_fail(EINVAL,
			"dev.mac=%s is a group's address: the first pair must be even", text);
	return 0;
}

int vhost_user_net_options(struct vhost_user *vhost, struct plx_address *address)
{
	uint64_t mtu = 0, pairs = VHOST_USER_RINGS / 2, queue_size = VIRTQ_SIZE_MAX;
	const char *mac;
	int ret;

	ret = plx_address_text(address, "dev.mac", &mac);
	if (ret > 0) {
		vhost->net.has_mac = true;
		ret = read_mac(mac, vhost->net.mac);
	}
	if (ret >= 0)
		ret = plx_address_number(address, "dev.mtu", 68, 65535, &mtu);
	if (ret >= 0)
		ret = plx_address_number(address, "dev.queues", 1, VHOST_USER_RINGS / 2, &pairs);
	if (ret >= 0)
		ret = plx_address_number(address, "dev.queue_size", 1, VIRTQ_SIZE_MAX, &queue_size);
	if (ret < 0)
		return ret;
	if (queue_size & (queue_size - 1))
		return plx_fail(EINVAL, "dev.queue_size=%u is not possible: give a power of two",
			(unsigned)queue_size);
	vhost->net.mtu = (uint16_t)mtu;
	vhost->net.pairs = (uint16_t)pairs;
	vhost->net.queue_size = (uint16_t)queue_size;
	return 0;
}

/* --- features and configuration --- */

unsigned vhost_user_net_pairs(const struct vhost_user *vhost)
{
	return MIN(vhost->pairs, (unsigned)vhost->net.pairs);
}

uint64_t vhost_user_net_offer(const struct vhost_user *vhost)
{
	uint64_t offer = vhost->offered & ~TRANSPORT_FEATURES & ~COMMAND_FEATURES;

	if (!vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_CONFIG)) {
		offer &= ~CONFIG_FEATURES;
		offer |= BIT(NET_F_STATUS);
	}
	if (vhost->net.has_mac)
		offer |= BIT(NET_F_MAC);
	if (vhost->net.mtu)
		offer |= BIT(NET_F_MTU);
	offer |= BIT(NET_F_CTRL_VQ) | BIT(NET_F_CTRL_RX);
	if (vhost_user_net_pairs(vhost) == 1)
		offer &= ~BIT(NET_F_MQ);
	return offer;
}

uint64_t vhost_user_net_config_size(const struct vhost_user *vhost)
{
	return vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_CONFIG) ? VHOST_USER_CONFIG_MAX
								      : VIRTIO_NET_CFG_SPEED;
}

static void put16(uint8_t *field, unsigned value)
{
	field[0] = (uint8_t)value;
	field[1] = (uint8_t)(value >> 8);
}

/* Backends tell their configuration from its start, whatever offset they are asked for. */
static int ask_config(struct vhost_user *vhost, uint8_t *config, uint32_t len)
{
	struct plx_vhost_user_message message = {
		.header = {.request = VHOST_USER_GET_CONFIG,
			.size = (uint32_t)offsetof(struct vhost_user_config, region) + len},
		.payload.config.size = len,
	};
	const struct plx_vhost_user_form form = {0, message.header.size, 0};
	int err;

	if (!vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_CONFIG))
		return 0;
	err = vhost_user_ask(vhost, &message, &form);
	if (err)
		return err;
	if (message.header.size != form.size_max || message.payload.config.size != len)
		return vhost_user_give_up(vhost,
			plx_fail(EPROTO,
				"%s: the backend offers its configuration and does not give %u bytes of it",
				vhost->virtio.name, len));
	memcpy(config, message.payload.config.region, len);
	return 0;
}

uint32_t vhost_user_net_read_config(struct vhost_user *vhost, unsigned offset, unsigned width)
{
	bool theirs = vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_CONFIG);
	uint8_t config[VHOST_USER_CONFIG_MAX] = {0};
	uint32_t value = 0;

	(void)ask_config(vhost, config, offset + width);
	if (vhost->net.has_mac)
		memcpy(config + VIRTIO_NET_CFG_MAC, vhost->net.mac, sizeof(vhost->net.mac));
	if (vhost->net.mtu)
		put16(config + VIRTIO_NET_CFG_MTU, vhost->net.mtu);
	if (!theirs) {
		put16(config + VIRTIO_NET_CFG_STATUS,
			plx_vhost_user_hung_up(&vhost->socket) ? 0 : VIRTIO_NET_S_LINK_UP);
		put16(config + VIRTIO_NET_CFG_MAX_VIRTQUEUE_PAIRS, vhost_user_net_pairs(vhost));
	}
	for (unsigned i = 0; i < width; i++)
		value |= (uint32_t)config[offset + i] << 8 * i;
	return value;
}

/* --- the control queue --- */

bool vhost_user_net_is_control(const struct vhost_user *vhost, uint16_t index)
{
	bool many = plx_virtio_has(&vhost->virtio, VIRTIO_NET_F_MQ);

	return plx_virtio_has(&vhost->virtio, VIRTIO_NET_F_CTRL_VQ) &&
	       index == 2 * (many ? vhost_user_net_pairs(vhost) : 1);
}

static uint8_t set_pairs(struct vhost_user *vhost, const uint8_t *data, size_t len)
{
	unsigned pairs = len < 2 ? 0 : data[0] | (unsigned)data[1] << 8;

	if (!pairs || pairs > vhost_user_net_pairs(vhost))
		return VIRTIO_NET_ERR;
	if (vhost_user_enable_rings(vhost, 0, 2 * pairs, true) ||
		vhost_user_enable_rings(vhost, 2 * pairs, VHOST_USER_RINGS, false))
		return VIRTIO_NET_ERR;
	return VIRTIO_NET_OK;
}

/* Class and command, then the command's own (5.1.9.5). */
uint8_t vhost_user_net_command(struct vhost_user *vhost, const uint8_t *command, size_t len)
{
	if (len < 2)
		return VIRTIO_NET_ERR;
	/* Backends filter nothing, so that every mode of reception is on as it is. */
	if (command[0] == VIRTIO_NET_CTRL_RX)
		return command[1] <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	if (command[0] == VIRTIO_NET_CTRL_MQ && command[1] == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
		return set_pairs(vhost, command + 2, len - 2);
	return VIRTIO_NET_ERR;
}
