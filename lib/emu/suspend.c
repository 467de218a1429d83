/* SPDX-License-Identifier: BSD-3-Clause */
#include "emu/emu_priv.h"

/*
 * Suspend (virtio 1.4, 3.4): the device stands still with what it was given, clears DRIVER_OK to
 * say so, and clears SUSPEND when it has gone on.
 */

bool plx_emu_may_suspend(const struct plx_emu *emu, uint8_t status)
{
	return (status & VIRTIO_STATUS_DRIVER_OK) && plx_emu_accepted(emu, VIRTIO_F_SUSPEND);
}

/* What is available now may be used later; what comes now breaks a rule. */
void plx_emu_suspend(struct plx_emu *emu)
{
	for (unsigned i = 0; i < emu->queues; i++) {
		struct plx_emu_queue *queue = &emu->queue[i];

		if (!queue->enabled || queue->broken)
			continue;
		__atomic_store_n(&queue->awake, 1, __ATOMIC_RELAXED);
		plx_emu_queue_notice(queue);
	}
}

void plx_emu_resume(struct plx_emu *emu)
{
	for (unsigned i = 0; i < emu->queues; i++) {
		struct plx_emu_queue *queue = &emu->queue[i];

		if (!queue->enabled || queue->broken)
			continue;
		if (queue->ring->arm(queue))
			plx_emu_report(emu, "SUSPEND-3",
				"buffers were made available in queue %u while it was suspended",
				i);
		queue->armed = true;
		__atomic_store_n(&queue->awake, 1, __ATOMIC_RELAXED);
	}
}
