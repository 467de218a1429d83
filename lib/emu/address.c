/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <ctype.h>
#include <string.h>

/*
 * The address of an emulated device: "emu:net", and after commas
 *
 *     peer=loopback          what is sent comes back (default)
 *     peer=wire:NAME         the other end is the other device with this option in the same context
 *     peer=gen               numbered frames come, and those that are sent back are checked
 *     peer=sink              frames that are sent are checked
 *     peer=none              frames that are sent vanish
 *     peer=tap:NAME          the other end is a TAP of the host, made if it is not there
 *     peer=pcap:FILE         frames that are sent are written to a file
 *     peer=replay:FILE       frames come from such a file
 *     size=BYTES             of numbered frames (60)
 *     rate=PPS               numbered or replayed frames a second (as receive buffers come)
 *     veto=features|config   what it refuses, whatever the driver does (none)
 *     dev.mac=XX:XX:XX:XX:XX:XX its address
 *     dev.mtu=BYTES          what it tells (1500)
 *     dev.queues=PAIRS       how many it has (1)
 *     dev.queue_size=ENTRIES of each queue, a power of two (256)
 *     dev.vectors=COUNT of MSI-X, at most one for each queue and one more (130); 0: the line only
 *     dev.FEATURE=on|off     what it offers: mrg_rxbuf, packed, in_order, event_idx, indirect,
 *                            ring_reset, ctrl_vq, mq, status, access_platform (on);
 *                            notification_data, notif_config_data, suspend (off);
 *                            through the legacy interface any_layout (on), feature30 (off)
 *     dev.legacy=off|on|only whether it has the legacy interface, or nothing else
 *                            (off, or on with the driver's legacy=on)
 *     dev.handshake=modern|device-ok
 *                            what it speaks (modern, or device-ok with the driver's
 *                            handshake=device-ok)
 *     dev.mute=on|off        whether it keeps all interrupts to itself, as no card should (off)
 *     dev.junk_len=on|off    whether used lengths of what it only reads are junk (off)
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
	{"dev.packed", VIRTIO_F_RING_PACKED},
	{"dev.ring_reset", VIRTIO_F_RING_RESET},
	{"dev.ctrl_vq", VIRTIO_NET_F_CTRL_VQ},
	{"dev.mq", VIRTIO_NET_F_MQ},
	{"dev.status", VIRTIO_NET_F_STATUS},
	{"dev.access_platform", VIRTIO_F_ACCESS_PLATFORM},
	{"dev.notification_data", VIRTIO_F_NOTIFICATION_DATA},
	{"dev.notif_config_data", VIRTIO_F_NOTIF_CONFIG_DATA},
	{"dev.suspend", VIRTIO_F_SUSPEND},
	{"dev.any_layout", VIRTIO_F_ANY_LAYOUT},
	{"dev.feature30", VIRTIO_F_BAD_FEATURE},
};

static int hex_digit(char digit)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = digit ? strchr(digits, tolower((unsigned char)digit)) : NULL;

	return at ? (int)(at - digits) : -1;
}

static int parse_mac(const char *text, uint8_t mac[6])
{
	const char *at = text;

	for (unsigned i = 0; i < 6; i++, at += 3) {
		int high = hex_digit(at[0]), low = high < 0 ? -1 : hex_digit(at[1]);

		if (low < 0 || at[2] != (i < 5 ? ':' : '\0'))
			return plx_fail(EINVAL,
				"dev.mac=%s is no address: write six pairs of hexadecimal digits "
				"with colons between",
				text);
		mac[i] = (uint8_t)(high << 4 | low);
	}
	if (mac[0] & 1)
		return plx_fail(EINVAL,
			"dev.mac=%s is a group's address: the first pair must be even", text);
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
	TAKE_NUMBER("dev.vectors", 0, PLX_EMU_VECTORS, config->vectors);
	TAKE_NUMBER("dev.seed", 0, UINT64_MAX, config->seed);
	return 0;
}

#undef TAKE_NUMBER

/* Whether the driver is told @value for @key; the option stays the driver's. */
static bool driver_wants(const struct plx_address *address, const char *key, const char *value)
{
	for (unsigned i = 0; i < address->count; i++)
		if (!strcmp(address->option[i].key, key))
			return !strcmp(address->option[i].value, value);
	return false;
}

/* What the device speaks. By itself it is what the driver asks for. */
static int take_languages(struct plx_emu_config *config, struct plx_address *address)
{
	static const char *const interfaces[] = {"off", "on", "only", NULL};
	static const char *const handshakes[] = {"modern", "device-ok", NULL};
	static const char *const vetoes[] = {"none", "features", "config", NULL};
	unsigned interface =
		driver_wants(address, "legacy", "on") ? PLX_EMU_TRANSITIONAL : PLX_EMU_MODERN_ONLY;
	unsigned handshake = driver_wants(address, "handshake", "device-ok") ? PLX_EMU_DEVICE_OK
									     : PLX_EMU_FEATURES_OK;
	unsigned veto = PLX_EMU_VETO_NONE;
	int found = plx_address_choice(address, "dev.legacy", interfaces, &interface);

	if (found >= 0)
		found = plx_address_choice(address, "dev.handshake", handshakes, &handshake);
	if (found >= 0)
		found = plx_address_choice(address, "veto", vetoes, &veto);
	if (found >= 0)
		found = plx_address_bool(address, "dev.junk_len", &config->junk_len);
	if (found >= 0)
		found = plx_address_bool(address, "dev.mute", &config->mute);
	if (found >= 0 && veto != PLX_EMU_VETO_NONE &&
		(interface == PLX_EMU_LEGACY_ONLY || driver_wants(address, "legacy", "on")))
		return plx_fail(EINVAL,
			"emu:%s: veto=%s does not go with the legacy interface, which has no way "
			"to say no",
			address->place, vetoes[veto]);
	config->interface = (enum plx_emu_interface)interface;
	config->handshake = (enum plx_emu_handshake)handshake;
	config->veto = (enum plx_emu_veto)veto;
	return found < 0 ? found : 0;
}

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
	err = plx_address_text(address, "dev.mac", &mac);
	if (err > 0)
		err = parse_mac(mac, config->mac);
	if (err < 0)
		return err;
	err = take_numbers(config, address);
	if (!err)
		err = take_languages(config, address);
	return err ? err : take_features(config, address);
}
