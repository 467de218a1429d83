/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/iommufd.h"

#include "base/compiler.h"
#include "base/error.h"
#include "vfio/iommufd_uapi.h"
#include "vfio/vfio_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IOMMU_NODE "/dev/iommu"
#define NODE_LEN   64

struct iommufd_device {
	struct plx_vfio_fd_device device;
	struct plx_vfio_iommufd *owner;
	struct iommufd_device *next;
	struct plx_mapper limits;
};

struct plx_vfio_iommufd {
	struct plx_mem *mem;
	const struct plx_log *log;
	const struct plx_vfio_sys *sys;
	pthread_mutex_t lock; /* guards the lines below; taken before the memory's lock */
	int fd;               /* of /dev/iommu, -1 unless a device is open or being opened */
	uint32_t ioas;        /* the address space of all devices */
	struct iommufd_device *devices;
	struct plx_mapper mapper; /* attached while there is a device */
	uint64_t mapped;          /* bytes; guarded by the memory's lock, like every mapper call */
	bool maps_no_files;       /* the kernel said so; guarded likewise */
};

static void node_path(const struct plx_vfio_target *target, char path[NODE_LEN])
{
	(void)snprintf(path, NODE_LEN, "/dev/vfio/devices/%s", target->node);
}

bool plx_vfio_iommufd_usable(const struct plx_vfio_target *target)
{
	char path[NODE_LEN];

	node_path(target, path);
	return *target->node && !access(path, R_OK | W_OK) && !access(IOMMU_NODE, R_OK | W_OK);
}

/* --- memory ----------------------------------------------------------------------------------- */

static int map_failed(
	const struct plx_vfio_iommufd *iommufd, const struct plx_mem_segment *segment, int err)
{
	uint64_t last = segment->iova + segment->length - 1;

	switch (err) {
	case ENOMEM:
		return plx_vfio_cannot_pin(iommufd->mapped + segment->length);
	case EEXIST:
		return plx_fail(err,
			"iommufd has memory at IOVAs 0x%" PRIx64 " to 0x%" PRIx64 " already",
			segment->iova, last);
	case EINVAL:
	case EOVERFLOW:
	case EADDRINUSE:
		return plx_fail(EINVAL,
			"iommufd refuses memory at IOVAs 0x%" PRIx64 " to 0x%" PRIx64
			": the IOMMU cannot address them, keeps them for itself, or needs larger "
			"pages than %" PRIu64 " bytes",
			segment->iova, last, segment->page_size);
	default:
		return plx_fail(err,
			"iommufd cannot map memory at IOVAs 0x%" PRIx64 " to 0x%" PRIx64 ": %s",
			segment->iova, last, strerror(err));
	}
}

/* The same pages by their file, which costs the kernel no look at each page's owner. */
static int map_file(
	struct plx_vfio_iommufd *iommufd, const struct plx_mem_segment *segment, uint32_t flags)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = flags,
		.ioas_id = iommufd->ioas,
		.fd = segment->fd,
		.length = segment->length,
		.iova = segment->iova,
	};

	return iommufd->sys->ioctl(iommufd->fd, IOMMU_IOAS_MAP_FILE, &map) ? -errno : 0;
}

static int map_addresses(
	struct plx_vfio_iommufd *iommufd, const struct plx_mem_segment *segment, uint32_t flags)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = flags,
		.ioas_id = iommufd->ioas,
		.user_va = (uintptr_t)segment->address,
		.length = segment->length,
		.iova = segment->iova,
	};

	return iommufd->sys->ioctl(iommufd->fd, IOMMU_IOAS_MAP, &map) ? -errno : 0;
}

static int iommufd_map(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct plx_vfio_iommufd *iommufd = container_of(mapper, struct plx_vfio_iommufd, mapper);
	uint32_t flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 (segment->read_only ? 0 : IOMMU_IOAS_MAP_WRITEABLE);
	int err = -ENOTTY;

	if (!iommufd->maps_no_files)
		err = map_file(iommufd, segment, flags);
	/* How Linux before 6.13 says that it does not know the call. */
	if (err == -ENOTTY || err == -EOPNOTSUPP) {
		iommufd->maps_no_files = true;
		err = map_addresses(iommufd, segment, flags);
	}
	if (err)
		return map_failed(iommufd, segment, -err);
	iommufd->mapped += segment->length;
	return 0;
}

