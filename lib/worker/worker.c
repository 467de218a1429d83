/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/counter.h"
#include "base/error.h"

#include <pollux/worker.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CORES_MAX  8192 /* the most that Linux counts; a single cpu_set_t ends at 1024 */
#define NAME_LEN   16   /* of a thread, with the closing zero */
#define CORES_TEXT 256

struct core_set {
	cpu_set_t part[CORES_MAX / CPU_SETSIZE];
};

/* Three lines: what is set once, what others write, and what only the worker writes. */
struct plx_worker {
	plx_worker_fn *fn;
	void *arg;
	unsigned core;
	pthread_t thread;
	sem_t started;
	int result; /* read after the thread has been joined */

	int stop __cache_aligned;

	struct plx_worker_stats stats __cache_aligned;
	int ended;
};

static bool has_core(const struct core_set *set, unsigned core)
{
	return core < CORES_MAX && CPU_ISSET_S(core, sizeof(set->part), set->part);
}

/*
 * Cores that were set aside for those who ask for them by number (isolcpus): they are in nobody's
 * mask. Without the file there are none.
 */
static void add_isolated_cores(struct core_set *allowed)
{
	FILE *file = fopen("/sys/devices/system/cpu/isolated", "re");
	char line[CORES_TEXT * 16];
	char *at = line;

	if (!file)
		return;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	(void)fclose(file);
	while (*at >= '0' && *at <= '9') {
		unsigned long first = strtoul(at, &at, 10);
		unsigned long last = *at == '-' ? strtoul(at + 1, &at, 10) : first;

		for (unsigned long core = first; core <= last && core < CORES_MAX; core++)
			CPU_SET_S(core, sizeof(allowed->part), allowed->part);
		at += *at == ',';
	}
}

/*
 * The cores that the process was given, by taskset or by its control group: those of its first
 * thread. Those of the caller belong to them too, in case the program has narrowed the first.
 */
static int allowed_cores(struct core_set *allowed)
{
	struct core_set own;

	memset(allowed, 0, sizeof(*allowed));
	memset(&own, 0, sizeof(own));
	if (sched_getaffinity(getpid(), sizeof(allowed->part), allowed->part) ||
		sched_getaffinity(0, sizeof(own.part), own.part))
		return plx_fail(EINVAL, "cannot learn which cores this process may use (%s)",
			strerror(errno));
	CPU_OR_S(sizeof(allowed->part), allowed->part, allowed->part, own.part);
	add_isolated_cores(allowed);
	return 0;
}

int plx_worker_cores(unsigned *cores, unsigned count)
{
	struct core_set allowed;
	unsigned found = 0;
	int err = allowed_cores(&allowed);

	if (err)
		return err;
	for (unsigned core = 0; core < CORES_MAX; core++) {
		if (!has_core(&allowed, core))
			continue;
		if (found < count)
			cores[found] = core;
		found++;
	}
	return (int)found;
}

/* "0-3,8": as taskset and the kernel write it. What does not fit @text is left out. */
static void format_cores(const struct core_set *set, char *text, size_t len)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned first = 0, last; first < CORES_MAX && used < len; first = last + 1) {
		last = first;
		if (!has_core(set, first))
			continue;
		while (has_core(set, last + 1))
			last++;
		used += (size_t)snprintf(text + used, len - used,
			first == last ? "%s%u" : "%s%u-%u", used ? "," : "", first, last);
	}
}

static int check_core(unsigned core)
{
	struct core_set allowed;
	char text[CORES_TEXT];
	int err = allowed_cores(&allowed);

	if (err || has_core(&allowed, core))
		return err;
	format_cores(&allowed, text, sizeof(text));
	return plx_fail(
		EINVAL, "a worker cannot run on core %u: this process may use %s", core, text);
}

static void account(struct plx_worker_stats *stats, int done, uint64_t cycles)
{
	plx_counter_add(&stats->rounds, 1);
	if (done > 0) {
		plx_counter_add(&stats->busy_cycles, cycles);
		plx_counter_add(&stats->work, (uint64_t)done);
	} else {
		plx_counter_add(&stats->idle_rounds, 1);
		plx_counter_add(&stats->idle_cycles, cycles);
	}
}

