/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <assert.h>
#include <byteswap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * Files of frames in the format of libpcap: "pcap" writes what the driver sends, "replay" gives the
 * driver what such a file holds, once, on its first pair.
 *
 * A file begins with a header, whose first word also tells the byte order of all others and the
 * unit of time; each frame has a header of its own.
 */
#define MAGIC_MICROSECONDS 0xa1b2c3d4u
#define MAGIC_NANOSECONDS  0xa1b23c4du
#define LINK_ETHERNET      1
#define LINK_MASK          0xffff

struct file_header {
	uint32_t magic;
	uint16_t major;
	uint16_t minor;
	uint32_t reserved[2];
	uint32_t longest;
	uint32_t link;
};
static_assert(sizeof(struct file_header) == 24, "of a pcap file");

struct frame_header {
	uint32_t seconds;
	uint32_t fraction;
	uint32_t here; /* bytes that follow */
	uint32_t sent; /* bytes that the frame had */
};
static_assert(sizeof(struct frame_header) == 16, "of a pcap file");

struct capture {
	struct plx_emu_peer peer;
	FILE *file;
	bool failed;
};

struct replay {
	struct plx_emu_peer peer;
	struct plx_emu_pace pace;
	FILE *file;
	bool swapped;
	bool ended;
	uint32_t len; /* of the frame below; 0: none */
	uint8_t frame[PLX_EMU_FRAME];
};

static int open_file(struct plx_emu *emu, const char *name, const char *mode, FILE **file)
{
	*file = fopen(name, mode);
	if (!*file)
		return plx_fail(
			errno, "%s: the file %s cannot be opened: %m", emu->vfio.name, name);
	return 0;
}

/* Writing. */

static struct capture *capture_of(struct plx_emu_peer *peer)
{
	return container_of(peer, struct capture, peer);
}

static void check_written(struct capture *capture, bool done)
{
	if (done || capture->failed)
		return;
	capture->failed = true;
	plx_log(capture->peer.emu->vfio.log, PLX_LOG_ERROR,
		"%s: its frames cannot be written any further: %m", capture->peer.emu->vfio.name);
}

static void capture_send(
	struct plx_emu_peer *peer, unsigned pair, const uint8_t *frame, uint32_t len)
{
	struct capture *capture = capture_of(peer);
	struct frame_header header = {.here = len, .sent = len};
	struct timespec now;

	(void)pair;
	if (!capture->failed) {
		(void)clock_gettime(CLOCK_REALTIME, &now);
		header.seconds = (uint32_t)now.tv_sec;
		header.fraction = (uint32_t)now.tv_nsec;
		check_written(capture, fwrite(&header, sizeof(header), 1, capture->file) == 1 &&
					       fwrite(frame, len, 1, capture->file) == 1);
	}
	peer->emu->stats.tx_refused += capture->failed;
}

static const uint8_t *capture_peek(struct plx_emu_peer *peer, unsigned pair, uint32_t *len)
{
	(void)peer, (void)pair, (void)len;
	return NULL;
}

/* Whoever looks at the file after the driver stopped finds all of it. */
static void capture_reset(struct plx_emu_peer *peer)
{
	struct capture *capture = capture_of(peer);

	check_written(capture, !fflush(capture->file));
}

static void capture_end(struct plx_emu_peer *peer)
{
	struct capture *capture = capture_of(peer);

	if (capture->file)
		check_written(capture, !fclose(capture->file));
	free(capture);
}

static const struct plx_emu_peer_ops capture_ops = {
	.send = capture_send, .peek = capture_peek, .reset = capture_reset, .close = capture_end};

int plx_emu_pcap_open(struct plx_emu *emu, const char *name, struct plx_emu_peer **peer)
{
	const struct file_header header = {.magic = MAGIC_NANOSECONDS,
		.major = 2,
		.minor = 4,
		.longest = PLX_EMU_FRAME,
		.link = LINK_ETHERNET};
	struct capture *capture = calloc(1, sizeof(*capture));
	int err;

	if (!capture)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	capture->peer = (struct plx_emu_peer){.ops = &capture_ops, .emu = emu};
	err = open_file(emu, name, "we", &capture->file);
	if (err)
		goto fail;
	/* Flushed, so that a full disk is noticed here. */
	if (fwrite(&header, sizeof(header), 1, capture->file) != 1 || fflush(capture->file)) {
		err = plx_fail(
			errno, "%s: the file %s cannot be written: %m", emu->vfio.name, name);
		goto fail;
	}
	*peer = &capture->peer;
	return 0;
fail:
	capture->failed = true;
	capture_end(&capture->peer);
	return err;
}

