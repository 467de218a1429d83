/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/bits.h"
#include "base/compiler.h"
#include "base/error.h"
#include "mem/mem_priv.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Linux 5.14; the C library of an older system does not name it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define NODES_MAX 1024
#define LONG_BITS (8 * sizeof(unsigned long))

/* The first number in a file of /proc or /sys behind the word @key, or at its start. */
static long read_number(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	char line[128];
	long number = 0;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		number = strtol(line + strlen(key), NULL, 10);
		break;
	}
	(void)fclose(file);
	return number;
}

static uint64_t available_memory(void)
{
	uint64_t bytes = (uint64_t)read_number("/proc/meminfo", "MemAvailable:") << 10;

	return bytes ? bytes : UINT64_MAX; /* no /proc: nobody knows */
}

/* Huge pages that are neither used nor promised to somebody. */
static long free_pages(uint64_t page_size)
{
	const char *directory = page_size == PAGE_1G ? "hugepages-1048576kB" : "hugepages-2048kB";
	char path[96];
	long number;

	(void)snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/free_hugepages", directory);
	number = read_number(path, "");
	(void)snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/resv_hugepages", directory);
	return number - read_number(path, "");
}

static const char *page_name(uint64_t page_size)
{
	switch (page_size) {
	case PAGE_1G:
		return "1GB";
	case PAGE_2M:
		return "2MB";
	default:
		return "4KB";
	}
}

int plx_mem_resolve_node(int *node)
{
	int last = numa_available() < 0 ? 0 : numa_max_node();

	if (*node < -1 || (*node > last && numa_available() >= 0))
		return plx_fail(EINVAL,
			"NUMA node %d does not exist: the nodes are 0 to %d, and -1 stands for any",
			*node, last);
	if (!last)
		*node = -1;
	return 0;
}

/*
 * Says where pages should come from before the first is touched. The policy belongs to the mapping,
 * so the thread keeps its own; it is a preference, since a strict one would end the process with
 * SIGBUS on a node that is short of huge pages. So its failure is none either.
 */
static void prefer_node(const struct mem_segment *segment)
{
	unsigned long nodes[NODES_MAX / LONG_BITS] = {0};

	if (segment->node < 0 || segment->node >= NODES_MAX)
		return;
	nodes[(size_t)segment->node / LONG_BITS] = 1ul << ((size_t)segment->node % LONG_BITS);
	(void)mbind(segment->shared.address, segment->shared.length, MPOL_PREFERRED, nodes,
		NODES_MAX + 1, 0);
}

/*
 * The way of kernels before 5.14. Pages come through the file, where a shortage is an error and not
 * SIGBUS, and piece by piece, since a pending signal undoes the piece. What is left for the touch
 * is to enter them into the page table.
 */
static int populate_by_file(const struct plx_mem_segment *shared)
{
	uint64_t step = MAX(shared->page_size, PAGE_2M);
	volatile uint8_t *byte = shared->address;

	for (uint64_t offset = 0; offset < shared->length; offset += step) {
		while (fallocate(shared->fd, 0, (off_t)offset, (off_t)step))
			if (errno != EINTR)
				return -errno;
	}
	for (uint64_t offset = 0; offset < shared->length; offset += shared->page_size)
		byte[offset] = 0;
	return 0;
}

static int populate(const struct plx_mem_segment *shared)
{
	if (!madvise(shared->address, shared->length, MADV_POPULATE_WRITE))
		return 0;
	if (errno == EINVAL)
		return populate_by_file(shared);
	return -errno;
}

static int open_file(uint64_t page_size, uint64_t length)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd, err;

	if (page_size == PAGE_1G)
		flags |= MFD_HUGETLB | MFD_HUGE_1GB;
	else if (page_size == PAGE_2M)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = memfd_create("pollux", flags);
	if (fd < 0)
		return -errno;
	/*
	 * Another process may be handed the file (vhost-user); it must not cut it short under us.
	 */
	if (ftruncate(fd, (off_t)length) ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err = -errno;
		(void)close(fd);
		return err;
	}
	return fd;
}

