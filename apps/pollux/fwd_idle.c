/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* What a core does while nothing comes: see --idle. */

/*
 * Bounds of a sleep, in milliseconds. The first after a frame is short, since what was sent may
 * come back from the device meanwhile, which nothing interrupts for; each that ends in vain doubles
 * the next. The last is what an interrupt that never comes costs.
 */
#define FIRST_SLEEP 10
#define LAST_SLEEP  100

/*
 * Nanoseconds that adaptive polls on before it sleeps. Where sleeps turn out shorter than that,
 * they were not worth it, and it waits longer the next time.
 */
#define PATIENCE_LEAST 20000
#define PATIENCE_MOST  1000000

/* A sleep so many times longer than the patience before it was worth going to sooner. */
#define WORTH 8

const char *const fwd_idle_names[] = {"poll", "adaptive", "interrupt", NULL};

static uint64_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* --- the files that a core waits for --- */

static int watch(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	/* Queues may share an eventfd. */
	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) && errno != EEXIST ? -errno : 0;
}

static int no_wait(struct fwd *fwd, const struct fwd_core *core, int err)
{
	failure_take(&fwd->failure, err,
		make_text("core %u cannot wait for interrupts: %s: raise the limit of open files",
			core->number, strerror(-err)));
	return err;
}

static int watch_streams(struct fwd *fwd, const struct fwd_core *core)
{
	int err = 0;

	for (struct fwd_stream *stream = core->streams; !err && stream; stream = stream->next) {
		unsigned queue = (unsigned)(stream - fwd->stream) % fwd->options.queues;
		int fd = plx_eth_rx_event_fd(stream->in->eth, queue);

		if (fd < 0)
			return fd;
		err = watch(core->idle.epoll, fd, EPOLLIN | EPOLLET);
	}
	return err ? no_wait(fwd, core, err) : 0;
}

int fwd_idle_begin(struct fwd *fwd, struct fwd_core *core)
{
	struct fwd_idle *idle = &core->idle;

	if (fwd->options.idle == FWD_IDLE_POLL)
		return 0;
	idle->mode = fwd->options.idle;
	idle->epoll = epoll_create1(EPOLL_CLOEXEC);
	idle->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	idle->ending = false;
	idle->since = 0;
	idle->bound = FIRST_SLEEP;
	idle->patience = PATIENCE_LEAST;
	idle->in_vain = false;
	if (idle->epoll >= 0 && idle->wake >= 0 && !watch(idle->epoll, idle->wake, EPOLLIN))
		return watch_streams(fwd, core);
	return no_wait(fwd, core, -errno);
}

void fwd_idle_wake(struct fwd_core *core)
{
	struct fwd_idle *idle = &core->idle;

	if (idle->mode == FWD_IDLE_POLL)
		return;
	__atomic_store_n(&idle->ending, true, __ATOMIC_RELEASE);
	(void)eventfd_write(idle->wake, 1);
}

void fwd_idle_end(struct fwd_core *core)
{
	struct fwd_idle *idle = &core->idle;

	if (idle->mode == FWD_IDLE_POLL)
		return;
	(void)close(idle->epoll);
	(void)close(idle->wake);
	idle->mode = FWD_IDLE_POLL;
}

/* --- the rounds --- */

static void disarm(const struct fwd_core *core)
{
	for (struct fwd_stream *stream = core->streams; stream; stream = stream->next)
		plx_eth_rx_disarm(stream->rxq);
}

/*
 * Have all queues interrupt. Return: whether to sleep. What is wrong with a queue, its next burst
 * tells.
 */
static bool arm(const struct fwd_core *core)
{
	for (struct fwd_stream *stream = core->streams; stream; stream = stream->next) {
		/* What was sent goes back to its pool, and the device is reminded of the rest. */
		(void)plx_eth_tx_burst(stream->txq, NULL, 0);
		if (plx_eth_rx_arm(stream->rxq))
			return false;
	}
	return !__atomic_load_n(&core->idle.ending, __ATOMIC_ACQUIRE);
}

static void learn(struct fwd_idle *idle, uint64_t slept)
{
	if (slept < idle->patience)
		idle->patience *= 2;
	else if (slept > WORTH * idle->patience)
		idle->patience /= 2;
	if (idle->patience < PATIENCE_LEAST)
		idle->patience = PATIENCE_LEAST;
	if (idle->patience > PATIENCE_MOST)
		idle->patience = PATIENCE_MOST;
}

static void sleep_now(struct fwd_core *core)
{
	struct fwd_idle *idle = &core->idle;
	struct epoll_event event;
	uint64_t began = now();

	count(&idle->slept.sleeps);
	if (epoll_wait(idle->epoll, &event, 1, (int)idle->bound) > 0) {
		count(&idle->slept.wakeups);
		/* It is polled for a while from here on, whatever it was. */
		idle->since = 0;
		learn(idle, now() - began);
		return;
	}
	idle->in_vain = true;
	idle->bound = 2 * idle->bound < LAST_SLEEP ? 2 * idle->bound : LAST_SLEEP;
}

static void rest(struct fwd_core *core)
{
	struct fwd_idle *idle = &core->idle;

	if (idle->mode == FWD_IDLE_ADAPTIVE) {
		uint64_t time = now();

		if (!idle->since)
			idle->since = time;
		if (time - idle->since < idle->patience)
			return;
	}
	if (arm(core))
		sleep_now(core);
	disarm(core);
}

/* Frames were there when a sleep had ended by its bound: did nobody tell of them? */
static void look_for_missed(struct fwd_idle *idle)
{
	struct epoll_event event;

	if (epoll_wait(idle->epoll, &event, 1, 0) <= 0)
		count(&idle->slept.missed);
}

int fwd_idle_round(void *arg)
{
	struct fwd_core *core = arg;
	struct fwd_idle *idle = &core->idle;
	bool in_vain = idle->in_vain;
	int done = fwd_core_round(core);

	idle->in_vain = false;
	if (done < 0)
		return done;
	if (!done) {
		rest(core);
		return 0;
	}
	if (in_vain)
		look_for_missed(idle);
	idle->since = 0;
	idle->bound = FIRST_SLEEP;
	return done;
}
