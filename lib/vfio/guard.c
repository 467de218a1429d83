/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/guard.h"

#include "base/bits.h"
#include "base/error.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * The one piece of state that belongs to the process and not to a context, as the handler of a
 * signal does. It is written under the lock, and read by the handler, which can take none: each
 * window has a count that is odd while it changes. A thread faults only in a window that was there
 * before its access, so one that is changing at that moment is none that the handler looks for.
 */
struct window {
	uint32_t changes;
	uintptr_t first; /* 0: it is free */
	uintptr_t end;
	bool *gone;
};

/* A queue may have a page of its own for its doorbell. What nobody uses of this costs nothing. */
#define WINDOWS 4096

static struct {
	pthread_mutex_t lock;
	unsigned users;
	unsigned used; /* windows below it may be in use */
	uintptr_t page;
	struct sigaction before;
	bool spent; /* atomic: that one was for a single signal, which has come */
	struct window window[WINDOWS];
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Return: the flag of the device that owns an address, NULL when none does. */
static bool *owner_of(uintptr_t address)
{
	unsigned used = __atomic_load_n(&guard.used, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; i < used; i++) {
		struct window *window = &guard.window[i];
		/* Before the fields: they are not older than this count. */
		uint32_t changes = __atomic_load_n(&window->changes, __ATOMIC_ACQUIRE);
		uintptr_t first = __atomic_load_n(&window->first, __ATOMIC_RELAXED);
		uintptr_t end = __atomic_load_n(&window->end, __ATOMIC_RELAXED);
		bool *gone = __atomic_load_n(&window->gone, __ATOMIC_RELAXED);

		/* And behind them: none of them is newer. */
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (first && address >= first && address < end && !(changes & 1) &&
			__atomic_load_n(&window->changes, __ATOMIC_RELAXED) == changes)
			return gone;
	}
	return NULL;
}

/*
 * No access of the thread's own: sent by somebody, or word from the kernel of broken memory that
 * nobody has asked for yet. It does not come again by itself.
 */
static bool is_sent(const siginfo_t *info)
{
	return info->si_code <= 0 || info->si_code == BUS_MCEERR_AO;
}

/*
 * In a handler of a signal nothing may be called that takes a lock. mmap() is a system call and no
 * more. Return: whether the access may be tried again.
 */
static bool replace(uintptr_t address)
{
	bool *gone = owner_of(address);
	void *page = (void *)(address & ~(guard.page - 1));

	if (!gone)
		return false;
	/* Whoever reads from the new page reads it after this, and so does not believe it. */
	__atomic_store_n(gone, true, __ATOMIC_SEQ_CST);
	return mmap(page, guard.page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/* As the kernel does, which asks for no flag: SIG_DFL and SIG_IGN may stand beside SA_SIGINFO. */
static bool is_handler(const struct sigaction *action)
{
	return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

/* Whether there was a handler before, and it is still to be called. */
static bool take_turn(void)
{
	const struct sigaction *before = &guard.before;

	if (!is_handler(before))
		return false;
	/* Of threads that fault at the same time one calls it, as the kernel has it. */
	return !(before->sa_flags & SA_RESETHAND) ||
	       !__atomic_exchange_n(&guard.spent, true, __ATOMIC_RELAXED);
}

/* As if this handler had not been there; what the kernel does for a handler is in our_action(). */
static void hand_on(int number, siginfo_t *info, void *context)
{
	const struct sigaction *before = &guard.before;
	struct sigaction none = {.sa_handler = SIG_DFL};

	if (take_turn()) {
		if (before->sa_flags & SA_SIGINFO)
			before->sa_sigaction(number, info, context);
		else
			before->sa_handler(number);
		return;
	}
	if (before->sa_handler == SIG_IGN && is_sent(info))
		return;
	/* The access is tried again, or the signal comes again, and ends the process. */
	(void)sigaction(number, &none, NULL);
	if (is_sent(info))
		(void)raise(number);
}

static void handle(int number, siginfo_t *info, void *context)
{
	int kept = errno;

	if (is_sent(info) || !replace((uintptr_t)info->si_addr))
		hand_on(number, info, context);
	errno = kept;
}

/*
 * What a handler asks of the kernel holds for those that it calls as well: the signals that wait
 * meanwhile, whether its own does, and what becomes of a system call. That it is called once only
 * is left out, since registers may vanish more often. It runs on the stack for signals of a thread
 * that has one, as languages with small stacks demand.
 */
static struct sigaction our_action(void)
{
	const struct sigaction *before = &guard.before;
	struct sigaction action = {
		.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

	if (!is_handler(before))
		return action;
	action.sa_mask = before->sa_mask;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | (before->sa_flags & (SA_RESTART | SA_NODEFER));
	return action;
}

static int install(void)
{
	struct sigaction action;
	int err;

	if (guard.users)
		return 0;
	guard.page = (uintptr_t)sysconf(_SC_PAGESIZE);
	__atomic_store_n(&guard.spent, false, __ATOMIC_RELAXED);
	/* Known before it may be needed: a fault may come as soon as the handler is there. */
	err = sigaction(SIGBUS, NULL, &guard.before);
	action = our_action();
	if (err || sigaction(SIGBUS, &action, NULL))
		return plx_fail(errno, "the guard cannot handle SIGBUS: %s", strerror(errno));
	return 0;
}

int plx_guard_install(void)
{
	int err;

	(void)pthread_mutex_lock(&guard.lock);
	err = install();
	if (!err)
		guard.users++;
	(void)pthread_mutex_unlock(&guard.lock);
	return err;
}

static int uninstall(void)
{
	struct sigaction now, none = {.sa_handler = SIG_DFL};

	if (!guard.users)
		return plx_fail(EINVAL, "there is no guard to remove: it was not installed");
	if (guard.users > 1)
		return 0;
	if (sigaction(SIGBUS, NULL, &now) || !(now.sa_flags & SA_SIGINFO) ||
		now.sa_sigaction != handle)
		return plx_fail(EBUSY,
			"the guard cannot go: another handler of SIGBUS was installed behind it, and "
			"has to be removed first");
	/* The kernel would have put the default in the place of one that was called once. */
	(void)sigaction(SIGBUS,
		__atomic_load_n(&guard.spent, __ATOMIC_RELAXED) ? &none : &guard.before, NULL);
	return 0;
}

int plx_guard_remove(void)
{
	int err;

	(void)pthread_mutex_lock(&guard.lock);
	err = uninstall();
	if (!err)
		guard.users--;
	(void)pthread_mutex_unlock(&guard.lock);
	return err;
}

/* --- windows --- */

static void change(struct window *window, uintptr_t first, uintptr_t end, bool *gone)
{
	__atomic_store_n(&window->changes, window->changes + 1, __ATOMIC_RELAXED);
	/* The odd count is seen before any new field. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&window->first, first, __ATOMIC_RELAXED);
	__atomic_store_n(&window->end, end, __ATOMIC_RELAXED);
	__atomic_store_n(&window->gone, gone, __ATOMIC_RELAXED);
	__atomic_store_n(&window->changes, window->changes + 1, __ATOMIC_RELEASE);
}

/* Return: the window that begins at an address, or with 0 a free one; NULL: there is none. */
static struct window *find(uintptr_t first)
{
	for (unsigned i = 0; i < guard.used; i++)
		if (guard.window[i].first == first)
			return &guard.window[i];
	if (first || guard.used == WINDOWS)
		return NULL;
	__atomic_store_n(&guard.used, guard.used + 1, __ATOMIC_RELEASE);
	return &guard.window[guard.used - 1];
}

bool plx_guard_watch(void *map, size_t len, bool *gone)
{
	struct window *window;

	(void)pthread_mutex_lock(&guard.lock);
	window = find(0);
	if (window)
		change(window, (uintptr_t)map, (uintptr_t)map + len, gone);
	(void)pthread_mutex_unlock(&guard.lock);
	return window;
}

void plx_guard_release(const void *map)
{
	struct window *window;

	(void)pthread_mutex_lock(&guard.lock);
	window = find((uintptr_t)map);
	if (window)
		change(window, 0, 0, NULL);
	(void)pthread_mutex_unlock(&guard.lock);
}
