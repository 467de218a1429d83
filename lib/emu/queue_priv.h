/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_EMU_QUEUE_PRIV_H
#define PLX_EMU_QUEUE_PRIV_H

#include "emu/emu.h"
#include "virtio/virtio_reg.h"

/* A queue from the device's side, and what the ring layouts differ in. */

/* A buffer as the driver made it available: one descriptor chain or list. */
struct plx_emu_buffer {
	uint64_t readable; /* bytes that the device may read */
	uint64_t writable;
	uint64_t digest; /* of an indirect table, to see that it stays as it was */
	uint16_t id;     /* split: the head of the chain; packed: the buffer ID */
	uint16_t first;  /* packed: where the copies of its descriptors begin */
	uint16_t slot;   /* split: of the available ring; packed: of the descriptor ring */
	uint16_t slots;  /* descriptors of the ring in it */
	bool bad;        /* broken in a way that the ring survives: it comes back unused */
};

/* A piece of a buffer in this process; without address when it must not be touched. */
struct plx_emu_part {
	uint8_t *address;
	uint32_t len;
	bool write;
};

/* A descriptor in private memory. */
struct plx_emu_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t link; /* split: next; packed: id */
};

struct plx_emu_queue;
struct plx_emu_walk;

/* What the ring layouts differ in. */
struct plx_emu_ring_ops {
	/* Find the ring in memory and start from its beginning. Return: whether it can be used. */
	bool (*start)(struct plx_emu_queue *queue);
	/* Take notice of what was made available. Return: how far the ring moved on. */
	uint32_t (*notice)(struct plx_emu_queue *queue);
	/* Visit the descriptors of a buffer, and those of its indirect table. */
	void (*walk)(struct plx_emu_walk *walk);
	/* See whether the driver left alone what it exposed (virtio 1.4, 3.2.1 and 3.3). */
	void (*check_untouched)(struct plx_emu_queue *queue, const struct plx_emu_buffer *buffer);
	/* Write down that a buffer is used; the driver need not see it yet. */
	void (*use)(struct plx_emu_queue *queue, const struct plx_emu_buffer *buffer, uint32_t len);
	/* Let the driver see it. Return: whether it wants to be interrupted. */
	bool (*publish)(struct plx_emu_queue *queue);
	/* How far the ring must move on until @next, as a notification named it, is the next. */
	uint32_t (*ahead)(const struct plx_emu_queue *queue, uint16_t next);
	/* Ask for notifications. Return: whether more has been made available meanwhile. */
	bool (*arm)(struct plx_emu_queue *queue);
	/* Notifications are not needed while the device looks by itself. */
	void (*disarm)(struct plx_emu_queue *queue);
};

extern const struct plx_emu_ring_ops plx_emu_split_ops;
extern const struct plx_emu_ring_ops plx_emu_packed_ops;

/* Completions of an in-order queue for which no used entry is written yet. */
struct plx_emu_batch {
	uint16_t buffers;
	uint16_t slots; /* packed: descriptors of the ring in them */
	uint16_t id;
	uint32_t len;
};

struct plx_emu_split {
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;
	struct plx_shared16 *used_event;
	struct plx_shared16 *avail_event;
	uint16_t seen;      /* available entries noticed */
	uint16_t returned;  /* used entries written */
	uint16_t published; /* used entries that the driver was told of */
	uint16_t expected;  /* in order: the head that comes next */
};

#define PLX_EMU_IDS_SIZE (65536 / 8)

struct plx_emu_packed {
	struct virtq_packed_desc *ring;
	const struct virtq_packed_event *driver_event;
	struct virtq_packed_event *device_event;
	uint32_t seen;        /* position behind what was noticed */
	uint32_t returned;    /* behind what was used */
	uint32_t published;   /* behind what the driver was told of */
	uint16_t first_flags; /* of the first used descriptor that is not published */
	uint16_t free;        /* first of the snapshots that are not taken */
	uint16_t *next;       /* which snapshot follows: of the same buffer, or not taken either */
	uint8_t *ids;         /* a bit for each buffer ID that is exposed */
};

