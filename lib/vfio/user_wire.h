/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_VFIO_USER_WIRE_H
#define PLX_VFIO_USER_WIRE_H

#include "base/socket.h"
#include "vfio/user_reg.h"

/*
 * Messages of vfio-user as they go over a socket, and the capabilities that its two ends tell each
 * other: the same for the client, user.c, and for the server of the emulated devices.
 *
 * What the other end sends is checked for its form here: that its size is one that a message can
 * have, and that no more descriptors come than were asked for. One thread at a time.
 */

/* Bytes of data that one message may move, and descriptors that may come with it. */
#define PLX_VFIO_USER_DATA 65536
#define PLX_VFIO_USER_FDS  64

#define PLX_VFIO_USER_PAYLOAD (sizeof(struct vfio_user_region_access) + PLX_VFIO_USER_DATA)

struct plx_vfio_user_message {
	struct vfio_user_header header;
	uint8_t payload[PLX_VFIO_USER_PAYLOAD] __attribute__((aligned(8)));
	unsigned fds;
	int fd[PLX_VFIO_USER_FDS];
};

/* One direction of reading: a message that has come in part. */
struct plx_vfio_user_wire {
	int socket;
	size_t got;     /* bytes of the message that is coming */
	uint64_t since; /* when its first byte came */
	struct plx_vfio_user_message in;
};

/* The name of a command, as the protocol has it without VFIO_USER. */
const char *plx_vfio_user_command_name(unsigned command);

static inline size_t plx_vfio_user_payload_size(const struct plx_vfio_user_message *message)
{
	return message->header.size - sizeof(message->header);
}

/*
 * plx_vfio_user_send() - Send a message, with its descriptors, in one piece.
 *
 * The descriptors stay the caller's.
 *
 * Return: 0; -ENODEV when the other end hung up; -ETIMEDOUT when it does not read.
 */
int plx_vfio_user_send(int socket, const struct plx_vfio_user_message *message, uint64_t deadline);

/*
 * plx_vfio_user_receive() - Receive a message.
 * @deadline: to wait for all of it; a time that has passed means not to wait
 *
 * The message stays until the next call; its descriptors are closed then, but for those that the
 * caller took by writing -1 over them.
 *
 * Return: 1 with the message in @wire->in; 0 when the deadline has passed; -ENODEV when the other
 * end hung up; -EPROTO when its size is none that a message can have, or it has too many
 * descriptors. After a failure nothing more can be read.
 */
int plx_vfio_user_receive(struct plx_vfio_user_wire *wire, uint64_t deadline);

/* Be done with the message that came, or came in part. */
void plx_vfio_user_drop(struct plx_vfio_user_wire *wire);

/*
 * Whether a file of the other end's may be mapped: it has @size bytes, and is sealed against being
 * cut short, which would end whoever touches the pages that are gone.
 */
bool plx_vfio_user_is_safe_file(int fd, uint64_t size);

/*
 * Whether a descriptor of the other end's may be written to as an eventfd: a pipe or socket that
 * nobody reads would raise SIGPIPE.
 */
bool plx_vfio_user_is_safe_event(int fd);

/* What one end says of itself when they greet. */
struct plx_vfio_user_capabilities {
	uint64_t msg_fds; /* descriptors it receives in one message */
	uint64_t data;    /* bytes it moves by one message */
	uint64_t dma_maps;
	uint64_t pgsizes; /* or'ed together */
};

/* Write them as JSON. Return: bytes with the NUL; -ENOMEM. */
int plx_vfio_user_write_capabilities(
	const struct plx_vfio_user_capabilities *capabilities, char *text, size_t room);

/*
 * plx_vfio_user_read_capabilities() - Read them from JSON.
 * @text: what came, which must end with its NUL; @len 0: nothing was said
 *
 * What is not named gets its default; names that are not known are passed over.
 *
 * Return: 0; -EPROTO when it is no such text; -ENOMEM.
 */
int plx_vfio_user_read_capabilities(
	struct plx_vfio_user_capabilities *capabilities, const char *text, size_t len);

#endif
