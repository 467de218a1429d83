/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "virtio/vhost_user_priv.h"
#include "virtio/virtio_reg.h"

#include <string.h>

/*
 * The device's side of the control queue, in the thread that notifies it: commands are carried out
 * before the notification returns. Each descriptor is read once, and its address counts only within
 * DMA memory.
 */

/* More than any command that is carried out here has. */
#define COMMAND_MAX 64

struct command {
	uint8_t bytes[COMMAND_MAX]; /* what the driver says, as far as it fits */
	size_t len;
	uint8_t *answer; /* the first byte that may be written; NULL: none */
	unsigned count;  /* descriptors */
	uint16_t id;
};

int vhost_user_control_set_up(struct vhost_user *vhost, const struct plx_virtio_queue *queue)
{
	struct vhost_user_control *control = &vhost->control;
	uint8_t *descriptor = vhost_user_translate(vhost, queue->descriptor_area, 1);

	if (!descriptor)
		return plx_fail(EFAULT, "%s: queue %u does not lie in DMA memory",
			vhost->virtio.name, queue->index);
	*control = (struct vhost_user_control){
		.size = queue->size,
		.packed = plx_virtio_has(&vhost->virtio, VIRTIO_F_RING_PACKED),
		.wrap = true,
		.descriptor = descriptor,
		.driver = descriptor + (queue->driver_area - queue->descriptor_area),
		.device = descriptor + (queue->device_area - queue->descriptor_area),
	};
	return 0;
}

static void take_part(const struct vhost_user *vhost, struct command *command, uint64_t iova,
	uint32_t len, uint16_t flags)
{
	uint8_t *part = vhost_user_translate(vhost, iova, len);
	size_t take = MIN((size_t)len, sizeof(command->bytes) - command->len);

	command->count++;
	if (!part || !len || flags & VIRTQ_DESC_F_INDIRECT)
		return;
	if (flags & VIRTQ_DESC_F_WRITE) {
		command->answer = command->answer ? command->answer : part;
		return;
	}
	memcpy(command->bytes + command->len, part, take);
	command->len += take;
}

/* Return: bytes written. */
static uint32_t carry_out(struct vhost_user *vhost, const struct command *command)
{
	if (!command->answer)
		return 0;
	*command->answer = vhost_user_net_command(vhost, command->bytes, command->len);
	return 1;
}

/* --- split --- */

static void serve_split(struct vhost_user *vhost)
{
	struct vhost_user_control *control = &vhost->control;
	const struct virtq_desc *table = control->descriptor;
	const struct virtq_avail *avail = control->driver;
	struct virtq_used *used = control->device;
	uint16_t mask = (uint16_t)(control->size - 1);

	for (unsigned left = control->size;
		left && control->at != plx_shared16_read_acquire(&avail->idx); left--) {
		uint16_t head = plx_shared16_read(&avail->ring[control->at & mask]);
		struct command command = {.id = head};
		uint16_t at = head, flags = VIRTQ_DESC_F_NEXT;

		while (flags & VIRTQ_DESC_F_NEXT && at <= mask && command.count <= mask) {
			const struct virtq_desc *desc = &table[at];

			flags = plx_shared16_read(&desc->flags);
			take_part(vhost, &command, plx_shared64_read(&desc->addr),
				plx_shared32_read(&desc->len), flags);
			at = plx_shared16_read(&desc->next);
		}
		plx_shared32_write(&used->ring[control->at & mask].id, head);
		plx_shared32_write(&used->ring[control->at & mask].len, carry_out(vhost, &command));
		control->at++;
		plx_shared16_write_release(&used->idx, control->at);
	}
	/* The next command is to be told of, too (2.7.10). */
	plx_shared16_write((struct plx_shared16 *)(void *)&used->ring[control->size], control->at);
}

/* --- packed --- */

#define AVAIL_AND_USED (VIRTQ_PACKED_DESC_F_AVAIL | VIRTQ_PACKED_DESC_F_USED)

static void step(struct vhost_user_control *control, uint16_t *at, bool *wrap)
{
	if (++*at < control->size)
		return;
	*at = 0;
	*wrap = !*wrap;
}

/* Return: whether there was one. */
static bool take_packed(const struct vhost_user *vhost, struct vhost_user_control *control,
	struct command *command, uint16_t *end, bool *end_wrap)
{
	const struct virtq_packed_desc *ring = control->descriptor;
	uint16_t available = control->wrap ? VIRTQ_PACKED_DESC_F_AVAIL : VIRTQ_PACKED_DESC_F_USED;
	/* Acquire: the rest is read after the flags that say it is there. */
	uint16_t flags = plx_shared16_read_acquire(&ring[control->at].flags);

	*end = control->at;
	*end_wrap = control->wrap;
	if ((flags & AVAIL_AND_USED) != available)
		return false;
	for (;;) {
		const struct virtq_packed_desc *desc = &ring[*end];

		take_part(vhost, command, plx_shared64_read(&desc->addr),
			plx_shared32_read(&desc->len), flags);
		command->id = plx_shared16_read(&desc->id);
		step(control, end, end_wrap);
		if (!(flags & VIRTQ_DESC_F_NEXT) || command->count == control->size)
			return true;
		flags = plx_shared16_read(&ring[*end].flags);
	}
}

static void serve_packed(struct vhost_user *vhost)
{
	struct vhost_user_control *control = &vhost->control;
	struct virtq_packed_desc *ring = control->descriptor;

	for (unsigned left = control->size; left; left--) {
		struct virtq_packed_desc *desc = &ring[control->at];
		struct command command = {.count = 0};
		uint16_t end;
		bool end_wrap;

		if (!take_packed(vhost, control, &command, &end, &end_wrap))
			break;
		plx_shared16_write(&desc->id, command.id);
		plx_shared32_write(&desc->len, carry_out(vhost, &command));
		plx_shared16_write_release(&desc->flags, control->wrap ? AVAIL_AND_USED : 0);
		control->at = end;
		control->wrap = end_wrap;
	}
}

void vhost_user_control_serve(struct vhost_user *vhost)
{
	if (vhost->control.packed)
		serve_packed(vhost);
	else
		serve_split(vhost);
}
