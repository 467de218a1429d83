/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/interrupts.h"

#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "virtio/virtio_reg.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Everything that shares has this one: the line, or the vector of configuration changes. */
#define SHARED 0

struct plx_interrupts {
	struct plx_virtio *virtio;
	bool line; /* there are no vectors */
	bool on;
	bool config; /* changes of the configuration are notified of */
	unsigned queues;
	unsigned step;
	unsigned events;  /* eventfds */
	unsigned vectors; /* in use, each with the eventfd of its number */
	uint16_t *queue;  /* the eventfd of each */
	int32_t fd[];
};

static unsigned how_many(struct plx_virtio *virtio, unsigned queues, bool *line)
{
	const struct plx_virtio_transport *transport = virtio->transport;
	unsigned vectors = transport->vectors ? transport->vectors(virtio, line) : 0;

	if (vectors) {
		*line = false;
		return MIN(vectors, queues + 1);
	}
	return *line ? 1 : 0;
}

static int open_events(struct plx_interrupts *interrupts)
{
	for (unsigned i = 0; i < interrupts->events; i++)
		interrupts->fd[i] = -1;
	for (unsigned i = 0; i < interrupts->events; i++) {
		interrupts->fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (interrupts->fd[i] < 0)
			return plx_fail(errno,
				"%s: no eventfd for interrupts: %s: raise the limit of open files",
				interrupts->virtio->name, strerror(errno));
	}
	return 0;
}

int plx_interrupts_create(
	struct plx_virtio *virtio, unsigned queues, unsigned step, struct plx_interrupts **out)
{
	bool line = false;
	unsigned events = how_many(virtio, queues, &line);
	struct plx_interrupts *interrupts;
	int err;

	if (!events)
		return plx_fail(ENOTSUP,
			"%s: the device has no interrupts, neither MSI-X vectors nor a line: poll it",
			virtio->name);
	interrupts = calloc(1, sizeof(*interrupts) + events * sizeof(*interrupts->fd));
	if (!interrupts)
		return plx_fail(ENOMEM, "%s: out of memory for interrupts", virtio->name);
	interrupts->virtio = virtio;
	interrupts->line = line;
	interrupts->queues = queues;
	interrupts->step = step;
	interrupts->events = events;
	err = open_events(interrupts);
	if (!err) {
		interrupts->queue = calloc(queues, sizeof(*interrupts->queue));
		if (!interrupts->queue)
			err = plx_fail(ENOMEM, "%s: out of memory for interrupts", virtio->name);
	}
	if (err) {
		plx_interrupts_destroy(interrupts);
		return err;
	}
	*out = interrupts;
	return 0;
}

void plx_interrupts_destroy(struct plx_interrupts *interrupts)
{
	if (!interrupts)
		return;
	for (unsigned i = 0; i < interrupts->events; i++)
		if (interrupts->fd[i] >= 0)
			(void)close(interrupts->fd[i]);
	free(interrupts->queue);
	free(interrupts);
}

void plx_interrupts_forget(struct plx_interrupts *interrupts)
{
	eventfd_t count;

	for (unsigned i = 0; interrupts && i < interrupts->events; i++)
		(void)eventfd_read(interrupts->fd[i], &count);
}

/* A host that is short of vectors may still have one. */
static int take_vectors(struct plx_interrupts *interrupts)
{
	struct plx_virtio *virtio = interrupts->virtio;
	int err;

	interrupts->vectors = interrupts->events;
	err = virtio->transport->set_vectors(virtio, interrupts->vectors, interrupts->fd);
	if (!err || interrupts->vectors == 1)
		return err;
	interrupts->vectors = 1;
	return virtio->transport->set_vectors(virtio, interrupts->vectors, interrupts->fd);
}

int plx_interrupts_map(struct plx_interrupts *interrupts, unsigned which)
{
	unsigned others = interrupts->vectors - 1;
	uint16_t vector = others ? (uint16_t)(1 + which % others) : SHARED;
	struct plx_virtio *virtio = interrupts->virtio;
	uint16_t index = (uint16_t)(which * interrupts->step);
	uint16_t got;

	if (interrupts->line)
		return 0;
	got = virtio->transport->map_queue(virtio, index, vector);
	if (got != vector && vector != SHARED) {
		vector = SHARED;
		got = virtio->transport->map_queue(virtio, index, vector);
	}
	interrupts->queue[which] = vector;
	if (got == vector)
		return 0;
	if (plx_virtio_fault(virtio))
		return plx_virtio_fault(virtio);
	return plx_fail(EPROTO,
		"%s: the device refuses to interrupt for queue %u (virtio 1.4, 4.1.5.1.2): do without "
		"interrupts, and poll it",
		virtio->name, index);
}

int plx_interrupts_on(struct plx_interrupts *interrupts)
{
	struct plx_virtio *virtio = interrupts->virtio;
	int err;

	interrupts->on = true;
	memset(interrupts->queue, 0, interrupts->queues * sizeof(*interrupts->queue));
	if (interrupts->line) {
		interrupts->config = true;
		err = virtio->transport->set_line(virtio, interrupts->fd[SHARED]);
	} else {
		err = take_vectors(interrupts);
		if (!err)
			interrupts->config =
				virtio->transport->map_config(virtio, SHARED) == SHARED;
	}
	if (err)
		plx_interrupts_off(interrupts);
	return err;
}

void plx_interrupts_off(struct plx_interrupts *interrupts)
{
	struct plx_virtio *virtio;

	if (!interrupts || !interrupts->on)
		return;
	virtio = interrupts->virtio;
	interrupts->on = false;
	/* A device that is gone cannot be told, and need not be. */
	if (interrupts->line)
		(void)virtio->transport->set_line(virtio, -1);
	else
		(void)virtio->transport->set_vectors(virtio, 0, NULL);
}

void plx_interrupts_rearm(struct plx_interrupts *interrupts)
{
	if (interrupts->line)
		interrupts->virtio->transport->rearm_line(interrupts->virtio);
}

int plx_interrupts_queue_fd(const struct plx_interrupts *interrupts, unsigned which)
{
	return interrupts->on ? interrupts->fd[interrupts->queue[which]] : -1;
}

int plx_interrupts_config_fd(const struct plx_interrupts *interrupts)
{
	return interrupts->on && interrupts->config ? interrupts->fd[SHARED] : -1;
}
