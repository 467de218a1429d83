/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_MEM_MEM_PRIV_H
#define PLX_MEM_MEM_PRIV_H

#include "mem/mem.h"

#include <pthread.h>

#define PAGE_4K (UINT64_C(1) << 12)
#define PAGE_2M (UINT64_C(1) << 21)
#define PAGE_1G (UINT64_C(1) << 30)

/*
 * What is known of segments and of what is handed out of them lies in ordinary memory: devices can
 * write every byte of a segment.
 */
struct mem_block {
	uint64_t offset;
	uint64_t length;
	struct mem_block *next;
};

struct mem_segment {
	struct plx_mem_segment shared; /* what mappers see */
	int node;                      /* where its pages were asked for, -1 for anywhere */
	uint64_t touched;              /* bytes from the start that were ever handed out */
	struct mem_block *blocks;      /* in order; what lies between them is free */
	struct mem_segment *next;
};

struct plx_mem {
	pthread_mutex_t lock;
	const struct plx_log *log;
	uint8_t *base;
	uint64_t size;
	uint64_t page_size; /* 0: automatic */
	uint64_t iova_base; /* holds while there is a segment */
	uint64_t *frames;   /* the physical address of each 2 MiB; NULL while IOVAs are not that */
	unsigned physical_users;      /* that need it so */
	uint64_t smallest_page;       /* that these can do with, or 0 */
	const char *pagemap;          /* "/proc/self/pagemap" */
	bool warned;                  /* that there are no huge pages */
	struct mem_segment *segments; /* in order of address; the gaps are free address space */
	struct plx_mapper *mappers;
};

/*
 * plx_mem_place_iova() - Choose the IOVA range inside what every attached mapper allows.
 *
 * Return: 0; -ERANGE with the size of reservation that would fit.
 */
int plx_mem_place_iova(struct plx_mem *mem);

/* Return: 0; -ERANGE when a mapper does not allow the IOVA range that is in use. */
int plx_mem_check_iova(const struct plx_mem *mem, const struct plx_mapper *mapper);

/* Copy what a mapper allows. Return: 0; -EINVAL; -ENOMEM. */
int plx_mem_copy_ranges(
	struct plx_mapper *mapper, const struct plx_iova_range *allowed, size_t count);

/*
 * plx_mem_segment_create() - Put prefaulted pages for @size bytes into the reservation.
 *
 * The segment is complete but for its IOVA, and no mapper knows of it yet.
 *
 * Return: 0; -ENOMEM with the remedy in plx_error().
 */
int plx_mem_segment_create(
	struct plx_mem *mem, uint64_t size, int node, bool read_only, struct mem_segment **segment);
void plx_mem_segment_destroy(struct plx_mem *mem, struct mem_segment *segment);

/* When nobody needs physical addresses any more, and nothing has one. */
void plx_mem_end_physical(struct plx_mem *mem);

/*
 * Look where the pages of a new segment lie, if that matters. Return: 0; -EPERM without
 * CAP_SYS_ADMIN; -errno.
 */
int plx_mem_learn_frames(struct plx_mem *mem, const struct mem_segment *segment);

/* The first offset from @start on where @length bytes of it are in one piece for devices. */
uint64_t plx_mem_whole_from(const struct plx_mem *mem, const struct mem_segment *segment,
	uint64_t start, uint64_t length);

uint64_t plx_mem_physical_iova(const struct plx_mem *mem, const void *address);

/*
 * The node to ask pages of: -1 when there is nothing to choose. Return: 0; -EINVAL for a node that
 * the machine does not have.
 */
int plx_mem_resolve_node(int *node);

#endif
