/* SPDX-License-Identifier: BSD-3-Clause */
#include "fwd.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * What becomes of a device that breaks, is gone or is wanted back while frames move. The workers
 * are stopped first, since no thread may be in a burst of a device that is brought back.
 */

/* Seconds between two tries, doubled from the first on. */
#define FIRST_WAIT 0.01
#define LAST_WAIT  1.0

/* Seconds of frames after which a device is well: one that breaks sooner is tried on, not anew. */
#define RUNS_WELL 1.0

#define TROUBLE                                                                                    \
	(PLX_ETH_EVENT_NEEDS_RESET | PLX_ETH_EVENT_GONE | PLX_ETH_EVENT_BROKEN |                   \
		PLX_ETH_EVENT_WANTED)

static const char *what_happened(int events)
{
	if (events & PLX_ETH_EVENT_WANTED)
		return "the kernel wants the device back, to unplug it or for another driver";
	if (events & PLX_ETH_EVENT_GONE)
		return "the device is gone";
	if (events & PLX_ETH_EVENT_NEEDS_RESET)
		return "the device asks for a reset";
	return "the device broke a queue";
}

static void look_at(struct fwd_port *port)
{
	struct plx_eth_link link;
	int events = plx_eth_poll_events(port->eth);

	if (events < 0)
		return;
	port->events |= events & TROUBLE;
	if (events & PLX_ETH_EVENT_LINK && !plx_eth_get_link(port->eth, &link) && !link.up)
		port->lost_links++;
}

bool fwd_supervise_look(struct fwd *fwd)
{
	/* The thread that polls the queues finds the rest, and says which queue it was. */
	int grave = fwd->options.recover ? TROUBLE : PLX_ETH_EVENT_WANTED;
	bool any = false;

	for (unsigned i = 0; i < fwd->ports; i++) {
		look_at(&fwd->port[i]);
		any |= (fwd->port[i].events & grave) != 0;
	}
	return any;
}

/* --- one port --- */

/* Whether it may come back as another device, at the same place. */
static bool is_pci(const struct fwd_port *port)
{
	const char *name = port->name;

	return strlen(name) >= 12 && name[strlen(name) - 2] == '.' &&
	       name[strlen(name) - 5] == ':' && isxdigit((unsigned char)name[0]);
}

static void direct_streams(struct fwd *fwd, const struct fwd_port *port)
{
	unsigned queues = fwd->options.queues;

	for (unsigned i = 0; i < fwd->stream_count; i++) {
		struct fwd_stream *stream = &fwd->stream[i];

		if (stream->in == port)
			stream->rxq = plx_eth_rxq(port->eth, i % queues);
		if (stream->out == port) {
			stream->txq = plx_eth_txq(port->eth, i % queues);
			stream->offloads = port->info.offloads;
			memcpy(stream->addresses + 6, port->info.mac, 6);
		}
	}
}

/* As another device, which the same address leads to. */
static int replace(struct fwd *fwd, struct fwd_port *port)
{
	int err;

	if (port->eth)
		fwd_stats_keep(port);
	plx_eth_close(port->eth);
	port->eth = NULL;
	port->started = false;
	port->undirected = true;
	err = fwd_port_reopen(fwd, port);
	if (err)
		return err;
	direct_streams(fwd, port);
	port->undirected = false;
	return 0;
}

static int try_once(struct fwd *fwd, struct fwd_port *port)
{
	int err = -ENODEV;

	if (port->eth && !port->undirected && !(port->events & PLX_ETH_EVENT_WANTED)) {
		err = plx_eth_reset(port->eth);
		port->started = !err;
	}
	if (err && is_pci(port) &&
		(!port->eth || port->events & (PLX_ETH_EVENT_GONE | PLX_ETH_EVENT_WANTED)))
		err = replace(fwd, port);
	return err;
}

static void tell(const struct fwd *fwd, const struct fwd_port *port, const char *what)
{
	if (!fwd->options.quiet)
		(void)fprintf(stderr, "pollux: recover: %s: %s\n", port->name, what);
}

