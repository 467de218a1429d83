/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCHMARKS_BENCH_H
#define BENCHMARKS_BENCH_H

#include <argp.h>
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the programs that are compared have in common, whatever library each of them drives. */

/* Seconds by the monotonic clock. */
static inline double bench_now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Stay on @core from now on, or end the program. */
static inline void bench_pin(const char *program, unsigned core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		(void)fprintf(
			stderr, "%s: cannot stay on core %u: %s\n", program, core, strerror(errno));
		exit(1);
	}
}

/* What option @name was given: a number up to @max, or the program ends and says so. */
static inline unsigned bench_number(
	const char *name, const char *text, unsigned max, struct argp_state *state)
{
	char *rest;
	unsigned long value = strtoul(text, &rest, 10);

	if (rest == text || *rest || value > max)
		argp_error(
			state, "--%s=%s is not possible: give a number up to %u", name, text, max);
	return (unsigned)value;
}

/* The line of JSON by which benchmarks/run counts. */
static inline void bench_print(double seconds, uint64_t received, uint64_t sent)
{
	(void)printf("{\"seconds\":%.6f,\"received\":%llu,\"sent\":%llu}\n", seconds,
		(unsigned long long)received, (unsigned long long)sent);
	(void)fflush(stdout);
}

#endif