static void poll_until_stopped(struct plx_worker *worker)
{
	uint64_t begin = plx_cycles();

	while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED)) {
		int done = worker->fn(worker->arg);
		uint64_t end = plx_cycles();

		account(&worker->stats, done, end - begin);
		begin = end;
		if (done < 0) {
			worker->result = done;
			return;
		}
	}
}

static void *worker_main(void *arg)
{
	struct plx_worker *worker = arg;
	char name[NAME_LEN];

	/* A name is for people, so that one cut short is no failure, nor is none at all. */
	(void)snprintf(name, sizeof(name), "plx-worker-%u", worker->core);
	(void)pthread_setname_np(pthread_self(), name);
	(void)sem_post(&worker->started);
	poll_until_stopped(worker);
	/* What the function did before is visible to whoever sees that it ended. */
	__atomic_store_n(&worker->ended, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Affinity is part of the attributes, so that not one instruction runs elsewhere. */
static int create_thread(struct plx_worker *worker)
{
	struct core_set core;
	sigset_t all, before;
	pthread_attr_t attr;
	int err;

	memset(&core, 0, sizeof(core));
	CPU_SET_S(worker->core, sizeof(core.part), core.part);
	err = pthread_attr_init(&attr);
	if (err)
		return err;
	err = pthread_attr_setaffinity_np(&attr, sizeof(core.part), core.part);
	if (!err) {
		/* A thread inherits the mask of its creator, who gets its own back at once. */
		(void)sigfillset(&all);
		(void)pthread_sigmask(SIG_SETMASK, &all, &before);
		err = pthread_create(&worker->thread, &attr, worker_main, worker);
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	(void)pthread_attr_destroy(&attr);
	return err;
}

int plx_worker_start(unsigned core, plx_worker_fn *fn, void *arg, struct plx_worker **out)
{
	struct plx_worker *worker;
	int err = check_core(core);

	if (err)
		return err;
	worker = aligned_alloc(PLX_CACHE_LINE, sizeof(*worker));
	if (!worker)
		return plx_fail(ENOMEM, "out of memory for a worker");
	*worker = (struct plx_worker){.fn = fn, .arg = arg, .core = core};
	/* Cannot fail: the value is small. */
	(void)sem_init(&worker->started, 0, 0);
	err = create_thread(worker);
	if (err) {
		(void)sem_destroy(&worker->started);
		free(worker);
		return plx_fail(err, "cannot start a worker on core %u (%s)", core, strerror(err));
	}
	while (sem_wait(&worker->started))
		; /* interrupted by a signal */
	*out = worker;
	return 0;
}

int plx_worker_stop(struct plx_worker *worker)
{
	int result;

	if (!worker)
		return 0;
	if (pthread_equal(worker->thread, pthread_self()))
		return plx_fail(EDEADLK,
			"the worker on core %u cannot wait for its own end: return a negative "
			"errno from its function",
			worker->core);
	__atomic_store_n(&worker->stop, 1, __ATOMIC_RELAXED);
	/* Fails for a thread that is none or joined already, and neither is so. */
	(void)pthread_join(worker->thread, NULL);
	result = worker->result;
	(void)sem_destroy(&worker->started);
	free(worker);
	return result;
}

int plx_worker_running(const struct plx_worker *worker)
{
	return !__atomic_load_n(&worker->ended, __ATOMIC_ACQUIRE);
}

void plx_worker_get_stats(const struct plx_worker *worker, struct plx_worker_stats *stats)
{
	const struct plx_worker_stats *now = &worker->stats;

	*stats = (struct plx_worker_stats){0};
	stats->rounds = plx_counter_read(&now->rounds);
	stats->idle_rounds = plx_counter_read(&now->idle_rounds);
	stats->busy_cycles = plx_counter_read(&now->busy_cycles);
	stats->idle_cycles = plx_counter_read(&now->idle_cycles);
	stats->work = plx_counter_read(&now->work);
}
