/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "mem/mem_priv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEFAULT_ADDRESS_SPACE (UINT64_C(64) << 30)
#define LARGEST_ADDRESS_SPACE (UINT64_C(1) << 46) /* half of what x86-64 gives a process */

/* Reserve addresses without memory, on a boundary that suits every page size. */
static int reserve(struct plx_mem *mem)
{
	uint64_t length = mem->size + PAGE_1G, head;
	uint8_t *start =
		mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (start == MAP_FAILED)
		return plx_fail(ENOMEM,
			"cannot reserve %llu MiB of address space for DMA memory (%s): raise the "
			"limit (`ulimit -v`) or set a smaller address_space in the context's config",
			(unsigned long long)(mem->size >> 20), strerror(errno));
	head = plx_align_up((uintptr_t)start, PAGE_1G) - (uintptr_t)start;
	mem->base = start + head;
	if (head)
		(void)munmap(start, head);
	if (head < PAGE_1G)
		(void)munmap(mem->base + mem->size, PAGE_1G - head);
	return 0;
}

int plx_mem_create(const struct plx_mem_config *config, struct plx_mem **out)
{
	uint64_t size = config->address_space ? config->address_space : DEFAULT_ADDRESS_SPACE;
	uint64_t page_size = config->page_size;
	struct plx_mem *mem;
	int err;

	if (page_size && page_size != PAGE_1G && page_size != PAGE_2M && page_size != PAGE_4K)
		return plx_fail(EINVAL,
			"DMA memory has no pages of %llu bytes: choose 1 GiB, 2 MiB or 4 KiB, or 0",
			(unsigned long long)page_size);
	if (size > LARGEST_ADDRESS_SPACE)
		return plx_fail(EINVAL,
			"an address space of %llu MiB for DMA memory is too large: take %llu MiB "
			"or less",
			(unsigned long long)(size >> 20),
			(unsigned long long)(LARGEST_ADDRESS_SPACE >> 20));
	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return plx_fail(ENOMEM, "out of memory for DMA memory");
	mem->size = plx_align_up(size, MAX(page_size, PAGE_2M));
	mem->page_size = page_size;
	mem->log = config->log;
	mem->pagemap = "/proc/self/pagemap";
	err = reserve(mem);
	if (err) {
		free(mem);
		return err;
	}
	/* Default attributes: cannot fail on Linux. */
	(void)pthread_mutex_init(&mem->lock, NULL);
	*out = mem;
	return 0;
}

static unsigned count_allocations(const struct plx_mem *mem)
{
	unsigned count = 0;

	for (const struct mem_segment *segment = mem->segments; segment; segment = segment->next)
		for (const struct mem_block *block = segment->blocks; block; block = block->next)
			count++;
	return count;
}

int plx_mem_destroy(struct plx_mem *mem)
{
	unsigned allocations;
	bool attached;

	if (!mem)
		return 0;
	(void)pthread_mutex_lock(&mem->lock);
	allocations = count_allocations(mem);
	attached = mem->mappers || mem->physical_users;
	(void)pthread_mutex_unlock(&mem->lock);
	if (attached)
		return plx_fail(
			EBUSY, "a device still reaches the DMA memory: close every device first");
	if (allocations)
		return plx_fail(EBUSY,
			"%u pieces of DMA memory are still in use: destroy every pool and close "
			"every device first",
			allocations);
	/* A segment goes with the last allocation in it, so there is none. */
	(void)munmap(mem->base, mem->size);
	(void)pthread_mutex_destroy(&mem->lock);
	free(mem);
	return 0;
}

/* Return: 0 when @mapper maps every segment, or its error, and then it maps none. */
static int map_every_segment(struct plx_mem *mem, struct plx_mapper *mapper)
{
	for (struct mem_segment *segment = mem->segments; segment; segment = segment->next) {
		int err = mapper->ops->map(mapper, &segment->shared);

		if (!err)
			continue;
		for (struct mem_segment *done = mem->segments; done != segment; done = done->next)
			mapper->ops->unmap(mapper, &done->shared);
		return err;
	}
	return 0;
}

static bool unlink_mapper(struct plx_mem *mem, struct plx_mapper *mapper)
{
	struct plx_mapper **link = &mem->mappers;

	while (*link && *link != mapper)
		link = &(*link)->next;
	if (!*link)
		return false;
	*link = mapper->next;
	return true;
}

static void forget_ranges(struct plx_mapper *mapper)
{
	free(mapper->allowed);
	mapper->allowed = NULL;
	mapper->allowed_count = 0;
}

static int attach(struct plx_mem *mem, struct plx_mapper *mapper)
{
	int err;

	mapper->next = mem->mappers;
	mem->mappers = mapper;
	err = mem->segments ? plx_mem_check_iova(mem, mapper) : plx_mem_place_iova(mem);
	if (!err)
		err = map_every_segment(mem, mapper);
	if (err)
		(void)unlink_mapper(mem, mapper);
	return err;
}

