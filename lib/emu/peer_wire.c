/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A cable between two devices of one context. Each end has a queue of frames towards it; both are
 * guarded by the cable's own lock, since the devices work on threads of their own.
 *
 * Cables are found by name and memory, which is the context's own; the list is empty when no device
 * has a cable.
 */
#define NAME_LEN 32

struct wire {
	struct wire *next;
	const struct plx_mem *mem;
	char name[NAME_LEN];
	pthread_mutex_t lock;
	struct end *end[2];
};

struct end {
	struct plx_emu_peer peer;
	struct wire *wire;
	unsigned side;
	unsigned pairs;
	uint32_t frames; /* atomic: that wait in all backlogs, so that an idle end costs no lock */
	uint8_t *frame;  /* the one that is looked at, a copy */
	uint32_t len;
	struct plx_emu_backlog backlog[]; /* towards this end, one for each pair */
};

static pthread_mutex_t wires_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wire *wires;

static struct end *end_of(struct plx_emu_peer *peer)
{
	return container_of(peer, struct end, peer);
}

static void send(struct plx_emu_peer *peer, unsigned pair, const uint8_t *frame, uint32_t len)
{
	struct end *end = end_of(peer), *other;
	bool taken = false;

	(void)pthread_mutex_lock(&end->wire->lock);
	other = end->wire->end[!end->side];
	if (other) {
		taken = plx_emu_backlog_push(&other->backlog[pair % other->pairs], frame, len);
		__atomic_add_fetch(&other->frames, taken, __ATOMIC_RELEASE);
		plx_emu_wake(other->peer.emu);
	}
	(void)pthread_mutex_unlock(&end->wire->lock);
	peer->emu->stats.tx_refused += !taken;
}

static const uint8_t *peek(struct plx_emu_peer *peer, unsigned pair, uint32_t *len)
{
	struct end *end = end_of(peer);
	const uint8_t *frame;

	if (!__atomic_load_n(&end->frames, __ATOMIC_ACQUIRE))
		return NULL;
	(void)pthread_mutex_lock(&end->wire->lock);
	frame = plx_emu_backlog_peek(&end->backlog[pair], len);
	if (frame)
		frame = memcpy(end->frame, frame, *len);
	(void)pthread_mutex_unlock(&end->wire->lock);
	return frame;
}

static void take(struct plx_emu_peer *peer, unsigned pair)
{
	struct end *end = end_of(peer);

	(void)pthread_mutex_lock(&end->wire->lock);
	plx_emu_backlog_pop(&end->backlog[pair]);
	__atomic_sub_fetch(&end->frames, 1, __ATOMIC_RELAXED);
	(void)pthread_mutex_unlock(&end->wire->lock);
}

static void reset(struct plx_emu_peer *peer)
{
	struct end *end = end_of(peer);

	(void)pthread_mutex_lock(&end->wire->lock);
	for (unsigned i = 0; i < end->pairs; i++)
		plx_emu_backlog_clear(&end->backlog[i]);
	__atomic_store_n(&end->frames, 0, __ATOMIC_RELAXED);
	(void)pthread_mutex_unlock(&end->wire->lock);
}

static void free_end(struct end *end)
{
	for (unsigned i = 0; i < end->pairs; i++)
		plx_emu_backlog_fini(&end->backlog[i]);
	free(end->frame);
	free(end);
}

/* Take one end off a cable; the cable goes with its last end. The list's lock is held. */
static void unplug(struct wire *wire, unsigned side)
{
	bool last;

	(void)pthread_mutex_lock(&wire->lock);
	wire->end[side] = NULL;
	last = !wire->end[!side];
	(void)pthread_mutex_unlock(&wire->lock);
	if (!last)
		return;
	for (struct wire **at = &wires; *at; at = &(*at)->next)
		if (*at == wire) {
			*at = wire->next;
			break;
		}
	(void)pthread_mutex_destroy(&wire->lock);
	free(wire);
}

static void end_close(struct plx_emu_peer *peer)
{
	struct end *end = end_of(peer);

	(void)pthread_mutex_lock(&wires_lock);
	unplug(end->wire, end->side);
	(void)pthread_mutex_unlock(&wires_lock);
	free_end(end);
}

static const struct plx_emu_peer_ops wire_ops = {
	.send = send, .peek = peek, .take = take, .reset = reset, .close = end_close};

static struct end *make_end(struct plx_emu *emu)
{
	unsigned pairs = emu->config.pairs;
	struct end *end = calloc(1, sizeof(*end) + pairs * sizeof(end->backlog[0]));

	if (!end)
		return NULL;
	end->peer = (struct plx_emu_peer){.ops = &wire_ops, .emu = emu};
	end->frame = malloc(PLX_EMU_FRAME);
	for (; end->frame && end->pairs < pairs; end->pairs++)
		if (plx_emu_backlog_init(&end->backlog[end->pairs], emu->config.backlog))
			break;
	if (end->pairs == pairs)
		return end;
	free_end(end);
	return NULL;
}

/* The cable of a name, a new one if need be. */
static struct wire *find_or_make(const struct plx_mem *mem, const char *name)
{
	struct wire *wire;

	for (wire = wires; wire; wire = wire->next)
		if (wire->mem == mem && !strcmp(wire->name, name))
			return wire;
	wire = calloc(1, sizeof(*wire));
	if (!wire)
		return NULL;
	wire->mem = mem;
	(void)snprintf(wire->name, sizeof(wire->name), "%s", name);
	(void)pthread_mutex_init(&wire->lock, NULL);
	wire->next = wires;
	wires = wire;
	return wire;
}

int plx_emu_wire_open(struct plx_emu *emu, const char *name, struct plx_emu_peer **peer)
{
	struct end *end = make_end(emu);
	struct wire *wire;
	int err = 0;

	if (!end)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	(void)pthread_mutex_lock(&wires_lock);
	wire = strlen(name) < NAME_LEN ? find_or_make(emu->mem, name) : NULL;
	if (!wire) {
		err = strlen(name) < NAME_LEN
			      ? plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name)
			      : plx_fail(EINVAL, "%s: give the wire a name of at most %d letters",
					emu->vfio.name, NAME_LEN - 1);
	} else if (wire->end[0] && wire->end[1]) {
		err = plx_fail(EEXIST, "%s: wire:%s has two ends already: choose another name",
			emu->vfio.name, name);
	} else {
		end->wire = wire;
		end->side = wire->end[0] != NULL;
		(void)pthread_mutex_lock(&wire->lock);
		wire->end[end->side] = end;
		(void)pthread_mutex_unlock(&wire->lock);
	}
	(void)pthread_mutex_unlock(&wires_lock);
	if (err)
		free_end(end);
	else
		*peer = &end->peer;
	return err;
}
