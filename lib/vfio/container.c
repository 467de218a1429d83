/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/vfio_priv.h"

#include "base/compiler.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTAINER_NODE "/dev/vfio/vfio"

static int map_failed(
	const struct plx_vfio_container *container, const struct plx_mem_segment *segment, int err)
{
	uint64_t last = segment->iova + segment->length - 1;

	switch (err) {
	case ENOMEM:
		return plx_vfio_cannot_pin(container->mapped + segment->length);
	case EEXIST:
		return plx_fail(err,
			"VFIO has memory at IOVAs 0x%" PRIx64 " to 0x%" PRIx64
			" already: two users of one container overlap",
			segment->iova, last);
	case EINVAL:
		return plx_fail(err,
			"VFIO refuses memory at IOVAs 0x%" PRIx64 " to 0x%" PRIx64
			": the IOMMU cannot address them, keeps them for itself, or needs larger "
			"pages than %" PRIu64 " bytes",
			segment->iova, last, segment->page_size);
	case ENOSPC:
		return plx_fail(err,
			"VFIO allows no further mapping (it had %" PRIu32
			" left at first); use larger pages, or raise the parameter "
			"dma_entry_limit of the module vfio_iommu_type1",
			container->mappings_left);
	default:
		return plx_fail(err,
			"VFIO cannot map memory at IOVAs 0x%" PRIx64 " to 0x%" PRIx64 ": %s",
			segment->iova, last, strerror(err));
	}
}

static int container_map(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct plx_vfio_container *container =
		container_of(mapper, struct plx_vfio_container, mapper);
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags =
			VFIO_DMA_MAP_FLAG_READ | (segment->read_only ? 0 : VFIO_DMA_MAP_FLAG_WRITE),
		.vaddr = (uintptr_t)segment->address,
		.iova = segment->iova,
		.size = segment->length,
	};

	if (container->sys->ioctl(container->fd, VFIO_IOMMU_MAP_DMA, &map))
		return map_failed(container, segment, errno);
	container->mapped += segment->length;
	return 0;
}

static void container_unmap(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct plx_vfio_container *container =
		container_of(mapper, struct plx_vfio_container, mapper);
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = segment->iova,
		.size = segment->length,
	};

	if (container->sys->ioctl(container->fd, VFIO_IOMMU_UNMAP_DMA, &unmap))
		plx_log(container->log, PLX_LOG_WARNING,
			"VFIO cannot unmap %" PRIu64 " bytes at IOVA 0x%" PRIx64 ": %s",
			segment->length, segment->iova, strerror(errno));
	else if (unmap.size != segment->length)
		plx_log(container->log, PLX_LOG_WARNING,
			"VFIO unmapped %" PRIu64 " bytes at IOVA 0x%" PRIx64 " where %" PRIu64
			" were mapped",
			(uint64_t)unmap.size, segment->iova, segment->length);
	container->mapped -= segment->length;
}

static const struct plx_mapper_ops container_mapper = {
	.map = container_map,
	.unmap = container_unmap,
};

int plx_vfio_container_create_on(struct plx_mem *mem, const struct plx_log *log, bool noiommu,
	const struct plx_vfio_sys *sys, struct plx_vfio_container **container)
{
	struct plx_vfio_container *c = calloc(1, sizeof(*c));

	if (!c)
		return plx_fail(ENOMEM, "no memory for a VFIO container");
	c->mem = mem;
	c->log = log;
	c->sys = sys;
	c->noiommu = noiommu;
	c->fd = -1;
	c->mapper.ops = &container_mapper;
	c->mappings_left = UINT32_MAX;
	/* Cannot fail with default attributes. */
	(void)pthread_mutex_init(&c->lock, NULL);
	*container = c;
	return 0;
}

int plx_vfio_container_create(struct plx_mem *mem, const struct plx_log *log, bool noiommu,
	struct plx_vfio_container **container)
{
	return plx_vfio_container_create_on(mem, log, noiommu, &plx_vfio_kernel, container);
}

void plx_vfio_container_destroy(struct plx_vfio_container *container)
{
	if (!container)
		return;
	(void)pthread_mutex_destroy(&container->lock);
	free(container);
}

static void *iommu_type(const struct plx_vfio_container *container)
{
	return (void *)(uintptr_t)(container->noiommu ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU);
}

static int check_version(const struct plx_vfio_container *container, const char *name, int fd)
{
	int version = container->sys->ioctl(fd, VFIO_GET_API_VERSION, NULL);

	if (version != VFIO_API_VERSION)
		return plx_fail(ENOTSUP,
			"%s: " CONTAINER_NODE
			" speaks version %d of the VFIO interface and only %d "
			"is known; use a newer Pollux",
			name, version, VFIO_API_VERSION);
	if (container->sys->ioctl(fd, VFIO_CHECK_EXTENSION, iommu_type(container)) > 0)
		return 0;
	if (container->noiommu)
		return plx_fail(ENOTSUP,
			"%s: VFIO does without an IOMMU no more; run `echo Y "
			">/sys/module/vfio/parameters/enable_unsafe_noiommu_mode`",
			name);
	return plx_fail(ENOTSUP,
		"%s: VFIO has no type 1 IOMMU here; run `modprobe vfio_iommu_type1`", name);
}

int plx_vfio_container_hold(struct plx_vfio_container *container, const char *name)
{
	int fd, err;

	if (container->holders) {
		container->holders++;
		return 0;
	}
	fd = plx_vfio_open_node(container->sys, name, CONTAINER_NODE);
	if (fd < 0)
		return fd;
	err = check_version(container, name, fd);
	if (err) {
		(void)container->sys->close(fd);
		return err;
	}
	container->fd = fd;
	container->holders = 1;
	return 0;
}

