/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VHOST_USER_SOCKET_H
#define PLX_VIRTIO_VHOST_USER_SOCKET_H

#include "base/log.h"
#include "virtio/vhost_user_reg.h"

#include <pollux/device.h>
#include <stdbool.h>
#include <sys/un.h>

/*
 * The unix socket to a vhost-user backend: who connects, how messages are framed, and that no wait
 * is without an end. What the messages mean is for vhost_user.c to know.
 *
 * Everything that the backend sends is checked for its form here: its request, flags, size, and the
 * number of descriptors that came with it. No descriptor that is not wanted stays open. One thread
 * at a time, but for plx_vhost_user_hung_up().
 */
struct plx_vhost_user_socket {
	char name[PLX_DEVICE_NAME_LEN]; /* of the device, for messages */
	struct sockaddr_un address;
	bool server;       /* the backend connects to us */
	uint64_t timeout;  /* ns for one message, and for its answer */
	uint64_t patience; /* ns for the backend to be there */
	int listener;      /* -1: none */
	int fd;            /* the connection; -1: none */
};

struct plx_vhost_user_message {
	struct vhost_user_header header;
	union vhost_user_payload payload;
	unsigned fds;
	int fd[VHOST_USER_REGIONS];
};

/* The name of a request, as the protocol has it. */
const char *plx_vhost_user_request_name(uint32_t request);

/*
 * plx_vhost_user_socket_open() - Take a place for the socket; as server, listen there.
 * @path: of the socket in the file system
 *
 * A socket file that nobody listens at any more is replaced.
 *
 * Return: 0; -EINVAL for a path that is too long; -EADDRINUSE when somebody listens there, or the
 * file is no socket; -errno of the socket.
 */
int plx_vhost_user_socket_open(struct plx_vhost_user_socket *s, const char *path);

/* Hang up, stop listening, and remove the file of a server. */
void plx_vhost_user_socket_close(struct plx_vhost_user_socket *s);

/*
 * plx_vhost_user_connect() - Reach the backend, or wait for it to come.
 *
 * Tries until its patience is over.
 *
 * Return: 0; -ENODEV when there is no backend, -EACCES when it may not be reached, -errno.
 */
int plx_vhost_user_connect(struct plx_vhost_user_socket *s);

/* Leave the backend. */
void plx_vhost_user_hang_up(struct plx_vhost_user_socket *s);

/*
 * plx_vhost_user_hung_up() - Whether the backend has left, or there is no connection.
 *
 * Any thread may call while the connection stays; never blocks.
 */
bool plx_vhost_user_hung_up(const struct plx_vhost_user_socket *s);

/*
 * plx_vhost_user_part() - Say that nothing more will come, and wait for the backend to hang up.
 *
 * Return: 0 when it did; -ETIMEDOUT.
 */
int plx_vhost_user_part(struct plx_vhost_user_socket *s);

/*
 * plx_vhost_user_send() - Send a message with its descriptors, which stay the caller's.
 * @message: header.request, header.size, payload and descriptors; the flags are filled in
 * @flags: 0 or VHOST_USER_NEED_REPLY
 *
 * Return: 0; -ENODEV when the backend hung up; -ETIMEDOUT when it does not read.
 */
int plx_vhost_user_send(
	struct plx_vhost_user_socket *s, struct plx_vhost_user_message *message, uint32_t flags);

/* What the answer to a request may look like. */
struct plx_vhost_user_form {
	uint32_t size_min; /* bytes of payload */
	uint32_t size_max;
	unsigned fds;
};

/*
 * plx_vhost_user_receive() - Receive the answer to a request.
 * @message: header.request says to which; the rest is filled in, zeros behind a short payload
 *
 * The descriptors are the caller's. When the call fails there are none.
 *
 * Return: 0; -ENODEV when the backend hung up; -ETIMEDOUT; -EPROTO when it sent something else.
 */
int plx_vhost_user_receive(struct plx_vhost_user_socket *s, struct plx_vhost_user_message *message,
	const struct plx_vhost_user_form *form);

#endif
