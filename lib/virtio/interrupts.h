/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_INTERRUPTS_H
#define PLX_VIRTIO_INTERRUPTS_H

#include "virtio/virtio.h"

/*
 * Interrupts of a device, for drivers of every type: which vector is whose, and which eventfd.
 *
 * With a vector for each queue and one more, everything has its own. With fewer the queues share
 * those behind the first, which is that of configuration changes; a single one is for all. A queue
 * whose vector the device refuses falls back on the first. Where there are no vectors the line is
 * for all.
 *
 * Nobody reads the eventfds between a start and a stop: they count up, and each count wakes whoever
 * waits for an edge. So several threads can wait for one, and none takes away what is another's.
 */
struct plx_interrupts;

/*
 * plx_interrupts_create() - Make the eventfds; the device hears nothing of it.
 * @queues: how many are to interrupt
 * @step: from the index of one to that of the next; the first is 0
 *
 * Return: 0; -ENOTSUP when the device has neither vectors nor a line; -EMFILE; -ENOMEM.
 */
int plx_interrupts_create(struct plx_virtio *virtio, unsigned queues, unsigned step,
	struct plx_interrupts **interrupts);

/* While they are off. NULL is allowed. */
void plx_interrupts_destroy(struct plx_interrupts *interrupts);

/*
 * plx_interrupts_on() - Turn them on, and map configuration changes: after the features are settled
 * and before the queues are set up (virtio 1.4, 4.1.5.1.2).
 *
 * Return: 0; -errno of the transport.
 */
int plx_interrupts_on(struct plx_interrupts *interrupts);

/*
 * plx_interrupts_map() - Map a queue, each time before it is set up: a reset, also one of the queue
 * alone, undoes it.
 * @which: the queue, counted from 0
 *
 * Return: 0; -EPROTO when the device refuses it every vector; -errno of the transport.
 */
int plx_interrupts_map(struct plx_interrupts *interrupts, unsigned which);

/*
 * Forget what interrupted so far, on a device that has just gone live and before anything that may
 * be waited for is looked at. NULL is allowed.
 */
void plx_interrupts_forget(struct plx_interrupts *interrupts);

/* While there is a device; NULL is allowed, and so are interrupts that are off. */
void plx_interrupts_off(struct plx_interrupts *interrupts);

/* Before a queue that may sleep asks for its next interrupt: where there is a line, free it. */
void plx_interrupts_rearm(struct plx_interrupts *interrupts);

/*
 * The eventfd of the queue @which, counted from 0, and that of configuration changes. Return: -1
 * while they are off, or when the device refuses the latter.
 */
int plx_interrupts_queue_fd(const struct plx_interrupts *interrupts, unsigned which);
int plx_interrupts_config_fd(const struct plx_interrupts *interrupts);

#endif
