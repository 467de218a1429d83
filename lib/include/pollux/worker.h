/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_WORKER_H
#define POLLUX_WORKER_H

#include <pollux/error.h>
#include <stdint.h>

/**
 * @file
 * Workers: threads pinned to one core that call a function over and over until told to stop, and
 * account for every cycle as busy or idle. Using them is a choice; every other call of Pollux works
 * from any thread.
 */

#ifdef __cplusplus
extern "C" {
#endif

struct plx_worker;

/**
 * typedef plx_worker_fn - One round of a worker's work; runs to completion.
 *
 * A round that found nothing may sleep, with a bound, before it returns 0: its sleep is idle time.
 * Who does that wakes it before plx_worker_stop(), which waits for the round's end.
 *
 * Return: What was done: the number of packets or requests handled. 0 counts the round as idle. A
 * negative errno ends the worker.
 */
typedef int plx_worker_fn(void *arg);

/** What a worker did so far. */
struct plx_worker_stats {
	uint64_t rounds;      /**< calls of the function */
	uint64_t idle_rounds; /**< those that had nothing to do */
	uint64_t busy_cycles; /**< cycles of rounds that did something */
	uint64_t idle_cycles; /**< cycles of rounds that did not */
	uint64_t work;        /**< sum of what the function returned */
	uint64_t spare[4];    /**< zeros: room for what a later version tells */
};

/**
 * plx_worker_start() - Start a thread on a core.
 * @core: the number of the core, as in /proc/cpuinfo
 * @fn: the round
 * @arg: handed to @fn
 * @worker: receives the worker; owned by the caller
 *
 * Blocks until the thread runs on its core. The thread has all signals blocked: they stay the
 * program's business.
 *
 * Which cores may be used is said by plx_worker_cores().
 *
 * Return: 0; -EINVAL when there is no such core or the process may not use it, with the cores that
 * may be used in plx_error(); -ENOMEM; -EAGAIN.
 */
PLX_API int plx_worker_start(
	unsigned core, plx_worker_fn *fn, void *arg, struct plx_worker **worker);

/**
 * plx_worker_cores() - Tell which cores workers may be started on.
 * @cores: receives their numbers in rising order, as far as there is room
 * @count: how many there is room for
 *
 * Those that the process' first thread or the caller has in its affinity mask, so a program that
 * pins its own threads asks, and starts its workers, first; and those that were set aside by
 * isolcpus, which are in nobody's mask. A control group may still keep the process from a core of
 * these. Any thread may call; reads a file.
 *
 * Return: How many there are in all; -EINVAL when the kernel does not tell.
 */
PLX_API int plx_worker_cores(unsigned *cores, unsigned count);

/**
 * plx_worker_stop() - Ask a worker to end after its present round, wait for it, and free it.
 * @worker: the worker, or NULL
 *
 * Any thread but the worker's own may call, once.
 *
 * Return: 0, or the negative errno with which the function ended the worker; -EDEADLK when the
 * worker itself calls, and then nothing has changed.
 */
PLX_API int plx_worker_stop(struct plx_worker *worker);

/**
 * plx_worker_running() - Tell whether a worker still runs.
 * @worker: the worker
 *
 * Any thread may call; never blocks.
 *
 * Return: 1 while it runs, 0 once its function has ended it.
 */
PLX_API int plx_worker_running(const struct plx_worker *worker);

/**
 * plx_worker_get_stats() - Tell what a worker did so far.
 * @worker: the worker
 * @stats: receives the figures, each of them exact for some moment during the call
 *
 * Any thread may call; does not disturb the worker.
 */
PLX_API void plx_worker_get_stats(const struct plx_worker *worker, struct plx_worker_stats *stats);

/**
 * plx_cycles_per_second() - The rate of the counter behind all cycle figures.
 *
 * Any thread may call. The first call blocks while the rate is measured.
 *
 * Return: Cycles in a second.
 */
PLX_API uint64_t plx_cycles_per_second(void);

#ifdef __cplusplus
}
#endif

#endif
