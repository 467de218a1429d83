/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "virtio/vhost_user_priv.h"

/*
 * The memory that a backend is given: each segment is a file, its IOVA is announced as the guest's
 * physical address, and its address in this process as the user's. The protocol has no memory that
 * a backend may only read.
 */

static bool has_slots(const struct vhost_user *vhost)
{
	return vhost_user_speaks(vhost, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
}

static int check_room(const struct vhost_user *vhost, unsigned segments)
{
	uint64_t most = MIN(vhost->slots, (uint64_t)VHOST_USER_SEGMENTS);

	if (segments <= most)
		return 0;
	return plx_fail(ENOSPC,
		"%s: the backend takes %u pieces of memory and the context would have %u: make fewer and larger pools",
		vhost->virtio.name, (unsigned)most, segments);
}

static int tell_table(struct vhost_user *vhost)
{
	struct plx_vhost_user_message message = {
		.header.request = VHOST_USER_SET_MEM_TABLE,
		.header.size = (uint32_t)(offsetof(struct vhost_user_memory, region) +
					  vhost->segments * sizeof(struct vhost_user_region)),
		.payload.memory.count = vhost->segments,
		.fds = vhost->segments,
	};

	for (unsigned i = 0; i < vhost->segments; i++) {
		message.payload.memory.region[i] = vhost->segment[i].region;
		message.fd[i] = vhost->segment[i].fd;
	}
	return vhost_user_tell(vhost, &message);
}

/* ADD_MEM_REG comes with the file, REM_MEM_REG without. */
static int tell_region(
	struct vhost_user *vhost, uint32_t request, const struct vhost_user_segment *segment)
{
	struct plx_vhost_user_message message = {
		.header = {.request = request, .size = sizeof(message.payload.memory_region)},
		.payload.memory_region.region = segment->region,
		.fds = request == VHOST_USER_ADD_MEM_REG,
		.fd = {segment->fd},
	};

	return vhost_user_tell(vhost, &message);
}

static int add_region(struct vhost_user *vhost, struct vhost_user_segment *segment)
{
	int err = tell_region(vhost, VHOST_USER_ADD_MEM_REG, segment);

	segment->told = !err;
	return err;
}

int vhost_user_tell_memory(struct vhost_user *vhost)
{
	int err = check_room(vhost, vhost->segments);

	if (err)
		return vhost_user_give_up(vhost, err);
	if (!has_slots(vhost))
		return tell_table(vhost);
	for (unsigned i = 0; !err && i < vhost->segments; i++)
		if (!vhost->segment[i].told)
			err = add_region(vhost, &vhost->segment[i]);
	return err;
}

void vhost_user_forget_memory(struct vhost_user *vhost)
{
	for (unsigned i = 0; i < vhost->segments; i++)
		vhost->segment[i].told = false;
}

void *vhost_user_translate(const struct vhost_user *vhost, uint64_t iova, uint64_t len)
{
	for (unsigned i = 0; i < vhost->segments; i++) {
		const struct vhost_user_region *region = &vhost->segment[i].region;
		uint64_t offset = iova - region->guest_address;

		if (iova >= region->guest_address && plx_range_fits(offset, len, region->size))
			return (void *)(uintptr_t)(region->user_address + offset);
	}
	return NULL;
}

/*
 * Before the rings run, the backend needs no memory; the start tells it of all. Once they do, it
 * must know of a segment before a buffer in it is posted.
 */
static int map_locked(struct vhost_user *vhost, const struct plx_mem_segment *segment)
{
	struct vhost_user_segment *new = &vhost->segment[vhost->segments];
	int err = check_room(vhost, vhost->segments + 1);

	if (err)
		return err;
	*new = (struct vhost_user_segment){
		.region = {segment->iova, segment->length, (uintptr_t)segment->address, 0},
		.fd = segment->fd,
	};
	vhost->segments++;
	/* A backend that has gone hears of it when it is back. */
	if (!vhost->live || vhost->fault)
		return 0;
	err = vhost_user_tell_memory(vhost);
	if (!err)
		err = vhost_user_settle(vhost);
	if (err)
		vhost->segments--;
	return err;
}

static int map(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct vhost_user *vhost = container_of(mapper, struct vhost_user, mapper);
	int err;

	(void)pthread_mutex_lock(&vhost->lock);
	err = map_locked(vhost, segment);
	(void)pthread_mutex_unlock(&vhost->lock);
	return err;
}

static void unmap_locked(struct vhost_user *vhost, const struct plx_mem_segment *segment)
{
	struct vhost_user_segment gone;
	unsigned at = 0;

	while (at < vhost->segments && vhost->segment[at].region.guest_address != segment->iova)
		at++;
	if (at == vhost->segments)
		return;
	gone = vhost->segment[at];
	vhost->segment[at] = vhost->segment[--vhost->segments];
	if (vhost->fault || vhost->socket.fd < 0)
		return;
	/* What fails here ends the session, and the next start says why. */
	if (gone.told)
		(void)tell_region(vhost, VHOST_USER_REM_MEM_REG, &gone);
	else if (vhost->live && !has_slots(vhost))
		(void)tell_table(vhost);
}

static void unmap(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct vhost_user *vhost = container_of(mapper, struct vhost_user, mapper);

	(void)pthread_mutex_lock(&vhost->lock);
	unmap_locked(vhost, segment);
	(void)pthread_mutex_unlock(&vhost->lock);
}

const struct plx_mapper_ops vhost_user_mapper = {
	.map = map,
	.unmap = unmap,
};
