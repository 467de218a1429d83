/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "vfio/user_priv.h"
#include "vfio/vfio_priv.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/*
 * What a server says of its device: regions, the files behind them, registers that an eventfd
 * stands for, and interrupts. Each claim has a limit.
 */

/* No BAR of a device that is driven here has that many bytes. */
#define REGION_MOST (UINT64_C(1) << 40)

/* Regions and kinds of interrupt that a device may have; those beyond PCI's are not looked at. */
#define NUMBER_MOST 256

static int learn_device(struct vfio_user *user)
{
	static const struct vfio_user_form form = {
		sizeof(struct vfio_user_device_info), sizeof(struct vfio_user_device_info) + 64, 0};
	struct vfio_user_device_info info = {.argsz = sizeof(info)};
	int err =
		vfio_user_ask(user, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), NULL, 0, &form);

	if (err)
		return err;
	memcpy(&info, user->wire.in.payload, sizeof(info));
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI) || info.regions <= VFIO_PCI_CONFIG_REGION_INDEX)
		return plx_fail(
			ENOTSUP, "%s: the server's device is no PCI function", user->base.name);
	if (info.regions > NUMBER_MOST || info.irqs > NUMBER_MOST)
		return vfio_user_nonsense(
			user, VFIO_USER_DEVICE_GET_INFO, "no device has so many regions");
	user->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
	user->base.regions = MIN(info.regions, (unsigned)VFIO_PCI_NUM_REGIONS);
	return (int)MIN(info.irqs, (unsigned)VFIO_PCI_NUM_IRQS);
}

/* Keep the file of a region that may be mapped, and where in it that is. */
static void take_file(struct vfio_user *user, unsigned index, const struct vfio_region_info *info)
{
	struct plx_vfio_region *region = &user->base.region[index];
	struct plx_vfio_user_message *in = &user->wire.in;
	uint32_t first = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;

	region->flags &= ~VFIO_REGION_INFO_FLAG_MMAP;
	if (!(info->flags & VFIO_REGION_INFO_FLAG_MMAP) || !info->size || !in->fds ||
		info->argsz > plx_vfio_user_payload_size(in))
		return;
	if (!plx_vfio_user_is_safe_file(in->fd[0], info->offset + info->size)) {
		plx_log(user->base.log, PLX_LOG_INFO,
			"%s: region %u is not mapped: the server's file is too short, or not sealed against being cut short",
			user->base.name, index);
		return;
	}
	plx_vfio_learn_areas(region, in->payload, plx_vfio_user_payload_size(in), first);
	region->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	user->file[index] = in->fd[0];
	in->fd[0] = -1;
}

static int learn_region(struct vfio_user *user, unsigned index)
{
	static const struct vfio_user_form form = {
		sizeof(struct vfio_region_info), PLX_VFIO_ANSWER, 1};
	struct vfio_region_info info = {.argsz = PLX_VFIO_ANSWER, .index = index};
	struct plx_vfio_region *region = &user->base.region[index];
	int err = vfio_user_ask(
		user, VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info), NULL, 0, &form);

	*region = (struct plx_vfio_region){0};
	/* A server may refuse what its device does not have. */
	if (err == -EINVAL && !user->fault && index != VFIO_PCI_CONFIG_REGION_INDEX)
		return 0;
	if (err)
		return err;
	memcpy(&info, user->wire.in.payload, sizeof(info));
	if (info.index != index || info.size > REGION_MOST || info.offset > INT64_MAX - REGION_MOST)
		return vfio_user_nonsense(user, VFIO_USER_DEVICE_GET_REGION_INFO,
			info.index == index ? "no region is so large" : "it is of another region");
	region->size = info.size;
	region->flags = info.flags;
	region->cookie = info.offset;
	take_file(user, index, &info);
	return 0;
}

/* --- registers that an eventfd stands for --- */

/*
 * Entries are as long as the sender has them: those of 48 bytes have what is compared with at
 * their end, behind fields that are of no use here.
 */
static void read_entry(const uint8_t *from, size_t stride, struct vfio_user_ioeventfd *entry)
{
	memcpy(entry, from, sizeof(*entry));
	if (stride >= sizeof(*entry) + sizeof(entry->datamatch))
		memcpy(&entry->datamatch, from + sizeof(*entry), sizeof(entry->datamatch));
}

static bool is_valid_doorbell(
	const struct plx_vfio_region *region, const struct vfio_user_ioeventfd *entry, unsigned fds)
{
	const uint32_t known = VFIO_USER_IO_FD_DATAMATCH;
	uint64_t len = entry->size ? entry->size : 1;

	return entry->type == VFIO_USER_IO_FD_IOEVENTFD && entry->fd_index < fds &&
	       !(entry->flags & ~known) && len <= 8 && plx_is_power_of_two(len) &&
	       plx_range_fits(entry->offset, len, region->size);
}

/* Several entries may share a descriptor, so each gets one of its own that never blocks. */
static void add_doorbell(
	struct vfio_user *user, unsigned region, const struct vfio_user_ioeventfd *entry)
{
	int fd;

