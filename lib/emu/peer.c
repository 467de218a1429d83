/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/error.h"
#include "emu/emu_priv.h"

#include <string.h>

/* Who is at the other end of the cable, by name. */

int plx_emu_peer_open(struct plx_emu *emu, const char *kind, struct plx_emu_peer **peer)
{
	static const char wire[] = "wire:";

	if (!strcmp(kind, "loopback"))
		return plx_emu_loopback_open(emu, peer);
	if (!strcmp(kind, "none"))
		return plx_emu_none_open(emu, peer);
	if (!strcmp(kind, "gen"))
		return plx_emu_traffic_open(emu, true, peer);
	if (!strcmp(kind, "sink"))
		return plx_emu_traffic_open(emu, false, peer);
	if (!strncmp(kind, wire, strlen(wire)) && kind[strlen(wire)])
		return plx_emu_wire_open(emu, kind + strlen(wire), peer);
	return plx_fail(EINVAL,
		"%s: there is no peer '%s': write loopback, gen, sink, wire:NAME or none",
		emu->vfio.name, kind);
}
