/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLX_CONTEXT_CONTEXT_H
#define PLX_CONTEXT_CONTEXT_H

#include "base/log.h"
#include "mem/mem.h"
#include "vfio/vfio.h"

#include <pollux/context.h>
#include <pollux/device.h>
#include <pthread.h>

/*
 * A context ties the rooms below together for one user: where messages go, the DMA memory, the VFIO
 * container, and the list of open devices.
 */
struct plx_vfio_container;
struct plx_vfio_iommufd;

struct plx_context {
	struct plx_log log;
	struct plx_mem *mem;
	pthread_mutex_t lock;                 /* guards what follows */
	struct plx_vfio_container *container; /* each made with the first device that needs it */
	struct plx_vfio_container *noiommu;   /* for devices without an IOMMU */
	struct plx_vfio_iommufd *iommufd;
	unsigned devices;
};

/*
 * What every open device begins with, whatever its class. The class embeds it; the driver fills in
 * the operations.
 */
struct plx_device_ops {
	int (*features)(struct plx_device *device, plx_feature_visit_fn *visit, void *arg);
	int (*trace)(struct plx_device *device, plx_trace_visit_fn *visit, void *arg);
};

struct plx_device {
	const struct plx_device_ops *ops;
	struct plx_context *ctx;
	char name[PLX_DEVICE_NAME_LEN];
	pthread_mutex_t lock; /* one control call at a time */
};

/* Join a context and leave it; nothing can fail. */
void plx_device_init(struct plx_device *device, struct plx_context *ctx, const char *name,
	const struct plx_device_ops *ops);
void plx_device_fini(struct plx_device *device);

/*
 * plx_context_open_pci() - Open a PCI function through VFIO.
 * @address: "0000:00:03.0"; its options vfio= and noiommu= are taken
 *
 * By iommufd where the kernel offers it for the function and this process may use it, otherwise by
 * the function's IOMMU group. Without an IOMMU only when noiommu=allow says so.
 *
 * Return: 0 with the device and what sysfs says of it, or -errno as plx_vfio_group_open(),
 * plx_vfio_iommufd_open() and plx_pci_ready_for_vfio() say.
 */
struct plx_address;
struct plx_pci_function;
int plx_context_open_pci(struct plx_context *ctx, struct plx_address *address,
	struct plx_pci_function *function, struct plx_vfio_device **device);

#endif
