/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_BASE_CLOCK_H
#define PLX_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t plx_now(void);

/* Sleep without being hurried by signals. */
void plx_sleep(uint64_t nanoseconds);

/* The CPU's steady cycle counter: cheap to read, the same rate on every core. */
static inline uint64_t plx_cycles(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t value;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
	return value;
#else
	return plx_now();
#endif
}

/*
 * A bounded wait:
 *
 *     struct plx_wait wait = plx_wait_for(PLX_MILLISECONDS(100));
 *     while (!done())
 *             if (!plx_wait_again(&wait))
 *                     return plx_fail(ETIMEDOUT, ...);
 *
 * It spins for the first tries and then sleeps longer and longer, up to a millisecond a time. The
 * condition is always looked at once more after the deadline has passed.
 */
struct plx_wait {
	uint64_t deadline;
	uint64_t pause;
	bool over;
};

#define PLX_MILLISECONDS(n) ((uint64_t)(n)*1000000u)

struct plx_wait plx_wait_for(uint64_t nanoseconds);
bool plx_wait_again(struct plx_wait *wait);

#endif
