/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_EMU_PEER_PRIV_H
#define PLX_EMU_PEER_PRIV_H

#include "emu/emu.h"

/* The other end of the cable, and frames on their way. */

/* backlog.c: a bounded queue of frames, each in one piece. */
struct plx_emu_backlog {
	uint8_t *bytes;
	uint32_t size;
	uint32_t head; /* where the next frame goes */
	uint32_t tail; /* the oldest frame */
	uint32_t frames;
};

int plx_emu_backlog_init(struct plx_emu_backlog *backlog, uint32_t size);
void plx_emu_backlog_fini(struct plx_emu_backlog *backlog);
void plx_emu_backlog_clear(struct plx_emu_backlog *backlog);
bool plx_emu_backlog_push(struct plx_emu_backlog *backlog, const uint8_t *frame, uint32_t len);
/* Return: The oldest frame, or NULL. */
const uint8_t *plx_emu_backlog_peek(const struct plx_emu_backlog *backlog, uint32_t *len);
void plx_emu_backlog_pop(struct plx_emu_backlog *backlog);

/* peer.c: who is at the other end of the cable. */
struct plx_emu_peer;

struct plx_emu_peer_ops {
	/* It holds the frames that the driver sends against their numbers and checksums. */
	bool checks;
	/* The driver sent a frame. */
	void (*send)(struct plx_emu_peer *peer, unsigned pair, const uint8_t *frame, uint32_t len);
	/* The next frame for the driver, or NULL. It stays valid until take(). */
	const uint8_t *(*peek)(struct plx_emu_peer *peer, unsigned pair, uint32_t *len);
	void (*take)(struct plx_emu_peer *peer, unsigned pair);
	/* The device was reset. */
	void (*reset)(struct plx_emu_peer *peer);
	/* Nanoseconds until a frame comes by itself; UINT64_MAX: not before somebody sends one. */
	uint64_t (*due)(struct plx_emu_peer *peer);
	/* A file descriptor that can be read when a frame comes. */
	int (*fd)(struct plx_emu_peer *peer);
	void (*close)(struct plx_emu_peer *peer);
};

struct plx_emu_peer {
	const struct plx_emu_peer_ops *ops;
	struct plx_emu *emu;
};

int plx_emu_peer_open(struct plx_emu *emu, const char *kind, struct plx_emu_peer **peer);

/* Each of these takes what follows the colon, or NULL. */
int plx_emu_none_open(struct plx_emu *emu, const char *none, struct plx_emu_peer **peer);
int plx_emu_loopback_open(struct plx_emu *emu, const char *none, struct plx_emu_peer **peer);
int plx_emu_gen_open(struct plx_emu *emu, const char *none, struct plx_emu_peer **peer);
int plx_emu_sink_open(struct plx_emu *emu, const char *none, struct plx_emu_peer **peer);
int plx_emu_wire_open(struct plx_emu *emu, const char *name, struct plx_emu_peer **peer);
int plx_emu_tap_open(struct plx_emu *emu, const char *name, struct plx_emu_peer **peer);
int plx_emu_pcap_open(struct plx_emu *emu, const char *name, struct plx_emu_peer **peer);
int plx_emu_replay_open(struct plx_emu *emu, const char *name, struct plx_emu_peer **peer);

/* When a peer's next frame may come. */
struct plx_emu_pace {
	uint64_t interval; /* nanoseconds between frames; 0: none */
	uint64_t due;
};

void plx_emu_pace_start(struct plx_emu_pace *pace, uint64_t rate);
/* Frames that were due while nobody took them are made up for, up to a short burst. */
bool plx_emu_pace_is_due(struct plx_emu_pace *pace);
/* Return: nanoseconds until the next one; UINT64_MAX when time is not what it waits for. */
uint64_t plx_emu_pace_wait(const struct plx_emu_pace *pace);

#endif
