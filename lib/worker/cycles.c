/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/clock.h"

#include <pollux/worker.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define MEASURED_FOR PLX_MILLISECONDS(20)
#define SECOND       UINT64_C(1000000000)
#define HYPERVISOR   (1u << 31) /* CPUID leaf 1, ECX */

struct moment {
	uint64_t nanoseconds;
	uint64_t cycles;
};

/*
 * Both clocks at one moment, to within the few nanoseconds that the best of some tries takes: the
 * others were interrupted between the two.
 */
static struct moment read_both(void)
{
	struct moment best = {0};
	uint64_t shortest = UINT64_MAX;

	for (int i = 0; i < 16; i++) {
		uint64_t before = plx_cycles();
		uint64_t nanoseconds = plx_now();
		uint64_t after = plx_cycles();

		if (after - before < shortest) {
			shortest = after - before;
			best = (struct moment){nanoseconds, before + (after - before) / 2};
		}
	}
	return best;
}

static uint64_t measure(void)
{
	struct moment begin = read_both(), end;

	plx_sleep(MEASURED_FOR);
	end = read_both();
	return (uint64_t)((double)(end.cycles - begin.cycles) * SECOND /
			  (double)(end.nanoseconds - begin.nanoseconds));
}

/* The rate by the processor's own word, or 0 when it does not give one that can be relied on. */
static uint64_t ask_processor(void)
{
#if defined(__x86_64__)
	unsigned denominator, numerator, crystal, unused, features;

	/*
	 * Leaf 0x15 is exact when it is complete. A hypervisor may pass it through unchanged and
	 * yet scale the counter. Leaf 0x16 names the frequency of the core rounded to MHz, which is
	 * another.
	 */
	if (!__get_cpuid(1, &unused, &unused, &features, &unused) || features & HYPERVISOR)
		return 0;
	if (!__get_cpuid(0x15, &denominator, &numerator, &crystal, &unused) || !denominator)
		return 0;
	return (uint64_t)crystal * numerator / denominator;
#elif defined(__aarch64__)
	uint64_t rate;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(rate));
	return rate;
#else
	return SECOND; /* plx_cycles() counts nanoseconds */
#endif
}

uint64_t plx_cycles_per_second(void)
{
	/* A constant of the machine, found once: the only state of Pollux outside of a context. */
	static uint64_t rate;
	uint64_t known = __atomic_load_n(&rate, __ATOMIC_RELAXED), found;

	if (known)
		return known;
	found = ask_processor();
	if (!found)
		found = measure();
	/*
	 * Of threads that come at the same time the first decides, so that all get the same answer.
	 */
	if (__atomic_compare_exchange_n(
		    &rate, &known, found, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return found;
	return known;
}
