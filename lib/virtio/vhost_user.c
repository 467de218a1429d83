/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/vhost_user.h"

#include "base/compiler.h"
#include "base/error.h"
#include "base/socket.h"
#include "drivers/virtio/virtio_net_reg.h"
#include "virtio/handshake.h"
#include "virtio/vhost_user_priv.h"
#include "virtio/virtio_reg.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * vhost-user as a transport: what registers are to PCI, messages are here. A message can fail where
 * a register cannot; what failed is kept, every later access reads as from a device that is gone,
 * and fault() tells the reason. Only a reset begins anew, with another connection if need be.
 */

static struct vhost_user *to_vhost(struct plx_virtio *virtio)
{
	return container_of(virtio, struct vhost_user, virtio);
}

/* Control calls and callers of the memory exclude each other. */
static struct vhost_user *lock(struct plx_virtio *virtio)
{
	struct vhost_user *vhost = to_vhost(virtio);

	(void)pthread_mutex_lock(&vhost->lock);
	return vhost;
}

static void unlock(struct vhost_user *vhost)
{
	(void)pthread_mutex_unlock(&vhost->lock);
}

/* --- status and reset --- */

static bool has_status(const struct vhost_user *vhost)
{
	return vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_STATUS);
}

static void leave(struct vhost_user *vhost)
{
	plx_vhost_user_hang_up(&vhost->socket);
	vhost_user_forget_memory(vhost);
	vhost_user_forget_rings(vhost);
	vhost->fault = 0;
	vhost->status = 0;
}

/* The rings have stopped, and the backend forgets the rest of what it was told. */
static void reset_backend(struct vhost_user *vhost)
{
	struct plx_vhost_user_message reset = {.header.request = VHOST_USER_RESET_DEVICE};

	if (has_status(vhost))
		(void)vhost_user_tell_u64(vhost, VHOST_USER_SET_STATUS, 0);
	else if (vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_RESET_DEVICE))
		(void)vhost_user_tell(vhost, &reset);
	vhost->status = 0;
	vhost->refused = false;
}

/*
 * A running device is stopped, ring by ring; the answer to each says that the ring is no longer
 * used. A backend that has hung up uses none either: see doc/design.md for what that means. Who
 * neither answers nor hangs up leaves a fault, and the rings stay in doubt.
 */
static void stop_device(struct vhost_user *vhost)
{
	int err = vhost->fault ? vhost->fault : vhost_user_stop_rings(vhost);

	if (err && vhost_user_any_started(vhost) && !plx_vhost_user_hung_up(&vhost->socket))
		return;
	vhost_user_forget_rings(vhost);
	if (!err)
		reset_backend(vhost);
	/* What fails now is for the next start to find out. */
	if (vhost->fault || plx_vhost_user_hung_up(&vhost->socket))
		leave(vhost);
}

/* A device that does not run is found, or found again, and reset. */
static void begin_device(struct vhost_user *vhost)
{
	if (vhost->fault || plx_vhost_user_hung_up(&vhost->socket)) {
		leave(vhost);
		if (vhost_user_greet(vhost))
			return;
	}
	vhost_user_forget_rings(vhost);
	reset_backend(vhost);
}

static void set_status(struct vhost_user *vhost, uint8_t status)
{
	uint8_t added = status & (uint8_t)~vhost->status;

	if (vhost->refused)
		status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	/* A backend with a status of its own wants all rings to be there before this bit. */
	if (added & VIRTIO_STATUS_DRIVER_OK && vhost_user_start_rings(vhost))
		return;
	vhost->status = status;
	if (has_status(vhost))
		(void)vhost_user_tell_u64(vhost, VHOST_USER_SET_STATUS, status);
}

static void write_status(struct plx_virtio *virtio, uint8_t status)
{
	struct vhost_user *vhost = lock(virtio);

	if (status)
		set_status(vhost, status);
	else if (vhost->live)
		stop_device(vhost);
	else
		begin_device(vhost);
	unlock(vhost);
}

