/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/vhost_user_socket.h"

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/socket.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

const char *plx_vhost_user_request_name(uint32_t request)
{
	static const char *const names[] = {
		[VHOST_USER_GET_FEATURES] = "GET_FEATURES",
		[VHOST_USER_SET_FEATURES] = "SET_FEATURES",
		[VHOST_USER_SET_OWNER] = "SET_OWNER",
		[VHOST_USER_SET_MEM_TABLE] = "SET_MEM_TABLE",
		[VHOST_USER_SET_VRING_NUM] = "SET_VRING_NUM",
		[VHOST_USER_SET_VRING_ADDR] = "SET_VRING_ADDR",
		[VHOST_USER_SET_VRING_BASE] = "SET_VRING_BASE",
		[VHOST_USER_GET_VRING_BASE] = "GET_VRING_BASE",
		[VHOST_USER_SET_VRING_KICK] = "SET_VRING_KICK",
		[VHOST_USER_SET_VRING_CALL] = "SET_VRING_CALL",
		[VHOST_USER_SET_VRING_ERR] = "SET_VRING_ERR",
		[VHOST_USER_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
		[VHOST_USER_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
		[VHOST_USER_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
		[VHOST_USER_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
		[VHOST_USER_NET_SET_MTU] = "NET_SET_MTU",
		[VHOST_USER_GET_CONFIG] = "GET_CONFIG",
		[VHOST_USER_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
		[VHOST_USER_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
		[VHOST_USER_RESET_DEVICE] = "RESET_DEVICE",
		[VHOST_USER_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
		[VHOST_USER_ADD_MEM_REG] = "ADD_MEM_REG",
		[VHOST_USER_REM_MEM_REG] = "REM_MEM_REG",
		[VHOST_USER_SET_STATUS] = "SET_STATUS",
		[VHOST_USER_GET_STATUS] = "GET_STATUS",
	};

	if (request < ARRAY_SIZE(names) && names[request])
		return names[request];
	return "a message that is not known";
}

static unsigned in_milliseconds(uint64_t nanoseconds)
{
	return (unsigned)(nanoseconds / PLX_MILLISECONDS(1));
}

/* --- the place --- */

static int listen_at_place(struct plx_vhost_user_socket *s)
{
	int fd = plx_socket_listen(&s->address, 1);

	if (fd == -EADDRINUSE)
		return plx_fail(EADDRINUSE,
			"%s: another program listens there, or the file is no socket: choose another path or leave out server=on",
			s->name);
	if (fd < 0)
		return plx_fail(-fd,
			"%s: cannot make the socket: %s: look at the folder and its rights",
			s->name, strerror(-fd));
	s->listener = fd;
	return 0;
}

int plx_vhost_user_socket_open(struct plx_vhost_user_socket *s, const char *path)
{
	s->listener = -1;
	s->fd = -1;
	if (plx_socket_address(&s->address, path))
		return plx_fail(EINVAL,
			"%s: the path of a socket has at most %zu characters and this one has %zu",
			s->name, sizeof(s->address.sun_path) - 1, strlen(path));
	return s->server ? listen_at_place(s) : 0;
}

void plx_vhost_user_socket_close(struct plx_vhost_user_socket *s)
{
	plx_vhost_user_hang_up(s);
	if (s->listener < 0)
		return;
	(void)unlink(s->address.sun_path);
	(void)close(s->listener);
	s->listener = -1;
}

/* --- the connection --- */

static int explain_connect(const struct plx_vhost_user_socket *s, int err)
{
	switch (-err) {
	case ENOENT:
		return plx_fail(ENODEV,
			"%s: there is no such socket: start the backend first, or say server=on if it is the one to connect",
			s->name);
	case ECONNREFUSED:
		return plx_fail(ENODEV,
			"%s: nobody listens at the socket: the backend has ended, so start it again",
			s->name);
	case EAGAIN:
		return plx_fail(ENODEV,
			"%s: the backend does not take the connection: it has another front end, or hangs",
			s->name);
	case EACCES:
		return plx_fail(EACCES,
			"%s: no right to use the socket: look at its owner and mode", s->name);
	default:
		return plx_fail(-err, "%s: cannot connect: %s", s->name, strerror(-err));
	}
}

static int connect_to_place(struct plx_vhost_user_socket *s)
{
	int fd = plx_socket_connect(&s->address, s->patience);

	if (fd < 0)
		return explain_connect(s, fd);
	s->fd = fd;
	return 0;
}

static int accept_at_place(struct plx_vhost_user_socket *s)
{
	int fd = plx_socket_accept(s->listener, plx_now() + s->patience);

	if (fd == -EAGAIN)
		return plx_fail(ENODEV,
			"%s: no backend connected within %u ms: start it as client of this socket, or raise wait=",
			s->name, in_milliseconds(s->patience));
	if (fd < 0)
		return plx_fail(-fd, "%s: cannot take a connection: %s", s->name, strerror(-fd));
	s->fd = fd;
	return 0;
}

int plx_vhost_user_connect(struct plx_vhost_user_socket *s)
{
	return s->server ? accept_at_place(s) : connect_to_place(s);
}

void plx_vhost_user_hang_up(struct plx_vhost_user_socket *s)
{
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = -1;
}

bool plx_vhost_user_hung_up(const struct plx_vhost_user_socket *s)
{
	return s->fd < 0 || plx_socket_hung_up(s->fd);
}

int plx_vhost_user_part(struct plx_vhost_user_socket *s)
{
	return plx_socket_part(s->fd, plx_now() + s->timeout);
}

/* --- messages --- */

static int hung_up_at(const struct plx_vhost_user_socket *s, uint32_t request)
{
	return plx_fail(ENODEV,
		"%s: the backend hung up at %s: see why it did, then stop and start the device",
		s->name, plx_vhost_user_request_name(request));
}

static int nonsense(const struct plx_vhost_user_socket *s, uint32_t request, const char *what)
{
	return plx_fail(EPROTO,
		"%s: the backend's answer to %s is nonsense (%s): is there another program behind the socket?",
		s->name, plx_vhost_user_request_name(request), what);
}

int plx_vhost_user_send(
	struct plx_vhost_user_socket *s, struct plx_vhost_user_message *message, uint32_t flags)
{
	uint32_t request = message->header.request;
	uint8_t bytes[sizeof(message->header) + sizeof(message->payload)];
	int err;

	message->header.flags = VHOST_USER_VERSION | flags;
	memcpy(bytes, &message->header, sizeof(message->header));
	memcpy(bytes + sizeof(message->header), &message->payload, message->header.size);
	err = plx_socket_send(s->fd, bytes, sizeof(message->header) + message->header.size,
		message->fd, message->fds, plx_now() + s->timeout);
	if (err == -ETIMEDOUT)
		return plx_fail(ETIMEDOUT,
			"%s: the backend did not read %s within %u ms: it hangs, or timeout= is too short",
			s->name, plx_vhost_user_request_name(request), in_milliseconds(s->timeout));
	return err ? hung_up_at(s, request) : 0;
}

/* Receive @len bytes, all of them. */
static int receive_bytes(struct plx_vhost_user_socket *s, struct plx_socket_fds *fds,
	uint32_t request, void *bytes, size_t len, uint64_t deadline)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = plx_socket_receive(s->fd, (uint8_t *)bytes + done, len - done, fds);

		if (got > 0) {
			done += (size_t)got;
		} else if (got == -E2BIG) {
			return nonsense(s, request, "it carries too many descriptors");
		} else if (got != -EAGAIN) {
			return hung_up_at(s, request);
		} else if (!plx_socket_wait(s->fd, POLLIN, deadline)) {
			return plx_fail(ETIMEDOUT,
				"%s: the backend did not answer %s within %u ms: it hangs, or timeout= is too short",
				s->name, plx_vhost_user_request_name(request),
				in_milliseconds(s->timeout));
		}
	}
	return 0;
}

static int check_header(const struct plx_vhost_user_socket *s, uint32_t request,
	const struct vhost_user_header *header, const struct plx_vhost_user_form *form)
{
	if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return nonsense(s, request, "another version of the protocol");
	if (header->request != request || !(header->flags & VHOST_USER_REPLY))
		return nonsense(s, request, "it answers something else");
	if (header->size < form->size_min || header->size > form->size_max)
		return nonsense(s, request, "its size is wrong");
	return 0;
}

int plx_vhost_user_receive(struct plx_vhost_user_socket *s, struct plx_vhost_user_message *message,
	const struct plx_vhost_user_form *form)
{
	struct plx_socket_fds fds = {.fd = message->fd, .room = VHOST_USER_REGIONS};
	uint64_t deadline = plx_now() + s->timeout;
	uint32_t request = message->header.request;
	int err;

	memset(&message->payload, 0, sizeof(message->payload));
	err = receive_bytes(s, &fds, request, &message->header, sizeof(message->header), deadline);
	if (!err)
		err = check_header(s, request, &message->header, form);
	if (!err)
		err = receive_bytes(
			s, &fds, request, &message->payload, message->header.size, deadline);
	if (!err && fds.count != form->fds)
		err = nonsense(s, request,
			fds.count > form->fds ? "it carries descriptors that nobody asked for"
					      : "its descriptor is missing");
	if (err)
		plx_socket_close_fds(&fds);
	message->fds = fds.count;
	return err;
}
