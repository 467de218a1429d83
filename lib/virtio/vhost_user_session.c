/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "base/error.h"
#include "virtio/vhost_user_priv.h"
#include "virtio/virtio_reg.h"

#include <stdio.h>

/*
 * The session with a backend: questions, orders and their acknowledgement. A session that failed
 * once has ended, since nobody knows what the next answer would belong to; the reason is kept until
 * a reset begins a new one.
 */

#define SPOKEN                                                                                     \
	(UINT64_C(1) << VHOST_USER_PROTOCOL_F_MQ |                                                 \
		UINT64_C(1) << VHOST_USER_PROTOCOL_F_REPLY_ACK |                                   \
		UINT64_C(1) << VHOST_USER_PROTOCOL_F_MTU |                                         \
		UINT64_C(1) << VHOST_USER_PROTOCOL_F_CONFIG |                                      \
		UINT64_C(1) << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |                              \
		UINT64_C(1) << VHOST_USER_PROTOCOL_F_RESET_DEVICE |                                \
		UINT64_C(1) << VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS |                         \
		UINT64_C(1) << VHOST_USER_PROTOCOL_F_STATUS)

static const struct plx_vhost_user_form number = {sizeof(uint64_t), sizeof(uint64_t), 0};

int vhost_user_give_up(struct vhost_user *vhost, int err)
{
	vhost->fault = err;
	(void)snprintf(vhost->reason, sizeof(vhost->reason), "%s", plx_error());
	return err;
}

/* Nothing is said in a session that has ended. */
static int check_session(struct vhost_user *vhost)
{
	if (vhost->fault)
		return plx_fail(-vhost->fault, "%s", vhost->reason);
	if (vhost->socket.fd < 0)
		return plx_fail(ENODEV,
			"%s: there is no backend at the moment: starting the device connects again",
			vhost->virtio.name);
	return 0;
}

int vhost_user_ask(struct vhost_user *vhost, struct plx_vhost_user_message *message,
	const struct plx_vhost_user_form *form)
{
	int err = check_session(vhost);

	if (err)
		return err;
	err = plx_vhost_user_send(&vhost->socket, message, 0);
	if (!err)
		err = plx_vhost_user_receive(&vhost->socket, message, form);
	return err ? vhost_user_give_up(vhost, err) : 0;
}

int vhost_user_ask_u64(struct vhost_user *vhost, uint32_t request, uint64_t *value)
{
	struct plx_vhost_user_message message = {.header.request = request};
	int err = vhost_user_ask(vhost, &message, &number);

	*value = err ? 0 : message.payload.u64;
	return err;
}

int vhost_user_try(struct vhost_user *vhost, struct plx_vhost_user_message *message)
{
	bool answered = vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	int err = check_session(vhost);

	if (err)
		return err;
	err = plx_vhost_user_send(&vhost->socket, message, answered ? VHOST_USER_NEED_REPLY : 0);
	if (!err && answered)
		err = plx_vhost_user_receive(&vhost->socket, message, &number);
	if (err)
		return vhost_user_give_up(vhost, err);
	return answered && message->payload.u64;
}

int vhost_user_tell(struct vhost_user *vhost, struct plx_vhost_user_message *message)
{
	uint32_t request = message->header.request;
	int ret = vhost_user_try(vhost, message);

	if (ret <= 0)
		return ret;
	return vhost_user_give_up(
		vhost, plx_fail(EPROTO, "%s: the backend refuses %s: its own log may say why",
			       vhost->virtio.name, plx_vhost_user_request_name(request)));
}

int vhost_user_tell_u64(struct vhost_user *vhost, uint32_t request, uint64_t value)
{
	struct plx_vhost_user_message message = {
		.header = {.request = request, .size = sizeof(value)},
		.payload.u64 = value,
	};

	return vhost_user_tell(vhost, &message);
}

int vhost_user_tell_state(
	struct vhost_user *vhost, uint32_t request, uint32_t index, uint32_t value)
{
	struct plx_vhost_user_message message = {
		.header = {.request = request, .size = sizeof(message.payload.state)},
		.payload.state = {index, value},
	};

	return vhost_user_tell(vhost, &message);
}

int vhost_user_settle(struct vhost_user *vhost)
{
	uint64_t ignored;

	if (vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_REPLY_ACK))
		return 0;
	return vhost_user_ask_u64(vhost, VHOST_USER_GET_FEATURES, &ignored);
}

/* --- greeting --- */

static int agree_on_protocol(struct vhost_user *vhost)
{
	uint64_t offered;
	int err;

	if (!(vhost->offered >> VHOST_USER_F_PROTOCOL_FEATURES & 1))
		return 0;
	err = vhost_user_ask_u64(vhost, VHOST_USER_GET_PROTOCOL_FEATURES, &offered);
	if (!err)
		err = vhost_user_tell_u64(
			vhost, VHOST_USER_SET_PROTOCOL_FEATURES, offered & SPOKEN);
	if (!err)
		vhost->protocol = offered & SPOKEN;
	return err;
}

static int ask_for_limits(struct vhost_user *vhost)
{
	uint64_t pairs = 1;
	int err = 0;

	vhost->slots = VHOST_USER_REGIONS;
	if (vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_MQ))
		err = vhost_user_ask_u64(vhost, VHOST_USER_GET_QUEUE_NUM, &pairs);
	if (!err && vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS))
		err = vhost_user_ask_u64(vhost, VHOST_USER_GET_MAX_MEM_SLOTS, &vhost->slots);
	if (err)
		return err;
	if (!pairs || !vhost->slots)
		return vhost_user_give_up(
			vhost, plx_fail(EPROTO, "%s: the backend says that it has no %s",
				       vhost->virtio.name, pairs ? "room for memory" : "queues"));
	vhost->pairs = (unsigned)MIN(pairs, (uint64_t)VHOST_USER_RINGS / 2);
	return 0;
}

/* A device of before the standard is not driven: no message tells its legacy interface apart. */
static int check_age(struct vhost_user *vhost)
{
	if (vhost->offered >> VIRTIO_F_VERSION_1 & 1)
		return 0;
	return vhost_user_give_up(vhost,
		plx_fail(ENOTSUP,
			"%s: the backend does not offer F_VERSION_1: it is older than virtio 1.0, so use a newer one",
			vhost->virtio.name));
}

int vhost_user_greet(struct vhost_user *vhost)
{
	struct plx_vhost_user_message owner = {.header.request = VHOST_USER_SET_OWNER};
	int err;

	vhost->protocol = 0;
	err = plx_vhost_user_connect(&vhost->socket);
	if (err)
		return vhost_user_give_up(vhost, err);
	err = vhost_user_ask_u64(vhost, VHOST_USER_GET_FEATURES, &vhost->offered);
	if (!err)
		err = check_age(vhost);
	if (!err)
		err = agree_on_protocol(vhost);
	if (!err)
		err = ask_for_limits(vhost);
	if (!err)
		err = vhost_user_tell(vhost, &owner);
	if (err)
		plx_vhost_user_hang_up(&vhost->socket);
	return err;
}
