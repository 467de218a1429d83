/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <stdlib.h>
#include <string.h>

/*
 * Two peers that keep what the driver sends, pair by pair: "loopback" hands it back to the driver,
 * "none" to whoever calls plx_emu_take().
 */
struct keeper {
	struct plx_emu_peer peer;
	unsigned pairs;
	struct plx_emu_backlog backlog[];
};

static struct keeper *keeper_of(struct plx_emu_peer *peer)
{
	return container_of(peer, struct keeper, peer);
}

static void send(struct plx_emu_peer *peer, unsigned pair, const uint8_t *frame, uint32_t len)
{
	if (!plx_emu_backlog_push(&keeper_of(peer)->backlog[pair], frame, len))
		peer->emu->stats.rx_no_buffer++;
}

static const uint8_t *peek(struct plx_emu_peer *peer, unsigned pair, uint32_t *len)
{
	return plx_emu_backlog_peek(&keeper_of(peer)->backlog[pair], len);
}

static void take(struct plx_emu_peer *peer, unsigned pair)
{
	plx_emu_backlog_pop(&keeper_of(peer)->backlog[pair]);
}

static void reset(struct plx_emu_peer *peer)
{
	struct keeper *keeper = keeper_of(peer);

	for (unsigned i = 0; i < keeper->pairs; i++)
		plx_emu_backlog_clear(&keeper->backlog[i]);
}

static void end(struct plx_emu_peer *peer)
{
	struct keeper *keeper = keeper_of(peer);

	for (unsigned i = 0; i < keeper->pairs; i++)
		plx_emu_backlog_fini(&keeper->backlog[i]);
	free(keeper);
}

static const uint8_t *peek_nothing(struct plx_emu_peer *peer, unsigned pair, uint32_t *len)
{
	(void)peer, (void)pair, (void)len;
	return NULL;
}

static const struct plx_emu_peer_ops loopback_ops = {
	.send = send, .peek = peek, .take = take, .reset = reset, .close = end};

/* What was sent outlives a reset of the device, as on a real cable. */
static const struct plx_emu_peer_ops none_ops = {
	.send = send, .peek = peek_nothing, .take = take, .close = end};

static int keeper_open(
	struct plx_emu *emu, const struct plx_emu_peer_ops *ops, struct plx_emu_peer **peer)
{
	unsigned pairs = emu->config.pairs;
	struct keeper *keeper = calloc(1, sizeof(*keeper) + pairs * sizeof(keeper->backlog[0]));

	if (!keeper)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	keeper->peer = (struct plx_emu_peer){.ops = ops, .emu = emu};
	for (; keeper->pairs < pairs; keeper->pairs++) {
		int err =
			plx_emu_backlog_init(&keeper->backlog[keeper->pairs], emu->config.backlog);

		if (err) {
			end(&keeper->peer);
			return err;
		}
	}
	*peer = &keeper->peer;
	return 0;
}

int plx_emu_loopback_open(struct plx_emu *emu, const char *none, struct plx_emu_peer **peer)
{
	(void)none;
	return keeper_open(emu, &loopback_ops, peer);
}

int plx_emu_none_open(struct plx_emu *emu, const char *none, struct plx_emu_peer **peer)
{
	(void)none;
	return keeper_open(emu, &none_ops, peer);
}

size_t plx_emu_take(struct plx_emu *emu, unsigned pair, void *frame, size_t room)
{
	struct plx_emu_backlog *backlog;
	const uint8_t *oldest;
	uint32_t len = 0;

	if (emu->peer->ops != &none_ops || pair >= emu->config.pairs)
		return 0;
	plx_emu_lock(emu);
	backlog = &keeper_of(emu->peer)->backlog[pair];
	oldest = plx_emu_backlog_peek(backlog, &len);
	if (oldest) {
		memcpy(frame, oldest, MIN(len, room));
		plx_emu_backlog_pop(backlog);
	}
	plx_emu_unlock(emu);
	return len;
}