static bool reports_fault(const struct vhost_user *vhost)
{
	struct pollfd polled = {.fd = vhost->error_fd, .events = POLLIN};

	return poll(&polled, 1, 0) > 0;
}

static uint8_t get_status(struct vhost_user *vhost)
{
	uint64_t status = vhost->status;

	if (vhost->fault)
		return PLX_VIRTIO_STATUS_GONE;
	/* Between a stop and the next start a device may well be without a backend. */
	if (vhost->socket.fd < 0)
		return vhost->status;
	if (plx_vhost_user_hung_up(&vhost->socket)) {
		(void)vhost_user_give_up(vhost,
			plx_fail(ENODEV, "%s: the backend has hung up: stop and start the device",
				vhost->virtio.name));
		return PLX_VIRTIO_STATUS_GONE;
	}
	if (has_status(vhost) && vhost_user_ask_u64(vhost, VHOST_USER_GET_STATUS, &status))
		return PLX_VIRTIO_STATUS_GONE;
	if (vhost->live && reports_fault(vhost))
		status |= VIRTIO_STATUS_NEEDS_RESET;
	return (uint8_t)status;
}

static uint8_t read_status(struct plx_virtio *virtio)
{
	struct vhost_user *vhost = lock(virtio);
	uint8_t status = get_status(vhost);

	unlock(vhost);
	return status;
}

static int fault(struct plx_virtio *virtio)
{
	struct vhost_user *vhost = lock(virtio);
	int err = vhost->fault;

	if (err)
		err = plx_fail(-err, "%s", vhost->reason);
	unlock(vhost);
	return err;
}

/* The last resort: leave, and see that the backend has let go. */
static int part(struct plx_virtio *virtio)
{
	struct vhost_user *vhost = lock(virtio);
	int err = plx_vhost_user_part(&vhost->socket);

	if (err)
		err = plx_fail(EIO,
			"%s: the backend neither stops its rings nor hangs up: end it, and then close the device",
			virtio->name);
	else
		leave(vhost);
	unlock(vhost);
	return err;
}

/* --- features and configuration --- */

static void read_features(struct plx_virtio *virtio, struct plx_features *features)
{
	struct vhost_user *vhost = lock(virtio);

	*features = (struct plx_features){{0, 0}};
	if (!vhost_user_ask_u64(vhost, VHOST_USER_GET_FEATURES, &vhost->offered))
		features->word[0] = vhost_user_net_offer(vhost);
	unlock(vhost);
}

/* A refusal is kept for the status, which does not keep FEATURES_OK then. */
static void set_features(struct vhost_user *vhost, uint64_t accepted)
{
	uint64_t own = UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES;
	struct plx_vhost_user_message message = {
		.header = {.request = VHOST_USER_SET_FEATURES, .size = sizeof(uint64_t)},
		.payload.u64 = (accepted | own) & vhost->offered,
	};
	int ret = vhost_user_try(vhost, &message);

	vhost->refused = ret > 0;
	if (!ret && vhost->net.mtu && accepted >> VIRTIO_NET_F_MTU & 1 &&
		vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_MTU))
		(void)vhost_user_tell_u64(vhost, VHOST_USER_NET_SET_MTU, vhost->net.mtu);
}

static void write_features(struct plx_virtio *virtio, const struct plx_features *features)
{
	struct vhost_user *vhost = lock(virtio);

	set_features(vhost, features->word[0]);
	unlock(vhost);
}

static uint64_t config_size(struct plx_virtio *virtio)
{
	return vhost_user_net_config_size(to_vhost(virtio));
}

static uint32_t read_config(struct plx_virtio *virtio, unsigned offset, unsigned width)
{
	struct vhost_user *vhost = lock(virtio);
	uint32_t value = vhost_user_net_read_config(vhost, offset, width);

	unlock(vhost);
	return value;
}

