/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/barrier.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Devices that run by themselves. One thread works for all devices of a context, turn by turn: what
 * one of them sends another one takes in the same round, however few processors there are, and no
 * device outruns the others. It polls while there is something to do and for a moment afterwards,
 * then asks to be notified and sleeps until it is.
 *
 * Engines are found by memory, which is the context's own.
 */
#define BUDGET 64 /* buffers of a queue in one turn with the lock held */

/* Rounds without work before it sleeps. */
#define PATIENCE_LEAST 16
#define PATIENCE_MOST  256

struct plx_emu_engine {
	struct plx_emu_engine *next;
	const struct plx_mem *mem;
	unsigned users; /* devices that may ring, running or not */
	int doorbell;   /* eventfd that wakes the thread */
	bool asleep;    /* atomic */
	bool ending;    /* atomic */
	pthread_t thread;

	/* The thread holds it for a round and steps aside for callers that wait. */
	pthread_mutex_t lock;
	unsigned callers; /* atomic */
	struct plx_emu *devices;

	struct pollfd *poll; /* the doorbell, then whatever devices wait for */
	unsigned room;
};

static pthread_mutex_t engines_lock = PTHREAD_MUTEX_INITIALIZER;
static struct plx_emu_engine *engines;

static bool ending(const struct plx_emu_engine *engine)
{
	return __atomic_load_n(&engine->ending, __ATOMIC_ACQUIRE);
}

static void lock_engine(struct plx_emu_engine *engine)
{
	__atomic_add_fetch(&engine->callers, 1, __ATOMIC_RELAXED);
	(void)pthread_mutex_lock(&engine->lock);
	__atomic_sub_fetch(&engine->callers, 1, __ATOMIC_RELAXED);
}

static unsigned turn(struct plx_emu *emu, bool sleep)
{
	unsigned done;

	while (__atomic_load_n(&emu->callers, __ATOMIC_RELAXED))
		(void)sched_yield();
	(void)pthread_mutex_lock(&emu->lock);
	if (sleep)
		plx_emu_sleep(emu);
	done = plx_emu_work(emu, BUDGET);
	(void)pthread_mutex_unlock(&emu->lock);
	return done;
}

static unsigned round_of_turns(struct plx_emu_engine *engine, bool sleep)
{
	unsigned done = 0;

	while (__atomic_load_n(&engine->callers, __ATOMIC_RELAXED))
		(void)sched_yield();
	(void)pthread_mutex_lock(&engine->lock);
	for (struct plx_emu *emu = engine->devices; emu; emu = emu->next)
		done += turn(emu, sleep);
	(void)pthread_mutex_unlock(&engine->lock);
	return done;
}

uint64_t plx_emu_awaited(struct plx_emu *emu, int *fd)
{
	uint64_t due = UINT64_MAX;

	*fd = -1;
	(void)pthread_mutex_lock(&emu->lock);
	if (plx_emu_live(emu)) {
		if (emu->peer->ops->due)
			due = emu->peer->ops->due(emu->peer);
		if (emu->peer->ops->fd && plx_emu_net_can_receive(emu))
			*fd = emu->peer->ops->fd(emu->peer);
	}
	(void)pthread_mutex_unlock(&emu->lock);
	return due;
}

/* Only the thread itself touches the list of what it polls. */
static bool make_room(struct plx_emu_engine *engine, unsigned count)
{
	struct pollfd *grown;

	if (count <= engine->room)
		return true;
	grown = realloc(engine->poll, count * sizeof(*grown));
	if (!grown)
		return false;
	engine->poll = grown;
	engine->room = count;
	return true;
}

/* List what is waited for. Return: nanoseconds until a frame comes by itself. */
static uint64_t await(struct plx_emu_engine *engine, nfds_t *count)
{
	uint64_t due = UINT64_MAX;

	for (struct plx_emu *emu = engine->devices; emu; emu = emu->next) {
		int fd;
		uint64_t own = plx_emu_awaited(emu, &fd);

		due = MIN(due, own);
		if (fd < 0)
			continue;
		if (make_room(engine, (unsigned)*count + 1))
			engine->poll[(*count)++] = (struct pollfd){.fd = fd, .events = POLLIN};
		else
			due = MIN(due, PLX_MILLISECONDS(1));
	}
	return due;
}

/* Sleep until woken, or until a frame comes. */
static void doze(struct plx_emu_engine *engine)
{
	struct timespec time;
	eventfd_t value;
	nfds_t count = 1;
	uint64_t due;

	(void)pthread_mutex_lock(&engine->lock);
	due = await(engine, &count);
	(void)pthread_mutex_unlock(&engine->lock);
	time.tv_sec = (time_t)(due / 1000000000u);
	time.tv_nsec = (long)(due % 1000000000u);
	/* Interrupted or not, the queues are looked at next. */
	if (ppoll(engine->poll, count, due == UINT64_MAX ? NULL : &time, NULL) > 0 &&
		engine->poll[0].revents)
		(void)eventfd_read(engine->doorbell, &value);
}