static void iommufd_unmap(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct plx_vfio_iommufd *iommufd = container_of(mapper, struct plx_vfio_iommufd, mapper);
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = iommufd->ioas,
		.iova = segment->iova,
		.length = segment->length,
	};

	if (iommufd->sys->ioctl(iommufd->fd, IOMMU_IOAS_UNMAP, &unmap))
		plx_log(iommufd->log, PLX_LOG_WARNING,
			"iommufd cannot unmap %" PRIu64 " bytes at IOVA 0x%" PRIx64 ": %s",
			segment->length, segment->iova, strerror(errno));
	else if (unmap.length != segment->length)
		plx_log(iommufd->log, PLX_LOG_WARNING,
			"iommufd unmapped %" PRIu64 " bytes at IOVA 0x%" PRIx64 " where %" PRIu64
			" were mapped",
			unmap.length, segment->iova, segment->length);
	iommufd->mapped -= segment->length;
}

static const struct plx_mapper_ops iommufd_mapper = {
	.map = iommufd_map,
	.unmap = iommufd_unmap,
};

static int read_limits(
	struct plx_vfio_iommufd *iommufd, const char *name, struct plx_vfio_limits *limits)
{
	struct iommu_iova_range range[PLX_VFIO_RANGES];
	struct iommu_ioas_iova_ranges ranges = {
		.size = sizeof(ranges),
		.ioas_id = iommufd->ioas,
		.num_iovas = PLX_VFIO_RANGES,
		.allowed_iovas = (uintptr_t)range,
	};

	if (iommufd->sys->ioctl(iommufd->fd, IOMMU_IOAS_IOVA_RANGES, &ranges))
		return plx_fail(errno,
			"%s: iommufd does not tell which IOVAs the device can address: %s", name,
			strerror(errno));
	if (ranges.num_iovas > PLX_VFIO_RANGES)
		return plx_fail(EPROTO,
			"%s: iommufd announces %" PRIu32 " IOVA ranges and shows fewer", name,
			ranges.num_iovas);
	for (limits->count = 0; limits->count < ranges.num_iovas; limits->count++)
		limits->range[limits->count] = (struct plx_iova_range){
			.first = range[limits->count].start,
			.last = range[limits->count].last,
		};
	return 0;
}

/* --- the address space ------------------------------------------------------------------------ */

int plx_vfio_iommufd_create_on(struct plx_mem *mem, const struct plx_log *log,
	const struct plx_vfio_sys *sys, struct plx_vfio_iommufd **iommufd)
{
	struct plx_vfio_iommufd *i = calloc(1, sizeof(*i));

	if (!i)
		return plx_fail(ENOMEM, "no memory for an address space of iommufd");
	i->mem = mem;
	i->log = log;
	i->sys = sys;
	i->fd = -1;
	i->mapper.ops = &iommufd_mapper;
	/* Cannot fail with default attributes. */
	(void)pthread_mutex_init(&i->lock, NULL);
	*iommufd = i;
	return 0;
}

int plx_vfio_iommufd_create(
	struct plx_mem *mem, const struct plx_log *log, struct plx_vfio_iommufd **iommufd)
{
	return plx_vfio_iommufd_create_on(mem, log, &plx_vfio_kernel, iommufd);
}

void plx_vfio_iommufd_destroy(struct plx_vfio_iommufd *iommufd)
{
	if (!iommufd)
		return;
	(void)pthread_mutex_destroy(&iommufd->lock);
	free(iommufd);
}

/* The address space is there while a device is. */
static int hold_space(struct plx_vfio_iommufd *iommufd, const char *name)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	int fd, err;

	if (iommufd->devices)
		return 0;
	fd = plx_vfio_open_node(iommufd->sys, name, IOMMU_NODE);
	if (fd == -ENOENT)
		return plx_fail(ENOENT,
			"%s: there is no /dev/iommu; run `modprobe iommufd`, or take vfio=group if the kernel has no iommufd",
			name);
	if (fd < 0)
		return fd;
	if (iommufd->sys->ioctl(fd, IOMMU_IOAS_ALLOC, &alloc)) {
		err = plx_fail(
			errno, "%s: iommufd makes no address space: %s", name, strerror(errno));
		(void)iommufd->sys->close(fd);
		return err;
	}
	iommufd->fd = fd;
	iommufd->ioas = alloc.out_ioas_id;
	return 0;
}

