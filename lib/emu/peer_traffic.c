/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/*
 * Numbered frames: "gen" makes them for the driver, and both "gen" and "sink" check those that the
 * driver sends. Behind the Ethernet header, which a forwarding program may change, such a frame has
 *
 *     offset  14  mark of two bytes: a constant and the pair it was made for
 *             16  number, counted from 0 for each pair
 *             24  checksum over the number and everything from 32 on
 *             32  words that follow from the number, and zeros to the end
 *
 * all little-endian.
 */
#define MARK      0x50
#define MARK_AT   14
#define NUMBER_AT 16
#define SUM_AT    24
#define WORDS_AT  32

#define ETHERTYPE_HIGH 0x88 /* 0x88b5: for local experiments (IEEE 802) */
#define ETHERTYPE_LOW  0xb5

/* How far a frame may come late and be told from one that came twice. */
#define WINDOW 1024

struct check {
	uint64_t next;              /* the number that should come */
	uint64_t seen[WINDOW / 64]; /* which of the last WINDOW numbers came */
};

struct made {
	uint64_t number; /* of the frame that is ready or comes next */
	bool ready;
};

struct traffic {
	struct plx_emu_peer peer;
	bool generate;
	struct plx_emu_pace pace;
	unsigned pairs;
	struct made *made;
	struct check *check; /* by the pair that a frame was made for */
	uint8_t *frame;      /* the one that is ready, for the pair below */
	unsigned frame_pair;
};

static struct traffic *traffic_of(struct plx_emu_peer *peer)
{
	return container_of(peer, struct traffic, peer);
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return le64toh(value);
}

static void put64(uint8_t *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, sizeof(value));
}

static uint64_t add(uint64_t sum, uint64_t word)
{
	return (sum << 7 | sum >> 57) + (word ^ UINT64_C(0x9e3779b97f4a7c15));
}

static uint64_t checksum(const uint8_t *frame, uint32_t len)
{
	uint64_t sum = get64(frame + NUMBER_AT), last = 0;
	uint32_t at = WORDS_AT;

	for (; at + 8 <= len; at += 8)
		sum = add(sum, get64(frame + at));
	memcpy(&last, frame + at, len - at);
	return add(sum, last) + len;
}

static void make(struct traffic *traffic, unsigned pair)
{
	const struct plx_emu_config *config = &traffic->peer.emu->config;
	uint64_t number = traffic->made[pair].number, word = number;
	uint8_t *frame = traffic->frame;

	frame[MARK_AT + 1] = (uint8_t)pair;
	put64(frame + NUMBER_AT, number);
	for (uint32_t at = WORDS_AT; at + 8 <= config->frame_size; at += 8)
		put64(frame + at, word += UINT64_C(0x0101010101010101));
	put64(frame + SUM_AT, checksum(frame, config->frame_size));
	traffic->frame_pair = pair;
	traffic->made[pair].ready = true;
}

static const uint8_t *peek(struct plx_emu_peer *peer, unsigned pair, uint32_t *len)
{
	struct traffic *traffic = traffic_of(peer);

	if (!traffic->generate)
		return NULL;
	if (!traffic->made[pair].ready && !plx_emu_pace_is_due(&traffic->pace))
		return NULL;
	if (!traffic->made[pair].ready || traffic->frame_pair != pair)
		make(traffic, pair);
	*len = peer->emu->config.frame_size;
	return traffic->frame;
}

static void take(struct plx_emu_peer *peer, unsigned pair)
{
	struct traffic *traffic = traffic_of(peer);

	traffic->made[pair].number++;
	traffic->made[pair].ready = false;
	traffic->pace.due += traffic->pace.interval;
	peer->emu->stats.generated++;
}

static uint64_t due(struct plx_emu_peer *peer)
{
	const struct traffic *traffic = traffic_of(peer);

	return traffic->generate ? plx_emu_pace_wait(&traffic->pace) : UINT64_MAX;
}

/* Whether the number came before; from now on it has. */
static bool mark_seen(struct check *check, uint64_t number)
{
	uint64_t *word = &check->seen[number % WINDOW / 64], bit = UINT64_C(1) << number % 64;
	bool before = *word & bit;

	*word |= bit;
	return before;
}

