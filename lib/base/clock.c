/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/clock.h"

#include "base/barrier.h"

#include <errno.h>
#include <time.h>

#define LONGEST_PAUSE PLX_MILLISECONDS(1)

uint64_t plx_now(void)
{
	struct timespec now;

	/* Cannot fail: the clock exists on every Linux and the pointer is good. */
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void plx_sleep(uint64_t nanoseconds)
{
	struct timespec left = {
		.tv_sec = (time_t)(nanoseconds / 1000000000u),
		.tv_nsec = (long)(nanoseconds % 1000000000u),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

struct plx_wait plx_wait_for(uint64_t nanoseconds)
{
	return (struct plx_wait){.deadline = plx_now() + nanoseconds, .pause = 1};
}

bool plx_wait_again(struct plx_wait *wait)
{
	if (wait->over)
		return false;
	if (plx_now() >= wait->deadline) {
		wait->over = true;
		return true;
	}
	if (wait->pause < 1000)
		plx_cpu_relax();
	else
		plx_sleep(wait->pause);
	wait->pause = wait->pause * 2 < LONGEST_PAUSE ? wait->pause * 2 : LONGEST_PAUSE;
	return true;
}
