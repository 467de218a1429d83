/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/error.h"
#include "emu/server_priv.h"

#include <inttypes.h>
#include <sys/mman.h>

/*
 * The memory of a client, which the device reaches as that of a driver in its own process: pieces
 * that it is told of one by one.
 */

#define PAGE 4096u

static bool overlaps(const struct plx_mem_segment *segment, uint64_t iova, uint64_t size)
{
	return iova < segment->iova + segment->length && segment->iova < iova + size;
}

static int check_map(struct plx_emu_server *server, const struct vfio_user_dma_map *map)
{
	const uint32_t known = VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE;
	const struct plx_emu_dma *dma = &server->emu->dma;

	if (map->argsz < sizeof(*map) || map->flags & ~known ||
		!(map->flags & VFIO_USER_DMA_READABLE))
		return plx_fail(
			EINVAL, "its flags 0x%x are none of memory that can be read", map->flags);
	if (!map->size || (map->size | map->address | map->offset) % PAGE ||
		map->size > INT64_MAX || map->offset > INT64_MAX - map->size ||
		map->address > UINT64_MAX - map->size)
		return plx_fail(EINVAL,
			"0x%" PRIx64 " bytes at 0x%" PRIx64 " from 0x%" PRIx64
			" of the file are no whole pages",
			map->size, map->address, map->offset);
	for (unsigned i = 0; i < dma->count; i++)
		if (overlaps(&dma->segment[i], map->address, map->size))
			return plx_fail(
				EEXIST, "there is memory at 0x%" PRIx64 " already", map->address);
	if (dma->count == PLX_EMU_SERVER_MAPS)
		return plx_fail(ENOSPC, "there are %u pieces already", dma->count);
	return 0;
}

int plx_emu_server_map(
	struct plx_emu_server *server, const struct vfio_user_dma_map *map, const int *fd)
{
	struct plx_mapper *mapper = &server->emu->dma.mapper;
	struct plx_mem_segment segment = {
		.iova = map->address,
		.length = map->size,
		.page_size = PAGE,
		.fd = -1,
		.read_only = !(map->flags & VFIO_USER_DMA_WRITEABLE),
	};
	int err = check_map(server, map);

	if (err)
		return err;
	if (!fd)
		return plx_fail(ENOTSUP, "memory without a file is out of the device's reach");
	if (!plx_vfio_user_is_safe_file(*fd, map->offset + map->size))
		return plx_fail(EPERM,
			"its file is too short, or not sealed against being cut short, as memfd is with F_SEAL_SHRINK");
	segment.address = mmap(NULL, map->size, PROT_READ | (segment.read_only ? 0 : PROT_WRITE),
		MAP_SHARED, *fd, (off_t)map->offset);
	if (segment.address == MAP_FAILED)
		return plx_fail(errno, "its file cannot be mapped: %s", strerror(errno));
	err = mapper->ops->map(mapper, &segment);
	if (err)
		(void)munmap(segment.address, segment.length);
	return err;
}

static void take_away(struct plx_emu_server *server, const struct plx_mem_segment *segment)
{
	struct plx_mapper *mapper = &server->emu->dma.mapper;
	struct plx_mem_segment gone = *segment;

	mapper->ops->unmap(mapper, &gone);
	(void)munmap(gone.address, gone.length);
}

int plx_emu_server_unmap(struct plx_emu_server *server, const struct vfio_user_dma_unmap *unmap)
{
	const struct plx_emu_dma *dma = &server->emu->dma;

	if (unmap->flags)
		return plx_fail(EINVAL, "its flags 0x%x are not known", unmap->flags);
	for (unsigned i = 0; i < dma->count; i++) {
		const struct plx_mem_segment *segment = &dma->segment[i];

		if (segment->iova != unmap->address || segment->length != unmap->size)
			continue;
		take_away(server, segment);
		return 0;
	}
	return plx_fail(ENOENT, "no 0x%" PRIx64 " bytes are mapped at 0x%" PRIx64, unmap->size,
		unmap->address);
}

void plx_emu_server_unmap_all(struct plx_emu_server *server)
{
	const struct plx_emu_dma *dma = &server->emu->dma;

	while (dma->count)
		take_away(server, &dma->segment[dma->count - 1]);
}
