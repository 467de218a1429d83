/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/vfio_priv.h"

#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"

#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* PCI 3.0, 6.2.2. */
#define COMMAND            0x04
#define COMMAND_BUS_MASTER 0x0004

/* No chain is that long; a loop is. */
#define MAX_CAPABILITIES 64

static int kernel_open(const char *path, int flags)
{
	return open(path, flags);
}

static int kernel_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

const struct plx_vfio_sys plx_vfio_kernel = {
	.open = kernel_open,
	.close = close,
	.ioctl = kernel_ioctl,
	.pread = pread,
	.pwrite = pwrite,
	.mmap = mmap,
	.munmap = munmap,
	.stat = stat,
};

static int node_denied(const struct plx_vfio_sys *sys, const char *name, const char *path, int err)
{
	struct stat status;

	if (sys->stat(path, &status))
		return plx_fail(err,
			"%s: no right to open %s; run as root, or have root give it to you", name,
			path);
	return plx_fail(err,
		"%s: no right to open %s, which has mode %04o and belongs to user %u and group %u; "
		"run as root, or have root give it to you: `chown %u %s`",
		name, path, status.st_mode & 07777u, status.st_uid, status.st_gid, geteuid(), path);
}

int plx_vfio_open_node(const struct plx_vfio_sys *sys, const char *name, const char *path)
{
	int fd = sys->open(path, O_RDWR | O_CLOEXEC);
	int err = errno;

	if (fd >= 0)
		return fd;
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return plx_fail(ENOENT,
			"%s: there is no %s; run `modprobe vfio-pci`, and `pollux bind %s` if it "
			"is not bound to vfio-pci",
			name, path, name);
	case EACCES:
	case EPERM:
		return node_denied(sys, name, path, EACCES);
	case EBUSY:
		return plx_fail(err,
			"%s: %s is busy, because another process or context has a device of this "
			"IOMMU group; `fuser -v %s /dev/vfio/devices/*` names the process",
			name, path, path);
	default:
		return plx_fail(err, "%s: cannot open %s: %s", name, path, strerror(err));
	}
}

const void *plx_vfio_capability(
	const void *answer, size_t len, uint32_t offset, uint16_t id, size_t min, size_t *room)
{
	unsigned steps;

	for (steps = 0; offset && steps < MAX_CAPABILITIES; steps++) {
		const struct vfio_info_cap_header *header;

		if (offset % _Alignof(uint64_t) || !plx_range_fits(offset, sizeof(*header), len))
			return NULL;
		header = (const void *)((const char *)answer + offset);
		if (header->id == id) {
			*room = len - offset;
			return *room >= min ? header : NULL;
		}
		offset = header->next;
	}
	return NULL;
}

void plx_vfio_learn_areas(
	struct plx_vfio_region *region, const void *answer, size_t len, uint32_t first)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	size_t room, fit;
	uint32_t i;

	sparse = plx_vfio_capability(
		answer, len, first, VFIO_REGION_INFO_CAP_SPARSE_MMAP, sizeof(*sparse), &room);
	if (!sparse) {
		/*
		 * All of it, with the MSI-X table too where VFIO_REGION_INFO_CAP_MSIX_MAPPABLE says
		 * so. The kernel keeps the rest of a short region's last page free of others.
		 */
		region->area[0] = (struct plx_vfio_area){
			.size = plx_align_up(region->size, (uint64_t)sysconf(_SC_PAGESIZE)),
		};
		region->areas = 1;
		return;
	}
	fit = (room - sizeof(*sparse)) / sizeof(sparse->areas[0]);
	for (i = 0; i < sparse->nr_areas && i < fit && region->areas < PLX_VFIO_AREAS; i++) {
		struct vfio_region_sparse_mmap_area area = sparse->areas[i];

		if (area.size && plx_range_fits(area.offset, area.size, region->size))
			region->area[region->areas++] =
				(struct plx_vfio_area){area.offset, area.size};
	}
}

