/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "mem/mem_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Memory for devices that no IOMMU stands before: an IOVA is a physical address. Only huge pages
 * will do. They are never swapped, and one of them is in one piece for a device; two that follow
 * each other here need not do so there.
 */

/* Linux Documentation/admin-guide/mm/pagemap.rst: what is told of a page of 4 KiB. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FRAME   ((UINT64_C(1) << 55) - 1)

static uint64_t *frame_of(const struct plx_mem *mem, const uint8_t *address)
{
	return &mem->frames[(uint64_t)(address - mem->base) / PAGE_2M];
}

int plx_mem_take_physical(struct plx_mem *mem)
{
	int err = 0;

	(void)pthread_mutex_lock(&mem->lock);
	if (!mem->frames && (mem->segments || mem->mappers)) {
		err = plx_fail(EBUSY,
			"the DMA memory of this context has addresses that only an IOMMU, an "
			"emulated device or a vhost-user backend understands: open this device in "
			"a context of its own, before making pools");
		goto unlock;
	}
	if (!mem->frames) {
		mem->frames = calloc(mem->size / PAGE_2M, sizeof(*mem->frames));
		if (!mem->frames) {
			err = plx_fail(ENOMEM, "out of memory for physical addresses");
			goto unlock;
		}
		mem->smallest_page = PAGE_2M;
	}
	mem->physical_users++;
unlock:
	(void)pthread_mutex_unlock(&mem->lock);
	return err;
}

void plx_mem_leave_physical(struct plx_mem *mem)
{
	(void)pthread_mutex_lock(&mem->lock);
	mem->physical_users--;
	plx_mem_end_physical(mem);
	(void)pthread_mutex_unlock(&mem->lock);
}

void plx_mem_end_physical(struct plx_mem *mem)
{
	if (mem->physical_users || mem->segments)
		return;
	free(mem->frames);
	mem->frames = NULL;
	mem->smallest_page = 0;
}

bool plx_mem_is_physical(const struct plx_mem *mem)
{
	return mem->frames;
}

static int read_frame(int pagemap, const uint8_t *address, uint64_t *frame)
{
	uint64_t entry, page = (uintptr_t)address / PAGE_4K;

	if (pread(pagemap, &entry, sizeof(entry), (off_t)(page * sizeof(entry))) != sizeof(entry))
		return plx_fail(
			EIO, "the kernel does not tell where DMA memory lies: %s", strerror(errno));
	*frame = (entry & PAGEMAP_FRAME) * PAGE_4K;
	if (entry & PAGEMAP_PRESENT && *frame)
		return 0;
	return plx_fail(EPERM,
		"the kernel does not tell this process physical addresses, which a device without "
		"an IOMMU needs: run as root, or with CAP_SYS_ADMIN");
}

int plx_mem_learn_frames(struct plx_mem *mem, const struct mem_segment *segment)
{
	const uint8_t *start = segment->shared.address;
	int pagemap, err = 0;

	if (!mem->frames)
		return 0;
	pagemap = open(mem->pagemap, O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return plx_fail(errno, "cannot open %s, which tells physical addresses: %s",
			mem->pagemap, strerror(errno));
	for (uint64_t at = 0; !err && at < segment->shared.length; at += PAGE_2M)
		err = read_frame(pagemap, start + at, frame_of(mem, start + at));
	(void)close(pagemap);
	return err;
}

uint64_t plx_mem_whole_from(const struct plx_mem *mem, const struct mem_segment *segment,
	uint64_t start, uint64_t length)
{
	const uint8_t *address = segment->shared.address;
	uint64_t at = (start / PAGE_2M + 1) * PAGE_2M;

	if (!mem->frames)
		return start;
	for (; at < MIN(start + length, segment->shared.length); at += PAGE_2M)
		if (*frame_of(mem, address + at) != *frame_of(mem, address + at - 1) + PAGE_2M)
			start = at;
	return start;
}

bool plx_mem_is_whole(const struct plx_mem *mem, const void *address, size_t length)
{
	const uint8_t *first = address;
	const uint8_t *last = first + length - 1;

	return !mem->frames ||
	       plx_mem_iova(mem, last) - plx_mem_iova(mem, first) == (uint64_t)(last - first);
}

uint64_t plx_mem_physical_iova(const struct plx_mem *mem, const void *address)
{
	return *frame_of(mem, address) + (uint64_t)((const uint8_t *)address - mem->base) % PAGE_2M;
}
