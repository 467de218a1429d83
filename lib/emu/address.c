/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <string.h>

/*
 * The address of an emulated device: "emu:net", and after commas
 *
 *     peer=loopback          what is sent comes back (default)
 *     peer=wire:NAME         the other end is the other device with this option in the same context
 *     peer=gen               numbered frames come, and those that are sent back are checked
 *     peer=sink              frames that are sent are checked
 *     peer=none              frames that are sent vanish
 *     size=BYTES             of generated frames (60)
 *     rate=PPS               generated frames a second over all pairs (as receive buffers come)
 *     mac=XX:XX:XX:XX:XX:XX  the card's address
 *     dev.mtu=BYTES          what it tells (1500)
 *     dev.queues=PAIRS       how many it has (1)
 *     dev.queue_size=ENTRIES of each queue, a power of two (256)
 *     dev.FEATURE=on|off     what it offers: mrg_rxbuf, in_order, event_idx, indirect, ring_reset,
 *                            ctrl_vq, mq, status, access_platform (on);
 *                            notification_data, notif_config_data (off)
 *     dev.seed=NUMBER        makes it choose at random what the standard leaves open (0: never)
 *
 * Options of the same names without "dev." are the driver's.
 */

static const struct {
	const char *key;
	uint8_t bit;
} features[] = {
	{"dev.mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF},
	{"dev.in_order", VIRTIO_F_IN_ORDER},
	{"dev.event_idx", VIRTIO_F_EVENT_IDX},
	{"dev.indirect", VIRTIO_F_INDIRECT_DESC},
	{"dev.ring_reset", VIRTIO_F_RING_RESET},
	{"dev.ctrl_vq", VIRTIO_NET_F_CTRL_VQ},
	{"dev.mq", VIRTIO_NET_F_MQ},
	{"dev.status", VIRTIO_NET_F_STATUS},
	{"dev.access_platform", VIRTIO_F_ACCESS_PLATFORM},
	{"dev.notification_data", VIRTIO_F_NOTIFICATION_DATA},
	{"dev.notif_config_data", VIRTIO_F_NOTIF_CONFIG_DATA},
};

static int hex_digit(char digit)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = digit ? strchr(digits, digit | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

static int parse_mac(const char *text, uint8_t mac[6])
{
	const char *at = text;

	for (unsigned i = 0; i < 6; i++, at += 3) {
		int high = hex_digit(at[0]), low = high < 0 ? -1 : hex_digit(at[1]);

		if (low < 0 || at[2] != (i < 5 ? ':' : '\0'))
			return plx_fail(EINVAL,
				"mac=%s is no address: write six pairs of hexadecimal digits with "
				"colons between",
				text);
		mac[i] = (uint8_t)(high << 4 | low);
	}
	if (mac[0] & 1)
		return plx_fail(
			EINVAL, "mac=%s is a group's address: the first pair must be even", text);
	return 0;
}

static int take_features(struct plx_emu_config *config, struct plx_address *address)
{
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		bool on = false;
		int found = plx_address_bool(address, features[i].key, &on);

		if (found < 0)
			return found;
		if (found)
			plx_emu_config_offer(config, features[i].bit, on);
	}
	return 0;
}

/* Take a number that has a field of its own width. */
#define TAKE_NUMBER(key, low, high, field)                                                         \
	do {                                                                                       \
		uint64_t number = (field);                                                         \
		int found = plx_address_number(address, key, low, high, &number);                  \
                                                                                                   \
		if (found < 0)                                                                     \
			return found;                                                              \
		(field) = (__typeof__(field))number;                                               \
	} while (0)

static int take_numbers(struct plx_emu_config *config, struct plx_address *address)
{
	TAKE_NUMBER("size", PLX_EMU_FRAME_LEAST, PLX_EMU_FRAME, config->frame_size);
	TAKE_NUMBER("rate", 1, 1000000000, config->rate);
	TAKE_NUMBER("dev.mtu", 68, 65535, config->mtu);
	TAKE_NUMBER("dev.queues", 1, PLX_EMU_PAIRS, config->pairs);
	TAKE_NUMBER("dev.queue_size", 1, VIRTQ_SIZE_MAX, config->queue_size);
	TAKE_NUMBER("dev.seed", 0, UINT64_MAX, config->seed);
	return 0;
}

#undef TAKE_NUMBER

int plx_emu_config_from_address(struct plx_emu_config *config, struct plx_address *address)
{
	const char *mac = NULL;
	int err;

	if (strcmp(address->place, "net") != 0)
		return plx_fail(ENODEV, "there is no emulated device emu:%s: write emu:net",
			address->place);
	plx_emu_config_init(config);
	err = plx_address_text(address, "peer", &config->peer);
	if (err < 0)
		return err;
	err = plx_address_text(address, "mac", &mac);
	if (err > 0)
		err = parse_mac(mac, config->mac);
	if (err < 0)
		return err;
	err = take_numbers(config, address);
	return err ? err : take_features(config, address);
}