static void check_number(struct plx_emu_stats *stats, struct check *check, uint64_t number)
{
	if (number >= check->next) {
		uint64_t passed = number - check->next;

		stats->lost += passed;
		for (uint64_t i = 0; i <= MIN(passed, WINDOW - 1); i++)
			check->seen[(number - i) % WINDOW / 64] &=
				~(UINT64_C(1) << (number - i) % 64);
		(void)mark_seen(check, number);
		check->next = number + 1;
		stats->checked++;
	} else if (check->next - number > WINDOW || mark_seen(check, number)) {
		stats->doubled++;
	} else {
		stats->lost--;
		stats->checked++;
	}
}

static void send(struct plx_emu_peer *peer, unsigned pair, const uint8_t *frame, uint32_t len)
{
	struct traffic *traffic = traffic_of(peer);
	struct plx_emu_stats *stats = &peer->emu->stats;

	if (len < WORDS_AT || frame[MARK_AT] != MARK ||
		get64(frame + SUM_AT) != checksum(frame, len) ||
		frame[MARK_AT + 1] >= PLX_EMU_PAIRS) {
		if (!stats->altered++)
			plx_log(peer->emu->vfio.log, PLX_LOG_WARNING,
				"%s: a frame of %u bytes that was sent on pair %u is not as it was "
				"made, or was never numbered: peer.altered counts those that follow",
				peer->emu->vfio.name, len, pair);
		return;
	}
	check_number(stats, &traffic->check[frame[MARK_AT + 1]], get64(frame + NUMBER_AT));
}

/* A driver that starts anew may have lost what was on its way. */
static void reset(struct plx_emu_peer *peer)
{
	struct traffic *traffic = traffic_of(peer);

	memset(traffic->made, 0, traffic->pairs * sizeof(*traffic->made));
	memset(traffic->check, 0, PLX_EMU_PAIRS * sizeof(*traffic->check));
	plx_emu_pace_start(&traffic->pace, peer->emu->config.rate);
}

static void end(struct plx_emu_peer *peer)
{
	struct traffic *traffic = traffic_of(peer);

	free(traffic->made);
	free(traffic->check);
	free(traffic->frame);
	free(traffic);
}

static const struct plx_emu_peer_ops traffic_ops = {.checks = true,
	.send = send,
	.peek = peek,
	.take = take,
	.reset = reset,
	.due = due,
	.close = end};

static void begin_frame(struct traffic *traffic)
{
	static const uint8_t source[6] = {0x02, 0x00, 0x00, 0x67, 0x65, 0x6e};

	memcpy(traffic->frame, traffic->peer.emu->config.mac, 6);
	memcpy(traffic->frame + 6, source, sizeof(source));
	traffic->frame[12] = ETHERTYPE_HIGH;
	traffic->frame[13] = ETHERTYPE_LOW;
	traffic->frame[MARK_AT] = MARK;
}

static int traffic_open(struct plx_emu *emu, bool generate, struct plx_emu_peer **peer)
{
	struct traffic *traffic = calloc(1, sizeof(*traffic));

	if (!traffic)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	traffic->peer = (struct plx_emu_peer){.ops = &traffic_ops, .emu = emu};
	traffic->generate = generate;
	plx_emu_pace_start(&traffic->pace, emu->config.rate);
	traffic->pairs = emu->config.pairs;
	traffic->made = calloc(traffic->pairs, sizeof(*traffic->made));
	traffic->check = calloc(PLX_EMU_PAIRS, sizeof(*traffic->check));
	traffic->frame = calloc(1, emu->config.frame_size);
	if (!traffic->made || !traffic->check || !traffic->frame) {
		end(&traffic->peer);
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	}
	begin_frame(traffic);
	*peer = &traffic->peer;
	return 0;
}

int plx_emu_gen_open(struct plx_emu *emu, const char *none, struct plx_emu_peer **peer)
{
	(void)none;
	return traffic_open(emu, true, peer);
}

int plx_emu_sink_open(struct plx_emu *emu, const char *none, struct plx_emu_peer **peer)
{
	(void)none;
	return traffic_open(emu, false, peer);
}