static void drop_space(struct plx_vfio_iommufd *iommufd)
{
	struct iommu_destroy destroy = {.size = sizeof(destroy), .id = iommufd->ioas};

	if (iommufd->devices)
		return;
	if (iommufd->sys->ioctl(iommufd->fd, IOMMU_DESTROY, &destroy))
		plx_log(iommufd->log, PLX_LOG_WARNING,
			"iommufd does not give up its address space: %s%s", strerror(errno),
			errno == EBUSY ? "; a child process has a device of it open" : "");
	(void)iommufd->sys->close(iommufd->fd);
	iommufd->fd = -1;
}

/* --- devices ---------------------------------------------------------------------------------- */

static int bind_failed(const struct plx_vfio_target *target, int err)
{
	switch (err) {
	/* How the kernel says that the file is open a second time. */
	case EINVAL:
		return plx_fail(EBUSY,
			"%s: /dev/vfio/devices/%s is busy, because another process or context has "
			"the device; `fuser -v /dev/vfio/devices/%s` names the process",
			target->name, target->node, target->node);
	case EBUSY:
		return plx_fail(err,
			"%s: its IOMMU group is busy, because another process or context has a "
			"device of it through /dev/vfio/%d; `fuser -v /dev/vfio/%d` names the "
			"process",
			target->name, target->group, target->group);
	case EPERM:
		return plx_fail(err,
			"%s: iommufd refuses the device: another driver or program owns a device "
			"of IOMMU group %d, or the machine does not remap interrupts (see dmesg)",
			target->name, target->group);
	case ENOTTY:
		return plx_fail(ENOTSUP,
			"%s: the kernel binds no device to iommufd; use Linux 6.6 or newer, or "
			"take vfio=group",
			target->name);
	default:
		return plx_fail(err, "%s: the device cannot be bound to iommufd: %s (see dmesg)",
			target->name, strerror(err));
	}
}

static int bind_device(struct iommufd_device *device, const struct plx_vfio_target *target)
{
	struct plx_vfio_iommufd *iommufd = device->owner;
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommufd->fd};
	char path[NODE_LEN];
	int fd, err;

	if (!*target->node)
		return plx_fail(ENOENT,
			"%s: it has no file in /dev/vfio/devices, which takes a kernel with "
			"CONFIG_VFIO_DEVICE_CDEV (Linux 6.6) and a device bound to vfio-pci behind "
			"an IOMMU; take vfio=group",
			target->name);
	node_path(target, path);
	fd = plx_vfio_open_node(iommufd->sys, target->name, path);
	if (fd < 0)
		return fd;
	if (iommufd->sys->ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind)) {
		err = bind_failed(target, errno);
		(void)iommufd->sys->close(fd);
		return err;
	}
	device->device.fd = fd;
	return 0;
}

static int attach_failed(const struct plx_vfio_iommufd *iommufd, const char *name, int err)
{
	if (iommufd->devices && (err == EINVAL || err == EADDRINUSE))
		return plx_fail(EINVAL,
			"%s: its IOMMU cannot address the memory that other devices of this "
			"context use already; open it before them, or in a context of its own",
			name);
	return plx_fail(err,
		"%s: the device cannot be attached to the address space: %s (see dmesg)", name,
		strerror(err));
}

static void detach_device(struct iommufd_device *device)
{
	struct vfio_device_detach_iommufd_pt detach = {.argsz = sizeof(detach)};
	struct plx_vfio_device *base = &device->device.base;

	if (device->owner->sys->ioctl(device->device.fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach))
		plx_log(base->log, PLX_LOG_WARNING,
			"%s: the device cannot be detached from its address space: %s", base->name,
			strerror(errno));
}

