/* SPDX-License-Identifier: BSD-3-Clause */
#include "context/context.h"

#include "base/error.h"
#include "base/options.h"
#include "mem/pool.h"
#include "pci/pci.h"
#include "vfio/group.h"
#include "vfio/iommufd.h"

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
	plx_vfio_iommufd_destroy(ctx->iommufd);
	plx_vfio_container_destroy(ctx->noiommu);
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

static int container_of_context(
	struct plx_context *ctx, bool noiommu, struct plx_vfio_container **container)
{
	struct plx_vfio_container **kept = noiommu ? &ctx->noiommu : &ctx->container;
	int err = 0;

	(void)pthread_mutex_lock(&ctx->lock);
	if (!*kept)
		err = plx_vfio_container_create(ctx->mem, &ctx->log, noiommu, kept);
	*container = *kept;
	(void)pthread_mutex_unlock(&ctx->lock);
	return err;
}

static int iommufd_of_context(struct plx_context *ctx, struct plx_vfio_iommufd **iommufd)
{
	int err = 0;

	(void)pthread_mutex_lock(&ctx->lock);
	if (!ctx->iommufd)
		err = plx_vfio_iommufd_create(ctx->mem, &ctx->log, &ctx->iommufd);
	*iommufd = ctx->iommufd;
	(void)pthread_mutex_unlock(&ctx->lock);
	return err;
}

/* The ways of the kernel to a function, as the option vfio= names them. */
enum { BY_ITSELF, BY_GROUP, BY_IOMMUFD };

/* What the address asks for, and what is found to be so. */
struct way {
	unsigned vfio;
	unsigned noiommu_allowed;
	bool noiommu;
};

static int open_target(struct plx_context *ctx, const struct plx_vfio_target *target,
	const struct way *way, struct plx_vfio_device **device)
{
	bool by_itself = way->vfio == BY_ITSELF && !way->noiommu;
	struct plx_vfio_container *container;
	struct plx_vfio_iommufd *iommufd;
	int err;

	if (way->vfio == BY_IOMMUFD || (by_itself && plx_vfio_iommufd_usable(target))) {
		err = iommufd_of_context(ctx, &iommufd);
		return err ? err : plx_vfio_iommufd_open(iommufd, target, device);
	}
	err = container_of_context(ctx, way->noiommu, &container);
	return err ? err : plx_vfio_group_open(container, target, device);
}

static int check_noiommu(const struct way *way, const char *name)
{
	if (!way->noiommu_allowed)
		return plx_fail(EOPNOTSUPP,
			"%s: no IOMMU stands before it, so that it could write to all memory of the "
			"machine; enable the IOMMU (VT-d or AMD-Vi in the firmware, intel_iommu=on "
			"or amd_iommu=on on the kernel's command line), or trust the device and "
			"this program with it: noiommu=allow",
			name);
	if (way->vfio == BY_IOMMUFD)
		return plx_fail(EINVAL,
			"%s: without an IOMMU there is no iommufd for it, only its group; leave out "
			"vfio=iommufd",
			name);
	return 0;
}

/* What is asked for, found and fit to be opened. */
static int find_target(const char *place, struct way *way, struct plx_pci_function *function,
	struct plx_vfio_target *target)
{
	struct plx_pci_address address;
	int err;

	err = plx_pci_address_parse(place, &address);
	if (err)
		return err;
	err = plx_pci_lookup(&address, function);
	if (err)
		return err;
	(void)plx_pci_address_format(&address, target->name);
	if (!plx_pci_is_virtio(function))
		return plx_fail(ENODEV,
			"%s is not a virtio device (it is %04x:%04x): Pollux drives virtio "
			"devices only; `pollux status` lists them",
			target->name, function->vendor, function->device);
	err = plx_pci_ready_for_vfio(&plx_pci_root, function, &way->noiommu);
	if (!err && way->noiommu)
		err = check_noiommu(way, target->name);
	if (err)
		return err;
	target->group = function->iommu_group;
	target->numa_node = function->numa_node;
	return plx_pci_vfio_node(&plx_pci_root, &address, target->node);
}

int plx_context_open_pci(struct plx_context *ctx, struct plx_address *address,
	struct plx_pci_function *function, struct plx_vfio_device **device)
{
	static const char *const backends[] = {
		[BY_ITSELF] = "auto", [BY_GROUP] = "group", [BY_IOMMUFD] = "iommufd", NULL};
	static const char *const noiommu[] = {"refuse", "allow", NULL};
	struct plx_vfio_target target = {.group = -1};
	struct way way = {.vfio = BY_ITSELF};
	int err;

	err = plx_address_choice(address, "vfio", backends, &way.vfio);
	if (err >= 0)
		err = plx_address_choice(address, "noiommu", noiommu, &way.noiommu_allowed);
	if (err < 0)
		return err;
	err = find_target(address->place, &way, function, &target);
	return err ? err : open_target(ctx, &target, &way, device);
}
