/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* How often the main thread looks whether a worker has ended. */
#define LOOK_SECONDS 0.1

/* Wait for one of the held signals. Return: whether one came. */
static bool wait_signal(const sigset_t *held, double seconds)
{
	struct timespec time = {.tv_nsec = (long)(seconds * 1e9)};

	return sigtimedwait(held, NULL, &time) > 0;
}

static bool all_running(const struct fwd *fwd)
{
	for (unsigned i = 0; i < fwd->cores; i++)
		if (!plx_worker_running(fwd->core[i].worker))
			return false;
	return true;
}

static double earlier(double a, double b)
{
	return a < b ? a : b;
}

/*
 * Until time is up, a signal comes, a worker ends, or a device needs it. Return: whether it was one
 * of the last two.
 */
static bool watch(struct fwd *fwd, const sigset_t *held)
{
	const struct fwd_options *options = &fwd->options;
	double now = clock_seconds(), next = now + options->interval;
	struct fwd_live live;

	fwd_live_init(&live, options);
	live.last = now;
	for (;;) {
		double until = now + LOOK_SECONDS;

		if (options->seconds > 0)
			until = earlier(until, fwd->began + options->seconds);
		if (options->interval > 0)
			until = earlier(until, next);
		if (wait_signal(held, until > now ? until - now : 0))
			return false;
		if (!all_running(fwd) || fwd_supervise_look(fwd))
			return true;
		now = clock_seconds();
		if (options->seconds > 0 && now >= fwd->began + options->seconds)
			return false;
		if (options->interval > 0 && now >= next) {
			fwd_live_show(&live, fwd, now);
			next = now + options->interval;
		}
	}
}

static int start_workers(struct fwd *fwd)
{
	int err = 0;

	for (unsigned i = 0; !err && i < fwd->cores; i++) {
		struct fwd_core *core = &fwd->core[i];
		bool polls = fwd->options.idle == FWD_IDLE_POLL;

		err = fwd_idle_begin(fwd, core);
		if (!err)
			err = plx_worker_start(core->number,
				polls ? fwd_core_round : fwd_idle_round, core, &core->worker);
	}
	return err;
}

static void add_work(struct plx_worker_stats *sum, const struct plx_worker *worker)
{
	struct plx_worker_stats stats;

	plx_worker_get_stats(worker, &stats);
	sum->busy_cycles += stats.busy_cycles;
	sum->idle_cycles += stats.idle_cycles;
	sum->work += stats.work;
}

/* The sentence lies with the stream that ended its worker. */
static void note_stream_failure(struct fwd *fwd, const struct fwd_core *core, int err)
{
	for (struct fwd_stream *stream = core->streams; stream; stream = stream->next) {
		if (!stream->error)
			continue;
		failure_take(&fwd->failure, err, stream->error);
		stream->error = NULL;
	}
}

static void stop_workers(struct fwd *fwd)
{
	for (unsigned i = 0; i < fwd->cores; i++)
		if (fwd->core[i].worker)
			add_work(&fwd->work, fwd->core[i].worker);
	for (unsigned i = 0; i < fwd->cores; i++)
		fwd_idle_wake(&fwd->core[i]);
	for (unsigned i = 0; i < fwd->cores; i++) {
		int err = fwd->core[i].worker ? plx_worker_stop(fwd->core[i].worker) : 0;

		fwd->core[i].worker = NULL;
		fwd_idle_end(&fwd->core[i]);
		if (err)
			note_stream_failure(fwd, &fwd->core[i], err);
	}
}

static void settle_interval(struct fwd_options *options)
{
	if (options->interval < 0)
		options->interval = isatty(options->json ? STDERR_FILENO : STDOUT_FILENO) ? 1 : 0;
	if (options->quiet)
		options->interval = 0;
}

/* Return: 0 when it is over; -errno when the workers do not start, and then none runs. */
static int forward(struct fwd *fwd, const sigset_t *held)
{
	bool again = true, told = fwd->options.quiet;

	while (again) {
		int err = failure_note(&fwd->failure, start_workers(fwd));

		if (err) {
			stop_workers(fwd);
			return err;
		}
		if (!told)
			(void)fputs("pollux: forwarding\n", stderr);
		told = true;
		fwd->resumed = clock_seconds();
		again = watch(fwd, held);
		stop_workers(fwd);
		again = again && fwd_supervise_goes_on(fwd, held);
	}
	return 0;
}

/* Return: whether it came to run, so that there are figures to report. */
static bool run(struct fwd *fwd, const sigset_t *held)
{
	if (failure_note(&fwd->failure, plx_guard_install()) ||
		failure_note(&fwd->failure, fwd_ports_open(fwd)) ||
		failure_note(&fwd->failure, fwd_streams_create(fwd)) ||
		failure_note(&fwd->failure, fwd_streams_send_first(fwd)))
		return false;
	fwd->began = clock_seconds();
	if (forward(fwd, held))
		return false;
	fwd->seconds = clock_seconds() - fwd->began;
	fwd_stats_take(fwd);
	return true;
}

static void free_ports(struct fwd *fwd)
{
	for (unsigned i = 0; i < fwd->ports; i++) {
		free(fwd->port[i].rx_path);
		free(fwd->port[i].tx_path);
		(void)json_object_put(fwd->port[i].counters);
	}
	free(fwd->port);
}

int command_fwd(int argc, char **argv)
{
	struct fwd fwd = {0};
	sigset_t held;
	bool ran;

	fwd_options_read(&fwd.options, argc, argv);
	settle_interval(&fwd.options);
	hold_signals(&held);
	ran = run(&fwd, &held);
	fwd_streams_destroy(&fwd);
	fwd_ports_close(&fwd);
	if (ran)
		fwd_stats_report(&fwd);
	free_ports(&fwd);
	fwd_options_free(&fwd.options);
	return failure_end(&fwd.failure);
}