/* Reading. */

static struct replay *replay_of(struct plx_emu_peer *peer)
{
	return container_of(peer, struct replay, peer);
}

static void stop(struct replay *replay, const char *why)
{
	replay->ended = true;
	if (why)
		plx_log(replay->peer.emu->vfio.log, PLX_LOG_WARNING, "%s: its file ends early: %s",
			replay->peer.emu->vfio.name, why);
}

static void read_frame(struct replay *replay)
{
	struct frame_header header;
	size_t got = fread(&header, 1, sizeof(header), replay->file);
	uint32_t len;

	if (got < sizeof(header)) {
		stop(replay, got ? "a frame's header is cut short" : NULL);
		return;
	}
	len = replay->swapped ? bswap_32(header.here) : header.here;
	if (!len || len > PLX_EMU_FRAME)
		stop(replay, "a frame is empty or longer than 64 KiB");
	else if (fread(replay->frame, len, 1, replay->file) != 1)
		stop(replay, "a frame is cut short");
	else
		replay->len = len;
}

static const uint8_t *replay_peek(struct plx_emu_peer *peer, unsigned pair, uint32_t *len)
{
	struct replay *replay = replay_of(peer);

	if (pair)
		return NULL;
	if (!replay->len && !replay->ended && plx_emu_pace_is_due(&replay->pace))
		read_frame(replay);
	*len = replay->len;
	return replay->len ? replay->frame : NULL;
}

static void replay_take(struct plx_emu_peer *peer, unsigned pair)
{
	struct replay *replay = replay_of(peer);

	(void)pair;
	replay->len = 0;
	replay->pace.due += replay->pace.interval;
	peer->emu->stats.generated++;
}

static void replay_send(
	struct plx_emu_peer *peer, unsigned pair, const uint8_t *frame, uint32_t len)
{
	(void)peer, (void)pair, (void)frame, (void)len;
}

/* A driver that starts anew gets everything. */
static void replay_reset(struct plx_emu_peer *peer)
{
	struct replay *replay = replay_of(peer);

	replay->len = 0;
	replay->ended = fseek(replay->file, sizeof(struct file_header), SEEK_SET) != 0;
}

static uint64_t replay_due(struct plx_emu_peer *peer)
{
	struct replay *replay = replay_of(peer);

	return replay->ended ? UINT64_MAX : plx_emu_pace_wait(&replay->pace);
}

static void replay_end(struct plx_emu_peer *peer)
{
	struct replay *replay = replay_of(peer);

	if (replay->file)
		(void)fclose(replay->file);
	free(replay);
}

static const struct plx_emu_peer_ops replay_ops = {.send = replay_send,
	.peek = replay_peek,
	.take = replay_take,
	.reset = replay_reset,
	.due = replay_due,
	.close = replay_end};

static int check_header(struct replay *replay, const char *name)
{
	const char *device = replay->peer.emu->vfio.name;
	struct file_header header;
	uint32_t magic, link;

	if (fread(&header, sizeof(header), 1, replay->file) != 1)
		return plx_fail(
			EINVAL, "%s: the file %s is too short for a pcap file", device, name);
	replay->swapped = header.magic == bswap_32(MAGIC_MICROSECONDS) ||
			  header.magic == bswap_32(MAGIC_NANOSECONDS);
	magic = replay->swapped ? bswap_32(header.magic) : header.magic;
	link = replay->swapped ? bswap_32(header.link) : header.link;
	if (magic != MAGIC_MICROSECONDS && magic != MAGIC_NANOSECONDS)
		return plx_fail(EINVAL,
			"%s: the file %s is no pcap file; `editcap -F pcap` converts other formats",
			device, name);
	if ((link & LINK_MASK) != LINK_ETHERNET)
		return plx_fail(EINVAL, "%s: the file %s has frames of link type %u, not Ethernet",
			device, name, link & LINK_MASK);
	return 0;
}

int plx_emu_replay_open(struct plx_emu *emu, const char *name, struct plx_emu_peer **peer)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	int err;

	if (!replay)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	replay->peer = (struct plx_emu_peer){.ops = &replay_ops, .emu = emu};
	plx_emu_pace_start(&replay->pace, emu->config.rate);
	err = open_file(emu, name, "re", &replay->file);
	if (!err)
		err = check_header(replay, name);
	if (err)
		replay_end(&replay->peer);
	else
		*peer = &replay->peer;
	return err;
}