/* --- queues --- */

/* No message asks for a ring's size: any may be given. */
static uint16_t queue_max(struct plx_virtio *virtio, uint16_t index)
{
	struct vhost_user *vhost = to_vhost(virtio);

	return index < 2 * vhost_user_net_pairs(vhost) || vhost_user_net_is_control(vhost, index)
		       ? vhost->net.queue_size
		       : 0;
}

static int queue_setup(struct plx_virtio *virtio, const struct plx_virtio_queue *queue,
	struct plx_virtio_doorbell *doorbell)
{
	struct vhost_user *vhost = lock(virtio);
	int err;

	(void)doorbell;
	if (vhost_user_net_is_control(vhost, queue->index))
		err = vhost_user_control_set_up(vhost, queue);
	else
		err = vhost_user_ring_set_up(vhost, queue);
	unlock(vhost);
	return err;
}

/* There is an eventfd for each ring, and a backend knows no other. */
static unsigned vectors(struct plx_virtio *virtio, bool *line)
{
	(void)virtio;
	*line = false;
	return VHOST_USER_RINGS;
}

static int set_vectors(struct plx_virtio *virtio, unsigned count, const int32_t *fds)
{
	struct vhost_user *vhost = lock(virtio);

	vhost->calls = fds;
	vhost->call_count = count;
	unlock(vhost);
	return 0;
}

/* The backend is told of it when the ring starts. */
static uint16_t map_queue(struct plx_virtio *virtio, uint16_t index, uint16_t vector)
{
	struct vhost_user *vhost = lock(virtio);
	bool can = index < VHOST_USER_RINGS && vector < vhost->call_count;

	if (can)
		vhost->call[index] = vhost->calls[vector] + 1;
	unlock(vhost);
	return can ? vector : VIRTIO_MSI_NO_VECTOR;
}

static uint16_t map_config(struct plx_virtio *virtio, uint16_t vector)
{
	(void)virtio;
	(void)vector;
	return VIRTIO_MSI_NO_VECTOR;
}

/*
 * The eventfd stands from the set-up of its queue to the reset, and nobody uses the queue before or
 * after.
 */
static void notify(struct plx_virtio *virtio, uint16_t queue)
{
	struct vhost_user *vhost = to_vhost(virtio);
	uint64_t once = 1;

	if (queue < VHOST_USER_RINGS && vhost->ring[queue].size) {
		/*
		 * It fails only when 2^64 - 2 notifications wait, and then one more changes
		 * nothing.
		 */
		(void)!write(vhost->ring[queue].kick, &once, sizeof(once));
		return;
	}
	(void)lock(virtio);
	vhost_user_control_serve(vhost);
	unlock(vhost);
}

static int check(struct plx_virtio *virtio)
{
	const struct vhost_user *vhost = to_vhost(virtio);

	if (plx_vhost_user_hung_up(&vhost->socket))
		return -ENODEV;
	return reports_fault(vhost) ? -EIO : 0;
}

/* --- open and close --- */

static void destroy(struct vhost_user *vhost)
{
	plx_vhost_user_socket_close(&vhost->socket);
	vhost_user_forget_rings(vhost);
	(void)close(vhost->error_fd);
	(void)pthread_mutex_destroy(&vhost->lock);
	free(vhost);
}

static void close_device(struct plx_virtio *virtio)
{
	struct vhost_user *vhost = to_vhost(virtio);

	if (vhost->live)
		plx_log(virtio->log, PLX_LOG_ERROR,
			"%s: the device is closed while its backend may still use the buffers: end the backend before they are used again",
			virtio->name);
	/* The backend learns of the end by the socket, and not of each segment. */
	plx_vhost_user_hang_up(&vhost->socket);
	plx_mem_detach(virtio->mem, &vhost->mapper);
	destroy(vhost);
}

