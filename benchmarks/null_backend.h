/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCHMARKS_NULL_BACKEND_H
#define BENCHMARKS_NULL_BACKEND_H

#include "virtio/vhost_user_reg.h"
#include "virtio/virtio_reg.h"

#include <stdbool.h>
#include <stdint.h>

#define RINGS 16

/* Memory of the front end; a bit for each cache line says whether a header was written there. */
struct region {
	uint64_t guest, user, size;
	uint8_t *base; /* where byte 0 of the region lies here */
	void *map;
	uint64_t map_size;
	uint8_t *written;
};

struct memory {
	unsigned count;
	struct region region[VHOST_USER_REGIONS];
};

struct ring {
	bool started, enabled;
	uint16_t size;
	/* Places as the front end gave them, and what they are here. */
	struct vhost_user_vring_address address;
	void *desc, *driver, *device;
	uint16_t avail, used; /* split: running free; packed: places */
	bool avail_wrap, used_wrap;
	uint64_t frames;
	int kick;
};

/* What all rings share. */
struct rings {
	uint64_t features;
	uint32_t frame_size;
	bool headers_always;
	bool mirror;       /* what is sent on a pair is received on it */
	bool stamp;        /* and says when it was turned back: see latency.h */
	double first_sent; /* when the front end sent its first frame; 0: not yet */
	struct memory memory;
	struct ring ring[RINGS];
};

static inline bool rings_have(const struct rings *rings, unsigned feature)
{
	return rings->features >> feature & 1;
}

/* Say that no notification is wanted. */
void ring_be_quiet(const struct rings *rings, struct ring *ring);

/* Complete all that is available. Return: buffers. */
unsigned ring_complete(struct rings *rings, unsigned index);

/* Move what is sent on a pair into buffers to receive. Return: frames. */
unsigned ring_mirror(struct rings *rings, unsigned pair);

#endif