/*
 * The first mapping of a file of huge pages reserves them, and they stay with the file. It is made
 * anywhere, because an mmap() that fails with MAP_FIXED may already have torn a hole into our
 * address space, for another thread's mmap() to fall into.
 */
static int reserve_pages(int fd, uint64_t length)
{
	void *anywhere = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (anywhere == MAP_FAILED)
		return -errno;
	(void)munmap(anywhere, length);
	return 0;
}

static void take_pages_away(const struct plx_mem_segment *shared)
{
	/* Failing leaves the pages until the address is used again: nothing else can be done. */
	(void)mmap(shared->address, shared->length, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/* Says nothing in plx_error(), since smaller pages may still do. */
static int back_with_pages(struct mem_segment *segment)
{
	struct plx_mem_segment *shared = &segment->shared;
	void *address;
	int err;

	/* Plain pages are never refused: the kernel would look for a process to end instead. */
	if (shared->page_size == PAGE_4K && shared->length > available_memory())
		return -ENOMEM;
	shared->fd = open_file(shared->page_size, shared->length);
	if (shared->fd < 0)
		return shared->fd;
	err = reserve_pages(shared->fd, shared->length);
	if (err)
		goto close_file;
	address = mmap(shared->address, shared->length, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_FIXED, shared->fd, 0);
	if (address == MAP_FAILED) {
		err = -errno;
		goto unmap;
	}
	/* Hosts that allow it give plain shared memory in pieces of 2 MiB, too. */
	if (shared->page_size == PAGE_4K)
		(void)madvise(shared->address, shared->length, MADV_HUGEPAGE);
	prefer_node(segment);
	err = populate(shared);
	if (err)
		goto unmap;
	/*
	 * Other people's traffic has no place in a core file; huge pages are not in it by default.
	 */
	(void)madvise(shared->address, shared->length, MADV_DONTDUMP);
	return 0;

unmap:
	take_pages_away(shared);
close_file:
	(void)close(shared->fd);
	return err;
}

/* Links the segment into the lowest gap that holds it. Return: 0 or -ENOSPC. */
static int take_addresses(struct plx_mem *mem, struct mem_segment *segment, uint64_t align)
{
	struct mem_segment **link = &mem->segments;
	uint64_t start = 0;

	for (;; link = &(*link)->next) {
		uint64_t end = *link ? (uint64_t)((uint8_t *)(*link)->shared.address - mem->base)
				     : mem->size;

		start = plx_align_up(start, align);
		if (start <= end && segment->shared.length <= end - start)
			break;
		if (!*link)
			return -ENOSPC;
		start = end + (*link)->shared.length;
	}
	segment->shared.address = mem->base + start;
	segment->next = *link;
	*link = segment;
	return 0;
}

static void give_addresses(struct plx_mem *mem, struct mem_segment *segment)
{
	struct mem_segment **link = &mem->segments;

	while (*link != segment)
		link = &(*link)->next;
	*link = segment->next;
}

/*
 * Also segments of plain pages are whole pieces of 2 MiB. A dozen rings then share one, and one is
 * what devices get to map: a vhost-user back end takes as few as eight.
 */
static int try_page_size(
	struct plx_mem *mem, struct mem_segment *segment, uint64_t size, uint64_t page_size)
{
	uint64_t unit = MAX(page_size, PAGE_2M);
	int err;

	segment->shared.page_size = page_size;
	segment->shared.length = plx_align_up(size, unit);
	err = take_addresses(mem, segment, unit);
	if (err)
		return err;
	err = back_with_pages(segment);
	if (err)
		give_addresses(mem, segment);
	return err;
}

static bool is_candidate(const struct plx_mem *mem, uint64_t page_size, uint64_t size)
{
	uint64_t length = plx_align_up(size, PAGE_1G);

	if (page_size < mem->smallest_page)
		return false;
	if (mem->page_size)
		return page_size == MAX(mem->page_size, mem->smallest_page);
	return page_size != PAGE_1G || (size >= PAGE_1G && length - size < length / 8);
}

static long missing_pages(uint64_t page_size, uint64_t size)
{
	long needed = (long)(plx_align_up(size, page_size) / page_size);
	long missing = needed - free_pages(page_size);

	/* Enough by now, or never short of them: a limit of the control group is in the way. */
	return missing > 0 ? missing : needed;
}

static int explain(const struct plx_mem *mem, uint64_t size, int err)
{
	unsigned long long mebibytes = (size + (1 << 20) - 1) >> 20;
	uint64_t page_size = MAX(mem->page_size, mem->smallest_page);

	if (err == -ENOSPC)
		return plx_fail(ENOMEM,
			"the %llu MiB of address space for DMA memory have no room for %llu MiB "
			"more: set a larger address_space in the context's config",
			(unsigned long long)(mem->size >> 20), mebibytes);
	if (page_size > PAGE_4K)
		return plx_fail(ENOMEM,
			"no pages of %s for %llu MiB of DMA memory%s (%s): `hugeadm "
			"--pool-pages-min %s:+%ld` adds what is missing",
			page_name(page_size), mebibytes,
			mem->frames ? ", and smaller ones will not do without an IOMMU" : "",
			strerror(-err), page_name(page_size), missing_pages(page_size, size));
	return plx_fail(ENOMEM,
		"no pages for %llu MiB of DMA memory (%s), with %llu MiB available: ask for less "
		"or free some memory",
		mebibytes, strerror(-err), (unsigned long long)(available_memory() >> 20));
}

static void warn_of_small_pages(struct plx_mem *mem, uint64_t size)
{
	long missing = missing_pages(PAGE_2M, size);

	if (mem->page_size || mem->warned)
		return;
	mem->warned = true;
	plx_log(mem->log, PLX_LOG_WARNING,
		"DMA memory lies on pages of 4 KiB, which is slower, since huge pages of 2 MiB "
		"are missing: `hugeadm --pool-pages-min 2MB:+%ld` adds them",
		missing);
}

int plx_mem_segment_create(
	struct plx_mem *mem, uint64_t size, int node, bool read_only, struct mem_segment **out)
{
	static const uint64_t page_sizes[] = {PAGE_1G, PAGE_2M, PAGE_4K};
	struct mem_segment *segment = calloc(1, sizeof(*segment));
	int err = -ENOSPC;

	if (!segment)
		return plx_fail(ENOMEM, "out of memory for a segment of DMA memory");
	segment->node = node;
	segment->shared.read_only = read_only;
	for (unsigned i = 0; err && i < ARRAY_SIZE(page_sizes); i++)
		if (is_candidate(mem, page_sizes[i], size))
			err = try_page_size(mem, segment, size, page_sizes[i]);
	if (err) {
		free(segment);
		return explain(mem, size, err);
	}
	if (segment->shared.page_size == PAGE_4K)
		warn_of_small_pages(mem, size);
	plx_log(mem->log, PLX_LOG_DEBUG, "DMA memory: %llu MiB more on pages of %s%s",
		(unsigned long long)(segment->shared.length >> 20),
		page_name(segment->shared.page_size),
		read_only ? ", which devices may only read" : "");
	*out = segment;
	return 0;
}

void plx_mem_segment_destroy(struct plx_mem *mem, struct mem_segment *segment)
{
	take_pages_away(&segment->shared);
	(void)close(segment->shared.fd);
	give_addresses(mem, segment);
	while (segment->blocks) {
		struct mem_block *block = segment->blocks;

		segment->blocks = block->next;
		free(block);
	}
	free(segment);
}
