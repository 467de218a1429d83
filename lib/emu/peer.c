/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <string.h>

/* Who is at the other end of the cable, by name, and when frames come that have a rate. */

static const struct {
	const char *name;
	const char *argument; /* what follows a colon */
	int (*open)(struct plx_emu *emu, const char *argument, struct plx_emu_peer **peer);
} kinds[] = {
	{"loopback", NULL, plx_emu_loopback_open},
	{"gen", NULL, plx_emu_gen_open},
	{"sink", NULL, plx_emu_sink_open},
	{"none", NULL, plx_emu_none_open},
	{"wire", "NAME", plx_emu_wire_open},
	{"tap", "NAME", plx_emu_tap_open},
	{"pcap", "FILE", plx_emu_pcap_open},
	{"replay", "FILE", plx_emu_replay_open},
};

int plx_emu_peer_open(struct plx_emu *emu, const char *kind, struct plx_emu_peer **peer)
{
	size_t len = strcspn(kind, ":");
	const char *argument = kind[len] ? &kind[len + 1] : NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strlen(kinds[i].name) != len || strncmp(kinds[i].name, kind, len) != 0 ||
			!argument != !kinds[i].argument || (argument && !*argument))
			continue;
		return kinds[i].open(emu, argument, peer);
	}
	return plx_fail(EINVAL,
		"%s: there is no peer '%s': write loopback, gen, sink, none, wire:NAME, tap:NAME, "
		"pcap:FILE or replay:FILE",
		emu->vfio.name, kind);
}

void plx_emu_pace_start(struct plx_emu_pace *pace, uint64_t rate)
{
	pace->interval = rate ? 1000000000u / rate : 0;
	pace->due = plx_now();
}

bool plx_emu_pace_is_due(struct plx_emu_pace *pace)
{
	uint64_t now, behind;

	if (!pace->interval)
		return true;
	now = plx_now();
	behind = PLX_MILLISECONDS(1);
	if (pace->due + behind < now)
		pace->due = now - behind;
	return pace->due <= now;
}

uint64_t plx_emu_pace_wait(const struct plx_emu_pace *pace)
{
	uint64_t now = plx_now();

	/* Without a rate only receive buffers are missing, and the driver notifies of them. */
	if (!pace->interval)
		return UINT64_MAX;
	return pace->due > now ? pace->due - now : 0;
}
