/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VIRTIO_VHOST_USER_H
#define PLX_VIRTIO_VHOST_USER_H

#include "base/options.h"
#include "virtio/virtio.h"

/*
 * plx_vhost_user_open() - Reach a network backend over a unix socket.
 * @address: the path of the socket, and options, of which those of the transport are taken
 *
 * Connects, or listens and waits for the backend, and asks what it can do. Blocks up to the limits
 * in the address.
 *
 * Return: 0; -EINVAL for an option that makes no sense; -ENODEV when there is no backend, or it
 * hung up; -EADDRINUSE when another program listens there; -ETIMEDOUT when it does not answer;
 * -EPROTO when what it says is no vhost-user; -ENOMEM; -errno of the socket.
 */
int plx_vhost_user_open(struct plx_mem *mem, const struct plx_log *log, struct plx_address *address,
	struct plx_virtio **virtio);

#endif