static bool is_attached(const struct plx_mem *mem, const struct plx_mapper *mapper)
{
	const struct plx_mapper *each = mem->mappers;

	while (each && each != mapper)
		each = each->next;
	return each;
}

int plx_mem_attach(struct plx_mem *mem, struct plx_mapper *mapper,
	const struct plx_iova_range *allowed, size_t count)
{
	int err;

	(void)pthread_mutex_lock(&mem->lock);
	if (is_attached(mem, mapper)) {
		err = plx_fail(EINVAL, "the mapper is attached to this DMA memory already");
		goto unlock;
	}
	if (mem->frames) {
		err = plx_fail(EBUSY,
			"the DMA memory of this context goes by physical addresses, for a device "
			"without an IOMMU: open this one in a context of its own");
		goto unlock;
	}
	err = plx_mem_copy_ranges(mapper, allowed, count);
	if (err)
		goto unlock;
	err = attach(mem, mapper);
	if (err)
		forget_ranges(mapper);
unlock:
	(void)pthread_mutex_unlock(&mem->lock);
	return err;
}

void plx_mem_detach(struct plx_mem *mem, struct plx_mapper *mapper)
{
	(void)pthread_mutex_lock(&mem->lock);
	if (unlink_mapper(mem, mapper)) {
		for (struct mem_segment *segment = mem->segments; segment; segment = segment->next)
			mapper->ops->unmap(mapper, &segment->shared);
		forget_ranges(mapper);
	}
	(void)pthread_mutex_unlock(&mem->lock);
}

/* Unmap from the mappers in front of @end; NULL: from all. */
static void untell_mappers(
	struct plx_mem *mem, const struct mem_segment *segment, const struct plx_mapper *end)
{
	for (struct plx_mapper *mapper = mem->mappers; mapper != end; mapper = mapper->next)
		mapper->ops->unmap(mapper, &segment->shared);
}

static int tell_mappers(struct plx_mem *mem, const struct mem_segment *segment)
{
	for (struct plx_mapper *mapper = mem->mappers; mapper; mapper = mapper->next) {
		int err = mapper->ops->map(mapper, &segment->shared);

		if (err) {
			untell_mappers(mem, segment, mapper);
			return err;
		}
	}
	return 0;
}

static int add_segment(
	struct plx_mem *mem, uint64_t size, int node, bool read_only, struct mem_segment **out)
{
	struct mem_segment *segment;
	int err;

	if (!mem->segments && !mem->frames) {
		err = plx_mem_place_iova(mem);
		if (err)
			return err;
	}
	err = plx_mem_segment_create(mem, size, node, read_only, &segment);
	if (err)
		return err;
	err = plx_mem_learn_frames(mem, segment);
	if (!err) {
		segment->shared.iova = plx_mem_iova(mem, segment->shared.address);
		err = tell_mappers(mem, segment);
	}
	if (err) {
		plx_mem_segment_destroy(mem, segment);
		return err;
	}
	*out = segment;
	return 0;
}

/* What an allocation asks for. */
struct wish {
	uint64_t align;
	int node;
	bool read_only;
	bool in_pieces;
};

/* Puts the block into the first gap that holds it. */
static bool place_block(const struct plx_mem *mem, struct mem_segment *segment,
	struct mem_block *block, const struct wish *wish)
{
	struct mem_block **link = &segment->blocks;
	uint64_t start = 0;

	for (;; link = &(*link)->next) {
		uint64_t end = *link ? (*link)->offset : segment->shared.length;

		start = plx_align_up(start, wish->align);
		if (!wish->in_pieces)
			start = plx_mem_whole_from(mem, segment, start, block->length);
		if (start <= end && block->length <= end - start)
			break;
		if (!*link)
			return false;
		start = (*link)->offset + (*link)->length;
	}
	block->offset = start;
	block->next = *link;
	*link = block;
	return true;
}

static struct mem_segment *place_in_any(
	struct plx_mem *mem, struct mem_block *block, const struct wish *wish)
{
	struct mem_segment *segment = mem->segments;

	for (; segment; segment = segment->next) {
		bool suits = segment->shared.read_only == wish->read_only &&
			     (wish->node < 0 || segment->node == wish->node);

		if (suits && place_block(mem, segment, block, wish))
			return segment;
	}
	return NULL;
}

/* Fresh pages are zero as they come; only what was handed out before needs to be cleared. */
static void clear_block(struct mem_segment *segment, const struct mem_block *block)
{
	uint8_t *address = (uint8_t *)segment->shared.address + block->offset;
	uint64_t end = block->offset + block->length;

	if (block->offset < segment->touched)
		memset(address, 0, MIN(end, segment->touched) - block->offset);
	segment->touched = MAX(end, segment->touched);
}

static void remove_segment(struct plx_mem *mem, struct mem_segment *segment)
{
	untell_mappers(mem, segment, NULL);
	plx_mem_segment_destroy(mem, segment);
	plx_mem_end_physical(mem);
}

