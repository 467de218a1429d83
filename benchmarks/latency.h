/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCHMARKS_LATENCY_H
#define BENCHMARKS_LATENCY_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
 * How long frames are on their way, for both of the drivers that are compared. A frame carries when
 * it was due to be sent, and the mirror that sends it back writes when it had it; all by the cycle
 * counter, which is the same on every core. That it was due counts, and not that it went: who
 * cannot keep up is late for every frame after, and says so.
 */
#define LATENCY_FRAME 60
#define LATENCY_STAMP 16 /* offset of the stamp in the frame */

struct latency_stamp {
	uint64_t due;
	uint64_t turned; /* by the mirror; 0 before */
};

/* A histogram with 32 steps to each power of two, which is 3 %. */
#define LATENCY_STEPS   32
#define LATENCY_BUCKETS (64 * LATENCY_STEPS)

struct latency_spread {
	uint64_t bucket[LATENCY_BUCKETS];
	uint64_t count, most;
};

struct latency {
	uint64_t hertz;    /* of the cycle counter */
	uint64_t interval; /* cycles from one frame to the next, times 2^16; 0: as fast as can be */
	uint64_t from;     /* when the first frame is due */
	uint64_t to;       /* no frame is sent after that */
	uint64_t heard;    /* from when on frames count: what comes before is a warm-up */
	uint64_t sent, received;
	struct latency_spread out, back, round;
};

static inline void latency_start(
	struct latency *l, uint64_t hertz, double rate, double seconds, uint64_t now)
{
	memset(l, 0, sizeof(*l));
	l->hertz = hertz;
	l->interval = rate > 0 ? (uint64_t)((double)hertz * 65536 / rate) : 0;
	l->from = now + hertz / 100;
	l->heard = l->from + (uint64_t)(seconds * 0.1 * (double)hertz);
	l->to = l->from + (uint64_t)(seconds * (double)hertz);
}

/* How many frames should have been sent by now and were not, at the most @burst. */
static inline unsigned latency_due(const struct latency *l, uint64_t now, unsigned burst)
{
	uint64_t due;

	if (now < l->from || now >= l->to)
		return 0;
	if (!l->interval)
		return burst;
	due = (uint64_t)((unsigned __int128)(now - l->from) * 65536 / l->interval) + 1 - l->sent;
	return due < burst ? (unsigned)due : burst;
}

/* The frame number @ahead of those that are sent next. */
static inline void latency_stamp(
	const struct latency *l, uint8_t *frame, unsigned ahead, uint64_t now)
{
	uint64_t turn = (uint64_t)((unsigned __int128)(l->sent + ahead) * l->interval >> 16);
	struct latency_stamp stamp = {l->interval ? l->from + turn : now, 0};

	memcpy(frame + LATENCY_STAMP, &stamp, sizeof(stamp));
}

static inline void latency_add(struct latency_spread *spread, uint64_t cycles)
{
	unsigned power = 63 - (unsigned)__builtin_clzll(cycles | LATENCY_STEPS);
	unsigned step = (unsigned)(cycles >> (power - 5)) & (LATENCY_STEPS - 1);

	if (cycles < LATENCY_STEPS)
		spread->bucket[cycles]++;
	else
		spread->bucket[(power - 4) * LATENCY_STEPS + step]++;
	spread->count++;
	if (cycles > spread->most)
		spread->most = cycles;
}

static inline void latency_take(struct latency *l, const uint8_t *frame, uint64_t now)
{
	struct latency_stamp stamp;

	memcpy(&stamp, frame + LATENCY_STAMP, sizeof(stamp));
	l->received++;
	/* Counters of two cores may differ by a few cycles; nothing takes a negative time. */
	if (stamp.due < l->heard || now < stamp.turned || stamp.turned < stamp.due)
		return;
	latency_add(&l->out, stamp.turned - stamp.due);
	latency_add(&l->back, now - stamp.turned);
	latency_add(&l->round, now - stamp.due);
}

/* The least number of cycles that a share of all took at the most. */
static inline uint64_t latency_quantile(const struct latency_spread *spread, double share)
{
	uint64_t seen = 0, wanted = (uint64_t)((double)spread->count * share);

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		unsigned power = i / LATENCY_STEPS;

		seen += spread->bucket[i];
		if (seen > wanted || (seen == spread->count && seen))
			return power ? (uint64_t)(LATENCY_STEPS + i % LATENCY_STEPS) << (power - 1)
				     : i;
	}
	return 0;
}

static inline void latency_print_spread(
	const struct latency *l, const char *name, const struct latency_spread *spread)
{
	static const double shares[] = {0.5, 0.9, 0.99, 0.999};
	double nanosecond = 1e9 / (double)l->hertz;

	(void)printf(",\"%s\":{", name);
	for (unsigned i = 0; i < 4; i++)
		(void)printf("\"%g\":%.0f,", shares[i] * 100,
			(double)latency_quantile(spread, shares[i]) * nanosecond);
	(void)printf("\"most\":%.0f}", (double)spread->most * nanosecond);
}

/* One line of JSON; times in nanoseconds. */
static inline void latency_print(const struct latency *l)
{
	(void)printf("{\"seconds\":%.6f,\"sent\":%llu,\"received\":%llu",
		(double)(l->to - l->from) / (double)l->hertz, (unsigned long long)l->sent,
		(unsigned long long)l->received);
	latency_print_spread(l, "out", &l->out);
	latency_print_spread(l, "back", &l->back);
	latency_print_spread(l, "round", &l->round);
	(void)printf("}\n");
	(void)fflush(stdout);
}

#endif