static int learn_region(struct plx_vfio_fd_device *device, unsigned index)
{
	struct plx_vfio_region *region = &device->base.region[index];
	_Alignas(uint64_t) unsigned char answer[PLX_VFIO_ANSWER] = {0};
	struct vfio_region_info *info = (void *)answer;

	info->argsz = sizeof(answer);
	info->index = index;
	if (device->sys->ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, info)) {
		/* How the kernel says that a device has no VGA ranges. */
		if (errno == EINVAL && index == VFIO_PCI_VGA_REGION_INDEX)
			return 0;
		return plx_fail(errno, "%s: VFIO does not describe region %u: %s",
			device->base.name, index, strerror(errno));
	}
	/* Offsets into a file are signed. */
	if (info->offset > INT64_MAX || info->size > INT64_MAX - info->offset)
		return plx_fail(EPROTO, "%s: VFIO describes an impossible region %u",
			device->base.name, index);
	region->size = info->size;
	region->flags = info->flags;
	region->cookie = info->offset;
	/* A description that did not fit might forbid parts: then none is mapped. */
	if (info->flags & VFIO_REGION_INFO_FLAG_MMAP && info->size && info->argsz <= sizeof(answer))
		plx_vfio_learn_areas(region, answer, sizeof(answer),
			info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0);
	return 0;
}

static int learn_irqs(struct plx_vfio_fd_device *device, unsigned index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	if (!device->sys->ioctl(device->fd, VFIO_DEVICE_GET_IRQ_INFO, &info)) {
		device->base.irqs[index] = info.count;
		return 0;
	}
	/* How the kernel says that a conventional PCI device reports no errors. */
	if (errno == EINVAL && index == VFIO_PCI_ERR_IRQ_INDEX)
		return 0;
	return plx_fail(errno, "%s: VFIO does not describe interrupt index %u: %s",
		device->base.name, index, strerror(errno));
}

int plx_vfio_fd_device_learn(struct plx_vfio_fd_device *device)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct plx_vfio_device *base = &device->base;
	unsigned i;
	int err;

	if (device->sys->ioctl(device->fd, VFIO_DEVICE_GET_INFO, &info))
		return plx_fail(errno, "%s: VFIO does not describe the device: %s", base->name,
			strerror(errno));
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI) ||
		info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX)
		return plx_fail(
			ENOTSUP, "%s: VFIO does not present it as a PCI device", base->name);
	device->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;

	base->regions = MIN(info.num_regions, (unsigned)VFIO_PCI_NUM_REGIONS);
	for (i = 0; i < base->regions; i++) {
		err = learn_region(device, i);
		if (err)
			return err;
	}
	for (i = 0; i < MIN(info.num_irqs, (unsigned)VFIO_PCI_NUM_IRQS); i++) {
		err = learn_irqs(device, i);
		if (err)
			return err;
	}
	return 0;
}

static struct plx_vfio_fd_device *fd_device(struct plx_vfio_device *base)
{
	return container_of(base, struct plx_vfio_fd_device, base);
}

int plx_vfio_check_range(
	const struct plx_vfio_device *base, unsigned region, uint64_t offset, size_t len)
{
	if (region < base->regions && plx_range_fits(offset, len, base->region[region].size))
		return 0;
	return plx_fail(EINVAL, "%s: bytes 0x%" PRIx64 " and %zu on are not within region %u",
		base->name, offset, len, region);
}

static int not_answered(const struct plx_vfio_device *base, const char *what, unsigned region,
	uint64_t offset, ssize_t done, int err)
{
	if (done >= 0)
		return plx_fail(EIO, "%s: only %zd bytes could be %s at 0x%" PRIx64 " of region %u",
			base->name, done, what, offset, region);
	return plx_fail(err == ENODEV ? ENODEV : EIO,
		"%s: 0x%" PRIx64 " of region %u cannot be %s: %s; was the device removed?",
		base->name, offset, region, what, strerror(err));
}

int plx_vfio_fd_read(
	struct plx_vfio_device *base, unsigned region, uint64_t offset, void *value, size_t len)
{
	struct plx_vfio_fd_device *device = fd_device(base);
	int err = plx_vfio_check_range(base, region, offset, len);
	ssize_t done;

	if (err)
		return err;
	done = device->sys->pread(
		device->fd, value, len, (off_t)(base->region[region].cookie + offset));
	if (done != (ssize_t)len)
		return not_answered(base, "read", region, offset, done, errno);
	return 0;
}

int plx_vfio_fd_write(struct plx_vfio_device *base, unsigned region, uint64_t offset,
	const void *value, size_t len)
{
	struct plx_vfio_fd_device *device = fd_device(base);
	int err = plx_vfio_check_range(base, region, offset, len);
	ssize_t done;

	if (err)
		return err;
	done = device->sys->pwrite(
		device->fd, value, len, (off_t)(base->region[region].cookie + offset));
	if (done != (ssize_t)len)
		return not_answered(base, "written", region, offset, done, errno);
	return 0;
}

