/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "virtio/vhost_user_priv.h"
#include "virtio/virtio_reg.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The life of rings: noted when the driver sets them up, told at DRIVER_OK, stopped at a reset. */

int vhost_user_ring_set_up(struct vhost_user *vhost, const struct plx_virtio_queue *queue)
{
	/* The parts of a ring lie in one allocation, and so in one segment. */
	uint8_t *descriptor = vhost_user_translate(vhost, queue->descriptor_area, 1);
	struct vhost_user_ring ring = {.size = queue->size};

	if (!descriptor)
		return plx_fail(EFAULT, "%s: queue %u does not lie in DMA memory",
			vhost->virtio.name, queue->index);
	ring.descriptor = (uintptr_t)descriptor;
	ring.driver = ring.descriptor + (queue->driver_area - queue->descriptor_area);
	ring.device = ring.descriptor + (queue->device_area - queue->descriptor_area);
	ring.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring.kick < 0)
		return plx_fail(errno, "%s: no eventfd for queue %u: %s", vhost->virtio.name,
			queue->index, strerror(errno));
	vhost->ring[queue->index] = ring;
	return 0;
}

static int tell_file(struct vhost_user *vhost, uint32_t request, unsigned index, int fd)
{
	struct plx_vhost_user_message message = {
		.header = {.request = request, .size = sizeof(uint64_t)},
		.payload.u64 = index | (fd < 0 ? VHOST_USER_VRING_NO_FD : 0),
		.fds = fd >= 0,
		.fd = {fd},
	};

	return vhost_user_tell(vhost, &message);
}

static int tell_address(struct vhost_user *vhost, unsigned index)
{
	const struct vhost_user_ring *ring = &vhost->ring[index];
	struct plx_vhost_user_message message = {
		.header = {.request = VHOST_USER_SET_VRING_ADDR,
			.size = sizeof(message.payload.address)},
		.payload.address = {.index = index,
			.descriptor = ring->descriptor,
			.used = ring->device,
			.available = ring->driver},
	};

	return vhost_user_tell(vhost, &message);
}

/*
 * The kick comes last, since it is what starts a ring. Where nobody waits for the backend's calls
 * it gets no descriptor for them.
 */
static int start_ring(struct vhost_user *vhost, unsigned index)
{
	struct vhost_user_ring *ring = &vhost->ring[index];
	bool packed = plx_virtio_has(&vhost->virtio, VIRTIO_F_RING_PACKED);
	int err;

	err = vhost_user_tell_state(vhost, VHOST_USER_SET_VRING_NUM, index, ring->size);
	if (!err)
		err = vhost_user_tell_state(vhost, VHOST_USER_SET_VRING_BASE, index,
			packed ? VHOST_USER_VRING_PACKED_START : 0);
	if (!err)
		err = tell_address(vhost, index);
	if (!err)
		err = tell_file(vhost, VHOST_USER_SET_VRING_ERR, index, vhost->error_fd);
	if (!err)
		err = tell_file(vhost, VHOST_USER_SET_VRING_CALL, index, vhost->call[index] - 1);
	if (err)
		return err;
	ring->started = true;
	return tell_file(vhost, VHOST_USER_SET_VRING_KICK, index, ring->kick);
}

/* The backend's record of what it works on, so that one that dies can go on where it was. */
static int exchange_inflight(struct vhost_user *vhost)
{
	static const struct plx_vhost_user_form form = {
		VHOST_USER_INFLIGHT_SIZE_MIN, sizeof(struct vhost_user_inflight), 1};
	struct plx_vhost_user_message message = {
		.header = {.request = VHOST_USER_GET_INFLIGHT_FD,
			.size = sizeof(message.payload.inflight)},
	};
	struct vhost_user_inflight *inflight = &message.payload.inflight;
	int err;

	if (!vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
		return 0;
	for (unsigned i = 0; i < VHOST_USER_RINGS; i++) {
		if (!vhost->ring[i].size)
			continue;
		inflight->queues = (uint16_t)(i + 1);
		inflight->queue_size = MAX(inflight->queue_size, vhost->ring[i].size);
	}
	err = vhost_user_ask(vhost, &message, &form);
	if (err)
		return err;
	vhost->inflight_fd = message.fd[0];
	message.header.request = VHOST_USER_SET_INFLIGHT_FD;
	message.header.size = sizeof(*inflight);
	return vhost_user_tell(vhost, &message);
}

int vhost_user_enable_rings(struct vhost_user *vhost, unsigned first, unsigned end, bool enable)
{
	int err = 0;

	/* Without this bit a ring is enabled by being started. */
	if (!(vhost->offered >> VHOST_USER_F_PROTOCOL_FEATURES & 1))
		return 0;
	for (unsigned i = first; !err && i < end; i++)
		if (vhost->ring[i].started)
			err = vhost_user_tell_state(vhost, VHOST_USER_SET_VRING_ENABLE, i, enable);
	return err;
}

int vhost_user_start_rings(struct vhost_user *vhost)
{
	/*
	 * With the command for it, further pairs wait until the driver asks for them (5.1.9.5.5).
	 */
	bool one_pair = plx_virtio_has(&vhost->virtio, VIRTIO_NET_F_MQ) && vhost->control.size;
	int err;

	vhost->live = true;
	err = vhost_user_tell_memory(vhost);
	if (!err)
		err = exchange_inflight(vhost);
	for (unsigned i = 0; !err && i < VHOST_USER_RINGS; i++)
		if (vhost->ring[i].size)
			err = start_ring(vhost, i);
	if (!err)
		err = vhost_user_enable_rings(vhost, 0, one_pair ? 2 : VHOST_USER_RINGS, true);
	return err ? err : vhost_user_settle(vhost);
}

bool vhost_user_any_started(const struct vhost_user *vhost)
{
	for (unsigned i = 0; i < VHOST_USER_RINGS; i++)
		if (vhost->ring[i].started)
			return true;
	return false;
}

int vhost_user_stop_rings(struct vhost_user *vhost)
{
	static const struct plx_vhost_user_form form = {
		sizeof(struct vhost_user_vring_state), sizeof(struct vhost_user_vring_state), 0};

	for (unsigned i = 0; i < VHOST_USER_RINGS; i++) {
		struct plx_vhost_user_message message = {
			.header = {.request = VHOST_USER_GET_VRING_BASE,
				.size = sizeof(message.payload.state)},
			.payload.state.index = i,
		};
		int err;

		if (!vhost->ring[i].started)
			continue;
		err = vhost_user_ask(vhost, &message, &form);
		if (err)
			return err;
		if (message.payload.state.index != i)
			return vhost_user_give_up(vhost,
				plx_fail(EPROTO, "%s: the backend stopped ring %u instead of %u",
					vhost->virtio.name, message.payload.state.index, i));
		vhost->ring[i].started = false;
	}
	return 0;
}

void vhost_user_forget_rings(struct vhost_user *vhost)
{
	uint64_t count;

	for (unsigned i = 0; i < VHOST_USER_RINGS; i++) {
		if (vhost->ring[i].size)
			(void)close(vhost->ring[i].kick);
		vhost->ring[i] = (struct vhost_user_ring){.size = 0};
	}
	if (vhost->inflight_fd >= 0)
		(void)close(vhost->inflight_fd);
	vhost->inflight_fd = -1;
	/* A fault that was reported ends with the rings that had it. */
	(void)!read(vhost->error_fd, &count, sizeof(count));
	vhost->control = (struct vhost_user_control){.size = 0};
	memset(vhost->call, 0, sizeof(vhost->call));
	vhost->live = false;
}
