/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "mem/mem_priv.h"

#include <stdlib.h>

/*
 * Above everything that a 32-bit machine would place by itself: the window of message-signalled
 * interrupts below 4 GiB is no memory to an x86 IOMMU.
 */
#define PREFERRED_BASE (UINT64_C(4) << 30)

int plx_mem_copy_ranges(
	struct plx_mapper *mapper, const struct plx_iova_range *allowed, size_t count)
{
	size_t kept = 0;

	mapper->allowed = NULL;
	mapper->allowed_count = 0;
	if (!count)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (allowed[i].first > allowed[i].last ||
			(i && allowed[i].first <= allowed[i - 1].last))
			return plx_fail(EINVAL,
				"the ranges of DMA addresses that a device allows are not sorted");
	mapper->allowed = calloc(count, sizeof(*allowed));
	if (!mapper->allowed)
		return plx_fail(ENOMEM, "out of memory for %zu ranges of DMA addresses", count);
	for (size_t i = 0; i < count; i++) {
		/* Ranges that touch are one, so that memory may lie across the seam. */
		if (kept && mapper->allowed[kept - 1].last + 1 == allowed[i].first)
			mapper->allowed[kept - 1].last = allowed[i].last;
		else
			mapper->allowed[kept++] = allowed[i];
	}
	mapper->allowed_count = kept;
	return 0;
}

/* The lowest place at or above @from in what one mapper allows. */
static bool place_within(const struct plx_mapper *mapper, uint64_t from, uint64_t size,
	uint64_t align, uint64_t *place)
{
	static const struct plx_iova_range everything = {0, UINT64_MAX};
	const struct plx_iova_range *range = mapper->allowed_count ? mapper->allowed : &everything;
	size_t count = mapper->allowed_count ? mapper->allowed_count : 1;

	for (size_t i = 0; i < count; i++) {
		uint64_t low = MAX(from, range[i].first);
		uint64_t start = plx_align_up(low, align);
		bool wrapped = start < low;

		if (!wrapped && start <= range[i].last && range[i].last - start >= size - 1) {
			*place = start;
			return true;
		}
	}
	return false;
}

/* The lowest place at or above @from that every mapper allows. */
static bool place_for_all(
	const struct plx_mem *mem, uint64_t from, uint64_t size, uint64_t align, uint64_t *place)
{
	bool moved = true;

	*place = from;
	/* Each pass moves the place up past a range or is the last, so this ends. */
	while (moved) {
		uint64_t start = *place;

		for (struct plx_mapper *mapper = mem->mappers; mapper; mapper = mapper->next)
			if (!place_within(mapper, *place, size, align, place))
				return false;
		moved = *place != start;
	}
	return true;
}

/* From one unit up, never from 0: see mem.h. */
static bool find_place(const struct plx_mem *mem, uint64_t size, uint64_t *place)
{
	if (place_for_all(mem, PREFERRED_BASE, size, PAGE_1G, place) && *place == PREFERRED_BASE)
		return true;
	return place_for_all(mem, PAGE_1G, size, PAGE_1G, place) ||
	       place_for_all(mem, PAGE_2M, size, PAGE_2M, place);
}

/* The largest reservation, up to the present one, that has a place. */
static uint64_t largest_fit(const struct plx_mem *mem)
{
	uint64_t fits = 0, fails = mem->size / PAGE_2M + 1, place;

	while (fails - fits > 1) {
		uint64_t middle = fits + (fails - fits) / 2;

		if (find_place(mem, middle * PAGE_2M, &place))
			fits = middle;
		else
			fails = middle;
	}
	return fits * PAGE_2M;
}

int plx_mem_place_iova(struct plx_mem *mem)
{
	uint64_t place, size;

	if (find_place(mem, mem->size, &place)) {
		mem->iova_base = place;
		return 0;
	}
	size = largest_fit(mem);
	if (!size)
		return plx_fail(ERANGE,
			"the DMA addresses that the devices of this context can use have nothing "
			"in common: open this device in a context of its own");
	return plx_fail(ERANGE,
		"the %llu MiB reserved for DMA memory do not fit the addresses that the devices of "
		"this context can use: set address_space in the context's config to %llu (%llu "
		"MiB) or less",
		(unsigned long long)(mem->size >> 20), (unsigned long long)size,
		(unsigned long long)(size >> 20));
}

int plx_mem_check_iova(const struct plx_mem *mem, const struct plx_mapper *mapper)
{
	unsigned long long first = mem->iova_base, last = mem->iova_base + mem->size - 1, size;
	uint64_t place;

	if (place_within(mapper, mem->iova_base, mem->size, 1, &place) && place == mem->iova_base)
		return 0;
	size = largest_fit(mem);
	if (size == mem->size)
		return plx_fail(ERANGE,
			"the DMA addresses 0x%llx to 0x%llx are in use and this device cannot "
			"reach them all: open it before making pools",
			first, last);
	if (!size)
		return plx_fail(ERANGE,
			"the DMA addresses 0x%llx to 0x%llx are in use and this device shares none "
			"with the others: open it in a context of its own",
			first, last);
	return plx_fail(ERANGE,
		"the DMA addresses 0x%llx to 0x%llx are in use and this device cannot reach them "
		"all: open it before making pools, with address_space in the context's config at "
		"%llu (%llu MiB) or less",
		first, last, size, size >> 20);
}