int plx_vfio_fd_map(
	struct plx_vfio_device *base, unsigned region, uint64_t offset, size_t len, void **address)
{
	struct plx_vfio_fd_device *device = fd_device(base);
	uint32_t flags = base->region[region].flags;
	int prot = (flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
		   (flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);
	void *map = device->sys->mmap(NULL, len, prot, MAP_SHARED, device->fd,
		(off_t)(base->region[region].cookie + offset));

	if (map == MAP_FAILED)
		return plx_fail(errno, "%s: cannot map %zu bytes at 0x%" PRIx64 " of region %u: %s",
			base->name, len, offset, region, strerror(errno));
	*address = map;
	return 0;
}

void plx_vfio_fd_unmap(struct plx_vfio_device *base, void *address, size_t len)
{
	if (fd_device(base)->sys->munmap(address, len))
		plx_log(base->log, PLX_LOG_WARNING, "%s: cannot unmap %zu bytes of a region: %s",
			base->name, len, strerror(errno));
}

int plx_vfio_fd_set_irqs(struct plx_vfio_device *base, unsigned index, unsigned start,
	unsigned count, const int32_t *fds)
{
	struct plx_vfio_fd_device *device = fd_device(base);
	size_t len = sizeof(struct vfio_irq_set) + count * sizeof(*fds);
	struct vfio_irq_set *set;
	int err = 0;

	if (index >= VFIO_PCI_NUM_IRQS || !fds != !count ||
		!plx_range_fits(start, count, base->irqs[index]))
		return plx_fail(EINVAL, "%s: it has no %u interrupts from %u on of index %u",
			base->name, count, start, index);
	set = calloc(1, len);
	if (!set)
		return plx_fail(ENOMEM, "%s: no memory to set %u interrupts", base->name, count);
	*set = (struct vfio_irq_set){
		.argsz = (uint32_t)len,
		.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
			 (fds ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
		.index = index,
		.start = start,
		.count = count,
	};
	if (fds)
		memcpy(set->data, fds, count * sizeof(*fds));
	if (device->sys->ioctl(device->fd, VFIO_DEVICE_SET_IRQS, set))
		err = plx_fail(errno,
			"%s: VFIO cannot set %u interrupts from %u on of index %u: %s", base->name,
			count, start, index, strerror(errno));
	free(set);
	return err;
}

int plx_vfio_fd_unmask_irq(struct plx_vfio_device *base, unsigned index)
{
	struct plx_vfio_fd_device *device = fd_device(base);
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE,
		.index = index,
		.count = 1,
	};

	if (device->sys->ioctl(device->fd, VFIO_DEVICE_SET_IRQS, &set))
		return plx_fail(errno, "%s: VFIO cannot unmask an interrupt of index %u: %s",
			base->name, index, strerror(errno));
	return 0;
}

int plx_vfio_fd_reset(struct plx_vfio_device *base)
{
	struct plx_vfio_fd_device *device = fd_device(base);

	if (!device->can_reset)
		return plx_fail(ENOTSUP, "%s: the kernel knows no way to reset this function alone",
			base->name);
	if (device->sys->ioctl(device->fd, VFIO_DEVICE_RESET, NULL))
		return plx_fail(
			errno, "%s: the function reset failed: %s", base->name, strerror(errno));
	return plx_vfio_bus_master(base, true);
}

int plx_vfio_bus_master(struct plx_vfio_device *base, bool on)
{
	uint16_t command;
	int err;

	err = base->ops->read(
		base, VFIO_PCI_CONFIG_REGION_INDEX, COMMAND, &command, sizeof(command));
	if (err)
		return err;
	command = le16toh(command);
	if (command == UINT16_MAX)
		return plx_fail(ENODEV,
			"%s: its configuration space reads as all ones; was it removed?",
			base->name);
	command = on ? command | COMMAND_BUS_MASTER : command & (uint16_t)~COMMAND_BUS_MASTER;
	command = htole16(command);
	return base->ops->write(
		base, VFIO_PCI_CONFIG_REGION_INDEX, COMMAND, &command, sizeof(command));
}
