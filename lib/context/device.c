/* SPDX-License-Identifier: BSD-3-Clause */
#include "context/context.h"

#include <stdio.h>

void plx_device_init(struct plx_device *device, struct plx_context *ctx, const char *name,
	const struct plx_device_ops *ops)
{
	device->ops = ops;
	device->ctx = ctx;
	(void)snprintf(device->name, sizeof(device->name), "%s", name);
	/* Default attributes: cannot fail on Linux. */
	(void)pthread_mutex_init(&device->lock, NULL);
	(void)pthread_mutex_lock(&ctx->lock);
	ctx->devices++;
	(void)pthread_mutex_unlock(&ctx->lock);
}

void plx_device_fini(struct plx_device *device)
{
	struct plx_context *ctx = device->ctx;

	(void)pthread_mutex_destroy(&device->lock);
	(void)pthread_mutex_lock(&ctx->lock);
	ctx->devices--;
	(void)pthread_mutex_unlock(&ctx->lock);
}

const char *plx_device_name(const struct plx_device *device)
{
	return device->name;
}

int plx_device_features(struct plx_device *device, plx_feature_visit_fn *visit, void *arg)
{
	int ret;

	(void)pthread_mutex_lock(&device->lock);
	ret = device->ops->features(device, visit, arg);
	(void)pthread_mutex_unlock(&device->lock);
	return ret;
}

int plx_device_trace(struct plx_device *device, plx_trace_visit_fn *visit, void *arg)
{
	int ret;

	(void)pthread_mutex_lock(&device->lock);
	ret = device->ops->trace(device, visit, arg);
	(void)pthread_mutex_unlock(&device->lock);
	return ret;
}
