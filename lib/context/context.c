/* SPDX-License-Identifier: BSD-3-Clause */
#include "context/context.h"

#include "base/error.h"
#include "mem/pool.h"
#include "pci/pci.h"
#include "vfio/group.h"

#include <stdlib.h>
#include <string.h>

/*
 * The caller's structure may be older and shorter than ours: what it does not have keeps its
 * default.
 */
static int read_config(const struct plx_context_config *from, struct plx_context_config *config)
{
	*config = (struct plx_context_config)PLX_CONTEXT_CONFIG_INIT;
	if (!from)
		return 0;
	if (!from->struct_size || from->struct_size > sizeof(*config))
		return plx_fail(EINVAL,
			"the context's configuration has struct_size %u: start from "
			"PLX_CONTEXT_CONFIG_INIT of this version of Pollux",
			from->struct_size);
	memcpy(config, from, from->struct_size);
	return 0;
}

int plx_context_create(const struct plx_context_config *from, struct plx_context **out)
{
	struct plx_context_config config;
	struct plx_mem_config mem_config;
	struct plx_context *ctx;
	int err = read_config(from, &config);

	if (err)
		return err;
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return plx_fail(ENOMEM, "out of memory for a context");
	ctx->log = (struct plx_log){config.log, config.log_arg, config.log_level};
	mem_config = (struct plx_mem_config){config.address_space, config.page_size, &ctx->log};
	err = plx_mem_create(&mem_config, &ctx->mem);
	if (err) {
		free(ctx);
		return err;
	}
	/* Default attributes: cannot fail on Linux. */
	(void)pthread_mutex_init(&ctx->lock, NULL);
	*out = ctx;
	return 0;
}

int plx_context_destroy(struct plx_context *ctx)
{
	int err;

	if (!ctx)
		return 0;
	if (ctx->devices)
		return plx_fail(EBUSY, "the context still has %u open devices: close them first",
			ctx->devices);
	err = plx_mem_destroy(ctx->mem);
	if (err)
		return err;
	plx_vfio_container_destroy(ctx->container);
	(void)pthread_mutex_destroy(&ctx->lock);
	free(ctx);
	return 0;
}

void plx_context_memory(struct plx_context *ctx, struct plx_memory_usage *usage)
{
	plx_mem_usage(ctx->mem, usage);
}

int plx_pool_create(
	struct plx_context *ctx, const struct plx_pool_config *from, struct plx_pool **pool)
{
	struct plx_pool_config config = PLX_POOL_CONFIG_INIT;

	if (from) {
		if (!from->struct_size || from->struct_size > sizeof(config))
			return plx_fail(EINVAL,
				"the pool's configuration has struct_size %u: start from "
				"PLX_POOL_CONFIG_INIT of this version of Pollux",
				from->struct_size);
		memcpy(&config, from, from->struct_size);
	}
	return plx_pool_create_in(ctx->mem, &config, pool);
}

static int container_of_context(struct plx_context *ctx, struct plx_vfio_container **container)
{
	int err = 0;

	(void)pthread_mutex_lock(&ctx->lock);
	if (!ctx->container)
		err = plx_vfio_container_create(ctx->mem, &ctx->log, &ctx->container);
	*container = ctx->container;
	(void)pthread_mutex_unlock(&ctx->lock);
	return err;
}

int plx_context_open_pci(struct plx_context *ctx, const char *place,
	struct plx_pci_function *function, struct plx_vfio_device **device)
{
	struct plx_vfio_group_target target;
	struct plx_vfio_container *container;
	struct plx_pci_address address;
	char name[PLX_PCI_ADDRESS_LEN];
	int err;

	err = plx_pci_address_parse(place, &address);
	if (err)
		return err;
	err = plx_pci_lookup(&address, function);
	if (err)
		return err;
	(void)plx_pci_address_format(&address, name);
	if (!plx_pci_is_virtio(function))
		return plx_fail(ENODEV,
			"%s is not a virtio device (it is %04x:%04x): Pollux drives virtio "
			"devices only; `pollux status` lists them",
			name, function->vendor, function->device);
	err = plx_pci_ready_for_vfio(&plx_pci_root, function);
	if (err)
		return err;
	err = container_of_context(ctx, &container);
	if (err)
		return err;
	memset(&target, 0, sizeof(target));
	memcpy(target.name, name, sizeof(name));
	target.group = function->iommu_group;
	target.numa_node = function->numa_node;
	return plx_vfio_group_open(container, &target, device);
}
