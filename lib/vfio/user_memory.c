/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/clock.h"
#include "vfio/user_priv.h"

#include <inttypes.h>
#include <string.h>

/*
 * The memory that a server is given: each segment is a file that it maps, at the segment's IOVA. A
 * server that cannot map reads and writes by message, and reaches what is mapped and nothing else.
 */

static int tell_map(struct vfio_user *user, const struct plx_mem_segment *segment)
{
	static const struct vfio_user_form form = {0, 0, 0};
	struct vfio_user_dma_map map = {
		.argsz = sizeof(map),
		.flags =
			VFIO_USER_DMA_READABLE | (segment->read_only ? 0 : VFIO_USER_DMA_WRITEABLE),
		.address = segment->iova,
		.size = segment->length,
	};

	return vfio_user_ask(user, VFIO_USER_DMA_MAP, &map, sizeof(map), &segment->fd, 1, &form);
}

int vfio_user_tell_memory(struct vfio_user *user)
{
	int err = 0;

	for (unsigned i = 0; !err && i < user->segments; i++)
		err = tell_map(user, &user->segment[i]);
	return err;
}

static int map_locked(struct vfio_user *user, const struct plx_mem_segment *segment)
{
	uint64_t most = MIN(user->server.dma_maps, (uint64_t)VFIO_USER_SEGMENTS);
	int err = 0;

	if (user->segments >= most)
		return plx_fail(ENOSPC,
			"%s: the server takes %u pieces of memory and the context would have %u: make fewer and larger pools",
			user->base.name, (unsigned)most, user->segments + 1);
	/* A server that has gone hears of it when it is back. */
	if (!user->fault)
		err = tell_map(user, segment);
	if (!err)
		user->segment[user->segments++] = *segment;
	return err;
}

static int map(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct vfio_user *user = container_of(mapper, struct vfio_user, mapper);
	int err;

	(void)pthread_mutex_lock(&user->lock);
	err = map_locked(user, segment);
	(void)pthread_mutex_unlock(&user->lock);
	return err;
}

static void unmap_locked(struct vfio_user *user, const struct plx_mem_segment *segment)
{
	static const struct vfio_user_form form = {0, sizeof(struct vfio_user_dma_unmap), 0};
	struct vfio_user_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.address = segment->iova,
		.size = segment->length,
	};
	unsigned at = 0;

	while (at < user->segments && user->segment[at].iova != segment->iova)
		at++;
	if (at == user->segments)
		return;
	user->segment[at] = user->segment[--user->segments];
	if (user->fault || user->wire.socket < 0)
		return;
	if (vfio_user_ask(user, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0, &form))
		plx_log(user->base.log, PLX_LOG_WARNING,
			"%s: %" PRIu64 " bytes at IOVA 0x%" PRIx64 " are not unmapped: %s",
			user->base.name, segment->length, segment->iova, plx_error());
}

static void unmap(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct vfio_user *user = container_of(mapper, struct vfio_user, mapper);

	(void)pthread_mutex_lock(&user->lock);
	unmap_locked(user, segment);
	(void)pthread_mutex_unlock(&user->lock);
}

const struct plx_mapper_ops vfio_user_mapper = {
	.map = map,
	.unmap = unmap,
};

/* --- access by message --- */

/* The memory behind a range that the server names; NULL: it is none of its own. */
static void *reach(
	const struct vfio_user *user, const struct vfio_user_dma_access *access, bool write)
{
	for (unsigned i = 0; i < user->segments; i++) {
		const struct plx_mem_segment *segment = &user->segment[i];
		uint64_t offset = access->address - segment->iova;

		if (access->address >= segment->iova &&
			plx_range_fits(offset, access->count, segment->length))
			return write && segment->read_only ? NULL
							   : (uint8_t *)segment->address + offset;
	}
	return NULL;
}

/*
 * Carry out what lies in user->wire.in. Return: bytes of payload of the answer, in user->out;
 * -errno to refuse it with.
 */
static int access_memory(struct vfio_user *user)
{
	const struct plx_vfio_user_message *in = &user->wire.in;
	bool write = in->header.command == VFIO_USER_DMA_WRITE;
	size_t size = plx_vfio_user_payload_size(in);
	struct vfio_user_dma_access access;
	void *memory;

	if (size < sizeof(access) || in->fds)
		return -EINVAL;
	memcpy(&access, in->payload, sizeof(access));
	if (access.count > PLX_VFIO_USER_DATA ||
		size != sizeof(access) + (write ? access.count : 0))
		return -EINVAL;
	memory = reach(user, &access, write);
	if (!memory)
		return -EFAULT;
	memcpy(user->out.payload, &access, sizeof(access));
	if (write) {
		memcpy(memory, in->payload + sizeof(access), access.count);
		user->counts.dma_writes++;
		return sizeof(access);
	}
	memcpy(user->out.payload + sizeof(access), memory, access.count);
	user->counts.dma_reads++;
	return (int)(sizeof(access) + access.count);
}

int vfio_user_serve_dma(struct vfio_user *user, uint64_t deadline)
{
	const struct vfio_user_header *command = &user->wire.in.header;
	int size;

	if (command->command != VFIO_USER_DMA_READ && command->command != VFIO_USER_DMA_WRITE)
		return vfio_user_nonsense(
			user, command->command, "it is no command that a server may send");
	size = access_memory(user);
	if (size < 0)
		user->counts.dma_refused++;
	if (command->flags & VFIO_USER_NO_REPLY)
		return 0;
	user->out.header = *command;
	user->out.header.flags = VFIO_USER_REPLY | (size < 0 ? VFIO_USER_ERROR : 0);
	user->out.header.error = size < 0 ? (uint32_t)-size : 0;
	user->out.header.size = (uint32_t)(sizeof(*command) + (size_t)MAX(size, 0));
	user->out.fds = 0;
	if (!plx_vfio_user_send(user->wire.socket, &user->out, deadline))
		return 0;
	return vfio_user_give_up(user,
		plx_fail(ENODEV,
			"%s: the server does not take the answer to its %s: it has ended, or hangs",
			user->base.name, plx_vfio_user_command_name(command->command)));
}