struct plx_emu_queue {
	struct plx_emu *emu;
	uint16_t index;

	/* Registers. */
	uint16_t size;
	uint16_t vector;
	bool enabled;      /* atomic: kicks look at it */
	bool reset_unread; /* reset by itself, and the driver has not seen the end of it */
	bool vector_unread;
	uint8_t written; /* which addresses since the reset, PLX_EMU_WROTE_* */
	uint64_t desc_addr;
	uint64_t driver_addr;
	uint64_t device_addr;

	uint8_t awake; /* atomic: the driver notified, and the device still looks by itself */
	uint32_t told; /* atomic: PLX_EMU_TOLD and what the last notification said of the ring */
	bool broken;   /* not touched again until reset */
	bool held;
	bool armed;

	const struct plx_emu_ring_ops *ring;
	struct plx_emu_buffer *waiting; /* a ring of mask + 1 */
	uint32_t mask;
	uint32_t first;
	uint32_t count;
	uint32_t exposed;              /* descriptors of the ring in them */
	struct plx_emu_desc *snapshot; /* exposed descriptors as they were when noticed */
	uint16_t *
		owner; /* split: head + 1 of the chain that a descriptor is in; packed: snapshot + 1
			*/
	struct plx_emu_part *part;
	struct plx_emu_batch batch;
	struct plx_emu_split split;
	struct plx_emu_packed packed;
};

#define PLX_EMU_TOLD 0x10000u

#define PLX_EMU_WROTE_DESC   0x03 /* low and high half */
#define PLX_EMU_WROTE_DRIVER 0x0c
#define PLX_EMU_WROTE_DEVICE 0x30
#define PLX_EMU_WROTE_ALL    0x3f

/* queue.c */
int plx_emu_queue_init(struct plx_emu_queue *queue, struct plx_emu *emu, uint16_t index);
void plx_emu_queue_fini(struct plx_emu_queue *queue);
void plx_emu_queue_reset(struct plx_emu_queue *queue);
void plx_emu_queue_enable(struct plx_emu_queue *queue);
/* Whether a queue at rest, of which nothing was noticed yet, holds buffers. */
bool plx_emu_queue_filled(struct plx_emu_queue *queue);
/* The driver broke the ring beyond repair. */
void plx_emu_queue_break(struct plx_emu_queue *queue);
/* Whether the queue may be worked on now: it holds buffers, or may be looked at for more. */
bool plx_emu_queue_ready(const struct plx_emu_queue *queue);
/* Look at what was made available, if the driver notified. */
void plx_emu_queue_notice(struct plx_emu_queue *queue);
/* Add a buffer to those that wait. */
void plx_emu_queue_add(struct plx_emu_queue *queue, const struct plx_emu_buffer *buffer);
/* The next buffer to be used, which stays where it is until plx_emu_queue_use(); NULL: none. */
const struct plx_emu_buffer *plx_emu_queue_next(struct plx_emu_queue *queue);
/* List the parts of the next buffer in queue->part. Return: how many; 0 when it is unusable. */
unsigned plx_emu_queue_parts(struct plx_emu_queue *queue);
/* Let another buffer be the next, if the order is free and the seed wants it. */
void plx_emu_queue_shuffle(struct plx_emu_queue *queue);
/* Give the next buffer back. */
void plx_emu_queue_use(struct plx_emu_queue *queue, uint32_t len);
void plx_emu_queue_publish(struct plx_emu_queue *queue);
/* The queue is empty: ask to be notified and sleep, unless more came meanwhile. */
void plx_emu_queue_sleep(struct plx_emu_queue *queue);
bool plx_emu_need_event(uint16_t event, uint16_t now, uint16_t before);
/* Copy the readable parts out. Return: bytes copied, at most @room. */
uint32_t plx_emu_gather(
	const struct plx_emu_part *part, unsigned parts, uint8_t *to, uint32_t room);
/* Copy into the writable parts, from their byte @skip on. Return: bytes copied. */
uint32_t plx_emu_scatter(const struct plx_emu_part *part, unsigned parts, uint32_t skip,
	const uint8_t *from, uint32_t len);

#endif
