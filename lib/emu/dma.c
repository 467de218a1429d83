/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "emu/emu_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/*
 * Memory as the device reaches it: only through the segments that it was told of, as if an IOMMU
 * stood between.
 */

static uint64_t segment_end(const struct plx_mem_segment *segment)
{
	return segment->iova + segment->length;
}

static int map(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct plx_emu_dma *dma = container_of(mapper, struct plx_emu_dma, mapper);
	struct plx_emu *emu = container_of(dma, struct plx_emu, dma);
	unsigned at = 0;
	int err = 0;

	plx_emu_lock(emu);
	if (dma->count == dma->room) {
		unsigned room = dma->room ? 2 * dma->room : 16;
		void *grown = realloc(dma->segment, room * sizeof(*dma->segment));

		if (!grown) {
			err = plx_fail(ENOMEM, "%s: out of memory", emu->vfio.name);
			goto out;
		}
		dma->segment = grown;
		dma->room = room;
	}
	while (at < dma->count && dma->segment[at].iova < segment->iova)
		at++;
	memmove(&dma->segment[at + 1], &dma->segment[at], (dma->count - at) * sizeof(*segment));
	dma->segment[at] = *segment;
	dma->count++;
out:
	plx_emu_unlock(emu);
	return err;
}

static bool overlaps(const struct plx_mem_segment *segment, uint64_t iova)
{
	return iova >= segment->iova && iova < segment_end(segment);
}

/* A device that still works on memory would write into whoever gets it next. */
static void check_unused(struct plx_emu *emu, const struct plx_mem_segment *segment)
{
	if (!plx_emu_live(emu))
		return;
	for (unsigned i = 0; i < emu->queues; i++) {
		struct plx_emu_queue *queue = &emu->queue[i];

		if (!queue->enabled || (!overlaps(segment, queue->desc_addr) &&
					       !overlaps(segment, queue->driver_addr) &&
					       !overlaps(segment, queue->device_addr)))
			continue;
		plx_emu_report(emu, "CLEANUP-2",
			"the memory of queue %u was unmapped while it was live", i);
		plx_emu_queue_break(queue);
	}
}

static void unmap(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	struct plx_emu_dma *dma = container_of(mapper, struct plx_emu_dma, mapper);
	struct plx_emu *emu = container_of(dma, struct plx_emu, dma);

	plx_emu_lock(emu);
	check_unused(emu, segment);
	for (unsigned i = 0; i < dma->count; i++) {
		if (dma->segment[i].iova != segment->iova)
			continue;
		dma->count--;
		memmove(&dma->segment[i], &dma->segment[i + 1],
			(dma->count - i) * sizeof(*segment));
		break;
	}
	dma->last = 0;
	plx_emu_unlock(emu);
}

static const struct plx_mapper_ops mapper_ops = {.map = map, .unmap = unmap};

int plx_emu_dma_attach(struct plx_emu *emu)
{
	int err;

	emu->dma.mapper.ops = &mapper_ops;
	/* A device that is served to another process is told of that one's memory. */
	if (!emu->mem)
		return 0;
	err = plx_mem_attach(emu->mem, &emu->dma.mapper, NULL, 0);
	emu->dma.attached = !err;
	return err;
}

void plx_emu_dma_detach(struct plx_emu *emu)
{
	if (emu->dma.attached)
		plx_mem_detach(emu->mem, &emu->dma.mapper);
	emu->dma.attached = false;
	free(emu->dma.segment);
	emu->dma.segment = NULL;
	emu->dma.count = emu->dma.room = 0;
}

/* The last segment that begins at or before @iova. */
static const struct plx_mem_segment *find(struct plx_emu_dma *dma, uint64_t iova)
{
	unsigned low = 0, high = dma->count;

	if (dma->last < dma->count && overlaps(&dma->segment[dma->last], iova))
		return &dma->segment[dma->last];
	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (dma->segment[middle].iova <= iova)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || !overlaps(&dma->segment[low - 1], iova))
		return NULL;
	dma->last = low - 1;
	return &dma->segment[low - 1];
}

/* Whether the range goes on behind a segment in memory that lies directly behind it. */
static bool continues(const struct plx_emu_dma *dma, const struct plx_mem_segment *segment,
	uint64_t iova, uint64_t len, bool write)
{
	const struct plx_mem_segment *end = dma->segment + dma->count;

	while (len > segment_end(segment) - iova) {
		const struct plx_mem_segment *next = segment + 1;

		if (next == end || next->iova != segment_end(segment) ||
			(write && next->read_only) ||
			(uint8_t *)next->address != (uint8_t *)segment->address + segment->length)
			return false;
		len -= segment_end(segment) - iova;
		iova = next->iova;
		segment = next;
	}
	return true;
}

void *plx_emu_dma(struct plx_emu *emu, uint64_t iova, uint64_t len, bool write, const char *purpose)
{
	const struct plx_mem_segment *segment = find(&emu->dma, iova);
	const char *why = NULL;

	if (unlikely(!plx_emu_bus_master(emu)))
		why = "bus mastering is off";
	else if (unlikely(!segment))
		why = "it is not mapped";
	else if (unlikely(write && segment->read_only))
		why = "it is mapped read-only";
	else if (unlikely(len > segment_end(segment) - iova) &&
		 !continues(&emu->dma, segment, iova, len, write))
		why = "it runs over the end of mapped memory";
	if (unlikely(why)) {
		plx_emu_report(emu, "RFEAT-4", "%s at IOVA 0x%" PRIx64 ", %" PRIu64 " bytes: %s",
			purpose, iova, len, why);
		return NULL;
	}
	return (uint8_t *)segment->address + (iova - segment->iova);
}

/* As above, with the lock held, and without a word when it cannot be. */
static void *reach(struct plx_emu *emu, uint64_t iova, uint64_t len, bool write)
{
	const struct plx_mem_segment *segment = find(&emu->dma, iova);

	if (plx_emu_gone(emu) || !segment || (write && segment->read_only) ||
		!continues(&emu->dma, segment, iova, len, write)) {
		(void)plx_fail(EFAULT, "%s: it does not reach %" PRIu64 " bytes at 0x%" PRIx64,
			emu->vfio.name, len, iova);
		return NULL;
	}
	return (uint8_t *)segment->address + (iova - segment->iova);
}

int plx_emu_peek(struct plx_emu *emu, uint64_t iova, void *to, size_t len)
{
	const void *from;

	plx_emu_lock(emu);
	from = reach(emu, iova, len, false);
	if (from)
		memcpy(to, from, len);
	plx_emu_unlock(emu);
	return from ? 0 : -EFAULT;
}

int plx_emu_poke(struct plx_emu *emu, uint64_t iova, const void *from, size_t len)
{
	void *to;

	plx_emu_lock(emu);
	to = reach(emu, iova, len, true);
	if (to) {
		memcpy(to, from, len);
		emu->poked = true;
	}
	plx_emu_unlock(emu);
	return to ? 0 : -EFAULT;
}