static void *run(void *arg)
{
	struct plx_emu_engine *engine = arg;
	unsigned idle = 0, patience = PATIENCE_MOST;

	while (!ending(engine)) {
		if (round_of_turns(engine, false)) {
			if (idle)
				patience = MIN(2 * patience, PATIENCE_MOST);
			idle = 0;
			continue;
		}
		plx_cpu_relax();
		if (++idle < patience)
			continue;
		/* Waiting on the processor that the driver needs is in vain. */
		patience = MAX(patience / 2, PATIENCE_LEAST);
		__atomic_store_n(&engine->asleep, true, __ATOMIC_RELAXED);
		/*
		 * Whoever rings from here on sees the flag; what came before is found by this
		 * round.
		 */
		plx_barrier_full();
		if (!round_of_turns(engine, true) && !ending(engine))
			doze(engine);
		__atomic_store_n(&engine->asleep, false, __ATOMIC_RELAXED);
		idle = 0;
	}
	return NULL;
}

static void ring(struct plx_emu_engine *engine)
{
	(void)eventfd_write(engine->doorbell, 1);
}

void plx_emu_wake(struct plx_emu *emu)
{
	if (!emu->engine)
		return;
	/* The work is visible before it is read whether the thread sleeps. */
	plx_barrier_full();
	if (__atomic_load_n(&emu->engine->asleep, __ATOMIC_RELAXED))
		ring(emu->engine);
}

static int start_thread(struct plx_emu_engine *engine, const char *name)
{
	sigset_t all, before;
	int err;

	engine->ending = false;
	/* The application's signals are for its own threads. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&engine->thread, NULL, run, engine);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err ? plx_fail(err, "%s: no thread can be started", name) : 0;
}

static void free_engine(struct plx_emu_engine *engine)
{
	if (engine->doorbell >= 0)
		(void)close(engine->doorbell);
	(void)pthread_mutex_destroy(&engine->lock);
	free(engine->poll);
	free(engine);
}

static int make_engine(const struct plx_emu *emu, struct plx_emu_engine **made)
{
	struct plx_emu_engine *engine = calloc(1, sizeof(*engine));
	int err = 0;

	if (!engine)
		return plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	engine->mem = emu->mem;
	(void)pthread_mutex_init(&engine->lock, NULL);
	engine->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (engine->doorbell < 0)
		err = plx_fail(errno, "%s: no eventfd for its thread: %m", emu->vfio.name);
	else if (!make_room(engine, 1))
		err = plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
	if (err) {
		free_engine(engine);
		return err;
	}
	engine->poll[0] = (struct pollfd){.fd = engine->doorbell, .events = POLLIN};
	engine->next = engines;
	engines = *made = engine;
	return 0;
}

/* The engine of a context, a new one if need be. The list's lock is held. */
static int find_or_make(const struct plx_emu *emu, struct plx_emu_engine **found)
{
	for (*found = engines; *found; *found = (*found)->next)
		if ((*found)->mem == emu->mem)
			return 0;
	return make_engine(emu, found);
}

static void release(struct plx_emu_engine *engine)
{
	if (--engine->users)
		return;
	for (struct plx_emu_engine **at = &engines; *at; at = &(*at)->next)
		if (*at == engine) {
			*at = engine->next;
			break;
		}
	free_engine(engine);
}

int plx_emu_thread_start(struct plx_emu *emu)
{
	struct plx_emu_engine *engine;
	int err;

	(void)pthread_mutex_lock(&engines_lock);
	err = find_or_make(emu, &engine);
	if (err)
		goto out;
	engine->users++;
	if (!engine->devices)
		err = start_thread(engine, emu->vfio.name);
	if (err) {
		release(engine);
		goto out;
	}
	emu->engine = engine;
	lock_engine(engine);
	emu->next = engine->devices;
	engine->devices = emu;
	emu->running = true;
	(void)pthread_mutex_unlock(&engine->lock);
out:
	(void)pthread_mutex_unlock(&engines_lock);
	return err;
}

void plx_emu_thread_stop(struct plx_emu *emu)
{
	struct plx_emu_engine *engine = emu->engine;

	if (!emu->running)
		return;
	(void)pthread_mutex_lock(&engines_lock);
	lock_engine(engine);
	for (struct plx_emu **at = &engine->devices; *at; at = &(*at)->next)
		if (*at == emu) {
			*at = emu->next;
			break;
		}
	emu->running = false;
	(void)pthread_mutex_unlock(&engine->lock);
	if (!engine->devices) {
		__atomic_store_n(&engine->ending, true, __ATOMIC_RELEASE);
		ring(engine);
		(void)pthread_join(engine->thread, NULL);
	}
	(void)pthread_mutex_unlock(&engines_lock);
}

void plx_emu_thread_release(struct plx_emu *emu)
{
	if (!emu->engine)
		return;
	(void)pthread_mutex_lock(&engines_lock);
	release(emu->engine);
	(void)pthread_mutex_unlock(&engines_lock);
	emu->engine = NULL;
}
