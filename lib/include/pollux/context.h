/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_CONTEXT_H
#define POLLUX_CONTEXT_H

#include <pollux/error.h>
#include <pollux/log.h>
#include <stddef.h>
#include <stdint.h>

/**
 * @file
 * A context: the memory that devices may reach, the VFIO container behind it, and the devices
 * opened in it. A process may have any number of them; they share nothing.
 */

#ifdef __cplusplus
extern "C" {
#endif

struct plx_context;

/** What a context is made of. Start from PLX_CONTEXT_CONFIG_INIT and change what matters. */
struct plx_context_config {
	uint32_t struct_size;         /**< sizeof(struct plx_context_config) */
	enum plx_log_level log_level; /**< messages less important than this are not built */
	plx_log_fn *log;              /**< receives messages, or NULL for silence */
	void *log_arg;                /**< handed to @log */
	uint64_t address_space;       /**< bytes of virtual address space to reserve for DMA memory;
					   0 means 64 GiB. Reserved, not used: costs no memory */
	uint64_t page_size;           /**< bytes of one page of DMA memory: 1 GiB, 2 MiB or 4 KiB;
					   0 takes the largest that is free and not wasteful.
					   Devices without an IOMMU need 2 MiB: then 4 KiB
					   counts as that */
};

/** The initial value of a struct plx_context_config: every choice left to Pollux. */
#define PLX_CONTEXT_CONFIG_INIT                                                                    \
	{                                                                                          \
		sizeof(struct plx_context_config), PLX_LOG_WARNING, NULL, NULL, 0, 0               \
	}

/** How much memory a context holds at present. */
struct plx_memory_usage {
	uint64_t reserved; /**< bytes of address space set aside */
	uint64_t mapped;   /**< bytes backed by pages and known to every device */
	uint64_t used;     /**< bytes of @mapped handed out */
	uint64_t page_1g;  /**< bytes of @mapped on pages of 1 GiB */
	uint64_t page_2m;  /**< bytes of @mapped on pages of 2 MiB */
	uint64_t page_4k;  /**< bytes of @mapped on pages of 4 KiB */
	uint64_t spare[4]; /**< zeros: room for what a later version tells */
};

/**
 * plx_context_create() - Make a context.
 * @config: what it is made of, or NULL for the defaults; copied
 * @ctx: receives the context; owned by the caller, who ends it with plx_context_destroy()
 *
 * Reserves address space and nothing else: pages, files of VFIO and threads come only with what
 * needs them. Any thread may call; does not block.
 *
 * Return: 0; -EINVAL when a value is not possible; -ENOMEM.
 */
PLX_API int plx_context_create(const struct plx_context_config *config, struct plx_context **ctx);

/**
 * plx_context_destroy() - End a context.
 * @ctx: the context, or NULL
 *
 * Every device and every pool of the context must be gone first. Any thread may call, when no other
 * thread uses the context.
 *
 * Return: 0; -EBUSY when a device or a pool is left, and then nothing has changed.
 */
PLX_API int plx_context_destroy(struct plx_context *ctx);

/**
 * plx_context_memory() - Tell how much memory a context holds.
 * @ctx: the context
 * @usage: receives the figures
 *
 * Any thread may call; takes the memory's lock for a moment.
 */
PLX_API void plx_context_memory(struct plx_context *ctx, struct plx_memory_usage *usage);

#ifdef __cplusplus
}
#endif

#endif