	if (user->doorbells == VFIO_USER_DOORBELLS ||
		!plx_vfio_user_is_safe_event(user->wire.in.fd[entry->fd_index]))
		return;
	fd = fcntl(user->wire.in.fd[entry->fd_index], F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (fcntl(fd, F_SETFL, O_NONBLOCK)) {
		(void)close(fd);
		return;
	}
	user->doorbell[user->doorbells++] = (struct vfio_user_doorbell){
		.offset = entry->offset,
		.size = entry->size,
		.value = entry->datamatch,
		.region = region,
		.match = entry->flags & VFIO_USER_IO_FD_DATAMATCH,
		.fd = fd,
	};
}

/* None is no fault: then the registers are written by message. */
static int learn_doorbells(struct vfio_user *user, unsigned index)
{
	static const struct vfio_user_form form = {
		sizeof(struct vfio_user_io_fds), PLX_VFIO_USER_DATA, PLX_VFIO_USER_FDS};
	struct vfio_user_io_fds info = {.argsz = PLX_VFIO_USER_DATA, .index = index};
	const struct plx_vfio_region *region = &user->base.region[index];
	const struct plx_vfio_user_message *in = &user->wire.in;
	size_t room, stride;
	int err;

	if (!region->size || !(region->flags & VFIO_REGION_INFO_FLAG_WRITE))
		return 0;
	err = vfio_user_ask(
		user, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &info, sizeof(info), NULL, 0, &form);
	if (err)
		return user->fault ? err : 0;
	memcpy(&info, in->payload, sizeof(info));
	room = plx_vfio_user_payload_size(in) - sizeof(info);
	if (!info.count || info.index != index ||
		room / info.count < sizeof(struct vfio_user_ioeventfd))
		return 0;
	stride = room / info.count;
	for (uint32_t i = 0; i < info.count; i++) {
		struct vfio_user_ioeventfd entry;

		read_entry(in->payload + sizeof(info) + i * stride, stride, &entry);
		if (is_valid_doorbell(region, &entry, in->fds))
			add_doorbell(user, index, &entry);
	}
	return 0;
}

/* --- interrupts --- */

static int learn_irqs(struct vfio_user *user, unsigned index)
{
	static const struct vfio_user_form form = {
		sizeof(struct vfio_irq_info), sizeof(struct vfio_irq_info), 0};
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};
	int err = vfio_user_ask(
		user, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info), NULL, 0, &form);

	user->base.irqs[index] = 0;
	if (err)
		return user->fault ? err : 0;
	memcpy(&info, user->wire.in.payload, sizeof(info));
	if (info.index != index || info.count > VFIO_USER_VECTORS)
		return vfio_user_nonsense(user, VFIO_USER_DEVICE_GET_IRQ_INFO,
			info.index == index ? "no device has so many" : "it is of another index");
	if (info.flags & VFIO_IRQ_INFO_EVENTFD)
		user->base.irqs[index] = info.count;
	return 0;
}

void vfio_user_forget(struct vfio_user *user)
{
	for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		if (user->file[i] >= 0)
			(void)close(user->file[i]);
		user->file[i] = -1;
	}
	for (unsigned i = 0; i < user->doorbells; i++)
		(void)close(user->doorbell[i].fd);
	user->doorbells = 0;
}

int vfio_user_learn(struct vfio_user *user)
{
	int irqs, err = 0;

	vfio_user_forget(user);
	irqs = learn_device(user);
	if (irqs < 0)
		return irqs;
	for (unsigned i = 0; !err && i < user->base.regions; i++)
		err = learn_region(user, i);
	for (unsigned i = VFIO_PCI_BAR0_REGION_INDEX; !err && i <= VFIO_PCI_BAR5_REGION_INDEX; i++)
		err = learn_doorbells(user, i);
	for (unsigned i = 0; !err && i < (unsigned)irqs; i++)
		err = learn_irqs(user, i);
	return err;
}

static bool is_same_region(const struct plx_vfio_region *a, const struct plx_vfio_region *b)
{
	const uint32_t both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;

	return a->size == b->size && (a->flags & both) == (b->flags & both);
}

int vfio_user_learn_again(struct vfio_user *user)
{
	struct plx_vfio_device before = user->base;
	bool same;
	int err = vfio_user_learn(user);

	same = before.regions == user->base.regions;
	for (unsigned i = 0; same && i < before.regions; i++)
		same = is_same_region(&before.region[i], &user->base.region[i]);
	for (unsigned i = 0; same && i < VFIO_PCI_NUM_IRQS; i++)
		same = user->base.irqs[i] >= user->irqs[i].count;
	/* What was learned from a server that is refused is not the device's. */
	if (err || !same) {
		memcpy(user->base.region, before.region, sizeof(before.region));
		memcpy(user->base.irqs, before.irqs, sizeof(before.irqs));
		user->base.regions = before.regions;
		vfio_user_forget(user);
	}
	if (!err && !same)
		err = plx_fail(EPROTO,
			"%s: the server that came back has another device: close it and open it again",
			user->base.name);
	return err;
}
