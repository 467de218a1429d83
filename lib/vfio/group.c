/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/group.h"

#include "base/compiler.h"
#include "base/error.h"
#include "vfio/vfio_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct group_device {
	struct plx_vfio_fd_device device;
	struct plx_vfio_group *group;
	struct group_device *next;
};

/* An IOMMU group that is open, and the devices open in it. */
struct plx_vfio_group {
	struct plx_vfio_container *container;
	struct plx_vfio_group *next;
	struct group_device *devices;
	struct plx_mapper limits;
	int number;
	int fd;
};

static int group_viable(const struct plx_vfio_group *group, const char *name)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};

	if (group->container->sys->ioctl(group->fd, VFIO_GROUP_GET_STATUS, &status))
		return plx_fail(errno, "%s: VFIO does not tell the state of IOMMU group %d: %s",
			name, group->number, strerror(errno));
	if (status.flags & VFIO_GROUP_FLAGS_VIABLE)
		return 0;
	return plx_fail(EPERM,
		"%s: IOMMU group %d is not viable, because another driver has a device of it; bind "
		"every device in /sys/kernel/iommu_groups/%d/devices to vfio-pci, or to no driver",
		name, group->number, group->number);
}

static int group_create(struct plx_vfio_container *container, const struct plx_vfio_target *target,
	struct plx_vfio_group **group)
{
	struct plx_vfio_group *g = calloc(1, sizeof(*g));
	char path[32];
	int err;

	if (!g)
		return plx_fail(ENOMEM, "%s: no memory for its IOMMU group", target->name);
	g->container = container;
	g->number = target->group;

	err = plx_vfio_container_hold(container, target->name);
	if (err)
		goto free_group;
	(void)snprintf(path, sizeof(path), "/dev/vfio/%s%d", container->noiommu ? "noiommu-" : "",
		target->group);
	err = g->fd = plx_vfio_open_node(container->sys, target->name, path);
	if (err < 0)
		goto drop_container;
	err = group_viable(g, target->name);
	if (err)
		goto close_group;
	err = plx_vfio_container_join(container, target->name, g->fd, &g->limits);
	if (err)
		goto close_group;

	g->next = container->groups;
	container->groups = g;
	*group = g;
	return 0;

close_group:
	(void)container->sys->close(g->fd);
drop_container:
	plx_vfio_container_drop(container);
free_group:
	free(g);
	return err;
}

/* Does nothing while a device of the group is open. */
static void group_release(struct plx_vfio_group *group)
{
	struct plx_vfio_container *container = group->container;
	struct plx_vfio_group **link = &container->groups;

	if (group->devices)
		return;
	while (*link != group)
		link = &(*link)->next;
	*link = group->next;

	plx_vfio_container_leave(container, group->fd, &group->limits);
	(void)container->sys->close(group->fd);
	plx_vfio_container_drop(container);
	free(group);
}

static int group_get(struct plx_vfio_container *container, const struct plx_vfio_target *target,
	struct plx_vfio_group **group)
{
	struct plx_vfio_group *g;
	struct group_device *d;

	for (g = container->groups; g; g = g->next)
		if (g->number == target->group)
			break;
	if (!g)
		return group_create(container, target, group);
	for (d = g->devices; d; d = d->next)
		if (!strcmp(d->device.base.name, target->name))
			return plx_fail(
				EBUSY, "%s: it is open already in this context", target->name);
	*group = g;
	return 0;
}

static int device_fd(const struct plx_vfio_group *group, const char *name)
{
	int fd = group->container->sys->ioctl(group->fd, VFIO_GROUP_GET_DEVICE_FD, (void *)name);
	int err = errno;

	if (fd >= 0)
		return fd;
	if (err == ENODEV)
		return plx_fail(err,
			"%s: VFIO does not have it in IOMMU group %d; bind it to vfio-pci: `pollux "
			"bind %s`",
			name, group->number, name);
	if (err == EAGAIN)
		return plx_fail(err, "%s: the kernel is busy resetting it; try again", name);
	return plx_fail(err, "%s: VFIO does not open it: %s (see dmesg)", name, strerror(err));
}

static void group_device_close(struct plx_vfio_device *base)
{
	struct group_device *device = container_of(base, struct group_device, device.base);
	struct plx_vfio_group *group = device->group;
	struct plx_vfio_container *container = group->container;
	struct group_device **link = &group->devices;

	(void)pthread_mutex_lock(&container->lock);
	/*
	 * Quiet before anything is unmapped. The kernel does the same, and resets the function,
	 * when the descriptor is released; but that waits for the last mapping or copy of it, and
	 * this does not.
	 */
	if (plx_vfio_bus_master(base, false))
		plx_log(base->log, PLX_LOG_DEBUG, "%s", plx_error());
	(void)container->sys->close(device->device.fd);

	while (*link != device)
		link = &(*link)->next;
	*link = device->next;
	group_release(group);
	(void)pthread_mutex_unlock(&container->lock);
	free(device);
}

static const struct plx_vfio_ops group_ops = {
	.name = "group",
	PLX_VFIO_FD_OPS,
	.close = group_device_close,
};

static const struct plx_vfio_ops noiommu_ops = {
	.name = "noiommu",
	PLX_VFIO_FD_OPS,
	.close = group_device_close,
};

static int group_open(struct plx_vfio_container *container, const struct plx_vfio_target *target,
	struct group_device *device)
{
	struct plx_vfio_fd_device *fd_device = &device->device;
	int err;

	err = group_get(container, target, &device->group);
	if (err)
		return err;
	err = fd_device->fd = device_fd(device->group, target->name);
	if (err < 0)
		goto release_group;
	err = plx_vfio_fd_device_learn(fd_device);
	if (err)
		goto close_device;
	/* Last, so that the device reaches nothing until the IOMMU stands before it. */
	err = plx_vfio_bus_master(&fd_device->base, true);
	if (err)
		goto close_device;
	device->next = device->group->devices;
	device->group->devices = device;
	return 0;

close_device:
	(void)container->sys->close(fd_device->fd);
release_group:
	group_release(device->group);
	return err;
}

int plx_vfio_group_open(struct plx_vfio_container *container, const struct plx_vfio_target *target,
	struct plx_vfio_device **device)
{
	struct group_device *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return plx_fail(ENOMEM, "%s: no memory for the device", target->name);
	d->device.sys = container->sys;
	d->device.base = (struct plx_vfio_device){
		.ops = container->noiommu ? &noiommu_ops : &group_ops,
		.log = container->log,
		.numa_node = target->numa_node,
		.dma_translated = !container->noiommu,
	};
	(void)snprintf(d->device.base.name, sizeof(d->device.base.name), "%s", target->name);

	(void)pthread_mutex_lock(&container->lock);
	err = group_open(container, target, d);
	(void)pthread_mutex_unlock(&container->lock);
	if (err) {
		free(d);
		return err;
	}
	if (container->noiommu)
		plx_log(container->log, PLX_LOG_WARNING,
			"%s: NO IOMMU stands before it: the device can read and write all memory "
			"of this machine, and a fault of it or of this program may destroy data "
			"anywhere; noiommu=allow asked for that",
			target->name);
	*device = &d->device.base;
	return 0;
}
