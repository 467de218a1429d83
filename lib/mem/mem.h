/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_MEM_MEM_H
#define PLX_MEM_MEM_H

#include "base/log.h"

#include <pollux/context.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * DMA memory.
 *
 * One struct plx_mem reserves one range of virtual addresses and stands for one range of IOVAs of
 * the same size, so that iova = address - base + iova_base for all of it. Memory comes in segments,
 * each a file of huge pages (memfd) mapped into the reservation; whoever can make a device reach
 * memory attaches a mapper and hears of every segment, those that exist and those to come.
 *
 * The IOVA range is chosen when the first mapper attaches or the first segment is made, inside what
 * the mappers allow; it never moves while a segment exists. It never holds address 0, which devices
 * take for "none". The exception is memory for devices without an IOMMU: plx_mem_take_physical().
 *
 * All calls may come from any thread; they take the memory's lock. Mapper callbacks run under it
 * and must not call back into the memory.
 *
 * After fork() the child shares the pages, as it shares the files of VFIO: they are shared
 * mappings, so that neither side gets a copy the device does not know of, and a program may
 * daemonise with devices open. Only one of the two may go on to use them.
 */
struct plx_mem;
struct plx_mapper;

/* A piece of memory that devices may reach. Constant from map to unmap. */
struct plx_mem_segment {
	void *address;
	uint64_t iova;
	uint64_t length;    /* a multiple of page_size */
	uint64_t page_size; /* bytes: 1 GiB, 2 MiB or 4 KiB */
	int fd;             /* the memfd behind it; it starts at offset 0 */
	bool read_only;     /* devices may only read it */
};

/* A range of IOVAs, both ends included. */
struct plx_iova_range {
	uint64_t first;
	uint64_t last;
};

struct plx_mapper_ops {
	/* Make the segment reachable at its IOVA. Return: 0 or -errno with plx_fail(). */
	int (*map)(struct plx_mapper *mapper, const struct plx_mem_segment *segment);
	/* Take it away again; the devices are quiet. A failure is logged by the mapper. */
	void (*unmap)(struct plx_mapper *mapper, const struct plx_mem_segment *segment);
};

/* Embedded by whoever attaches; the room below never looks around it. */
struct plx_mapper {
	const struct plx_mapper_ops *ops;
	/* What follows is the memory's own, from attach to detach. */
	struct plx_mapper *next;
	struct plx_iova_range *allowed;
	size_t allowed_count;
};

struct plx_mem_config {
	uint64_t address_space;    /* bytes to reserve, rounded up to whole pages; 0: 64 GiB */
	uint64_t page_size;        /* 0: the largest that is free and not wasteful */
	const struct plx_log *log; /* lives as long as the memory; NULL for silence */
};

/* Return: 0; -EINVAL; -ENOMEM. */
int plx_mem_create(const struct plx_mem_config *config, struct plx_mem **mem);

/* Return: 0, also for NULL; -EBUSY while something is allocated or a mapper attached. */
int plx_mem_destroy(struct plx_mem *mem);

/*
 * plx_mem_attach() - Let a mapper hear of every segment.
 * @allowed: what its devices can address, sorted, not overlapping; copied; @count 0 means
 * everything
 *
 * Return: 0; -EINVAL when the mapper is attached already or @allowed is not as said; -ENOMEM;
 * -EBUSY when IOVAs are physical addresses; -ERANGE when the IOVA range is fixed already and does
 * not lie within @allowed, or no free range is large enough; what the mapper's map() returned, and
 * then nothing is left mapped.
 */
int plx_mem_attach(struct plx_mem *mem, struct plx_mapper *mapper,
	const struct plx_iova_range *allowed, size_t count);
void plx_mem_detach(struct plx_mem *mem, struct plx_mapper *mapper);

/*
 * plx_mem_take_physical() - Make IOVAs physical addresses, for a device without an IOMMU.
 *
 * As long as somebody has taken it so, memory lies on huge pages only, of which each has an IOVA of
 * its own, and no mapper can attach. What plx_mem_alloc() gives stays in one piece for devices, but
 * for PLX_MEM_IN_PIECES. A page_size of 4 KiB counts as 2 MiB.
 *
 * Return: 0; -EBUSY while there is memory that is not so, or a mapper; -ENOMEM.
 */
int plx_mem_take_physical(struct plx_mem *mem);
void plx_mem_leave_physical(struct plx_mem *mem);
bool plx_mem_is_physical(const struct plx_mem *mem);

#define PLX_MEM_READ_ONLY 1u /* devices may only read it */
#define PLX_MEM_IN_PIECES 2u /* the caller looks with plx_mem_is_whole() what is in one piece */

/*
 * plx_mem_alloc() - Take zeroed, prefaulted, IOVA-contiguous memory.
 * @align: a power of two, at most 2 MiB
 * @node: NUMA node where it should lie, -1 for any
 * @flags: of the two above
 *
 * What lies beside an allocation belongs to others, but never in the same cache line.
 *
 * The node is a preference: when it has no pages left, another gives them.
 *
 * Return: 0; -EINVAL; -ENOMEM, with the remedy in plx_error(); what a mapper returned.
 */
int plx_mem_alloc(
	struct plx_mem *mem, size_t size, size_t align, int node, unsigned flags, void **address);

/* The segment goes too when nothing is left in it. No device may still use it. NULL is allowed. */
void plx_mem_free(struct plx_mem *mem, void *address);

/* The IOVA of an address inside an allocation. Never blocks. */
uint64_t plx_mem_iova(const struct plx_mem *mem, const void *address);

/* Whether bytes of an allocation, at most 2 MiB, follow each other for a device. Never blocks. */
bool plx_mem_is_whole(const struct plx_mem *mem, const void *address, size_t length);

void plx_mem_usage(struct plx_mem *mem, struct plx_memory_usage *usage);

#endif
