/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/barrier.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>

/*
 * A device that runs by itself: its thread polls while there is something to do and for a moment
 * afterwards, then asks to be notified and sleeps until it is.
 */
#define BUDGET      64  /* buffers of a queue in one turn with the lock held */
#define IDLE_ROUNDS 256 /* turns without work before it sleeps */

static bool ending(const struct plx_emu *emu)
{
	return __atomic_load_n(&emu->ending, __ATOMIC_ACQUIRE);
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

/* Sleep until woken, or until a frame comes by itself. */
static void doze(struct plx_emu *emu)
{
	struct pollfd fd = {.fd = emu->doorbell, .events = POLLIN};
	uint64_t due;
	struct timespec time;
	eventfd_t value;

	(void)pthread_mutex_lock(&emu->lock);
	due = plx_emu_live(emu) && emu->peer->ops->due ? emu->peer->ops->due(emu->peer)
						       : UINT64_MAX;
	(void)pthread_mutex_unlock(&emu->lock);
	time.tv_sec = (time_t)(due / 1000000000u);
	time.tv_nsec = (long)(due % 1000000000u);
	/* Interrupted or not, the queues are looked at next. */
	if (ppoll(&fd, 1, due == UINT64_MAX ? NULL : &time, NULL) > 0)
		(void)eventfd_read(emu->doorbell, &value);
}

static void *run(void *arg)
{
	struct plx_emu *emu = arg;
	unsigned idle = 0;

	while (!ending(emu)) {
		if (turn(emu, false)) {
			idle = 0;
			continue;
		}
		plx_cpu_relax();
		if (++idle < IDLE_ROUNDS)
			continue;
		__atomic_store_n(&emu->asleep, 1, __ATOMIC_RELAXED);
		/* Whoever rings from here on sees the flag; what came before is found by this turn.
		 */
		plx_barrier_full();
		if (!turn(emu, true) && !ending(emu))
			doze(emu);
		__atomic_store_n(&emu->asleep, 0, __ATOMIC_RELAXED);
		idle = 0;
	}
	return NULL;
}

void plx_emu_wake(struct plx_emu *emu)
{
	/* The work is visible before it is read whether the thread sleeps. */
	plx_barrier_full();
	if (__atomic_load_n(&emu->asleep, __ATOMIC_RELAXED))
		(void)eventfd_write(emu->doorbell, 1);
}

int plx_emu_thread_start(struct plx_emu *emu)
{
	sigset_t all, before;
	int err;

	emu->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (emu->doorbell < 0)
		return plx_fail(errno, "%s: no eventfd for its thread: %m", emu->vfio.name);
	/* The application's signals are for its own threads. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&emu->thread, NULL, run, emu);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return plx_fail(err, "%s: no thread can be started", emu->vfio.name);
	emu->running = true;
	return 0;
}

void plx_emu_thread_stop(struct plx_emu *emu)
{
	if (!emu->running)
		return;
	__atomic_store_n(&emu->ending, true, __ATOMIC_RELEASE);
	(void)eventfd_write(emu->doorbell, 1);
	(void)pthread_join(emu->thread, NULL);
	emu->running = false;
}