/* Put the device behind the IOMMU, and all memory within its reach. */
static int attach_device(struct iommufd_device *device)
{
	struct plx_vfio_iommufd *iommufd = device->owner;
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach), .pt_id = iommufd->ioas};
	const char *name = device->device.base.name;
	struct plx_vfio_limits limits;
	int err;

	if (iommufd->sys->ioctl(device->device.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return attach_failed(iommufd, name, errno);
	err = read_limits(iommufd, name, &limits);
	if (!err)
		err = plx_vfio_memory_attach(iommufd->mem, name, &device->limits, &limits,
			iommufd->devices ? NULL : &iommufd->mapper);
	if (err)
		detach_device(device);
	return err;
}

/* Not among the owner's devices any more, or not yet. */
static void release_memory(struct iommufd_device *device)
{
	struct plx_vfio_iommufd *iommufd = device->owner;

	if (!iommufd->devices)
		plx_mem_detach(iommufd->mem, &iommufd->mapper);
	plx_mem_detach(iommufd->mem, &device->limits);
}

static void iommufd_device_close(struct plx_vfio_device *base)
{
	struct iommufd_device *device = container_of(base, struct iommufd_device, device.base);
	struct plx_vfio_iommufd *iommufd = device->owner;
	struct iommufd_device **link = &iommufd->devices;

	(void)pthread_mutex_lock(&iommufd->lock);
	/*
	 * Quiet before anything is unmapped. The kernel does the same, and resets the function,
	 * when the descriptor is released; but that waits for the last mapping or copy of it, and
	 * this does not.
	 */
	if (plx_vfio_bus_master(base, false))
		plx_log(base->log, PLX_LOG_DEBUG, "%s", plx_error());
	detach_device(device);
	(void)iommufd->sys->close(device->device.fd);

	while (*link != device)
		link = &(*link)->next;
	*link = device->next;
	release_memory(device);
	drop_space(iommufd);
	(void)pthread_mutex_unlock(&iommufd->lock);
	free(device);
}

static const struct plx_vfio_ops iommufd_ops = {
	.name = "iommufd",
	PLX_VFIO_FD_OPS,
	.close = iommufd_device_close,
};

static int open_device(struct iommufd_device *device, const struct plx_vfio_target *target)
{
	struct plx_vfio_iommufd *iommufd = device->owner;
	const struct iommufd_device *each;
	int err;

	for (each = iommufd->devices; each; each = each->next)
		if (!strcmp(each->device.base.name, target->name))
			return plx_fail(
				EBUSY, "%s: it is open already in this context", target->name);
	err = hold_space(iommufd, target->name);
	if (err)
		return err;
	err = bind_device(device, target);
	if (err)
		goto drop_space;
	err = attach_device(device);
	if (err)
		goto close_device;
	err = plx_vfio_fd_device_learn(&device->device);
	if (err)
		goto detach_device;
	/* Last, so that the device reaches nothing until the IOMMU stands before it. */
	err = plx_vfio_bus_master(&device->device.base, true);
	if (err)
		goto detach_device;
	device->next = iommufd->devices;
	iommufd->devices = device;
	return 0;

detach_device:
	detach_device(device);
close_device:
	(void)iommufd->sys->close(device->device.fd);
	release_memory(device);
drop_space:
	drop_space(iommufd);
	return err;
}

int plx_vfio_iommufd_open(struct plx_vfio_iommufd *iommufd, const struct plx_vfio_target *target,
	struct plx_vfio_device **device)
{
	struct iommufd_device *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return plx_fail(ENOMEM, "%s: no memory for the device", target->name);
	d->owner = iommufd;
	d->device.sys = iommufd->sys;
	d->device.base = (struct plx_vfio_device){
		.ops = &iommufd_ops,
		.log = iommufd->log,
		.numa_node = target->numa_node,
		.dma_translated = true,
	};
	(void)snprintf(d->device.base.name, sizeof(d->device.base.name), "%s", target->name);

	(void)pthread_mutex_lock(&iommufd->lock);
	err = open_device(d, target);
	(void)pthread_mutex_unlock(&iommufd->lock);
	if (err) {
		free(d);
		return err;
	}
	*device = &d->device.base;
	return 0;
}