static int alloc_block(
	struct plx_mem *mem, struct mem_block *block, const struct wish *wish, void **address)
{
	struct mem_segment *segment = place_in_any(mem, block, wish);

	if (!segment) {
		int err = add_segment(mem, block->length, wish->node, wish->read_only, &segment);

		if (err)
			return err;
		/* It was made for this block, which lies at its start, if that is in one piece. */
		if (!place_block(mem, segment, block, wish)) {
			remove_segment(mem, segment);
			return plx_fail(ENOMEM,
				"no %llu KiB of DMA memory in one piece for a device without an "
				"IOMMU: ask for smaller rings, or set page_size in the context's "
				"config to 1 GiB",
				(unsigned long long)(block->length >> 10));
		}
	}
	clear_block(segment, block);
	*address = (uint8_t *)segment->shared.address + block->offset;
	return 0;
}

int plx_mem_alloc(
	struct plx_mem *mem, size_t size, size_t align, int node, unsigned flags, void **address)
{
	struct wish wish = {
		.align = MAX(align, (size_t)PLX_CACHE_LINE),
		.node = node,
		.read_only = flags & PLX_MEM_READ_ONLY,
		.in_pieces = flags & PLX_MEM_IN_PIECES,
	};
	struct mem_block *block;
	int err;

	if (!size || !plx_is_power_of_two(align) || align > PAGE_2M ||
		flags & ~(PLX_MEM_READ_ONLY | PLX_MEM_IN_PIECES))
		return plx_fail(EINVAL,
			"DMA memory of %zu bytes, aligned to %zu, with flags 0x%x, cannot be", size,
			align, flags);
	if (size > mem->size)
		return plx_fail(ENOMEM,
			"%zu MiB of DMA memory are more than the address space of %llu MiB: set a "
			"larger address_space in the context's config",
			size >> 20, (unsigned long long)(mem->size >> 20));
	err = plx_mem_resolve_node(&wish.node);
	if (err)
		return err;
	block = calloc(1, sizeof(*block));
	if (!block)
		return plx_fail(ENOMEM, "out of memory for the record of a piece of DMA memory");
	block->length = plx_align_up(size, PLX_CACHE_LINE);
	(void)pthread_mutex_lock(&mem->lock);
	err = alloc_block(mem, block, &wish, address);
	(void)pthread_mutex_unlock(&mem->lock);
	if (err)
		free(block);
	return err;
}

static struct mem_segment *segment_at(const struct plx_mem *mem, const void *address)
{
	struct mem_segment *segment = mem->segments;

	for (; segment; segment = segment->next) {
		uintptr_t offset = (uintptr_t)address - (uintptr_t)segment->shared.address;

		if (offset < segment->shared.length)
			return segment;
	}
	return NULL;
}

/* The link to the allocation that starts at @address, or NULL. */
static struct mem_block **block_at(struct mem_segment *segment, const void *address)
{
	uint64_t offset = (uintptr_t)address - (uintptr_t)segment->shared.address;
	struct mem_block **link = &segment->blocks;

	while (*link && (*link)->offset != offset)
		link = &(*link)->next;
	return *link ? link : NULL;
}

void plx_mem_free(struct plx_mem *mem, void *address)
{
	struct mem_segment *segment;
	struct mem_block **link, *block;

	if (!address)
		return;
	(void)pthread_mutex_lock(&mem->lock);
	segment = segment_at(mem, address);
	link = segment ? block_at(segment, address) : NULL;
	if (link) {
		block = *link;
		*link = block->next;
		free(block);
		if (!segment->blocks)
			remove_segment(mem, segment);
	} else {
		plx_log(mem->log, PLX_LOG_ERROR, "%p was freed, but is no DMA memory in use",
			address);
	}
	(void)pthread_mutex_unlock(&mem->lock);
}

uint64_t plx_mem_iova(const struct plx_mem *mem, const void *address)
{
	if (mem->frames)
		return plx_mem_physical_iova(mem, address);
	return mem->iova_base + (uint64_t)((uintptr_t)address - (uintptr_t)mem->base);
}

void plx_mem_usage(struct plx_mem *mem, struct plx_memory_usage *usage)
{
	*usage = (struct plx_memory_usage){.reserved = mem->size};
	(void)pthread_mutex_lock(&mem->lock);
	for (const struct mem_segment *segment = mem->segments; segment; segment = segment->next) {
		uint64_t length = segment->shared.length;

		usage->mapped += length;
		usage->page_1g += segment->shared.page_size == PAGE_1G ? length : 0;
		usage->page_2m += segment->shared.page_size == PAGE_2M ? length : 0;
		usage->page_4k += segment->shared.page_size == PAGE_4K ? length : 0;
		for (const struct mem_block *block = segment->blocks; block; block = block->next)
			usage->used += block->length;
	}
	(void)pthread_mutex_unlock(&mem->lock);
}
