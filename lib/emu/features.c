/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "emu/emu_priv.h"

#include "drivers/virtio/virtio_net_reg.h"

#include <inttypes.h>

/* What a set of accepted features is checked for (virtio 1.4, 2.2, 5.1.3.1 and 6). */

#define BIT(n) (UINT64_C(1) << (n))

/* A feature needs all of @all and, if there is any, one of @any. */
static const struct {
	uint8_t bit;
	uint64_t all;
	uint64_t any;
} needs[] = {
	{VIRTIO_NET_F_GUEST_TSO4, BIT(VIRTIO_NET_F_GUEST_CSUM), 0},
	{VIRTIO_NET_F_GUEST_TSO6, BIT(VIRTIO_NET_F_GUEST_CSUM), 0},
	{VIRTIO_NET_F_GUEST_UFO, BIT(VIRTIO_NET_F_GUEST_CSUM), 0},
	{VIRTIO_NET_F_GUEST_USO4, BIT(VIRTIO_NET_F_GUEST_CSUM), 0},
	{VIRTIO_NET_F_GUEST_USO6, BIT(VIRTIO_NET_F_GUEST_CSUM), 0},
	{VIRTIO_NET_F_GUEST_ECN, 0, BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6)},
	{VIRTIO_NET_F_HOST_TSO4, BIT(VIRTIO_NET_F_CSUM), 0},
	{VIRTIO_NET_F_HOST_TSO6, BIT(VIRTIO_NET_F_CSUM), 0},
	{VIRTIO_NET_F_HOST_UFO, BIT(VIRTIO_NET_F_CSUM), 0},
	{VIRTIO_NET_F_HOST_USO, BIT(VIRTIO_NET_F_CSUM), 0},
	{VIRTIO_NET_F_HOST_ECN, 0, BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6)},
	{VIRTIO_NET_F_RSC_EXT, 0, BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6)},
	{VIRTIO_NET_F_CTRL_RX, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_CTRL_RX_EXTRA, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_CTRL_VLAN, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_GUEST_ANNOUNCE, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_MQ, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_CTRL_MAC_ADDR, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_NOTF_COAL, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_VQ_NOTF_COAL, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_RSS, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_HASH_REPORT, BIT(VIRTIO_NET_F_CTRL_VQ), 0},
	{VIRTIO_NET_F_HASH_TUNNEL, BIT(VIRTIO_NET_F_CTRL_VQ),
		BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_HASH_REPORT)},
};

void plx_emu_config_offer(struct plx_emu_config *config, unsigned bit, bool on)
{
	uint64_t mask = BIT(bit % 64);

	config->features[bit / 64] =
		on ? config->features[bit / 64] | mask : config->features[bit / 64] & ~mask;
}

static bool dependencies_met(struct plx_emu *emu)
{
	uint64_t set = emu->accepted[0];
	bool met = true;

	for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
		const char *rule = needs[i].bit == VIRTIO_NET_F_HASH_REPORT     ? "NET-CFG-13"
				   : needs[i].bit == VIRTIO_NET_F_CTRL_RX_EXTRA ? "NET-CFG-14"
										: "FEAT-2";

		if (!plx_emu_accepted(emu, needs[i].bit))
			continue;
		if ((set & needs[i].all) == needs[i].all && (!needs[i].any || (set & needs[i].any)))
			continue;
		plx_emu_report(
			emu, rule, "bit %u was accepted without what it depends on", needs[i].bit);
		met = false;
	}
	return met;
}

/* Bits that have a meaning through the legacy interface only. */
#define LEGACY_BITS                                                                                \
	(BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT(VIRTIO_F_ANY_LAYOUT) | BIT(VIRTIO_F_BAD_FEATURE) |    \
		BIT(VIRTIO_NET_F_GSO))

uint64_t plx_emu_offer(const struct plx_emu *emu, unsigned half)
{
	uint64_t offer = emu->config.features[half];

	if (emu->legacy)
		return half ? 0 : (uint32_t)offer;
	/* The proposal has no bit in its status for it. */
	if (!half && emu->config.handshake == PLX_EMU_DEVICE_OK)
		offer &= ~BIT(VIRTIO_F_SUSPEND);
	return half ? offer : offer & ~LEGACY_BITS;
}

static bool all_offered(struct plx_emu *emu)
{
	bool all = true;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t extra = emu->accepted[i] & ~plx_emu_offer(emu, i);

		if (!extra)
			continue;
		plx_emu_report(emu, "FEAT-1",
			"features were accepted that are not offered: 0x%" PRIx64
			" of word pair %u",
			extra, i);
		all = false;
	}
	return all;
}

void plx_emu_features_legacy(struct plx_emu *emu)
{
	(void)all_offered(emu);
	(void)dependencies_met(emu);
	if (plx_emu_offers(emu, VIRTIO_F_ANY_LAYOUT) && !plx_emu_accepted(emu, VIRTIO_F_ANY_LAYOUT))
		plx_emu_report(emu, "LEG-RFEAT-1", "ANY_LAYOUT is offered and was not accepted");
	if (plx_emu_accepted(emu, VIRTIO_F_BAD_FEATURE))
		plx_emu_report(emu, "LEG-RFEAT-2",
			"bit 30 was accepted: the driver takes whatever it is offered");
}

bool plx_emu_features_valid(struct plx_emu *emu)
{
	bool sufficient = plx_emu_features_sufficient(emu);

	return dependencies_met(emu) && sufficient;
}

bool plx_emu_features_sufficient(struct plx_emu *emu)
{
	bool valid = all_offered(emu);

	if (plx_emu_offers(emu, VIRTIO_F_VERSION_1) && !plx_emu_accepted(emu, VIRTIO_F_VERSION_1)) {
		plx_emu_report(emu, "RFEAT-1", "VERSION_1 is offered and was not accepted");
		valid = false;
	}
	if (plx_emu_offers(emu, VIRTIO_F_ACCESS_PLATFORM) &&
		!plx_emu_accepted(emu, VIRTIO_F_ACCESS_PLATFORM)) {
		plx_emu_report(emu, "RFEAT-3", "ACCESS_PLATFORM is offered and was not accepted");
		valid = false;
	}
	if (plx_emu_accepted(emu, VIRTIO_F_SR_IOV)) {
		plx_emu_report(emu, "RFEAT-10",
			"SR_IOV was accepted on a function without its capability");
		valid = false;
	}
	return valid;
}