/*
 * A notification is an eventfd, and a ring is stopped with all that its backend noted of it. For
 * the event index a backend reads a line more of each burst, and one that polls gets nothing for
 * it.
 */
static void narrow(struct plx_virtio *virtio)
{
	static const uint8_t bits[] = {
		VIRTIO_F_NOTIFICATION_DATA, VIRTIO_F_NOTIF_CONFIG_DATA, VIRTIO_F_RING_RESET};

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		plx_negotiation_exclude(&virtio->negotiation, bits[i], "not over vhost-user");
	plx_negotiation_decline(
		&virtio->negotiation, VIRTIO_F_EVENT_IDX, "backends that poll are faster without");
}

static const struct plx_virtio_transport transport = {
	.name = "vhost-user",
	.narrow = narrow,
	.read_status = read_status,
	.write_status = write_status,
	.read_features = read_features,
	.write_features = write_features,
	.config_size = config_size,
	.read_config = read_config,
	.queue_max = queue_max,
	.queue_setup = queue_setup,
	.vectors = vectors,
	.set_vectors = set_vectors,
	.map_queue = map_queue,
	.map_config = map_config,
	.notify = notify,
	.check = check,
	.fault = fault,
	.reset_function = part,
	.last_resort = "hanging up",
	.close = close_device,
};

static int read_options(struct vhost_user *vhost, struct plx_address *address)
{
	uint64_t timeout = 2000, wait;
	int ret;

	ret = plx_address_bool(address, "server", &vhost->socket.server);
	wait = vhost->socket.server ? 10000 : 1000;
	if (ret >= 0)
		ret = plx_address_number(address, "timeout", 1, 60000, &timeout);
	if (ret >= 0)
		ret = plx_address_number(address, "wait", 0, 600000, &wait);
	if (ret < 0)
		return ret;
	vhost->socket.timeout = PLX_MILLISECONDS(timeout);
	vhost->socket.patience = PLX_MILLISECONDS(wait);
	return vhost_user_net_options(vhost, address);
}

static int create(
	struct plx_mem *mem, const struct plx_log *log, const char *path, struct vhost_user **out)
{
	struct vhost_user *vhost = calloc(1, sizeof(*vhost));

	if (!vhost)
		return plx_fail(ENOMEM, "%s: out of memory for the device", path);
	vhost->error_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vhost->error_fd < 0) {
		free(vhost);
		return plx_fail(EMFILE, "%s: no eventfd: %s: raise the limit of open files", path,
			strerror(errno));
	}
	plx_virtio_init(&vhost->virtio, &transport, &plx_handshake_modern, VIRTIO_ID_NET, mem);
	vhost->virtio.log = log;
	plx_socket_name(vhost->virtio.name, sizeof(vhost->virtio.name), path);
	memcpy(vhost->socket.name, vhost->virtio.name, sizeof(vhost->socket.name));
	vhost->socket.listener = -1;
	vhost->socket.fd = -1;
	vhost->inflight_fd = -1;
	vhost->mapper.ops = &vhost_user_mapper;
	/* Default attributes: cannot fail on Linux. */
	(void)pthread_mutex_init(&vhost->lock, NULL);
	*out = vhost;
	return 0;
}

int plx_vhost_user_open(struct plx_mem *mem, const struct plx_log *log, struct plx_address *address,
	struct plx_virtio **virtio)
{
	struct vhost_user *vhost;
	int err = create(mem, log, address->place, &vhost);

	if (err)
		return err;
	err = read_options(vhost, address);
	if (!err)
		err = plx_vhost_user_socket_open(&vhost->socket, address->place);
	if (!err)
		err = vhost_user_greet(vhost);
	if (!err)
		err = plx_mem_attach(mem, &vhost->mapper, NULL, 0);
	if (err) {
		destroy(vhost);
		return err;
	}
	*virtio = &vhost->virtio;
	return 0;
}