/* Return: whether there is still time, and no signal came. */
static bool pause_for(const struct fwd *fwd, const sigset_t *held, double seconds)
{
	double over = fwd->options.seconds > 0 ? fwd->began + fwd->options.seconds : 0;
	double left = over > 0 ? over - clock_seconds() : seconds;
	struct timespec time;

	if (left < seconds)
		seconds = left > 0 ? left : 0;
	time.tv_sec = (time_t)seconds;
	time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
	return sigtimedwait(held, NULL, &time) < 0 && (over <= 0 || clock_seconds() < over);
}

static double wait_before(const struct fwd_port *port)
{
	double wait = FIRST_WAIT;

	for (unsigned i = 1; i < port->tries && wait < LAST_WAIT; i++)
		wait *= 2;
	return wait < LAST_WAIT ? wait : LAST_WAIT;
}

static void tell_back(const struct fwd *fwd, const struct fwd_port *port, double began)
{
	char *line = make_text(
		"back after %.0f ms, at try %u", (clock_seconds() - began) * 1e3, port->tries);

	tell(fwd, port, line);
	free(line);
}

static char *explain(const struct fwd *fwd, const struct fwd_port *port)
{
	if (port->tries < fwd->options.recover)
		return make_text("%s: %s, and the run ended before it was brought back", port->name,
			what_happened(port->events));
	return make_text(
		"%s: %s, %.2f s after try %u brought it back: look into what breaks it, or allow more tries by --recover=TRIES",
		port->name, what_happened(port->events), port->ran, port->tries);
}

/*
 * A device that comes back and breaks at once is no better than one that does not come back: the
 * tries go on where they were. Return: 0; -errno with a failure noted.
 */
static int recover(struct fwd *fwd, struct fwd_port *port, const sigset_t *held)
{
	double began = clock_seconds();
	int err = 0;

	/* Somebody's wish is no break, and is not kept waiting. */
	if (port->ran >= RUNS_WELL || port->events & PLX_ETH_EVENT_WANTED)
		port->tries = 0;
	while (port->tries < fwd->options.recover &&
		(!port->tries || pause_for(fwd, held, wait_before(port)))) {
		bool first = !err;

		port->tries++;
		err = try_once(fwd, port);
		if (!err) {
			port->resets++;
			port->events = 0;
			port->ran = 0;
			tell_back(fwd, port, began);
			return 0;
		}
		/* It is told once why there is more than one try. */
		if (first && port->tries < fwd->options.recover)
			tell(fwd, port, plx_error());
	}
	if (err)
		return failure_note(&fwd->failure, err);
	failure_take(&fwd->failure, -EIO, explain(fwd, port));
	return -EIO;
}

/* --- all of them --- */

/* A worker that ended knows of a fault that no event tells: then it may be any port's. */
static void blame(struct fwd *fwd)
{
	int events = 0;

	for (unsigned i = 0; i < fwd->ports; i++) {
		look_at(&fwd->port[i]);
		events |= fwd->port[i].events;
	}
	for (unsigned i = 0; !events && i < fwd->ports; i++)
		fwd->port[i].events = PLX_ETH_EVENT_BROKEN;
}

bool fwd_supervise_goes_on(struct fwd *fwd, const sigset_t *held)
{
	struct failure failure = fwd->failure;
	double ran = clock_seconds() - fwd->resumed;
	bool on = true;

	if (fwd->options.recover) {
		fwd->failure = (struct failure){0};
		blame(fwd);
	}
	for (unsigned i = 0; on && i < fwd->ports; i++) {
		struct fwd_port *port = &fwd->port[i];

		port->ran += ran;
		if (!port->events)
			continue;
		if (fwd->options.recover) {
			tell(fwd, port, what_happened(port->events));
			on = !recover(fwd, port, held);
		} else if (port->events & PLX_ETH_EVENT_WANTED) {
			failure_take(&fwd->failure, -ENODEV,
				make_text("%s: %s", port->name, what_happened(port->events)));
			on = false;
		}
	}
	if (!fwd->options.recover)
		return false;
	free(failure.sentence);
	return on;
}
