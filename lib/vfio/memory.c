/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio/vfio_priv.h"

#include "base/compiler.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* What the backends have in common that put memory behind an IOMMU of the kernel's. */

/* Bytes as a person says them. */
static const char *human(uint64_t bytes, char text[32])
{
	static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	size_t i = 0;

	while (value >= 1024 && i + 1 < ARRAY_SIZE(unit)) {
		value /= 1024;
		i++;
	}
	(void)snprintf(text, 32, "%.4g %s", value, unit[i]);
	return text;
}

int plx_vfio_cannot_pin(uint64_t needed)
{
	char limit_text[32], needed_text[32];
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return plx_fail(ENOMEM,
			"VFIO cannot pin %s of memory: the kernel has none left; free some",
			human(needed, needed_text));
	return plx_fail(ENOMEM,
		"VFIO cannot pin memory: RLIMIT_MEMLOCK is %s and %s are needed, besides what this "
		"process locks elsewhere; raise it with `ulimit -l %" PRIu64 "`, a memlock line in "
		"/etc/security/limits.d, or LimitMEMLOCK= of the systemd unit",
		human(limit.rlim_cur, limit_text), human(needed, needed_text), needed / 1024);
}

/* A device's or group's own mapper only brings its limits: its owner maps for all at once. */
static int limits_map(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	(void)mapper;
	(void)segment;
	return 0;
}

static void limits_unmap(struct plx_mapper *mapper, const struct plx_mem_segment *segment)
{
	(void)mapper;
	(void)segment;
}

static const struct plx_mapper_ops limits_mapper = {
	.map = limits_map,
	.unmap = limits_unmap,
};

int plx_vfio_memory_attach(struct plx_mem *mem, const char *name, struct plx_mapper *limits,
	const struct plx_vfio_limits *allowed, struct plx_mapper *mapper)
{
	int err;

	if (!allowed->count)
		return plx_fail(ERANGE,
			"%s: the devices of this context share no range of IOVAs; open this one in "
			"a context of its own",
			name);
	limits->ops = &limits_mapper;
	err = plx_mem_attach(mem, limits, allowed->range, allowed->count);
	if (err)
		return plx_fail(-err, "%s: its IOMMU does not reach the context's memory: %s", name,
			plx_error());
	if (!mapper)
		return 0;
	err = plx_mem_attach(mem, mapper, NULL, 0);
	if (err) {
		plx_mem_detach(mem, limits);
		return plx_fail(-err, "%s: %s", name, plx_error());
	}
	return 0;
}