void plx_vfio_container_drop(struct plx_vfio_container *container)
{
	if (--container->holders)
		return;
	(void)container->sys->close(container->fd);
	container->fd = -1;
}

/*
 * What to keep to when the kernel does not say, as before Linux 5.4: an address width that every
 * IOMMU of a server or of QEMU has, without the interrupt window of x86.
 */
static void assume_limits(struct plx_vfio_limits *limits)
{
	limits->range[0] = (struct plx_iova_range){0, 0xfedfffff};
	limits->range[1] = (struct plx_iova_range){0xfef00000, (UINT64_C(1) << 39) - 1};
	limits->count = 2;
}

static int read_limits(
	struct plx_vfio_container *container, const char *name, struct plx_vfio_limits *limits)
{
	_Alignas(uint64_t) unsigned char answer[PLX_VFIO_ANSWER] = {0};
	struct vfio_iommu_type1_info *info = (void *)answer;
	const struct vfio_iommu_type1_info_cap_iova_range *ranges;
	const struct vfio_iommu_type1_info_dma_avail *left;
	uint32_t first;
	size_t room;

	limits->count = 0;
	info->argsz = sizeof(answer);
	if (container->sys->ioctl(container->fd, VFIO_IOMMU_GET_INFO, info))
		return plx_fail(errno, "%s: VFIO does not tell what the IOMMU can do: %s", name,
			strerror(errno));
	if (info->argsz > sizeof(answer))
		return plx_fail(E2BIG,
			"%s: VFIO describes the IOMMU in %" PRIu32 " bytes, more than the %zu "
			"that are expected",
			name, info->argsz, sizeof(answer));
	first = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;

	left = plx_vfio_capability(answer, sizeof(answer), first, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
		sizeof(*left), &room);
	/* Read by the mapper, which runs from the first group to the last. */
	if (!container->joined)
		container->mappings_left = left ? left->avail : UINT32_MAX;

	ranges = plx_vfio_capability(answer, sizeof(answer), first,
		VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, sizeof(*ranges), &room);
	if (!ranges) {
		assume_limits(limits);
		return 0;
	}
	if (ranges->nr_iovas > (room - sizeof(*ranges)) / sizeof(ranges->iova_ranges[0]))
		return plx_fail(EPROTO,
			"%s: VFIO announces %" PRIu32 " IOVA ranges and shows fewer", name,
			ranges->nr_iovas);
	for (; limits->count < ranges->nr_iovas; limits->count++)
		limits->range[limits->count] = (struct plx_iova_range){
			.first = ranges->iova_ranges[limits->count].start,
			.last = ranges->iova_ranges[limits->count].end,
		};
	return 0;
}

static int join_refused(const struct plx_vfio_container *container, const char *name, int err)
{
	if (err == EPERM)
		return plx_fail(err,
			"%s: VFIO refuses its IOMMU group: another driver or program owns a device "
			"of it, or the machine does not remap interrupts (see dmesg)",
			name);
	if (err == EINVAL && container->joined)
		return plx_fail(err,
			"%s: its IOMMU cannot address the memory that other devices of this "
			"context use already; open it before them, or in a context of its own",
			name);
	return plx_fail(
		err, "%s: its IOMMU group cannot join the VFIO container: %s", name, strerror(err));
}

static void unset_container(const struct plx_vfio_container *container, int group_fd)
{
	/*
	 * EINVAL says that it is in no container: the kernel takes a group out by itself when its
	 * last function is unplugged.
	 */
	if (!container->sys->ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER, NULL) || errno == EINVAL)
		return;
	plx_log(container->log, PLX_LOG_WARNING,
		"an IOMMU group does not leave the VFIO container: %s%s", strerror(errno),
		errno == EBUSY
			? "; a region of its device is still mapped, or a child process has it open"
			: "");
}

static int take_physical(struct plx_vfio_container *container, const char *name)
{
	int err = plx_mem_take_physical(container->mem);

	return err ? plx_fail(-err, "%s: %s", name, plx_error()) : 0;
}

static int attach_memory(
	struct plx_vfio_container *container, const char *name, struct plx_mapper *limits)
{
	struct plx_vfio_limits allowed;
	int err = read_limits(container, name, &allowed);

	return err ? err
		   : plx_vfio_memory_attach(container->mem, name, limits, &allowed,
			     container->joined ? NULL : &container->mapper);
}

int plx_vfio_container_join(struct plx_vfio_container *container, const char *name, int group_fd,
	struct plx_mapper *limits)
{
	const struct plx_vfio_sys *sys = container->sys;
	int err;

	if (sys->ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &container->fd))
		return join_refused(container, name, errno);
	if (!container->joined &&
		sys->ioctl(container->fd, VFIO_SET_IOMMU, iommu_type(container))) {
		err = join_refused(container, name, errno);
		goto unset;
	}
	err = container->noiommu ? take_physical(container, name)
				 : attach_memory(container, name, limits);
	if (err)
		goto unset;
	container->joined++;
	return 0;

unset:
	unset_container(container, group_fd);
	return err;
}

void plx_vfio_container_leave(
	struct plx_vfio_container *container, int group_fd, struct plx_mapper *limits)
{
	/*
	 * The last group takes the kernel's IOMMU with it, so memory is unmapped before it leaves.
	 * Its devices are closed and quiet by then.
	 */
	if (!--container->joined)
		plx_mem_detach(container->mem, &container->mapper);
	plx_mem_detach(container->mem, limits);
	if (container->noiommu)
		plx_mem_leave_physical(container->mem);
	unset_container(container, group_fd);
}
